"""Where the programs of a template come from, one model a kind: the tables ``[copy]``, ``[debian]``, ``[tar]``, and the
steps ``[[run]]`` on top of them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from .fields import Model

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,63}")
_SUITE = re.compile(r"[a-z][a-z0-9-]{1,31}")
_MIRROR = re.compile(r"(https?|file)://[A-Za-z0-9._~:/@%+-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GLOB = re.compile(r"(/[A-Za-z0-9._@+,*?\[\]-]+)+")
_FILE = re.compile(r"/?[A-Za-z0-9._@+-]+(/[A-Za-z0-9._@+-]+)*")


def package_name(text: str) -> str:
    """Return ``text`` if it names a Debian package (Debian Policy 5.6.7). Raise ValueError."""
    if not _PACKAGE.fullmatch(text):
        raise ValueError(f"{text!r} cannot be the name of a Debian package")
    return text


def glob(text: str) -> str:
    """Return ``text`` if it is an absolute path or pattern with ``* ? [ ]``. Raise ValueError."""
    if not _GLOB.fullmatch(text) or any(part in ("", ".", "..") for part in text.split("/")[1:]):
        raise ValueError(f"{text!r} must be an absolute path or a pattern with * and ?, without '.' and '..'")
    return text


def program(text: str) -> str:
    """Return ``text`` if it is the absolute path of a program, or a name to be looked for in PATH. Raise ValueError."""
    if not _FILE.fullmatch(text) or (text[0] != "/" and "/" in text) or ".." in text.split("/"):
        raise ValueError(f"{text!r} must be a program's name or absolute path")
    return text


Package = Annotated[str, AfterValidator(package_name)]
Glob = Annotated[str, AfterValidator(glob)]
Command = Annotated[str, AfterValidator(program)]


class CopySource(Model):
    """Host files copied into the image, with all that they need to run: libraries, interpreters, name service modules.

    programs: names found in the host's PATH, or absolute paths. globs: further files and directories, as they are.
    packages: installed Debian packages, every file of theirs. extra: what programs load by themselves at run time,
    such as plugins: paths or patterns, with the libraries that those need. A name that is missing on the host is an
    error, but for those in ``optional``.
    """

    programs: list[Command] = Field(default_factory=list, description="programs, by name or absolute path")
    globs: list[Glob] = Field(default_factory=list, description="further files and directories, with * and ?")
    packages: list[Package] = Field(default_factory=list, description="installed Debian packages, all their files")
    extra: list[Glob] = Field(default_factory=list, description="libraries and plugins that programs load at run time")
    optional: list[str] = Field(default_factory=list, description="which of all these may be missing on the host")


class DebianSource(Model):
    """A distribution root of its own, made by mmdebstrap(1) from the mirrors that the host's apt uses."""

    suite: str = Field(default="", description='"bookworm", "trixie"; empty: the host\'s own')
    mirror: str = Field(default="", description="where packages come from; empty: as the host's apt")
    variant: str = Field(default="minbase", description='"minbase", "apt", "essential", "important" or "standard"')
    packages: list[Package] = Field(default_factory=list, description="packages beside those of the variant")
    components: list[str] = Field(default=["main"], description="components of the archive")

    @field_validator("suite")
    @classmethod
    def _suite(cls, text: str) -> str:
        if text and not _SUITE.fullmatch(text):
            raise ValueError(f"{text!r} cannot be the name of a suite")
        return text

    @field_validator("mirror")
    @classmethod
    def _mirror(cls, text: str) -> str:
        if text and not _MIRROR.fullmatch(text):
            raise ValueError(f"{text!r} must be an http, https or file address")
        return text

    @field_validator("variant")
    @classmethod
    def _variant(cls, text: str) -> str:
        if text not in ("minbase", "apt", "essential", "important", "standard"):
            raise ValueError("must be 'minbase', 'apt', 'essential', 'important' or 'standard'")
        return text

    @field_validator("components")
    @classmethod
    def _components(cls, items: list[str]) -> list[str]:
        for item in items:
            if not _SUITE.fullmatch(item):
                raise ValueError(f"{item!r} cannot be a component of an archive")
        return items


class TarSource(Model):
    """A root in a tar file, such as ``docker export`` writes: plain, or packed with gzip, bzip2 or xz.

    file: absolute, or beside template.toml. sha256: refuse any other file. max_bytes, max_names: refuse one that is
    larger when unpacked: a bomb."""

    file: str = Field(description="the tar file: absolute, or relative to the template's folder")
    sha256: str = Field(default="", description="SHA-256 that it must have, in hex; empty: any")
    max_bytes: int = Field(default=16 << 30, description="how large it may be, unpacked, in bytes", ge=1, le=1 << 44)
    max_names: int = Field(default=1_000_000, description="how many names it may hold", ge=1, le=10_000_000)

    @field_validator("file")
    @classmethod
    def _file(cls, text: str) -> str:
        if not _FILE.fullmatch(text) or ".." in text.split("/") or len(text) > 255:
            raise ValueError(f"{text!r} must be a plain path without '..'")
        return text

    @field_validator("sha256")
    @classmethod
    def _digest(cls, text: str) -> str:
        if text and not _SHA256.fullmatch(text):
            raise ValueError("must be 64 hex digits")
        return text


class RunStep(Model):
    """A shell command, run as root inside a throw-away jail made of the layers so far; what it changes is a layer."""

    command: str = Field(description="for /bin/sh -e, may have many lines", min_length=1, max_length=16384)
    network: bool = Field(default=False, description="let it use the host's network")
    environment: dict[str, str] = Field(default_factory=dict, description="variables for the command")

    @field_validator("command")
    @classmethod
    def _text(cls, text: str) -> str:
        if "\0" in text:
            raise ValueError("has a NUL byte")
        return text

    @field_validator("environment")
    @classmethod
    def _environment(cls, values: dict[str, str]) -> dict[str, str]:
        for key, value in values.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", key) or not value.isprintable():
                raise ValueError(f"{key!r} cannot be a variable, or its value is not one printable line")
        return values


