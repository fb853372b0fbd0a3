"""Makes one throw-away host. Started by host.py as ``/usr/bin/python3 -I -S boot.py`` with its configuration on
standard input, in JSON.

Three processes, so that nothing outlives a test run that was killed:

    supervisor   outside, in a session of its own; makes the control groups, waits, and removes them at the end
    stem         joins the control groups and makes the namespaces (a pid namespace takes effect for children only)
    init         pid 1 inside: mounts, pivots, then serves (agent.py)

The supervisor watches a pipe whose other end only the test process holds. At its end it kills init; the kernel
then kills all of the pid namespace, and with the last process go the mount namespace and every tmpfs in it.
If the supervisor itself is killed, the parent-death signal does the same for stem and init; the control groups that
are then left over, empty, are swept by the next host (host.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import sys
import time
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import agent  # type: ignore[import-not-found]  # (with -I the directory of the script is not on the path)

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 4096, 16384, 1 << 18, 1 << 20
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}

libc = ctypes.CDLL(None, use_errno=True)
libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]


def check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    result = libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None)
    check(result, f"mount {kind or 'bind'} {source} on {target}")


def bind(source: str, target: str, *, readonly: bool) -> None:
    """One mount, without what is mounted below it (/usr/local of the machine must not come along)."""
    mount(source, target, flags=MS_BIND)
    if readonly:
        mount("none", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def tmpfs(target: str, mode: str, size: str = "1g", flags: int = MS_NOSUID | MS_NODEV) -> None:
    os.makedirs(target, exist_ok=True)
    mount("tmpfs", target, "tmpfs", flags, f"mode={mode},size={size}")


# -- supervisor


def supervise(config: dict[str, Any]) -> None:
    os.setsid()
    check(libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl subreaper")
    for directory in config["cgroups"].values():
        make_cgroup(directory)
    report_read, report_write = os.pipe()
    stem = os.fork()
    if stem == 0:
        os.close(report_read)
        os.close(config["life_fd"])
        run_stem(config, report_write)
    os.close(report_write)
    os.close(config["control_fd"])
    text = os.read(report_read, 32)
    watch = select.poll()
    watch.register(config["life_fd"], select.POLLIN | select.POLLHUP)
    if text:
        init = os.pidfd_open(int(text))
        watch.register(init, select.POLLIN)
        watch.poll()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(init, signal.SIGKILL)
    reap_all()
    for directory in config["cgroups"].values():
        remove_cgroup(directory)


def reap_all() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def make_cgroup(directory: str) -> None:
    os.mkdir(directory)
    for name in ("cpuset.cpus", "cpuset.mems"):  # v1 refuses processes (ENOSPC) in a cpuset without them
        path = os.path.join(directory, name)
        if os.path.exists(path):
            with open(os.path.join(os.path.dirname(directory), name)) as parent, open(path, "w") as own:
                own.write(parent.read())


def remove_cgroup(directory: str, tries: int = 200) -> None:
    """Leaf first; a dead process may hold its group for a moment longer (EBUSY)."""
    for _ in range(tries):
        busy = False
        for here, _names, _files in os.walk(directory, topdown=False):
            try:
                os.rmdir(here)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                busy = True
        if not busy:
            return
        time.sleep(0.01)


# -- stem


def run_stem(config: dict[str, Any], report: int) -> None:
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl pdeathsig")
    for directory in config["cgroups"].values():
        with open(os.path.join(directory, "cgroup.procs"), "w") as procs:
            procs.write("0")
    flags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID
    if config["network"] == "own":
        flags |= CLONE_NEWNET
    check(libc.unshare(flags), "unshare")
    init = os.fork()
    if init == 0:
        os.close(report)
        check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl pdeathsig")
        control = socket.socket(fileno=config["control_fd"])
        try:
            become_host(config)
        except BaseException as error:  # noqa: BLE001  # whatever it was, the test must read it
            control.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
            os._exit(1)
        control.send(b'{"ready": true}')
        agent.serve(control)
    os.write(report, str(init).encode())
    os.close(report)
    os.close(config["control_fd"])
    os.waitpid(init, 0)
    os._exit(0)


# -- init


def become_host(config: dict[str, Any]) -> None:
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    scratch = config["scratch"]
    tmpfs(scratch, "0755", "4g", 0)
    root = f"{scratch}/root"
    os.mkdir(root)
    mount_root(config, scratch, root)
    mount_usr(config, root)
    tmpfs(f"{root}/run", "0755")
    for name, mode in (("tmp", "1777"), ("home", "0755"), ("var/lib/jailctl", "0755")):
        tmpfs(f"{root}/{name}", mode, flags=0)  # as on a plain disk: setuid and devices are the jail's to forbid
    for name, bits in (("run/sshd", 0o755), ("run/lock", 0o1777), ("run/user", 0o755), ("run/screen", 0o1777)):
        os.mkdir(f"{root}/{name}")
        os.chmod(f"{root}/{name}", bits)
    os.close(os.open(f"{root}/run/utmp", os.O_CREAT | os.O_WRONLY, 0o664))
    for source, target in config["binds"]:
        os.makedirs(root + target, exist_ok=True)
        bind(source, root + target, readonly=target not in config["writable"])
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", f"{root}/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("none", f"{root}/sys", flags=MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount_cgroups(config, f"{root}/sys/fs/cgroup")
    make_dev(f"{root}/dev")
    pivot(root)
    libc.sethostname(config["hostname"].encode(), len(config["hostname"]))
    if config["network"] == "own":
        loopback_up()


def mount_root(config: dict[str, Any], scratch: str, root: str) -> None:
    """An overlay of the golden layers with an upper layer in memory; or, while a layer is built, on the disk."""
    upper = config["upper"] or f"{scratch}/upper"
    work = config["work"] or f"{scratch}/work"
    os.makedirs(upper, exist_ok=True)
    os.makedirs(work, exist_ok=True)
    if config["lower"]:
        data = f"lowerdir={':'.join(config['lower'])},upperdir={upper},workdir={work}"
        mount("overlay", root, "overlay", 0, data)
    else:
        bind(upper, root, readonly=False)


def mount_usr(config: dict[str, Any], root: str) -> None:
    """The machine's own /usr: jails bind it idmapped, which the kernel refuses for an overlay (EINVAL)."""
    bind("/usr", f"{root}/usr", readonly=True)
    local = f"{root}/usr/local"
    if config["upper"]:
        bind(config["usr_local"], local, readonly=False)
    else:
        copied_to_memory(config["usr_local"], local)
    copied_to_memory("/usr/share/pam-configs", f"{root}/usr/share/pam-configs")  # where packages and setup put profiles


