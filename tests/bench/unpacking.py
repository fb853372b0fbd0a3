"""What it costs to unpack a root without trusting it, beside ``tar -x`` as root, in one run.

    sudo /var/tmp/jailkit-tests/venv/bin/python -m tests.bench.unpacking [TAR] [--count 3] [--json]

TAR: by default the Debian root that the tests keep below /var/tmp/jailkit-tests. Each round does both, on the same
disk: tar writes the files; jailkit reads the archive in its confined process, hashes each file and writes it to a
content store. Neither waits for the disk (tar never does; the store does once, when an image is published). Read the
ratio."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from jailkit.image import contents, store
from jailkit.image.foreign import tarball, unpack
from jailkit.paths import Paths


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def plainly(archive: Path, place: Path) -> None:
    (place / "plain").mkdir()
    subprocess.run(["/bin/tar", "-C", str(place / "plain"), "-xf", str(archive)], check=True)


def safely(archive: Path, place: Path) -> int:
    paths = Paths(str(place))
    store.ready(paths)
    (place / "scratch").mkdir()
    kept = contents.Store(paths, str(place / "scratch"))
    fd = os.open(archive, os.O_RDONLY)
    try:
        return len(unpack.rows(fd, kept, str(place), tarball.Limits(), archive.name, lambda line: None))
    finally:
        os.close(fd)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tar", nargs="?", type=Path)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    archive = args.tar or next(iter(sorted(Path("/var/tmp/jailkit-tests").glob("debian-*.tar"))), None)
    if archive is None:
        parser.error("no TAR, and no root of the tests: run tests/run tests/unit/image/test_debian.py first")
    times: dict[str, list[float]] = {"tar -x": [], "jailkit": []}
    ways: dict[str, Callable[[Path, Path], object]] = {"tar -x": plainly, "jailkit": safely}
    for _ in range(args.count):
        for way, work in ways.items():
            place = Path(tempfile.mkdtemp(prefix="jailkit-bench-", dir="/var/lib"))
            try:
                times[way].append(timed(lambda work=work, place=place: work(archive, place)))  # type: ignore[misc]
            finally:
                shutil.rmtree(place)
    names = int(subprocess.run(["/bin/sh", "-c", f"tar -tf {archive} | wc -l"], capture_output=True, check=True).stdout)
    found = {way: statistics.median(values) for way, values in times.items()}
    report = {"bytes": archive.stat().st_size, "names": names, "seconds": found,
              "ratio": found["jailkit"] / found["tar -x"]}  # fmt: skip
    if args.json:
        print(json.dumps(report))
        return
    print(f"{archive.name}: {names} names, {report['bytes']} bytes, median of {args.count}")
    for way, seconds in found.items():
        print(f"  {way:8} {seconds:6.2f} s")
    print(f"  ratio    {report['ratio']:6.2f}")


if __name__ == "__main__":
    main()
