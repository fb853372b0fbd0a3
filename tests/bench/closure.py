"""What it costs to find out what programs need, beside lddtree(1) over the same programs, in one run.

    /var/tmp/jailkit-tests/venv/bin/python -m tests.bench.closure [--rounds 5] [--json]

The programs: bash, git, python3 and all of coreutils. lddtree is timed as the command, and as the function alone inside
one process (its imports not counted); ours likewise: libraries alone, and all that the copy source brings, without and
with the reading of contents. Times are of the processor; read the ratios.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from jailkit.image.source import Build, copy
from jailkit.image.source.copied.hosttree import HostTree
from jailkit.image.source.copied.loader import Loader
from jailkit.image.source.copied.packages import Database
from jailkit.paths import Paths
from jailkit.spec.source import CopySource
from tests.unit.image.source.copied.fakehost import template

SPEC: dict[str, Any] = {"programs": ["bash", "git", "python3"], "packages": ["coreutils"]}
PYTHON = ["/usr/bin/python3", "-I"]  # the one that has Debian's pyelftools
SCRIPT = Path(__file__).resolve().parents[1] / "unit/image/source/copied/lddtree_json.py"


def programs() -> list[str]:
    """The same for both: dynamic ELF programs, by their real paths."""
    with HostTree("/") as tree:
        loader = Loader(tree)
        named = [f"/usr/bin/{name}" for name in SPEC["programs"]] + (Database(tree).files("coreutils") or [])
        real = {tree.resolve(name).path for name in named if tree.leads_to_file(name)}
        objects = {path: loader.object(path) for path in real if os.access(path, os.X_OK)}
        return sorted(path for path, found in objects.items() if found is not None and found.interpreter)


def libraries(paths: list[str]) -> set[str]:
    found = set(paths)
    with HostTree("/") as tree:
        loader = Loader(tree)
        for path in paths:
            wanted = loader.object(path)
            assert wanted is not None
            found |= {tree.resolve(item.path).path for item in loader.load(path, wanted).files.values()}
    return found


def everything() -> set[str]:
    with HostTree("/") as tree:
        return set(copy.collect(tree, CopySource(**SPEC), lambda line: None).files)


class Digested:
    """Contents that are read and not kept: what the store's disk costs is another question."""

    def add(self, source: BinaryIO, executable: bool, private: bool) -> tuple[str, int]:
        digest = hashlib.sha256()
        while data := source.read(1 << 20):
            digest.update(data)
        return digest.hexdigest(), source.tell()


def built() -> None:
    list(copy.rows(Build(Paths(), template(**SPEC), "/", Digested(), "/nonexistent")))


def spent() -> float:
    """Seconds of processor time, children's too: less at the mercy of what else runs here than a clock."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    paths = programs()
    seconds: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        begin = spent()
        result = call()
        seconds.setdefault(name, []).append(spent() - begin)
        return result

    for _ in range(args.rounds):
        timed("lddtree, the command", lambda: subprocess.check_output([*PYTHON, "/usr/bin/lddtree", "-l", *paths]))
        theirs = json.loads(subprocess.check_output([*PYTHON, str(SCRIPT), *paths]))
        seconds.setdefault("lddtree, the function", []).append(theirs["seconds"])
        ours = timed("libraries", lambda: libraries(paths))
        full = timed("all that the copy source brings", everything)
        timed("the same, contents digested", built)
        timed("inputs", lambda: copy.inputs(template(**SPEC), "/", "/"))
    found = {path for row in theirs["programs"].values() for path in row.values()} | set(paths)
    report = {
        "programs": len(paths),
        "same files": found == ours,
        "megabytes": {name: sum(map(os.path.getsize, files)) / 1e6
                      for name, files in (("lddtree", found), ("libraries", ours), ("everything", full))},
        "files": {"lddtree": len(found), "libraries": len(ours), "everything": len(full)},
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
    }  # fmt: skip
    if args.json:
        print(json.dumps(report))
        return
    for key, value in report.items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
