"""What an ELF file asks of the run-time loader, read from the file as the loader reads it; nothing is executed.

ldd(1) runs the program that it is asked about. Here pyelftools reads the program headers and the dynamic segment and
nothing else: a file without section headers loads, so it must be understood, too (elf(5), ld.so(8))."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from elftools.common.exceptions import ELFError
from elftools.common.utils import parse_cstring_from_stream, struct_parse
from elftools.elf.dynamic import Dynamic
from elftools.elf.elffile import ELFFile

MAGIC = b"\x7fELF"
_NODEFLIB = 0x800  # DF_1_NODEFLIB of DT_FLAGS_1 (elf.h)


class Damaged(Exception):
    """A file that begins as ELF and does not go on as such."""


@dataclass(frozen=True, slots=True)
class Object:
    """A program or library. machine: (32 or 64, little endian?, e_machine such as "EM_X86_64"), what must agree between
    a program and its libraries. interpreter: PT_INTERP or "". rpath, runpath: as they stand there, one string; the
    loader ignores an rpath beside a runpath, and so rpath is "" then. nodeflib: linked with -z nodefaultlib."""

    machine: tuple[int, bool, str]
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    rpath: str = ""
    runpath: str = ""
    soname: str = ""
    nodeflib: bool = False


def read(stream: BinaryIO) -> Object | None:
    """What ``stream``, a seekable file, needs; None if it is no ELF file. Raise :class:`Damaged`, OSError."""
    stream.seek(0)
    if stream.read(len(MAGIC)) != MAGIC:
        return None
    try:
        return _read(ELFFile(stream))
    except (ELFError, AssertionError, ArithmeticError, LookupError, TypeError, ValueError, MemoryError) as error:
        # pyelftools trusts offsets and sizes; what a broken one leads to is any of these
        raise Damaged(f"is a damaged ELF file: {error or type(error).__name__}") from None


def _read(file: ELFFile) -> Object:
    machine = (int(file.elfclass), bool(file.little_endian), str(file.header["e_machine"]))
    interpreter = ""
    dynamic: Dynamic | None = None
    for number in range(file.num_segments()):
        # not iter_segments(): its DynamicSegment reads all section headers to find the string table
        place = file["e_phoff"] + number * file["e_phentsize"]
        segment = struct_parse(file.structs.Elf_Phdr, file.stream, stream_pos=place)
        if segment["p_type"] == "PT_INTERP":
            interpreter = _text((parse_cstring_from_stream(file.stream, segment["p_offset"]) or b"").decode())
        elif segment["p_type"] == "PT_DYNAMIC":
            dynamic = Dynamic(file.stream, file, None, segment["p_offset"], segment["p_filesz"] == 0)
    if dynamic is None:
        return Object(machine, interpreter)
    texts: dict[str, list[str]] = {"DT_NEEDED": [], "DT_RPATH": [], "DT_RUNPATH": [], "DT_SONAME": []}
    flags = 0
    for tag in dynamic.iter_tags():
        kind = tag.entry.d_tag
        if kind in texts:
            texts[kind].append(_text(getattr(tag, kind[3:].lower())))
        elif kind == "DT_FLAGS_1":
            flags = tag.entry.d_val
    needed = tuple(texts.pop("DT_NEEDED"))
    rpath, runpath, soname = ("".join(found[-1:]) for found in texts.values())
    return Object(machine, interpreter, needed, "" if runpath else rpath, runpath, soname, bool(flags & _NODEFLIB))


def _text(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"name {text!r} in its dynamic segment")
    return text
