"""What a newcomer runs, ./install and ./quickstart, in a host that has nothing of jailkit.

The host has no way out, so pip gets its wheels from a directory, downloaded once. Packages of Debian are there already:
what apt does is seen in the lab (tests/lab).
"""

from __future__ import annotations

import configparser
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .host import Host
from .host.golden import CACHE, digest, tree_copy

pytestmark = pytest.mark.host
SRC = "/usr-src/jailkit"
ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": "/wheels",
}
KEPT = ("etc", "home", "opt", "root", "run", "srv", "usr/local", "var/lib", "var/spool", "var/cache")
CHANGES_ANYWAY = ("/etc/.pwd.lock", "/run/utmp", "/run/sshd")


@pytest.fixture(scope="module")
def wheels() -> Path:
    """All that pip needs to install the tree: its libraries, and setuptools to build it."""
    config = configparser.ConfigParser()
    config.read(tree_copy() / "setup.cfg")
    needs = [*config["options"]["install_requires"].split("\n"), "setuptools>=66", "wheel"]
    place = CACHE / f"wheels-{digest(*needs)}"
    if not (place / "done").exists():
        argv = [sys.executable, "-m", "pip", "-q", "download", "-d", str(place), *filter(None, needs)]
        subprocess.run(argv, check=True, env={**os.environ, "PIP_CACHE_DIR": str(CACHE / "pip-cache")})
        (place / "done").touch()
    return place


@pytest.fixture
def newcomer(wheels: Path) -> Iterator[Host]:
    with Host(product=False, binds=[(str(tree_copy()), SRC), (str(wheels), "/wheels")]) as host:
        yield host


@pytest.fixture
def installed(wheels: Path) -> Iterator[Host]:
    """Where ./install was run before."""
    with Host(binds=[(str(tree_copy()), SRC), (str(wheels), "/wheels")]) as host:
        yield host


def state(host: Host) -> dict[str, str]:
    """Every file of the host that somebody could have made or changed."""
    found: dict[str, str] = {}
    for top in KEPT:
        for here, _names, files in os.walk(host.root / top):
            inside = "/" + os.path.relpath(here, host.root)
            found[inside] = "directory"
            for name in files:
                path, shown = Path(here, name), f"{inside}/{name}"
                if path.is_symlink():
                    found[shown] = f"-> {path.readlink()}"
                elif path.is_file():
                    info = path.stat()
                    content = hashlib.sha256(path.read_bytes()).hexdigest()
                    found[shown] = f"{info.st_mode:o} {info.st_uid} {info.st_gid} {content}"
    backups = ("passwd-", "shadow-", "group-", "gshadow-", "subuid-", "subgid-")
    return {
        path: value
        for path, value in found.items()
        if not path.startswith(CHANGES_ANYWAY) and not (path.startswith("/etc/") and path.endswith(backups))
    }


