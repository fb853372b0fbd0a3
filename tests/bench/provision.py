"""What provisioning costs at a provider's scale: thousands of users from one manifest, beside useradd and Jailkit in
the same run; what a dormant jail takes, what grows with their number, and how many run at once.

    sudo /var/tmp/jailkit-tests/venv/bin/python -m tests.bench.provision [--jails 10000] [--scaling 1,2,4,8]
        [--running 2000] [--memory] [--json]

Everything happens on a throw-away host, whose /home, /etc/jailctl and /var/lib/jailctl are on the machine's disk;
--memory: in memory. Absolute times on a shared machine mean little: read the ratios. Figures and what they mean:
docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.host import Host
from tests.host.golden import CACHE
from tests.inside import PYTHON

from .images import Bench as Rival

HERE = Path(__file__).parent
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHMBg5VHNv9s8cVqEI user{}@example"
ON_DISK = ("/home", "/etc/jailctl", "/var/lib/jailctl")
FEW = 10
OWN = ("/var/lib/jailctl/jails", "/var/lib/jailctl/uids", "/etc/jailctl/jails.d", "/etc/jailctl/keys")
STATE = "/var/lib/jailctl/state.db"


def manifest(prefix: str, count: int) -> str:
    jails = {f"{prefix}{number}": {"keys": [KEY.format(number)]} for number in range(count)}
    return json.dumps({"name": prefix, "defaults": {"template": "shell"}, "jails": jails})


def taken(host: Host) -> tuple[int, int]:
    """Bytes on the disk and inodes of all that is the jails' own, homes aside. What the names take in directories
    that all share counts with them."""
    size, inodes = 0, set()
    for top in OWN:
        for base, directories, files in os.walk(host.root / top.lstrip("/")):
            for path in (base, *(f"{base}/{name}" for name in [*directories, *files])):
                status = os.lstat(path)
                if (status.st_dev, status.st_ino) not in inodes:
                    inodes.add((status.st_dev, status.st_ino))
                    size += status.st_blocks * 512
    return size, len(inodes)


class Bench:
    def __init__(self, host: Host, args: argparse.Namespace) -> None:
        self.host, self.args = host, args
        self.report: dict[str, Any] = {"jails": args.jails}
        (host.root / "opt/measured.py").write_text((HERE / "measured.py").read_text())

    def measured(self, *argv: str, timeout: float = 900) -> dict[str, Any]:
        """Seconds, processor seconds and the most memory (MiB) of a command with all its processes."""
        done = self.host.run([PYTHON, "-I", "/opt/measured.py", *argv], timeout=timeout)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def apply(self, prefix: str, count: int, jobs: int = 2) -> dict[str, Any]:
        path = f"/root/{prefix}.json"
        (self.host.root / path.lstrip("/")).write_text(manifest(prefix, count))
        return self.measured("/usr/local/sbin/jailctl", "apply", "-q", "-f", path, "--jobs", str(jobs))

    def median(self, act: Callable[[int], object], times: int = 7) -> float:
        found = []
        for number in range(times):
            begin = time.perf_counter()
            act(number)
            found.append(time.perf_counter() - begin)
        return statistics.median(found)

    # -- parts

    def rivals(self, label: str) -> None:
        """``useradd -m`` as the host stands now."""
        seconds = self.median(lambda n: self.host.run(["/usr/sbin/useradd", "-m", f"plain-{label}{n}"], check=True), 3)
        for number in range(3):
            self.host.run(["/usr/sbin/userdel", "-r", f"plain-{label}{number}"], check=True)
        self.report[f"useradd_{label}_ms"] = seconds * 1000

    def few(self) -> None:
        self.apply("few", FEW)
        self.report["at_few"] = self.looks("few")
        self.report["eleventh_ms"] = self.one("few")

    def many(self) -> None:
        count = self.args.jails
        size, inodes = taken(self.host)
        rows = (self.host.root / STATE.lstrip("/")).stat().st_size
        first = self.apply("cust", count)
        os.sync()
        size, inodes = (now - before for now, before in zip(taken(self.host), (size, inodes), strict=True))
        rows = (self.host.root / STATE.lstrip("/")).stat().st_size - rows
        again = self.apply("cust", count)
        self.report |= {
            "first": first, "per_second": count / first["seconds"], "again": again, "kib_each": size / count / 1024,
            "inodes_each": inodes / count, "state_kib_each": rows / count / 1024,
        }  # fmt: skip
        for tool in ("pwck", "grpck"):
            self.host.run([f"/usr/sbin/{tool}", "-q", "-r"], check=True, timeout=300)
        self.report["at_many"] = self.looks("cust")
        self.report["next_ms"] = self.one("cust")

    def one(self, name: str) -> float:
        """A single addition through the library, without the start of Python."""
        code = (HERE / "single.py").read_text()
        done = self.host.run([PYTHON, "-I", "-c", code, f"{name}-more", "7"], check=True, timeout=300)
        seconds: list[float] = json.loads(done.stdout)
        return statistics.median(seconds) * 1000

    def looks(self, prefix: str) -> dict[str, float]:
        """What may not grow with the number of jails, in milliseconds: show, a login into a warm jail, a cold one; and
        list, a jail."""
        h, name = self.host, f"{prefix}3"
        count = len(json.loads(h.jailctl("list", "--json", timeout=300).stdout)["jails"])
        h.run(["/bin/su", "-", name, "-c", "true"], check=True)
        empty = self.median(lambda _: h.jailctl("--version"))
        listed = self.median(lambda _: h.jailctl("list", "--json", timeout=300), 3) - empty
        found = {
            "show": self.median(lambda _: h.jailctl("show", name)) - empty,
            "warm login": self.median(lambda _: h.run(["/bin/su", "-", name, "-c", "true"], check=True), 15),
            "cold login": self.median(lambda n: h.run(["/bin/su", "-", f"{prefix}{n}", "-c", "true"], check=True), 10),
            "list, a jail": listed / count,
        }
        h.jailctl("stop", "--all", timeout=300)
        return {what: seconds * 1000 for what, seconds in found.items()}

    def scaling(self) -> None:
        self.report["scaling"] = {}
        for jobs in self.args.scaling:
            add = self.apply(f"jobs{jobs}x", self.args.each, jobs)
            same = self.apply(f"jobs{jobs}x", self.args.each, jobs)
            self.report["scaling"][jobs] = {
                "add": self.args.each / add["seconds"],
                "same": self.args.each / same["seconds"],
            }

    def running(self) -> None:
        code = (HERE / "density.py").read_text()
        argv = [PYTHON, "-I", "-c", code, "none", str(self.args.running + 1), self.host.image("shell")]
        self.report["running"] = json.loads(self.host.run(argv, check=True, timeout=900).stdout)

    def jailkit(self) -> None:
        found = Rival(self.host, argparse.Namespace()).jailkit()
        self.report["jailkit"] = {
            name: {"ms": s * 1000, "kib": size / 1024, "names": names} for name, (s, size, names) in found.items()
        }


def show(report: dict[str, Any]) -> None:
    first, again, count = report["first"], report["again"], report["jails"]
    each = first["seconds"] / count * 1000
    print(f"{count} users from one manifest: {first['seconds']:.1f} s, {report['per_second']:.0f} a second, "
          f"{first['cpu'] / count * 1000:.2f} ms of processor each, at most {first['mib']:.0f} MiB")  # fmt: skip
    print(f"the same again (no changes): {again['seconds']:.2f} s, at most {again['mib']:.0f} MiB")
    print(f"a dormant jail: {report['kib_each']:.1f} KiB and {report['inodes_each']:.2f} inodes, "
          f"{report['state_kib_each']:.2f} KiB in state.db")  # fmt: skip
    for what in ("few", "many"):
        ms = report[f"useradd_{what}_ms"]
        print(f"useradd -m, {what} accounts: {ms:.0f} ms; ours is x {ms / each:.0f} faster")
    for name, row in report["jailkit"].items():
        print(f"Jailkit ({name}): {row['ms']:.0f} ms, {row['kib']:.0f} KiB, {row['names']} names; ours is x "
              f"{row['ms'] / each:.0f} faster and x {row['kib'] / report['kib_each']:.0f} smaller")  # fmt: skip
    print(f"a single addition: the 11th {report['eleventh_ms']:.0f} ms, the {count + 1}th {report['next_ms']:.0f} ms, "
          f"x {report['next_ms'] / report['eleventh_ms']:.2f}")  # fmt: skip
    for what, ms in report["at_few"].items():
        more = report["at_many"][what]
        print(f"{what}: {ms:.2f} ms with {FEW} jails, {more:.2f} ms with {count}, x {more / ms:.2f}")
    for jobs, row in report.get("scaling", {}).items():
        print(f"--jobs {jobs}: {row['add']:.0f} a second added, {row['same']:.0f} looked at")
    if "running" in report:
        row = report["running"]
        rate = 1000 / row["start_ms"]
        print(f"{row['jails']} running at once: {rate:.0f} starts a second, {row['charged_kib_each']:.0f} KiB each are "
              f"charged to them, MemAvailable fell by {row['kib_each']:.0f} KiB each")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jails", type=int, default=10000)
    parser.add_argument("--scaling", type=lambda text: [int(jobs) for jobs in text.split(",")], default=[1, 2, 4, 8])
    parser.add_argument("--each", type=int, default=2048, help="jails for each number of jobs")
    parser.add_argument("--running", type=int, default=2000, help="jails running at once")
    parser.add_argument("--memory", action="store_true", help="in memory, not on the machine's disk")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=CACHE) as scratch:
        binds = [(f"{scratch}{path}", path) for path in ON_DISK if not args.memory]
        for place, _ in binds:
            os.makedirs(place, 0o755)
        with Host(binds=binds, writable=ON_DISK) as host:
            if "cpu" in host.cgroups:  # what else runs on this machine disturbs less
                Path(host.cgroups["cpu"], "cpu.shares").write_text("200000")
            defs = host.root / "etc/login.defs"
            defs.write_text(defs.read_text().replace("UID_MAX\t\t\t60000", "UID_MAX\t\t\t90000"))
            host.jailctl("setup", timeout=120)
            host.jailctl("image", "build", "shell", timeout=300)
            bench = Bench(host, args)
            bench.rivals("few")
            bench.jailkit()
            bench.few()
            bench.many()
            bench.rivals("many")
            bench.scaling()
            bench.running()
        show(bench.report)
    if args.json:
        print(json.dumps(bench.report, indent=1))


if __name__ == "__main__":
    main()
