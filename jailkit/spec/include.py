"""Templates on the disk, and their includes: all files that a template is made of, merged into one.

A template includes others, and parts: a part is a template.toml without ``source``, so there is none to build by
itself. Each counts once, where it is first named, before what includes it. A later one wins over an earlier one: its
scalars replace, its tables merge, its lists append what is not there yet (those of ``limits`` replace). ``name``,
``description`` and ``includes`` are each file's own. A part may say what it needs of each source: a table for another
source than the one that was chosen is left out, and so is what a part copies from the host's /etc where programs are
not the host's."""

from __future__ import annotations

import difflib
import functools
import os
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidFile, JailkitError, together
from ..names import template_name
from ..paths import Paths
from . import load
from .template import TemplateFile, TemplateSpec

DEPTH = 16
PARTS = "parts"
_CODE = "invalid.template"
_OWN = ("name", "description", "includes")
_TABLES = ("copy", "debian", "tar")
_FOREIGN = ("debian", "tar")
"""Sources whose programs have settings of their own in /etc."""


@dataclass(frozen=True)
class Piece:
    """One file of a template. directory: the folder it lies in. data: what it says, as TOML gives it."""

    name: str
    directory: str
    data: dict[str, Any] = field(repr=False)

    @property
    def is_part(self) -> bool:
        return os.path.basename(os.path.dirname(self.directory)) == PARTS


@dataclass(frozen=True)
class Resolved:
    """spec: the whole. pieces: in the order of merging, the template itself last. origins: which of them has the last
    word, by path in the file: ``"linger"``, ``"image.copy[3]"``, ``"image.links./etc/mtab"``. Defaults have none."""

    spec: TemplateSpec
    pieces: tuple[Piece, ...]
    origins: dict[str, str]

    @property
    def directory(self) -> str:
        """The folder that a relative name of the source (``tar.file``) starts from: that of the file which says it."""
        where = self.origins.get("tar.file", self.pieces[-1].name)
        return next(piece.directory for piece in self.pieces if piece.name == where)


def shipped(paths: Paths) -> str:
    """Where the templates are that come with jailkit."""
    return f"{paths.opt}/templates"


def names(paths: Paths, parts: bool = False) -> list[str]:
    """Of all templates, the administrator's own and the shipped, sorted; parts: of the parts instead."""
    found: set[str] = set()
    for base in (paths.templates, shipped(paths)):
        folder = f"{base}/{PARTS}" if parts else base
        if os.path.isdir(folder):
            found.update(entry for entry in os.listdir(folder) if os.path.isfile(f"{folder}/{entry}/template.toml"))
    return sorted(found)


def directory(paths: Paths, name: str) -> str:
    """The folder of template or part ``name``: the administrator's own before the shipped, templates before parts.
    Raise ``missing.template``, ``invalid.template-name``."""
    template_name(name)
    for base in (paths.templates, shipped(paths)):
        for folder in (f"{base}/{name}", f"{base}/{PARTS}/{name}"):
            if os.path.lexists(f"{folder}/template.toml"):
                return folder
    known = names(paths)
    hint = f"there are: {', '.join(known)}" if known else "run ./install again"
    raise JailkitError("missing.template", f"there is no template {name!r}", hint)


def resolve(paths: Paths, name: str) -> Resolved:
    """Template ``name`` as a whole. Raise ``missing.template``, ``unsafe.path``, and ``invalid.template`` with every
    error of every file at once; where none is wrong by itself, what is wrong with the whole."""
    return whole(collect(paths, name))


def whole(pieces: tuple[Piece, ...]) -> Resolved:
    """The template that ``pieces``, each valid by itself, are together. Raise ``invalid.template``."""
    data, origins = merge(pieces)
    file = f"{pieces[-1].directory}/template.toml"
    if "source" not in data:
        sentence = "is missing, here and in all that it includes: so it is a part, to be included and not to be built"
        raise InvalidFile(_CODE, file, [("source", sentence)], 'add source = "host"; or include it in a template')
    return Resolved(load.validate(TemplateSpec, data, file, _CODE), pieces, origins)


def collect(paths: Paths, name: str) -> tuple[Piece, ...]:
    """The files of ``name`` in the order of merging, each valid by itself. Raise as :func:`resolve`."""
    pieces, failures = walk(paths, name)
    if failures:
        raise together(failures)
    return pieces


def walk(paths: Paths, name: str) -> tuple[tuple[Piece, ...], list[InvalidFile]]:
    """The files of ``name`` in the order of merging, and what is wrong with each. Raise ``missing.template``,
    ``unsafe.path``."""
    found = _Walk(paths)
    found.visit(name, directory(paths, name), ())
    return tuple(found.pieces.values()), found.failures


