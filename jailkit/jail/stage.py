"""The stage: a jail's root as it is put together in the builder's private mount namespace.

One tmpfs at the scratch mount point holds everything that is the jail's own for its lifetime (one superblock: each
costs some 10 KiB); its directories are bound into the image, which is mounted below it, at ``root``:

    /run/jailctl/root          tmpfs            root  dev  tmp  vartmp  run  shm  top  masked
    /run/jailctl/root/root     the image, read-only, ids mapped
"""

from __future__ import annotations

import os
import stat

from ..errors import JailkitError
from ..kernel import mount
from ..kernel.beneath import require_root_owned_chain
from ..paths import Paths
from . import connect
from .recipe import Recipe

_PLAIN = mount.NOSUID | mount.NODEV
_READ_ONLY = _PLAIN | mount.RDONLY

_DIRECTORIES = {
    "root": 0o755, "dev": 0o755, "tmp": 0o1777, "vartmp": 0o1777, "run": 0o755, "shm": 0o1777, "top": 0o755,
}  # fmt: skip
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


def inside(paths: Paths) -> str:
    """Where the jail's root stands before it is pivoted into."""
    return f"{paths.mount_point}/root"


def check(paths: Paths, recipe: Recipe) -> None:
    """Refuse early, with a sentence, what the mounts would refuse with an errno; and refuse a root, a rendered file,
    a home or a bind below a directory that somebody else could swap: at each start, as a mode can change any day."""
    if not os.path.exists(paths.keeper):
        raise JailkitError("missing.keeper", f"{paths.keeper} is missing", "run ./install again")
    above = [os.path.dirname(path) for path in (recipe.home, *recipe.binds)]  # they themselves may be somebody else's
    root = paths.image_root(recipe.image)
    for path in (root, f"{paths.jail(recipe.user)}/etc", *dict.fromkeys(above)):
        require_root_owned_chain(path)
    top = "/" + recipe.home.split("/")[1]
    if not os.path.isdir(root + top):
        raise JailkitError("jail.home", f"the image has no {top} to hold {recipe.home}", "use a home below /home")


def build(paths: Paths, recipe: Recipe, userns: int, sockets: connect.Sockets | None) -> None:
    """Root's part, in a private mount namespace. userns: descriptor of the jail's user namespace, whose map makes
    files of the host's root show as root's inside. sockets: takes those that the relay serves. Raise OSError or
    JailkitError."""
    stage, root = paths.mount_point, inside(paths)
    tmpfs = mount.tmpfs(_PLAIN, source="tmpfs", size=str(recipe.tmp_bytes), nr_inodes="65536", mode="0755")
    mount.attach(tmpfs, stage)
    for name, mode in _DIRECTORIES.items():
        _own_directory(f"{stage}/{name}", recipe.base, mode)
    _idmapped(paths.image_root(recipe.image), root, userns, _READ_ONLY, "the image")
    for path in recipe.binds:
        _idmapped(path, root + path, userns, _READ_ONLY, path)
    for path in _mounted_below(recipe.binds):
        _mapped_if_possible(path, root + path, userns)
    for name in recipe.files:
        _idmapped(
            f"{paths.jail(recipe.user)}/etc/{name}", f"{root}/etc/{name}", userns, _READ_ONLY | mount.NOEXEC, name
        )
    if sockets is not None:
        sockets.staged(f"{stage}/dev", recipe.base)
    _devices(stage, root, recipe.base)
    for name, target in (("tmp", "/tmp"), ("vartmp", "/var/tmp"), ("run", "/run"), ("shm", "/dev/shm")):
        mount.attach(mount.clone(f"{stage}/{name}", _PLAIN), root + target)
    _run(stage, recipe)
    connect.attach(recipe, stage, root)
    _home(stage, root, recipe)


def finish(paths: Paths, recipe: Recipe) -> None:
    """The jail's part, as pid 1 of the new namespaces, before it pivots: without any visible ``/proc`` left in the tree
    the kernel refuses a new one ("mount too revealing")."""
    root = inside(paths)
    mount.mount("proc", f"{root}/proc", 2 | 4 | 8)
    # max: kernel.pty.max (4096) is for the whole machine, so one jail could take every terminal from the others
    mount.mount("devpts", f"{root}/dev/pts", 2 | 8, "newinstance,ptmxmode=0666,mode=0620,gid=5,max=256")
    for name in _MASKED:
        path = f"{root}/proc/{name}"
        if os.path.exists(path):
            mount.bind(f"{paths.mount_point}/masked", path)


