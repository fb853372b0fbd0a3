"""Manifests as text: YAML, TOML or JSON to plain data, and back from a path in the data to its line.

All three give the same data: tables, lists, texts, whole and other numbers, true and false. Of YAML that is a strict
part: no anchors and aliases (an alias bomb is a few lines, CVE-2003-1564 for XML, kubernetes CVE-2019-11253), no tags
(PyYAML CVE-2020-14343), no merge keys, one document; no key twice, in JSON neither. A plain word that YAML 1.1 and 1.2
read in different ways (``no``, ``on``, ``0123``, ``1e3``, ``12:30``) is an error, not a guess: the user "no" is written
in quotes. The events of PyYAML (libyaml, where it was built with it) are all that is used of it: no object is made.
"""

from __future__ import annotations

import contextlib
import json
import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import Any

import yaml

from ..errors import InvalidFile

Path = tuple[str | int, ...]
Error = tuple[Path, int | None, str]
"""Path in the document, line from 1, sentence."""

LIMIT = 64 << 20
"""Bytes of one file: 10,000 jails with three RSA keys each have 22 MiB."""
DEPTH = 16
KINDS = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml"}

_CODE = "invalid.manifest"
_SHOWN = 200
_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FRACTION = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,17}")
_AMBIGUOUS = re.compile(
    r"(?i:y|yes|n|no|on|off|true|false|null)|~|=|"
    r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|"  # 0123, 1_000, 1e3, +5, .5
    r"[-+]?0(?:[xX][0-9a-fA-F_]+|[oO]?[0-7_]+|[bB][01_]+)|"
    r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|"  # sixties: 12:30
    r"[-+]?\.(?i:inf|nan)"
)
_TWO_READINGS = (
    "is read in more than one way in YAML: put a text in quotes; write truth as true or false, a number as 1000 or 0.5"
)


class Document:
    """One file. value: its data, a table. file: its name, for messages."""

    def __init__(self, value: dict[str, Any], file: str, text: str, kind: str) -> None:
        self.value, self.file = value, file
        self._text, self._kind = text, kind
        self._lines: dict[Path, int | None] | None = None

    def line(self, path: Path) -> int | None:
        """Line, from 1, of what is at ``path``, or of the nearest table around it. Parsed again when first asked: only
        errors need it."""
        if self._lines is None:
            self._lines = dict(_lines(self._text, self._kind))
        for end in range(len(path), 0, -1):
            if (found := self._lines.get(path[:end])) is not None:
                return found
        return None


def refusal(file: str, errors: list[Error], hint: str = "") -> InvalidFile:
    """All of ``errors`` as one, in the order of the lines."""
    ordered = sorted(dict.fromkeys(errors), key=lambda error: error[1] or 0)
    more = len(ordered) - _SHOWN
    shown = [(where(path), what) for path, _, what in ordered[:_SHOWN]]
    lines = [line for _, line, _ in ordered[:_SHOWN]]
    if more > 0:
        shown.append(("", f"and {more} more errors"))
        lines.append(None)
    return InvalidFile(_CODE, file, shown, hint, lines)


