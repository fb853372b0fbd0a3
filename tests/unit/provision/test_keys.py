"""Public keys: what is taken, what is refused and how; private keys never pass."""

from __future__ import annotations

import base64
import os
import struct
from pathlib import Path

import pytest

from jailkit.errors import InvalidFile, JailkitError
from jailkit.provision import keys


def blob(*fields: bytes) -> str:
    return base64.b64encode(b"".join(struct.pack(">I", len(field)) + field for field in fields)).decode()


def number(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


def rsa(bits: int) -> str:
    return "ssh-rsa " + blob(b"ssh-rsa", number(65537), number((1 << (bits - 1)) + 1))


ED = "ssh-ed25519 " + blob(b"ssh-ed25519", b"k" * 32)
ECDSA = "ecdsa-sha2-nistp256 " + blob(b"ecdsa-sha2-nistp256", b"nistp256", b"\x04" + b"k" * 64)
SK = "sk-ssh-ed25519@openssh.com " + blob(b"sk-ssh-ed25519@openssh.com", b"k" * 32, b"ssh:")


@pytest.mark.parametrize("line", [ED, ECDSA, SK, rsa(2048), rsa(4096)], ids=lambda line: line.split()[0])
def test_a_key_is_taken_and_normalised(line: str) -> None:
    assert keys.parse(f"# mine\n\n  {line}\t a  comment \n", "x") == [f"{line} a  comment"]
    assert keys.parse(line + "\r\n", "x") == [line]


def test_a_key_given_twice_counts_once() -> None:
    assert keys.parse(f"{ED} home\n{ECDSA}\n{ED} office\n", "x") == [f"{ED} home", ECDSA]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (rsa(1024), "1024 bits"),
        (rsa(2047), "2047 bits"),
        ("ssh-rsa " + blob(b"ssh-rsa", number(1), number(1 << 2048)), "no RSA key"),
        ("ssh-ed25519 " + blob(b"ssh-rsa", b"k" * 32), "calls itself ssh-ed25519, but holds 'ssh-rsa'"),
        ("ssh-ed25519 " + blob(b"ssh-ed25519", b"k" * 31), "no Ed25519 point"),
        ("ssh-ed25519 " + blob(b"ssh-ed25519", b"k" * 32, b"more"), "bytes after its end"),
        ("ssh-ed25519 AAAA", "cut off"),
        ("ssh-ed25519", "without a key"),
        ("ssh-ed25519 ####", "not base64"),
        ("ecdsa-sha2-nistp256 " + blob(b"ecdsa-sha2-nistp256", b"nistp384", b"\x04" + b"k" * 64), "another curve"),
        ("ssh-dss " + blob(b"ssh-dss", b"x"), "DSA"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "certificate"),
        ("ssh-foo AAAA", "not a key type"),
        (f"{ED} \x1b]0;owned\x07", "printable"),
        (f"{ED} " + "x" * 300, "printable"),
        ("---- BEGIN SSH2 PUBLIC KEY ----", "RFC 4716"),
    ],
)
def test_a_bad_key_is_refused_with_its_line(line: str, says: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        keys.parse(f"{ED}\n{line}\n", "k.pub")
    assert caught.value.code == "invalid.key"
    assert caught.value.errors[0][0] == "line 2"
    assert says in caught.value.errors[0][1]


@pytest.mark.parametrize(
    "options",
    [
        'command="/bin/sh"',
        'environment="LD_PRELOAD=/tmp/x"',
        "no-pty,restrict",
        'from="*" ',
        'command="a b",permitopen="x:1"',
        "cert-authority",
    ],
)
def test_a_key_with_options_is_refused(options: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        keys.parse(f"{options} {ED}\n", "k.pub")
    assert caught.value.code == "invalid.key-options"


def test_every_bad_line_comes_at_once() -> None:
    with pytest.raises(InvalidFile) as caught:
        keys.parse(f"ssh-foo AAAA\n{ED}\n{rsa(1024)}\n", "k.pub")
    assert [where for where, _ in caught.value.errors] == ["line 1", "line 3"]


@pytest.mark.parametrize(
    "text",
    ["-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA", "-----BEGIN RSA PRIVATE KEY-----", "PuTTY-User-Key-File-3: ssh-rsa"],
)
def test_a_private_key_is_refused_by_name(text: str) -> None:
    with pytest.raises(JailkitError) as caught:
        keys.parse(text, "id_rsa")
    assert caught.value.code == "invalid.key-private"
    assert "id_rsa.pub" in caught.value.hint
    assert "AAAA" not in caught.value.message


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "\x00\x00"])
def test_a_file_without_a_key_is_refused(text: str) -> None:
    with pytest.raises(JailkitError) as caught:
        keys.parse(text, "k.pub")
    assert caught.value.code == "invalid.key"


def test_key_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(JailkitError) as caught:
        keys.read_file(str(tmp_path / "none"))
    assert caught.value.code == "missing.key-file"
    (tmp_path / "large").write_bytes(b"#" * (257 << 10))
    with pytest.raises(JailkitError, match="larger"):
        keys.read_file(str(tmp_path / "large"))
    with pytest.raises(JailkitError):
        keys.read_file(str(tmp_path))


def test_a090_a_fifo_or_device_as_key_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (str(tmp_path / "fifo"), "/dev/zero"):
        with pytest.raises(JailkitError) as caught:
            keys.read_file(path)
        assert caught.value.code == "invalid.key-file"


def test_the_key_file_is_the_mark_and_the_keys() -> None:
    assert keys.file_text([ED]) == f"# managed by jailctl\n{ED}\n".encode()
