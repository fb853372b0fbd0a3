"""What the C library loads by itself at run time, and so stands in no ELF file: name service modules, character sets,
locales, and the unwinder that ends a thread."""

from __future__ import annotations

import os
import re

from .hosttree import HostTree

_MODULES = ("libnss_files.so.2", "libnss_dns.so.2", "libnss_compat.so.2", "libgcc_s.so.1")
"""Those of nsswitch.conf(5) that ask nobody but files and DNS; pthread_exit(3) opens the last. libnss_resolve and
others that ask a daemon of the host are for ``extra``."""


def companions(library: str) -> list[str]:
    """Paths that belong to the libc.so.6 at ``library``: modules beside it, and the directory of iconv(3)'s modules
    with gconv-modules, their cache, and the libraries that only they need."""
    top = os.path.dirname(library)
    return [*(f"{top}/{name}" for name in _MODULES), f"{top}/gconv"]


def locales(tree: HostTree) -> list[str]:
    """C.UTF-8, and what the host's own configuration names (locale.conf(5), Debian's /etc/default/locale): a directory
    each, or the archive of all where it is only there. Raise Refused."""
    found = tree.glob("/usr/lib/locale/C.utf8") or tree.glob("/usr/lib/locale/C.UTF-8")
    for name in _wanted(tree.text("/etc/default/locale") + "\n" + tree.text("/etc/locale.conf")):
        found += tree.glob(f"/usr/lib/locale/{name}") or tree.glob("/usr/lib/locale/locale-archive")
    return list(dict.fromkeys(found))


def _wanted(text: str) -> list[str]:
    """Directory names, as localedef(1) makes them: en_US.utf8 for en_US.UTF-8. C and POSIX are built in."""
    values = re.findall(r"^\s*(?:LANG|LC_[A-Z]+)=[\"']?([A-Za-z0-9._@-]+)[\"']?\s*$", text, re.MULTILINE)
    names = []
    for value in dict.fromkeys(values):
        stem, dot, rest = value.partition(".")
        charset, at, modifier = rest.partition("@")
        if value not in ("C", "POSIX"):
            names.append(stem + dot + re.sub("[^a-z0-9]", "", charset.lower()) + at + modifier)
    return names
