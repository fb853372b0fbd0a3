"""What an administrator must not be able to do by mistake: each refused with a sentence, a hint, a stable code and its
exit number; nothing changed; everybody else as before (issue 2, section 5).

Jailkit's jk_jailuser went on after such errors, or asked ``eval(input())``. Names, options and keys are in
test_names_and_options.py, templates in test_templates.py, refusals at login in test_hook_broken.py and
test_state_broken.py. Attacks A008, A123, A134.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from jailkit.doctor import check, kernel
from jailkit.errors import EXITS
from jailkit.paths import Paths

from ..host import Host
from . import cli, damage
from .damage import Damage, Repair, content, covered, gone, mode, owner
from .world import Pair, changes, failures, pair, state

pytestmark = pytest.mark.host
USER = "tenant"


@pytest.fixture(scope="module")
def people() -> Iterator[Pair]:
    with Host() as host:
        host.jailctl("setup")
        yield pair(host, USER)


def account(*options: str, name: str = "somebody", after: Callable[[Host], None] | None = None) -> Damage:
    """An account of the host's own, made for the case."""

    def damage(host: Host) -> Repair:
        host.run(["/usr/sbin/useradd", "-m", *options, name], check=True)
        if after:
            after(host)

        def repair() -> None:
            host.run(["/usr/sbin/userdel", "-r", name])

        return repair

    return damage


def empty_password(host: Host) -> None:
    host.run(["/usr/bin/passwd", "-d", "somebody"], check=True)


def running(host: Host) -> Repair:
    made = account()(host)
    process = host.spawn(["/bin/sleep", "8005"], user="somebody")

    def repair() -> None:
        process.close()
        made()

    return repair


def home_of_two(host: Host) -> Repair:
    first = account(name="first")(host)
    host.run(["/usr/sbin/useradd", "-M", "-d", "/home/first", "somebody"], check=True)
    os.chown(host.root / "home/first", *host.ids("somebody")[:2])

    def repair() -> None:
        host.run(["/usr/sbin/userdel", "somebody"])
        first()

    return repair


def home_is_a_link(host: Host) -> Repair:
    made = account()(host)
    (host.root / "home/somebody").rename(host.root / "home/aside")
    (host.root / "home/somebody").symlink_to("/home/tenant")

    def repair() -> None:
        (host.root / "home/somebody").unlink()
        (host.root / "home/aside").rename(host.root / "home/somebody")
        made()

    return repair


def home_is_roots(host: Host) -> None:
    os.chown(host.root / "home/somebody", 0, 0)


def home_is_open(host: Host) -> None:
    (host.root / "home/somebody").chmod(0o777)


def home_left(host: Host) -> Repair:
    (host.root / "home/newcomer").mkdir()
    return lambda: (host.root / "home/newcomer").rmdir()


def group_left(host: Host) -> Repair:
    host.run(["/usr/sbin/groupadd", "newcomer"], check=True)

    def repair() -> None:
        host.run(["/usr/sbin/groupdel", "newcomer"], check=True)

    return repair


def nothing(host: Host) -> Repair:
    return lambda: None


def file(path: str, text: str | bytes, bits: int = 0o644) -> Damage:
    def damage(host: Host) -> Repair:
        real = host.root / path
        real.write_bytes(text if isinstance(text, bytes) else text.encode())
        real.chmod(bits)
        return real.unlink

    return damage


def fifo(host: Host) -> Repair:
    os.mkfifo(host.root / "root/key")
    return (host.root / "root/key").unlink


