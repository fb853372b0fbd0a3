"""Run steps and smoke tests: what a command sees, what it cannot touch, and that nothing is left, however it ends."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jailkit.errors import JailkitError
from jailkit.image import contents, layer, scratch, store, upper, workshop
from jailkit.image.sandbox.ids import BUILD_BASE, BUILD_RANGE, SMOKE_USER
from jailkit.image.template import Template
from jailkit.jail.recipe import RANGE
from jailkit.paths import Paths
from jailkit.spec.source import RunStep
from jailkit.spec.template import TemplateSpec
from tests.unit.rooted import TREE, rooted

BINDS = ["/usr"]


class Bench:
    """A host view of an image, and room for layers."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        store.ready(paths)
        self.lower = f"{paths.images}/lower"
        rows = [layer.directory(f"/{name}") for name in ("dev", "etc", "home", "proc", "run", "srv", "usr", "var")]
        rows += [layer.directory("/tmp", 0o1777), layer.directory("/var/tmp", 0o1777)]
        rows += [layer.link(f"/{name}", f"usr/{name}") for name in ("bin", "lib", "lib64", "sbin")]
        with contents.in_use(paths), scratch.directory(paths) as place:
            kept = contents.Store(paths, place)
            rows += [layer.file("/etc/motd", b"hello\n", 0o644, kept), layer.file("/srv/old", b"old\n", 0o644, kept)]
            rows += [layer.file("/etc/passwd", b"", 0o644, kept)]
            store.place(self.lower, sorted(rows, key=lambda row: row.path), kept)
            kept.settle()
        self.lines: list[str] = []

    def run(self, command: str, seconds: float = 60, **step: object) -> upper.Found:
        """The command's layer; its output is in ``lines``."""
        self.lines.clear()
        with scratch.directory(self.paths) as place:
            os.mkdir(f"{place}/made")
            workshop.run(
                self.paths, self.lower, f"{place}/made", RunStep.model_validate({"command": command, **step}),
                binds=BINDS, log=self.lines.append, seconds=seconds,
            )  # fmt: skip
            assert os.listdir(place) == ["made"]
            return upper.read(f"{place}/made", contents.Counted(), BUILD_BASE)

    def says(self, command: str, **step: object) -> str:
        self.run(command, 60, **step)
        return "\n".join(self.lines)

    def spec(self, **values: object) -> Template:
        body = {"name": "t", "description": "d", "source": "host", **values}
        files = {"passwd": (b"{{ user.name }}:x:{{ user.uid }}:{{ user.gid }}::{{ user.home }}:/bin/sh\n", False)}
        return Template(TemplateSpec.model_validate(body), "", {}, {"passwd.j2": files["passwd"]})

    def smoke(self, *commands: str, seconds: float = 60, **values: object) -> str:
        self.lines.clear()
        workshop.smoke(
            self.paths, self.lower, self.spec(smoke=list(commands), **values), self.lines.append, seconds
        )  # fmt: skip
        return "\n".join(self.lines)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with rooted() as paths:
        yield Bench(paths)


def paths_of(found: upper.Found) -> dict[str, str]:
    return {row.path: row.kind for row in found.rows}


# -- what a step makes


def test_a_layer_has_what_changed_and_nothing_else(bench: Bench) -> None:
    found = bench.run(
        "echo x > /etc/new; mkdir -p /opt/a/b; rm /srv/old; echo t > /tmp/t; echo r > /run/r; echo v > /var/tmp/v\n"
        "ln -s /x /opt/link; chmod 700 /opt/a; echo s > /opt/s; chown 33:33 /opt/s; chmod 4755 /opt/s; mkfifo /opt/f\n"
        "rm -r /srv; mkdir /srv; echo n > /srv/n; echo p > /root/p; chmod 600 /root/p"
    )
    kinds = paths_of(found)
    assert kinds == {
        "/etc": "directory", "/etc/new": "file", "/opt": "directory", "/opt/a": "directory", "/opt/a/b": "directory",
        "/opt/link": "link", "/opt/s": "file", "/srv": "directory", "/srv/n": "file", "/root": "directory",
        "/root/p": "file",
    }  # fmt: skip
    rows = {row.path: row for row in found.rows}
    assert rows["/srv"].opaque and (rows["/opt/a"].mode, rows["/opt/s"].mode, rows["/root/p"].mode) == (
        0o700, 0o755, 0o600,
    )  # fmt: skip
    assert found.dropped == [("/opt/f", "is a FIFO"), ("/opt/s", "its set-id bits")]
    assert found.theirs == ["/opt/s"]


