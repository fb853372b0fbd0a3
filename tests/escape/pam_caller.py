"""Run inside the host as root: ``python3 -I -c SOURCE REQUEST`` (pam.py). Waits for a line before it runs anything."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

ITEMS = {"tty": 3, "rhost": 4, "ruser": 8}
said: list[str] = []


class Message(ctypes.Structure):
    _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]


class Response(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char_p), ("code", ctypes.c_int)]


MESSAGES = ctypes.POINTER(ctypes.POINTER(Message))
CONVERSE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, MESSAGES, ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)


class Conversation(ctypes.Structure):
    _fields_ = [("function", CONVERSE), ("data", ctypes.c_void_p)]


def converse(count: int, messages: Any, responses: Any, _data: Any) -> int:
    libc = ctypes.CDLL(None)
    libc.calloc.restype = ctypes.c_void_p
    libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    responses[0] = libc.calloc(count, ctypes.sizeof(Response))
    said.extend(messages[i].contents.text.decode(errors="backslashreplace") for i in range(count))
    return 0


def run(argv: list[str], name: str) -> dict[str, object]:
    import pwd

    entry = pwd.getpwnam(name)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.initgroups(name, entry.pw_gid)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            os.dup2(write, 1)
            os.dup2(write, 2)
            os.execve(argv[0], argv, {"PATH": "/usr/bin:/bin", "SSH_ORIGINAL_COMMAND": "true"})
        finally:
            os._exit(127)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        out = pipe.read()
    return {"status": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "out": out.decode(errors="backslashreplace")}


def say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    request = json.loads(sys.argv[1])
    pam = ctypes.CDLL("libpam.so.0")
    pam.pam_set_item.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
    function = CONVERSE(converse)
    conversation, handle = Conversation(function, None), ctypes.c_void_p()
    user = request["user"].encode()
    assert pam.pam_start(request["service"].encode(), user, ctypes.byref(conversation), ctypes.byref(handle)) == 0
    for name, value in request["items"].items():
        assert pam.pam_set_item(handle, ITEMS[name], value.encode()) == 0
    account = pam.pam_acct_mgmt(handle, 0)
    opened = pam.pam_open_session(handle, 0)
    say({"account": account, "opened": opened, "text": "\n".join(said)})
    sys.stdin.readline()
    if opened == 0:
        if request["argv"]:
            say(run(request["argv"], request["user"]))
        pam.pam_close_session(handle, 0)
    pam.pam_end(handle, 0)


main()
