"""Programs that run other programs: the first line of a script, and what Python and Perl read when they start."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from .hosttree import HostTree

LINE = 256
"""What the kernel reads of a script (BINPRM_BUF_SIZE, execve(2))."""

_PYTHON = re.compile(r"(/usr|/usr/local)/bin/(python3\.[0-9]+)")
_LIBPYTHON = re.compile(r"(/usr|/usr/local)/lib/(?:[a-z0-9_-]+/)?lib(python3\.[0-9]+)\.so[.0-9]*")
_PERL = re.compile(r"/usr/bin/perl[0-9a-z._-]*|/usr/lib/(?:[a-z0-9_-]+/)?libperl\.so[.0-9]*")
_PERL_TREES = (
    "/etc/perl",
    "/usr/local/lib/*/perl",
    "/usr/local/lib/site_perl",
    "/usr/local/share/perl",
    "/usr/lib/*/perl",
    "/usr/lib/*/perl-base",
    "/usr/lib/*/perl5",
    "/usr/share/perl",
    "/usr/share/perl5",
)
"""@INC as Debian's perl has it (Debian Perl Policy 3.1), without the version: a host has one."""


@dataclass(frozen=True, slots=True)
class Script:
    """interpreter: path behind ``#!``. program: name that env(1) is to look for, where it is the interpreter."""

    interpreter: str
    program: str = ""


def script(head: bytes) -> Script | None:
    """What the first :data:`LINE` bytes of a file ask for; None if it does not begin with ``#!``.

    The kernel hands on what follows the interpreter as one argument; ``env -S`` splits it."""
    if not head.startswith(b"#!"):
        return None
    line = head[2:LINE].partition(b"\n")[0].decode(errors="replace").strip(" \t\r")
    interpreter, _, argument = line.replace("\t", " ").partition(" ")
    if os.path.basename(interpreter) != "env":
        return Script(interpreter)
    argument = argument.strip()
    split = re.match(r"(-[a-zA-Z]*S|--split-string(=|(?= ))) *", argument)
    words = argument[split.end() :].split() if split else [argument]
    names = [word for word in words if not word.startswith("-") and "=" not in word]
    return Script(interpreter, names[0] if names else "")


def trees(path: str) -> list[str]:
    """Patterns of what belongs to the interpreter at ``path`` (no link in it), or to the library of an embedded one."""
    found = _PYTHON.fullmatch(path) or _LIBPYTHON.fullmatch(path)
    if found:
        prefix, version = found[1], found[2]
        names = (f"{prefix}/lib/{version}", f"{prefix}/lib/python3", f"/usr/local/lib/{version}", f"/etc/{version}")
        return list(dict.fromkeys(names))
    return list(_PERL_TREES) if _PERL.fullmatch(path) else []


def virtual_environment(tree: HostTree, path: str) -> list[str]:
    """The files of a virtual environment (PEP 405) that the interpreter at ``path``, a link, belongs to."""
    top = os.path.dirname(os.path.dirname(path))
    if not os.path.basename(path).startswith("python") or not tree.holds(f"{top}/pyvenv.cfg"):
        return []
    return [f"{top}/pyvenv.cfg", f"{top}/lib"]
