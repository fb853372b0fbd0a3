"""Limits by effect: what a jail may use, and who notices when it takes more. With real logins, on a throw-away host."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host import Host, Terminal, wait_for

pytestmark = pytest.mark.host
LOG = "jailctl-hook"
LOOPS = "for i in 1 2 3 4; do python3 -c 'while True: pass' & done; wait"


def user(host: Host, name: str, *settings: str, plan: str = "") -> int:
    sets = [f"--set={setting}" for setting in settings]
    host.jailctl("add-user", name, "--key", host.key(name) + ".pub", *(["--plan", plan] if plan else []), *sets)
    return host.ids(name)[0]


def write_plan(host: Host, name: str, text: str) -> None:
    folder = host.root / "etc/jailctl/plans.d"
    folder.mkdir(mode=0o755, exist_ok=True)
    (folder / f"{name}.toml").write_text(f'name = "{name}"\n{text}')


def keepers(host: Host, uid: int) -> list[int]:
    return [p.pid for p in host.processes() if p.name == "keeper" and uid in p.uids]


def logins(host: Host, name: str, times: int = 3) -> float:
    """Seconds that one takes, the quickest of some."""
    found = []
    for _ in range(times):
        begin = time.monotonic()
        assert host.ssh(name, "true", timeout=60).returncode == 0
        found.append(time.monotonic() - begin)
    return min(found)


def unharmed(host: Host, name: str, command: str) -> None:
    """While ``name`` runs ``command``, a login next door takes less than twice the time that it takes without. Others
    work on this machine, too: so both are measured together, and some attempts."""
    ratios = []
    for _ in range(4):
        before = logins(host, "neighbour")
        with host.spawn(host.ssh_argv(name, command)):
            time.sleep(1)
            ratios.append(logins(host, "neighbour") / before)
            host.jailctl("stop", name)
        if ratios[-1] < 2:
            return
    raise AssertionError(f"a login takes {min(ratios):.1f} times as long")


def used(host: Host, seconds: float, *uids: int) -> list[float]:
    """Seconds of CPU time that each jail uses meanwhile; its four busy loops run."""

    def read(uid: int) -> int:
        return int((host.root / f"sys/fs/cgroup/cpuacct/jailctl/{uid}/cpuacct.usage").read_text())

    for uid in uids:
        wait_for(lambda uid=uid: sum(p.name == "python3" and uid in p.uids for p in host.processes()) == 4, 30)
    before = [read(uid) for uid in uids]
    time.sleep(seconds)
    return [(read(uid) - was) / 1e9 for uid, was in zip(uids, before, strict=True)]


@pytest.fixture(scope="module", autouse=True)
def neighbour(host: Host) -> Iterator[None]:
    """The jail next door, which does no harm and has no limits."""
    user(host, "neighbour")
    logins(host, "neighbour", 1)
    yield
    host.jailctl("remove-user", "neighbour")


@pytest.fixture(scope="module", autouse=True)
def idler(host: Host) -> Iterator[tuple[int, Terminal]]:
    """A terminal on which nothing is typed, from the beginning: its test is the last."""
    uid = user(host, "idler", "limits.idle=3", "linger=1")
    with host.ssh_terminal("idler") as terminal:
        terminal.expect(r"\$ ")
        yield uid, terminal
    host.jailctl("remove-user", "idler")


def test_a178_fork_bomb(host: Host) -> None:
    uid = user(host, "bomber", "limits.processes=40", "limits.cpu=0.5")
    try:
        bomb = "import os\nwhile True:\n try: os.fork()\n except OSError: pass\n"
        with host.spawn(host.ssh_argv("bomber", f"python3 -c '{bomb}'")):
            group = host.root / f"sys/fs/cgroup/pids/jailctl/{uid}"
            wait_for(lambda: (group / "pids.current").exists(), 10)
            wait_for(lambda: int((group / "pids.current").read_text()) >= 40, 10, "it grows as far as it may")
            keeper = keepers(host, uid)
            assert "code=limit.processes" in host.wait_syslog("user=bomber code=limit", timeout=20)
            assert keepers(host, uid) == keeper and host.watched(uid)
            host.jailctl("stop", "bomber")
        assert not [p for p in host.processes() if uid in p.uids]
        assert not group.exists()
        unharmed(host, "bomber", f"python3 -c '{bomb}'")
    finally:
        host.jailctl("remove-user", "bomber")


def test_a179_memory(host: Host) -> None:
    """Only the hog is ended: not her other session, whose terminal says so, and nothing of ours. Next door nobody
    notices, be there busy loops as well."""
    uid = user(host, "hog", "limits.memory=64M", "limits.swap=0", "limits.cpu=0.3")
    try:
        with host.ssh_terminal("hog") as terminal:
            terminal.expect(r"\$ ")
            keeper = keepers(host, uid)
            done = host.ssh("hog", "python3 -c 'bytearray(300 << 20)'; echo $?")
            assert done.stdout == "137\n"
            terminal.expect("This account has used up its memory: a process of it was ended")
            assert "code=limit.memory" in host.wait_syslog("user=hog code=limit")
            terminal.sendline("echo still $((20 + 3))")
            terminal.expect("still 23")
            assert keepers(host, uid) == keeper and host.watched(uid)
        unharmed(host, "hog", f"{LOOPS.removesuffix('; wait')}; while :; do python3 -c 'bytearray(300 << 20)'; done")
    finally:
        host.jailctl("remove-user", "hog")


def test_a179_cpu(host: Host) -> None:
    """Of two jails that compete the heavier gets more; busy loops have what they may have from the moment at which it
    is said."""
    light, heavy = user(host, "light", "limits.cpu_weight=10"), user(host, "heavy", "limits.cpu_weight=1000")
    try:
        with host.spawn(host.ssh_argv("light", LOOPS)), host.spawn(host.ssh_argv("heavy", LOOPS)):
            few, many = used(host, 2, light, heavy)
            assert many > 2 * few, f"{many:.2f} and {few:.2f} s"
            host.jailctl("stop", "heavy")
            host.jailctl("set", "light", "limits.cpu=0.2")
            (capped,) = used(host, 2, light)
            assert capped < 0.2 * 2 * 1.5, f"{capped:.2f} s of CPU in 2 s"
            host.jailctl("stop", "light")
    finally:
        for name in ("light", "heavy"):
            host.jailctl("remove-user", name)


def test_a_limit_that_changes_is_there_at_once(host: Host) -> None:
    """For processes that run already: also one of a kind of which there was none."""
    uid = user(host, "changing")
    try:
        with host.ssh_terminal("changing") as terminal:
            terminal.expect(r"\$ ")
            host.jailctl("set", "changing", "limits.memory=64M", "limits.processes=10", "limits.open_files=50")
            terminal.sendline("ulimit -Hn; python3 -c 'bytearray(300 << 20)'; echo status=$?")
            terminal.expect("50\r\n")
            terminal.expect("status=137")
            groups = [p.cgroups for p in host.processes() if uid in p.uids]
            assert groups and all(f"jailctl/{uid}" in group["memory"] for group in groups)
            assert (host.root / f"sys/fs/cgroup/pids/jailctl/{uid}/pids.max").read_text() == "10\n"
            host.jailctl("set", "changing", "limits.processes=unlimited", "limits.memory=")
            assert (host.root / f"sys/fs/cgroup/pids/jailctl/{uid}/pids.max").read_text() == "max\n"
            terminal.sendline("python3 -c 'bytearray(300 << 20)'; echo status=$?")
            terminal.expect("status=0")
    finally:
        host.jailctl("remove-user", "changing")


def test_a_plan_that_changes_changes_its_jails(host: Host) -> None:
    write_plan(host, "small", "[limits]\nopen_files = 60\n")
    uid = user(host, "buyer", plan="small")
    try:
        assert host.ssh("buyer", "ulimit -Hn").stdout == "60\n"
        host.jailctl("image", "build", "minimal")
        write_plan(host, "small", 'template = "minimal"\nlinger = 5\n[limits]\nopen_files = 61\nsessions = 1\n')
        host.jailctl("stop", "buyer")
        assert host.ssh("buyer", "ulimit -Hn").stdout == "61\n"
        recipe = (host.root / "var/lib/jailctl/jails/buyer/recipe").read_text()
        assert "limit.sessions 1\n" in recipe and "linger 5\n" in recipe
        shown = host.jailctl("show", "buyer", "--resolved").stdout
        assert [line.split() for line in shown.splitlines() if "open_files" in line] == [
            ["limits.open_files", "61", "plan", "small"]
        ]
        (host.root / "etc/jailctl/plans.d/small.toml").unlink()
        host.jailctl("stop", "buyer")
        mark = len(host.syslog())
        assert host.ssh("buyer", "true").returncode != 0, "without its plan nobody knows what it may"
        assert "missing.plan" in host.wait_syslog("jailctl-start", after=mark)
    finally:
        host.jailctl("remove-user", "buyer")
        assert not [p for p in host.processes() if uid in p.uids]


def test_a_limit_that_this_host_cannot_hold(host: Host) -> None:
    """Homes are in memory here, which no control group slows."""
    done = host.jailctl("add-user", "reader", "--set", "limits.read=1M", check=False)
    assert done.returncode == 6
    assert "limits.read: /home/reader is not on a disk of this host" in done.stderr
    assert "reader" not in (host.root / "etc/passwd").read_text()


def test_a182_sessions(host: Host) -> None:
    """The user is told; a slot is free again after kill -9; an administrator's way in takes none."""
    uid = user(host, "limited", "limits.sessions=1")
    try:
        with host.spawn(host.ssh_argv("limited", "echo in; sleep 60")) as session:
            wait_for(lambda: list((host.root / "run/jailctl/jails").glob(f"{uid}/sessions/*")), 5)
            done = host.ssh("limited", "id")
            assert done.returncode != 0 and "as many sessions as it may have" in done.stdout + done.stderr
            assert host.jailctl("exec", "limited", "--", "id", "-un").stdout == "limited\n"
            (record,) = (host.root / f"run/jailctl/jails/{uid}/sessions").iterdir()
            host.run(["/bin/kill", "-9", record.name], check=True)
            session.wait(5)
            assert host.ssh("limited", "id -un").stdout == "limited\n"
    finally:
        host.jailctl("remove-user", "limited")


