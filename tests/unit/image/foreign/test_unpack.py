"""What an honest tar becomes, whatever tool has written it; and what the unpacking process is, seen from outside."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jailkit.errors import JailkitError
from jailkit.image.contents import Counted
from jailkit.image.foreign import tarball, unpack
from jailkit.image.sandbox import confine, ids
from jailkit.kernel import mount
from tests.unit.image.confined import below, ends, wait_for
from tests.unit.image.foreign import tars
from tests.unit.image.foreign.tars import described, directory, file, hard, link, node, tar, unpacked, unpacked_file
from tests.unit.image.memory import Memory

TREE = Path(__file__).resolve().parents[4]
NOBODY = ids.BUILD_BASE + ids.NOBODY


@pytest.fixture(autouse=True)
def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("namespaces of root's need root")


ENTRIES = (
    directory("./"), directory("./usr/"), directory("usr/bin"), file("usr/bin/tool", b"#!", 0o755),
    file("/usr/share/absolute", b"P"), link("bin", "usr/bin"), link("usr/bin/up", "../share/absolute"),
    link("etc/alternatives/tool", "/usr/bin/tool"), hard("usr/bin/same", "./usr/bin/tool"),
    file("etc//doubled/./name", b"1"), file("etc/secret", b"s", 0o640), directory("tmp", 0o1777),
    directory("root", 0o700), file("etc/F\u0151tan\u00fas\u00edtv\u00e1ny.crt", b"c"),
)  # fmt: skip
BECOME = {
    "/bin": "-> usr/bin", "/etc": "directory 0755", "/etc/F\u0151tan\u00fas\u00edtv\u00e1ny.crt": "0644 1",
    "/etc/alternatives": "directory 0755", "/etc/alternatives/tool": "-> /usr/bin/tool",
    "/etc/doubled": "directory 0755", "/etc/doubled/name": "0644 1", "/etc/secret": "0600 1",
    "/root": "directory 0700", "/tmp": "directory 1777", "/usr": "directory 0755", "/usr/bin": "directory 0755",
    "/usr/bin/same": "0755 2", "/usr/bin/tool": "0755 2", "/usr/bin/up": "-> ../share/absolute",
    "/usr/share": "directory 0755", "/usr/share/absolute": "0644 1",
}  # fmt: skip
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress,
    "two-gzip": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]),
    "two-xz-padded": lambda data: lzma.compress(data[:700]) + lzma.compress(data[700:]) + b"\0" * 512,
    "two-bzip2": lambda data: bz2.compress(data[:700]) + bz2.compress(data[700:]),
}  # fmt: skip


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_what_tools_write_is_taken_as_it_is_meant(packer: str, format_: int, tmp_path: Path) -> None:
    entries = ENTRIES if format_ != tarfile.USTAR_FORMAT else ENTRIES[:-1]
    rows, kept, log = unpacked(PACKERS[packer](tar(*entries, format_=format_)), tmp_path)
    wanted = dict(BECOME)
    if format_ == tarfile.USTAR_FORMAT:
        del wanted["/etc/F\u0151tan\u00fas\u00edtv\u00e1ny.crt"]
    assert described(rows) == wanted
    same = {row.sha256 for row in rows if row.path in ("/usr/bin/tool", "/usr/bin/same")}
    assert [kept.data[digest] for digest in same] == [b"#!"]
    assert log[-1].endswith(" 0 things dropped")


def test_long_names_of_both_formats(tmp_path: Path) -> None:
    deep = "/".join(["d" * 100] * 20) + "/" + "f" * 255
    for format_ in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        rows, _, _ = unpacked(tar(file(deep), link("l", deep), format_=format_), tmp_path)
        assert described(rows)[f"/{deep}"] == "0644 1" and described(rows)["/l"] == f"-> {deep}"


@pytest.mark.parametrize("format_", ["gnu", "posix"])
@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_sparse_files_have_their_holes(format_: str, version: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    content = bytearray(9 << 20)
    for at in range(0, 9 << 20, 1 << 20):
        content[at : at + 4096] = os.urandom(4096)
    with open(root / "holes", "wb") as out:
        for at in range(0, 9 << 20, 1 << 20):
            out.seek(at)
            out.write(content[at : at + 4096])
        out.truncate(9 << 20)
    (root / "after").write_bytes(b"after")
    path = tmp_path / "sparse.tar"
    command = ["/bin/tar", "-C", str(root), "-S", f"--format={format_}", f"--sparse-version={version}"]
    subprocess.run([*command, "-cf", str(path), "holes", "after"], check=True)
    assert path.stat().st_size < 1 << 20
    rows, kept, _ = unpacked_file(path, tmp_path)
    assert {row.path: kept.data[row.sha256] for row in rows} == {"/holes": bytes(content), "/after": b"after"}


def test_what_an_image_may_not_hold_is_dropped_and_logged(tmp_path: Path) -> None:
    attribute = {"SCHILY.xattr.security.capability": "x", "SCHILY.acl.access": "user::rw-"}
    rows, _, log = unpacked(
        tar(
            file("usr/bin/su", b"su", 0o6755), file("usr/bin/ping", b"ping", 0o755, attribute),
            node("dev/null", tarfile.CHRTYPE), node("dev/sda", tarfile.BLKTYPE), node("run/fifo", tarfile.FIFOTYPE),
            hard("dev/again", "dev/null"), file("etc/twice", b"old"), file("etc/twice", b"new!"),
            directory("srv", 0o2775), directory("srv", 0o700),
        ), tmp_path,
    )  # fmt: skip
    assert described(rows) == {
        "/usr": "directory 0755", "/usr/bin": "directory 0755", "/usr/bin/su": "0755 2", "/usr/bin/ping": "0755 4",
        "/dev": "directory 0755", "/run": "directory 0755", "/etc": "directory 0755", "/etc/twice": "0644 4",
        "/srv": "directory 0700",
    }  # fmt: skip
    assert log[:-1] == [
        "dropped the set-id bits (6755) of '/usr/bin/su'",
        "dropped the attribute 'SCHILY.acl.access' of '/usr/bin/ping'",
        "dropped the attribute 'SCHILY.xattr.security.capability' of '/usr/bin/ping'",
        "dropped the device '/dev/null'", "dropped the device '/dev/sda'", "dropped the fifo '/run/fifo'",
        "dropped the hard link '/dev/again' to '/dev/null', which was dropped",
        "dropped an earlier '/etc/twice', as the archive has a later one",
    ]  # fmt: skip


def test_the_order_of_names_their_owners_and_their_times_do_not_show(tmp_path: Path) -> None:
    entries = [entry for entry in ENTRIES if entry[0].type != tarfile.LNKTYPE]
    first, _, _ = unpacked(tar(*entries), tmp_path)
    random.Random(1).shuffle(entries)
    for number, (header, _) in enumerate(entries):
        header.mtime, header.uid, header.gid, header.uname = 1e9 + number, number, number, "somebody"
    try:
        assert unpacked(tar(*entries), tmp_path)[0] == first
    finally:
        for header, _ in entries:
            header.mtime, header.uid, header.gid, header.uname = 0, 0, 0, ""


def test_a_hundred_thousand_names(tmp_path: Path) -> None:
    path = tmp_path / "many.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for number in range(100_000):
            archive.addfile(tars.info(f"d{number % 331}/{number}"))
    rows, _, log = unpacked_file(path, tmp_path)
    assert len(rows) == 100_000 + 331
    assert "unpacked 80,000 names, 0 MiB" in log
    with pytest.raises(JailkitError, match="holds more than 99,999 names") as caught:
        unpacked_file(path, tmp_path, tarball.Limits(names=99_999))
    assert caught.value.code == "unsafe.archive"


def test_memory_does_not_grow_with_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.tar"
    with open(path, "wb") as out:
        out.write(tars.raw_header(b"large", b"%011o" % (600 << 20)))
        out.truncate(512 + (600 << 20) + 1024)
    monkeypatch.setattr(unpack, "MEMORY", 100 << 20)
    fd = os.open(path, os.O_RDONLY)
    try:
        rows = unpack.rows(fd, Counted(), str(tmp_path), tars.LIMITS, "large.tar", lambda line: None)
    finally:
        os.close(fd)
    assert described(rows) == {"/large": f"0644 {600 << 20}"}


# -- the process


@contextlib.contextmanager
def unpacking(place: Path) -> Iterator[tuple[int, int]]:
    """An unpacking process that waits for the rest of a file: (its pid, the write end of its input)."""
    half, half_in = os.pipe2(os.O_CLOEXEC)
    os.write(half_in, tar(file("f", b"y" * 4096))[:1024])
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(unpack.rows(half, Memory(), str(place), tars.LIMITS, "half", lambda line: None))
        except JailkitError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield wait_for(lambda: below(os.getpid(), NOBODY))[0], half_in
    finally:
        os.close(half_in)
        thread.join()
        os.close(half)
    assert isinstance(outcome[0], JailkitError)


def test_the_process_has_no_id_of_the_host_no_right_and_no_path(tmp_path: Path) -> None:
    with unpacking(tmp_path) as (pid, _):
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        for key in ("Uid", "Gid"):
            assert status[key].split() == [str(NOBODY)] * 4
        assert status["Groups"].split() == [str(NOBODY)]
        for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[key], 16) == 0, key
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
            assert os.stat(f"/proc/{pid}/ns/{kind}").st_ino != os.stat(f"/proc/self/ns/{kind}").st_ino, kind
        for kind in ("uid_map", "gid_map"):
            assert Path(f"/proc/{pid}/{kind}").read_text().split() == ["0", str(ids.BUILD_BASE), "65536"]
        assert os.listdir(f"/proc/{pid}/root") == [] != os.listdir("/")
        assert [row[1] for row in mount.table(pid)] == ["/"]
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir(f"/proc/{pid}/root/x")
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]


def attempts() -> dict[str, Callable[[], object]]:
    """What a program that was taken over would try first."""
    import socket

    return {
        "open a file": lambda: os.close(os.open("/etc/passwd", os.O_RDONLY)),
        "make a file": lambda: os.close(os.open(f"/tmp/jailkit-{os.getpid()}", os.O_CREAT | os.O_RDWR)),
        "list": lambda: os.listdir("/"),
        "socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
        "unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "fork": lambda: os.fork() or os._exit(0),
        "signal": lambda: os.kill(os.getpid(), 0),
        "duplicate": lambda: os.dup2(0, 9),
        "execute": lambda: os.execv("/bin/true", ["true"]),
    }


@pytest.mark.parametrize("name", attempts())
def test_a111_it_can_execute_open_and_make_nothing(name: str, tmp_path: Path) -> None:
    attempt = attempts()[name]

    def work() -> int:
        try:
            attempt()
        except PermissionError:
            return 42
        except OSError:
            return 43
        return 44

    outside = os.fork()
    if outside == 0:
        os._exit(work())
    succeeded = os.waitstatus_to_exitcode(os.waitpid(outside, 0)[1])
    assert succeeded == (0 if name == "execute" else 44)
    Path(f"/tmp/jailkit-{outside}").unlink(missing_ok=True)
    assert confine.start(work, (0, 1, 2), str(tmp_path), confine.Terms()).wait() == 42


def test_a111_no_program_of_the_archive_or_of_path_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = ("xz", "gzip", "unpigz", "pigz", "bzip2", "zstd", "tar", "lzma")
    canary = f"#!/bin/sh\n: >{tmp_path}/executed\n".encode()
    for name in programs:
        (tmp_path / name).write_bytes(canary)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    subprocess.run(["xz"], check=True)
    (tmp_path / "executed").unlink()
    archive = tar(*[file(f"{where}/{name}", canary, 0o755) for name in programs for where in ("bin", "usr/bin")])
    for packer in PACKERS.values():
        rows, _, _ = unpacked(packer(archive), tmp_path)
        assert len(rows) == 2 * len(programs) + 3
    assert not (tmp_path / "executed").exists()


def test_killed_in_the_middle_nothing_is_left(tmp_path: Path) -> None:
    mounts, scratch = mount.table(), tmp_path / "scratch"
    scratch.mkdir()
    program = (
        "from jailkit.image.foreign import unpack\n"
        "from tests.unit.image import memory\nfrom tests.unit.image.foreign import tars\n"
        f"unpack.rows(0, memory.Memory(), {str(scratch)!r}, tars.LIMITS, 'x', print)\n"
    )
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen([sys.executable, "-c", program], cwd=TREE, stdin=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as builder:  # fmt: skip
            assert builder.stdin is not None
            builder.stdin.write(tar(file("f", b"y" * 4096))[:1024])
            builder.stdin.flush()
            pids = wait_for(lambda: below(builder.pid, NOBODY))
            builder.send_signal(number)
            assert builder.wait() != 0
            ends(pids)
    assert list(scratch.iterdir()) == [] and mount.table() == mounts


def test_the_process_ends_when_it_uses_too_much_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spin(limits: tarball.Limits) -> int:
        while True:
            pass

    monkeypatch.setattr(tarball, "main", spin)
    monkeypatch.setattr(unpack, "SECONDS", 1)
    with pytest.raises(JailkitError, match="it takes more than 1 s"):
        unpacked(b"", tmp_path)
