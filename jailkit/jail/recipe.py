"""The recipe: all that starting a cold jail reads.

Provisioning resolves template and spec once and writes the result here (``jails/<name>/start.json``), so that
a login needs no TOML, no validation library and no name service."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field

from ..errors import JailkitError
from ..paths import Paths

RANGE = 1024
"""Ids of a jail's own range: inside 0 to 1023, where the system's accounts and groups live."""


@dataclass
class Recipe:
    """What a jail is made of; every value has been validated by the spec.

    base: first id of the jail's own range, :data:`RANGE` long. image: digest. root: the image's root directory.
    binds: host directories shown read-only at the same place. files: names below ``jails/<name>/etc`` that are bound over the
    image's ``/etc/<name>``. tmp_bytes: size of the jail's own tmpfs. linger: seconds after the last session, None: for ever.
    disabled: why no login is possible, or "".
    """

    user: str
    uid: int
    gid: int
    base: int
    home: str
    hostname: str
    image: str
    root: str
    shell: str = "/bin/bash"
    network: str = "none"
    linger: int | None = 60
    services: list[str] = field(default_factory=lambda: ["sshd", "su", "su-l", "login", "jailctl"])
    path: str = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
    sftp: str = "/usr/lib/openssh/sftp-server"
    binds: list[str] = field(default_factory=lambda: ["/usr"])
    files: list[str] = field(default_factory=lambda: ["passwd", "group", "hostname", "hosts"])
    tmp_bytes: int = 256 << 20
    disabled: str = ""


def load(paths: Paths, name: str) -> Recipe:
    """Read the recipe of ``name``. Raise ``missing.jail`` or ``invalid.recipe``."""
    try:
        with open(paths.recipe(name), encoding="utf-8") as file:
            return Recipe(**json.load(file))
    except FileNotFoundError:
        raise JailkitError("missing.jail", f"there is no jail of {name}", "jailctl list shows all") from None
    except (ValueError, TypeError) as error:
        raise JailkitError(
            "invalid.recipe", f"{paths.recipe(name)} is damaged: {error}", f"jailctl add-user {name} writes it anew"
        ) from None


def save(paths: Paths, recipe: Recipe) -> None:
    """Write atomically: a login sees the old recipe or the new one."""
    path = paths.recipe(recipe.user)
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(asdict(recipe), file, indent=1, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
