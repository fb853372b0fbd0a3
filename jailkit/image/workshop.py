"""Where a template's commands run: the steps that make a layer (``[[run]]``), and the smoke tests of a new image.
Always in a throw-away jail (sandbox/throwaway.py) on a root of what was built so far, never on the host."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence

from ..errors import JailkitError
from ..kernel import mount, rootfs, seccomp
from ..kernel.beneath import remove_tree, require_root_owned_chain
from ..kernel.rootfs import PLAIN, READ_ONLY, own_directory
from ..paths import Paths
from ..spec.source import RunStep
from ..spec.template import TemplateSpec
from . import render, upper
from .layer import EPOCH, Contents, Row
from .sandbox.ids import BUILD_BASE, SMOKE_USER
from .sandbox.throwaway import Order, Outcome
from .sandbox.throwaway import run as throw_away
from .template import Template, jail_entries

Log = Callable[[str], None]

RUN_SECONDS = 3600.0
SMOKE_SECONDS = 300.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# of those that Docker gives, what is of use here: no device can be made in a user namespace, no root changed (seccomp),
# no raw socket opened (seccomp), nothing written to the kernel's audit
_KEPT = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8,
         "NET_BIND_SERVICE": 10, "SETFCAP": 31}  # fmt: skip
_SMOKE = {"name": "smoke", "uid": SMOKE_USER, "gid": SMOKE_USER, "group": "smoke", "gecos": "", "home": "/home/smoke"}
_MOUNTED = (("tmp", "tmp"), ("vartmp", "var/tmp"), ("run", "run"), ("shm", "dev/shm"))
_DIRECTORIES = {
    "root": 0o755, "lower": 0o700, "layer": 0o700, "above": 0o755, "below": 0o755, "dev": 0o755, "tmp": 0o1777,
    "vartmp": 0o1777, "run": 0o755, "shm": 0o1777, "home": 0o755, "etc": 0o755,
}  # fmt: skip


def run(
    paths: Paths, lower: str, changes: str | None, step: RunStep, *, binds: Sequence[str] = (), log: Log,
    seconds: float = RUN_SECONDS,
) -> None:  # fmt: skip
    """Run ``step`` as root of a throw-away jail whose root is the directory ``lower`` (all of it root's); what it
    changes is in ``changes`` afterwards, an empty directory of ours on the file system that overlayfs may use, or is
    dropped for None. On the disk that has ids of the build's range (sandbox/ids.py); upper.py reads it.

    binds: host directories that are shown, read-only. log: gets each line that the command writes. Raise
    ``invalid.run-step`` when the command fails or takes too long, ``host.*``, ``jail.throw-away``, ``unsafe.path``."""
    stage = _ready(paths)
    if changes is not None:
        os.chown(changes, BUILD_BASE, BUILD_BASE)
        os.chmod(changes, 0o755)
    resolver = _resolver() if step.network else None
    order = Order(
        stage=lambda userns: _stage_run(stage, lower, changes, (userns, binds, resolver)),
        root=f"{stage}/root", masked=f"{stage}/masked", argv=["/bin/sh", "-e", "-c", step.command],
        environment={
            "PATH": _PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive",
            "SOURCE_DATE_EPOCH": str(EPOCH), **step.environment,
        },
        filter=seccomp.program(os.uname().machine, step.network, set_id=True), network=step.network,
        kept=frozenset(_KEPT.values()), seconds=seconds,
    )  # fmt: skip
    try:
        outcome = throw_away(order, log)
    finally:
        if changes is not None:
            remove_tree(_work(changes))
    _judge(outcome, step.command, "invalid.run-step", "the step", seconds)


def layer_of(
    paths: Paths, lower: str, place: str, step: RunStep, contents: Contents, log: Log, binds: Sequence[str] = ()
) -> list[Row]:
    """What ``step`` makes of ``lower`` (see :func:`run`), as rows; what of it no image has is told to ``log``. place: a
    directory of ours on the file system of the images, without an ``upper``."""
    made = f"{place}/upper"
    os.mkdir(made, 0o700)
    run(paths, lower, made, step, binds=binds, log=log)
    found = upper.read(made, contents, BUILD_BASE)
    for line in found.warnings():
        log(f"left out: {line}")
    return found.rows


def smoke(paths: Paths, root: str, template: Template, log: Log, seconds: float = SMOKE_SECONDS) -> None:
    """Run the smoke tests of ``template``, one after the other, each in a throw-away jail on the image's ``root`` as
    jails of the template have it: an ordinary user without any right, an empty home, the template's binds and network.

    seconds: for each command. Raise ``invalid.smoke`` with the command, its status and what it wrote last;
    ``host.*``, ``jail.throw-away``, ``unsafe.path``."""
    stage, spec = _ready(paths), template.spec
    network = spec.network == "host"
    dns = render.dns_lines((_resolver() if network else b"").decode(errors="replace"))
    user = {**_SMOKE, "shell": spec.shell}
    files = jail_entries(template, user, {"hostname": "smoke", "network": spec.network}, dns)
    for command in spec.smoke:
        log(f"smoke test: {_short(command)}")
        order = Order(
            stage=lambda userns: _stage_smoke(stage, root, spec, files, userns),
            root=f"{stage}/root", masked=f"{stage}/masked", argv=["/bin/sh", "-c", command],
            environment={
                "PATH": spec.path, "HOME": "/home/smoke", "USER": "smoke", "LOGNAME": "smoke", "SHELL": spec.shell,
                "LC_ALL": "C.UTF-8",
            },
            filter=seccomp.program(os.uname().machine, network), hostname="smoke", network=network,
            uid=SMOKE_USER, gid=SMOKE_USER, jailed=True, cwd="/home/smoke", seconds=seconds,
        )  # fmt: skip
        _judge(throw_away(order, log), command, "invalid.smoke", "the smoke test", seconds)


def _judge(outcome: Outcome, command: str, code: str, what: str, seconds: float) -> None:
    if outcome.status == 0:
        return
    how = f"took longer than {seconds:g} s" if outcome.status is None else f"failed with status {outcome.status}"
    said = f"; it wrote last: {' | '.join(outcome.tail[-3:])}" if outcome.tail else ""
    raise JailkitError(code, f"{what} {_short(command)!r} {how}{said}", "mend it in template.toml")


def _short(command: str) -> str:
    line = command.strip().split("\n")[0]
    return line if len(line) <= 80 and line == command.strip() else f"{line[:76]} ..."


def _ready(paths: Paths) -> str:
    """The mount point of the stage; each builder sees its own there."""
    os.makedirs(paths.run, 0o755, exist_ok=True)
    os.makedirs(paths.mount_point, 0o700, exist_ok=True)
    require_root_owned_chain(paths.mount_point)
    return paths.mount_point


def _resolver() -> bytes:
    try:
        with open("/etc/resolv.conf", "rb") as file:
            return file.read(1 << 16)
    except OSError:
        return b""


def _work(changes: str) -> str:
    return f"{changes}.work"


# -- the stage: in the builder's mount namespace


def _tmpfs(stage: str, **options: str) -> None:
    mount.attach(mount.tmpfs(PLAIN, source="tmpfs", mode="0755", **options), stage)
    for name, mode in _DIRECTORIES.items():
        own_directory(f"{stage}/{name}", BUILD_BASE, mode)
    rootfs.empty_file(f"{stage}/masked")


def _stage_run(stage: str, lower: str, changes: str | None, how: tuple[int, Sequence[str], bytes | None]) -> None:
    """A root of three or four layers: what is needed to mount things on where the image has nothing (``below``), the
    image (``lower``), what it must not have (``above``: a link at /etc/resolv.conf), and the upper."""
    userns, binds, resolver = how
    _tmpfs(stage, size="50%")
    mount.attach(rootfs.idmapped(lower, userns, READ_ONLY, "the image"), f"{stage}/lower")
    for path in ("proc", "dev", "tmp", "var/tmp", "run", "etc", *(bind.lstrip("/") for bind in binds)):
        os.makedirs(f"{stage}/below/{path}", 0o755, exist_ok=True)
    os.mkdir(f"{stage}/below/root", 0o700)  # where HOME is
    layers = [f"{stage}/lower", f"{stage}/below"]
    if resolver is not None:
        layers = _place_for_resolver(stage, layers)
    _own_all(f"{stage}/below")
    mount.attach(rootfs.overlay(layers, *_layer(stage, changes)), f"{stage}/root")
    root = os.open(f"{stage}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _mounts(stage, root, list(binds), None)  # it has CAP_DAC_OVERRIDE, and what it copies is for all tenants
        if resolver is not None:
            _file(stage, root, "resolv.conf", resolver)
    finally:
        os.close(root)


def _layer(stage: str, changes: str | None) -> tuple[str, str]:
    """Upper and work, on one mount: the caller's, or the stage's own."""
    layer = f"{stage}/layer"
    if changes is None:
        own_directory(f"{layer}/upper", BUILD_BASE, 0o755)
        own_directory(f"{layer}/work", 0, 0o700)
        return f"{layer}/upper", f"{layer}/work"
    os.mkdir(_work(changes), 0o700)
    mount.attach(mount.clone(os.path.dirname(changes), PLAIN), layer)
    return f"{layer}/{os.path.basename(changes)}", f"{layer}/{os.path.basename(_work(changes))}"


def _place_for_resolver(stage: str, layers: list[str]) -> list[str]:
    """A plain file to mount on. What the image has at its place may be a link that leads nowhere."""
    try:
        found = os.lstat(f"{stage}/lower/etc/resolv.conf")
        if stat.S_ISREG(found.st_mode):
            return layers
        layer = "above"
        own_directory(f"{stage}/above/etc", BUILD_BASE, stat.S_IMODE(os.lstat(f"{stage}/lower/etc").st_mode))
        layers = [f"{stage}/above", *layers]
    except OSError:
        layer = "below"
    with open(f"{stage}/{layer}/etc/resolv.conf", "xb"):
        pass
    os.chown(f"{stage}/{layer}/etc/resolv.conf", BUILD_BASE, BUILD_BASE)
    return layers


def _own_all(top: str) -> None:
    for base, names, files in os.walk(top):
        for name in (*names, *files):
            os.chown(f"{base}/{name}", BUILD_BASE, BUILD_BASE)


def _mounts(stage: str, root: int, binds: list[str], userns: int | None) -> None:
    """What every root gets."""
    rootfs.show(binds, root, userns)
    mount.attach_beneath(rootfs.devices(f"{stage}/dev", BUILD_BASE), root, "dev")
    for name, target in _MOUNTED:
        mount.attach_beneath(mount.clone(f"{stage}/{name}", PLAIN), root, target)
    own_directory(f"{stage}/run/lock", BUILD_BASE, 0o1777)


def _file(stage: str, root: int, name: str, data: bytes) -> None:
    """A file of ours over ``/etc/NAME``, read-only."""
    path = f"{stage}/etc/{name}"
    with open(path, "xb") as file:
        file.write(data)
    os.chown(path, BUILD_BASE, BUILD_BASE)
    os.chmod(path, 0o644)
    mount.attach_beneath(mount.clone(path, READ_ONLY | mount.NOEXEC), root, f"etc/{name}")


def _stage_smoke(stage: str, image: str, spec: TemplateSpec, files: dict[str, bytes], userns: int) -> None:
    """As jail/stage.py has it."""
    _tmpfs(stage, size=str(spec.tmp_bytes), nr_inodes="65536")
    tree = rootfs.idmapped(image, userns, READ_ONLY, "the image")
    if spec.root == "readonly":
        mount.attach(tree, f"{stage}/root")
    else:
        mount.attach(tree, f"{stage}/lower")
        changes, work = _layer(stage, None)
        rootfs.give(changes, f"{stage}/lower", spec.writable, BUILD_BASE, SMOKE_USER, SMOKE_USER)
        mount.attach(rootfs.overlay([f"{stage}/lower"], changes, work), f"{stage}/root")
    root = os.open(f"{stage}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _mounts(stage, root, spec.binds, userns)
        for name, data in files.items():
            if data:  # an empty one is not bound: the image's placeholder is as empty
                _file(stage, root, name, data)
        own_directory(f"{stage}/home/smoke", SMOKE_USER, 0o700)
        mount.attach_beneath(mount.clone(f"{stage}/home", READ_ONLY), root, "home")
        mount.attach_beneath(mount.clone(f"{stage}/home/smoke", PLAIN), root, "home/smoke")
    finally:
        os.close(root)
