"""An /etc/ld.so.cache of an image's own, for the libraries that lie in no default directory.

The loader of glibc does not read ld.so.conf: ldconfig(8) does, and writes what it finds into this cache. The host's
cache names what the image has not, and its order is that of the host's packages; to run ldconfig would be to execute.
A link in a default directory instead would not do: it changes what $ORIGIN means, and it cannot stand where the
default directory has a library of that name. So the cache is written here, with an entry for each library that the
host's loader finds through it alone, and none where an image has no such library: default directories are searched
without it.

The format is the one that every glibc since 2.2 reads (glibc, sysdeps/generic/dl-cache.h: struct cache_file_new and
file_entry_new); a test has ldconfig read it, and the loader."""

from __future__ import annotations

import re
import struct

_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = "20sIIB3xI12x"
_ENTRY = "iIIIQ"
_FLAGS = {
    (64, True, "EM_X86_64"): 0x0303,
    (32, True, "EM_X86_64"): 0x0803,
    (32, True, "EM_386"): 0x0003,
    (64, True, "EM_AARCH64"): 0x0A03,
    (32, True, "EM_ARM"): 0x0903,
    (64, True, "EM_PPC64"): 0x0503,
    (64, True, "EM_RISCV"): 0x1003,
    (64, True, "EM_LOONGARCH"): 0x1203,
    (64, False, "EM_S390"): 0x0403,
}
"""FLAG_ELF_LIBC6 and the machine's own bits (glibc, sysdeps/generic/ldconfig.h)."""


def knows(machine: tuple[int, bool, str]) -> bool:
    return machine in _FLAGS


def cache(libraries: dict[tuple[str, tuple[int, bool, str]], str]) -> bytes:
    """The file's bytes. libraries: path by (name that is asked for, machine); all of one byte order."""
    little = all(machine[1] for _, machine in libraries)
    order = "<" if little else ">"
    rows = sorted(libraries.items(), key=lambda row: (rank(row[0][0]), _FLAGS[row[0][1]]), reverse=True)
    start = struct.calcsize(order + _HEADER) + len(rows) * struct.calcsize(order + _ENTRY)
    entries, strings = b"", b""
    for (name, machine), path in rows:
        key = start + len(strings)
        strings += name.encode() + b"\0"
        entries += struct.pack(order + _ENTRY, _FLAGS[machine], key, start + len(strings), 0, 0)
        strings += path.encode() + b"\0"
    header = struct.pack(order + _HEADER, _MAGIC, len(rows), len(strings), 2 if little else 3, 0)
    return header + entries + strings


def rank(name: str) -> list[tuple[int, int]]:
    """A key that sorts as the loader's binary search expects, which is descending: digits count as one number and come
    after all else, a name that ends before one that goes on (glibc, elf/dl-cache.c, _dl_cache_libcmp)."""
    parts: list[tuple[int, int]] = []
    for number, text in re.findall(r"([0-9]+)|([^0-9])", name):
        parts += [(2, int(number))] if number else [(1, byte) for byte in text.encode()]
    return parts
