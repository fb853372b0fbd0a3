"""What jailctl prints: text, tables, JSON, errors. Nothing else in jailkit prints.

Whatever came from outside (names in spec files, what a client called itself, a command line) may hold terminal
sequences (sudo CVE-2023-28487, tlog#147): all text goes through :func:`escape`. JSON is written as ASCII, so it
cannot hold any.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..errors import JailkitError

_SHORT = 20
"""Columns of a table that are never wider are not folded on a narrow terminal."""
_BIDI = frozenset([0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF])


@dataclass
class Settings:
    """The options that every verb has."""

    root: str = "/"
    quiet: bool = False
    json: bool = False


def escape(text: object, keep: str = "") -> str:
    """``text`` with control, bidirectional and undecodable characters written as ``\\xNN`` or ``\\uNNNN``.

    keep: control characters that may stay, such as "\\n" in a text of our own making."""
    return "".join(c if c in keep or not _dangerous(c) else _code(c) for c in str(text))


def _dangerous(char: str) -> bool:
    number = ord(char)
    return number < 0x20 or 0x7F <= number < 0xA0 or number in _BIDI or 0xD800 <= number < 0xE000


def _code(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"


def emit(value: object) -> None:
    """Print one JSON value, for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=True))


def say(settings: Settings, text: str = "") -> None:
    """Print for a person; nothing with --quiet or --json. ``text`` is ours: its parts from outside are escaped
    already."""
    if not settings.quiet and not settings.json:
        print(text)


def note(settings: Settings, text: str) -> None:
    """Something worth knowing that is not the answer: on stderr, so that it stays out of pipes."""
    if not settings.quiet and not settings.json:
        print(text, file=sys.stderr)


def fail(settings: Settings, error: JailkitError) -> int:
    """Print an error on stderr and return the number to exit with."""
    if settings.json:
        print(json.dumps({"error": problem(error)}, ensure_ascii=True), file=sys.stderr)
    else:
        complain(error.message, error.hint)
    return error.exit_number


def complain(message: str, hint: str, of: str = "") -> None:
    """Print an error for a person, with --quiet as well. of: which of many it is."""
    print(f"jailctl: {f'{escape(of)}: ' if of else ''}{escape(message, keep=chr(10))}", file=sys.stderr)
    if hint:
        print(f"  hint: {escape(hint)}", file=sys.stderr)


def problem(error: JailkitError) -> dict[str, Any]:
    """An error as JSON has it."""
    return {"code": error.code, "message": error.message, "hint": error.hint, "exit": error.exit_number}


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headers: with rich on a terminal, else in aligned plain columns (no trailing blanks)."""
    cells = [[escape("" if value is None else value) for value in row] for row in rows]
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        _rich_table(headers, cells)
        return
    lines = [[h.upper() for h in headers], *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _rich_table(headers: Sequence[str], cells: list[list[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, header in enumerate(headers):
        # a digest or a date in two halves cannot be read or copied: what is long gives way
        short = all(len(row[number]) <= _SHORT for row in cells)
        grid.add_column(header, overflow="fold", no_wrap=short)
    for row in cells:
        grid.add_row(*(Text(cell) for cell in row))  # Text: no markup is read from what comes from outside
    Console().print(grid)


def pairs(rows: Sequence[tuple[str, object]]) -> None:
    """Print ``label: value`` lines, values aligned; those without a value are left out."""
    shown = [(label, escape(value)) for label, value in rows if value not in (None, "")]
    width = max((len(label) for label, _ in shown), default=0)
    for label, value in shown:
        print(f"{label.ljust(width)}  {value}")


def paint(text: str, color: str) -> str:
    """``text`` in a colour (an SGR number) on a terminal, unless NO_COLOR is set (no-color.org)."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return text
    return f"\x1b[{color}m{text}\x1b[0m"


def counted(number: int, noun: str) -> str:
    """1 jail, 2 jails."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def plain(value: Any) -> Any:
    """A dataclass, tuple or set as what JSON knows."""
    from dataclasses import asdict, is_dataclass

    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(item) for key, item in asdict(value).items()}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value
