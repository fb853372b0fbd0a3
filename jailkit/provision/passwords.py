"""Password hashes, by the C library's own crypt(3): Python 3.13 has no crypt module any more, and the hash of a new
password must not depend on a PAM stack that asks questions.

The clear text is never written anywhere; the hash waits in the journal (0600) until chpasswd has taken it."""

from __future__ import annotations

import ctypes
import functools
import hmac
import os

from ..errors import JailkitError

_SIZE = 32768
"""sizeof(struct crypt_data) of libxcrypt; crypt_rn(3) is told the size and refuses if it is too small."""


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libcrypt.so.1", use_errno=True)
    except OSError:
        raise JailkitError("host.crypt", "libcrypt.so.1 is missing", "apt install libcrypt1") from None
    library.crypt_rn.restype = ctypes.c_char_p
    library.crypt_rn.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
    library.crypt_gensalt_rn.restype = ctypes.c_char_p
    library.crypt_gensalt_rn.argtypes = [
        ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int,
    ]  # fmt: skip
    return library


def _bytes(password: str) -> bytes:
    # as it was typed: what is not UTF-8 came through surrogateescape
    return password.encode(errors="surrogateescape")


class Hash(str):
    """A password of which only the hash is known, as crypt(5) writes it: taken wherever one is, as it is."""


def require_valid(password: str) -> None:
    """Raise ``invalid.password`` unless it is one line of 1 to 512 bytes."""
    if not password or len(_bytes(password)) > 512 or any(char in password for char in "\0\r\n"):
        raise JailkitError("invalid.password", "a password is one line of 1 to 512 bytes", "give it on standard input")


def hash_password(password: str) -> str:
    """A new hash with the C library's preferred method: yescrypt on Debian.

    Raise ``invalid.password``, ``host.crypt``."""
    if isinstance(password, Hash):
        return str(password)
    require_valid(password)
    output = ctypes.create_string_buffer(192)
    salt = os.urandom(32)
    setting = _library().crypt_gensalt_rn(None, 0, salt, len(salt), output, len(output))
    done = _crypt(password, setting) if setting else None
    if not done:
        raise JailkitError("host.crypt", "the C library cannot hash a password", "jailctl doctor")
    return done


def matches(password: str, hashed: str) -> bool:
    """Whether ``password`` is what ``hashed`` (a field of shadow(5)) was made of. False for locked or empty ones."""
    if not hashed or hashed[0] in "*!":
        return False
    if isinstance(password, Hash):
        return hmac.compare_digest(password, hashed)
    again = _crypt(password, hashed.encode())
    return again is not None and hmac.compare_digest(again, hashed)


def _crypt(password: str, setting: bytes) -> str | None:
    data = ctypes.create_string_buffer(_SIZE)
    result: bytes | None = _library().crypt_rn(_bytes(password), setting, data, _SIZE)
    return result.decode() if result and not result.startswith(b"*") else None
