"""What the hook refuses: each with one dull line, one log line with a stable code, and no session."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from jailkit.jail import recipe as recipes

from .caller import CLOSE, OPEN, Caller, chill, refused, warm
from .lab import DULL, UID, USER, Lab

# -- refused


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../x",
        "a/b",
        "-x",
        "--root=/",
        "a b",
        "a:b",
        "a,b",
        "a\nb",
        "a\rb",
        "$(id)",
        ";",
        "*",
        ".",
        "..",
        "x" * 33,
        "0",
        "0day",
        "0x1",
        "ALL",
        "all",
        "%g",
        "ünï",
        "a..b",
        "a.",
        "a-",
        "nobody",
        "Dora",
        "root ",
        "root\n",
        "rooT",
        "jailed",
        "jailed-chroot",
        "self",
    ],
)
def test_names(caller: Caller, name: str) -> None:
    """A117; the same grammar as jailkit/names.py, see test_the_same_names."""
    line = refused(caller, {**OPEN, "PAM_USER": name}, "login.bad-name")
    assert "\n" not in line
    assert line.isascii()


def test_the_same_names(caller: Caller) -> None:
    from jailkit.errors import JailkitError
    from jailkit.names import user_name

    for name in [
        "a",
        "_",
        "a_b",
        "a-b",
        "a.b",
        "a1",
        "x" * 32,
        "1a",
        "a" * 33,
        "a--b",
        "_.",
        "a._",
        "A",
        "tags",
        "nogroup",
        "b.c-d_e",
    ]:
        try:
            user_name(name)
            good = True
        except JailkitError:
            good = False
        caller.run({**OPEN, "PAM_USER": name})
        log = caller.lab.lines()
        assert ("code=login.bad-name" in log[0]) is not good, name


def test_log_lines_cannot_be_forged(caller: Caller) -> None:
    """A135: one line, whose values are single words that can be read back."""
    line = refused(
        caller,
        {**OPEN, "PAM_SERVICE": "x\nuser=root code=none", "PAM_RHOST": "a b=c,d\\\x1b[2Jé"},
        "login.service-denied",
    )
    words = dict(word.split("=", 1) for word in line.split() if "=" in word)
    assert words["service"] == r"x\x0auser\x3droot\x20code\x3dnone"
    assert words["rhost"] == r"a\x20b\x3dc\x2cd\x5c\x1b[2J\xc3\xa9"
    assert words["user"] == USER


def test_no_jail(caller: Caller, product: Path) -> None:
    refused(caller, {**OPEN, "PAM_USER": "nemo"}, "login.no-jail")


def test_disabled(caller: Caller, product: Path) -> None:
    chill(caller.lab)
    recipes.save(caller.lab.paths, caller.lab.recipe.but(disabled="unpaid"))
    try:
        refused(caller, OPEN, "login.disabled")
    finally:
        recipes.save(caller.lab.paths, caller.lab.recipe)
    assert not warm(caller.lab)


BROKEN: dict[str, str | None] = {
    "missing": None,
    "not executable": "",
    "exits 1": "#!/bin/sh\nexit 1\n",
    "says yes and does nothing": "#!/bin/sh\nexit 0\n",
    "killed": "#!/bin/sh\nkill -9 $$\n",
    "crashes": "#!/bin/sh\nkill -11 $$\n",
    "bad interpreter": "#!/nowhere\n",
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_start(caller: Caller, product: Path, case: str) -> None:
    """A186, A188."""
    chill(caller.lab)
    product.unlink()
    text = BROKEN[case]
    if text is not None:
        product.write_text(text)
        product.chmod(0o755 if text else 0o644)
    refused(caller, OPEN, "login.start-failed")
    assert not warm(caller.lab)


def test_start_that_takes_for_ever(caller: Caller, product: Path) -> None:
    """Ended after the time compiled in (2 s here), with all that it had started."""
    chill(caller.lab)
    product.unlink()
    product.write_text("#!/bin/sh\ntrap '' TERM HUP INT\n/bin/sleep 987 & /bin/sleep 987\n")
    product.chmod(0o755)
    begin = time.monotonic()
    refused(caller, OPEN, "login.start-failed")
    assert 1.5 < time.monotonic() - begin < 6
    time.sleep(0.1)
    assert subprocess.run(["/usr/bin/pgrep", "-f", "^/bin/sleep 987"], stdout=subprocess.DEVNULL).returncode == 1


def test_service(caller: Caller) -> None:
    """A076, A077: what is not on the list opens no session; part of a name is no name."""
    for service in ("cron", "atd", "vsftpd", "", "ssh", "sshdx", "su-", "sudo", "runuser", "other"):
        refused(caller, {**OPEN, "PAM_SERVICE": service}, "login.service-denied")
        caller.out.unlink()


@pytest.mark.parametrize("change", ["record", "directory", "jails", "names"])
def test_unsafe_paths(caller: Caller, change: str) -> None:
    lab = caller.lab
    path = {
        "record": Path(lab.paths.record(UID)),
        "directory": lab.directory,
        "jails": Path(lab.paths.run_jails),
        "names": Path(lab.paths.run_names),
    }[change]
    mode = path.stat().st_mode & 0o7777
    path.chmod(mode | 0o002)
    try:
        refused(caller, OPEN, "login.path-unsafe")
    finally:
        path.chmod(mode)


def test_names_that_point_elsewhere(caller: Caller, product: Path) -> None:
    """The link is read, never followed; what it says must be a uid whose record is this user's."""
    link = Path(f"{caller.lab.paths.run_names}/nemo")
    for target in (
        f"../jails/{UID}",
        "../jails/0",
        "../jails/01",
        "../jails/-1",
        "../jails/4294967295",
        "../jails/99999999999999",
        "../../../etc",
        f"../jails/{UID}/../{UID}",
        f"/srv/{UID}",
        "../jails/",
    ):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        try:
            assert caller.run({**OPEN, "PAM_USER": "nemo"}) == 1, target
        finally:
            link.unlink(missing_ok=True)
        assert not caller.record.exists()
    caller.lab.lines()


