"""A small host in a directory, for the copy source: gcc's programs, planted files; and an image of it to run them in.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from jailkit.image.layer import Row, merge
from jailkit.image.source import Build, copy
from jailkit.image.source.copied.closure import Closure
from jailkit.image.source.copied.hosttree import HostTree
from jailkit.paths import Paths
from jailkit.spec.source import CopySource
from jailkit.spec.template import TemplateSpec

LIB = "/usr/lib/x86_64-linux-gnu"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_ENTER = """set -e
root=$1; shift
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot --userspec=65534:65534 "$root" "$@"
"""


class Kept:
    """Contents in a directory, by digest."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(exist_ok=True)

    def add(self, source: BinaryIO, executable: bool, private: bool) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        new = self.directory / "new"
        with new.open("wb") as output:
            while data := source.read(1 << 20):
                digest.update(data)
                size += output.write(data)
        new.rename(self.directory / digest.hexdigest())
        return digest.hexdigest(), size


class FakeHost:
    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("usr/bin", "usr/sbin", "usr/lib64", f"{LIB[1:]}", "etc", "var/lib/dpkg/info"):
            (root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        for name in ("libc.so.6", "ld-linux-x86-64.so.2"):
            shutil.copy(f"{LIB}/{name}", f"{root}{LIB}/{name}")
        self.link("/usr/lib64/ld-linux-x86-64.so.2", f"{LIB}/ld-linux-x86-64.so.2")
        self.lines: list[str] = []

    def path(self, path: str) -> Path:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def file(self, path: str, text: str = "x\n", mode: int = 0o644) -> Path:
        place = self.path(path)
        place.write_text(text)
        place.chmod(mode)
        return place

    def link(self, path: str, target: str) -> Path:
        place = self.path(path)
        place.symlink_to(target)
        return place

    def library(
        self, path: str, number: int = 0, *, calls: str = "", needs: Iterable[str] = (), flags: str = ""
    ) -> Path:
        """One that defines a function by its name up to the dot, which returns ``number``, or what ``calls`` does."""
        name = path.rpartition("/")[2]
        function = re.sub("^[0-9]|[^a-zA-Z0-9]", "_", name.partition(".")[0].removeprefix("lib") or "_")
        body = f"int {calls}(void); int {function}(void) {{ return {calls}() + {number}; }}" if calls else ""
        self._gcc(path, body or f"int {function}(void) {{ return {number}; }}", needs,
                  f"-shared -nostdlib -fPIC -Wl,-soname,{name} {flags}")  # fmt: skip
        return self.path(path)

    def program(self, path: str, *, calls: str = "", needs: Iterable[str] = (), flags: str = "") -> Path:
        """One that exits with what the function ``calls`` returns."""
        body = f"int {calls}(void); int main(void) {{ return {calls}(); }}" if calls else "int main(void) { return 0; }"
        self._gcc(path, body, needs, flags)
        return self.path(path)

    def _gcc(self, path: str, body: str, needs: Iterable[str], flags: str) -> None:
        libraries = [str(self.root / need.lstrip("/")) for need in needs]
        argv = ["gcc", "-x", "c", "-", "-x", "none", "-o", str(self.path(path)), *flags.split(), *libraries]
        done = subprocess.run([*argv, "-Wl,--allow-shlib-undefined"], input=body, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        self.path(path).chmod(0o755)

    def package(self, name: str, files: Iterable[str], stem: str = "", version: str = "1") -> None:
        """An installed one; ``stem``: of its list, "name:arch" for one that may be there for several architectures."""
        listed = {"/."}
        for file in files:
            parts = file.split("/")
            listed |= {"/".join(parts[:count]) for count in range(2, len(parts) + 1)}
        self.file(f"/var/lib/dpkg/info/{stem or name}.list", "".join(f"{line}\n" for line in sorted(listed)))
        status = self.path("/var/lib/dpkg/status")
        text = f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"
        self.file("/var/lib/dpkg/status", (status.read_text() if status.exists() else "") + text)

    def collect(self, **spec: Any) -> Closure:
        with HostTree(str(self.root)) as tree:
            closure = copy.collect(tree, CopySource(**spec), self.lines.append)
            self.cache = closure.ld_so_cache()
            return closure

    def problems(self, **spec: Any) -> list[tuple[str, str]]:
        return self.collect(**spec).problems

    def inputs(self, **spec: Any) -> Any:
        return copy.inputs(template(**spec), "/", str(self.root))

    def image(self, top: Path, **spec: Any) -> Image:
        return Image(top, str(self.root), **spec)


def template(**spec: Any) -> TemplateSpec:
    return TemplateSpec.model_validate({"name": "test", "description": "x", "source": "copy", "copy": spec})


class Image:
    """The rows of a copy source, and ``root``: a directory made of them."""

    def __init__(self, top: Path, host_root: str = "/", **spec: Any) -> None:
        top.mkdir(exist_ok=True)
        self.contents = Kept(top / "contents")
        self.lines: list[str] = []
        scratch = top / "scratch"
        scratch.mkdir(mode=0o700, exist_ok=True)
        build = Build(Paths(), template(**spec), "/", self.contents, str(scratch), host_root, self.lines.append)
        self.rows = {row.path: row for row in merge([list(copy.rows(build))])}
        self.root = top / "root"
        for name in ("root/proc", "root/dev"):
            (top / name).mkdir(parents=True)
        for row in self.rows.values():
            self._place(row)

    def _place(self, row: Row) -> None:
        place = self.root / row.path.lstrip("/")
        if row.kind == "directory":
            place.mkdir(exist_ok=True)
            place.chmod(row.mode)
        elif row.kind == "link":
            place.symlink_to(row.target)
        else:
            shutil.copyfile(self.contents.directory / row.sha256, place)
            place.chmod(row.mode)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the image as nobody, with the image as its whole world, but for /proc (the loader reads
        $ORIGIN there) and /dev."""
        command = ["unshare", "--mount", "sh", "-c", _ENTER, "sh", str(self.root), *argv]
        return subprocess.run(command, env={"PATH": _PATH}, capture_output=True, text=True, timeout=60)
