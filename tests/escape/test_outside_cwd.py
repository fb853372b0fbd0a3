"""A session that starts somewhere else: chroot(2) and setns(2) do not move the working directory.

chroot(2), NOTES; jails whose home is missing started in a directory of the host. Attack A002. The door changes to the
home, else to the jail's root; the jail has no directory of the host's but that home. That it is so for every way in:
tests/test_ways_in.py; here for homes that are not as they should be.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..ways.ways import WAYS, Way, find, sleeps
from .cells import PLAIN, Cells, of_its_mounts

pytestmark = pytest.mark.host
USER = "esccwd"
SOME = [way for way in WAYS if way.name in ("ssh-command", "sftp-external")]
COMMAND = next(way for way in SOME if way.name == "ssh-command")


@pytest.fixture
def home(_cells: Cells) -> Iterator[Path]:
    """Of a user whose jail is cold at the start, and put right at the end."""
    home = _cells.home(USER)
    kept = home.with_name(f"{USER}.kept")
    if f"\n{USER}:" not in (_cells.host.root / "etc/passwd").read_text():
        _cells.make(USER)
    _cells.host.jailctl("stop", USER)
    yield home
    if home.is_symlink():
        home.unlink()
    if kept.exists():
        kept.rename(home)
    home.chmod(0o700)


def set_aside(home: Path) -> None:
    home.rename(home.with_name(f"{USER}.kept"))


def test_a002_the_look_at_the_mount_can_tell(cells: Cells) -> None:
    """A process in a jail's mounts whose directory is the host's is known by it."""
    number = cells.keeper("esc1").inner_pids[1]
    with cells.host.spawn(["/usr/bin/nsenter", "-t", str(number), "-m", "--wd=/srv", "/bin/sleep", "71001"]):
        process = find(cells.host, lambda seen: seen.argv == ("/bin/sleep", "71001"), "sleep")
        assert of_its_mounts(process.pid, "root") and not of_its_mounts(process.pid, "cwd")


@pytest.mark.parametrize("way", SOME, ids=lambda way: way.name)
def test_a002_root_and_cwd_are_the_jails(cells: Cells, home: Path, way: Way) -> None:
    table = Path(f"/proc/{cells.host.init}/mountinfo").read_text()
    with way.open(cells.host, PLAIN) as process:
        assert Path(f"/proc/{process.pid}/mountinfo").read_text() == table and of_its_mounts(process.pid, "cwd")
    with way.open(cells.host, USER) as process:
        assert of_its_mounts(process.pid, "cwd") and of_its_mounts(process.pid, "root")
        assert process.root == cells.keeper(USER).root
        assert process.cwd == (home.stat().st_dev, home.stat().st_ino)


def test_a002_a_home_that_may_not_be_entered(cells: Cells, home: Path) -> None:
    home.chmod(0)
    with COMMAND.open(cells.host, USER) as process:
        assert of_its_mounts(process.pid, "cwd") and process.cwd == process.root == cells.keeper(USER).root


@pytest.mark.parametrize("there", ["nothing", "dangling link", "link to the canary", "file"])
def test_a002_a_home_that_is_not_there(cells: Cells, home: Path, there: str) -> None:
    """Refused while the jail is cold. (A running jail has the directory itself, whatever its name means by then.)"""
    set_aside(home)
    if there == "file":
        home.write_text("")
    elif "link" in there:
        home.symlink_to(cells.canary.path if "canary" in there else "/nonexistent")
    mark = len(cells.host.syslog())
    done = cells.host.ssh(USER, "pwd; ls -la")
    assert done.returncode != 0 and "total " not in done.stdout and "This account is not available" in done.stdout
    assert "code=login.start-failed" in cells.host.wait_syslog(f"refused user={USER}", after=mark)
    assert [p.argv for p in cells.host.processes() if cells.host.ids(USER)[0] in p.uids] == []
    if there == "file":
        home.unlink()


@pytest.mark.parametrize("there", ["nothing", "link to the canary"])
def test_a002_a_home_that_goes_while_the_jail_runs(cells: Cells, home: Path, there: str) -> None:
    with COMMAND.open(cells.host, USER):
        set_aside(home)
        if there != "nothing":
            home.symlink_to(cells.canary.path)
        with COMMAND.open(cells.host, USER) as process:
            assert of_its_mounts(process.pid, "cwd") and process.root == cells.keeper(USER).root
            kept = home.with_name(f"{USER}.kept").stat()
            assert process.cwd == (kept.st_dev, kept.st_ino)
    cells.host.jailctl("stop", USER)


def test_a002_a_home_that_is_deleted_while_the_jail_runs(cells: Cells, home: Path) -> None:
    set_aside(home)
    home.mkdir(mode=0o700)
    uid, gid, _ = cells.host.ids(USER)
    cells.host.run(["/bin/chown", f"{uid}:{gid}", f"/home/{USER}"], check=True)
    with COMMAND.open(cells.host, USER):
        home.rmdir()
        with cells.host.ssh_spawn(USER, "sleep 71002"):
            process = find(cells.host, sleeps("71002"), "sleep")
            assert of_its_mounts(process.pid, "cwd") and process.root == cells.keeper(USER).root
    cells.host.jailctl("stop", USER)
