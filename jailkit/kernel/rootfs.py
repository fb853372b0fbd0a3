"""The pieces of which a root is put together in a private mount namespace: for a jail (jail/stage.py) and for the
throw-away jails of image builds (image/workshop.py). Every mount here is attached beneath a descriptor of that root,
through no link: a root may have parts that somebody else writes to.
"""

from __future__ import annotations

import os
import stat

from ..errors import JailkitError
from . import mount
from .beneath import Tree, openat2

PLAIN = mount.NOSUID | mount.NODEV
READ_ONLY = PLAIN | mount.RDONLY

_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_DEV_LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
# readable by everybody, and about the whole machine (moby#36368; runc CVE-2025-31133)
_MASKED = (
    "keys", "key-users", "kallsyms", "timer_list", "sched_debug", "latency_stats", "kcore", "kmsg", "sysrq-trigger",
    "modules", "locks",
)  # fmt: skip


def own_directory(path: str, owner: int, mode: int, group: int | None = None) -> None:
    """Make the directory ``path`` in a tree that is ours alone."""
    os.mkdir(path, 0o700)
    os.chown(path, owner, owner if group is None else group)
    os.chmod(path, mode)


def own_file(path: str, data: bytes, owner: int) -> None:
    """Make the file ``path``, which everybody may read, in a tree that is ours alone."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
        os.fchown(fd, owner, owner)
        os.fchmod(fd, 0o644)
    finally:
        os.close(fd)


def idmapped(source: str | int, userns: int, attributes: int, what: str) -> int:
    """Detached clone of the mount at ``source``, whose files of root's show as root's inside ``userns``. Raise
    ``host.idmap``, OSError."""
    try:
        return mount.clone(source, attributes, userns)
    except OSError as error:
        if error.errno == 22 and "idmap" in str(error):
            raise JailkitError(
                "host.idmap",
                f"the file system of {what} cannot be idmapped",
                "use ext4, xfs, btrfs or (Linux 6.3) tmpfs",
            ) from None
        raise OSError(error.errno, f"{what}: {error}") from None


def show(paths: list[str], root: int, userns: int | None) -> None:
    """The host's directories ``paths`` at the same places beneath ``root``, read-only, with what is mounted below
    them. userns: whose ids files of the host's have; None: all show as nobody's, and a capability inside opens none
    that not everybody may read (capabilities(7): it counts for mapped owners only). Raise ``host.idmap``, OSError."""
    for path in paths:
        tree = mount.clone(path, READ_ONLY) if userns is None else idmapped(path, userns, READ_ONLY, path)
        mount.attach_beneath(tree, root, path.lstrip("/"))
    for path in _mounted_below(paths):
        try:
            tree = mount.clone(path, READ_ONLY, userns)
        except OSError:  # nfs; tmpfs before Linux 6.3: root's files there show as nobody's
            tree = mount.clone(path, READ_ONLY)
        mount.attach_beneath(tree, root, path.lstrip("/"))


def _mounted_below(paths: list[str]) -> list[str]:
    """Mount points below host directories, such as a /usr/local on a file system of its own: the clone of a mount has
    an empty directory there. In the order in which they were mounted."""
    tops = tuple(f"{path}/" for path in paths)
    return [point for _, point, _, _ in mount.table() if point.startswith(tops)]


def devices(directory: str, owner: int) -> int:
    """Fill ``directory`` (on a tmpfs of ours) as a ``/dev``: nodes made here (a user namespace may not). Return a
    detached, read-only mount of it, the only one of a root without nodev."""
    for name, (major, minor) in _DEVICES.items():
        os.mknod(f"{directory}/{name}", stat.S_IFCHR | 0o600, os.makedev(major, minor))
        os.chown(f"{directory}/{name}", owner, owner)
        os.chmod(f"{directory}/{name}", 0o666)
    for name, target in _DEV_LINKS.items():
        os.symlink(target, f"{directory}/{name}")
        os.chown(f"{directory}/{name}", owner, owner, follow_symlinks=False)
    for name in ("pts", "shm"):
        own_directory(f"{directory}/{name}", owner, 0o755)
    nodes = mount.clone(directory, mount.NOSUID | mount.NOEXEC | mount.RDONLY)
    mount.set_attributes(nodes, 0, clear=mount.NODEV, label="/dev")
    return nodes


def empty_file(path: str) -> None:
    """A file that nobody may read, to be mounted over others."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0))


def processes_and_terminals(root: str, empty: str) -> None:
    """``/proc`` and ``/dev/pts`` of ``root``, by pid 1 of the new namespaces before it pivots: without any visible
    ``/proc`` left in the tree the kernel refuses a new one ("mount too revealing"). empty: :func:`empty_file`, shown
    for what is about the whole machine."""
    mount.mount("proc", f"{root}/proc", 2 | 4 | 8)
    # max: kernel.pty.max (4096) is for the whole machine, so one jail could take every terminal from the others
    mount.mount("devpts", f"{root}/dev/pts", 2 | 8, "newinstance,ptmxmode=0666,mode=0620,gid=5,max=256")
    for name in _MASKED:
        path = f"{root}/proc/{name}"
        if os.path.exists(path):
            mount.bind(empty, path)


def overlay(lower: list[str], upper: str, work: str) -> int:
    """A detached overlay (kernel/mount.py) without set-id files and devices. Raise ``host.overlay``, OSError."""
    try:
        return mount.overlay(lower, upper, work, PLAIN)
    except OSError as error:
        if error.errno in (22, 19, 95):  # EINVAL: no file system for an upper layer; ENODEV: no overlayfs; EOPNOTSUPP
            raise JailkitError(
                "host.overlay", f"this host's kernel refuses a writable root here: {error}",
                "keep it on ext4, xfs, btrfs or tmpfs: findmnt -T /var/lib/jailctl; dmesg",
            ) from None  # fmt: skip
        raise


def give(upper: str, lower: str, paths: list[str], base: int, uid: int, gid: int) -> None:
    """Make the directories ``paths`` in the upper layer ``upper`` hers (uid, gid), and those above them as they are in
    ``lower`` (an idmapped mount), or root's (base). What she has put at such a place herself stays as it is.

    In the upper she may have made, or replaced, whatever lies below what was hers before: so through no link."""
    with Tree(upper) as tree:
        for path in paths:
            parts = path.strip("/").split("/")
            for count in range(1, len(parts) + 1):
                name = "/".join(parts[:count])
                if not _give(tree, name, lower, (base, uid, gid), count == len(parts)):
                    break


def _give(tree: Tree, name: str, lower: str, ids: tuple[int, int, int], hers: bool) -> bool:
    """One directory of :func:`give`. Return whether it is one, so that the next may be made in it."""
    base, uid, gid = ids
    status = _status(f"{lower}/{name}")
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise JailkitError(
            "invalid.writable", f"the image's /{name} is no directory", "see 'writable' in template.toml"
        )
    owner, group = (uid, gid) if hers else (base, base)
    mode = 0o755 if status is None or hers else stat.S_IMODE(status.st_mode)
    try:
        tree.mkdir(name, mode, owner, group)
        fd = openat2(tree.fd, name, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # a link, a file or a whiteout of hers
        return False
    try:
        if hers and os.fstat(fd).st_uid == base:  # made as the way to another one, or copied up
            os.fchown(fd, uid, gid)
    finally:
        os.close(fd)
    return True


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None