def test_the_step_sees_its_variables_and_a_fixed_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    said = bench.says("env", environment={"PYTHONHASHSEED": "0"})
    names = {line.split("=")[0] for line in said.splitlines()}
    assert names - {"PWD", "_", "SHLVL", "OLDPWD"} == {
        "PATH", "HOME", "LC_ALL", "DEBIAN_FRONTEND", "SOURCE_DATE_EPOCH", "PYTHONHASHSEED",
    }  # fmt: skip
    assert f"SOURCE_DATE_EPOCH={layer.EPOCH}" in said


def test_a_failing_step_says_which_and_why(bench: Bench) -> None:
    with pytest.raises(JailkitError) as caught:
        bench.run("echo one; echo two >&2; false; echo three")
    assert caught.value.code == "invalid.run-step"
    assert "status 1" in caught.value.message and "one | two" in caught.value.message
    with pytest.raises(JailkitError, match="status 137"):
        bench.run("kill -9 $$")


def test_a_step_has_its_time_and_leaves_nothing_running(bench: Bench) -> None:
    token = f"31337{secrets.randbelow(10**9)}"
    begin = time.monotonic()
    with pytest.raises(JailkitError, match="took longer than 1 s"):
        bench.run(f"setsid sleep {token} & sleep {token}", seconds=1)
    assert time.monotonic() - begin < 30
    assert marked(token) == []
    bench.run(f"setsid sleep {token} >/dev/null 2>&1 & echo done")  # a daemon ends with the step
    assert bench.lines == ["done"] and marked(token) == []


def test_output_comes_line_by_line(bench: Bench) -> None:
    bench.run("printf 'a\\nb'; printf '\\377\\n'; echo; head -c 10000 /dev/zero | tr '\\0' x; echo > /dev/stderr")
    assert bench.lines[:3] == ["a", "b\ufffd", ""]
    assert "".join(bench.lines[3:]) == "x" * 10000 and max(map(len, bench.lines)) <= 4096


# -- what it is


def test_a_step_is_root_of_nothing(bench: Bench) -> None:
    said = bench.says("id -u; cat /proc/self/uid_map; grep -E 'CapEff|CapBnd|NoNew|Seccomp:' /proc/self/status")
    assert said.splitlines()[0] == "0"
    assert said.split()[1:4] == ["0", str(BUILD_BASE), str(BUILD_RANGE)]
    fields = dict(line.split(":") for line in said.splitlines()[2:])
    docker = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}  # moby, oci/caps/defaults.go
    for name in ("CapEff", "CapBnd"):
        have = {bit for bit in range(64) if int(fields[name], 16) >> bit & 1}
        assert have and have <= docker
    assert fields["NoNewPrivs"].strip() == "1" and fields["Seccomp"].strip() == "2"


def test_a_step_has_no_host_around_it(bench: Bench) -> None:
    canary = Path(bench.paths.root) / "canary"
    canary.write_text("secret")
    listener = subprocess.Popen(["/usr/bin/sleep", "77"])
    try:
        said = bench.says(
            f"test -e {canary} && echo FOUND; ls /sys 2>&1 || true; ls /home; cat /proc/[0-9]*/comm;"
            "ls -l /proc/self/fd;"
            "cat /proc/net/dev | tail -n +3; hostname; cat /proc/1/environ 2>&1 || ls -l /proc/1/root 2>&1 ||"
            f"kill -0 {listener.pid} 2>&1 || cat /proc/mounts || true"
        )
    finally:
        listener.kill()
        listener.wait()
    assert "FOUND" not in said and "sleep" not in said
    assert [line.split(":")[0].strip() for line in said.splitlines() if ": " in line and " 0 " in line] == ["lo"]
    assert said.count("Permission denied") >= 2 and "No such process" in said
    assert bench.paths.images not in said and "/var/lib" not in said
    descriptors = [line.split(" -> ")[1] for line in said.splitlines() if " -> " in line]
    assert all(target.startswith(("pipe:", "/dev/null", "/proc/")) for target in descriptors), descriptors


