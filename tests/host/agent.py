"""Pid 1 of a throw-away host: reaps, and runs what the test asks for, inside.

Processes are forked here and not sent in by nsenter, so that they are in the host's pid namespace and control groups
from their first instruction, as anything that an init system started would be.

Protocol, one SOCK_SEQPACKET message a request, from host.py: JSON ``{"argv", "env", "cwd", "ids": [uid, gid, [groups]],
"tty": bool}`` with four descriptors: standard input, output, error, and a socket for the answers. Answers:
``{"pid": n}`` with a pidfd (or ``{"error": text}``), then at its end ``{"status": wait status}``.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import termios
from typing import Any

LIMIT = 1 << 20


def serve(control: socket.socket) -> None:
    """Never returns: leaves with the process, when the test closes its end."""
    os.setsid()
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    os.set_inheritable(control.fileno(), False)
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    waiting: dict[int, socket.socket] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    while True:
        for descriptor, _event in poll.poll():
            if descriptor == wake_read:
                os.read(wake_read, 4096)
                reap(waiting)
            elif not accept(control, waiting):
                os._exit(0)


def reap(waiting: dict[int, socket.socket]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        answers = waiting.pop(pid, None)
        if answers is not None:
            answer(answers, {"status": status})
            answers.close()


def accept(control: socket.socket, waiting: dict[int, socket.socket]) -> bool:
    message, fds, _flags, _address = socket.recv_fds(control, LIMIT, 4)
    if not message:
        return False
    request: dict[str, Any] = json.loads(message)
    answers = socket.socket(fileno=fds[3])
    pid = os.fork()
    if pid == 0:
        try:
            become(request, fds)
        except BaseException as error:  # noqa: BLE001  # whatever it was, the test must read it
            os.write(2, f"agent: {request['argv'][0]}: {error}\n".encode())
        finally:
            os._exit(127)
    for descriptor in fds[:3]:
        os.close(descriptor)
    pidfd = os.pidfd_open(pid)
    answer(answers, {"pid": pid}, pidfd)
    os.close(pidfd)
    waiting[pid] = answers
    return True


def answer(answers: socket.socket, value: dict[str, Any], descriptor: int = -1) -> None:
    """The test may have gone away from this one process already: that is its right."""
    extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))] if descriptor >= 0 else []
    try:
        answers.sendmsg([json.dumps(value).encode()], extra, socket.MSG_NOSIGNAL)
    except OSError:
        pass


def become(request: dict[str, Any], fds: list[int]) -> None:
    signal.set_wakeup_fd(-1)
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP) and not 32 <= number <= 33:
            signal.signal(number, signal.SIG_DFL)
    os.setsid()
    ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
    for index in range(3):
        os.dup2(fds[index], index + 100)
    for index in range(3):
        os.dup2(index + 100, index)
        os.set_inheritable(index, True)
    os.closerange(3, 256)
    if request["tty"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    uid, gid, groups = request["ids"]
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.umask(0o022)
    os.chdir(request["cwd"])
    os.execvpe(request["argv"][0], request["argv"], request["env"])
