"""The stage: a jail's root as it is put together in the builder's private mount namespace.

One tmpfs at the scratch mount point holds everything that is the jail's own for its lifetime (one superblock: each
costs some 10 KiB); its directories are bound into the image, which is mounted below it, at ``root``:

    /run/jailctl/root          tmpfs            root  lower  layer  etc  dev  tmp  vartmp  run  shm  top  masked
    /run/jailctl/root/root     the image, read-only, ids mapped; or, where the template's root is writable:
    /run/jailctl/root/root     an overlay of
    /run/jailctl/root/lower      the image, read-only, ids mapped, and
    /run/jailctl/root/layer      upper and work: of the jail's directory ("overlay"), or of this tmpfs ("ephemeral")
"""

from __future__ import annotations

import os

from ..errors import JailkitError
from ..kernel import mount, rootfs
from ..kernel.beneath import require_root_owned_chain
from ..kernel.rootfs import PLAIN, READ_ONLY, own_directory
from ..paths import Paths
from . import connect
from .recipe import Recipe

_DIRECTORIES = {
    "root": 0o755, "lower": 0o700, "layer": 0o700, "etc": 0o755, "dev": 0o755, "tmp": 0o1777, "vartmp": 0o1777,
    "run": 0o755, "shm": 0o1777, "top": 0o755,
}  # fmt: skip


def inside(paths: Paths) -> str:
    """Where the jail's root stands before it is pivoted into."""
    return f"{paths.mount_point}/root"


def check(paths: Paths, recipe: Recipe) -> None:
    """Refuse early, with a sentence, what the mounts would refuse with an errno; and refuse a root, a home or a
    bind below a directory that somebody else could swap: at each start, as a mode can change any day."""
    if not os.path.exists(paths.keeper):
        raise JailkitError("missing.keeper", f"{paths.keeper} is missing", "run ./install again")
    above = [os.path.dirname(path) for path in (recipe.home, *recipe.binds)]  # they themselves may be somebody else's
    root = paths.image_root(recipe.image)
    for path in (root, paths.jail(recipe.user), *dict.fromkeys(above)):
        require_root_owned_chain(path)
    top = "/" + recipe.home.split("/")[1]
    if not os.path.isdir(root + top):
        raise JailkitError("jail.home", f"the image has no {top} to hold {recipe.home}", "use a home below /home")


def build(paths: Paths, recipe: Recipe, userns: int, sockets: connect.Sockets | None) -> None:
    """Root's part, in a private mount namespace. userns: descriptor of the jail's user namespace, whose map makes
    files of the host's root show as root's inside. sockets: takes those that the relay serves. Raise OSError or
    JailkitError."""
    stage = paths.mount_point
    tmpfs = mount.tmpfs(PLAIN, source="tmpfs", size=str(recipe.tmp_bytes), nr_inodes="65536", mode="0755")
    mount.attach(tmpfs, stage)
    for name, mode in _DIRECTORIES.items():
        own_directory(f"{stage}/{name}", recipe.base, mode)
    mount.attach(_root(paths, recipe, userns), inside(paths))
    root = os.open(inside(paths), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        rootfs.show(recipe.binds, root, userns)
        for name, data in recipe.files.items():
            rootfs.own_file(f"{stage}/etc/{name}", data, recipe.base)
            tree = mount.clone(f"{stage}/etc/{name}", READ_ONLY | mount.NOEXEC)
            mount.attach_beneath(tree, root, f"etc/{name}")
        if sockets is not None:
            sockets.staged(f"{stage}/dev", recipe.base)
        mount.attach_beneath(rootfs.devices(f"{stage}/dev", recipe.base), root, "dev")
        rootfs.empty_file(f"{stage}/masked")
        for name, target in (("tmp", "tmp"), ("vartmp", "var/tmp"), ("run", "run"), ("shm", "dev/shm")):
            mount.attach_beneath(mount.clone(f"{stage}/{name}", PLAIN), root, target)
        _run(stage, recipe)
        connect.attach(recipe, stage, root)
        _home(stage, root, recipe)
    finally:
        os.close(root)


def finish(paths: Paths, recipe: Recipe) -> None:
    """The jail's part, as pid 1 of the new namespaces, before it pivots."""
    rootfs.processes_and_terminals(inside(paths), f"{paths.mount_point}/masked")


def _root(paths: Paths, recipe: Recipe, userns: int) -> int:
    """The image, or an overlay of it: a detached mount."""
    stage = paths.mount_point
    image = rootfs.idmapped(paths.image_root(recipe.image), userns, READ_ONLY, "the image")
    if recipe.mode == "readonly":
        return image
    mount.attach(image, f"{stage}/lower")
    if recipe.mode == "overlay":
        fd = layer(paths, recipe)
        try:
            mount.attach(mount.clone(fd, PLAIN), f"{stage}/layer")
        finally:
            os.close(fd)
    else:
        own_directory(f"{stage}/layer/upper", recipe.base, 0o755)
        own_directory(f"{stage}/layer/work", 0, 0o700)
    rootfs.give(f"{stage}/layer/upper", f"{stage}/lower", recipe.writable, recipe.base, recipe.uid, recipe.gid)
    return rootfs.overlay([f"{stage}/lower"], f"{stage}/layer/upper", f"{stage}/layer/work")


def layer(paths: Paths, recipe: Recipe) -> int:
    """A descriptor of the jail's own layer. It is made with the jail, and never by a start: where it is missing, or
    somebody else's, what she has changed is somewhere else (a disk that is not mounted), or is not hers. Raise
    ``missing.layer``, ``unsafe.layer``."""
    path = paths.layer(recipe.user)
    hint = f"ls -ld {path}; findmnt -T {path}; to begin with an empty one: jailctl reset {recipe.user}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise JailkitError("missing.layer", f"the writable layer {path}: {error.strerror}", hint) from None
    try:
        for name, owner, bits in ((".", 0, 0o077), ("upper", recipe.base, 0o022), ("work", 0, 0o022)):
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                raise JailkitError("missing.layer", f"{path}/{name}: {error.strerror}", hint) from None
            if status.st_mode & 0o170000 != 0o040000 or status.st_uid != owner or status.st_mode & bits:
                text = f"{path}/{name} is not a directory of uid {owner} that nobody else may write to"
                raise JailkitError("unsafe.layer", text, hint)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _run(stage: str, recipe: Recipe) -> None:
    own_directory(f"{stage}/run/lock", recipe.base, 0o1777)
    own_directory(f"{stage}/run/user", recipe.base, 0o755)
    own_directory(f"{stage}/run/user/{recipe.uid}", recipe.uid, 0o700, recipe.gid)
    own_directory(f"{stage}/run/screen", recipe.base, 0o1777)


def _home(stage: str, root: int, recipe: Recipe) -> None:
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
        home = mount.clone(fd, PLAIN)
    finally:
        os.close(fd)
    parts = recipe.home.strip("/").split("/")
    path = f"{stage}/top"
    for part in parts[1:]:
        path = f"{path}/{part}"
        own_directory(path, recipe.base, 0o755)
    mount.attach_beneath(mount.clone(f"{stage}/top", READ_ONLY), root, parts[0])
    mount.attach_beneath(home, root, recipe.home.lstrip("/"))
