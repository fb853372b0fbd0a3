"""Mounts through file descriptors: open_tree(2), mount_setattr(2), move_mount(2), fsopen(2) (Linux 5.12 and later).

A tree is cloned detached, given its flags and its id map, and only then attached: it is never visible without them."""

from __future__ import annotations

import ctypes
import os

from .beneath import openat2
from .libc import call, syscall

AT_EMPTY_PATH = 0x1000
AT_FDCWD = -100
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_F_EMPTY_PATH = 0x4
_MOVE_T_EMPTY_PATH = 0x40

RDONLY = 0x1
NOSUID = 0x2
NODEV = 0x4
NOEXEC = 0x8
_IDMAP = 0x100000

_MS_BIND = 4096
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2


class _Attr(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in ("set", "clr", "propagation", "userns")]


def make_private() -> None:
    """Stop mount events between this mount namespace and the one it was copied from, in both directions."""
    call("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None, what="mount --make-rprivate /")


def clone(path: str | int, attributes: int, userns: int | None = None) -> int:
    """Detached copy of the one mount at ``path`` (a file or directory, or a descriptor of it), without the
    mounts below it, with ``attributes`` (RDONLY | NOSUID | ...) and, where ``userns`` is a descriptor, with its ids
    mapped by that user namespace. Return its descriptor. Raise OSError; EINVAL here means that
    the file system cannot be idmapped (overlayfs; tmpfs before 6.3)."""
    at, name = (path, b"") if isinstance(path, int) else (AT_FDCWD, os.fsencode(path))
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (AT_EMPTY_PATH if not name else 0) | 0x100  # AT_SYMLINK_NOFOLLOW
    fd = syscall("open_tree", at, name, flags, what=f"open_tree {path}")
    try:
        set_attributes(fd, attributes, userns, str(path))
    except OSError:
        os.close(fd)
        raise
    return fd


def set_attributes(fd: int, attributes: int, userns: int | None = None, label: str = "", clear: int = 0) -> None:
    """Add (and clear) attributes of the mount behind ``fd``; see :func:`clone`."""
    attr = _Attr(attributes, clear, 0, 0)
    if userns is not None:
        attr.set |= _IDMAP
        attr.userns = userns
    size = ctypes.sizeof(attr)
    what = f"mount_setattr{' idmap' if userns is not None else ''} {label}"
    syscall("mount_setattr", fd, b"", AT_EMPTY_PATH, ctypes.byref(attr), size, what=what)


def attach(fd: int, target: str) -> None:
    """Attach the detached mount ``fd`` at ``target`` and close ``fd``."""
    try:
        syscall("move_mount", fd, b"", AT_FDCWD, os.fsencode(target), _MOVE_F_EMPTY_PATH, what=f"move_mount {target}")
    finally:
        os.close(fd)


def attach_beneath(fd: int, directory: int, path: str) -> None:
    """Attach the detached mount ``fd`` at ``path`` beneath the descriptor ``directory``, through no symbolic link, and
    close ``fd``. For a tree that somebody else may write to: a link there would lead the mount elsewhere (LXC's
    CVE-2015-1335, runc's CVE-2026-41579). Raise OSError: ELOOP at a link, ENOENT."""
    try:
        target = openat2(directory, path, os.O_PATH | os.O_NOFOLLOW, cross_mounts=True)
        try:
            flags = _MOVE_F_EMPTY_PATH | _MOVE_T_EMPTY_PATH
            syscall("move_mount", fd, b"", target, b"", flags, what=f"move_mount {path}")
        finally:
            os.close(target)
    finally:
        os.close(fd)


def tmpfs(attributes: int, **options: str) -> int:
    """A new detached tmpfs; options as in tmpfs(5) (size, nr_inodes, mode). Return its descriptor."""
    return _new("tmpfs", attributes, options)


def overlay(lower: list[str], upper: str, work: str, attributes: int) -> int:
    """A new detached overlayfs of ``lower`` (topmost first), whose changes go to ``upper``; ``work`` is empty and on
    the same mount. Return its descriptor. The paths: short (fsconfig(2) takes 255 bytes), without ``,`` and ``:``.

    All that would tie the upper layer to this one lower is off (Documentation/filesystems/overlayfs.rst, "Changes to
    underlying filesystems"): so an upper may later lie on another image, and reads as plain files. ``index`` above all:
    it keeps hard links together across a change, and in our images two files of one content are one inode. Whiteouts
    and opaque marks are trusted.* attributes, which nobody inside can set. Raise OSError."""
    off = {"redirect_dir": "nofollow", "metacopy": "off", "index": "off", "xino": "off"}
    return _new("overlay", attributes, {"lowerdir": ":".join(lower), "upperdir": upper, "workdir": work, **off})


def _new(kind: str, attributes: int, options: dict[str, str]) -> int:
    fs = syscall("fsopen", kind.encode(), 1, what=f"fsopen {kind}")
    try:
        for key, value in options.items():
            syscall("fsconfig", fs, 1, key.encode(), os.fsencode(value), 0, what=f"fsconfig {kind} {key}={value}")
        syscall("fsconfig", fs, 6, None, None, 0, what=f"fsconfig {kind} create")
        return syscall("fsmount", fs, 1, attributes, what=f"fsmount {kind}")
    finally:
        os.close(fs)


def mount(kind: str, target: str, flags: int, data: str = "") -> None:
    """mount(2) of a new file system instance; ``flags`` are MS_NOSUID 2, MS_NODEV 4, MS_NOEXEC 8."""
    call(
        "mount", kind.encode(), os.fsencode(target), kind.encode(), flags, data.encode(), what=f"mount {kind} {target}"
    )


def bind(source: str, target: str, recursive: bool = False) -> None:
    flags = _MS_BIND | (_MS_REC if recursive else 0)
    call("mount", os.fsencode(source), os.fsencode(target), None, flags, None, what=f"bind {source} {target}")


def pivot(new_root: str) -> None:
    """Make ``new_root`` the root of this mount namespace and forget the old one.

    Every mount that came along from a more privileged namespace is locked, and pivot_root(2) refuses a locked one:
    binding the tree to itself gives an unlocked mount on top. ``pivot_root(".", ".")`` stacks the old root on the new;
    detaching "." takes it, and the host's whole table, away (pivot_root(2), NOTES)."""
    bind(new_root, new_root, recursive=True)
    os.chdir(new_root)
    syscall("pivot_root", b".", b".")
    call("umount2", b".", _MNT_DETACH, what="detach the old root")
    os.chdir("/")


def table(pid: int | str = "self") -> list[tuple[int, str, str, str]]:
    """The mounts that process ``pid`` sees: (mount id, mount point, file system type, options).
    proc_pid_mountinfo(5)."""
    rows = []
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        for line in file:
            left, _, right = line.partition(b" - ")
            fields = left.split(b" ")
            point = os.fsdecode(_unescape(fields[4]))
            rows.append((int(fields[0]), point, right.split(b" ")[0].decode(), fields[5].decode()))
    return rows


def _unescape(text: bytes) -> bytes:
    # the kernel writes blank, tab, newline and backslash as \ooo
    for code in (b"\\040", b"\\011", b"\\012", b"\\134"):
        text = text.replace(code, bytes([int(code[1:], 8)]))
    return text
