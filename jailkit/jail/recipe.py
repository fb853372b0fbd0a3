"""The recipe: all that starting a cold jail reads.

Provisioning resolves template and spec once and writes the result here (``jails/<name>/recipe``), so that a login
needs no TOML, no JSON, no validation and no name service: on the login path each import costs milliseconds
(``dataclasses`` 8, ``json`` 3), so this is a plain class and a file of ``field value`` lines, a list's field once for
each item. The jail's own ``/etc`` files are in it: as files each would cost every dormant jail an inode and a block.

It names no image, but the tag that says which one it is now: an update of ten thousand jails moves one tag.
"""

from __future__ import annotations

import errno
import os

from ..errors import JailkitError
from ..paths import Paths

RANGE = 1024
"""Ids of a jail's own range: inside 0 to 1023, where the system's accounts and groups live."""


class Recipe:
    """What a jail is made of; every value has been validated by the spec.

    base: first id of the jail's own range, :data:`RANGE` long. template: the tag of its image. image: digest of the one
    image that it is pinned to, or "" to follow the tag. world: what image/world.py says of the settings that this was
    resolved from; an image of another world asks for a new recipe. level: "namespaces" or "chroot". mode of the root:
    "readonly", "overlay" or "ephemeral"; writable: its directories that are the user's.
    network: "none" or "host". connectors: host services that are let in. binds: host directories shown read-only at the
    same place. files: content of the jail's own files in ``/etc``, which are bound over the image's. tmp_bytes: size of
    the jail's own tmpfs. linger: seconds after the last session, None: for ever. services: PAM services that may
    open a session. path: PATH inside. sftp: the sftp server's path inside. disabled: why no login is possible, or "".
    plan, stamp: the plan that it was resolved from and what its file was like then (:func:`stamp`); of another file a
    new recipe is asked for. limits: those of :data:`LIMITS` that there are, in bytes, seconds, microseconds of CPU time
    in a second, numbers; expires: seconds since the epoch. hours, sources: see limits.py.
    """

    def __init__(
        self,
        *,
        user: str,
        uid: int,
        gid: int,
        base: int,
        home: str,
        hostname: str,
        template: str,
        image: str = "",
        world: str = "",
        level: str = "namespaces",
        mode: str = "readonly",
        writable: list[str] | None = None,
        connectors: list[str] | None = None,
        shell: str = "/bin/bash",
        network: str = "none",
        linger: int | None = 60,
        services: list[str] | None = None,
        path: str = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
        sftp: str = "/usr/lib/openssh/sftp-server",
        binds: list[str] | None = None,
        files: dict[str, bytes] | None = None,
        tmp_bytes: int = 256 << 20,
        disabled: str = "",
        plan: str = "",
        stamp: str = "",
        limits: dict[str, int] | None = None,
        hours: list[str] | None = None,
        sources: list[str] | None = None,
    ) -> None:
        self.user, self.uid, self.gid, self.base = user, uid, gid, base
        self.home, self.hostname, self.template, self.image, self.world = home, hostname, template, image, world
        self.level, self.mode, self.writable, self.connectors = level, mode, writable or [], connectors or []
        self.shell, self.network, self.linger, self.path, self.sftp = shell, network, linger, path, sftp
        self.services = ["sshd", "su", "su-l", "login", "jailctl"] if services is None else services
        self.binds = ["/usr"] if binds is None else binds
        self.files = files or {}
        self.tmp_bytes, self.disabled = tmp_bytes, disabled
        self.plan, self.stamp = plan, stamp
        self.limits, self.hours, self.sources = limits or {}, hours or [], sources or []

    def data(self) -> dict[str, object]:
        """Every field by name."""
        return dict(vars(self))

    def but(self, **changes: object) -> Recipe:
        """A copy with ``changes``."""
        return Recipe(**{**vars(self), **changes})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"Recipe({', '.join(f'{key}={value!r}' for key, value in vars(self).items())})"


LIMITS = ("memory", "swap", "cpu", "cpu_weight", "processes", "read", "write", "read_ops", "write_ops", "open_files",
          "sessions", "idle", "session", "expires")  # fmt: skip
_LISTS = ("services", "binds", "writable", "connectors", "hours", "sources")
_NUMBERS = ("uid", "gid", "base", "tmp_bytes")


def text(recipe: Recipe) -> str:
    """The file's content. Raise ValueError for a value that holds a line break: the spec admits none."""
    lines = []
    fields = {key: value for key, value in vars(recipe).items() if key not in ("files", "limits")}
    fields |= {f"file.{name}": _escaped(data) for name, data in recipe.files.items()}
    fields |= {f"limit.{name}": amount for name, amount in recipe.limits.items()}
    for key, value in sorted(fields.items()):
        for item in value if key in _LISTS else ["forever" if value is None else value]:
            line = f"{key} {item}"
            if "\n" in line or "\r" in line:
                raise ValueError(f"a line break in {key}")
            lines.append(line + "\n")
    return "".join(lines)