class _Walk:
    """Depth first; a file that is wrong is noted, and what it includes is looked at all the same."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._seen: set[str] = set()
        self.pieces: dict[str, Piece] = {}
        self.failures: list[InvalidFile] = []

    def visit(self, name: str, folder: str, chain: tuple[str, ...]) -> None:
        if name in self._seen:
            return
        self._seen.add(name)
        file = f"{folder}/template.toml"
        try:
            data, own = _parsed(load.read_trusted(file), file, name)
        except InvalidFile as failure:
            self.failures.append(failure)
            self.pieces[name] = Piece(name, folder, {})
            return
        errors = list(own)
        for index, other in _included(data):
            try:
                self._include(other, (*chain, name))
            except ValueError as error:
                errors.append((f"includes[{index}]", str(error)))
        if errors:
            self.failures.append(InvalidFile(_CODE, file, errors))
        self.pieces[name] = Piece(name, folder, data)

    def _include(self, name: str, chain: tuple[str, ...]) -> None:
        way = " -> ".join((*chain, name))
        if name in chain:
            raise ValueError(f"goes round in a circle: {way}")
        if len(chain) >= DEPTH:
            raise ValueError(f"is nested more than {DEPTH} deep: {way}")
        try:
            folder = directory(self._paths, name)
        except JailkitError:
            known = {*names(self._paths), *names(self._paths, parts=True)}
            close = difflib.get_close_matches(name, sorted(known), 1)
            raise ValueError(
                f"there is no template or part {name!r}{f'; did you mean {close[0]!r}?' if close else ''}"
            ) from None
        self.visit(name, folder, chain)


@functools.lru_cache(maxsize=256)
def _parsed(text: bytes, file: str, name: str) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    """What ``text`` says (not to be changed: it is kept) and what is wrong with it. A template is looked at some times
    for each jail, and its dozen files say the same each time. Raise ``invalid.template``."""
    data = load.table(text, file, _CODE)
    return data, tuple(_own_errors(data, file, name))


def _own_errors(data: dict[str, Any], file: str, name: str) -> list[tuple[str, str]]:
    try:
        spec = load.validate(TemplateFile, data, file, _CODE)
    except InvalidFile as failure:
        return failure.errors
    return [("name", f"is {spec.name!r}, but the folder is called {name!r}")] if spec.name != name else []


def _included(data: dict[str, Any]) -> list[tuple[int, str]]:
    """Places and names that can be looked for; what else stands there, the model has refused."""
    found = data.get("includes")
    items = enumerate(found) if isinstance(found, list) else ()
    return [(index, item) for index, item in items if isinstance(item, str) and _fits(item)]


def _fits(name: str) -> bool:
    try:
        template_name(name)
    except JailkitError:
        return False
    return True


def merge(pieces: tuple[Piece, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    """The data of all ``pieces`` as one, and its origins (see :class:`Resolved`)."""
    whole: dict[str, Any] = {}
    origins: dict[str, str] = {}
    source = next((piece.data["source"] for piece in reversed(pieces) if "source" in piece.data), "")
    for piece in pieces:
        own = () if piece is pieces[-1] else _OWN
        data = {key: value for key, value in piece.data.items() if key not in own}
        _into(whole, _for_source(data, source, piece.is_part), piece.name, origins, "")
    return whole, origins


def _for_source(data: dict[str, Any], source: str, part: bool) -> dict[str, Any]:
    """What of a file counts where ``source`` was chosen ("": none yet)."""
    if not source or (not part and data.get("source", source) == source):
        return data  # a table of another source in it is an error, which the model says
    left = {key: value for key, value in data.items() if key not in _TABLES or key == source}
    if part and source in _FOREIGN and "copy" in left.get("image", {}):
        left["image"] = {key: value for key, value in left["image"].items() if key != "copy"}
    return left


def _into(whole: dict[str, Any], data: dict[str, Any], name: str, origins: dict[str, str], above: str) -> None:
    for key, value in data.items():
        where = f"{above}{key}"
        if isinstance(value, dict):
            _into(whole.setdefault(key, {}), value, name, origins, f"{where}.")
        elif isinstance(value, list) and above != "limits.":
            have = whole.setdefault(key, [])
            for item in value:
                if item not in have:
                    origins[f"{where}[{len(have)}]"] = name
                    have.append(item)
        else:
            whole[key] = value
            origins[where] = name
