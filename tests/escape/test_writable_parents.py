"""A directory above the jail's root, or above its records, that somebody else may write: what its names mean is theirs.

sshd_config(5), ChrootDirectory; the "badly configured jail" of jailkit's manual. Attack A008. A start checks from ``/``
down all that it builds a jail from; hook and door check each component of what they read. Logins here are su's: for a
``/`` that others may write sshd refuses the key already.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..host.host import Result
from .cells import FIRST, Cells

pytestmark = pytest.mark.host
USER = "escpath"
CHANGES = ("0777", "0775", "tenant's", "symlink")


@pytest.fixture(scope="module")
def paths(_cells: Cells) -> dict[str, list[str]]:
    """What a cold start goes through, and what a login into a running jail goes through."""
    _cells.make(USER)
    uid = _cells.host.ids(USER)[0]
    root = f"/var/lib/jailctl/images/{_cells.host.image('shell')}/root"
    cold = ["/", "/home", f"/var/lib/jailctl/jails/{USER}", root]
    return {
        "cold": sorted({str(p) for path in cold for p in [Path(path), *Path(path).parents]}),
        "warm": ["/run/jailctl", "/run/jailctl/names", "/run/jailctl/jails", f"/run/jailctl/jails/{uid}",
                 f"/run/jailctl/jails/{uid}/entry", f"/run/jailctl/jails/{uid}/sessions"],
    }  # fmt: skip


@contextlib.contextmanager
def changed(cells: Cells, path: str, change: str) -> Iterator[bool]:
    """Gives whether it could be done: a mount point cannot be replaced by a link."""
    there = cells.host.root / path.lstrip("/")
    before = there.stat()
    if change == "symlink":
        real = there.with_name(there.name + ".real")
        try:
            there.rename(real)
        except OSError:
            yield False
            return
        there.symlink_to(f"{path}.real")
        yield True
        there.unlink()
        real.rename(there)
        return
    if change == "tenant's":
        os.chown(there, cells.host.ids(USER)[0], -1)
    else:
        os.chmod(there, int(change, 8) if there.is_dir() else 0o666)
    yield True
    if there.exists():
        os.chown(there, before.st_uid, before.st_gid)
        os.chmod(there, before.st_mode & 0o7777)


def login(cells: Cells, user: str = USER) -> Result:
    return cells.host.run(["/bin/su", user, "-c", "id -un"])


@pytest.mark.parametrize("change", CHANGES)
def test_a008_a_cold_start_refuses(cells: Cells, paths: dict[str, list[str]], change: str) -> None:
    cells.host.jailctl("stop", USER)
    tried = []
    for path in paths["cold"]:
        if (change == "0775" and path.count("/") > 1) or (path == "/" and change == "symlink"):
            continue  # which mode it is makes no difference further down
        mark = len(cells.host.syslog())
        with changed(cells, path, change) as done:
            if not done:
                continue
            tried.append(path)
            refused = login(cells)
            assert refused.returncode != 0 and USER not in refused.stdout, f"{path} {change}"
        cells.host.wait_syslog(f"refused user={USER} service=su", after=mark)
        if path == "/" or f"/var/lib/jailctl/jails/{USER}/".startswith(f"{path}/"):  # the hook itself reads below it
            cells.host.wait_syslog(f" code=login.path-unsafe {path} ", after=mark)
        else:
            assert f"code=unsafe.path {path} " in cells.host.wait_syslog("jailctl-start", after=mark), (path, change)
    assert len(tried) >= 2
    assert login(cells).stdout == f"{USER}\n"


@pytest.mark.parametrize("change", ["0777", "tenant's", "symlink"])
def test_a008_a_running_jails_records(cells: Cells, paths: dict[str, list[str]], change: str) -> None:
    """What is root's but open to others is put right under the lock and read anew; all else is refused. In neither case
    does it stay as it is."""
    assert login(cells).stdout == f"{USER}\n"
    said = {}
    for path in paths["warm"]:
        with changed(cells, path, change) as done:
            if not done:
                continue
            there = cells.host.root / path.lstrip("/")
            result = login(cells)
            said[path] = "refused" if result.returncode else "put right"
            if not result.returncode:
                assert result.stdout == f"{USER}\n"
                status = there.lstat()
                assert status.st_uid == 0 and not status.st_mode & 0o022 and not there.is_symlink(), (path, change)
        cells.host.jailctl("stop", USER)
        assert login(cells).stdout == f"{USER}\n"
    assert said, change
    assert login(cells, FIRST).stdout == f"{FIRST}\n"


def test_a008_a_bind_below_somebody_elses_directory(cells: Cells, paths: dict[str, list[str]]) -> None:
    """A template may show further directories of the host: root's bind must not follow who swaps what is above."""
    recipe = cells.host.root / f"var/lib/jailctl/jails/{USER}/recipe"
    before = recipe.read_text()
    cells.host.run(["/bin/mkdir", "-p", "/var/tmp/theirs/data"], check=True)
    for path, code in (("/usr/share", ""), ("/var/tmp/theirs/data", "unsafe.path /var/tmp ")):
        cells.host.jailctl("stop", USER)
        mark = len(cells.host.syslog())
        recipe.write_text(before.replace("binds /usr\n", f"binds /usr\nbinds {path}\n"))
        try:
            done = cells.host.run(["/bin/su", USER, "-c", "grep -c ' /usr/share ' /proc/self/mountinfo"])
        finally:
            recipe.write_text(before)
        assert (done.stdout == "1\n") is (code == ""), done
        if code:
            assert f"code={code}" in cells.host.wait_syslog("jailctl-start", after=mark)


def test_a008_doctor_names_the_component(cells: Cells, paths: dict[str, list[str]]) -> None:
    wrong = ["/var/lib/jailctl/images", "/home"]
    assert "has mode" not in cells.host.jailctl("doctor", check=False).stdout
    with contextlib.ExitStack() as stack:
        for path in wrong:
            assert stack.enter_context(changed(cells, path, "0777"))
        done = cells.host.jailctl("doctor", check=False)
    assert done.returncode == 21
    for path in wrong:
        assert f"{path} has mode 0777" in done.stdout, done.stdout
