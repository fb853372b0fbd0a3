"""Tries what a jail needs of the kernel, in a child with a private mount namespace; everything goes with it.

The same calls as jail/start.py and the door make: a child with a uid nobody has makes a user namespace, root maps it,
clones mounts with that map, and a second child without any right enters it through a pidfd.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import cache

from ..kernel import caps, libc, mount, namespaces

_UID = 699_999_999
"""Just below the first jail's range: nobody's."""


@dataclass(frozen=True)
class Step:
    """One thing tried. needed: no jail works without it."""

    text: str
    good: bool
    needed: bool = True
    mend: str = ""


def run(directories: list[str]) -> list[Step]:
    """Try everything, once a process; see :func:`_run`."""
    return _run(tuple(directories))


@cache
def _run(directories: tuple[str, ...]) -> list[Step]:
    read, write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        steps = []
        try:
            os.close(read)
            steps = _inside(directories)
        except BaseException as error:  # noqa: BLE001 - a forked child must not unwind into its parent's code
            steps = [Step(f"the probe broke: {type(error).__name__}: {error}", False)]
        finally:
            os.write(write, json.dumps([asdict(step) for step in steps]).encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answers:
        data = answers.read()
    os.waitpid(child, 0)
    return [Step(**row) for row in json.loads(data or b"[]")] or [Step("the probe died", False)]


def _inside(directories: tuple[str, ...]) -> list[Step]:
    namespaces.unshare(namespaces.NEWNS)
    mount.make_private()
    mount.attach(mount.tmpfs(mount.NOSUID | mount.NODEV, mode="0700", size="1m"), "/tmp")
    release, keep = os.pipe2(os.O_CLOEXEC)
    ready, tell = os.pipe2(os.O_CLOEXEC)
    owner = os.fork()
    if owner == 0:
        os.close(keep)
        _own(tell, release)
    os.close(tell)
    try:
        answer = os.read(ready, 256).decode(errors="replace")
        if answer != "made":
            return [
                Step(
                    f"a user namespace cannot be made: {answer or 'no answer'}",
                    False,
                    mend="sysctl user.max_user_namespaces; a container's own limits",
                )
            ]
        return _with_namespace(owner, directories)
    finally:
        os.close(keep)
        os.waitpid(owner, 0)


def _own(tell: int, release: int) -> None:
    """The owner: makes the namespaces as a user would who kept root's capabilities, and waits."""
    try:
        caps.become(_UID, _UID, keep_caps=True)
        namespaces.unshare(
            namespaces.NEWUSER | namespaces.NEWPID | namespaces.NEWUTS | namespaces.NEWIPC | namespaces.NEWNET
        )
        # after a change of ids a process is not dumpable, and a pidfd then gives nobody its namespaces; exec would
        # reset it
        caps.prctl(4, 1)
        os.write(tell, b"made")
        os.read(release, 1)
    except OSError as error:
        os.write(tell, str(error).encode())
    finally:
        os._exit(0)


def _with_namespace(owner: int, directories: tuple[str, ...]) -> list[Step]:
    namespaces.write_maps(owner, _UID, _UID, _UID + 1, 1024)
    userns = os.open(f"/proc/{owner}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    steps = [_try_idmap(directory, userns) for directory in directories]
    steps.append(_try_enter(owner))
    steps.append(_try_overlay(directories[0], userns))
    os.close(userns)
    return steps


def _try_idmap(directory: str, userns: int) -> Step:
    try:
        os.close(mount.clone(directory, mount.RDONLY | mount.NOSUID | mount.NODEV, userns))
    except OSError as error:
        return Step(
            f"{directory} cannot be idmapped: {error}",
            False,
            mend="put it on ext4, xfs or btrfs: a network file system or an overlay cannot do it",
        )
    return Step(f"{directory} can be idmapped", True)


def _try_enter(owner: int) -> Step:
    """setns(2) by a process with the owner's ids and no capability, as the door does it."""
    pidfd = os.pidfd_open(owner)
    child = os.fork()
    if child == 0:
        status = 255
        try:
            caps.become(_UID, _UID)
            libc.call("setns", pidfd, namespaces.NEWUSER | namespaces.NEWUTS | namespaces.NEWIPC, what="setns")
            status = 0
        except OSError as error:
            status = error.errno or 255
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    os.close(pidfd)
    code = os.waitstatus_to_exitcode(status)
    reason = os.strerror(code) if 0 < code < 255 else f"status {code}"
    text = "its owner can enter it" if code == 0 else f"the owner of a user namespace cannot enter it: {reason}"
    return Step(text, code == 0, mend="" if code == 0 else "a security module may forbid it: dmesg | tail; aa-status")


def _try_overlay(directory: str, userns: int) -> Step:
    try:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"/tmp/{name}")
        mount.attach(mount.clone(directory, mount.RDONLY, userns), "/tmp/lower")
        options = b"lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work"
        libc.call("mount", b"overlay", b"/tmp/merged", b"overlay", 0, options, what="mount overlay")
    except OSError as error:
        return Step(
            f"an overlay cannot have an idmapped layer: {error}",
            False,
            needed=False,
            mend="templates with a writable layer will not work; those without do",
        )
    return Step("overlay", True, needed=False)