@pytest.mark.parametrize(
    "command",
    [
        "mount -t tmpfs none /srv", "unshare -U true", "unshare -m true", "chroot / true", "mknod /srv/d c 1 3",
        "mknod /srv/d b 8 0", "echo 1 > /proc/sys/kernel/panic", "echo x > /proc/sysrq-trigger", "dmesg",
        "echo x > /usr/bin/x", "touch /usr/x", "nsenter -t 1 -m true", "echo 0 > /proc/1/oom_score_adj && false",
        "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
        "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'",
        "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 22), 1)'",
        "python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).ptrace(16, 1, 0, 0) != 0)'",
        "kill -9 1; kill -STOP 1; test -e /proc/1/stat && false",
    ],
)  # fmt: skip
def test_a_step_cannot(bench: Bench, command: str) -> None:
    with pytest.raises(JailkitError) as caught:
        bench.run(command)
    assert caught.value.code == "invalid.run-step"


def test_a035_a_step_cannot_change_what_images_share(bench: Bench) -> None:
    """The lower's files are hard links into the store of all images: written, truncated, linked, or given another
    mode, what changes is a copy."""
    names = sorted(Path(bench.paths.contents).rglob("*.*"))
    before = {path: (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes()) for path in names}
    found = bench.run(
        "echo more >> /etc/motd; : > /srv/old; chmod 777 /etc/motd; ln /etc/motd /etc/hard; chown 1:1 /srv/old; "
        "exec 3<>/etc/motd; echo through >&3"
    )
    assert {"/etc/motd", "/srv/old", "/etc/hard"} <= set(paths_of(found))
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes()) for path in names}
    assert Path(f"{bench.lower}/etc/motd").read_text() == "hello\n"


def test_the_network_is_the_hosts_only_where_asked(bench: Bench) -> None:
    own = Path("/proc/net/dev").read_text().count(":")
    assert bench.says("grep -c : /proc/net/dev; cat /etc/resolv.conf 2>&1 || true").splitlines()[0] == "1"
    found = bench.run("grep -c : /proc/net/dev; cat /etc/resolv.conf; touch /etc/other", network=True)
    assert bench.lines[0] == str(own)
    assert "\n".join(bench.lines[1:]) == Path("/etc/resolv.conf").read_text().rstrip("\n")
    assert paths_of(found) == {"/etc": "directory", "/etc/other": "file"}
    with pytest.raises(JailkitError):
        bench.run("echo x > /etc/resolv.conf", network=True)


def test_resolv_conf_over_a_link_that_leads_nowhere(bench: Bench) -> None:
    os.symlink("../run/systemd/resolve/stub-resolv.conf", f"{bench.lower}/etc/resolv.conf")
    found = bench.run("cat /etc/resolv.conf; touch /etc/other", network=True)
    assert "\n".join(bench.lines) == Path("/etc/resolv.conf").read_text().rstrip("\n")
    assert paths_of(found) == {"/etc": "directory", "/etc/other": "file"}


# -- smoke tests


def test_smoke_is_an_ordinary_user_in_a_jail(bench: Bench) -> None:
    said = bench.smoke(
        "id -un; id -G; pwd; echo x > ~/f && cat ~/f; grep -E 'CapBnd|NoNew' /proc/self/status; ! touch /srv/x"
    )
    lines = said.splitlines()
    assert lines[1:5] == ["smoke", str(SMOKE_USER), "/home/smoke", "x"]
    assert lines[5].split() == ["CapBnd:", "0" * 16] and lines[6].split() == ["NoNewPrivs:", "1"]


def test_smoke_of_a_writable_root(bench: Bench) -> None:
    before = sorted(path.name for path in Path(bench.lower).rglob("*"))
    bench.smoke("echo x > /srv/x; rm /srv/old; ! touch /etc/x", root="overlay", writable=["/srv"])
    assert sorted(path.name for path in Path(bench.lower).rglob("*")) == before


def test_a_failing_smoke_test_says_which_and_why(bench: Bench) -> None:
    with pytest.raises(JailkitError) as caught:
        bench.smoke("true", "echo broken; exit 3", "echo never")
    assert caught.value.code == "invalid.smoke"
    assert "exit 3" in caught.value.message and "status 3" in caught.value.message and "broken" in caught.value.message
    assert "never" not in bench.lines
    with pytest.raises(JailkitError, match="took longer"):
        bench.smoke("sleep 100", seconds=0.5)


