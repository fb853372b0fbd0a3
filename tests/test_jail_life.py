"""One jail's life: started once whoever asks, ended with all that ran in it, and whole again after any crash."""

from __future__ import annotations

import concurrent.futures
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host import Host, wait_for

COLD = ["/opt/jailctl/venv/bin/python3", "-I", "-S", "/opt/jailctl/lib/jailkit/jail/cold.py"]


def user(host: Host, name: str, *settings: str) -> int:
    host.jailctl("add-user", name, "--key", host.key(name) + ".pub", *(f"--set={s}" for s in settings))
    return host.ids(name)[0]


def keepers(host: Host, uid: int) -> list[int]:
    return [p.pid for p in host.processes() if p.name == "keeper" and uid in p.uids]


def of(host: Host, uid: int) -> list[str]:
    return [p.name for p in host.processes() if uid in p.uids]


def entry(host: Host, uid: int) -> Path:
    return host.root / f"run/jailctl/jails/{uid}/entry"


@pytest.fixture(scope="module")
def life(host: Host) -> Iterator[int]:
    yield user(host, "life")
    host.jailctl("remove-user", "life")


def test_many_at_once_start_one_jail(host: Host, life: int) -> None:
    host.jailctl("stop", "life")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for done in pool.map(lambda _: host.ssh("life", "readlink /proc/1/ns/pid"), range(8)):
            assert done.returncode == 0 and done.stdout.startswith("pid:")
    assert len(keepers(host, life)) == 1


def test_a_second_session_sees_the_first_ones_processes(host: Host, life: int) -> None:
    with host.spawn(host.ssh_argv("life", "exec -a first-session sleep 60")):
        wait_for(lambda: "first-session" in host.ssh("life", "ps -eo args").stdout, 5, "the first session's process")


def test_a_starter_killed_at_any_moment_leaves_nothing_or_a_jail(host: Host, life: int) -> None:
    chance = random.Random(20261124)
    mounts = Path(f"/proc/{host.init}/mountinfo").read_text()
    whole = nothing = 0
    host.jailctl("stop", "life")
    begin = time.monotonic()
    host.run([*COLD, "life", "sshd", "/"], check=True)
    longest = 1.2 * (time.monotonic() - begin)  # on a machine that is busy a start takes its time
    for _ in range(40):
        host.jailctl("stop", "life")
        with host.spawn([*COLD, "life", "sshd", "/"]) as starter:
            time.sleep(chance.uniform(0, longest))
            starter.kill()
        settled = lambda: bool(keepers(host, life)) == entry(host, life).exists() and len(of(host, life)) <= 1  # noqa: E731
        wait_for(settled, 3, lambda: f"left over: {of(host, life)}, record: {entry(host, life).exists()}")
        if entry(host, life).exists():
            whole += 1
        else:
            nothing += 1
    assert whole and nothing, f"the moments were badly chosen: {whole} whole, {nothing} nothing"
    assert host.ssh("life", "true").returncode == 0
    assert Path(f"/proc/{host.init}/mountinfo").read_text() == mounts


def test_a_dead_keeper_is_replaced_at_the_next_login(host: Host, life: int) -> None:
    assert host.ssh("life", "true").returncode == 0
    (old,) = keepers(host, life)
    os.kill(old, signal.SIGKILL)  # its pid as this test sees it; the fixture started it
    wait_for(lambda: not keepers(host, life), 3)
    assert entry(host, life).exists(), "the record is stale now"
    assert host.ssh("life", "true").returncode == 0
    assert len(keepers(host, life)) == 1


@pytest.mark.parametrize("field", ["pid", "start", "userns"])
def test_a_record_that_means_another_process_is_not_believed(host: Host, life: int, field: str) -> None:
    """A144: a pid that was given out again. The login gets a new jail, never that process's namespaces."""
    assert host.ssh("life", "true").returncode == 0
    code = (
        "import sys; sys.path.insert(0, '/opt/jailctl/lib')\n"
        "from jailkit.jail.record import read_record\n"
        f"path = '/run/jailctl/jails/{life}/entry'\n"
        "record = read_record(path)\n"
        f"record.{field} = {{'pid': 1, 'start': record.start + 1, 'userns': record.userns + 1}}['{field}']\n"
        "open(path, 'r+b').write(record.pack())\n"
    )
    host.run(["/usr/bin/python3", "-I", "-c", code], check=True)
    done = host.ssh("life", "readlink /proc/self/ns/user")
    assert done.returncode == 0
    inside = {p.namespaces["user"] for p in host.processes() if p.name == "keeper" and life in p.uids}
    assert done.stdout.strip() == f"user:[{inside.pop()}]" and not inside, "one keeper, and this is its jail"


