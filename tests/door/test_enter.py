"""Where a login ends and with what: observed from the host's side, in /proc of the session's own process."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from jailkit.kernel import proc

from .lab import ENV, UID, USER, Lab

NAMESPACES = ("user", "mnt", "pid", "uts", "ipc", "net", "cgroup")


def status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.split(":")[0]: line.split()[1:] for line in lines}


def start(lab: Lab, command: str = "exec sleep 1000", **more: object) -> tuple[subprocess.Popen[bytes], int]:
    """A session, and the pid of its process on the host."""
    child = lab.spawn(["door", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                      start_new_session=True, **more)  # type: ignore[arg-type]  # fmt: skip
    return child, lab.inside()


def held(pid: int, count: int) -> list[str]:
    """What ``pid`` has open, once that are ``count`` files: it closes the rest just after the session has begun."""
    deadline = time.monotonic() + 5
    while len(names := os.listdir(f"/proc/{pid}/fd")) != count and time.monotonic() < deadline:
        time.sleep(0.01)
    return sorted(os.readlink(f"/proc/{pid}/fd/{name}") for name in names)


def end(child: subprocess.Popen[bytes]) -> int:
    child.terminate()
    child.communicate(timeout=10)
    return child.returncode


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
        assert here["SigBlk"] == here["SigIgn"] == "0" * 16 or (int(here["SigBlk"][0], 16), int(here["SigIgn"][0], 16)) == (0, 0)
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


# -- what runs


def test_command(lab: Lab) -> None:
    done = lab.run("echo \"$0\"; shopt -q login_shell; echo $?; exit 7")
    assert (done.status, done.out, done.err, done.log) == (7, b"bash\n1\n", b"", [])


def test_login_shell_with_a_command(lab: Lab) -> None:
    """``su - dora -c``."""
    done = lab.run(argv=["-door", "-c", 'echo "$0"; shopt -q login_shell; echo $?'])
    assert done.out == b"-bash\n0\n"


@pytest.mark.parametrize("argv", [["-door"], ["door"], ["/opt/jailctl/libexec/door"]])
def test_interactive_without_a_terminal(lab: Lab, argv: list[str]) -> None:
    """``ssh -T``: a login shell that reads its input."""
    done = lab.run(argv=argv, data=b'echo "$0"; shopt -q login_shell; echo $?; exit 4\n')
    assert (done.status, done.out) == (4, b"-bash\n0\n")


def forced(lab: Lab) -> str:
    return lab.paths.door


def test_forced_command(lab: Lab) -> None:
    done = lab.run(forced(lab), env={"SSH_ORIGINAL_COMMAND": "echo a'b c'; echo $((6*7)); exit 9"})
    assert (done.status, done.out) == (9, b"ab c\n42\n")


@pytest.mark.parametrize("env", [{}, {"SSH_ORIGINAL_COMMAND": ""}])
def test_forced_command_without_an_original(lab: Lab, env: dict[str, str]) -> None:
    done = lab.run(forced(lab), data=b'echo "$0"\n', env=env)
    assert (done.status, done.out) == (0, b"-bash\n")


def test_forced_command_that_asks_for_the_door(lab: Lab) -> None:
    """Only once: then it is a command like any other, and inside there is no door."""
    done = lab.run(forced(lab), env={"SSH_ORIGINAL_COMMAND": forced(lab)})
    assert (done.status, done.out) == (127, b"")


def test_nothing_is_evaluated_outside(lab: Lab) -> None:
    """A069: quotes, substitutions, newlines, 100 KiB: one argument of the shell inside."""
    canary = "/srv/jailkit-door-canary"
    for command in (f"$(touch {canary})", f"`touch {canary}`", f"true; touch {canary}", f"true\ntouch {canary}", f"%n {canary}"):
        lab.run(forced(lab), env={"SSH_ORIGINAL_COMMAND": command})
        assert not os.path.exists(canary)
    long = "echo " + "x" * 100_000
    assert lab.run(forced(lab), env={"SSH_ORIGINAL_COMMAND": long}).out == b"x" * 100_000 + b"\n"


def test_sftp(lab: Lab) -> None:
    """What sshd would have served itself, on the host, becomes a program inside."""
    lab.changed(sftp="/usr/bin/printf")
    done = lab.run(forced(lab), env={"SSH_ORIGINAL_COMMAND": "internal-sftp %s-%s a b"})
    assert (done.status, done.out) == (0, b"a-b")
    assert lab.run("internal-sftp").status == 1  # printf's own: no operand
    assert lab.run("internal-sftpd").status == 127


def test_sftp_with_too_many_arguments(lab: Lab) -> None:
    assert lab.run("internal-sftp " + "x" * 5000).refused("login.service-denied")


def test_no_home(lab: Lab) -> None:
    """A home that is not there is no reason to be locked out, nor to be anywhere but in the jail."""
    lab.changed(home="/nowhere")
    done = lab.run("pwd; ls -d /image /root 2>&1 | wc -l")
    assert (done.status, done.out) == (0, b"/\n2\n")


def test_home_is_no_way_out(lab: Lab) -> None:
    """A013: a record that names a magic link."""
    for home in ("/proc/self/fd/3", "/proc/self/cwd", "/proc/1/root", "/proc/self/fd/0"):
        lab.changed(home=home)
        done = lab.run("stat -c %d:%i / . && cat /proc/1/mountinfo | wc -l")
        places = done.out.split()[:2]
        assert places[0] == places[1], home


def test_no_shell(lab: Lab) -> None:
    lab.changed(shell="/bin/nothing")
    done = lab.run("true")
    assert done.refused("login.kernel")
    assert "execve: No such file" in done.log[0]


# -- the environment


def test_environment(lab: Lab) -> None:
    """A064, A134: what the client may send, what it may not, and what nobody but the record decides."""
    hostile = {
        "LD_PRELOAD": "x", "LD_LIBRARY_PATH": "x", "BASH_ENV": "/x", "ENV": "/x", "PYTHONPATH": "/x", "IFS": "x", "PATH": "/x",
        "HOME": "/x", "USER": "root", "LOGNAME": "root", "SHELL": "/x", "GCONV_PATH": "/x", "SSH_AUTH_SOCK": "/x",
        "XDG_RUNTIME_DIR": "/x", "BASH_FUNC_ls%%": "() { id; }", "LC_ALL": "() { :; }; id", "LC_TIME": "x" * 65,
        "LC_ALL2": "x", "LC_x": "x", "LANG": "a/../b", "TERM": "x\n", "TZ": "a b", "NOTHING": "x", "SHELLOPTS": "xtrace", "PS4": "$(id)",
    }  # fmt: skip
    good = {
        "LC_CTYPE": "de_DE.UTF-8@euro", "LANGUAGE": "de:en", "COLORTERM": "truecolor", "NO_COLOR": "1",
        "GIT_PROTOCOL": "version=2", "SSH_CONNECTION": "fe80::1%eth0 50000 10.0.0.1 22", "SSH_CLIENT": "10.0.0.2 50000 22",
    }  # fmt: skip
    lab.changed(shell="/usr/bin/env")
    child = subprocess.Popen(["door"], executable=lab.programs.path("door"), env={**hostile, **good}, user=UID, group=UID, extra_groups=[],
                             stdout=subprocess.PIPE)  # fmt: skip
    out, _ = child.communicate(timeout=10)
    found = dict(line.split("=", 1) for line in out.decode().splitlines())
    assert found == {
        **good, "HOME": str(lab.home), "USER": USER, "LOGNAME": USER, "SHELL": "/usr/bin/env", "PATH": lab.record.path,
        "XDG_RUNTIME_DIR": f"/run/user/{UID}",
    }  # fmt: skip


def test_environment_has_an_end(lab: Lab) -> None:
    many = {f"LC_{chr(65 + i // 26)}{chr(65 + i % 26)}": "x" * 64 for i in range(600)}
    lab.changed(shell="/usr/bin/env")
    done = lab.run(argv=["door"], env=many)
    assert done.status == 0
    assert len(re.findall(rb"^LC_", done.out, re.M)) == 32


# -- input, output, end


def test_binary_clean_and_whole(lab: Lab) -> None:
    data = os.urandom(10 << 20)
    done = lab.run("cat", data)
    assert hashlib.sha256(done.out).digest() == hashlib.sha256(data).digest()


def test_streams_stay_apart(lab: Lab) -> None:
    done = lab.run("echo out; echo err >&2; cat >/dev/null; echo $?")
    assert (done.out, done.err) == (b"out\n0\n", b"err\n")


def test_end_of_output_is_seen_while_the_command_runs(lab: Lab) -> None:
    child, _pid = start(lab, "exec >&- 2>&-; exec sleep 1000")
    try:
        assert child.stdout is not None
        assert child.stdout.read() == b""
        assert child.poll() is None
    finally:
        end(child)


def test_broken_pipe(lab: Lab) -> None:
    """SIGPIPE is not ignored inside, whatever the caller did: the command ends when nobody reads."""
    child = lab.spawn(["door", "-c", "yes; echo $? >&2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                      preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN))  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.read(10) == b"y\n" * 5
    child.stdout.close()
    assert child.wait(10) == 0
    assert child.stderr is not None
    assert child.stderr.read() == b"141\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGINT])
def test_killed_inside(lab: Lab, number: signal.Signals) -> None:
    assert lab.run(f"ulimit -c 0; kill -{number.value} $$; sleep 5").status == 128 + number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
                                    signal.SIGALRM])  # fmt: skip
def test_signals_are_passed_on(lab: Lab, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    child, _pid = start(lab, f"trap 'echo got {name}; exit 33' {name}; echo ready; while :; do read -t 0.05 <> <(:) ; done")
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(number)
    out, _ = child.communicate(timeout=10)
    assert (child.returncode, out) == (33, f"got {name}\n".encode())


def test_signals_reach_the_whole_command(lab: Lab) -> None:
    """As sshd sends them: to the process group, so that a pipeline leaves nothing behind."""
    child, _pid = start(lab, "sleep 1000 | sleep 1000; true")
    end(child)
    time.sleep(0.05)
    assert [pid for pid in lab.processes() if proc.namespace(pid, "pid") != proc.namespace(os.getpid(), "pid")] == []


def test_killed_door_takes_the_command_along_but_not_its_background(lab: Lab) -> None:
    child, pid = start(lab, "setsid sleep 1000 & echo $!; exec sleep 2000")
    assert child.stdout is not None
    child.stdout.readline()
    child.kill()
    child.wait()
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{pid}")
    left = lab.processes()
    assert [Path(f"/proc/{other}/cmdline").read_bytes() for other in left] == [b"sleep\x001000\x00"]
    for other in left:
        os.kill(other, signal.SIGKILL)


def test_background_job_outlives_the_login(lab: Lab) -> None:
    done = lab.run("nohup sleep 1000 >/dev/null 2>&1 </dev/null & echo started")
    assert done.out == b"started\n"
    left = lab.processes()
    assert len(left) == 1
    assert proc.parent(left[0]) == lab.record.pid, "the keeper takes orphans"
    os.kill(left[0], signal.SIGKILL)


def test_keeper_reaps(lab: Lab) -> None:
    lab.run("for i in 1 2 3 4 5; do (sleep 0.05 &) ; done")
    time.sleep(0.3)
    out = lab.run("ps -e -o stat=,comm= | grep -c Z; true").out
    assert out == b"0\n"


def test_keeper_survives_everything_from_inside(lab: Lab) -> None:
    lab.run("for i in 1 2 3 6 9 10 12 14 15 17 19 20 31; do kill -$i 1; done; kill -9 -1")
    assert proc.start_time(lab.record.pid) == lab.record.start
    assert lab.run("echo here").out == b"here\n"


def test_idle_login_without_a_terminal_costs_no_time(lab: Lab) -> None:
    child, _pid = start(lab)
    switches = status(child.pid)["voluntary_ctxt_switches"]
    time.sleep(0.3)
    assert status(child.pid)["voluntary_ctxt_switches"] == switches
    end(child)


def test_another_user_with_the_record_gets_nowhere(lab: Lab) -> None:
    """A132: the door called by somebody else cannot be pointed at this jail."""
    for env in ({"USER": USER, "HOME": str(lab.home), "LOGNAME": USER}, {"UID": str(UID)}):
        done = lab.run("true", uid=UID + 1, gid=UID + 1, env={**ENV, **env})
        assert done.refused("login.no-jail")


def test_hands_off_the_session_keyring(lab: Lab) -> None:
    """The filter forbids keyctl, so what the caller's keyring holds stays out of reach."""
    done = lab.run("python3 -c 'import ctypes; l=ctypes.CDLL(None,use_errno=True); print(l.syscall(250,0,-3,0), ctypes.get_errno())'")
    assert done.out.split() == [b"-1", b"1"]
