"""A distribution root of its own, by mmdebstrap(1), with the mirrors of the host's apt.

Packages are installed by their own scripts, as root. That root is one of the build range, in a confined process
(sandbox/confine.py, installer): all its capabilities are those of a user namespace, it sees the host's /usr read-only,
what apt needs of /etc, and a scratch directory; no home, no other file of the host, no device but null, zero, full,
random, urandom and tty. It has the host's network, as it talks to mirrors. mmdebstrap's mode "unshare" takes such a
root as it is: no subuid, no newuidmap, and users need not be allowed to make namespaces.

What it writes is a tar on its standard output, and that is read as any tar is (foreign/unpack.py): another confined
process.

The same packages give the same layer: no clock (SOURCE_DATE_EPOCH), no log, no cache, no machine id, no name of this
host. That a mirror has other packages is seen where the host's apt uses the same one and was updated since; else
``image build --no-cache`` asks it."""

from __future__ import annotations

import os
import resource
import select
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, BinaryIO

from ...errors import JailkitError
from ...kernel import mount
from ...kernel.beneath import remove_tree
from ...spec.source import DebianSource
from ...spec.template import TemplateSpec
from ..foreign import unpack
from ..foreign.tarball import Limits
from ..layer import EPOCH, Row
from ..sandbox import confine
from ..sandbox.child import exit_code
from ..sandbox.ids import BUILD_BASE
from . import Build, apt

PROGRAM = "/usr/bin/mmdebstrap"
_PLAIN = mount.NOSUID | mount.NODEV
_SOURCES = "/etc/jailctl/main.sources"
_APT_CONF = "/etc/jailctl/apt.conf"
_HOOK = "/etc/jailctl/clean"
_COPIED = ("passwd", "group", "hosts", "host.conf", "nsswitch.conf", "gai.conf", "resolv.conf", "os-release")
_SHOWN = (
    "alternatives", "apt/trusted.gpg.d", "apt/keyrings", "ca-certificates", "dpkg", "ld.so.conf.d", "perl", "ssl/certs",
    "ld.so.cache", "ld.so.conf", "apt/trusted.gpg", "ca-certificates.conf", "debian_version",
)  # fmt: skip
_DIRECTORIES = (
    "dev", "dev/shm", "etc", "etc/apt", "etc/apt/apt.conf.d", "etc/apt/preferences.d", "run", "tmp", "var", "var/lib",
    "var/tmp", "root", "usr",
)  # fmt: skip
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# what mmdebstrap leaves, and what packages write that differs from one build to the next
_CLEAN = """#!/bin/sh -e
cd "$1"
rm -f etc/apt/apt.conf.d/99mmdebstrap etc/dpkg/dpkg.cfg.d/99mmdebstrap etc/resolv.conf etc/hostname
find var/log -type f -delete
rm -rf var/cache/debconf/*-old var/lib/dpkg/*-old var/cache/man var/lib/systemd/random-seed etc/.pwd.lock
rm -f etc/passwd- etc/shadow- etc/group- etc/gshadow- etc/subuid- etc/subgid-
"""
_ERRORS = (
    # what mmdebstrap's output has in it, the error's code, its sentence, its hint
    ("Unable to locate package", "missing.package", "a package is not in that suite", "apt-cache policy NAME"),
    ("Temporary failure resolving", "io.mirror", "the mirror's name cannot be resolved", "getent hosts deb.debian.org"),
    ("Could not resolve", "io.mirror", "the mirror's name cannot be resolved", "getent hosts deb.debian.org"),
    ("Could not connect", "io.mirror", "the mirror cannot be reached", "apt-get update"),
    ("Network is unreachable", "io.mirror", "the mirror cannot be reached", "apt-get update"),
    ("does not have a Release file", "missing.suite", "the mirror has no such suite", "look at suite and mirror"),
    ("404 ", "missing.suite", "the mirror has no such suite or component", "look at suite, components and mirror"),
    ("NO_PUBKEY", "unsafe.mirror", "the mirror is signed with a key that is not known here",
     "apt install debian-archive-keyring"),
    ("is not signed", "unsafe.mirror", "the mirror is not signed with a key that is known here",
     "apt install debian-archive-keyring"),
    ("No space left", "io.space", "there is no space left", "df -h /var/lib/jailctl"),
)  # fmt: skip
_TAIL = 200
_LOG = "the build's log says more: /var/lib/jailctl/logs"


def inputs(spec: TemplateSpec, directory: str, host_root: str) -> Any:
    """The table, the mirrors, the keys that they are signed with, and which packages they have as far as the host's apt
    knows. Raise ``host.suite``, ``host.mirror``."""
    table = _table(spec)
    suite = table.suite or apt.codename(host_root)
    found = _entries(table, suite, host_root)
    return {
        "table": table.model_dump(mode="json"), "suite": suite, "sources": [entry.stanza() for entry in found],
        "packages": apt.packages(found, host_root), "keyrings": apt.keyrings(found, host_root), "clean": _CLEAN,
    }  # fmt: skip


