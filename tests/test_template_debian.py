"""Template debian: a distribution of its own, built from the machine's mirror, and used over ssh.

A throw-away host has no way to a mirror. So the image is built in one that has the machine's network, with its smoke
tests, and comes to the one of the session as an administrator would bring it: by export and import. It is kept for
later sessions while nothing that it is made of changes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jailkit.image import build
from jailkit.image.template import load_template
from jailkit.paths import Paths
from tests.host import Host
from tests.host.golden import CACHE, digests, tree_copy
from tests.unit.rooted import rooted

pytestmark = [pytest.mark.host, pytest.mark.timeout(900)]
USER = "debby"


def key() -> str:
    """Of what the image is made of, and of the code that makes it."""
    with rooted() as paths:
        inputs = build.inputs(Paths(paths.root), load_template(paths, "debian"))
    return f"{inputs[:12]}-{digests(tree_copy())[1][:12]}"


@pytest.fixture(scope="module")
def archive() -> Path:
    """An exported image of the template: two minutes for the first session, nothing for the next."""
    kept = CACHE / f"template-debian-{key()}.tar"
    if not kept.exists():
        for old in CACHE.glob("template-debian-*"):
            old.unlink()
        with Host(network="machine", sshd=False) as maker:
            done = maker.jailctl("update", "debian", timeout=800, check=False)
            if "mirror" in done.stderr and "reached" in done.stderr + done.stdout:
                pytest.skip(f"no mirror in reach: {done.stderr}")
            assert done.returncode == 0, done.stderr
            maker.jailctl("image", "export", "debian", "/root/debian.tar", timeout=120)
            shutil.copy(maker.root / "root/debian.tar", f"{kept}.new")
        Path(f"{kept}.new").rename(kept)
    return kept


@pytest.fixture(scope="module")
def debian(host: Host, archive: Path) -> Iterator[Host]:
    shutil.copy(archive, host.root / "root/debian.tar")
    host.jailctl("image", "import", "/root/debian.tar", "debian", timeout=120)
    (host.root / "root/debian.tar").unlink()
    host.jailctl("add-user", USER, "--template", "debian", "--key", host.key(USER) + ".pub")
    yield host
    host.jailctl("remove-user", USER)


WORKS = {
    "bash": ("bash -lc 'echo $0 $HOME; umask'", f"bash /home/{USER}\n0022\n"),
    "names": ("id -un; id -gn; hostname", f"{USER}\n{USER}\n{USER}\n"),
    "accounts": ("getent passwd | cut -d: -f1", f"root\nnobody\n{USER}\n"),
    "system": (". /etc/os-release && echo $ID && test -s /etc/debian_version && ls -ld /usr/bin/env | cut -d' ' -f3,4",
               "debian\nroot root\n"),
    "packages": ("dpkg-query -W -f '${Status}\\n' bash less openssh-sftp-server | sort -u; dpkg -S /usr/bin/less",
                 "install ok installed\nless: /usr/bin/less\n"),
    "locale": ("LC_ALL=C.UTF-8 locale charmap", "UTF-8\n"),
    "time": ("TZ=Europe/Berlin date -d '2026-07-01 12:00 UTC' +%H:%M%Z", "14:00CEST\n"),
    "terminfo": ("tput -T xterm-256color colors", "256\n"),
    "certificates": ("cd /etc/ssl/certs; openssl verify -CAfile ca-certificates.crt $(ls *.pem | head -1) | grep -o OK",
                     "OK\n"),
    "editor": ("echo a > v && vim.tiny -es -c 's/a/b/' -c wq v; cat v", "b\n"),
    "perl": ("perl -MPOSIX -e 'print strftime(\"%Y\", gmtime 0)'", "1970"),
    "processes": ("ps -e -o comm= | head -1", "keeper\n"),
    "scratch": ("for d in /tmp /var/tmp /dev/shm; do echo x > $d/f && cat $d/f; done", "x\nx\nx\n"),
    "links": ("readlink /var/run /bin; grep -c ' / ' /etc/mtab", "/run\nusr/bin\n1\n"),
}  # fmt: skip


@pytest.mark.parametrize("what", WORKS)
def test_its_own_programs_work(debian: Host, what: str) -> None:
    command, expected = WORKS[what]
    done = debian.ssh(USER, command)
    assert (done.stdout, done.returncode) == (expected, 0), done.stderr


def test_files_go_in_and_out(debian: Host) -> None:
    (debian.root / "root/put").write_text("by sftp\n")
    done = debian.sftp(USER, "put /root/put\nget put /root/got\n")
    assert done.returncode == 0 and (debian.root / "root/got").read_text() == "by sftp\n", done.stderr


def test_its_usr_is_not_the_hosts(debian: Host) -> None:
    for path in ("/usr/bin/git", "/usr/bin/gcc", "/usr/bin/python3"):
        assert (debian.root / path.lstrip("/")).exists(), "the host has it"
        assert debian.ssh(USER, f"ls {path}").returncode == 2
    assert " /usr " not in debian.ssh(USER, "cat /proc/self/mounts").stdout


def test_a197_no_account_and_no_secret_of_the_builder_or_the_host(debian: Host) -> None:
    done = debian.ssh(
        USER, "cat /etc/shadow; ls /etc/machine-id /etc/hostname; cat /etc/hostname; find / -xdev -perm /6000"
    )
    assert "root:" not in done.stdout and done.stdout.splitlines()[-1] == USER, done


def test_nothing_of_the_root_can_be_written(debian: Host) -> None:
    paths = "/x /etc/x /etc/passwd /usr/x /usr/bin/less /var/lib/dpkg/status /home/x /run/x /dev/x /var/x"
    done = debian.ssh(USER, f"for f in {paths}; do (echo x > $f) 2>/dev/null && echo wrote $f; done; true")
    assert (done.stdout, done.returncode) == ("", 0)