def copied_to_memory(source: str, target: str) -> None:
    tmpfs(target, "0755", flags=0)
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def mount_cgroups(config: dict[str, Any], target: str) -> None:
    """The cgroup namespace makes each hierarchy's root the host's own group, also for these new mounts."""
    tmpfs(target, "0755")
    for controllers in config["cgroups"]:
        if controllers == "v2":
            where, kind, data = f"{target}/unified", "cgroup2", ""
        else:
            where, kind, data = f"{target}/{controllers.removeprefix('name=')}", "cgroup", controllers
        os.mkdir(where)
        mount("cgroup", where, kind, MS_NOSUID | MS_NODEV | MS_NOEXEC, data)


def make_dev(dev: str) -> None:
    mount("tmpfs", dev, "tmpfs", MS_NOSUID, "mode=0755,size=16m")
    for name, (major, minor) in NODES.items():
        os.mknod(f"{dev}/{name}", 0o020666, os.makedev(major, minor))
        os.chmod(f"{dev}/{name}", 0o666)
    os.chown(f"{dev}/tty", 0, 5)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, f"{dev}/{name}")
    os.mkdir(f"{dev}/pts")
    mount("devpts", f"{dev}/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,gid=5,mode=620,ptmxmode=666")
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    tmpfs(f"{dev}/shm", "1777")


def pivot(root: str) -> None:
    os.mkdir(f"{root}/run/machine")
    os.chdir(root)
    check(libc.syscall(SYS_PIVOT_ROOT, b".", b"run/machine"), "pivot_root")
    os.chdir("/")
    check(libc.umount2(b"/run/machine", MNT_DETACH), "umount")
    os.rmdir("/run/machine")
    mount("none", "/", flags=MS_REC | MS_SHARED)  # as systemd leaves it: a product that forgets this must be seen


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING


if __name__ == "__main__":
    supervise(json.load(sys.stdin))
