"""The types of the fields that templates and specs share. Each refuses what could not be written, byte for byte, into
the flat files and fixed records that are made from it (passwd, the entry record, mount points)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from .. import names
from ..errors import JailkitError

_PATH = re.compile(r"/[A-Za-z0-9._@+/-]*")
_SIZE = re.compile(r"([1-9][0-9]{0,6})([KMG])")
_SERVICE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_YEAR = 31_536_000
_SERVICES_BYTES = 254
"""``services`` of the entry record: 256 bytes, NUL between the names and two at the end (jail/record.py)."""


class Model(BaseModel):
    """Base of all models: unknown keys are errors, nothing is converted (``"60"`` is no number), values are final."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


def _checked(check: Callable[[str], str]) -> Callable[[str], str]:
    """``check`` of names.py as pydantic wants it: its refusal as a ValueError."""

    def validate(text: str) -> str:
        try:
            return check(text)
        except JailkitError as error:
            raise ValueError(f"{error.message}; {error.hint}") from None

    return validate


def plain_path(text: str) -> str:
    """Return ``text`` if it is an absolute, normalised path of plain characters, up to 255 bytes."""
    if not _PATH.fullmatch(text) or os.path.normpath(text) != text or text.startswith("//"):
        raise ValueError(f"{text!r} must be an absolute path without '.', '..' or '//', of A-Z a-z 0-9 . _ @ + -")
    if len(text) > 255:
        raise ValueError("is longer than 255 bytes")
    return text


def _program(text: str) -> str:
    if len(text) > 127:
        raise ValueError("is longer than 127 bytes")
    return plain_path(text)


def _home(text: str) -> str:
    plain_path(text)
    if text.count("/") < 2:
        raise ValueError(f"{text!r} must lie below a top directory, such as /home/alice")
    return text


def _search_path(text: str) -> str:
    if not text or len(text) > 255:
        raise ValueError("must have 1 to 255 bytes")
    for part in text.split(":"):
        plain_path(part)
    return text


def _size(text: str) -> str:
    if not _SIZE.fullmatch(text):
        raise ValueError(f"{text!r} must be a whole number with K, M or G, such as 256M")
    return text


def size_bytes(text: str) -> int:
    """Bytes that a valid ``size`` means: ``"1M"`` is 1048576."""
    return int(text[:-1]) * _UNITS[text[-1]]


def _linger(value: object) -> object:
    if value == "forever" or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _YEAR):
        return value
    raise ValueError(f"must be a number of seconds from 0 to {_YEAR}, or 'forever'")


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one printable line")
    return text


def _services(items: list[str]) -> list[str]:
    if not items:
        raise ValueError("must name at least one service, or nobody could log in")
    for item in items:
        if not _SERVICE.fullmatch(item):
            raise ValueError(f"{item!r} cannot be a PAM service name")
    if len("\0".join(items)) > _SERVICES_BYTES:
        raise ValueError(f"are longer than {_SERVICES_BYTES} bytes together")
    if len(set(items)) != len(items):
        raise ValueError("name a service twice")
    return items


def _shown(pattern: str) -> WithJsonSchema:
    """For editors: near enough to mark a mistake while it is typed."""
    return WithJsonSchema({"type": "string", "pattern": pattern})


UserName = Annotated[str, AfterValidator(_checked(names.user_name))]
TemplateName = Annotated[
    str, AfterValidator(_checked(names.template_name)), _shown("^[a-z]([a-z0-9-]{0,46}[a-z0-9])?$")
]
PlanName = Annotated[str, AfterValidator(_checked(names.plan_name)), _shown("^[a-z]([a-z0-9-]{0,46}[a-z0-9])?$")]
ManifestName = Annotated[str, AfterValidator(_checked(names.manifest_name))]
ImageReference = Annotated[str, AfterValidator(_checked(names.image_reference))]
HostName = Annotated[str, AfterValidator(_checked(names.host_name))]
PlainPath = Annotated[str, AfterValidator(plain_path), _shown("^/[A-Za-z0-9._@+/-]*$")]
Program = Annotated[str, AfterValidator(_program), _shown("^/[A-Za-z0-9._@+/-]*$")]
Home = Annotated[str, AfterValidator(_home)]
SearchPath = Annotated[str, AfterValidator(_search_path)]
Size = Annotated[str, AfterValidator(_size), _shown("^[1-9][0-9]{0,6}[KMG]$")]
Services = Annotated[list[str], AfterValidator(_services)]
Line = Annotated[str, Field(max_length=200), AfterValidator(_line)]
"""A description, for people."""
Network = Literal["none", "host"]
Level = Literal["namespaces", "chroot"]
RootMode = Literal["readonly", "overlay", "ephemeral"]
Connector = Literal["dns", "mysql", "postgresql", "syslog"]
Linger = Annotated[
    int | str,
    PlainValidator(_linger),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0, "maximum": _YEAR}, {"const": "forever"}]}),
]
"""Seconds a jail outlives its last session, up to a year, or "forever"."""


def linger_seconds(value: int | str) -> int | None:
    """What the recipe holds: seconds, None for ever."""
    return value if isinstance(value, int) else None
