"""Starting a jail (design, section 4). Root's part and the jail's part are two processes:

    builder (root, own mount namespace)           inner (the user's ids)
    ----------------------------------            --------------------------------------------------
    unshare mounts, make them private
    fork inner ---------------------------------> become the user, keeping capabilities; unshare user
    write its id maps, keep its descriptor        wait (meanwhile the starter moves it into its control group)
    stage the root: image, /usr, home, tmpfs      .
    say "staged" -------------------------------> unshare mount, pid, uts, ipc, cgroup (net)
                                                  fork pid 1: proc, devpts, masks, hostname, no further user
                                                  namespaces, pivot, drop everything, seccomp, exec keeper
    write the entry record, tell the keeper "go"

The keeper ends by itself when "go" does not come: a starter that is killed leaves nothing. All mounts belong to the
builder's namespace and go with it. The inner process owns the user namespace because it has the user's uid when it
makes it; it kept its capabilities across that change, so hosts that forbid users to make one allow it.
"""

from __future__ import annotations

import os

from ..errors import JailkitError
from ..kernel import caps, mount, namespaces, proc, seccomp
from ..kernel.libc import put
from ..paths import Paths
from . import chroot, connect, images, limits, runtime, slices, stage
from . import recipe as recipes
from .recipe import RANGE, Recipe
from .record import FLAG_HOST_NETWORK, FOREVER, Record


def start(paths: Paths, name: str, forever: bool = False) -> Record:
    """Start the jail of ``name`` unless it runs; return its record.

    forever: it outlives its last session (``jailctl start``). Raise ``missing.jail``, ``missing.image``,
    ``missing.home``, ``missing.plan``, ``jail.disabled``, ``jail.start``, ``host.limit``, ``unsafe.*``."""
    for _ in range(3):  # an update may come between a look at the image and the jail's lock
        recipe = recipes.load(paths, name)
        runtime.prepare(paths, recipe.uid, recipe.gid, recipe.user)
        with runtime.Locked(paths, recipe.uid):
            recipe = recipes.load(paths, name)  # what it is now that nobody else can start or stop it
            if recipe.disabled:
                raise JailkitError("jail.disabled", f"the jail of {name} is disabled: {recipe.disabled}")
            found = runtime.running(paths, recipe.uid)
            if found is not None and found.user == recipe.user:
                return _kept(paths, recipe, found) if forever else found
            slices.evict(recipe.uid)
            runtime.clear(paths, recipe.uid, recipe.user)
            runtime.prepare(paths, recipe.uid, recipe.gid, recipe.user)
            with images.Held(paths, recipe) as digest:
                if recipes.current(paths, recipe, digest):
                    begin = chroot.start if recipe.level == "chroot" else _start
                    return begin(paths, recipe.but(image=digest, linger=None if forever else recipe.linger))
        images.refresh(paths, name)
    raise JailkitError("busy.image", f"the image of {name} changes faster than its jail can start", "try again")


def _kept(paths: Paths, recipe: Recipe, record: Record) -> Record:
    """A jail that runs already, made to outlive its last session: its watcher ends when it looks next."""
    if record.linger != FOREVER:
        record.linger = FOREVER
        runtime.publish(paths, record)
    return record


def _start(paths: Paths, recipe: Recipe) -> Record:
    stage.check(paths, recipe)
    sockets = connect.Sockets(recipe) if connect.relayed(recipe) else None
    result, result_in = os.pipe2(os.O_CLOEXEC)
    adopted, adopted_in = os.pipe2(os.O_CLOEXEC)
    go_out, go = os.pipe2(os.O_CLOEXEC)
    builder = os.fork()
    if builder == 0:
        for fd in (result, adopted_in, go):
            os.close(fd)
        _child(result_in, lambda: _build(paths, recipe, result_in, adopted, go_out, sockets))
    for fd in (result_in, adopted, go_out):
        os.close(fd)
    try:
        answer = _read(result, line=True)
        place = slices.Place()
        if answer.startswith(b"inner "):
            # moving a process between control groups makes the kernel wait for a grace period, some 10 ms: meanwhile
            # the builder stages the root, and pid 1 is born in its group
            try:
                place = slices.adopt(recipe.uid, int(answer[6:]), limits.amounts(paths, recipe))
                os.write(adopted_in, b"a")
            except (BrokenPipeError, ProcessLookupError):
                pass  # the builder failed and has ended it: its answer says why
            answer = _read(result)
        record = _record(recipe, _answer(recipe, answer), place)
        try:
            runtime.publish(paths, record)
        except JailkitError:
            runtime.clear(paths, recipe.uid, recipe.user)
            raise
        if sockets is not None and (problem := sockets.hand_over(paths, record)):
            runtime.complain(f"the connectors of {recipe.user} are not served: {problem}")
        os.write(go, b"g")
        return record
    finally:
        if sockets is not None:
            sockets.close()
        for fd in (result, adopted_in, go):
            os.close(fd)
        os.waitpid(builder, 0)


def _answer(recipe: Recipe, answer: bytes) -> int:
    """The keeper's pid from what builder, inner and pid 1 wrote: ``pid N`` or ``error code|text|hint``."""
    lines = answer.decode(errors="replace").splitlines()
    for line in lines:
        if line.startswith("error "):
            code, text, hint = (line[6:].split("|") + ["", ""])[:3]
            raise JailkitError(code, f"cannot start the jail of {recipe.user}: {text}", hint or "jailctl doctor")
    if len(lines) != 1 or not lines[0].startswith("pid "):
        raise JailkitError("jail.start", f"cannot start the jail of {recipe.user}: no answer", "jailctl doctor")
    return int(lines[0][4:])


