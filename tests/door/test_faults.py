"""A190, A131: each system call on the way in fails once. Then nobody gets in: one dull line, one log line, status 1,
and no process of the tenant's has begun. The few calls whose failure changes nothing are named, and the login that
follows is looked at.

Two ways to make a call fail: strace counts the calls of a process and fails the n-th (every call that the door makes
before its fork is tried); a seccomp program fails a call by an argument, which tells the child's calls from those of
its parent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .lab import DULL, UID, Done, Lab, compiled
from .terminal import Terminal

MARK = "begun"

CERTAIN = {
    "rt_sigprocmask": "cannot fail; musl, around fork and setgroups, does not ask. The door's own is tried by argument",
    "fcntl": "musl asks once more for what O_CLOEXEC has done. The door's own is tried by argument",
}
TOLERATED = {
    "close": "the kernel always closes; were it not so, close_range and exec close in the child",
    "socket": "no log decides about a login",
    "connect": "no log decides about a login",
    "setsockopt": "no log decides about a login",
    "umask": "cannot fail",
    # of the C library, before main and around fork
    "arch_prctl": "thread-local storage: without it the C library ends at once",
    "brk": "the C library does without",
    "mprotect": "hardening of the C library's own data",
    "set_tid_address": "threads only",
    "set_robust_list": "threads only",
    "rseq": "threads only",
    "prlimit64": "size of thread stacks",
    "readlinkat": "glibc looks for its own path",
    "readlink": "glibc looks for its own path",
    "getrandom": "seed of malloc",
    "gettid": "fork of musl; cannot fail",
    "getpid": "cannot fail",
}


@pytest.fixture(scope="session")
def fault(scratch: Path) -> str:
    return str(compiled(scratch, "fault"))


@pytest.fixture(autouse=True)
def probe(lab: Lab, scratch: Path) -> Iterator[None]:
    """Her shell is one that little can hold up. Its mark in her home says that a process of hers has begun."""
    program = lab.home / "probe"
    if not program.exists():
        compiled(scratch, "probe").rename(program)
    lab.changed(shell=str(program))
    (lab.home / MARK).unlink(missing_ok=True)
    yield
    (lab.home / MARK).unlink(missing_ok=True)


def begun(lab: Lab, done: Done | None = None) -> bool:
    return (lab.home / MARK).exists() or bool(done and done.out)


def confined(done: Done) -> bool:
    text = done.out.decode()
    caps = re.findall(r"^Cap\w+:\s*(\w+)$", text, re.M)
    return (
        done.status == 0
        and text.startswith("fds 0 1 2\n")
        and caps == ["0" * 16] * 5
        and "NoNewPrivs:\t1\n" in text
        and "Seccomp:\t2\n" in text
        and f"Groups:\t{UID} \n" in text
        and f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}\n" in text
    )


# -- counted: strace


def traced(lab: Lab, fault: str, *options: str) -> Done:
    return lab.run("proof", wrap=["/usr/bin/strace", "-f", "-qq", *options, "--", fault, str(UID), "--"])


def calls(lab: Lab, fault: str) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """(name, n-th of that name in its process) of the door before its fork, and of its child before exec."""
    trace = lab.root / "trace"
    done = traced(lab, fault, "-o", str(trace))
    assert confined(done), done
    counts: dict[tuple[str, str], int] = {}
    parent: list[tuple[str, int]] = []
    child: list[tuple[str, int]] = []
    pids: list[str] = []
    entered = forked = False
    for line in trace.read_text().splitlines():
        found = re.match(r"(\d+) +(\w+)\(", line)
        if not found:
            continue
        pid, name = found.groups()
        if pid not in pids:
            pids.append(pid)
        counts[pid, name] = counts.get((pid, name), 0) + 1
        if pid == pids[0] and entered and not forked:
            forked = name in ("fork", "clone", "clone3")
            if " = -1 E" not in line and name not in CERTAIN:  # what fails anyway is expected to
                parent.append((name, counts[pid, name]))
        elif len(pids) > 1 and pid == pids[1]:
            child.append((name, counts[pid, name]))
            if name == "execve":
                break
        entered = entered or name == "execveat"
    trace.unlink()
    return parent, child


def worth(all_calls: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """All of them, but of a long row of the same call its ends and its middle."""
    rows: dict[str, list[int]] = {}
    for name, number in all_calls:
        rows.setdefault(name, []).append(number)
    kept = []
    for name, numbers in rows.items():
        if len(numbers) > 16:
            numbers = [*numbers[:3], numbers[len(numbers) // 2], *numbers[-3:]]
        kept += [(name, number) for number in numbers]
    return kept


def test_the_wrapper_changes_nothing(lab: Lab, fault: str) -> None:
    done = lab.run("proof", wrap=[fault, str(UID), "--"])
    assert confined(done), done
    assert begun(lab)


@pytest.mark.slow
def test_every_call_of_the_parent(lab: Lab, fault: str) -> None:
    parent, child = calls(lab, fault)
    names = {name for name, _ in parent}
    assert {
        "setns",
        "setgroups",
        "setresgid",
        "setresuid",
        "capset",
        "capget",
        "prctl",
        "pidfd_open",
        "close_range",
        "openat",
        "pipe2",
        "getresuid",
        "getresgid",
        "getgroups",
    } <= names
    assert {"execve", "seccomp", "setsid", "close_range"} <= {name for name, _ in child}
    wrong = []
    for name, number in worth(parent):
        (lab.home / MARK).unlink(missing_ok=True)
        done = traced(
            lab, fault, "-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={name}:error=EPERM:when={number}"
        )
        if begun(lab, done):
            right = name in TOLERATED and confined(done)
        else:
            refused = done.status == 1 and done.err == DULL and len(done.log) == 1
            right = refused or (name in TOLERATED and done.status != 0)  # the C library may end in its own way
        if not right:
            wrong.append((name, number, done))
    assert not wrong, wrong[:3]


# -- chosen by argument: seccomp

X86 = os.uname().machine == "x86_64"
PRCTL, IOCTL, CLOSE_RANGE, SECCOMP = (157, 16, 436, 317) if X86 else (167, 29, 436, 277)
SETSID, CHDIR, EXECVE, GETPPID, DUP3, SIGPROCMASK = (112, 80, 59, 110, 292, 14) if X86 else (157, 49, 221, 173, 24, 135)
SETNS, CAPSET, CAPGET, SETGROUPS, SETRESUID, SETRESGID = (
    (308, 126, 125, 116, 117, 119) if X86 else (268, 91, 90, 159, 147, 149)
)
SIGNALFD, PIDFD_OPEN, PIPE2, GETGROUPS, FCNTL = (289, 434, 293, 115, 72) if X86 else (74, 434, 59, 158, 25)

BOTH: dict[str, tuple[int, int, int]] = {
    "setns": (SETNS, -1, 0),
    "setgroups to hers": (SETGROUPS, 0, 1),
    "setresuid to hers": (SETRESUID, 0, UID),
    "setresgid to hers": (SETRESGID, 0, UID),
    "PR_CAPBSET_DROP": (PRCTL, 0, 24),
    "PR_CAPBSET_READ": (PRCTL, 0, 23),
    "PR_CAPBSET_READ of the 10th": (PRCTL, 1, 10),
    "PR_CAP_AMBIENT": (PRCTL, 0, 47),
    "PR_CAP_AMBIENT_IS_SET of the 40th": (PRCTL, 2, 40),
    "capset": (CAPSET, -1, 0),
    "capget": (CAPGET, -1, 0),
    "getgroups": (GETGROUPS, -1, 0),
    "PR_SET_NO_NEW_PRIVS": (PRCTL, 0, 38),
    "PR_GET_NO_NEW_PRIVS": (PRCTL, 0, 39),
    "PR_SET_DUMPABLE": (PRCTL, 0, 4),
    "PR_GET_DUMPABLE": (PRCTL, 0, 3),
    "close_range of the caller's": (CLOSE_RANGE, 0, 3),
    "F_GETFL": (FCNTL, 1, 3),
    "pidfd_open": (PIDFD_OPEN, -1, 0),
    "pipe2": (PIPE2, -1, 0),
    "signalfd4": (SIGNALFD, -1, 0),
    # the child
    "getppid": (GETPPID, -1, 0),
    "setsid": (SETSID, -1, 0),
    "dup3 of the report": (DUP3, 1, 3),
    "close_range of ours": (CLOSE_RANGE, 0, 4),
    "seccomp": (SECCOMP, -1, 0),
    "PR_GET_SECCOMP": (PRCTL, 0, 21),
    "chdir, home and /": (CHDIR, -1, 0),
    "execve": (EXECVE, -1, 0),
    "sigprocmask": (SIGPROCMASK, 0, 2),
}
PIPES = {"PR_SET_PDEATHSIG": (PRCTL, 0, 1)}
TERMINAL = {
    "TIOCSPTLCK": (IOCTL, 1, 0x40045431),
    "TIOCGPTN": (IOCTL, 1, 0x80045430),
    "TIOCGPTPEER": (IOCTL, 1, 0x5441),
    "TIOCSWINSZ": (IOCTL, 1, 0x5414),
    "TIOCGWINSZ": (IOCTL, 1, 0x5413),
    "TCGETS": (IOCTL, 1, 0x5401),
    "TCSETS of the inner": (IOCTL, 1, 0x5402),
    "TCSETSW of the outer": (IOCTL, 1, 0x5403),
    "TIOCSCTTY": (IOCTL, 1, 0x540E),
    **({"dup2": (33, 1, 1)} if X86 else {}),
}
ERRNOS = {"EPERM": 1, "EINTR": 4, "ENOMEM": 12, "EINVAL": 22, "ENOSYS": 38}


def wrapper(fault: str, call: tuple[int, int, int], errno: int) -> list[str]:
    return [fault, str(UID), *map(str, call), str(errno), "--"]


@pytest.mark.parametrize("case", [*BOTH, *PIPES])
def test_without_a_terminal(lab: Lab, fault: str, case: str) -> None:
    for name, errno in ERRNOS.items():
        if name == "ENOSYS" and case in ("pipe2", "signalfd4", "dup3 of the report"):
            continue  # musl has an older call for it
        done = lab.run("proof", wrap=wrapper(fault, {**BOTH, **PIPES}[case], errno))
        assert not begun(lab), name
        assert (done.status, done.out, done.err, len(done.log)) == (1, b"", DULL, 1), (name, done)
        assert re.search(r" code=login\.(kernel|keeper-dead|bad-fd) ", done.log[0]), done.log


@pytest.mark.parametrize("case", [*BOTH, *TERMINAL])
def test_with_a_terminal(lab: Lab, fault: str, case: str) -> None:
    errno = ERRNOS["EPERM"]
    with Terminal(lab, "proof", wrap=wrapper(fault, {**BOTH, **TERMINAL}[case], errno)) as terminal:
        assert terminal.wait() == 1
        assert not begun(lab)
        log = lab.lines()
        assert len(log) == 1
        assert re.search(r" code=login\.(kernel|keeper-dead|bad-fd) ", log[0]), log
        if "TCSETSW" not in case:
            assert terminal.restored()
            assert terminal.seen.replace(b"\r", b"") == DULL


def test_a_call_that_must_fail_does_not(lab: Lab, fault: str) -> None:
    """Answering 0 without doing anything (errno 0 does that): the read-back notices a drop that did not happen."""
    pretended = {
        "PR_CAPBSET_DROP": (PRCTL, 0, 24),
        "capset": (CAPSET, -1, 0),
        "PR_SET_NO_NEW_PRIVS": (PRCTL, 0, 38),
        "setgroups": (SETGROUPS, -1, 0),
        "setresuid": (SETRESUID, -1, 0),
        "setresgid": (SETRESGID, -1, 0),
        "PR_SET_DUMPABLE": (PRCTL, 0, 4),
        "setns": (SETNS, -1, 0),
        "seccomp": (SECCOMP, -1, 0),
    }
    for case, call in pretended.items():
        if case == "seccomp":
            continue  # this filter is itself one, so PR_GET_SECCOMP says 2: see test_seccomp_is_read_back
        done = lab.run("proof", wrap=wrapper(fault, call, 0))
        assert not begun(lab), case
        assert (done.status, len(done.log)) == (1, 1), (case, done)


def test_seccomp_is_read_back(lab: Lab, fault: str) -> None:
    done = traced(lab, fault, "-o", "/dev/null", "-e", "trace=seccomp", "-e", "inject=seccomp:retval=0:when=1")
    assert not begun(lab)
    assert done.refused("login.kernel"), done
    assert "seccomp is not on" in done.log[0]


def test_home_that_cannot_be_entered(lab: Lab, fault: str) -> None:
    """The one exception by design: chdir(home) may fail, then it is "/" of the jail, where she can leave no mark."""
    done = traced(lab, fault, "-o", "/dev/null", "-e", "trace=chdir", "-e", "inject=chdir:error=EACCES:when=1")
    assert confined(done)
    assert not begun(lab)


def test_fork_fails(lab: Lab, fault: str) -> None:
    """At the limit of processes: refused, nothing left over."""
    done = traced(
        lab, fault, "-o", "/dev/null", "-e", "trace=?fork,clone,clone3", "-e", "inject=?fork,clone,clone3:error=EAGAIN"
    )
    assert not begun(lab)
    assert done.refused("login.kernel"), done


def test_parent_cannot_hear_the_child(lab: Lab, fault: str) -> None:
    """The read of the child's report fails: the child, perhaps running already, is ended before the refusal."""
    trace = lab.root / "trace"
    traced(lab, fault, "-o", str(trace), "-e", "trace=read")
    lines = re.findall(r"^(\d+) +(read\(.*)", trace.read_text(), re.M)
    trace.unlink()
    own = [text for pid, text in lines if pid == lines[0][0]]
    number = next(i for i, text in enumerate(own, 1) if text.endswith("unfinished ...>") or ", 255) " in text)
    done = traced(lab, fault, "-o", "/dev/null", "-e", "trace=read", "-e", f"inject=read:error=EIO:when={number}")
    assert done.status == 1
    assert "code=login.kernel read" in done.log[0]
    assert done.err == DULL
