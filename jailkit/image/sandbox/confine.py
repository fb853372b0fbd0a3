"""Running what is not trusted: with ids of the build range, or of one jail, only, in a root of its own.

    jailctl (root)        watcher (root)               pid 1 of a new pid namespace
    --------------        --------------               ----------------------------
    fork ---------------> unshare pid
                          fork ----------------------> as root: unshare mount, ipc, uts, cgroup (net); a tmpfs, what the
                                                       work may see in it, /proc on demand; pivot into it, read-only
                                                       unshare user
                          write its id maps ---------> take ids of the range; drop everything, limits, seccomp
    read "ok" <--------------------------------------- work
                          wait

All namespaces but the user namespace are the host root's, so that the process has no right in any of them; an
installer gets one more mount namespace, of its own. The user namespace is root's: nobody with an id of the range may
enter it from outside, and hosts that forbid users to make one allow root. Each process ends with the one before it
(PR_SET_PDEATHSIG), and pid 1 takes all others along; mounts go with the namespace. So a builder that is killed leaves
nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from ...errors import JailkitError
from ...kernel import caps, mount, namespaces, proc, seccomp
from .child import close_all_but, exit_code
from .ids import BUILD_BASE, BUILD_RANGE, NOBODY

_PR_SET_NO_NEW_PRIVS = 38
_PLAIN = mount.NOSUID | mount.NODEV
_NEW = namespaces.NEWNS | namespaces.NEWIPC | namespaces.NEWUTS | namespaces.NEWCGROUP


@dataclass(frozen=True)
class Tenant:
    """The process has the ids of one jail instead: uid and gid as they are, 0 and up as those from ``base``. Its root
    holds what ``stage`` has mounted there and nothing else; it may make the system calls of seccomp.files_only.

    capabilities: what it keeps (numbers of capabilities(7)), over files of these ids alone."""

    uid: int
    gid: int
    base: int
    size: int
    capabilities: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Terms:
    """How a confined process lives.

    installer: it is root inside, with all capabilities there (packages are installed so), has a /proc and may use the
    network of the host; else it is nobody without any, has an empty root and no network, and may make only the system
    calls of seccomp.streams_only. stage: called as root with the directory that becomes ``/``, a fresh tmpfs, before
    anything is given up; the root is read-only afterwards. limits: of setrlimit(2), soft and hard. tenant: see
    there."""

    installer: bool = False
    stage: Callable[[str], None] = lambda root: None
    limits: dict[int, int] = field(default_factory=dict)
    tenant: Tenant | None = None


@dataclass
class Confined:
    """A confined process that runs. pid: the one that is a child of ours."""

    pid: int
    _status: int | None = None

    def wait(self) -> int:
        """Its exit status; 128 + n if signal n ended it."""
        if self._status is None:
            self._status = exit_code(os.waitpid(self.pid, 0)[1])
        return self._status

    def kill(self) -> None:
        """End it and all that it has started, and wait until they are gone."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)  # not reaped yet, so it is still that process
            self.wait()


def start(work: Callable[[], int], streams: tuple[int, ...], directory: str, terms: Terms) -> Confined:
    """Run ``work`` confined; what it returns is its exit status. It has the descriptors ``streams`` as 0, 1, 2 and so
    on, and no other. directory: one of root's, used as a mount point that nobody else sees.

    What ``work`` needs of Python must be imported before. Raise ``host.confine``."""
    report, report_in = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(report)
        _child(report_in, lambda: _watch(parent, work, streams, directory, terms, report_in))
    os.close(report_in)
    with os.fdopen(report, "rb") as file:
        answer = file.read(4096).decode(errors="replace").strip()
    made = Confined(pid)
    if answer != "ok":
        made.kill()
        raise JailkitError(
            "host.confine", f"cannot confine a process: {answer or 'it ended at once'}", "jailctl doctor"
        )
    return made


def _child(report: int, body: Callable[[], int]) -> None:
    """Run ``body`` in a forked child and never return."""
    status = 1
    try:
        status = body()
    except BaseException as error:  # noqa: BLE001 - a forked child must not unwind into its parent's code
        with contextlib.suppress(OSError):
            os.write(report, f"{type(error).__name__}: {error}".replace("\n", " ").encode()[:1000])
    finally:
        os._exit(status)


