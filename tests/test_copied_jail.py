"""A jail whose whole system is copied programs: built, entered over SSH, and refused in plain words."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.host import Host

pytestmark = pytest.mark.host

TEMPLATE = """name = "tools"
description = "Some programs and what they need"
includes = ["skeleton", "accounts"]
source = "copy"
shell = "/bin/bash"

[copy]
programs = ["bash", "sh", "ls", "cat", "id", "git", "python3", "locale", "getent", "iconv", {programs}]
globs = ["/usr/lib/git-core", "/usr/share/git-core/templates"]
extra = ["/usr/lib/openssh/sftp-server"]
packages = [{packages}]
"""


def write(h: Host, programs: str = '"cp"', packages: str = "") -> None:
    directory = h.root / "etc/jailctl/templates/tools"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "template.toml").write_text(TEMPLATE.format(programs=programs, packages=packages))


@pytest.fixture(scope="module")
def h() -> Iterator[Host]:
    with Host() as host:
        host.jailctl("setup")
        write(host)
        host.jailctl("image", "build", "tools")
        host.jailctl("add-user", "cora", "--template", "tools", "--key", f"{host.key('cora')}.pub")
        yield host


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("id -u; ls /usr/bin/vim /usr/sbin 2>&1", "No such file"),
        ("git init -q it; cd it; git -c user.name=c -c user.email=c@d commit -q --allow-empty -m one; git log", "one"),
        ("python3 -c 'import ssl, ctypes, sqlite3; print(6 * 7)'", "42"),
        ("getent passwd cora", "cora:x:"),
        ("printf '\\344' | iconv -f ISO-8859-15 -t UTF-8", "ä"),
        ("LC_ALL=C.UTF-8 locale charmap", "UTF-8"),
    ],
    ids=["view", "git", "python3", "getent", "iconv", "locale"],
)  # fmt: skip
def test_programs_work_in_her_jail(h: Host, command: str, expected: str) -> None:
    done = h.ssh("cora", command)
    assert expected in done.stdout, done.stderr


def test_sftp_works_in_her_jail(h: Host) -> None:
    done = h.sftp("cora", "mkdir by-sftp\nls\n")
    assert "by-sftp" in done.stdout, done.stderr


def test_all_that_the_host_lacks_is_said_at_once_and_nothing_is_built(h: Host) -> None:
    before = h.image("tools")
    write(h, '"nothing-one", "nothing-two"', '"no-such-package"')
    done = h.run(["/usr/local/sbin/jailctl", "image", "build", "tools", "--json"])
    assert done.returncode == 6
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "host.copy" and "optional" in error["hint"]
    for name in ("nothing-one", "nothing-two", "no-such-package"):
        assert name in error["message"]
    assert h.image("tools") == before
    write(h)
    h.jailctl("image", "build", "tools")
    assert h.image("tools") == before