def _record(recipe: Recipe, pid: int, place: slices.Place) -> Record:
    start_time, userns = proc.start_time(pid), proc.namespace(pid, "user")
    if start_time is None or userns is None:
        raise JailkitError("jail.start", f"the keeper of {recipe.user} ended at once", "jailctl doctor")
    host_network = recipe.network == "host"
    return Record(
        user=recipe.user, uid=recipe.uid, gid=recipe.gid, pid=pid, start=start_time, userns=userns, home=recipe.home,
        shell=recipe.shell, sftp=recipe.sftp, path=recipe.path, cgroups=place.procs, events=place.events,
        services=tuple(recipe.services), image=recipe.image,
        linger=FOREVER if recipe.linger is None else recipe.linger,
        flags=FLAG_HOST_NETWORK if host_network else 0, filter=_filter(recipe), **limits.of_logins(recipe),
    )  # fmt: skip


def _filter(recipe: Recipe) -> bytes:
    return seccomp.program(os.uname().machine, recipe.network == "host")


def _child(report: int, body: object) -> None:
    """Run ``body`` in a forked child and never return: what it raises becomes one line on ``report``."""
    status = 1
    try:
        assert callable(body)
        body()
        status = 0
    except JailkitError as error:
        os.write(report, f"error {error.code}|{error.message}|{error.hint}\n".encode())
    except BaseException as error:  # noqa: BLE001 - a forked child must not unwind into its parent's code
        os.write(report, f"error jail.start|{type(error).__name__}: {error}".replace("\n", " ").encode() + b"\n")
    finally:
        os._exit(status)


def _build(paths: Paths, recipe: Recipe, report: int, adopted: int, go: int, sockets: connect.Sockets | None) -> None:
    """The builder. A daemon's session and terminal, limits and keyring are not the jail's business."""
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    proc.fresh_session_keyring()
    keeper = os.open(paths.keeper, os.O_RDONLY | os.O_CLOEXEC)
    namespaces.unshare(namespaces.NEWNS)
    mount.make_private()
    ready, ready_in = os.pipe2(os.O_CLOEXEC)
    staged, staged_in = os.pipe2(os.O_CLOEXEC)
    inner = os.fork()
    if inner == 0:
        os.close(ready)
        os.close(staged_in)
        _child(report, lambda: _inner(paths, recipe, report, ready_in, (staged, adopted), go, keeper, sockets))
    os.write(report, f"inner {inner}\n".encode())
    os.close(ready_in)
    os.close(staged)
    try:
        if os.read(ready, 1) != b"r":
            raise OSError(10, "the inner process ended")
        namespaces.write_maps(inner, recipe.uid, recipe.gid, recipe.base, RANGE)
        userns = os.open(f"/proc/{inner}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        stage.build(paths, recipe, userns, sockets)
        os.write(staged_in, b"s")
        os.close(staged_in)
        os.waitpid(inner, 0)
    except BaseException:
        os.kill(inner, 9)  # not reaped yet, so there is still such a process
        raise


def _inner(
    paths: Paths, recipe: Recipe, report: int, ready: int, waits: tuple[int, int], go: int, keeper: int,
    sockets: connect.Sockets | None,
) -> None:  # fmt: skip
    """Owner of the user namespace. Its own exit leaves pid 1 of the new pid namespace as the jail."""
    caps.become(recipe.uid, recipe.gid, keep_caps=True)
    namespaces.unshare(namespaces.NEWUSER)
    os.write(ready, b"r")
    for fd in waits:  # the root is staged; this process is in the jail's control group
        if os.read(fd, 1) == b"":
            raise OSError(10, "the builder or the starter ended")
    flags = namespaces.NEWNS | namespaces.NEWPID | namespaces.NEWUTS | namespaces.NEWIPC | namespaces.NEWCGROUP
    namespaces.unshare(flags | (namespaces.NEWNET if recipe.network == "none" else 0))
    pid = os.fork()
    if pid == 0:
        _child(report, lambda: _first(paths, recipe, go, keeper, sockets))
    os.write(report, f"pid {pid}\n".encode())


def _first(paths: Paths, recipe: Recipe, go: int, keeper: int, sockets: connect.Sockets | None) -> None:
    """Pid 1, with every capability in its own user namespace and none outside; then the keeper."""
    stage.finish(paths, recipe)
    namespaces.sethostname(recipe.hostname)
    if recipe.network == "none":
        namespaces.loopback_up()
    if sockets is not None:
        sockets.networked()
    # a user namespace of one's own brings all capabilities back (bubblewrap#368): allow none below this one
    put(f"{stage.inside(paths)}/proc/sys/user/max_user_namespaces", "0\n")
    mount.pivot(stage.inside(paths))
    os.dup2(go, 0)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 1)
    os.dup2(null, 2)
    caps.drop_all()
    seccomp.install(_filter(recipe))  # the tenant may trace its keeper: it must find no process with more rights there
    os.execve(keeper, ["keeper"], {})


def _read(fd: int, line: bool = False) -> bytes:
    """All that comes until the other end is closed, or until the first line's end."""
    data = b""
    while not (line and data.endswith(b"\n")) and (chunk := os.read(fd, 1 if line else 4096)):
        data += chunk
    return data
