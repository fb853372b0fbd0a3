"""The layers below a throw-away host, built once and kept in ``/var/tmp/jailkit-tests/golden``.

    bare-KEY     a fresh Debian: /etc and the package database of this machine's packages, stock sshd and PAM
                 configuration, no accounts of persons, nothing of the machine's /root, /home, /opt, /work
    base-KEY     bare, and ``./install`` run in it as an administrator would; KEY: the Python libraries asked for
    tree-KEY     base, and ``./install`` run again from the tree as it is now; KEY: the tree

Each is the upper layer of an overlay over the ones before. /usr is not in them: it is the machine's (see boot.py).
What is installed is a copy of the tree as it was when the session first needed it, so that one that is being worked on
gives no mixture. ``JAILKIT_TEST_TREE`` names another tree than the one these tests lie in.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CACHE = Path("/var/tmp/jailkit-tests")
_TREE = Path(os.environ.get("JAILKIT_TEST_TREE") or Path(__file__).resolve().parents[2])
KEPT = 3
"""How many layers of a kind stay in the cache."""


@dataclass(frozen=True)
class Golden:
    """What a host stands on. ``lower``: directories, topmost first. ``usr_local``: what goes to /usr/local."""

    lower: tuple[Path, ...]
    usr_local: Path


def digest(*parts: str | bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return total.hexdigest()[:16]


@contextlib.contextmanager
def locked() -> Iterator[None]:
    CACHE.mkdir(mode=0o700, exist_ok=True)
    (CACHE / "golden").mkdir(exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@functools.cache
def golden(product: bool = True) -> Golden:
    """The layers, built if they are not there yet; ``product``: with jailkit installed, not yet set up."""
    with locked():
        bare = build("bare", bare_key(), make_bare, None)
        if not product:
            return bare
        needs, tree = digests(tree_copy())
        base = build("base", digest(bare_key(), needs), install_tree, bare)
        if (base.lower[0].parent / "tree").read_text() == tree:
            return base  # as it is on CI: one run of ./install in a fresh host
        return build("tree", digest(bare_key(), needs, tree), install_tree, base)


def build(kind: str, key: str, make: object, below: Golden | None) -> Golden:
    assert callable(make)
    place = CACHE / "golden" / f"{kind}-{key}"
    layer = Golden((place / "root", *(below.lower if below else ())), place / "usr-local")
    if not (place / "done").exists():
        started = time.monotonic()
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o755)
        (place / "root").mkdir(mode=0o755)
        if below:
            shutil.copytree(below.usr_local, layer.usr_local, symlinks=True)
        make(layer, below)
        (place / "done").touch()
        prune(kind, place)
        print(f"[host] built layer {kind}-{key[:6]} in {time.monotonic() - started:.1f} s", file=sys.__stderr__)
    os.utime(place / "done")
    return layer


def prune(kind: str, keep: Path) -> None:
    """A layer in use by a running host of another test run must not go: so the oldest only, and not the young."""
    places = sorted((CACHE / "golden").glob(f"{kind}-*/done"), key=lambda done: done.stat().st_mtime)
    for done in places[:-KEPT]:
        if done.parent != keep and time.time() - done.stat().st_mtime > 3600:
            shutil.rmtree(done.parent, ignore_errors=True)


# -- a fresh Debian


def bare_key() -> str:
    return digest(Path(__file__).read_bytes(), Path("/var/lib/dpkg/status").read_bytes())


EMPTY = ("proc", "sys", "dev", "run", "usr", "home", "opt", "srv", "mnt", "media", "boot",
         "var/cache", "var/lib", "var/log", "var/spool", "var/opt", "var/backups", "var/lib/jailctl")  # fmt: skip
COPIED = ("var/lib/dpkg", "var/lib/pam", "var/lib/ucf", "var/lib/vim", "var/lib/misc", "var/lib/python",
          "var/lib/systemd/deb-systemd-helper-enabled", "var/cache/debconf", "var/cache/man",
          "var/spool/cron")  # fmt: skip


def make_bare(layer: Golden, _below: Golden | None) -> None:
    root = layer.lower[0]
    for name in os.listdir("/"):
        if os.path.islink(f"/{name}") and os.readlink(f"/{name}").startswith("usr/"):
            (root / name).symlink_to(os.readlink(f"/{name}"))
    for name in EMPTY:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, mode in (("root", 0o700), ("tmp", 0o1777), ("var/tmp", 0o1777), ("var/mail", 0o2775)):
        (root / name).mkdir()
        (root / name).chmod(mode)
    (root / "var/run").symlink_to("/run")
    (root / "var/lock").symlink_to("/run/lock")
    for name in ("lastlog", "wtmp", "btmp"):
        (root / "var/log" / name).touch(0o664)
    subprocess.run(["/bin/cp", "-a", "/etc", str(root)], check=True)
    for name in COPIED:
        if os.path.exists(f"/{name}"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["/bin/cp", "-a", f"/{name}", str(root / name)], check=True)
    clean_etc(root / "etc")
    layer.usr_local.mkdir(mode=0o755)
    for name in ("bin", "etc", "games", "include", "lib", "sbin", "share", "src"):
        (layer.usr_local / name).mkdir(mode=0o755)
    (layer.usr_local / "man").symlink_to("share/man")


def clean_etc(etc: Path) -> None:
    """What makes this machine's /etc differ from that of a fresh Debian with the same packages."""
    for host_key in etc.glob("ssh/ssh_host_*"):
        host_key.unlink()
    subprocess.run(
        ["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{etc}/ssh/ssh_host_ed25519_key"], check=True
    )
    shutil.copy("/usr/share/openssh/sshd_config", etc / "ssh/sshd_config")
    (etc / "hostname").write_text("testhost\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n127.0.1.1 testhost\n")
    shutil.rmtree(etc / "jailctl", ignore_errors=True)
    persons = {"jailed", "jailed-chroot"}
    for line in (etc / "passwd").read_text().splitlines():
        name, _password, uid, *_rest = line.split(":")
        if 1000 <= int(uid) < 65000:
            persons.add(name)
    for database in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid"):
        for path in (etc / database, etc / f"{database}-"):
            if path.exists():
                kept = [line for line in path.read_text().splitlines(True) if line.split(":")[0] not in persons]
                path.write_text("".join(kept))


