"""A chroot jail: what sshd serves of it ends in its directory, and all else that an account opens is refused.

Pains of every guide to ChrootDirectory ("bad ownership or modes for chroot directory", atmoz/sftp#46), forwarding by
accounts without a shell (ansible-sftp), sftp that takes another way than the shell (lshell#110). Attacks A005, A008,
A010, A011, A042, A058, A062, A077, A186. Each probe is first made by an ordinary user, for whom it works.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Callable, Iterator

import pytest

from ..host import Host, wait_for
from ..host.host import PYTHON, Result
from ..ways.ways import INTERNAL_PORT, PASSWORD
from . import damage
from .test_hook_broken import HOOKS, PAM, script
from .world import Flag, Pair, Secret, pair

pytestmark = pytest.mark.host
USER, SHELL = "drop", "dropshell"


@pytest.fixture(scope="module")
def people() -> Iterator[Pair]:
    with Host() as host:
        host.jailctl("setup")
        both = pair(host, USER, "--template", "sftp-only")
        host.jailctl("add-user", SHELL, "--key", f"{host.key(SHELL)}.pub")
        host.run(["/usr/sbin/chpasswd"], input=f"{USER}:{PASSWORD}\n{both.free}:{PASSWORD}\n", check=True)
        internal = host.stock_sshd_config.replace("/usr/lib/openssh/sftp-server", "internal-sftp")
        with host.sshd_on(INTERNAL_PORT, internal):
            yield both


def served(people: Pair, user: str = USER, port: int = 22) -> bool:
    """Whether sftp works; what it must show then."""
    done = people.host.sftp(user, "pwd\n", opts=["-o", f"Port={port}"])
    assert (done.returncode == 0) == ("/files\n" in done.stdout)
    return done.returncode == 0


def by_password(people: Pair) -> bool:
    """The same for who has no key that counts."""
    options = ["-o", "PubkeyAuthentication=no"]
    argv = [word for word in people.host.sftp_argv(USER, opts=options) if word not in ("-b", "-")]
    with people.host.terminal(argv) as terminal:
        terminal.expect("password: ")
        terminal.sendline(PASSWORD)
        return bool(terminal.expect(["sftp> ", "closed", "denied"]) == 0)


@contextlib.contextmanager
def damaged(people: Pair, change: damage.Damage) -> Iterator[None]:
    assert served(people)
    repair = change(people.host)
    try:
        yield
    finally:
        repair()


def link(people: Pair) -> str:
    return f"/run/jailctl/jails/{people.host.ids(USER)[0]}/chroot"


# -- where it ends


@pytest.mark.parametrize("port", [22, INTERNAL_PORT])
def test_a062_every_process_of_hers_is_in_her_directory(people: Pair, port: int) -> None:
    """Seen from outside, while a transfer is held open. Of the ordinary user the kernel says the opposite."""
    host = people.host
    init, home = host.processes()[0], os.stat(people.home(USER))
    for user in (people.free, USER):
        uid, gid, groups = host.ids(user)
        with host.spawn(host.sftp_argv(user, opts=["-o", f"Port={port}"])) as client:
            assert client.stdin and client.stdout
            client.stdin.write(b"pwd\n")
            wait_for(lambda: any(uid in p.uids and "sftp" in " ".join(p.argv) for p in host.processes()), 10)  # noqa: B023
            found = [process for process in host.processes() if uid in process.uids]
            for process in found:
                assert process.root == (init.root if user == people.free else (home.st_dev, home.st_ino))
                assert (process.uids, process.gids) == ((uid,) * 4, (gid,) * 4) and process.groups == tuple(groups)
                assert not process.caps["CapEff"] | process.caps["CapPrm"] | process.caps["CapInh"]
            if user == USER:
                assert all(process.name.startswith("sshd") for process in found)
                check_descriptors(found[-1].fd_kinds, found[-1].argv)
                assert os.stat(f"/proc/{found[-1].pid}/environ").st_uid == 0, "it can be traced by her other processes"


def check_descriptors(kinds: dict[int, int], argv: tuple[str, ...]) -> None:
    """A011: of the process that serves."""
    assert "internal-sftp" in argv[0]
    assert set(kinds.values()) <= {stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR}, kinds
    assert set(kinds) <= {0, 1, 2, 3, 4}, kinds


def test_the_session_is_written_down(people: Pair) -> None:
    host = people.host
    with host.spawn(host.sftp_argv(USER)) as client:
        assert client.stdin
        client.stdin.write(b"pwd\n")
        sessions = host.root / f"run/jailctl/jails/{host.ids(USER)[0]}/sessions"
        wait_for(lambda: os.path.lexists(host.root / link(people)[1:]), 10)
        assert os.readlink(host.root / link(people)[1:]) == f"/home/{USER}"
        assert len(list(sessions.glob("[0-9]*"))) == 1
    wait_for(lambda: not os.path.lexists(host.root / link(people)[1:]), 5, "the way in is still open")


# -- what is refused


Probe = Callable[[Pair, str, Flag], Result]


def ssh(command: str | None, *options: str, tty: bool = False) -> Probe:
    def probe(people: Pair, user: str, flag: Flag) -> Result:
        text = None if command is None else command.replace("FLAG", flag.path)
        lines = f"touch {flag.path}\nexit\n" if command is None else ""
        return people.host.ssh(user, text, opts=options, tty=tty, input=lines)

    return probe


def run(*argv: str, input: str = "") -> Probe:
    def probe(people: Pair, user: str, flag: Flag) -> Result:
        shell = shlex.join(people.host.ssh_argv(user, opts=["-o", "BatchMode=yes"])[:-1])
        words = {"USER": user, "FLAG": flag.path, "SHELL": shell}
        filled = [_fill(word, words) for word in argv]
        return people.host.run(filled, input=_fill(input, words))

    return probe


def _fill(text: str, words: dict[str, str]) -> str:
    for key, value in words.items():
        text = text.replace(key, value)
    return text


def with_scp(people: Pair, user: str, flag: Flag) -> Result:
    return people.host.scp(user, ["/etc/hostname"], f":{flag.path}", opts=["-O"])


REFUSED: dict[str, Probe] = {
    "command": ssh("touch FLAG"),
    "shell": ssh(None),
    "shell with a terminal": ssh(None, tty=True),
    "command with a terminal": ssh("touch FLAG", tty=True),
    "sftp-server as a command": ssh("/usr/lib/openssh/sftp-server < /dev/null; touch FLAG"),
    "internal-sftp as a command": ssh("internal-sftp < /dev/null; touch FLAG"),
    "scp -O": with_scp,
    "rsync": run("/usr/bin/rsync", "-e", "SHELL", "/etc/hostname", "USER@127.0.0.1:FLAG"),
    "su": run("/bin/su", "USER", "-c", "touch FLAG"),
    "su -": run("/bin/su", "-", "USER", "-c", "touch FLAG"),
    "login": run("/usr/bin/script", "-qec", "/bin/login -f USER", "/dev/null", input="touch FLAG\nexit\n"),
    "runuser": run("/sbin/runuser", "-l", "USER", "-c", "touch FLAG"),
}


@pytest.mark.parametrize("way", REFUSED)
def test_a062_a077_what_is_no_transfer_is_refused(people: Pair, way: str) -> None:
    assert served(people), "the account as such is open"
    for user, works in ((people.free, True), (USER, False)):
        flag = Flag(people.host)
        done = REFUSED[way](people, user, flag)
        assert flag.raised() == works, (user, done.stdout, done.stderr)
        assert not (people.home(user) / flag.path[1:]).exists()
        if not works:
            assert done.returncode != 0, done
    uid = people.host.ids(USER)[0]
    assert [p.argv for p in people.host.processes() if uid in p.uids and not p.name.startswith("sshd")] == []


def test_a062_the_way_to_ask_that_works_elsewhere(people: Pair) -> None:
    """A subsystem of another name, and git: nothing of them is there."""
    host = people.host
    for words in (["-s", f"{USER}@127.0.0.1", "netconf"], [f"{USER}@127.0.0.1", "git-upload-pack x"]):
        done = host.run([*host.ssh_argv(USER, opts=["-o", "BatchMode=yes"])[:-1], *words], input="")
        assert done.returncode != 0 and (done.stdout == "" or "sftp connections only" in done.stdout), done


LISTEN = """
import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 7103))
s.listen(8)
print("up", flush=True)
while True:
    c, _ = s.accept()
    c.sendall(b"canary\\n")
    c.close()
