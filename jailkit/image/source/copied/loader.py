"""Which files the run-time loader would load for a program: the search of ld.so(8), on files alone.

glibc's: the DT_RPATH of who asks and of who asked for that one, up to the program; the DT_RUNPATH of who asks; what
ldconfig(8) found in the directories of ld.so.conf, in their order; the default directories. In each directory the
subdirectories glibc-hwcaps/* come first; which one is up to the CPU that runs it, so an image has all of them. A name
that is loaded already is not searched again. musl's: rpath and runpath alike, then its own list.

Left out: LD_LIBRARY_PATH; DT_AUXILIARY, DT_AUDIT and the subdirectories tls/ and haswell/ of glibc before 2.37, as no
Debian package uses them; elements of a path that are relative to the directory a program is started in."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import elf
from .elf import Object
from .hosttree import HostTree, Refused

_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM))")
_PLATFORMS = {"EM_X86_64": ("haswell", "xeon_phi", "x86_64"), "EM_386": ("i686", "i586", "i486", "i386")}
_TRIPLETS = {
    (64, True, "EM_X86_64"): "x86_64-linux-gnu",
    (32, True, "EM_X86_64"): "x86_64-linux-gnux32",
    (32, True, "EM_386"): "i386-linux-gnu",
    (64, True, "EM_AARCH64"): "aarch64-linux-gnu",
    (32, True, "EM_ARM"): "arm-linux-gnueabihf",
    (64, True, "EM_PPC64"): "powerpc64le-linux-gnu",
    (64, True, "EM_RISCV"): "riscv64-linux-gnu",
    (64, True, "EM_LOONGARCH"): "loongarch64-linux-gnu",
    (64, False, "EM_S390"): "s390x-linux-gnu",
}
_MUSL_OWN = ("libc.", "libpthread.", "librt.", "libm.", "libdl.", "libutil.", "libxnet.")  # musl, ldso/dynlink.c


@dataclass(eq=False)
class Loaded:
    """path: as the loader opens it, which $ORIGIN is taken from. by: who asked for it."""

    path: str
    object: Object
    by: Loaded | None = None


@dataclass
class Load:
    """What loading one program brings: files by the name that was asked for, further ones for other CPUs, and what was
    not found: (name, path of who asks, why)."""

    files: dict[str, Loaded] = field(default_factory=dict)
    variants: list[str] = field(default_factory=list)
    missing: list[tuple[str, str, str]] = field(default_factory=list)


class Loader:
    def __init__(self, tree: HostTree) -> None:
        self.tree = tree
        self.configured, self.configuration = ld_so_conf(tree)
        self._objects: dict[str, Object | None] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self._fits: dict[tuple[str, tuple[int, bool, str]], Object | None] = {}
        self._refused: dict[str, str] = {}

    def object(self, path: str) -> Object | None:
        """The ELF object at ``path`` (no link in it), None for anything else. Raise Damaged, Refused, OSError."""
        if path not in self._objects:
            with self.tree.open(path) as file:
                self._objects[path] = elf.read(file)
        return self._objects[path]

    def load(self, path: str, wanted: Object) -> Load:
        """All that the loader would map for the program or library at ``path``, breadth first as it does."""
        load = Load()
        queue = [Loaded(path, wanted)]
        own = queue[0]
        if wanted.interpreter:
            own = self._interpreter(wanted, load, queue[0])
        musl = os.path.basename(wanted.interpreter).startswith("ld-musl-")
        for item in queue:
            for name in item.object.needed:
                if name in load.files:
                    continue
                if musl and name.startswith(_MUSL_OWN):
                    load.files[name] = own
                    continue
                hits = self._find(name, item, wanted.machine, wanted.interpreter if musl else "")
                if not hits:
                    load.missing.append((name, item.path, self._refused.get(name, "")))
                    continue
                loaded = [Loaded(hit, found, item) for hit, found in hits]
                load.files[name] = loaded[0]
                load.files.setdefault(loaded[0].object.soname or name, loaded[0])
                load.variants += [other.path for other in loaded[1:]]
                queue += loaded
        return load

    def _interpreter(self, wanted: Object, load: Load, program: Loaded) -> Loaded:
        found = self._fit(wanted.interpreter, wanted.machine)
        name = os.path.basename(wanted.interpreter)
        if found is None:
            load.missing.append((wanted.interpreter, program.path, self._refused.get(name, "")))
            return program
        loaded = Loaded(wanted.interpreter, found, program)
        load.files[name] = loaded
        load.files.setdefault(found.soname or name, loaded)
        return loaded

    def _find(self, name: str, item: Loaded, machine: tuple[int, bool, str], musl: str) -> list[tuple[str, Object]]:
        if "/" in name:
            texts = _expand(name, item.path, machine)
            groups: Iterator[tuple[str, ...]] = iter([tuple(text for text in texts if text.startswith("/"))])
            return self._first(groups, "", machine)
        search = self._musl(item, musl) if musl else self._glibc(item, machine)
        return self._first(search, f"/{name}", machine)

    def _first(
        self, groups: Iterator[tuple[str, ...]], name: str, machine: tuple[int, bool, str]
    ) -> list[tuple[str, Object]]:
        for group in groups:
            hits = []
            for directory in group:
                found = self._fit(directory + name, machine)
                if found is not None:
                    hits.append((directory + name, found))
            if hits:
                return hits
        return []

    def _glibc(self, item: Loaded, machine: tuple[int, bool, str]) -> Iterator[tuple[str, ...]]:
        asking: Loaded | None = item if not item.object.runpath else None
        while asking is not None:
            yield from self._path(asking.object.rpath, asking.path, machine)
            asking = asking.by
        yield from self._path(item.object.runpath, item.path, machine)
        defaults = default_directories(machine)
        for directory in self.configured:
            if not (item.object.nodeflib and self.is_default(directory, machine)):
                yield self._group(directory)
        if not item.object.nodeflib:
            yield from map(self._group, defaults)

    def _musl(self, item: Loaded, interpreter: str) -> Iterator[tuple[str, ...]]:
        asking: Loaded | None = item
        while asking is not None:
            yield from self._path(asking.object.runpath or asking.object.rpath, asking.path, asking.object.machine)
            asking = asking.by
        yield from ((directory,) for directory in musl_directories(self.tree, interpreter))

    def configured_path(self, name: str, machine: tuple[int, bool, str]) -> str:
        """Where ldconfig's cache says ``name`` is, "" if that is a default directory or nowhere: the first one wins."""
        for directory in self.configured:
            if self._fit(f"{directory}/{name}", machine) is not None:
                return "" if self.is_default(directory, machine) else f"{directory}/{name}"
        return ""

    def is_default(self, directory: str, machine: tuple[int, bool, str]) -> bool:
        """Whether the loader looks there without being told: a link to one of them, such as /lib, is meant, too."""
        return self.real(directory) in {self.real(path) for path in default_directories(machine)}

    def real(self, directory: str) -> str:
        """``directory`` without links in it; itself where nothing is there."""
        try:
            return self.tree.resolve(directory).path
        except (FileNotFoundError, Refused):
            return directory

    def _path(self, text: str, origin: str, machine: tuple[int, bool, str]) -> Iterator[tuple[str, ...]]:
        for element in text.split(":") if text else ():
            yield tuple(
                directory
                for expanded in _expand(element, origin, machine)
                if expanded.startswith("/")
                for directory in self._group(expanded.rstrip("/"))
            )

    def _group(self, directory: str) -> tuple[str, ...]:
        """The directory and its subdirectories for certain CPUs; () if there is none that may be used."""
        if directory not in self._groups:
            found = [directory]
            try:
                self.tree.resolve(directory)
                names = self.tree.names(self.tree.resolve(f"{directory}/glibc-hwcaps").path)
                found += [f"{directory}/glibc-hwcaps/{name}" for name in names]
            except Refused as refused:
                self._refused[directory] = str(refused)
            except OSError:  # none there, or no directory
                pass
            self._groups[directory] = tuple(found)
        return self._groups[directory]

    def _fit(self, path: str, machine: tuple[int, bool, str]) -> Object | None:
        """What is at ``path`` if a program for ``machine`` can load it; the loader goes on looking where not."""
        key = (path, machine)
        if key not in self._fits:
            self._fits[key] = None
            try:
                found = self.tree.resolve(path)
                wanted = self.object(found.path) if stat.S_ISREG(found.status.st_mode) else None
                if wanted is not None and wanted.machine == machine:
                    self._fits[key] = wanted
            except Refused as refused:
                self._refused[os.path.basename(path)] = str(refused)
            except elf.Damaged as damaged:
                self._refused[os.path.basename(path)] = f"{path} {damaged}"
            except FileNotFoundError:
                pass
        return self._fits[key]