def test_group_that_cannot_be_joined(caller: Caller) -> None:
    """A limit that cannot be held is a refusal, and leaves no verdict behind."""
    caller.lab.changed(cgroups=("/sys/fs/cgroup/nowhere/cgroup.procs",))
    refused(caller, OPEN, "login.kernel")


def test_not_root(lab: Lab) -> None:
    lab.sessions.joinpath(str(os.getpid())).unlink()
    for uid, gid in ((UID, UID), (UID, 0)):
        done = subprocess.run(
            [lab.programs.path("hook")], env=OPEN, user=uid, group=gid, extra_groups=[], capture_output=True
        )
        assert (done.returncode, done.stdout) == (1, DULL)
    assert list(lab.sessions.iterdir()) == []
    lab.lines()


@pytest.mark.parametrize("kind", ["", "auth", "account", "setcred", "chauthtok", "OPEN_SESSION"])
def test_other_kinds_of_call(caller: Caller, kind: str) -> None:
    refused(caller, {**OPEN, "PAM_TYPE": kind}, "login.bad-args")


def test_root_is_never_touched(caller: Caller) -> None:
    """Break glass: whatever is broken, whatever the call."""
    run = Path(caller.lab.paths.run)
    run.chmod(0o777)
    try:
        for env in ({**OPEN, "PAM_USER": "root"}, {**CLOSE, "PAM_USER": "root"}, {"PAM_USER": "root"}):
            assert caller.run(env) == 0
    finally:
        run.chmod(0o755)
    assert caller.out.read_bytes() == b""
    assert caller.lab.lines() == []


# -- su

OVERRIDES = [
    "-s /bin/sh dora",
    "-s/bin/sh dora",
    "--shell /bin/sh dora",
    "--shell=/bin/sh dora",
    "--she=/bin/sh dora",
    "--s=/bin/sh dora",
    "-m dora",
    "-p dora",
    "--preserve-environment dora",
    "--pre dora",
    "-lp dora",
    "-flm dora",
    "- dora -s /bin/sh",
    "dora -c true -p",
    "-c true -m dora",
    "-fs /bin/sh dora",
    "dora --shell=/bin/sh",
    "-w TERM -p dora",
    "--command true -m dora",
    "-G jailed -p dora",
]
PLAIN = [
    "dora",
    "- dora",
    "-l dora",
    "-c true dora",
    "dora -c -s",
    "dora -c --shell=/bin/sh",
    "-cps dora",
    "- dora -- -s -m -p",
    "--login dora",
    "-P dora",
    "--pty dora",
    "--command=-s dora",
    "--command -s dora",
    "-g jailed dora",
    "-w -s dora",
    "--session-command=true dora",
    "--session-command -m dora",
    "-T dora",
    "-fl dora",
]


@pytest.mark.parametrize("arguments", OVERRIDES)
def test_su_with_another_shell(lab: Lab, program: Path, arguments: str) -> None:
    lab.sessions.joinpath(str(os.getpid())).unlink()
    with Caller(lab, program, ["su", *arguments.split()]) as caller:
        refused(caller, {**OPEN, "PAM_SERVICE": "su"}, "login.shell-override")


@pytest.mark.parametrize("arguments", PLAIN)
def test_su(lab: Lab, program: Path, arguments: str) -> None:
    with Caller(lab, program, ["su", *arguments.split()]) as caller:
        assert caller.run({**OPEN, "PAM_SERVICE": "su-l"}) == 0
    assert lab.lines() == []


def test_su_with_a_long_command(lab: Lab, program: Path) -> None:
    with Caller(lab, program, ["su", "dora", "-c", "x" * 100000]) as caller:
        assert caller.run({**OPEN, "PAM_SERVICE": "su"}) == 0
    with Caller(lab, program, ["su", "dora", "-c", "x" * 130000, "y" * 10000]) as caller:
        refused(caller, {**OPEN, "PAM_SERVICE": "su"}, "login.shell-override")
