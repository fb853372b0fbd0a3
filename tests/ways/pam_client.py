"""A program that opens a PAM session as a server would: ``python3 pam_client.py SERVICE USER``; prints the result of
pam_open_session(3): 0 is success, 4 PAM_SYSTEM_ERR, 6 PAM_PERM_DENIED, 14 PAM_SESSION_ERR."""

from __future__ import annotations

import ctypes
import sys


class Conversation(ctypes.Structure):
    _fields_ = [("function", ctypes.c_void_p), ("data", ctypes.c_void_p)]


def main(service: str, user: str) -> int:
    pam = ctypes.CDLL("libpam.so.0")
    handle, conversation = ctypes.c_void_p(), Conversation(None, None)
    started = pam.pam_start(service.encode(), user.encode(), ctypes.byref(conversation), ctypes.byref(handle))
    if started != 0:
        raise SystemExit(f"pam_start: {started}")
    result: int = pam.pam_open_session(handle, 0)
    if result == 0:
        pam.pam_close_session(handle, 0)
    pam.pam_end(handle, result)
    return result


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2]))