def where(path: Path) -> str:
    """``jails.alice.keys[0]``"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def read(data: bytes, file: str, kind: str) -> Document:
    """``data`` as the ``kind`` ("yaml", "toml", "json") that it is. Raise InvalidFile (``invalid.manifest``)."""
    if len(data) > LIMIT:
        raise refusal(file, [((), None, f"is larger than {LIMIT >> 20} MiB")], "several files may be one manifest")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refusal(file, [((), line, f"is not UTF-8 at byte {error.start}")]) from None
    value = {"yaml": _yaml, "toml": _toml, "json": _json}[kind](text, file)
    if not isinstance(value, dict):
        raise refusal(file, [((), 1, "must be a table: name, plans, jails")])
    return Document(value, file, text, kind)


def kind_of(text: str) -> str:
    """What standard input is: JSON begins with a brace, TOML has ``key = value``; else YAML."""
    for line in text.splitlines():
        line = line.strip()
        if line and line[0] != "#":
            if line[0] == "{":
                return "json"
            return "toml" if re.match(r"\[|[A-Za-z0-9_\"'.-]+\s*=", line) else "yaml"
    return "yaml"


# -- YAML


class _Build:
    """The data of a stream of events, iteratively: no depth of the file becomes a depth of ours. errors: all that is
    wrong but the syntax. lines: of each path, where they are asked for."""

    def __init__(self, file: str, lines: dict[Path, int | None] | None = None, plain: bool = True) -> None:
        self.errors: list[Error] = []
        self._file, self._lines, self._plain = file, lines, plain
        self._result: Any = None
        self._stack: list[Any] = []
        self._path: list[str | int] = []
        self._documents = 0

    def run(self, text: str) -> Any:
        """Raise InvalidFile at what ends the reading."""
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                self._event(event)
        except yaml.MarkedYAMLError as error:
            what = f"is not YAML: {error.problem or error.context}"
            raise self._fatal(_line(error.problem_mark or error.context_mark), what) from None
        except yaml.YAMLError as error:  # a reader's error knows no line
            position = getattr(error, "position", None)
            line = text.count("\n", 0, position) + 1 if isinstance(position, int) else None
            what = getattr(error, "reason", None) or str(error).splitlines()[0]
            raise self._fatal(line, f"is not YAML: {what}") from None
        if self.errors:
            raise refusal(self._file, self.errors)
        return self._result

    def _fatal(self, line: int | None, what: str) -> InvalidFile:
        return refusal(self._file, [*self.errors, (tuple(self._path), line, what)])

    def _event(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._wrong(event, f"an alias (*{event.anchor}) is refused: write the value out")
            self._add(event, None)
            self._close()
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1 or event.tags:
                raise self._fatal(_line(event.start_mark), "is more than one document, or has directives")

    def _scalar(self, event: Any) -> None:
        self._refuse(event)
        text = event.value
        plain = event.style is None or event.style == ""
        if self._is_key():
            self._key(event, text, plain)
            return
        self._add(event, self._plain_value(event, text) if plain and self._plain else text)
        self._close()

    def _key(self, event: Any, text: str, plain: bool) -> None:
        self._path.append(text)
        if plain and self._plain:
            if text == "<<":
                self._wrong(event, "a merge key is refused: write the values out")
            elif not text or _AMBIGUOUS.fullmatch(text):
                self._wrong(event, f"the key {text!r} {_TWO_READINGS}")
        if text in self._stack[-1]:
            self._wrong(event, "stands there twice")
        if self._lines is not None:
            self._lines[tuple(self._path)] = _line(event.start_mark)

    def _plain_value(self, event: Any, text: str) -> Any:
        if text in ("true", "false"):
            return text == "true"
        if not text:
            return None
        if text[0] not in "0123456789-+.~=yYnNoOtTfF":
            return text
        if _WHOLE.fullmatch(text):
            return int(text)
        if _FRACTION.fullmatch(text):
            return float(text)
        if _AMBIGUOUS.fullmatch(text):
            self._add_path(event)
            self._wrong(event, f"{text!r} {_TWO_READINGS}")
        return text

    def _open(self, event: Any) -> None:
        if self._is_key():
            raise self._fatal(_line(event.start_mark), "a key must be a text")
        if len(self._stack) >= DEPTH:
            raise self._fatal(_line(event.start_mark), f"is more than {DEPTH} levels deep")
        self._refuse(event)
        made: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._add(event, made)
        self._stack.append(made)

    def _is_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1], dict) and len(self._path) < len(self._stack)

    def _add_path(self, event: Any) -> None:
        """An item of a list has its path from its number; of a table, from its key."""
        if self._stack and isinstance(self._stack[-1], list) and len(self._path) < len(self._stack):
            self._path.append(len(self._stack[-1]))
            if self._lines is not None:
                self._lines[tuple(self._path)] = _line(event.start_mark)

    def _add(self, event: Any, value: Any) -> None:
        self._add_path(event)
        if not self._stack:
            self._result = value
        elif isinstance(self._stack[-1], list):
            self._stack[-1].append(value)
        elif not self._path or len(self._path) < len(self._stack):
            raise self._fatal(_line(event.start_mark), "a key must be a text")
        else:
            self._stack[-1][self._path[-1]] = value

    def _close(self) -> None:
        if self._stack and len(self._path) == len(self._stack):
            self._path.pop()

    def _refuse(self, event: Any) -> None:
        if event.anchor is not None:
            self._wrong(event, f"an anchor (&{event.anchor}) is refused: write the values out")
        if event.tag is not None:
            self._wrong(event, f"a tag ({event.tag}) is refused")

    def _wrong(self, event: Any, what: str) -> None:
        self.errors.append((tuple(self._path), _line(event.start_mark), what))


def _line(mark: Any) -> int | None:
    return mark.line + 1 if mark is not None else None


def _yaml(text: str, file: str) -> Any:
    return _Build(file).run(text)


# -- JSON


def _json(text: str, file: str) -> Any:
    twice = False

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        made = dict(pairs)
        twice = twice or len(made) < len(pairs)
        return made

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is no number")

    try:
        value = json.loads(text, object_pairs_hook=table, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise refusal(file, [((), error.lineno, f"is not JSON: {error.msg}")]) from None
    except RecursionError:
        raise refusal(file, [((), None, f"is more than {DEPTH} levels deep")]) from None
    except ValueError as error:
        raise refusal(file, [((), None, f"is not JSON: {error}")]) from None
    if twice:
        build = _Build(file, plain=False)  # says which, and where: JSON is YAML, all but surrogates
        with contextlib.suppress(InvalidFile):
            build.run(text)
        raise refusal(file, build.errors or [((), None, "a key stands there twice")])
    return value


# -- TOML


def _toml(text: str, file: str) -> Any:
    try:
        return _without_times(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        what = str(error)[: found.start()] if found else str(error)
        line = int(found[1]) if found and found[1] else text.rstrip().count("\n") + 1
        raise refusal(file, [((), line, f"is not TOML: {what}")]) from None
    except RecursionError:
        raise refusal(file, [((), None, f"is more than {DEPTH} levels deep")]) from None


def _without_times(value: Any) -> Any:
    """Times as the texts that the other two formats have for them."""
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value.isoformat() if isinstance(value, date | time) else value


def _toml_lines(text: str) -> Iterator[tuple[Path, int]]:
    """A statement ends at the first line with which it is TOML by itself: only an open string or list goes on."""
    base: Path = ()
    items: dict[Path, int] = {}
    begun, pending = 0, ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        begun = begun if pending else number
        pending += line
        try:
            value = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue
        header = pending.lstrip().startswith("[")
        path = _deepest(value, items) if header else base
        if header:
            base = path
            if pending.lstrip().startswith("[["):
                items[path[:-1]] = items.get(path[:-1], -1) + 1
                base = path = (*path[:-1], items[path[:-1]])
        yield from ((path[:end], begun) for end in range(1, len(path) + 1) if header)
        if not header:
            yield from _within(value, base, begun)
        pending = ""


def _deepest(value: Any, items: dict[Path, int]) -> Path:
    """The path of a header: ``{"jails": [{}]}`` of ``[[jails]]`` is ("jails", 0)."""
    path: Path = ()
    while value:
        if isinstance(value, list):
            path, value = (*path, 0), value[0]
            continue
        key, value = next(iter(value.items()))
        path = (*path, key)
        if isinstance(value, dict) and path in items:
            path = (*path, items[path])  # a table of the last item of a list of tables
    return path


def _within(value: Any, path: Path, line: int) -> Iterator[tuple[Path, int]]:
    if path:
        yield path, line
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in parts:
        yield from _within(item, (*path, key), line)


def _lines(text: str, kind: str) -> Iterator[tuple[Path, int | None]]:
    """(path, line) of all that is in a text; of what was read already, or as far as it can be told."""
    if kind == "toml":
        found: dict[Path, int] = {}
        for path, line in _toml_lines(text):
            found.setdefault(path, line)
        yield from found.items()
        return
    lines: dict[Path, int | None] = {}
    with contextlib.suppress(InvalidFile):  # JSON that is no YAML to the letter: the lines until there
        _Build("", lines, plain=False).run(text)
    yield from lines.items()
