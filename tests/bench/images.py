"""What images cost: building one, one more user of it, and an update of ten thousand jails; beside Jailkit's jk_init
and jk_jailuser on the same programs, in one run.

    sudo /var/tmp/jailkit-tests/venv/bin/python -m tests.bench.images [--users 20] [--jails 10000] [--disk] [--json]

Everything happens on a throw-away host, in memory; with ``--disk``, what either writes goes to the machine's disk, and
ours waits until it is there (Jailkit never does). Absolute times on a shared machine mean little: read the ratios.
Jailkit is Debian's package, unpacked in that host, never installed on the machine, and used as its manual pages say:
jk_init of the sections, then jk_jailuser with a shell that is in the jail.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.host import Host
from tests.host.golden import CACHE

HERE = Path(__file__).parent
PYTHON = "/opt/jailctl/venv/bin/python3"
TEMPLATE = """
name = "basic"
description = "What jk_init's sections basicshell and sftp copy"
source = "copy"
shell = "/bin/bash"

[copy]
programs = [{programs}, "/usr/lib/openssh/sftp-server"]
optional = [{programs}]
"""
PROGRAMS = (
    "bash", "sh", "ls", "cat", "chmod", "mkdir", "cp", "cpio", "date", "dd", "echo", "egrep", "false", "fgrep", "grep",
    "gunzip", "gzip", "ln", "mktemp", "more", "mv", "pwd", "rm", "rmdir", "sed", "sleep", "sync", "tar", "touch",
    "true", "uncompress", "zcat",
)  # fmt: skip
SECTIONS = {
    "basic shell, sftp": ("basicshell", "sftp"),
    "its usual shell": ("basicshell", "editors", "extendedshell", "netutils", "ssh", "sftp", "scp", "jk_lsh"),
}
"""What jk_init is asked for: the least that one can log in and copy files with; and what its how-tos say."""
ON_DISK = ("/srv", "/var/lib/jailctl", "/etc/jailctl")


def disk(host: Host, *paths: str) -> tuple[int, int]:
    """Bytes on the disk and names below ``paths``, those that are there."""
    size = names = 0
    for top in paths:
        place = host.root / top.lstrip("/")
        for path in [place, *place.rglob("*")] if place.is_dir() else [place]:
            if os.path.lexists(path):
                size += path.lstat().st_blocks * 512
                names += 1
    return size, names


class Bench:
    def __init__(self, host: Host, args: argparse.Namespace) -> None:
        self.host, self.args = host, args
        self.report: dict[str, Any] = {}

    def build(self) -> None:
        place = self.host.root / "etc/jailctl/templates/basic"
        place.mkdir(parents=True)
        names = ", ".join(f'"{name}"' for name in PROGRAMS)
        (place / "template.toml").write_text(TEMPLATE.format(programs=names))
        print(f"\n{'image':12}{'first s':>9}{'again s':>9}{'files':>8}{'MB':>8}{'MB on disk':>12}")
        self.report["build"] = {}
        for name in self.args.templates:
            before, seconds = disk(self.host, "/var/lib/jailctl/contents")[0], []
            for _ in range(2):
                begin = time.perf_counter()
                self.host.jailctl("image", "build", name, timeout=900)
                seconds.append(time.perf_counter() - begin)
            image = json.loads(self.host.jailctl("image", "show", name, "--json").stdout)["image"]
            grown = disk(self.host, "/var/lib/jailctl/contents")[0] - before
            row = {"first_s": seconds[0], "again_s": seconds[1], "files": image["files"], "bytes": image["size"],
                   "disk": grown}  # fmt: skip
            self.report["build"][name] = row
            print(f"{name:12}{seconds[0]:9.2f}{seconds[1]:9.2f}{image['files']:8}{image['size'] / 1e6:8.1f}"
                  f"{grown / 1e6:12.1f}")  # fmt: skip

    def further(self) -> None:
        """One more user of the same template: ours through the library and by its steps, Jailkit's by its programs."""
        code = (HERE / "further.py").read_text()
        argv = [PYTHON, "-I", "-c", code, "basic", str(self.args.users)]
        ours = json.loads(self.host.run(argv, check=True, timeout=600).stdout)
        paths = ("/var/lib/jailctl/jails/more1", "/etc/jailctl/jails.d/more1.toml", "/etc/jailctl/keys/more1")
        size, names = disk(self.host, *paths)
        rows: dict[str, tuple[float, float, float]] = {
            "ours: a jail for an account": (min(ours["jail"]), size, names),
            "ours: with account and home": (min(ours["all"]), size, names),
            "ours: the same, of 512 at once": (ours["many"], size, names),
        }
        theirs = self.jailkit()
        print(f"\n{'one further user':32}{'ms':>10}{'KiB':>10}{'names':>8}")
        for name, (seconds, space, count) in (rows | theirs).items():
            print(f"{name:32}{seconds * 1000:10.1f}{space / 1024:10.0f}{count:8}")
        self.report["further"] = {
            name: {"ms": seconds * 1000, "bytes": space, "names": count}
            for name, (seconds, space, count) in (rows | theirs).items()
        }
        print(f"\n{'ours against Jailkit':32}" + "".join(f"{name:>22}" for name in theirs))
        for name, (seconds, space, _) in rows.items():
            ratios = [(other[0] / seconds, other[1] / space) for other in theirs.values()]
            print(f"{name:32}" + "".join(f"   x {time:5.0f} /{size:6.0f}" for time, size in ratios))
            self.report["further"][name]["faster and smaller"] = dict(zip(theirs, ratios, strict=True))

    def jailkit(self) -> dict[str, tuple[float, float, float]]:
        h = self.host
        with tempfile.TemporaryDirectory() as scratch:
            subprocess.run(["apt-get", "-q", "download", "jailkit"], cwd=scratch, capture_output=True)
            packages = list(Path(scratch).glob("*.deb"))
            if not packages:
                print("Jailkit: Debian's package jailkit could not be had; left out")
                return {}
            subprocess.run(["dpkg", "-x", str(packages[0]), f"{h.root}/opt/jk"], check=True)
        for path in (h.root / "opt/jk").rglob("jk_*"):
            if path.is_file() and path.read_bytes()[:2] == b"#!":
                text = path.read_text().replace("'/etc/jailkit'", "'/opt/jk/etc/jailkit'")
                path.write_text(text.replace("'/usr/share/jailkit'", "'/opt/jk/usr/share/jailkit'"))
        return {name: self._jailkit_user(number, sections) for number, (name, sections) in enumerate(SECTIONS.items())}

    def _jailkit_user(self, which: int, sections: tuple[str, ...]) -> tuple[float, float, float]:
        """The account is there, as jk_jailuser wants it; its time is not counted."""
        h, seconds = self.host, []
        python = "/usr/bin/python3"
        for number in range(3):
            user, jail = f"jk{which}{number}", f"/srv/jk{which}{number}"
            h.run(["/usr/sbin/useradd", "-m", user], check=True)
            begin = time.perf_counter()
            h.run(["/bin/mkdir", jail], check=True)
            h.run([python, "/opt/jk/usr/sbin/jk_init", "-j", jail, *sections], check=True, timeout=300)
            h.run([python, "/opt/jk/usr/sbin/jk_jailuser", "-n", "-m", "-s", "/bin/bash", "-j", jail, user],
                  check=True, timeout=300)  # fmt: skip
            seconds.append(time.perf_counter() - begin)
            h.run(["/usr/sbin/chroot", jail, "/bin/bash", "-c", "ls /home > /dev/null"], check=True)
        os.sync()
        size, names = disk(h, f"/srv/jk{which}1")
        return min(seconds), size, names

    def update(self) -> None:
        """The switch of a tag, with few jails and with many: the same work."""
        code = (HERE / "many.py").read_text()
        print(f"\n{'jails':>8}{'switch ms':>11}{'rollback ms':>13}{'build, smoke tests and switch s':>33}")
        self.report["update"] = {}
        for count in (10, self.args.jails):
            self.host.run([PYTHON, "-I", "-c", code, "make", str(count)], check=True, timeout=900)
            times = json.loads(self.host.run([PYTHON, "-I", "-c", code, "time", "0"], check=True, timeout=900).stdout)
            self.report["update"][count] = times
            print(f"{count:8}{times['switch_ms']:11.2f}{times['rollback_ms']:13.2f}{times['update_s']:33.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20, help="further users")
    parser.add_argument("--jails", type=int, default=10000, help="jails of one template for the update")
    parser.add_argument("--templates", nargs="*", default=["basic", "minimal", "git-only"], help="images to build")
    parser.add_argument("--disk", action="store_true", help="on the machine's disk, not in memory")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=CACHE) as scratch:
        binds = [(f"{scratch}{path}", path) for path in ON_DISK if args.disk]
        for place, _ in binds:
            os.makedirs(place)
        with Host(binds=binds, writable=ON_DISK) as host:
            host.jailctl("setup", timeout=120)
            bench = Bench(host, args)
            bench.build()
            bench.further()
            bench.update()
    if args.json:
        print(json.dumps(bench.report, indent=1))


if __name__ == "__main__":
    main()