def parse(content: str) -> Recipe:
    """The opposite of :func:`text`. Raise ValueError or TypeError."""
    fields: dict[str, object] = {key: [] for key in _LISTS}
    files: dict[str, bytes] = {}
    limits: dict[str, int] = {}
    for line in content.split("\n")[:-1]:
        key, _, value = line.partition(" ")
        if key in _LISTS:
            items = fields[key]
            assert isinstance(items, list)
            items.append(value)
        elif key.startswith("file.") and key[5:] not in files and "/" not in key:
            files[key[5:]] = _plain(value)
        elif key.startswith("limit.") and key[6:] in LIMITS and key[6:] not in limits:
            limits[key[6:]] = int(value)
        elif key in fields:
            raise ValueError(f"{key} twice")
        elif key == "linger":
            fields[key] = None if value == "forever" else int(value)
        else:
            fields[key] = int(value) if key in _NUMBERS else value
    return Recipe(files=files, limits=limits, **fields)  # type: ignore[arg-type]


def _escaped(data: bytes) -> str:
    found = data.decode(errors="surrogateescape").replace("\\", "\\\\")
    return found.replace("\n", "\\n").replace("\r", "\\r")


def _plain(value: str) -> bytes:
    parts = [part.replace("\\n", "\n").replace("\\r", "\r") for part in value.split("\\\\")]
    return "\\".join(parts).encode(errors="surrogateescape")


def load(paths: Paths, name: str) -> Recipe:
    """Read the recipe of ``name``. Raise ``missing.jail``, ``invalid.recipe``, ``unsafe.path``."""
    path = paths.recipe(name)
    hint = f"jailctl add-user {name} writes it anew"
    try:
        with open(path, "rb", opener=_opened) as file:
            status = os.fstat(file.fileno())
            if status.st_uid != 0 or status.st_mode & 0o022:
                raise JailkitError("unsafe.path", f"{path} is not root's alone", hint)
            recipe = parse(file.read().decode(errors="surrogateescape"))
        if recipe.user != name or min(recipe.uid, recipe.gid, recipe.base) < 1:
            raise ValueError("it is another user's")  # or root's: a start would take that one's place
        return recipe
    except FileNotFoundError:
        raise JailkitError("missing.jail", f"there is no jail of {name}", "jailctl list shows all") from None
    except (ValueError, TypeError) as error:
        raise JailkitError("invalid.recipe", f"{path} is damaged: {error}", hint) from None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise JailkitError("unsafe.path", f"{path} is a symbolic link", hint) from None


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)  # a FIFO must not hold a login up


def image(paths: Paths, recipe: Recipe) -> str:
    """Digest of the image that the jail starts from now: the pinned one, or what its tag names. Raise
    ``missing.image``."""
    digest = recipe.image
    if not digest:
        try:
            digest = os.path.basename(os.readlink(paths.tag(recipe.template)))
        except OSError:
            digest = ""
    if not digest or not os.path.isdir(paths.image_root(digest)):
        what = f"the image {digest[:12]} of {recipe.user} is missing" if digest else f"{recipe.template} has no image"
        raise JailkitError("missing.image", what, f"jailctl image build {recipe.template}")
    return digest


def world(paths: Paths, digest: str) -> str:
    """Of the settings that came with image ``digest`` (image/world.py); "" where that cannot be read."""
    try:
        with open(paths.image_world(digest), encoding="ascii") as file:
            return file.read(128).strip()
    except (OSError, ValueError):
        return ""


def stamp(paths: Paths, plan: str) -> str:
    """What tells one content of the file of ``plan`` from the next without reading it; "" where there is no plan, or no
    such file."""
    if not plan:
        return ""
    try:
        status = os.stat(paths.plan(plan))
    except OSError:
        return ""
    return f"{status.st_ino}.{status.st_size}.{status.st_mtime_ns}.{status.st_ctime_ns}"


def current(paths: Paths, recipe: Recipe, digest: str) -> bool:
    """Whether image ``digest`` and the plan are what the recipe was made from."""
    if recipe.plan and not recipe.stamp:
        return False
    return world(paths, digest) == recipe.world and stamp(paths, recipe.plan) == recipe.stamp


def save(paths: Paths, recipe: Recipe, sync: bool = True) -> None:
    """Write atomically: a login sees the old recipe or the new one. sync: False where the caller flushes the whole file
    system afterwards."""
    prepare(paths, recipe, sync)
    publish(paths, recipe.user)


def prepare(paths: Paths, recipe: Recipe, sync: bool = True) -> None:
    """The first half of :func:`save`: what nobody looks at yet."""
    path = f"{paths.recipe(recipe.user)}.new"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(text(recipe).encode(errors="surrogateescape"))
        file.flush()
        if sync:
            os.fsync(file.fileno())


def publish(paths: Paths, name: str) -> None:
    """The second half of :func:`save`."""
    os.rename(f"{paths.recipe(name)}.new", paths.recipe(name))