def test_a176_sources_hours_and_the_end(host: Host) -> None:
    """Before a cold jail is started for it. The user, who has proven who she is, is told why."""
    uid = user(host, "elsewhere", "limits.sources=192.0.2.0/24")
    try:
        for setting, told in (
            ("linger=9", "from this address"),
            (f"limits.hours={'thu' if time.localtime().tm_wday < 2 else 'mon'} 03:00-03:01", "at this time"),
        ):
            if "hours" in setting:
                host.jailctl("set", "elsewhere", "limits.sources=none", setting)
            done = host.ssh("elsewhere", "id")
            assert done.returncode != 0 and told in done.stdout + done.stderr
            assert not keepers(host, uid)
            assert host.run(["/bin/su", "-", "elsewhere", "-c", "id -un"]).stdout == (
                "elsewhere\n" if "linger" in setting else ""
            )  # fmt: skip
            host.jailctl("stop", "elsewhere", check=False)
        host.jailctl("set", "elsewhere", "limits.sources=127.0.0.0/8,::1", "limits.hours=none")
        assert host.ssh("elsewhere", "id -un").stdout == "elsewhere\n"
    finally:
        host.jailctl("remove-user", "elsewhere")


def test_files_only(host: Host) -> None:
    """sshd's sftp server is under the limits as well."""
    uid = user(host, "depot", "template=sftp-only", "limits.sessions=1", "limits.open_files=64", "limits.processes=20")
    try:
        with host.spawn([arg for arg in host.sftp_argv("depot") if arg not in ("-b", "-")]):
            wait_for(lambda: [p for p in host.processes() if uid in p.uids], 5)
            (server, *_) = [p for p in host.processes() if uid in p.uids]
            assert server.cgroups["pids"].endswith(f"/jailctl/{uid}")
            assert "Max open files            64                   64" in Path(f"/proc/{server.pid}/limits").read_text()
            assert host.sftp("depot", "ls\n").returncode != 0, "one session"
        done = host.jailctl("set", "depot", "limits.idle=60", check=False)
        assert done.returncode == 6 and "no terminal" in done.stderr
    finally:
        host.jailctl("remove-user", "depot")


def test_an_idle_terminal_is_told_and_ended(host: Host, idler: tuple[int, Terminal]) -> None:
    """And only that one: output is no input, but each keystroke is."""
    uid, terminal = idler
    terminal.expect("Nothing was typed for as long as this account may be idle. This session ends now", timeout=25)
    terminal.expect("closed")
    assert "code=limit.session-ended" in host.wait_syslog("user=idler")
    wait_for(lambda: not keepers(host, uid), 10)
    assert os.path.isdir(host.root / "home/idler")