"""


def test_a058_no_forwarding(people: Pair) -> None:
    host = people.host
    with host.spawn([PYTHON, "-I", "-c", LISTEN]) as service:
        assert service.stdout and service.stdout.read(3) == b"up\n"
        for user, works in ((people.free, True), (USER, False)):
            done = host.ssh(user, opts=["-W", "127.0.0.1:7103"])
            assert (done.stdout == "canary\n") == works, done
            back = ["-N", "-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:7104:127.0.0.1:22"]
            with host.ssh_spawn(user, opts=back) as tunnel:
                assert tunnel.wait(2 if works else 10) == (None if works else 255)


# -- what it shows


def test_a005_links_lead_nowhere_else(people: Pair) -> None:
    host, secret = people.host, Secret(people.host)
    up = "../" * 12
    targets = {
        "absolute": secret.path, "up": f"{up}{secret.path[1:]}", "top": "/", "proc": f"/proc/self/root{secret.path}",
    }  # fmt: skip
    for user, works in ((people.free, True), (USER, False)):
        for name, target in targets.items():
            inner = f"top{secret.path}" if name == "top" else name
            link_it = f"ln -s {target} {name}\n"
            done = host.sftp(user, f"-rm {name}\n{link_it}-get {inner} /var/tmp/got\n-put /etc/hostname {inner}x\n")
            got = host.root / "var/tmp/got"
            assert got.exists() == works, (user, name, done.stdout, done.stderr)
            if works:
                assert got.read_text() == secret.text + "\n"
                got.unlink()
    assert secret.intact
    for path in (secret.path, f"{up}{secret.path[1:]}", "/proc", "/home", "/home/USER", "/usr", "/run"):
        assert host.sftp(people.free, f"ls {path.replace('USER', people.free)}\n").returncode == 0
        assert host.sftp(USER, f"ls {path.replace('USER', USER)}\n").returncode == 1


def test_nothing_above_hers_can_be_written(people: Pair) -> None:
    host = people.host
    for command in (
        "mkdir /x", "put /etc/hostname /x", "put /etc/hostname /etc/x", "put /etc/hostname /etc/passwd", "rmdir /files",
        "rename /files /x", "rm /etc/passwd", "chmod 777 /", "chmod 777 /etc", "ln -s /x /x",
    ):  # fmt: skip
        done = host.sftp(USER, f"{command}\n")
        assert done.returncode == 1 and ("denied" in done.stderr or "not permitted" in done.stderr), (command, done)
    assert sorted(path.name for path in people.home(USER).iterdir()) == ["etc", "files"]


def test_a042_what_she_leaves_cannot_be_reached_by_others(people: Pair) -> None:
    """She may give it any mode, set-user-id too; it is the directory around it that keeps others away."""
    host = people.host
    for user, place in ((people.free, f"/home/{people.free}"), (USER, f"/home/{USER}/files")):
        host.run(["/bin/chmod", "755", f"/home/{people.free}"], check=True)
        assert host.sftp(user, "put /usr/bin/id id\nchmod 4777 id\n-chmod 777 /files\n").returncode == 0
        assert host.run(["/usr/bin/stat", "-c", "%a", f"{place}/id"]).stdout == "4777\n"
        ran = host.run([f"{place}/id", "-u"], user="nobody")
        read = host.run(["/bin/cat", f"{place}/id"], user="nobody")
        if user == USER:
            assert "Permission denied" in read.stderr and ran.returncode != 0
        else:
            assert ran.stdout == f"{host.ids(user)[0]}\n" and read.returncode == 0
    host.sftp(USER, "chmod 700 /files\nrm id\n")


# -- the directories


CHANGES = {
    "0777": lambda host, path: os.chmod(host.root / path, 0o777),
    "group": lambda host, path: os.chmod(host.root / path, 0o775),
    "hers": lambda host, path: os.chown(host.root / path, host.ids(USER)[0], -1),
}


@contextlib.contextmanager
def changed(host: Host, path: str, change: str) -> Iterator[None]:
    real = host.root / path
    before = real.stat()
    if change == "link":
        aside = real.with_name(f"{real.name}.real")
        real.rename(aside)
        real.symlink_to(f"{real.name}.real")
        yield
        real.unlink()
        aside.rename(real)
        return
    CHANGES[change](host, path)
    yield
    os.chown(real, before.st_uid, before.st_gid)
    os.chmod(real, stat.S_IMODE(before.st_mode))


@pytest.fixture(scope="module")
def deep(people: Pair) -> str:
    """A home that has more above it, which only tests may break."""
    host = people.host
    host.run(["/bin/mkdir", "-p", "/srv/www/sites"], check=True)
    host.jailctl("add-user", "deep", "--template", "sftp-only", "--set", "home=/srv/www/sites/deep",
                 "--key", f"{host.key('deep')}.pub")  # fmt: skip
    return "deep"


DEEP = [(path, change) for path in ("srv", "srv/www", "srv/www/sites", "srv/www/sites/deep")
        for change in ("0777", "group", "hers", "link") if (path, change) != ("srv", "link")]  # fmt: skip
"""/srv of a throw-away host is a mount point: nothing that could be replaced."""


@pytest.mark.parametrize(("path", "change"), DEEP)
def test_a008_the_wrong_component_is_refused_and_named(people: Pair, deep: str, path: str, change: str) -> None:
    """By the start of a cold jail, by the hook of a warm one; and by the doctor, with a command that mends it."""
    host = people.host
    host.jailctl("stop", deep)
    for tag in ("jailctl-start", "jailctl-hook"):
        with changed(host, path, change):
            mark = len(host.syslog())
            assert not served(people, deep)
            assert f"/{path}" in host.wait_syslog(tag, after=mark).partition("code=")[2], tag
            if tag == "jailctl-start":
                found = host.jailctl("doctor", "paths.homes", check=False)
                assert found.returncode == 21 and f"/{path} " in found.stdout
                mend = [line.partition("mend: ")[2] for line in found.stdout.splitlines() if "mend: " in line]
                if change != "link":
                    for _ in range(2):  # its owner, then its mode
                        host.run(["/bin/sh", "-c", mend[-1]], check=True)
                        again = host.jailctl("doctor", "paths.homes", check=False)
                        mend = [line.partition("mend: ")[2] for line in again.stdout.splitlines() if "mend: " in line]
                        if not mend:
                            break
                    assert again.returncode == 0, again.stdout
        assert served(people, deep), "warm now"


def test_a010_a_directory_above_is_swapped_while_she_logs_in(people: Pair, deep: str) -> None:
    """By somebody who may write where it stands, for a link to a directory of root's with the same names. As long as it
    is so the hook refuses, whichever it finds; and when it is so no more, nobody can swap. (sshd itself goes by path,
    and follows links of root's: a swap by root between the hook and sshd would be followed.)"""
    host = people.host
    host.run(["/bin/mkdir", "-p", "/srv/evil/deep"], check=True)
    host.run(["/bin/ln", "-s", "/srv/evil", "/srv/www/other"], check=True)
    assert served(people, deep)
    with changed(host, "srv/www", "0777"):
        with host.spawn([PYTHON, "-I", "-c", SWAP], user="nobody") as swapper:
            assert swapper.stdout and swapper.stdout.readline() == b"swaps\n"
            for state in (True, False):
                wait_for(lambda: (host.root / "srv/www/sites").is_symlink() == state, 10, "no swaps")  # noqa: B023
            answers = [served(people, deep) for _ in range(20)]
            (host.root / "tmp/swapped-enough").touch()
            swapper.wait(5)
        assert not any(answers)
    if (host.root / "srv/www/sites").is_symlink():
        assert not served(people, deep), "left as the attacker wants it"
        host.run(["/bin/rm", "/srv/www/sites"], check=True)
        host.run(["/bin/mv", "/srv/www/other", "/srv/www/sites"], check=True)
    assert served(people, deep)


SWAP = """
import ctypes, os
number = {"x86_64": 316, "aarch64": 276}[os.uname().machine]  # renameat2, RENAME_EXCHANGE
syscall = ctypes.CDLL(None).syscall
print("swaps", flush=True)
while not os.path.exists("/tmp/swapped-enough"):
    for _ in range(101):
        syscall(number, -100, b"/srv/www/sites", -100, b"/srv/www/other", 2)
"""


# -- the two gates


def test_a186_the_link_is_the_second_gate(people: Pair) -> None:
    """Where the hook said nothing sshd finds no directory. It is this which refuses: with the link it would serve."""
    host = people.host
    assert served(people)
    wait_for(lambda: not os.path.lexists(host.root / link(people)[1:]), 5)
    with damaged(people, script("exit 0")):
        mark = len(host.syslog())
        assert not served(people) and not served(people, port=INTERNAL_PORT)
        host.wait_syslog("No such file or directory", after=mark)
        (host.root / link(people)[1:]).symlink_to(f"/home/{USER}")
        assert served(people)
        (host.root / link(people)[1:]).unlink()
    assert served(people)


@pytest.mark.parametrize("case", HOOKS)
def test_a186_a_broken_hook(people: Pair, case: str) -> None:
    with damaged(people, HOOKS[case]):
        assert not served(people) and not served(people, port=INTERNAL_PORT)
        damage.others_are_fine(people)
    assert served(people)


@pytest.mark.parametrize("case", PAM)
def test_a186_pam(people: Pair, case: str) -> None:
    change, expected = PAM[case]
    wait_for(lambda: not os.path.lexists(people.host.root / link(people)[1:]), 5)
    with damaged(people, change):
        assert served(people) == (expected == "inside")
    wait_for(lambda: not os.path.lexists(people.host.root / link(people)[1:]), 5)


def test_a186_without_pam(people: Pair) -> None:
    host = people.host
    host.sshd_restart(host.stock_sshd_config.replace("UsePAM yes", "UsePAM no"))
    try:
        assert not served(people)
        assert host.sftp(people.free, "pwd\n").returncode == 0
    finally:
        host.sshd_restart(host.stock_sshd_config)
    assert served(people)


def test_a_shell_user_in_the_wrong_group_is_refused_by_sshd(people: Pair) -> None:
    host = people.host
    assert host.ssh(SHELL, "id -un").stdout == f"{SHELL}\n"
    host.run(["/usr/bin/gpasswd", "-a", SHELL, "jailed-chroot"], check=True)
    mark = len(host.syslog())
    for done in (host.ssh(SHELL, "id -un"), host.sftp(SHELL, "pwd\n"), host.ssh(SHELL, tty=True, input="id\n")):
        assert done.returncode == 255 and SHELL not in done.stdout, done
    host.wait_syslog("/chroot", after=mark)
    assert f"gpasswd -d {SHELL} jailed-chroot" in host.jailctl("doctor", "accounts.levels", check=False).stdout
    host.jailctl("add-user", SHELL)
    assert host.ssh(SHELL, "id -un").stdout == f"{SHELL}\n"


def test_who_lost_the_group_of_chroot_jails_comes_to_the_door(people: Pair) -> None:
    host = people.host
    with left(people, "jailed-chroot"):
        mark, flag = len(host.syslog()), Flag(host)
        assert not served(people) and not served(people, port=INTERNAL_PORT) and not by_password(people)
        assert host.ssh(USER, f"touch {flag.path}").returncode != 0 and not flag.raised()
        host.wait_syslog(f"refused user={USER} uid={host.ids(USER)[0]} code=login.service-denied", after=mark)
    assert served(people)


def test_who_lost_the_group_of_all_jails_finds_no_directory(people: Pair) -> None:
    """PAM does not ask the hook. Her key counts no more either, but a password would."""
    with left(people, "jailed"):
        mark = len(people.host.syslog())
        assert not served(people) and not served(people, port=INTERNAL_PORT) and not by_password(people)
        people.host.wait_syslog("/chroot", after=mark)
    assert served(people) and by_password(people)


@contextlib.contextmanager
def left(people: Pair, group: str) -> Iterator[None]:
    people.host.run(["/usr/bin/gpasswd", "-d", USER, group], check=True)
    try:
        yield
    finally:
        people.host.run(["/usr/bin/gpasswd", "-a", USER, group], check=True)


def test_a108_while_it_is_taken_apart_nobody_comes_in(people: Pair) -> None:
    """By password, as the key goes first."""
    host = people.host
    recipe = host.root / f"var/lib/jailctl/jails/{USER}/recipe"
    before = recipe.read_text()
    assert by_password(people)
    host.jailctl("stop", USER)
    recipe.write_text(before.replace("disabled ", "disabled being removed"))
    assert not by_password(people)
    recipe.write_text(before)
    assert by_password(people)
