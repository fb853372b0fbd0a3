"""The reader of sshd's configuration: which lines, in which order, in which Match blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from jailkit.login import sshd_config
from jailkit.login.sshd_config import Line, covers, parse, read, samples


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_includes_are_followed_where_they_stand(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    write(tmp_path / "d/10-b.conf", "X11Forwarding yes\n")
    write(tmp_path / "d/000-a.conf", "Match User x\n  PermitTTY no\n")
    write(tmp_path / "d/skipped.txt", "PermitTTY yes\n")
    main = write(
        tmp_path / "sshd_config", f"Port 22\nInclude {tmp_path}/d/*.conf\nUsePAM yes\nMatch User y\n PermitTTY no\n"
    )
    found = [(Path(line.file).name, line.number, line.keyword, line.match) for line in read(main)]
    assert found == [
        ("sshd_config", 1, "port", ()),
        ("sshd_config", 2, "include", ()),
        ("000-a.conf", 1, "match", (("User", "x"),)),
        ("000-a.conf", 2, "permittty", (("User", "x"),)),
        ("10-b.conf", 1, "x11forwarding", ()),  # a Match block ends with its file
        ("sshd_config", 3, "usepam", ()),
        ("sshd_config", 4, "match", (("User", "y"),)),
        ("sshd_config", 5, "permittty", (("User", "y"),)),
    ]


def test_an_include_inside_a_match_block_says_so(tmp_path: Path) -> None:
    inner = write(tmp_path / "inner.conf", "ForceCommand /door\n")
    main = write(tmp_path / "sshd_config", f"Match Address 10.0.0.0/8\nInclude {inner}\n")
    assert read(main)[-1] == Line(inner, 1, "forcecommand", ("/door",), (("Address", "10.0.0.0/8"),))


def test_a_file_that_includes_itself_ends(tmp_path: Path) -> None:
    main = tmp_path / "sshd_config"
    write(main, f"Port 22\nInclude {main}\n")
    assert len(read(str(main))) == 2 * 17


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Port 22", []),
        ("Port=22", [(1, "port", ("22",))]),
        ("  PORT  22  # why", [(1, "port", ("22",))]),
        ('Banner "/etc/a b"', [(1, "banner", ("/etc/a b",))]),
        ('Banner "open', [(1, "banner", ('"open',))]),
        ("AcceptEnv LANG LC_*", [(1, "acceptenv", ("LANG", "LC_*"))]),
    ],
)
def test_lines(text: str, expected: list[tuple[int, str, tuple[str, ...]]]) -> None:
    assert list(parse(text)) == expected


@pytest.mark.parametrize(
    ("arguments", "path", "expected"),
    [
        (("/etc/ssh/sshd_config.d/*.conf",), "/etc/ssh/sshd_config.d/000-jailctl.conf", True),
        (("sshd_config.d/*.conf",), "/etc/ssh/sshd_config.d/000-jailctl.conf", True),
        (("/etc/ssh/*",), "/etc/ssh/sshd_config.d/000-jailctl.conf", False),  # glob's * stops at a slash
        (("/etc/ssh/other.d/*.conf",), "/etc/ssh/sshd_config.d/000-jailctl.conf", False),
    ],
)
def test_what_an_include_covers(arguments: tuple[str, ...], path: str, expected: bool) -> None:
    assert covers(Line("f", 1, "include", arguments), path) is expected


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        (("Address", "10.1.0.0/16"), [{"addr": "10.1.0.1"}]),
        (("address", "!10.1.0.0/16,2001:db8::/32", "User", "bob,alice"), [{"addr": "2001:db8::1", "user": "bob"}]),
        (("host=gate.example.net",), [{"host": "gate.example.net"}]),
        (("Host", "*.example.net"), []),
        (("Group", "staff"), []),
        (("all",), []),
        (("LocalPort", "2222"), [{"lport": "2222"}]),
        (("Address", "not-an-address"), []),
    ],
)
def test_samples_of_a_match_block(criteria: tuple[str, ...], expected: list[dict[str, str]]) -> None:
    assert samples([Line("f", 1, "match", criteria, (criteria,))]) == expected


def test_before(tmp_path: Path) -> None:
    lines = [Line("main", 1, "port", ()), Line(sshd_config.FRAGMENT, 1, "match", ()), Line("main", 2, "usepam", ())]
    assert sshd_config.before(lines, sshd_config.FRAGMENT) == lines[:1]
    assert sshd_config.before(lines, "/nowhere") == lines