def test_the_last_sessions_end_ends_the_jail_and_its_background(host: Host) -> None:
    uid = user(host, "lingerer", "linger=1")
    try:
        assert host.ssh("lingerer", "setsid -f sleep 600 >/dev/null 2>&1 </dev/null").returncode == 0
        assert "sleep" in of(host, uid), "it outlives its session"
        wait_for(lambda: not of(host, uid), 6, lambda: f"still there: {of(host, uid)}")
        assert not entry(host, uid).exists()
        assert not (host.root / "run/jailctl/names/lingerer").is_symlink()
    finally:
        host.jailctl("remove-user", "lingerer")


def test_a_session_within_the_linger_time_keeps_the_jail(host: Host) -> None:
    uid = user(host, "returner", "linger=2")
    try:
        host.ssh("returner", "true")
        (first,) = keepers(host, uid)
        with host.spawn(host.ssh_argv("returner", "sleep 5")):
            time.sleep(3.5)
            assert keepers(host, uid) == [first], "a session that came back is not cut off by the old one's watcher"
        wait_for(lambda: not of(host, uid), 8)
    finally:
        host.jailctl("remove-user", "returner")


def test_a_jail_that_was_started_by_hand_stays(host: Host) -> None:
    uid = user(host, "stayer", "linger=0")
    try:
        host.jailctl("start", "stayer")
        host.ssh("stayer", "true")
        time.sleep(1.5)
        assert len(keepers(host, uid)) == 1
    finally:
        host.jailctl("remove-user", "stayer")


def test_stop_ends_sessions_and_whatever_hides(host: Host, life: int) -> None:
    """A106: double fork, setsid, stopped, respawning. Nothing of the uid is left, in the jail or outside."""
    hide = "setsid -f sleep 601; (setsid -f sh -c 'while :; do sleep 602; done'); sleep 603 & kill -STOP $!; sleep 604"
    with host.spawn(host.ssh_argv("life", hide)) as session:
        wait_for(lambda: of(host, life).count("sleep") >= 3, 5, lambda: str(of(host, life)))
        host.jailctl("stop", "life")
        assert of(host, life) == []
        assert session.wait(5) is not None, "the client's connection ended as well"
    assert not entry(host, life).exists()


def test_a_stop_spares_the_same_number_in_a_container(host: Host, life: int) -> None:
    """A uid of the host's is another user's in a pid namespace of somebody else's; a stray on the host is hers."""
    sleep = ["/usr/bin/setpriv", f"--reuid={life}", f"--regid={life}", "--clear-groups", "/bin/sleep", "300"]
    container = ["/usr/bin/unshare", "--fork", "--pid", "--kill-child", *sleep]
    with host.spawn(sleep) as stray, host.spawn(container) as other:
        wait_for(lambda: of(host, life).count("sleep") == 2, 5, "both")
        host.jailctl("stop", "life")
        stray.wait(5)
        assert of(host, life) == ["sleep"] and other.poll() is None
        os.kill(next(p.pid for p in host.processes() if p.name == "sleep" and life in p.uids), signal.SIGKILL)


def test_a_stop_ends_a_jail_whose_record_was_lost(host: Host, life: int) -> None:
    host.jailctl("start", "life")
    entry(host, life).unlink()
    host.jailctl("stop", "life")
    assert of(host, life) == []


def test_file_systems_below_the_hosts_usr_are_seen_too(host: Host, life: int) -> None:
    """A /usr/local of its own would be an empty directory else. Read-only and without set-id, as all that is shown."""
    own = "/usr/local/own"
    script = f"mkdir -p {own}; mount -t tmpfs none {own}; cp /bin/cat {own}/suid"
    host.run(["/bin/sh", "-c", f"{script}; chmod 4755 {own}/suid; echo here > {own}/file"], check=True)
    try:
        host.jailctl("stop", "life")
        options = f"findmnt -no VFS-OPTIONS {own}"
        seen = host.ssh("life", f"cat {own}/file; stat -c %U {own}/file; {options}; > {own}/x")
        text, owner, flags = seen.stdout.split()
        assert (text, owner) == ("here", "root")
        assert {"ro", "nosuid", "nodev"} <= set(flags.split(","))
        assert "Read-only file system" in seen.stderr
    finally:
        host.jailctl("stop", "life")
        host.run(["/bin/umount", own], check=True)


def test_start_keeps_a_jail_that_runs_already(host: Host, life: int) -> None:
    host.jailctl("remove-user", "life", "--keep-home")
    host.run(["/bin/rm", "-r", "/home/life"], check=True)
    uid = user(host, "life", "linger=0")
    with host.spawn(host.ssh_argv("life", "sleep 2")):
        wait_for(lambda: keepers(host, uid) != [], 5, "the jail")
        host.jailctl("start", "life")
    wait_for(lambda: of(host, uid) == ["keeper"], 5, "the session is gone")
    wait_for(lambda: not host.watched(uid), 5, "its watcher is gone")
    assert of(host, uid) == ["keeper"]
    host.jailctl("stop", "life")
    assert of(host, uid) == []
