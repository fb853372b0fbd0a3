"""What images cost: building one, one more user of it, and an update of ten thousand jails; beside Jailkit's jk_init
and jk_jailuser on the same programs, in one run.

    sudo /var/tmp/jailkit-tests/venv/bin/python -m tests.bench.images [--users 20] [--jails 10000] [--json]

Everything happens on a throw-away host. Absolute times on a shared machine mean little: read the ratios. Jailkit is
Debian's package, unpacked in that host, never installed on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.host import Host

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
        ours_size, ours_names = disk(self.host, *paths)
        theirs = self._jailkit()
        jail, whole = statistics.median(ours["jail"]), statistics.median(ours["all"])
        rows: list[tuple[str, float, float, float]]
        rows = [("jailkit: a jail for an account", jail * 1000, ours_size, ours_names),
                ("  with the account (useradd)", whole * 1000, ours_size, ours_names)]  # fmt: skip
        if theirs:
            rows.append(("Jailkit: jk_init + jk_jailuser", theirs["s"] * 1000, theirs["bytes"], theirs["names"]))
        print(f"\n{'one further user':34}{'ms':>10}{'KiB':>10}{'names':>8}")
        for name, ms, size, names in rows:
            print(f"{name:34}{ms:10.1f}{size / 1024:10.0f}{names:8}")
        found = {"jail_ms": jail * 1000, "all_ms": whole * 1000, "bytes": ours_size, "names": ours_names}
        if theirs:
            ratios = {
                "faster": theirs["s"] / jail,
                "faster_with_account": theirs["s"] / whole,
                "smaller": theirs["bytes"] / ours_size,
            }
            found |= {"jailkit_ms": theirs["s"] * 1000, "jailkit_bytes": theirs["bytes"], **ratios}
            print(f"ours is x {ratios['faster']:.0f} faster (x {ratios['faster_with_account']:.0f} with the account) "
                  f"and x {ratios['smaller']:.0f} smaller")  # fmt: skip
        self.report["further"] = found

    def _jailkit(self) -> dict[str, float] | None:
        h = self.host
        with tempfile.TemporaryDirectory() as scratch:
            subprocess.run(["apt-get", "-q", "download", "jailkit"], cwd=scratch, capture_output=True)
            packages = list(Path(scratch).glob("*.deb"))
            if not packages:
                print("Jailkit: Debian's package jailkit could not be had; left out")
                return None
            subprocess.run(["dpkg", "-x", str(packages[0]), f"{h.root}/opt/jk"], check=True)
        for path in (h.root / "opt/jk").rglob("jk_*"):
            if path.is_file() and path.read_bytes()[:2] == b"#!":
                text = path.read_text().replace("'/etc/jailkit'", "'/opt/jk/etc/jailkit'")
                path.write_text(text.replace("'/usr/share/jailkit'", "'/opt/jk/usr/share/jailkit'"))
        seconds = []
        for number in range(3):
            user, jail = f"jk{number}", f"/srv/jk{number}"
            h.run(["/usr/sbin/useradd", "-m", user], check=True)
            begin = time.perf_counter()
            h.run(["/bin/mkdir", jail], check=True)
            h.run(["/usr/bin/python3", "/opt/jk/usr/sbin/jk_init", "-j", jail, "basicshell", "sftp"], check=True,
                  timeout=300)  # fmt: skip
            h.run(["/usr/bin/python3", "/opt/jk/usr/sbin/jk_jailuser", "-n", "-j", jail, user], check=True, timeout=300)
            seconds.append(time.perf_counter() - begin)
        size, names = disk(h, "/srv/jk1")
        return {"s": statistics.median(seconds), "bytes": size, "names": names}

    def update(self) -> None:
        """The switch of a tag, with few jails and with many: the same work."""
        code = (HERE / "many.py").read_text()
        print(f"\n{'jails':>8}{'switch ms':>11}{'update s':>10}{'rollback s':>12}")
        self.report["update"] = {}
        for count in (10, self.args.jails):
            self.host.run([PYTHON, "-I", "-c", code, "make", str(count)], check=True, timeout=900)
            times = json.loads(self.host.run([PYTHON, "-I", "-c", code, "time", "0"], check=True, timeout=900).stdout)
            self.report["update"][count] = times
            print(f"{count:8}{times['switch_ms']:11.2f}{times['update_s']:10.2f}{times['rollback_s']:12.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20, help="further users")
    parser.add_argument("--jails", type=int, default=10000, help="jails of one template for the update")
    parser.add_argument("--templates", nargs="*", default=["basic", "minimal", "git-only"], help="images to build")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with Host() as host:
        host.jailctl("setup", timeout=120)
        bench = Bench(host, args)
        bench.build()
        bench.further()
        bench.update()
    if args.json:
        print(json.dumps(bench.report, indent=1))


if __name__ == "__main__":
    main()