def changes(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    return {
        path: (before.get(path, "-"), after.get(path, "-"))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    }


def run(host: Host, *argv: str) -> str:
    done = host.run([f"{SRC}/{argv[0]}", *argv[1:]], env=ENV, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_quickstart_from_nothing_and_back(newcomer: Host) -> None:
    h = newcomer
    before, sshd = state(h), h.sshd_pid
    shown = run(h, "quickstart")
    for expected in (
        "uid=1000(demo) gid=1000(demo) groups=1000(demo)",
        "/home/demo",
        "keeper",
        "/dev/pts/0",
        "cat: /etc/shadow: No such file or directory",
        "ls: cannot open directory '/root': Permission denied",
        "No such process",
        "unshare failed",
        "Read-only file system",
        'File "/etc/shadow" not found',
        "sudo jailctl doctor",
    ):
        assert expected in shown, shown
    during = changes(before, state(h))
    assert not [path for path in during if path.startswith(("/etc/ssh/", "/etc/pam.d/common", "/usr/share"))]
    assert [path for path in during if path.startswith("/etc/pam.d/")] == ["/etc/pam.d/jailctl-demo"]
    assert h.sshd_pid == sshd and Path(f"/proc/{sshd}").exists()

    again = run(h, "quickstart")
    assert "nothing to do" in again and "there already" in again and "runs already" in again
    assert "uid=1000(demo)" in again

    assert "nothing is left" in run(h, "quickstart", "--undo")
    assert changes(before, state(h)) == {}
    # a hook that waits for the end of the linger time finds no jail then, and ends
    left = [p for p in h.processes() if p.pid not in (h.init, sshd) and p.argv != ("/opt/jailctl/libexec/hook",)]
    assert left == []
    run(h, "quickstart", "--undo")  # and once more does no harm


def test_quickstart_on_a_port_that_is_taken(installed: Host) -> None:
    server = "import socket, time; s = socket.create_server(('127.0.0.1', 2222)); print(1, flush=True); time.sleep(99)"
    with installed.spawn(["/usr/bin/python3", "-c", server]) as taker:
        assert taker.stdout and taker.stdout.read(1)
        done = installed.run([f"{SRC}/quickstart"], env=ENV, timeout=110)
    assert done.returncode != 0 and "--port" in done.stderr
    assert "127.0.0.1:2322" in run(installed, "quickstart", "--port", "2322")


def test_quickstart_leaves_what_is_somebody_elses(installed: Host) -> None:
    h = installed
    h.run(["/usr/sbin/useradd", "-m", "demo"], check=True)
    (h.root / "etc/pam.d/jailctl-demo").write_text("auth required pam_deny.so\n")
    before = state(h)
    done = h.run([f"{SRC}/quickstart"], env=ENV, timeout=60)
    assert done.returncode != 0 and "/etc/pam.d/jailctl-demo" in done.stderr
    run(h, "quickstart", "--undo")
    (h.root / "etc/pam.d/jailctl-demo").unlink()
    done = h.run([f"{SRC}/quickstart"], env=ENV, timeout=60)
    assert done.returncode != 0 and "demo" in done.stderr
    run(h, "quickstart", "--undo")
    after = changes(before, state(h))
    assert [path for path in after if path.startswith(("/home", "/etc/passwd", "/etc/shadow", "/opt"))] == []


def test_quickstart_undo_leaves_what_an_administrator_made(newcomer: Host) -> None:
    """A template and options of her own; a jail whose spec file is elsewhere for the moment; a demo of her own."""
    h = newcomer
    run(h, "quickstart")
    jails = h.root / "var/lib/jailctl/state.db"
    jails = jails.rename(jails.with_name("moved"))
    jails.with_name("state.db").mkdir()
    before = state(h)
    done = h.run([f"{SRC}/quickstart", "--undo"], env=ENV, timeout=60)
    assert done.returncode != 0 and "jailctl show demo" in done.stderr, "whose jail demo's is was not to be read"
    assert changes(before, state(h)) == {}
    jails.with_name("state.db").rmdir()
    jails.rename(jails.with_name("state.db"))
    (h.root / "etc/jailctl/templates/ours").mkdir()
    (h.root / "etc/jailctl/templates/ours/template.toml").write_text("# ours\n")
    h.jailctl("add-user", "alice", "--key", f"{h.key('alice')}.pub")
    spec = h.root / "etc/jailctl/jails.d/alice.toml"
    text = spec.read_text()
    spec.unlink()
    assert "other users" in run(h, "quickstart", "--undo")
    done = h.run([f"{SRC}/install", "--undo"], env=ENV)
    assert done.returncode != 0 and "jailctl remove-user alice" in done.stderr
    assert (h.root / "home/alice").is_dir() and "demo" not in h.jailctl("list").stdout
    spec.write_text(text)
    h.jailctl("remove-user", "alice")
    h.jailctl("add-user", "demo", "--key", f"{h.key('demo')}.pub")
    assert "other users" in run(h, "quickstart", "--undo")
    assert (h.root / "home/demo").is_dir()
    h.jailctl("remove-user", "demo")
    assert "other users" in run(h, "quickstart", "--undo"), "alice's ids were given out"
    assert (h.root / "etc/jailctl/templates/ours/template.toml").read_text() == "# ours\n"


def test_install_twice_and_undo(newcomer: Host) -> None:
    h = newcomer
    before = state(h)
    assert "jailctl: installed" in run(h, "install")
    assert h.jailctl("--version").stdout.strip()
    first = state(h)
    start = time.monotonic()
    assert "nothing to do" in run(h, "install")
    assert time.monotonic() - start < 2
    assert changes(first, state(h)) == {}
    unsafe = ["(", "!", "-uid", "0", "-o", "!", "-type", "l", "-perm", "/022", ")"]
    assert h.run(["/usr/bin/find", "/opt/jailctl", "/usr/local/sbin/jailctl", *unsafe]).stdout == ""
    assert "removed" in run(h, "install", "--undo")
    assert changes(before, state(h)) == {}
    assert "nothing to undo" in run(h, "install", "--undo")


def test_install_mends_a_broken_installation(installed: Host) -> None:
    h = installed
    run(h, "install")
    whole = h.run(["/usr/bin/find", "/opt/jailctl", "-name", "*.pyc", "-prune", "-o", "-printf", "%p %m\n"]).stdout
    h.run(
        ["/bin/rm", "-r", "/opt/jailctl/libexec/hook", "/opt/jailctl/lib/jailkit/jail", "/usr/local/sbin/jailctl"],
        check=True,
    )
    assert "jailctl: installed" in run(h, "install")
    mended = h.run(["/usr/bin/find", "/opt/jailctl", "-name", "*.pyc", "-prune", "-o", "-printf", "%p %m\n"]).stdout
    assert sorted(mended.splitlines()) == sorted(whole.splitlines())


def test_undo_is_refused_while_there_are_jails(installed: Host) -> None:
    h = installed
    h.jailctl("add-user", "alice", "--key", f"{h.key('alice')}.pub")
    done = h.run([f"{SRC}/install", "--undo"], env=ENV)
    assert done.returncode != 0 and "jailctl remove-user alice" in done.stderr
    assert h.jailctl("list").returncode == 0


@pytest.mark.parametrize(
    ("argv", "says"), [(["--nonsense"], "unknown argument"), (["--port", "x"], "--port needs a number")]
)
def test_wrong_arguments(bare_host: Host, argv: list[str], says: str) -> None:
    done = subprocess.run([str(tree_copy() / "quickstart"), *argv], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and says in done.stderr


def test_without_root() -> None:
    for script in ("install", "quickstart"):
        argv = ["/usr/bin/setpriv", "--reuid", "65534", "--clear-groups", "/bin/bash", "-s"]
        done = subprocess.run(
            argv, input=(tree_copy() / script).read_text(), capture_output=True, text=True, check=False
        )
        assert done.returncode != 0 and "this needs root" in done.stderr