# -- killed


def marked(token: str) -> list[int]:
    """Processes with the token in their command line, the test's own aside."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and int(entry) != os.getpid():
                line = Path(f"/proc/{entry}/cmdline").read_bytes()
                if token.encode() in line and Path(f"/proc/{entry}/stat").read_text().split(")")[1].split()[0] != "Z":
                    found.append(int(entry))
        except OSError:
            continue
    return sorted(found)


BUILDER = """
import sys
from jailkit.image import scratch, store, workshop, contents
from jailkit.paths import Paths
from jailkit.spec.source import RunStep
paths = Paths(sys.argv[1])
with contents.in_use(paths), scratch.directory(paths) as place:
    step = RunStep(command=f"(setsid sleep {sys.argv[2]} &); echo x > /srv/x; echo ready; sleep {sys.argv[2]}")
    print("begun", flush=True)
    workshop.layer_of(paths, f"{paths.images}/lower", place, step, contents.Store(paths, place),
                      lambda line: print(line, flush=True), ["/usr"])
"""


def test_whatever_is_killed_at_any_moment_nothing_is_left(bench: Bench) -> None:
    chance = random.Random(20261125)
    killed = dict.fromkeys(range(8), 0)
    for number in range(40):
        token = f"31337{secrets.randbelow(10**9)}"
        builder = subprocess.Popen(
            [sys.executable, "-c", BUILDER, bench.paths.root, token], cwd=TREE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert builder.stdout and builder.stdout.readline() == b"begun\n"
        time.sleep(chance.uniform(0, 0.15))
        alive = marked(token)
        place = number % 5 if number % 5 < len(alive) else 0  # caller, builder, inner, pid 1, command
        killed[place] += 1
        os.kill(alive[place], signal.SIGKILL)
        assert builder.wait(20) != 0
        builder.stdout.close()
        end = time.monotonic() + 10
        while left := marked(token):
            assert time.monotonic() < end, [(pid, Path(f"/proc/{pid}/status").read_text()) for pid in left]
            time.sleep(0.01)
        scratch.clean(bench.paths)  # as the next build does
        assert sorted(os.listdir(bench.paths.images)) == [".lock", "lower"]
    assert all(killed[place] for place in range(4)), f"the moments were badly chosen: {killed}"
    assert [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if bench.paths.root in line] == []
    assert bench.says("echo well") == "well"


@contextlib.contextmanager
def planted() -> Iterator[Path]:
    """A directory below one that is bound, with files of root's, of a person's and of everybody's."""
    place = Path(f"/usr/local/share/jailkit-test-{secrets.token_hex(6)}")
    place.mkdir()
    try:
        for name, owner, mode in (("root", 0, 0o600), ("theirs", 1000, 0o600), ("open", 0, 0o644)):
            (place / name).write_text(f"canary of {name}\n")
            os.chown(place / name, owner, owner)
            (place / name).chmod(mode)
        yield place
    finally:
        shutil.rmtree(place)


def test_a197_a_step_reads_no_more_of_the_host_than_everybody(bench: Bench) -> None:
    """Its root has CAP_DAC_OVERRIDE over what is mapped; what it copies would be in an image for all tenants."""
    with planted() as place:
        found = bench.run(f"cp {place}/open /srv; for f in root theirs; do cp {place}/$f /srv || true; done")
        assert [row.path for row in found.rows if row.path.startswith("/srv/")] == ["/srv/open"], bench.lines
        assert len([line for line in bench.lines if "Permission denied" in line]) == 2


def test_a197_a_smoke_test_reads_no_more_of_the_host_than_a_jail(bench: Bench) -> None:
    """Its user is nobody of the host's: not the person with uid 1000."""
    with planted() as place:
        said = bench.smoke(
            f"cat {place}/open; for f in root theirs; do ! cat {place}/$f || exit 9; done; cat /proc/self/uid_map",
            binds=BINDS,
        )
    lines = said.splitlines()[1:]
    assert [line for line in lines if "canary" in line and "Permission denied" not in line] == ["canary of open"]
    assert len([line for line in lines if "Permission denied" in line]) == 2
    wanted = [["0", str(BUILD_BASE), str(RANGE)], [str(SMOKE_USER), str(SMOKE_USER), "1"]]
    assert [line.split() for line in lines[-2:]] == wanted
