"""Public keys: each line is taken apart and its binary key read, so that nothing but a key ends in the key file.

Formats: sshd(8), AUTHORIZED_KEYS FILE FORMAT; RFC 4253 section 6.6, RFC 5656, RFC 8709; PROTOCOL.u2f of OpenSSH."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Callable, Iterable

from ..errors import InvalidFile, JailkitError
from ..spec.jail import MARK

RSA_BITS = 2048
"""Shorter RSA keys are refused (OpenSSH's own floor is 1024)."""

_LIMIT = 256 << 10
_COMMENT = 256
_CURVES = {"nistp256": 65, "nistp384": 97, "nistp521": 133}
_PRIVATE = ("PRIVATE KEY-----", "PuTTY-User-Key-File-", "SSH PRIVATE KEY FILE FORMAT")


def read_file(path: str) -> list[str]:
    """Keys of a file, normalised. Raise ``missing.key-file``, ``io.key-file``, ``invalid.key*`` (see :func:`parse`).

    A FIFO or a device in its place does not make us wait: the file is opened without blocking and must be plain."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise JailkitError("invalid.key-file", f"{path} is not a plain file", "--key - reads standard input")
            data = file.read(_LIMIT + 1)
    except FileNotFoundError:
        raise JailkitError("missing.key-file", f"there is no {path}", f"ls {os.path.dirname(path) or '.'}") from None
    except OSError as error:
        raise JailkitError("io.key-file", f"cannot read {path}: {error.strerror}", f"ls -l {path}") from None
    if len(data) > _LIMIT:
        raise JailkitError("invalid.key-file", f"{path} is larger than {_LIMIT} bytes", "give it only public keys")
    return parse(data.decode(errors="replace"), path)


def parse(text: str, source: str) -> list[str]:
    """The keys of ``text`` as ``TYPE BASE64 [COMMENT]`` lines, each key once, in order; at least one.

    Raise ``invalid.key-private``, ``invalid.key-options``, ``invalid.key``: all bad lines at once."""
    if any(sign in text for sign in _PRIVATE):
        hint = f"{source}.pub is probably the public one" if not source.endswith(".pub") else "give the public key"
        raise JailkitError("invalid.key-private", f"{source} is a private key: it must never leave its owner", hint)
    found: dict[str, str] = {}
    errors: list[tuple[str, str]] = []
    options = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key = normalise(line)
            found.setdefault(key.split(" ")[1], key)
        except JailkitError as error:
            options = options or error.code == "invalid.key-options"
            errors.append((f"line {number}", error.message))
    if errors:
        code = "invalid.key-options" if options else "invalid.key"
        raise InvalidFile(code, source, errors, "one line a key: type, base64 and comment, as ssh-keygen writes them")
    if not found:
        raise JailkitError("invalid.key", f"{source} has no key", "ssh-keygen -t ed25519 makes one")
    return list(found.values())


def normalise(line: str) -> str:
    """One line as ``TYPE BASE64 [COMMENT]``. Raise ``invalid.key-options`` or ``invalid.key``."""
    parts = line.split(None, 2)
    kind = parts[0]
    if kind not in _READERS:
        raise _refusal(kind, parts)
    if len(parts) < 2:
        raise JailkitError("invalid.key", f"{kind} without a key after it")
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        raise JailkitError("invalid.key", "the key is not base64: cut off, or broken by a line end?") from None
    try:
        fields = _Fields(blob)
        inner = fields.text()
        if inner != kind:
            raise ValueError(f"calls itself {kind}, but holds {inner[:40]!r}")
        _READERS[kind](fields)
        fields.end()
    except ValueError as error:
        raise JailkitError("invalid.key", f"the key {error}") from None
    comment = parts[2].strip() if len(parts) > 2 else ""
    if not comment.isprintable() or len(comment) > _COMMENT:
        raise JailkitError("invalid.key", f"the comment is not one printable line of up to {_COMMENT} characters")
    return " ".join([kind, base64.b64encode(blob).decode(), *([comment] if comment else [])])


def fingerprint(line: str) -> str:
    """Of a key line, as ssh-keygen -l prints it: ``SHA256:...``. Raise ValueError, IndexError for one that is cut
    off."""
    digest = hashlib.sha256(base64.b64decode(line.split(" ", 2)[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _refusal(kind: str, parts: list[str]) -> JailkitError:
    if kind == "ssh-dss":
        return JailkitError("invalid.key", "DSA keys are refused: too short, and gone from OpenSSH")
    if "-cert-v0" in kind:
        return JailkitError("invalid.key", "is a certificate, not a key")
    if kind.startswith("----"):
        return JailkitError("invalid.key", "is in the RFC 4716 format; ssh-keygen -i -f FILE converts it")
    if any(word in _READERS for part in parts[1:] for word in part.split()):
        return JailkitError("invalid.key-options", "has options before the key (command=, environment=, ...): refused")
    return JailkitError("invalid.key", f"{kind[:40]!r} is not a key type that is taken")


class _Fields:
    """The length-prefixed fields of an SSH key blob (RFC 4251, section 5). Raise ValueError at a damaged one."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self._at = 0

    def take(self) -> bytes:
        head = self._blob[self._at : self._at + 4]
        length = int.from_bytes(head, "big")
        start = self._at + 4
        if len(head) < 4 or length > len(self._blob) - start:
            raise ValueError("is cut off")
        self._at = start + length
        return self._blob[start : self._at]

    def text(self) -> str:
        return self.take().decode("ascii", errors="replace")

    def end(self) -> None:
        if self._at != len(self._blob):
            raise ValueError("has bytes after its end")


def _ed25519(fields: _Fields) -> None:
    if len(fields.take()) != 32:
        raise ValueError("is no Ed25519 point")


def _rsa(fields: _Fields) -> None:
    exponent, modulus = (int.from_bytes(fields.take(), "big", signed=True) for _ in range(2))
    if exponent < 3 or exponent % 2 == 0 or modulus <= 0:
        raise ValueError("is no RSA key")
    if modulus.bit_length() < RSA_BITS:
        raise ValueError(f"has {modulus.bit_length()} bits; RSA needs {RSA_BITS}")
    if modulus.bit_length() > 16384:
        raise ValueError("is longer than 16384 bits")


def _ecdsa(curve: str) -> Callable[[_Fields], None]:
    def read(fields: _Fields) -> None:
        if fields.text() != curve:
            raise ValueError("has another curve than it says")
        point = fields.take()
        if len(point) != _CURVES[curve] or point[:1] != b"\x04":
            raise ValueError(f"is no point on {curve}")

    return read


def _security_key(read: Callable[[_Fields], None]) -> Callable[[_Fields], None]:
    def with_application(fields: _Fields) -> None:
        read(fields)
        if not fields.text().startswith("ssh:"):
            raise ValueError("has no ssh: application")

    return with_application


_READERS: dict[str, Callable[[_Fields], None]] = {
    "ssh-ed25519": _ed25519,
    "ssh-rsa": _rsa,
    **{f"ecdsa-sha2-{curve}": _ecdsa(curve) for curve in _CURVES},
    "sk-ssh-ed25519@openssh.com": _security_key(_ed25519),
    "sk-ecdsa-sha2-nistp256@openssh.com": _security_key(_ecdsa("nistp256")),
}


def file_text(keys: Iterable[str]) -> bytes:
    """The key file that sshd reads. It lies in a root-owned directory outside the home, world-readable: sshd opens it
    with the user's ids, and public keys are no secret."""
    return "".join(f"{line}\n" for line in [MARK, *keys]).encode()
