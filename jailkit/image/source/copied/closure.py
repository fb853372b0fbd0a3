"""What a set of programs needs to run, as paths of the host: libraries, interpreters, what the C library loads.

A path is added as the host has it: the links that it passes are links in the image, too, and what they lead to comes
along. Then each file that was added is examined, until nothing new turns up. Nothing is executed.

What somebody named, what that needs, and programs in a directory of PATH must be complete: else it is a problem. What
comes along with a package or a directory (plugins, examples, foreign objects) may ask for what the host has not: it
works no better there. Such a finding is a line of the log."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace

from . import elf, glibc, interpreters, ldcache, loader
from .elf import Object
from .hosttree import Found, HostTree, Refused
from .loader import Load, Loader

PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_DATA = ("/usr/share/doc/", "/usr/lib/debug/", "/usr/share/man/")
"""What is below is read, not run: examples, and debugging symbols, which look like programs with holes."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Why something is in the image. where: key of the template; name: what stands there; required: must be complete.
    """

    where: str
    name: str
    required: bool = True


class Closure:
    """files: mode by path; directories: mode by path; links: target by path. No path has a link in it.
    problems: (where in the template, sentence)."""

    def __init__(self, tree: HostTree, optional: list[str], log: Callable[[str], None]) -> None:
        """Raise Refused where ld.so.conf may be changed by others than root."""
        self.tree = tree
        self.loader = Loader(tree)
        self.files: dict[str, int] = {}
        self.directories: dict[str, int] = {}
        self.links: dict[str, str] = {}
        self.problems: list[tuple[str, str]] = []
        self._optional = optional
        self._log = log
        self._pending: list[tuple[str, Origin]] = []
        self._libraries: list[tuple[str, Object, Origin]] = []
        self._covered: set[str] = set()
        self._known: set[str] = set()
        self._walked: set[str] = set()
        self._c_libraries: set[str] = set()

    # -- adding

    def add(self, path: str, origin: Origin) -> Found | None:
        """A path with the links on its way, what it leads to, and later all that this needs. A directory comes without
        what is in it. None if that failed, which is noted."""
        try:
            found = self.tree.resolve(path)
            mode = stat.S_IFMT(found.status.st_mode)
            if mode not in (stat.S_IFREG, stat.S_IFDIR):
                raise Refused(f"leads to {found.path}, which is a device, a socket or a FIFO")
        except FileNotFoundError:
            self._not_added(origin, path, f"{path} is not on this host")
            return None
        except Refused as refused:
            self._not_added(origin, path, f"{path} {refused}")
            return None
        self._links(found.links)
        for directory in found.directories:
            self._directory(directory)
        if mode == stat.S_IFREG and found.path not in self.files:
            self._directory(os.path.dirname(found.path))
            self.files[found.path] = found.status.st_mode
            self._pending.append((found.path, origin))
        if found.links:
            self._along(interpreters.virtual_environment(self.tree, path), origin)
        return found

    def _not_added(self, origin: Origin, path: str, sentence: str) -> None:
        """Beside what somebody named, a link that leads to nothing, or to what no image holds, is kept as a link."""
        self.wrong(origin, path, sentence)
        if origin.required:
            return
        try:
            above = self.tree.resolve(os.path.dirname(path))
            place = f"{above.path.rstrip('/')}/{os.path.basename(path)}"
            if stat.S_ISLNK(self.tree.require(place).st_mode):
                self._links((*above.links, (place, self.tree.target(place))))
        except (FileNotFoundError, Refused):
            pass

    def _links(self, links: tuple[tuple[str, str], ...]) -> None:
        self.links.update(links)
        for path, _ in links:
            self._directory(os.path.dirname(path))

    def _along(self, patterns: list[str], origin: Origin) -> None:
        """What else belongs to something: of it, what is there."""
        origin = replace(origin, required=False)
        for pattern in patterns:
            try:
                names = self.tree.glob(pattern)
            except Refused as refused:
                self.wrong(origin, pattern, f"{pattern} {refused}")
                continue
            for name in names:
                self.add_tree(name, origin)

    def _directory(self, path: str) -> None:
        while path not in ("", "/") and path not in self.directories:
            status = self.tree.status(path)
            self.directories[path] = status.st_mode if status is not None else 0o755
            path = os.path.dirname(path)

    def add_tree(self, path: str, origin: Origin) -> None:
        """A file, or a directory with all that is in it and that everybody may read; links in it likewise."""
        found = self.add(path, origin)
        if found is not None and stat.S_ISDIR(found.status.st_mode):
            self._walk(found.path, replace(origin, required=False))

    def _walk(self, top: str, origin: Origin) -> None:
        stack = [top]
        while stack:
            directory = stack.pop()
            if directory in self._walked:
                continue
            self._walked.add(directory)
            try:
                names = self.tree.names(directory)
            except Refused as refused:
                self.wrong(origin, directory, f"{directory} {refused}")
                continue
            for name in names:
                found = self.add(f"{directory}/{name}", origin)
                if found is not None and stat.S_ISDIR(found.status.st_mode) and not self._broad(found):
                    stack.append(found.path)

    def _broad(self, found: Found) -> bool:
        """Whether a link leads to a directory of the whole system, such as /usr/lib: the link comes, not all that."""
        return bool(found.links) and (found.path.count("/") < 3 or found.path.endswith("-linux-gnu"))

    def add_package(self, paths: list[str], origin: Origin) -> None:
        """All of a package's list that is there: dpkg(1) can be told to leave documentation out, and configuration may
        have been deleted. A link to a directory comes with what is in that."""
        origin = replace(origin, required=False)
        gone = 0
        for path in paths:
            if not self.tree.holds(path):
                gone += 1
                continue
            found = self.add(path, origin)
            if found is None or not stat.S_ISDIR(found.status.st_mode):
                continue
            if self.tree.is_link(path) and not self._broad(found):
                self._walk(found.path, origin)
        if gone:
            self._log(f"{origin.where}: {origin.name}: {gone} of its {len(paths)} files are not on this host")

    def has(self, path: str) -> bool:
        """Whether what ``path`` leads to was added."""
        return self.tree.leads_to_file(path) and self.tree.resolve(path).path in self.files

    def add_program(self, name: str, origin: Origin) -> None:
        """A program by absolute path, or looked for in root's PATH."""
        path: str | None = name
        if not name.startswith("/"):
            path = self._which(name, origin)
        if path is None:
            return
        found = self.add(path, origin)
        if found is not None and not (stat.S_ISREG(found.status.st_mode) and found.status.st_mode & 0o111):
            self.wrong(origin, path, f"{path} is no program: it is no file that may be executed")

    def _which(self, name: str, origin: Origin) -> str | None:
        why = ""
        for directory in PATH:
            try:
                found = self.tree.resolve(f"{directory}/{name}")
            except FileNotFoundError:
                continue
            except Refused as refused:
                why = why or f": {directory}/{name} {refused}"
                continue
            if stat.S_ISREG(found.status.st_mode) and found.status.st_mode & 0o111:
                return f"{directory}/{name}"
        self.wrong(origin, name, f"{name} is in no directory of PATH{why}")
        return None

    # -- what goes wrong

    def wrong(self, origin: Origin, path: str, sentence: str, library: str = "") -> None:
        sentence = sentence if origin.name in sentence else f"{origin.name}: {sentence}"
        if not sentence.isprintable():  # a name on the disk may have any byte, and this goes to a terminal
            sentence = ascii(sentence)[1:-1]
        names = (origin.name, path, library)
        optional = any(fnmatch.fnmatchcase(name, pattern) for name in names if name for pattern in self._optional)
        if origin.required and not optional:
            if (origin.where, sentence) not in self.problems:
                self.problems.append((origin.where, sentence))
        else:
            self._log(f"{origin.where}: {sentence}")

    # -- what files need

    def finish(self) -> None:
        """Examine all that was added, and what that adds."""
        while self._pending or self._libraries:
            while self._pending:
                self._examine(*self._pending.pop())
            # libraries only now: whoever loads one may bring what it needs along
            libraries, self._libraries = self._libraries, []
            for path, found, origin in libraries:
                if path not in self._covered:
                    self._needs(path, found, origin)

    def _examine(self, path: str, origin: Origin) -> None:
        executable = bool(self.files[path] & 0o111)
        if path.startswith(_DATA) or not (executable or ".so" in os.path.basename(path) or origin.required):
            return
        if executable and os.path.dirname(path) in PATH:
            origin = replace(origin, required=True)
        trees = interpreters.trees(path)
        if trees:
            self._log(f"{origin.where}: {path} comes with its modules, for {origin.name}")
            self._along(trees, origin)
        try:
            found = self.loader.object(path)
        except elf.Damaged as damaged:
            self.wrong(origin, path, f"{path} {damaged}")
            return
        if found is None and executable:
            self._script(path, origin)
        elif found is not None and found.interpreter:
            self._needs(path, found, origin)
        elif found is not None:
            self._libraries.append((path, found, origin))
            beside = f"{os.path.dirname(path)}/{found.soname}"
            if origin.where == "copy.extra" and found.soname and self.tree.leads_to_file(beside):
                self.add(beside, origin)  # dlopen(3) asks for libx.so.1, the administrator named libx.so.1.2

    def _script(self, path: str, origin: Origin) -> None:
        with self.tree.open(path) as file:
            script = interpreters.script(file.read(interpreters.LINE))
        if script is None:
            return
        asking = replace(origin, name=path) if not origin.required else origin
        if not script.interpreter.startswith("/"):
            self.wrong(asking, path, f"{path} has an interpreter without an absolute path: {script.interpreter!r}")
            return
        if self.add(script.interpreter, asking) is not None and script.program:
            self.add_program(script.program, asking)

    def _needs(self, path: str, wanted: Object, origin: Origin) -> None:
        load = self.loader.load(path, wanted)
        for name, by, why in load.missing:
            if not wanted.interpreter and name in self._known:
                continue  # a plugin: the program that loads it has it loaded already
            reason = f" ({why})" if why else ""
            asks = path if by == path else f"{path}: {by}"
            self.wrong(origin, path, f"{asks} needs {name}, which the loader would not find{reason}", name)
        self._known.update(load.files)
        for opened in (*(item.path for item in load.files.values()), *load.variants):
            found = self.add(opened, origin)
            if found is not None:
                self._covered.add(found.path)
        self._c_library(load, wanted, origin)

    # -- what the C library needs

    def _c_library(self, load: Load, wanted: Object, origin: Origin) -> None:
        if os.path.basename(wanted.interpreter).startswith("ld-musl-"):
            self._along([loader.musl_path_file(wanted.interpreter)], origin)
        libc = load.files.get("libc.so.6")
        if libc is None:
            return
        path = self.tree.resolve(libc.path).path
        if path in self._c_libraries:
            return
        if not self._c_libraries:
            self._along([*glibc.locales(self.tree), *self.loader.configuration], origin)
        self._c_libraries.add(path)
        self._along(glibc.companions(path), origin)

    def ld_so_cache(self) -> bytes:
        """The image's /etc/ld.so.cache, b"" if none is needed (see ldcache.py)."""
        found: dict[tuple[str, tuple[int, bool, str]], str] = {}
        for directory in self.loader.configured:
            for path in self._libraries_in(directory):
                library = self.loader.object(self.tree.resolve(path).path)
                if library is not None and self.loader.configured_path(os.path.basename(path), library.machine) == path:
                    found[os.path.basename(path), library.machine] = path
                    self._links(self.tree.resolve(path).links)
        unknown = sorted({machine[2] for _, machine in found if not ldcache.knows(machine)})
        if unknown:
            sentence = f"libraries for {', '.join(unknown)} in a directory of ld.so.conf: no ld.so.cache can be written"
            self.problems.append(("copy", sentence))
            return b""
        return ldcache.cache(found) if found else b""

    def _libraries_in(self, directory: str) -> list[str]:
        """Names in the image that the loader would look up there."""
        real = self.loader.real(directory)
        names = {path for path in (*self.files, *self.links) if os.path.dirname(path) == real}
        found = [f"{directory}/{os.path.basename(path)}" for path in sorted(names) if ".so" in os.path.basename(path)]
        return [path for path in found if self.tree.leads_to_file(path)]