def problems(spec: TemplateSpec, directory: str, host_root: str) -> list[tuple[str, str]]:
    """A program that is missing; a mirror's packages only the mirror knows."""
    return [] if os.path.exists(PROGRAM) else [("source", "mmdebstrap is not installed: apt install mmdebstrap")]


def rows(build: Build) -> list[Row]:
    """Raise ``host.mmdebstrap``, ``host.suite``, ``host.mirror``, ``host.debian``, ``io.mirror``, ``missing.suite``,
    ``missing.package``, and as unpack.rows."""
    table = _table(build.spec)
    suite = table.suite or apt.codename(build.host_root)
    work = f"{build.scratch}/debian"
    with tar_of(table, suite, work, build.host_root, build.log) as archive:
        return unpack.rows(archive, build.contents, build.scratch, Limits(), f"debian {suite}", build.log)


def _table(spec: TemplateSpec) -> DebianSource:
    return spec.debian if spec.debian is not None else DebianSource()


def _entries(table: DebianSource, suite: str, host_root: str) -> list[apt.Entry]:
    if table.mirror:
        return [apt.Entry(table.mirror, suite, tuple(table.components))]
    found = apt.for_suite(suite, table.components, host_root)
    if not found:
        raise JailkitError(
            "host.mirror", f"the host's apt has no mirror for {' '.join(table.components)} of its own release",
            'set mirror = "http://deb.debian.org/debian" in [debian]',
        )  # fmt: skip
    return found


@contextmanager
def tar_of(
    table: DebianSource, suite: str, work: str, host_root: str, log: Callable[[str], None]
) -> Iterator[int]:
    """A descriptor that the tar of the new root can be read from, as it is written. work: a path for a directory that
    is made here, and removed. Raise as :func:`rows`; on leaving, too, if mmdebstrap has failed after all."""
    if not os.path.exists(PROGRAM):
        raise JailkitError("host.mmdebstrap", "mmdebstrap is not installed", "apt install mmdebstrap")
    found = _entries(table, suite, host_root)
    settings = {_SOURCES: "\n".join(entry.stanza() for entry in found), _APT_CONF: apt.reach(), _HOOK: _CLEAN}
    shared = _shared(table)
    log(f"mmdebstrap {suite}, {table.variant}, {len(table.packages)} packages, from {found[0].uri}")
    os.mkdir(work, 0o755)
    try:
        os.mkdir(f"{work}/tmp", 0o755)
        os.chown(f"{work}/tmp", BUILD_BASE, BUILD_BASE)
        os.mkdir(f"{work}/root", 0o700)
        with closing(_Run(_command(table, suite, settings), work, settings, shared, log)) as run:
            run.wait_for_tar()
            try:
                yield run.output
            except JailkitError:
                run.finish()  # a tar that was cut off is cut off because of an error there
                raise
            run.finish()
    finally:
        remove_tree(work)


def _command(table: DebianSource, suite: str, settings: dict[str, str]) -> list[str]:
    command = [
        PROGRAM, "--mode=unshare", "--format=tar", f"--variant={table.variant}",
        f"--components={','.join(table.components)}", "--skip=chroot/mount/sys", "--dpkgopt=force-unsafe-io",
        f"--customize-hook={_HOOK}",
    ]  # fmt: skip
    if settings[_APT_CONF]:
        command.append(f"--aptopt={_APT_CONF}")
    if table.packages:
        command.append(f"--include={','.join(table.packages)}")
    # apt's method "copy" (apt-transport-copy): dpkg, which runs inside the new root, would not find what "file" leaves
    # where it is
    mirror = f"copy:{table.mirror[5:]}" if table.mirror.startswith("file:") else table.mirror
    return [*command, suite, "-", mirror or _SOURCES]


def _shared(table: DebianSource) -> str:
    """The directory of a mirror on this host, or ""."""
    path = table.mirror.removeprefix("file://") if table.mirror.startswith("file:") else ""
    if path and (os.path.normpath(path) != path or path.count("/") < 2 or not os.path.isdir(path)):
        raise JailkitError("missing.mirror", f"{path} is not a directory with a mirror", f"ls -ld {path}")
    return path


