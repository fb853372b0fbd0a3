"""Getting back what was dropped: ids, capabilities, no_new_privs, by the calls that take and give them.

jk_chrootsh ignores the result of a check, and keeps capabilities in one of its modes: a drop that is not final, or not
looked at. Attack A131. Each call of the drop made to fail: tests/door/test_faults.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ..host import Host
from ..ways.ways import WAYS, Way
from .world import Pair, pair

pytestmark = pytest.mark.host
USER = "dropped"
CHOSEN = [way for way in WAYS if way.name in ("ssh", "ssh-command", "ssh-further-session", "sftp-external", "su-shell")]
PROBE = """
import ctypes, json, os, struct
libc = ctypes.CDLL(None, use_errno=True)
done = {}
def attempt(name, call):
    ctypes.set_errno(0)
    pid = os.fork()
    if pid == 0:
        result = call()
        os._exit(0 if result == 0 else ctypes.get_errno() or 255)
    done[name] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def capset(effective):
    head = struct.pack("Ii", 0x20080522, 0)
    return libc.capset(head, struct.pack("6I", effective, effective, 0, 0, 0, 0))
attempt("setuid", lambda: libc.setuid(0))
attempt("seteuid", lambda: libc.seteuid(0))
attempt("setresuid", lambda: libc.setresuid(0, 0, 0))
attempt("setresuid-saved", lambda: libc.setresuid(-1, -1, 0))
attempt("setreuid", lambda: libc.setreuid(0, 0))
attempt("setgid", lambda: libc.setgid(0))
attempt("setresgid", lambda: libc.setresgid(0, 0, 0))
attempt("setgroups", lambda: libc.setgroups(1, (ctypes.c_uint * 1)(0)))
attempt("capset-one", lambda: capset(1 << 21))
attempt("capset-all", lambda: capset(0xffffffff))
attempt("securebits", lambda: libc.prctl(28, 0x2f, 0, 0, 0))
attempt("ambient", lambda: libc.prctl(47, 2, 21, 0, 0))
attempt("chroot", lambda: libc.chroot(b"/"))
own = os.uname().nodename.encode()  # the host is shared by all tests: it keeps its name
attempt("sethostname", lambda: libc.sethostname(own, len(own)))
attempt("nice", lambda: libc.setpriority(0, 0, -5))
print(json.dumps(done))
"""
EPERM, EINVAL = 1, 22


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    yield pair(host, USER)


def test_a131_every_way_back_is_closed(people: Pair) -> None:
    """Root can do all of it (but for the ambient set, which takes what is inheritable first)."""
    script = people.give(USER, "probe.py", PROBE)
    root = json.loads(people.host.run(["/usr/bin/python3", "-I", "-c", PROBE]).stdout)
    assert {name for name, status in root.items() if status != 0} <= {"ambient", "capset-all"}
    for done in (
        people.host.ssh(USER, f"python3 -I {script}"),
        people.host.run(["/bin/su", "-", USER, "-c", f"python3 -I {script}"]),
        people.host.jailctl("exec", USER, "--", "python3", "-I", script),
    ):
        tried = json.loads(done.stdout)
        assert set(tried) == set(root)
        assert {name: status for name, status in tried.items() if status not in (EPERM, EINVAL, 13)} == {}, tried


@pytest.mark.parametrize("way", CHOSEN, ids=lambda way: way.name)
def test_a131_as_the_kernel_sees_it(people: Pair, way: Way) -> None:
    """Real, effective, saved and file-system ids; all five sets; the bits that make it final. Of the door's parent,
    too, which stands outside the pid namespace."""
    uid, gid, _ = people.host.ids(USER)
    with way.open(people.host, people.free) as process:
        assert process.caps["CapBnd"] != 0 and not process.no_new_privs
    with way.open(people.host, USER) as process:
        everybody = [p for p in people.host.processes() if uid in p.uids and p.name != "sshd"]
        assert process.pid in {p.pid for p in everybody} and {p.name for p in everybody} >= {"keeper", "door"}
        for each in everybody:
            assert (each.uids, each.gids, each.groups) == ((uid,) * 4, (gid,) * 4, (gid,)), each
            assert set(each.caps.values()) == {0} and each.no_new_privs, each
            assert each.seccomp == (0 if each.name == "door" else 2), each