KEY = "/root/keys/tenant.pub"
NEW, TAKE = ["newcomer"], ["somebody", "--existing"]
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n"
CASES: dict[str, tuple[Damage, list[str], str]] = {
    "no such template": (nothing, [*NEW, "--template", "nothere"], "missing.template"),
    "no such key file": (nothing, [*NEW, "--key", "/root/nothere"], "missing.key-file"),
    "key file is a directory": (nothing, [*NEW, "--key", "/root"], "io.key-file"),
    "key file is a FIFO": (fifo, [*NEW, "--key", "/root/key"], "invalid.key-file"),
    "key file is a device": (nothing, [*NEW, "--key", "/dev/zero"], "invalid.key-file"),
    "key file is a private key": (file("root/key", PRIVATE), [*NEW, "--key", "/root/key"], "invalid.key-private"),
    "key file has options": (file("root/key", 'command="x" ssh-rsa AAAA\n'), [*NEW, "--key", "/root/key"],
                             "invalid.key-options"),
    "key file is empty": (file("root/key", ""), [*NEW, "--key", "/root/key"], "invalid.key"),
    "key file is huge": (file("root/key", b"#" * 300_000), [*NEW, "--key", "/root/key"], "invalid.key-file"),
    "account of somebody's": (account(), ["somebody"], "conflict.account-exists"),
    "no account to take": (nothing, TAKE, "missing.account"),
    "account of the system": (nothing, ["daemon", "--existing"], "unsafe.system-account"),
    "administrator": (account("-G", "sudo"), TAKE, "unsafe.privileged-group"),
    "primary group root": (account("-g", "root"), TAKE, "unsafe.privileged-group"),
    "empty password": (account(after=empty_password), TAKE, "unsafe.empty-password"),
    "processes outside": (running, TAKE, "busy.processes"),
    "home of two": (home_of_two, TAKE, "unsafe.home-shared"),
    "home is a link": (home_is_a_link, TAKE, "unsafe.home"),
    "home is somebody else's": (account(after=home_is_roots), TAKE, "unsafe.home-owner"),
    "home can be written by all": (account(after=home_is_open), TAKE, "unsafe.home"),
    "home is left from before": (home_left, NEW, "conflict.home-exists"),
    "group is left from before": (group_left, NEW, "conflict.group-exists"),
    "homes can be written by all": (mode("home", 0o777), NEW, "unsafe.path"),
    "homes are somebody's": (owner("home", 1001, 1001), NEW, "unsafe.path"),
    "specs are somebody's": (owner("etc/jailctl/jails.d", 1001, 1001), NEW, "unsafe."),
    "options can be written by all": (mode("etc/jailctl/jailctl.toml", 0o666), NEW, "unsafe.path"),
    "options are no TOML": (content("etc/jailctl/jailctl.toml", "x = ["), NEW, "invalid.config"),
    "options with an unknown word": (content("etc/jailctl/jailctl.toml", "jial = true\n"), NEW, "invalid.config"),
    "door missing": (gone("opt/jailctl/libexec/door"), NEW, "missing.door"),
    "shipped templates missing": (covered("opt/jailctl/templates"), NEW, "missing.template"),
    "a disk that is full": (covered("var/lib/jailctl/jails", "4k", True, "mode=711"), NEW, "io."),
    "a home disk that is full": (covered("home", "4k", full=True), NEW, "io."),
}  # fmt: skip
ALLOWED = ("/var/lib/jailctl/state.db", "/var/lib/jailctl/uids", "/var/lib/jailctl/images", "/root/key")
"""Ids that were reserved for a call that failed half way stay used, so that nobody gets them twice."""
ACCOUNTS = tuple(f"/etc/{name}" for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid"))
"""Where the home fails, the account has been made, and is taken away again: other files, the same content."""


@pytest.mark.parametrize("case", CASES)
def test_refusal(people: Pair, case: str) -> None:
    host = people.host
    break_it, words, code = CASES[case]
    repair = break_it(host)
    try:
        before = state(host)
        accounts = [(host.root / path[1:]).read_text() for path in ACCOUNTS]
        (done,) = cli.calls(host, [["add-user", "--json", *words]])
        changed = [path for path in changes(before, host) if not path.startswith((*ALLOWED, *ACCOUNTS))]
        assert accounts == [(host.root / path[1:]).read_text() for path in ACCOUNTS]
        assert done.status != 0 and done.out == ""
        error = done.error
        assert error["code"].startswith(code), error
        assert done.status == EXITS[error["code"].partition(".")[0]][0]
        assert len(error["message"]) > 12 and not error["message"].endswith(".") and "Traceback" not in error["message"]
        # where a file of the administrator's is wrong, the sentence has its name, the place and what is expected
        assert error["hint"] or error["code"] == "invalid.config", error
        assert changed == []
        if not case.startswith(("homes ", "a home disk", "door")):
            damage.others_are_fine(people, USER)
    finally:
        repair()
        if "\nnewcomer:" in (host.root / "etc/passwd").read_text():
            host.jailctl("remove-user", "newcomer")
    damage.others_are_fine(people, USER)


def test_refusal_a_disk_that_turns_read_only(people: Pair) -> None:
    """The step fails, and its undoing may, too; nobody can log in as the half-made user, and the same call, when the
    disk is well again, makes her whole."""
    host = people.host
    words = ["add-user", "--json", "newcomer", "--key", KEY]
    repair = covered("etc/jailctl/keys", "1m", False, "ro")(host)
    try:
        (done,) = cli.calls(host, [words])
        assert done.status in (9, 10) and "Read-only" in done.error["message"] and done.error["hint"]
        assert host.ssh("newcomer", "true", key=host.key(USER)).returncode == 255
        damage.others_are_fine(people, USER)
    finally:
        repair()
    assert cli.calls(host, [words])[0].status == 0
    assert host.ssh("newcomer", "hostname", key=host.key(USER)).stdout == "newcomer\n"
    host.jailctl("remove-user", "newcomer")


OURS = ["etc/jailctl", "etc/jailctl/keys", "etc/jailctl/jails.d", "etc/jailctl/templates", "var/lib/jailctl",
        "var/lib/jailctl/images", "var/lib/jailctl/jails"]  # fmt: skip


@pytest.mark.parametrize("path", OURS)
def test_a008_a123_our_directories_open_to_all(people: Pair, path: str) -> None:
    """doctor fails and names it; add-user refuses to put anything there, or it closes the directory first."""
    host = people.host
    repair = mode(path, 0o777)(host)
    try:
        assert any(f"/{path}" in finding.seen for finding in failures(host))
        (done,) = cli.calls(host, [["add-user", "--json", "newcomer", "--key", KEY]])
        if done.status == 0:
            assert (host.root / path).stat().st_mode & 0o022 == 0
        else:
            assert done.error["code"] == "unsafe.path" and f"/{path}" in done.error["message"]
    finally:
        repair()
        if "\nnewcomer:" in (host.root / "etc/passwd").read_text():
            host.jailctl("remove-user", "newcomer")
    damage.others_are_fine(people, USER)


VERBS = {
    "remove-user": "missing.jail", "show": "missing.jail", "start": "missing.jail", "stop": "missing.jail",
    "enter": "missing.jail", "exec": "missing.jail",
}  # fmt: skip


def test_refusal_no_such_jail(people: Pair) -> None:
    host = people.host
    before = state(host)
    many = [[verb, "--json", "nothere", *(["--", "true"] if verb == "exec" else [])] for verb in VERBS]
    for (verb, code), done in zip(VERBS.items(), cli.calls(host, many), strict=True):
        assert (done.status, done.out, done.error["code"]) == (3, "", code), (verb, done)
        assert done.error["hint"]
    (foreign,) = cli.calls(host, [["remove-user", "--json", people.free]])
    assert (foreign.status, foreign.error["code"]) == (4, "conflict.not-ours") and foreign.error["hint"]
    assert changes(before, host) == []


@pytest.mark.parametrize("release", ["5.18.0-4-amd64", "4.19.0", "3.10.0-1160.el7.x86_64", "nonsense"])
def test_refusal_a_kernel_that_is_too_old(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one place that asks for the version, told another one."""
    real = os.uname()
    told = os.uname_result((real.sysname, real.nodename, release, real.version, real.machine))
    host = check.Host(Paths())
    (fine,) = kernel._version(host)
    assert fine.state == "ok"
    monkeypatch.setattr(os, "uname", lambda: told)
    (finding,) = kernel._version(host)
    assert finding.state == "fail" and release in finding.seen and "5.19" in finding.seen and finding.mend


@pytest.mark.parametrize("call", ["mount_setattr", "open_tree", "fsopen", "move_mount"])
def test_refusal_a_kernel_without_a_call(people: Pair, call: str) -> None:
    """What an older kernel answers: ENOSYS. jailctl start says which call, and where to look."""
    host = people.host
    damage.chill(host, USER)
    strace = ["/usr/bin/strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:error=ENOSYS"]
    done = host.run([*strace, "/usr/local/sbin/jailctl", "start", USER])
    assert done.returncode == 12 and USER in done.stderr and "not implemented" in done.stderr, done
    assert "hint: jailctl doctor" in done.stderr
    uid = host.ids(USER)[0]
    assert not any(uid in process.uids for process in host.processes())
    damage.others_are_fine(people, USER)
