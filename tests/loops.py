"""File systems in files, mounted in a throw-away host: what a machine's own disk does not have."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from .host import Host


@contextlib.contextmanager
def device(image: Path, size: int, *make: str) -> Iterator[str]:
    """A loop device over a new file of ``size`` bytes, made a file system by the command ``make``."""
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run([*make, str(image)], check=True, capture_output=True)
    done = subprocess.run(["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True)
    name = done.stdout.strip()
    try:
        yield name
    finally:
        subprocess.run(["losetup", "--detach", name], check=True)  # with its last mount, if it still has one
        image.unlink()


def mount(host: Host, name: str, place: str, kind: str, *options: str) -> None:
    """Mount the device ``name`` of the machine inside. The mount goes with the host."""
    number = os.stat(name).st_rdev
    node = f"/dev/{os.path.basename(name)}"
    if not (host.root / node.lstrip("/")).exists():
        host.run(["/bin/mknod", node, "b", str(os.major(number)), str(os.minor(number))], check=True)
    host.run(["/bin/mkdir", "-p", place], check=True)
    host.run(["/bin/mount", "-t", kind, *options, node, place], check=True)


def bind(host: Host, pairs: Sequence[tuple[str, str]]) -> None:
    for source, place in pairs:
        host.run(["/bin/mkdir", "-p", source, place], check=True)
        host.run(["/bin/mount", "--bind", source, place], check=True)