class _Run:
    """mmdebstrap, confined. output: its tar."""

    def __init__(
        self, command: list[str], work: str, settings: dict[str, str], shared: str, log: Callable[[str], None]
    ) -> None:
        self._log = log
        self._lines: list[str] = []
        self._late: list[str] = []
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.output, output_in = os.pipe2(os.O_CLOEXEC)
        errors, errors_in = os.pipe2(os.O_CLOEXEC)
        self._errors: BinaryIO = os.fdopen(errors, "rb")
        self._thread: threading.Thread | None = None
        terms = confine.Terms(True, lambda root: _stage(root, f"{work}/tmp", settings, shared),
                              {resource.RLIMIT_CORE: 0})  # fmt: skip
        try:
            self._process = confine.start(lambda: _init(command), (null, output_in, errors_in), f"{work}/root", terms)
        except BaseException:
            self._errors.close()
            os.close(self.output)
            raise
        finally:
            for fd in (null, output_in, errors_in):
                os.close(fd)

    def wait_for_tar(self) -> None:
        """Log what it says until the tar begins. Raise if it ends without one."""
        poll = select.poll()
        poll.register(self._errors, select.POLLIN)
        poll.register(self.output, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._errors.fileno() in ready:
                line = self._errors.readline()
                if line:
                    self._said(line)
                else:
                    poll.unregister(self._errors)
            elif ready[self.output] & select.POLLIN:
                break
            else:
                self.finish()
                raise JailkitError("host.debian", "mmdebstrap has written nothing", _LOG)
        # what it says while the tar is read must be read as well, or it waits for us
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        for line in self._errors:
            self._late = [*self._late[-_TAIL:], _plain(line)]

    def _said(self, line: bytes) -> None:
        text = _plain(line)
        self._lines = [*self._lines[-_TAIL:], text]
        if text:
            self._log(text)

    def finish(self) -> None:
        """Wait for its end, and log what it said since the tar began. Raise if it has failed."""
        failed = self._process.wait() != 0
        if self._thread is not None:
            self._thread.join()
            late, self._late = self._late, []
            for text in late:
                self._said(text.encode())
        else:
            for line in self._errors:
                self._said(line)
        if failed:
            raise _explained(self._lines)

    def close(self) -> None:
        self._process.kill()
        if self._thread is not None:
            self._thread.join()
        self._errors.close()
        os.close(self.output)


def _plain(line: bytes) -> str:
    """One line of a program's output; of a progress bar, that is written over itself, what stands there last."""
    text = line.decode("utf-8", "replace").rstrip("\r\n").rpartition("\r")[2].rstrip().expandtabs(2)
    return "".join(char if char.isprintable() else "?" for char in text)[:500]


def _explained(lines: list[str]) -> JailkitError:
    said = "; ".join(line[3:] for line in lines if line.startswith("E: "))[-600:]
    for sign, code, sentence, hint in _ERRORS:
        if any(sign in line for line in lines):
            line = next(line for line in lines if sign in line)
            return JailkitError(code, f"mmdebstrap: {sentence}: {line.strip()}", hint)
    return JailkitError("host.debian", f"mmdebstrap has failed: {said or 'it says nothing'}", _LOG)


def _stage(root: str, tmp: str, settings: dict[str, str], shared: str) -> None:
    """What mmdebstrap sees. As root, before anything is given up."""
    for name in _DIRECTORIES:
        os.mkdir(f"{root}/{name}", 0o755)
    _show("/usr", f"{root}/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
    for name in _COPIED:
        if os.path.exists(f"/etc/{name}"):
            shutil.copyfile(f"/etc/{name}", f"{root}/etc/{name}")
    for name in _SHOWN:
        if os.path.exists(f"/etc/{name}"):
            _show(f"/etc/{name}", f"{root}/etc/{name}")
    for path, text in settings.items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        with open(root + path, "w", encoding="utf-8") as file:
            file.write(text)
    os.chmod(root + _HOOK, 0o755)
    for name in _DEVICES:
        _show(f"/dev/{name}", f"{root}/dev/{name}", mount.NOSUID | mount.NOEXEC)
    with open(f"{root}/etc/hostname", "w", encoding="ascii") as file:
        file.write("localhost\n")
    mount.attach(mount.tmpfs(_PLAIN, source="tmpfs", mode="1777", size="64m"), f"{root}/dev/shm")
    if shared:
        _show(shared, root + shared)
    mount.attach(mount.clone(tmp, _PLAIN), f"{root}/tmp")


def _show(source: str, target: str, attributes: int = _PLAIN | mount.RDONLY) -> None:
    if stat.S_ISDIR(os.stat(source).st_mode):
        os.makedirs(target, 0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    mount.attach(mount.clone(os.path.realpath(source), attributes), target)


def _init(command: list[str]) -> int:
    """Pid 1: starts mmdebstrap and reaps. Its end takes whatever a package has left running."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LC_ALL": "C.UTF-8",
        "SOURCE_DATE_EPOCH": str(EPOCH), "DEBIAN_FRONTEND": "noninteractive",
    }  # fmt: skip
    environment |= {name: os.environ[name] for name in ("http_proxy", "https_proxy", "no_proxy") if name in os.environ}
    child = os.fork()
    if child == 0:
        try:
            os.chdir("/tmp")
            os.execve(command[0], command, environment)
        finally:
            os._exit(127)
    for fd in (0, 1, 2):
        os.close(fd)
    while True:
        pid, status = os.wait()
        if pid == child:
            return exit_code(status)
