"""What a jailed login costs, beside an unjailed one and beside other ways into a jail, all in one run.

    sudo /var/tmp/jailkit-tests/venv-*/bin/python -m tests.bench.login [--count 200] [--logins 20] [--jails 500]
        [--json]

Everything happens on a throw-away host. Absolute times on a shared machine mean little: read the ratios and
differences.
Jailkit (jk_chrootsh) is Debian's package, unpacked beside everything else, never installed on the machine.
"""

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
from typing import Any

from tests.host import Host

HERE = Path(__file__).parent
Times = dict[str, list[float]]


def median(values: list[float]) -> float:
    return statistics.median(values) * 1000


class Bench:
    def __init__(self, host: Host, args: argparse.Namespace) -> None:
        self.host, self.args, self.report = host, args, {}  # type: Host, argparse.Namespace, dict[str, Any]

    # -- entering

    def entering(self) -> None:
        h = self.host
        true0 = "/home/bench/true0"
        h.jailctl("add-user", "bench", "--key", h.key("bench") + ".pub")
        subprocess.run(
            ["gcc", "-Os", "-nostdlib", "-static", "-o", f"{h.root}{true0}", str(HERE / "true0.c")], check=True
        )
        h.run(["/bin/chmod", "755", "/home/bench", true0], check=True)
        # as its "shell": bash would cost as much as the door. A spec admits shells below /usr only, the recipe is ours
        h.run(["/bin/sed", "-i", f"s|^shell .*|shell {true0}|", "/var/lib/jailctl/jails/bench/recipe"], check=True)
        h.jailctl("start", "bench")
        uid, gid, _ = h.ids("bench")
        keeper = next(p for p in h.processes() if p.name == "keeper").inner_pids[1]
        task = {
            "user": "bench", "uid": uid, "gid": gid, "hook": "/opt/jailctl/libexec/hook", "count": self.args.count,
            "as_user": {
                "fork+exec": [true0],
                "door": ["/opt/jailctl/libexec/door", "-c", true0],
                "bwrap": _bwrap(true0),
            },
            "as_root": {
                "fork+exec (root)": [true0],
                "chroot": ["/usr/sbin/chroot", "/", true0],
                "nsenter": ["/usr/bin/nsenter", "-t", str(keeper), "-U", "-m", "-p", "-u", "-i", "-C", "-n", "-S",
                str(uid),
                            "-G", str(gid), "--", true0],
                "python3 -I -S -c pass": ["/usr/bin/python3", "-I", "-S", "-c", "pass"],
            },
            "jk": self._jailkit(true0),
        }  # fmt: skip
        times: Times = json.loads(self._inside("entering.py", [], json.dumps(task)))
        self._table(
            "Into a jail and out again, a static program that does nothing", times, "fork+exec", self.args.count
        )
        self.report["door_to_bwrap"] = _net(times, "door") / _net(times, "bwrap")

    def _jailkit(self, true0: str) -> dict[str, Any] | None:
        """Debian's jk_chrootsh with a root of its own; None where the package cannot be had."""
        h = self.host
        with tempfile.TemporaryDirectory() as scratch:
            os.chmod(scratch, 0o755)
            got = subprocess.run(["apt-get", "-q", "download", "jailkit"], cwd=scratch, capture_output=True)
            packages = list(Path(scratch).glob("*.deb"))
            if got.returncode != 0 or not packages:
                print("jk_chrootsh: Debian's package jailkit could not be had; left out")
                return None
            subprocess.run(["dpkg", "-x", str(packages[0]), f"{scratch}/x"], check=True)
            os.makedirs(f"{h.root}/opt/jk", mode=0o755)
            shutil.copy(f"{scratch}/x/usr/sbin/jk_chrootsh", f"{h.root}/opt/jk/jk_chrootsh")
        h.run(["/bin/chmod", "4755", "/opt/jk/jk_chrootsh"], check=True)
        for directory in ("/jail", "/jail/bin", "/jail/etc", "/jail/home", "/etc/jailkit"):
            h.run(["/bin/mkdir", "-p", "-m", "755", directory], check=True)
        h.run(
            ["/usr/sbin/useradd", "-M", "-d", "/jail/./home/jkbench", "-s", "/opt/jk/jk_chrootsh", "jkbench"],
            check=True,
        )
        uid, gid, _ = h.ids("jkbench")
        h.run(["/bin/cp", true0, "/jail/bin/true0"], check=True)
        (h.root / "jail/etc/passwd").write_text(f"jkbench:x:{uid}:{gid}::/home/jkbench:/bin/true0\n")
        (h.root / "jail/etc/group").write_text(f"jkbench:x:{gid}:\n")
        (h.root / "etc/jailkit/jk_chrootsh.ini").write_text("")
        h.run(["/usr/bin/install", "-d", "-o", str(uid), "-g", str(gid), "/jail/home/jkbench"], check=True)
        return {"uid": uid, "gid": gid, "work": {"jk_chrootsh": ["/opt/jk/jk_chrootsh", "-c", "x"]}}

    # -- ssh

    def logins(self) -> None:
        h = self.host
        h.jailctl("add-user", "inside", "--key", h.key("inside") + ".pub")
        for user in ("plain", "hooked"):
            h.run(["/usr/sbin/useradd", "-m", "-s", "/bin/bash", "-p", "*", user], check=True)
            h.run(["/usr/bin/install", "-d", "-o", user, "-g", user, "-m", "700", f"/home/{user}/.ssh"], check=True)
            (h.root / f"home/{user}/.ssh/authorized_keys").write_text(h.public_key(user) + "\n")
        # what pam_exec costs whatever it runs (before PAM 1.6 it closes 65,533 descriptors one by one)
        subprocess.run(
            ["gcc", "-Os", "-nostdlib", "-static", "-o", f"{h.root}/root/true0", str(HERE / "true0.c")], check=True
        )
        with open(h.root / "etc/pam.d/common-session", "a") as file:
            file.write("session [success=1 default=ignore] pam_succeed_if.so quiet user != hooked\n")
            file.write("session required pam_exec.so quiet seteuid stdout /root/true0\n")
        for user in ("plain", "inside"):
            argv = h.ssh_argv(user, opts=["-o", "ControlMaster=yes", "-S", f"/root/{user}.sock", "-N", "-f"])
            h.run(argv, check=True)

        def further(user: str) -> list[str]:
            return ["/usr/bin/ssh", "-S", f"/root/{user}.sock", "-o", "BatchMode=yes", f"{user}@127.0.0.1", "true"]

        stop = lambda: h.jailctl("stop", "inside")  # noqa: E731
        new = self._inside_rounds(
            {
                "unjailed": h.ssh_argv("plain", "true"),
                "unjailed, empty pam_exec": h.ssh_argv("hooked", "true"),
                "jailed, warm": h.ssh_argv("inside", "true"),
            },
            self.args.logins,
        )
        self._table("ssh host true, a new connection", new, "unjailed", self.args.logins)
        more = self._inside_rounds({"unjailed": further("plain"), "jailed": further("inside")}, self.args.logins * 5)
        self._table("ssh host true, a further session on an open connection", more, "unjailed", self.args.logins * 5)
        h.run(["/usr/bin/ssh", "-S", "/root/inside.sock", "-O", "exit", "x"])
        cold = self._cold(stop)
        self._table("ssh host true, a new connection, the jail is cold", cold, "unjailed", self.args.logins)
        self.report |= {
            "warm_ratio": median(new["jailed, warm"]) / median(new["unjailed"]),
            "cold_ratio": median(cold["jailed, cold"]) / median(cold["unjailed"]),
            "further_ms": median(more["jailed"]) - median(more["unjailed"]),
        }

    def _cold(self, stop: Callable[[], object]) -> Times:
        times: Times = {"unjailed": [], "jailed, cold": []}
        for _ in range(self.args.logins):
            stop()
            for name, user in (("unjailed", "plain"), ("jailed, cold", "inside")):
                times[name] += self._inside_rounds({name: self.host.ssh_argv(user, "true")}, 1, warm_up=0)[name]
        return times

    def _inside_rounds(self, work: dict[str, list[str]], count: int, warm_up: int = 2) -> Times:
        code = (
            "import json,subprocess,sys,time\nwork,count,warm=json.load(sys.stdin)\nout={n:[] for n in work}\n"
            "for i in range(count+warm):\n for n,a in work.items():\n  t=time.perf_counter()\n"
            "  subprocess.run(a,check=True,stdin=subprocess.DEVNULL,stdout=subprocess.DEVNULL)\n"
            "  if i>=warm: out[n].append(time.perf_counter()-t)\njson.dump(out,sys.stdout)"
        )
        done = self.host.run(
            ["/usr/bin/python3", "-I", "-c", code], input=json.dumps([work, count, warm_up]), timeout=600, check=True
        )
        result: Times = json.loads(done.stdout)
        return result

    # -- memory

    def memory(self) -> None:
        h = self.host
        shown = json.loads(h.jailctl("show", "inside", "--json").stdout)
        digest = shown["jail"]["image"]
        self.report["memory"] = []
        for network in ("none", "host"):
            args = [network, str(self.args.jails), digest]
            row = json.loads(self._inside("density.py", args, "", timeout=900))
            self.report["memory"].append(row)
            print(f"\nidle jails, network {network}: {row['jails']} running, {row['kib_each']:.0f} KiB each in all, "
                  f"keeper {row['keeper_pss_kib']} KiB PSS, {row['start_ms']:.1f} ms a start")  # fmt: skip
        self._session_memory()

    def _session_memory(self) -> None:
        """Interactive sessions: what is there for a jailed one beyond what an unjailed one has."""
        h, count = self.host, 10
        cost = {}
        for user in ("plain", "inside"):
            terminals = [h.terminal(h.ssh_argv(user, tty=True)) for _ in range(count)]
            time.sleep(2)
            uid = h.ids(user)[0]
            seen = [p.pid for p in h.processes() if uid in p.uids]
            cost[user] = {"pss": sum(map(_pss, seen)) / count, "processes": len(seen) / count}
            if user == "inside":
                doors = [p.pid for p in h.processes() if uid in p.uids and p.name == "door"]
                cost["door"] = {"pss": sum(map(_pss, doors)) / max(len(doors), 1), "processes": len(doors) / count}
            for terminal in terminals:
                terminal.close()
        extra = cost["inside"]["pss"] - cost["plain"]["pss"]
        print(f"an interactive session: {extra:.0f} KiB PSS beyond an unjailed one's "
              f"({cost['door']['pss']:.0f} KiB of it the door's relay)")  # fmt: skip
        self.report["session_kib"] = extra

    # -- helpers

    def _inside(self, script: str, args: list[str], input: str, timeout: float = 600) -> str:
        (self.host.root / "root" / script).write_text((HERE / script).read_text())
        done = self.host.run(["/usr/bin/python3", f"/root/{script}", *args], input=input, timeout=timeout, check=True)
        return done.stdout

    def _table(self, title: str, times: Times, base: str, count: int) -> None:
        print(f"\n{title} (median of {count}, ms)")
        for name, values in times.items():
            value, ground = median(values), median(times[base])
            print(f"  {name:24}{value:9.2f}  {value - ground:+8.2f}  x {value / ground:.2f}")
        self.report[title] = {name: median(values) for name, values in times.items()}


def _net(times: Times, name: str) -> float:
    return median(times[name]) - median(times["fork+exec"])


def _bwrap(program: str) -> list[str]:
    """The same namespaces and the same view, as far as bwrap can."""
    return ["/usr/bin/bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr", "--symlink",
    "usr/lib", "/lib",
            "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/bin", "/bin", "--proc", "/proc", "--dev", "/dev",
            "--tmpfs",
            "/tmp", "--bind", "/home/bench", "/home/bench", program]  # fmt: skip


def _pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="rounds of entering")
    parser.add_argument("--logins", type=int, default=20, help="new connections")
    parser.add_argument("--jails", type=int, default=500, help="idle jails for the memory figures")
    parser.add_argument("--only", choices=("entering", "logins", "memory"), help="one part (memory needs logins)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with Host() as host:
        host.jailctl("setup", timeout=120)
        bench = Bench(host, args)
        if args.only in (None, "entering"):
            bench.entering()
        if args.only in (None, "logins", "memory"):
            bench.logins()
        if args.only in (None, "memory"):
            bench.memory()
    if args.json:
        print(json.dumps(bench.report, indent=1))


if __name__ == "__main__":
    main()