# -- the product in it


PARTS = ("install", "quickstart", "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE",
         "jailkit", "templates", "etc", "docs")  # fmt: skip


@functools.cache
def tree_copy() -> Path:
    """A copy of the tree, as a newcomer's clone would be, in the cache."""
    place = CACHE / "trees"
    place.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=place))
    fresh.chmod(0o755)
    for part in PARTS:
        subprocess.run(["/bin/cp", "-r", "-p", str(_TREE / part), str(fresh)], check=True)
    for built in [*fresh.rglob("__pycache__"), fresh / "jailkit/login/door/build"]:
        shutil.rmtree(built, ignore_errors=True)
    named = place / digests(fresh)[1]
    try:
        fresh.rename(named)
    except OSError:  # it is there from an earlier session
        shutil.rmtree(fresh)
    os.utime(named)
    for old in place.iterdir():
        if time.time() - old.stat().st_mtime > 3600 * 3:
            shutil.rmtree(old, ignore_errors=True)
    return named


def digests(tree: Path) -> tuple[str, str]:
    """(of the Python libraries asked for, of the tree), as ``./install`` reckons them."""
    done = subprocess.run([str(tree / "install"), "--digest"], check=True, capture_output=True, text=True)
    words = dict(line.split() for line in done.stdout.splitlines())
    return words["needs"], words["tree"]


def install_tree(layer: Golden, below: Golden | None) -> None:
    from .host import Host  # a host is how a host is built

    assert below is not None
    cache = CACHE / "pip-cache"
    cache.mkdir(exist_ok=True)
    binds = [(str(tree_copy()), "/usr-src/jailkit"), (str(cache), "/pip-cache")]
    binds += [
        (f"/opt/{name}", f"/opt/{name}")
        for name in os.listdir("/opt")
        if os.path.isdir(f"/opt/{name}") and name != "jailctl"
    ]
    settings = {
        name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.lower().endswith("_proxy")
    }
    host = Host(below=below, layer=layer, binds=binds, writable=["/pip-cache"], network="machine", sshd=False)
    with host:
        done = host.run(["/usr-src/jailkit/install"], env={**settings, "PIP_CACHE_DIR": "/pip-cache"}, timeout=900)
        if done.returncode != 0:
            raise RuntimeError(f"./install failed in the test host:\n{done.stdout}{done.stderr}")
        stamp = Path(f"/proc/{host.init}/root/opt/jailctl/installed").read_text()
    for _source, target in binds:
        remove_empty(layer.lower[0], target)
    tree = dict(line.split() for line in stamp.splitlines())["tree"]
    (layer.lower[0].parent / "tree").write_text(tree)


def remove_empty(root: Path, target: str) -> None:
    """The mount points made for the build."""
    path = root / target.lstrip("/")
    while path != root and path.is_dir() and not any(path.iterdir()):
        path.rmdir()
        path = path.parent
