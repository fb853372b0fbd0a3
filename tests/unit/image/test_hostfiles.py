"""What of the host's /etc goes into an image, and what never does."""

from __future__ import annotations

from pathlib import Path

import pytest

from jailkit.errors import JailkitError
from jailkit.image import hostfiles
from jailkit.image.layer import Row
from jailkit.image.source import host

from .memory import Memory


def names(found: list[Row]) -> dict[str, Row]:
    return {row.path: row for row in found}


def test_a197_only_what_is_roots_and_readable_by_all_is_copied(fake: Path) -> None:
    memory = Memory()
    found = names(hostfiles.copied(["/etc/*"], memory, str(fake)))
    assert set(found) == {
        "/etc/ssl",
        "/etc/ssl/certs",
        "/etc/ssl/certs/ca.pem",
        "/etc/ssl/certs/out",
        "/etc/suid",
        "/etc/vim",
        "/etc/vim/vimrc",
    }
    assert found["/etc/suid"].mode == 0o755
    assert memory.data[found["/etc/vim/vimrc"].sha256] == b"set nocp\n"


def test_a_link_is_copied_as_a_link_and_never_followed(fake: Path) -> None:
    found = names(hostfiles.copied(["/etc/ssl/certs"], Memory(), str(fake)))
    assert found["/etc/ssl/certs/out"].target == "/root/secret"
    (fake / "etc/link").symlink_to("ssl")
    assert hostfiles.copied(["/etc/link/certs"], Memory(), str(fake)) == []


def test_what_the_host_lacks_is_left_out(fake: Path) -> None:
    assert hostfiles.copied(["/etc/nothing", "/etc/no/thing", "/etc/none*"], Memory(), str(fake)) == []


def test_a_host_that_is_not_merged_is_refused(fake: Path) -> None:
    assert [row.target for row in host.merged_links(str(fake))] == ["usr/bin", "usr/lib"]
    (fake / "bin").unlink()
    (fake / "bin").mkdir()
    with pytest.raises(JailkitError) as caught:
        host.merged_links(str(fake))
    assert caught.value.code == "host.usrmerge"