def default_directories(machine: tuple[int, bool, str]) -> list[str]:
    """What Debian's ld.so has compiled in (``ld.so --help``, "system search path")."""
    triplet = _TRIPLETS.get(machine)
    return ([f"/lib/{triplet}", f"/usr/lib/{triplet}"] if triplet else []) + ["/lib", "/usr/lib"]


def musl_directories(tree: HostTree, interpreter: str) -> list[str]:
    """/etc/ld-musl-ARCH.path beside the loader's directory, else what is compiled in (musl, ldso/dynlink.c)."""
    text = tree.text(musl_path_file(interpreter)) or "/lib:/usr/local/lib:/usr/lib"
    return [part for part in re.split(r"[:\n]", text) if part.startswith("/")]


def musl_path_file(interpreter: str) -> str:
    return f"/etc/{os.path.basename(interpreter).removesuffix('.so.1')}.path"


def _expand(text: str, origin: str, machine: tuple[int, bool, str]) -> list[str]:
    """``text`` with its $ORIGIN, $LIB and $PLATFORM; the last is one of several, which depends on the CPU."""
    platforms = _PLATFORMS.get(machine[2], (machine[2].removeprefix("EM_").lower(),))
    if not re.search(r"\$\{?PLATFORM", text):
        platforms = platforms[:1]
    fixed = {"ORIGIN": os.path.dirname(origin), "LIB": f"lib/{_TRIPLETS.get(machine, '')}"}
    return [_fill(text, {**fixed, "PLATFORM": platform}) for platform in platforms]


def _fill(text: str, values: dict[str, str]) -> str:
    return _TOKEN.sub(lambda match: values[match[1] or match[2]], text)


def ld_so_conf(
    tree: HostTree, path: str = "/etc/ld.so.conf", above: tuple[str, ...] = ()
) -> tuple[list[str], list[str]]:
    """Directories that ldconfig(8) looks into, in order, and the files that name them; ``above``: those that include
    ``path``, which it does not read again. Raise Refused."""
    directories: list[str] = []
    files = [path]
    for line in tree.text(path).splitlines():
        words = line.partition("#")[0].split()
        if words and words[0] == "include":
            for pattern in words[1:]:
                absolute = pattern if pattern.startswith("/") else f"{os.path.dirname(path)}/{pattern}"
                for found in tree.glob(absolute):
                    inner = ld_so_conf(tree, found, (*above, path)) if found not in (*above, path) else ([], [])
                    directories += inner[0]
                    files += inner[1]
        elif words and words[0].startswith("/"):
            directories.append(words[0].partition("=")[0].rstrip("/") or "/")
    return list(dict.fromkeys(directories)), files
