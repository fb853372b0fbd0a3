"""The small file that a backup begins with: whose it is, and what makes the jail again."""

from __future__ import annotations

import json
import os
import time
from importlib.metadata import version
from typing import Any, Literal

from pydantic import Field, ValidationError

from ...errors import JailkitError
from ...jail import recipe as recipes
from ...paths import Paths
from ...spec.fields import ImageReference, Model, UserName
from ...spec.jail import JailSpec
from ..state import Row

FORMAT = 1


class Manifest(Model):
    """uid, gid: hers, as they are in the archive; ids below 1024 are those of root and the system in her root. image:
    digest of the one that her layer lies on. taken: "frozen", "stopped" (it did not run), "snapshot" (frozen while
    blocks were shared) or "live" (it ran on). password: whether the account had one, which is not in here."""

    format: Literal[1]
    name: UserName
    uid: int = Field(ge=0)
    gid: int = Field(ge=0)
    level: str
    home: str
    template: ImageReference
    image: str
    taken: Literal["frozen", "stopped", "snapshot", "live"]
    created: str
    host: str = Field(max_length=255)
    version: str = Field(max_length=64)
    parts: list[Literal["home", "layer"]]
    password: bool
    spec: JailSpec


def of(paths: Paths, row: Row, taken: str, layer: bool, password: str | None) -> bytes:
    """The manifest of a backup that is made now. password: the account's field of shadow(5)."""
    template, image = row.spec.get("template"), ""  # the first is None where the plan or the host says it
    try:
        recipe = recipes.load(paths, row.name)
        template = template or recipe.template
        image = recipes.image(paths, recipe)
    except JailkitError:  # a backup is made all the same
        template = template or "shell"
    values: dict[str, Any] = {
        "format": FORMAT, "name": row.name, "uid": row.uid, "gid": row.gid, "level": row.level, "home": row.home,
        "template": template, "image": image, "taken": taken, "created": stamp(),
        "host": os.uname().nodename, "version": version("jailkit"),
        "parts": ["home", "layer"] if layer else ["home"], "password": (password or "*")[0] not in "*!",
        "spec": row.spec,
    }  # fmt: skip
    return json.dumps(values, indent=1).encode()


def parse(data: bytes) -> Manifest:
    """What an archive begins with: data from outside. Raise ``invalid.archive``."""
    try:
        values = json.loads(data)
        if isinstance(values, dict) and values.get("format") != FORMAT:
            raise JailkitError(
                "invalid.archive", f"its format is {values.get('format')!r:.40}; this jailkit knows {FORMAT}",
                "restore it with the version of jailkit that wrote it",
            )  # fmt: skip
        made = Manifest.model_validate(values)
    except (ValueError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        where = f" at '{'.'.join(map(str, first['loc']))}': {first['msg']}" if first else ""
        hint = "jailctl backup --verify FILE"
        raise JailkitError("invalid.archive", f"its manifest is not one{where}", hint) from None
    if made.spec.user != made.name or made.spec.template not in (None, made.template):
        raise JailkitError("invalid.archive", "its manifest contradicts itself", "ask who made it")
    return made


def stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
