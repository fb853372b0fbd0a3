"""Where a login ends and with what: observed from the host's side, in /proc of the session's own process."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from jailkit.kernel import proc

from .lab import ENV, UID, USER, Lab
from .session import end, held, start, status

NAMESPACES = ("user", "mnt", "pid", "uts", "ipc", "net", "cgroup")


@pytest.mark.parametrize("asan", [False, True], ids=["door", "asan"])
def test_where(lab: Lab, asan: bool) -> None:
    child, pid = start(lab, asan=asan)
    try:
        for kind in NAMESPACES:
            assert proc.namespace(pid, kind) == proc.namespace(lab.record.pid, kind), kind
            assert proc.namespace(pid, kind) != proc.namespace(os.getpid(), kind), kind
        root, keeper = os.stat(f"/proc/{pid}/root"), os.stat(f"/proc/{lab.record.pid}/root")
        assert (root.st_dev, root.st_ino) == (keeper.st_dev, keeper.st_ino)
        assert os.path.samefile(f"/proc/{pid}/cwd", f"/proc/{pid}/root{lab.home}")
        for kind in ("root", "cwd"):
            assert not os.path.samefile(f"/proc/{pid}/{kind}", "/")
    finally:
        assert end(child) == 128 + signal.SIGTERM


def test_with_what(lab: Lab) -> None:
    """The same is looked at in a process that did not come through the door: each observation can also fail."""
    child, pid = start(lab)
    try:
        here, unjailed = status(pid), status(os.getpid())
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(here[name][0], 16) == 0, name
        assert int(unjailed["CapBnd"][0], 16) != 0
        assert (here["NoNewPrivs"], here["Seccomp"]) == (["1"], ["2"])
        assert (unjailed["NoNewPrivs"], unjailed["Seccomp"]) == (["0"], ["0"])
        assert here["Uid"] == here["Gid"] == [str(UID)] * 4
        assert here["Groups"] == [str(UID)]
        assert (int(here["SigBlk"][0], 16), int(here["SigIgn"][0], 16)) == (0, 0)
        assert here["Umask"] == ["0022"]
        assert int(here["NSsid"][-1]) == int(here["NSpid"][-1])
    finally:
        end(child)


def test_supplementary_groups_are_not_taken_along(lab: Lab) -> None:
    child = lab.spawn(["door", "-c", "id -G"], stdout=subprocess.PIPE, uid=None, gid=None, preexec_fn=with_groups)
    out, _ = child.communicate(timeout=10)
    assert out.split() == [str(UID).encode()]


def with_groups() -> None:
    os.setgroups([0, 4, 6, 42, UID])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)


def test_descriptors(lab: Lab) -> None:
    """A caller that leaves the whole host open leaves nothing open."""
    leaked = [os.open("/", os.O_RDONLY | os.O_DIRECTORY), os.open("/etc/passwd", os.O_RDONLY), os.openpty()[0]]
    high = os.dup2(leaked[0], 900)
    for fd in (*leaked, high):
        os.set_inheritable(fd, True)
    try:
        child, pid = start(lab, close_fds=False)
    finally:
        for fd in (*leaked, high):
            os.close(fd)
    try:
        found = {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        assert set(found) == {0, 1, 2}
        assert all(name.startswith("pipe:") for name in found.values())
        # the parent, outside: nothing of the session's, or nobody would see the end of it
        assert held(child.pid, 1) == ["anon_inode:[signalfd]"]
    finally:
        end(child)


def test_parent(lab: Lab) -> None:
    """It stays outside the pid namespace, in all others, with nothing."""
    child, pid = start(lab)
    try:
        here = status(child.pid)
        assert [int(here[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] == [0] * 5
        assert here["NoNewPrivs"] == ["1"]
        assert here["Uid"] == [str(UID)] * 4
        assert os.stat(f"/proc/{child.pid}/stat").st_uid == 0, "dumpable"
        assert proc.namespace(child.pid, "pid") == proc.namespace(os.getpid(), "pid")
        for kind in set(NAMESPACES) - {"pid"}:
            assert proc.namespace(child.pid, kind) == proc.namespace(lab.record.pid, kind), kind
        assert os.path.samefile(f"/proc/{child.pid}/root", f"/proc/{pid}/root")
        assert os.path.samefile(f"/proc/{child.pid}/cwd", f"/proc/{pid}/root")
    finally:
        end(child)


def test_no_way_back_to_privilege(lab: Lab) -> None:
    """A131, A018, A001: what the dropped process tries from inside."""
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, *args):
    ctypes.set_errno(0)
    print(name, getattr(libc, name)(*args), ctypes.get_errno(), flush=True)
attempt("setuid", 0); attempt("setgid", 0); attempt("setresuid", 0, 0, 0); attempt("setgroups", 0, None)
attempt("unshare", 0x10000000); attempt("chroot", b"/tmp"); attempt("setns", 0, 0)
"""
    done = lab.run(f"python3 -c '{code}'" if "'" not in code else "false")
    answers = {line.split()[0]: line.split()[1:] for line in done.out.decode().splitlines()}
    assert set(answers) == {"setuid", "setgid", "setresuid", "setgroups", "unshare", "chroot", "setns"}, done
    for name, (result, _errno) in answers.items():
        assert result == "-1", name


def test_second_session_joins_the_first(lab: Lab) -> None:
    child, pid = start(lab)
    try:
        inside = status(pid)["NSpid"][-1]
        done = lab.run(f"cat /proc/{inside}/cmdline; kill {inside}")
        assert done.out == b"sleep\x001000\x00"
    finally:
        child.communicate(timeout=10)
    assert child.returncode == 128 + signal.SIGTERM


def test_another_user_with_the_record_gets_nowhere(lab: Lab) -> None:
    """A132: the door called by somebody else cannot be pointed at this jail."""
    for env in ({"USER": USER, "HOME": str(lab.home), "LOGNAME": USER}, {"UID": str(UID)}):
        done = lab.run("true", uid=UID + 1, gid=UID + 1, env={**ENV, **env})
        assert done.refused("login.no-jail")


def test_hands_off_the_session_keyring(lab: Lab) -> None:
    """The filter forbids keyctl, so what the caller's keyring holds stays out of reach."""
    keyctl = 250 if os.uname().machine == "x86_64" else 219
    code = f"import ctypes; libc = ctypes.CDLL(None); print(libc.syscall({keyctl}, 0, -3, 0))"
    done = lab.run(f"python3 -c '{code}'")
    assert done.out == b"-1\n"
