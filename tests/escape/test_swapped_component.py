"""A component swapped for a link between check and use.

jailkit (lstat, then chroot by path); proftpd/proftpd#444 (CVE-2017-7418). Attack A010. Nobody but root can swap what is
above a jail's directories (A008), so root plays the attacker here: it exchanges the home for a link, and for another
directory, as fast as it can while the jail is started again and again. What counts is what got mounted.
"""

from __future__ import annotations

import ast

import pytest

from ..host.host import PYTHON
from .cells import SECOND, Cells

pytestmark = pytest.mark.host
USER = "escswap"
ROUNDS = 60
SWAP = """
import ctypes, os, sys
number = {"x86_64": 316, "aarch64": 276}[os.uname().machine]  # renameat2, RENAME_EXCHANGE
syscall = ctypes.CDLL(None).syscall
a, b = (name.encode() for name in sys.argv[1:])
print("swaps", flush=True)
while not os.path.exists("/tmp/swapped-enough"):
    for _ in range(101):
        syscall(number, -100, a, -100, b, 2)
"""
START = """
import os, sys
sys.path.insert(0, "/opt/jailctl/lib")
from jailkit.errors import JailkitError
from jailkit.jail import start, stop
from jailkit.paths import Paths
user, home, root, rounds, uid = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
os.umask(0o022)
said = {"home": 0, "other": 0, "refused": 0, "fooled": 0}
for _ in range(rounds):
    try:
        record = start.start(Paths(), user)
    except JailkitError as error:
        assert error.code in ("missing.home", "unsafe.home-owner"), error
        said["refused"] += 1
    else:
        said["home" if os.stat(f"/proc/{record.pid}/root{home}").st_ino == int(root) else "other"] += 1
        stop.stop(Paths(), uid, user)
    for _ in range(100):  # the same check and use, by path
        if not os.path.islink(home) and os.stat(home).st_uid == uid:
            fd = os.open(home, os.O_PATH)
            said["fooled"] += os.fstat(fd).st_ino != int(root)
            os.close(fd)
print(said)
"""


@pytest.mark.parametrize("kind", ["link", "directory"])
def test_a010_the_home_is_swapped_while_the_jail_starts(cells: Cells, kind: str) -> None:
    """A link to the second user's home, then a directory of hers: neither is ever mounted. A check by path is
    fooled."""
    host = cells.host
    if not cells.home(USER).exists():
        cells.make(USER)
    home, other = f"/home/{USER}", f"/home/{USER}.{kind}"
    uid, inode = host.ids(USER)[0], cells.home(USER).stat().st_ino
    if kind == "link":
        (host.root / other[1:]).symlink_to(f"/home/{SECOND}")
    else:
        host.run(["/bin/mkdir", other], check=True)
        host.run(["/bin/chown", SECOND, other], check=True)
    host.jailctl("stop", USER)
    with host.spawn([PYTHON, "-I", "-c", SWAP, home, other]) as swapper:
        assert swapper.stdout and swapper.stdout.readline() == b"swaps\n"
        done = host.run([PYTHON, "-I", "-c", START, USER, home, str(inode), str(ROUNDS), str(uid)], timeout=60)
        (host.root / "tmp/swapped-enough").touch()
        swapper.wait(5)
    (host.root / "tmp/swapped-enough").unlink()
    if (host.root / home[1:]).lstat().st_ino != inode:
        host.run(["/bin/rm", "-d", home], check=True)
        host.run(["/bin/mv", other, home], check=True)
    assert done.returncode == 0, done.stderr
    said = ast.literal_eval(done.stdout)
    assert said["other"] == 0 and said["home"] > 5 and said["refused"] > 5, said
    assert said["fooled"] > 0, said
