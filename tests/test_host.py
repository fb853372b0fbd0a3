"""The throw-away host itself: that it is a host, and that nothing of it stays or shows on the machine."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .host import Host, groups, observe, wait_for
from .host.groups import PREFIX, hierarchies

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("/", "/home", "/run", "/opt", "/var/lib", "/usr/local/sbin", "/usr/share/pam-configs")


def machine() -> dict[str, object]:
    """What a host must not change: all of /etc, mounts, control groups, homes, who listens, names, limits."""
    tree = hashlib.sha256()
    for here, names, files in os.walk("/etc"):
        names.sort()
        for name in sorted(files):
            path = os.path.join(here, name)
            info = os.lstat(path)
            content = os.readlink(path).encode() if os.path.islink(path) else Path(path).read_bytes()
            tree.update(f"{path} {info.st_mode} {info.st_uid} {info.st_gid} {info.st_ino}\n".encode() + content)
    present = sorted(
        f"{kind}:{name}"
        for kind, place in hierarchies().items()
        for name in os.listdir(place)
        if PREFIX not in name  # those of a host that another run has made meanwhile; our own are looked at by name
    )
    return {
        "etc": tree.hexdigest(),
        "mounts": Path("/proc/self/mounts").read_text(),
        "groups": present,
        "own group": Path("/proc/self/cgroup").read_text(),
        "places": {
            place: sorted(os.listdir(place)) for place in ("/", "/home", "/run", "/opt", "/var/lib", "/usr/local/sbin")
        },
        "listening": sorted(
            line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
        ),
        "hostname": os.uname().nodename,
        "limits": Path("/proc/sys/user/max_user_namespaces").read_text(),
        "interfaces": sorted(os.listdir("/sys/class/net")),
    }


def use(host: Host) -> None:
    """What tests do to a host: accounts, keys, logins, mounts, processes that stay, groups, a new host name."""
    host.run(["/usr/sbin/useradd", "-m", "-s", "/bin/bash", "bob"], check=True)
    host.key("bob")
    host.run(["/bin/mkdir", "-m", "700", "/home/bob/.ssh"], check=True)
    (host.root / "home/bob/.ssh/authorized_keys").write_text(host.public_key("bob"))
    host.run(["/bin/chown", "-R", "bob:", "/home/bob/.ssh"], check=True)
    assert host.ssh("bob", "nohup sleep 1000 >/dev/null 2>&1 & id -un").stdout == "bob\n"
    host.run(["/bin/hostname", "elsewhere"], check=True)
    host.run(["/bin/mount", "-t", "tmpfs", "x", "/mnt"], check=True)
    for name in os.listdir(host.root / "sys/fs/cgroup"):
        (host.root / "sys/fs/cgroup" / name / "child").mkdir()
    host.run(["/bin/touch", "/etc/touched", "/usr/local/sbin/touched", "/opt/touched", "/run/touched"], check=True)


def use_the_product(host: Host) -> None:
    host.jailctl("setup")
    host.jailctl("add-user", "alice", "--key", f"{host.key('alice')}.pub")
    assert host.ssh("alice", "nohup sleep 1000 >/dev/null 2>&1 & id -un").stdout == "alice\n"


@pytest.mark.host
@pytest.mark.alone
@pytest.mark.parametrize("product", [False, True], ids=["bare", "product"])
def test_the_machine_is_the_same_before_during_and_after(product: bool) -> None:
    before = machine()
    with Host(product=product) as host:
        use(host)
        if product:
            use_the_product(host)
        during = machine()
        assert any(PREFIX in entry for entry in os.listdir(Path(next(iter(host.cgroups.values()))).parent))
        pids = [process.pid for process in host.processes()]
        assert len(pids) >= 3
        directories = list(host.cgroups.values())
    assert during == before
    assert machine() == before
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert [directory for directory in directories if os.path.exists(directory)] == []


@pytest.mark.host
@pytest.mark.parametrize("victim", ["test", "supervisor"])
def test_a_killed_test_run_leaves_nothing(victim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL of the process that holds the host, and of the supervisor, which would have cleaned up."""
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from tests.host import Host\n"
        "h = Host(product=False).start(); h.spawn(['/bin/sleep', '1000'])\n"
        "print(h.init, next(iter(h.cgroups.values())), flush=True); time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(ROOT)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        init, directory = run.stdout.readline().split()
        stem = int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[1])
        supervisor = int(Path(f"/proc/{stem}/stat").read_text().rpartition(")")[2].split()[1])
        assert len(Path(directory, "cgroup.procs").read_text().split()) >= 3
        os.kill(run.pid if victim == "test" else supervisor, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{init}").exists(), 5, "pid 1 of the host outlived its test")
        if victim == "test":
            wait_for(lambda: not Path(f"/proc/{supervisor}").exists(), 5, "the supervisor stays")
            wait_for(lambda: not Path(directory).exists(), 5, "the control groups stay")
        run.kill()
    if victim == "supervisor":  # a later host sweeps the groups that it could not remove
        monkeypatch.setattr(groups, "YOUNG", 0)
        with Host(product=False, sshd=False):
            pass
    assert not Path(directory).exists()


@pytest.mark.host
@pytest.mark.alone
def test_a_host_is_made_in_under_three_seconds() -> None:
    """The best of three: the kernel takes its time over a new network namespace while it clears many old ones away."""
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        with Host(product=False) as host:
            assert host.run(["/bin/true"]).returncode == 0
            seconds.append(time.monotonic() - start)
    assert min(seconds) < 3


@pytest.mark.host
def test_two_hosts_know_nothing_of_each_other() -> None:
    with Host(product=False, hostname="one") as one, Host(product=False, hostname="two") as two:
        assert [h.run(["/bin/hostname"]).stdout for h in (one, two)] == ["one\n", "two\n"]
        (one.root / "etc/only-one").touch()
        assert not (two.root / "etc/only-one").exists()
        one.run(["/usr/bin/logger", "-t", "probe", "said in one"], check=True)
        one.wait_syslog("said in one")
        assert two.syslog("said in one") == []
        assert len(two.run(["/bin/ps", "-e", "-o", "pid="]).stdout.split()) <= 4


@pytest.mark.host
def test_it_is_a_debian_with_stock_sshd_and_pam(bare_host: Host) -> None:
    h = bare_host
    assert (h.root / "etc/ssh/sshd_config").read_bytes() == Path("/usr/share/openssh/sshd_config").read_bytes()
    for service, package in (("sshd", "openssh-server"), ("su", "util-linux"), ("login", "login"), ("cron", "cron")):
        stock = f"/etc/pam.d/{service} {hashlib.md5((h.root / 'etc/pam.d' / service).read_bytes()).hexdigest()}"
        assert stock in h.run(["/usr/bin/dpkg-query", "-W", "-f=${Conffiles}", package]).stdout
    assert not [
        line for line in (h.root / "etc/passwd").read_text().splitlines() if 1000 <= int(line.split(":")[2]) < 65000
    ]
    assert h.run(["/bin/ls", "/home", "/opt", "/root"]).stdout.split() == ["/home:", "/opt:", "/root:"]


@pytest.mark.host
def test_processes_and_terminals(bare_host: Host) -> None:
    h = bare_host
    done = h.run_bytes(["/bin/sh", "-c", "cat; echo err >&2; exit 7"], input=bytes(range(256)) * 4096)
    assert (done.stdout, done.stderr, done.returncode) == (bytes(range(256)) * 4096, b"err\n", 7)
    assert h.run(["/bin/sh", "-c", "kill -TERM $$"]).returncode == -signal.SIGTERM
    assert h.run(["/nonexistent"]).returncode == 127
    assert h.run(["/usr/bin/id", "-u"], user="nobody").stdout == "65534\n"
    with pytest.raises(subprocess.TimeoutExpired):
        h.run(["/bin/sleep", "60"], timeout=0.3)
    with h.spawn(["/bin/sleep", "60"]) as process:
        wait_for(lambda: observe.seen(process.pid).argv == ("/bin/sleep", "60"), 5, "it was not executed")
        seen = {entry.pid: entry for entry in h.processes()}[process.pid]
        assert seen.inner_pid == process.inner_pid
        assert seen.cgroups["v2" if "v2" in seen.cgroups else "pids"].rpartition("/")[2].startswith(PREFIX)
    with h.terminal(["/bin/bash", "--norc"]) as terminal:
        terminal.sendline("tty; stty size; exit 3")
        terminal.expect(r"/dev/pts/\d+\s+24 80")
        assert terminal.process.wait(5) == 3