def _watch(
    parent: int, work: Callable[[], int], streams: tuple[int, ...], directory: str, terms: Terms, report: int
) -> int:
    _end_with_parent(lambda: os.getppid() != parent)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    namespaces.unshare(namespaces.NEWPID)
    ready, ready_in = os.pipe2(os.O_CLOEXEC)
    mapped, mapped_in = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        os.close(mapped_in)
        _child(report, lambda: _first((ready_in, mapped), work, streams, directory, terms, report))
    close_all_but(ready, mapped_in)  # an end of a pipe that stayed open here would keep its reader waiting
    if os.read(ready, 1) == b"r":
        ids = terms.tenant
        if ids is None:
            namespaces.write_plain_maps(pid, BUILD_BASE, BUILD_RANGE)
        else:
            namespaces.write_maps(pid, ids.uid, ids.gid, ids.base, ids.size)
        os.write(mapped_in, b"m")
    return exit_code(os.waitpid(pid, 0)[1])


def _first(
    pipes: tuple[int, int], work: Callable[[], int], streams: tuple[int, ...], directory: str, terms: Terms,
    report: int,
) -> int:  # fmt: skip
    ready, mapped = pipes
    _enter_root(directory, terms)
    namespaces.unshare(namespaces.NEWUSER)
    os.write(ready, b"r")
    if os.read(mapped, 1) != b"m":
        return 1
    _give_up(terms)
    _end_with_parent(lambda: _hung_up(mapped))
    _only(streams, report)
    for kind, limit in terms.limits.items():
        resource.setrlimit(kind, (limit, limit))
    caps.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    calls = seccomp.installer if terms.installer else seccomp.files_only if terms.tenant else seccomp.streams_only
    seccomp.install(calls(os.uname().machine))
    os.write(len(streams), b"ok")
    os.close(len(streams))
    return work()


def _give_up(terms: Terms) -> None:
    """Take the ids, and keep no right beyond those that the terms name."""
    if terms.tenant is not None:
        caps.become(terms.tenant.uid, terms.tenant.gid, keep_caps=True)
        caps.keep_only(terms.tenant.capabilities)
        caps.untraceable()  # the tenant's own processes have the same ids
        return
    own = 0 if terms.installer else NOBODY
    caps.become(own, own, keep_caps=True)
    if terms.installer:
        namespaces.unshare(namespaces.NEWNS)
    else:
        caps.drop_all()


def _enter_root(directory: str, terms: Terms) -> None:
    """As root of the host, in namespaces of its own: make the new root and leave the old one."""
    os.umask(0o022)
    proc.fresh_session_keyring()
    namespaces.unshare(_NEW | (0 if terms.installer else namespaces.NEWNET))
    mount.make_private()
    mount.attach(mount.tmpfs(_PLAIN, source="tmpfs", mode="0755", nr_inodes="1024", size="16m"), directory)
    terms.stage(directory)
    if terms.installer:
        os.makedirs(f"{directory}/proc", exist_ok=True)
        mount.mount("proc", f"{directory}/proc", 2 | 4 | 8)
    mount.pivot(directory)
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    mount.set_attributes(root, _PLAIN | mount.RDONLY, label="/")
    if not (terms.installer or terms.tenant) and os.listdir(root):
        raise OSError(1, "the root is not empty")
    os.close(root)


def _only(streams: tuple[int, ...], report: int) -> None:
    """Leave ``streams`` as 0 and up, and ``report`` as the one after them."""
    import fcntl

    above = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (*streams, report)]
    for number, fd in enumerate(above):
        os.dup2(fd, number, inheritable=number < 3)
    close_all_but(*range(len(above)))


def _end_with_parent(gone: Callable[[], bool]) -> None:
    """To be called after the last change of ids or capabilities, which clears it (prctl(2))."""
    caps.die_with_parent()
    if gone():  # before that
        os._exit(1)


def _hung_up(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))