def _idmapped(source: str, target: str, userns: int, attributes: int, what: str) -> None:
    try:
        mount.attach(mount.clone(source, attributes, userns), target)
    except OSError as error:
        if error.errno == 22 and "idmap" in str(error):
            raise JailkitError(
                "host.idmap",
                f"the file system of {source} cannot be idmapped",
                "use ext4, xfs, btrfs or (Linux 6.3) tmpfs",
            ) from None
        raise OSError(error.errno, f"{what}: {error}") from None


def _mounted_below(binds: list[str]) -> list[str]:
    """Mount points below the host directories that are shown, such as a /usr/local on a file system of its own: the
    clone of a mount has an empty directory there. In the order in which they were mounted."""
    tops = tuple(f"{path}/" for path in binds)
    return [point for _, point, _, _ in mount.table() if point.startswith(tops)]


def _mapped_if_possible(source: str, target: str, userns: int) -> None:
    """Where the file system cannot map ids (nfs; tmpfs before Linux 6.3), root's files there show as nobody's."""
    try:
        tree = mount.clone(source, _READ_ONLY, userns)
    except OSError:
        tree = mount.clone(source, _READ_ONLY)
    mount.attach(tree, target)


def _own_directory(path: str, owner: int, mode: int, group: int | None = None) -> None:
    os.mkdir(path, 0o700)
    os.chown(path, owner, owner if group is None else group)
    os.chmod(path, mode)


def _devices(stage: str, root: str, base: int) -> None:
    """``/dev``: nodes made here (a user namespace may not), on a read-only mount, the only one without nodev."""
    dev = f"{stage}/dev"
    for name, (major, minor) in _DEVICES.items():
        os.mknod(f"{dev}/{name}", stat.S_IFCHR | 0o600, os.makedev(major, minor))
        os.chown(f"{dev}/{name}", base, base)
        os.chmod(f"{dev}/{name}", 0o666)
    for name, target in _DEV_LINKS.items():
        os.symlink(target, f"{dev}/{name}")
        os.chown(f"{dev}/{name}", base, base, follow_symlinks=False)
    for name in ("pts", "shm"):
        _own_directory(f"{dev}/{name}", base, 0o755)
    os.close(os.open(f"{stage}/masked", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0))
    nodes = mount.clone(dev, mount.NOSUID | mount.NOEXEC | mount.RDONLY)
    mount.set_attributes(nodes, 0, clear=mount.NODEV, label="/dev")
    mount.attach(nodes, f"{root}/dev")


def _run(stage: str, recipe: Recipe) -> None:
    _own_directory(f"{stage}/run/lock", recipe.base, 0o1777)
    _own_directory(f"{stage}/run/user", recipe.base, 0o755)
    _own_directory(f"{stage}/run/user/{recipe.uid}", recipe.uid, 0o700, recipe.gid)
    _own_directory(f"{stage}/run/screen", recipe.base, 0o1777)


def _home(stage: str, root: str, recipe: Recipe) -> None:
    """The home at its own path. The host's directory is opened once, not followed if it is a link, and checked as
    what it is then; the directories above it are root's (:func:`check`)."""
    try:
        fd = os.open(recipe.home, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:  # ENOTDIR: a link, or a file
        text = f"the home {recipe.home} is not there as a directory: {error.strerror}"
        raise JailkitError("missing.home", text, f"ls -ld {recipe.home}; findmnt -T {recipe.home}") from None
    try:
        owner = os.fstat(fd).st_uid
        if owner != recipe.uid:
            raise JailkitError(
                "unsafe.home-owner",
                f"{recipe.home} belongs to uid {owner}, not to {recipe.user} ({recipe.uid})",
                f"chown {recipe.user} {recipe.home}",
            )
        home = mount.clone(fd, _PLAIN)
    finally:
        os.close(fd)
    parts = recipe.home.strip("/").split("/")
    path = f"{stage}/top"
    for part in parts[1:]:
        path = f"{path}/{part}"
        _own_directory(path, recipe.base, 0o755)
    mount.attach(mount.clone(f"{stage}/top", _READ_ONLY), f"{root}/{parts[0]}")
    mount.attach(home, root + recipe.home)
