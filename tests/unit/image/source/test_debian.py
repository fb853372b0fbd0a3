"""source = "debian": where packages come from, how they are installed, what may be asked of the root that installs
them, and one real root, made once and kept below /var/tmp/jailkit-tests as long as nothing that went in has changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jailkit.errors import JailkitError
from jailkit.image import build, store
from jailkit.image.sandbox import ids
from jailkit.image.source import Build, apt, debian
from jailkit.image.world import canonical_digest
from jailkit.kernel import seccomp
from jailkit.paths import Paths
from jailkit.spec.source import DebianSource
from jailkit.spec.template import TemplateSpec
from tests.unit.image.confined import below, ends, wait_for
from tests.unit.image.foreign import tars
from tests.unit.image.memory import Memory

TREE = Path(__file__).resolve().parents[4]
CACHE = Path("/var/tmp/jailkit-tests")
ROOT = str(ids.BUILD_BASE)


def spec(**table: Any) -> TemplateSpec:
    return TemplateSpec.model_validate({"name": "d", "description": "d", "source": "debian", "debian": table})


@pytest.fixture
def scratch() -> Iterator[str]:
    """On a disk, and below directories that are root's alone."""
    if os.geteuid() != 0:
        pytest.skip("namespaces of root's need root")
    made = tempfile.mkdtemp(prefix="jailkit-test-", dir="/var/lib")
    yield made
    assert os.listdir(made) == []
    os.rmdir(made)


# -- the host's apt


ONE_LINE = """
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/d.gpg] http://one.example/debian bookworm main contrib  # why
deb-src http://one.example/debian bookworm main
deb http://one.example/debian bookworm-backports main
deb http://flat.example ./
deb https://other.example/debian bookworm-pgdg main
deb https://docker.example/linux/debian bookworm stable
nonsense
"""
DEB822 = """
Types: deb deb-src
# a comment
URIs: http://two.example/debian http://three.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBG
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
Enabled: no
URIs: http://disabled.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""


@pytest.fixture
def fake_host(tmp_path: Path) -> str:
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_CODENAME=bookworm\n')
    (tmp_path / "etc/apt/sources.list").write_text("deb http://zero.example/debian-security bookworm-security main\n")
    (tmp_path / "etc/apt/sources.list.d/a.list").write_text(ONE_LINE)
    (tmp_path / "etc/apt/sources.list.d/b.sources").write_text(DEB822)
    (tmp_path / "etc/apt/sources.list.d/c.sources.disabled").write_text(DEB822)
    return str(tmp_path)


def test_mirrors_and_keys_are_those_of_the_hosts_apt(fake_host: str) -> None:
    found = apt.for_suite("bookworm", ["main"], fake_host)
    assert [(entry.uri, entry.suite, entry.components) for entry in found] == [
        ("http://zero.example/debian-security", "bookworm-security", ("main",)),
        ("http://one.example/debian", "bookworm", ("main",)),
        ("http://two.example/debian", "bookworm", ("main",)),
        ("http://two.example/debian", "bookworm-updates", ("main",)),
        ("http://three.example/debian", "bookworm", ("main",)),
        ("http://three.example/debian", "bookworm-updates", ("main",)),
    ]
    assert found[-1].stanza() == (
        "Types: deb\nURIs: http://three.example/debian\nSuites: bookworm-updates\nComponents: main\nSigned-By:\n"
        " -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBG\n -----END PGP PUBLIC KEY BLOCK-----\n"
    )
    other = apt.for_suite("trixie", ["contrib"], fake_host)
    assert other == [apt.Entry("http://one.example/debian", "trixie", ("contrib",), "/usr/share/keyrings/d.gpg")]
    assert other[0].stanza().endswith("Signed-By: /usr/share/keyrings/d.gpg\n")


def test_how_mirrors_are_reached_and_nothing_that_trusts_more(monkeypatch: pytest.MonkeyPatch) -> None:
    dump = (
        'APT::Architecture "amd64";\nAcquire "";\nAcquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::https::Verify-Peer "false";\nAcquire::AllowInsecureRepositories "true";\nAcquire::Retries "3";\n'
        'Acquire::AllowDowngradeToInsecureRepositories "1";\nAcquire::http::Proxy::mirror.example "DIRECT";\n'
        'Acquire::GzipIndexes "true";\nDPkg::Post-Invoke:: "reboot";\nAcquire::cdrom::mount "/media";\n'
    )
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, dump, ""))
    assert apt.reach().splitlines() == [
        'Acquire::http::Proxy "http://proxy.example:3128";', 'Acquire::https::Verify-Peer "false";',
        'Acquire::Retries "3";', 'Acquire::http::Proxy::mirror.example "DIRECT";', 'Acquire::GzipIndexes "true";',
    ]  # fmt: skip


def test_inputs_change_with_table_mirror_and_keys(fake_host: str) -> None:
    first = debian.inputs(spec(), "/", fake_host)
    assert first["suite"] == "bookworm" and first == debian.inputs(spec(), "/", fake_host)
    tables: list[dict[str, Any]] = [{"packages": ["vim"]}, {"suite": "trixie"}, {"mirror": "http://m.example/debian"}]
    others = [debian.inputs(spec(**table), "/", fake_host) for table in tables]
    keyring = Path(fake_host, "usr/share/keyrings/d.gpg")
    keyring.parent.mkdir(parents=True)
    keyring.write_bytes(b"key")
    others.append(debian.inputs(spec(), "/", fake_host))
    os.makedirs(f"{fake_host}/etc/apt/trusted.gpg.d")
    Path(fake_host, "etc/apt/trusted.gpg.d/x.gpg").write_bytes(b"key")
    others.append(debian.inputs(spec(), "/", fake_host))
    lists = Path(fake_host, "var/lib/apt/lists")
    lists.mkdir(parents=True)
    release = lists / "one.example_debian_dists_bookworm_InRelease"
    for digit, other in ("1", "a"), ("1", "b"), ("2", "b"), ("3", "b"):
        text = "".join(f" {digit * 64} 123 main/binary-{name}/Packages\n" for name in ("amd64", "arm64"))
        release.write_text(f"Date: today\nSHA256:\n{text} {other * 64} 1 main/source/Sources\n")
        others.append(debian.inputs(spec(), "/", fake_host))
    assert others[-4] == others[-3]
    assert len({canonical_digest(found) for found in [first, *others]}) == 9


def test_a_host_without_a_mirror_or_a_name_is_told_what_to_set(tmp_path: Path) -> None:
    for code in ("host.suite", "host.mirror"):
        with pytest.raises(JailkitError) as caught:
            debian.inputs(spec(), "/", str(tmp_path))
        assert caught.value.code == code and "set " in caught.value.hint
        (tmp_path / "etc").mkdir(exist_ok=True)
        (tmp_path / "etc/os-release").write_text("VERSION_CODENAME=jammy\n")


# -- errors, by the real mmdebstrap


def refused(scratch: str, **table: Any) -> JailkitError:
    log: list[str] = []
    with pytest.raises(JailkitError) as caught:
        debian.rows(Build(Paths(), spec(**table), "/", Memory(), scratch, log=log.append))
    return caught.value


def test_no_mmdebstrap(scratch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "PROGRAM", "/usr/bin/none")
    error = refused(scratch)
    assert (error.code, error.hint) == ("host.mmdebstrap", "apt install mmdebstrap")


def test_a_mirror_that_cannot_be_reached_or_has_no_such_suite(scratch: str, tmp_path: Path) -> None:
    assert refused(scratch, mirror="http://127.0.0.1:9/debian").code == "io.mirror"
    mirror = Path(scratch) / "mirror"
    mirror.mkdir(mode=0o755)
    try:
        os.chmod(scratch, 0o755)
        error = refused(scratch, suite="unheard-of", mirror=f"file://{mirror}")
    finally:
        mirror.rmdir()
    assert error.code == "missing.suite" and "does not have a Release file" in error.message
    assert refused(scratch, mirror="file:///no/such/mirror").code == "missing.mirror"


@pytest.mark.parametrize(
    ("line", "code"),
    [("E: Unable to locate package nonesuch", "missing.package"), ("E: something else", "host.debian"),
     ("W: GPG error: NO_PUBKEY 0E98404D386FA1D9", "unsafe.mirror")],
)  # fmt: skip
def test_what_mmdebstrap_says_becomes_a_sentence(line: str, code: str) -> None:
    error = debian._explained(["I: running apt-get update...", line, "E: run_chroot failed"])
    assert error.code == code and line.partition(": ")[2] in error.message


# -- what may be asked of the root that installs packages


def installed(script: str, scratch: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run ``script`` where mmdebstrap would run; it writes an empty tar. Return its lines."""
    log: list[str] = []
    command = ["/bin/sh", "-c", f"{script}\ntar -cf - -T /dev/null"]
    monkeypatch.setattr(debian, "_command", lambda *_: command)
    with debian.tar_of(DebianSource(), "bookworm", f"{scratch}/work", "/", log.append) as fd:
        assert len(os.read(fd, 1 << 16)) > 0
        while os.read(fd, 1 << 16):
            pass
    return [line for line in log if not line.startswith("mmdebstrap ")]


def test_the_installing_root_is_nobody_on_the_host(scratch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "id -u; cat /proc/self/uid_map; ls -m /; ls -A /root; ls -m /dev; ls -m /etc/apt; readlink /proc/self/ns/net;"
        " grep Seccomp: /proc/self/status; ls /proc | grep -c '^[0-9]'"
    )
    log = installed(f"{{ {script}; }} >&2", scratch, monkeypatch)
    assert log[0] == "0" and log[1].split() == ["0", ROOT, str(ids.BUILD_RANGE)]
    assert log[2] == "bin, dev, etc, lib, lib64, proc, root, run, sbin, tmp, usr, var"
    assert log[3] == "full, null, random, shm, tty, urandom, zero"
    assert set(log[4].split(", ")) <= {"apt.conf.d", "keyrings", "preferences.d", "trusted.gpg", "trusted.gpg.d"}
    assert log[5] == os.readlink("/proc/self/ns/net") and log[6].split() == ["Seccomp:", "2"]
    assert int(log[7]) < 6


def call(name: str) -> str:
    """A shell command that succeeds where the system call is not filtered, whatever it says of its arguments."""
    number = seccomp._EPERM[name][os.uname().machine != "x86_64"]
    return (
        "python3 -c 'import ctypes, errno; lib = ctypes.CDLL(None, use_errno=True);"
        f" lib.syscall({number}, 99, 0, 0, 0, 0); exit(ctypes.get_errno() == errno.EPERM)'"
    )


ATTEMPTS = {
    # what is tried, in a shell: outside it works, as the installing root it does not
    "read what is root's": "cat /etc/shadow",
    "read what a service has": "ls /var/lib/dpkg/info",
    "write to /usr": ": >/usr/share/jailkit-canary && rm /usr/share/jailkit-canary",
    "make /usr writable": "mount --bind /usr /usr && mount -o remount,bind,rw /usr && : >/usr/share/jailkit-canary"
                          " && rm /usr/share/jailkit-canary",
    "see a home": "ls /home",
    "write to the root": ": >/jailkit-canary && rm /jailkit-canary",
    "make a device": "mknod /tmp/jailkit-canary c 1 3 && rm /tmp/jailkit-canary",
    "signal the host's processes": "kill -0 {pid}",
    "join the host's namespaces": "nsenter -t {pid} -m true",
    "set a sysctl": "cat /proc/sys/kernel/core_pattern >/proc/sys/kernel/core_pattern",
    "call keyctl": call("keyctl"), "call bpf": call("bpf"), "call io_uring_setup": call("io_uring_setup"),
    "call init_module": call("init_module"), "call open_by_handle_at": call("open_by_handle_at"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTEMPTS)
def test_a129_the_scripts_of_packages_get_nothing_of_the_host(
    name: str, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = ATTEMPTS[name].format(pid=os.getpid())
    outside = subprocess.run(["/usr/bin/unshare", "-m", "/bin/sh", "-c", script], check=False, capture_output=True)
    assert outside.returncode == 0, outside.stderr
    log = installed(f"if ({script}) >/dev/null 2>&1; then echo got; else echo not; fi >&2", scratch, monkeypatch)
    assert log == ["not"]


def test_what_a_package_leaves_running_ends_with_it(scratch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "sleep 1000 >/dev/null 2>&1 & setsid sleep 1000 >/dev/null 2>&1 & sleep 0.1; echo on >&2"
    assert installed(script, scratch, monkeypatch) == ["on"]
    assert below(os.getpid(), ids.BUILD_BASE) == []


def test_a_builder_that_is_killed_leaves_no_process(scratch: str) -> None:
    program = (
        "from jailkit.image.source import debian\nfrom jailkit.spec.source import DebianSource\n"
        "debian._command = lambda *_: ['/bin/sh', '-c', 'setsid sleep 1000 & sleep 1000']\n"
        f"with debian.tar_of(DebianSource(), 'bookworm', {scratch + '/work'!r}, '/', print): pass\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=TREE, stdout=subprocess.DEVNULL) as builder:
        pids = wait_for(lambda: len(found := below(builder.pid, ids.BUILD_BASE)) >= 4 and found)
        builder.send_signal(signal.SIGKILL)
    ends(pids)
    shutil.rmtree(f"{scratch}/work")  # what scratch.clean does before the next build


# -- a real root


TABLE = DebianSource(packages=["busybox-static"])


@pytest.fixture(scope="session")
def real_root() -> Path:
    """The tar of a minbase root: a minute for the first, nothing for the next."""
    if os.geteuid() != 0:
        pytest.skip("namespaces of root's need root")
    parts = [hashlib.sha256((TREE / "jailkit/image" / name).read_bytes()).hexdigest()
             for name in ("source/debian.py", "source/apt.py", "sandbox/confine.py")]  # fmt: skip
    key = canonical_digest([debian.inputs(spec(**TABLE.model_dump()), "/", "/"), parts])[:16]
    kept = CACHE / f"debian-{key}.tar"
    if kept.exists():
        os.utime(kept)
        return kept
    for old in sorted(CACHE.glob("debian-*.tar"), key=lambda path: path.stat().st_mtime)[:-3]:  # of other work trees
        old.unlink()
    place = tempfile.mkdtemp(prefix="jailkit-test-", dir="/var/lib")
    try:
        with debian.tar_of(TABLE, apt.codename(), f"{place}/work", "/", print) as fd, open(f"{kept}.new", "wb") as out:
            while data := os.read(fd, 1 << 20):
                out.write(data)
    except JailkitError as error:
        if error.code == "io.mirror":
            pytest.skip(f"no mirror in reach: {error.message}")
        raise
    finally:
        os.rmdir(place)
    os.rename(f"{kept}.new", kept)
    return kept


@pytest.mark.timeout(900)
def test_a_real_root_has_what_it_should_and_nothing_of_this_host(real_root: Path, tmp_path: Path) -> None:
    rows, kept, log = tars.unpacked_file(real_root, tmp_path)
    found = {row.path: row for row in rows}
    assert found["/bin"].target == "usr/bin" and found["/usr/bin/busybox"].mode == 0o755
    assert found["/usr/bin/su"].mode == 0o755 and found["/etc/shadow"].mode == 0o600 and found["/tmp"].mode == 0o1777
    assert b"busybox-static" in kept.data[found["/var/lib/dpkg/status"].sha256]
    assert not {"/etc/resolv.conf", "/etc/hostname", "/etc/apt/apt.conf.d/99mmdebstrap"} & set(found)
    files = [path for path, row in found.items() if row.kind == "file"]
    left = ("/var/log/", "/var/cache/apt/archives/", "/tmp/", "/run/", "/var/lib/apt/lists/", "/proc/", "/dev/")
    assert [path for path in files if path.startswith(left) and found[path].size] == []
    assert "/etc/machine-id" not in found or found["/etc/machine-id"].size == 0
    assert any(line == "dropped the device '/dev/null'" for line in log)
    sources = [kept.data[found[path].sha256] for path in files if path.startswith("/etc/apt/sources.list")]
    assert any(b"Suites: " in text for text in sources)


@pytest.mark.timeout(900)
def test_an_image_of_a_real_root(paths: Paths, real_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def kept(*_: object) -> Iterator[int]:
        fd = os.open(real_root, os.O_RDONLY)
        yield fd
        os.close(fd)

    monkeypatch.setattr(debian, "tar_of", kept)
    os.makedirs(f"{paths.templates}/own")
    text = 'name = "own"\ndescription = "d"\nsource = "debian"\n[debian]\npackages = ["busybox-static"]\n'
    Path(f"{paths.templates}/own/template.toml").write_text(text)
    made = build.build(paths, "own")
    root = paths.image_root(made.digest)
    done = subprocess.run(["/usr/sbin/chroot", root, "/bin/sh", "-c", "busybox echo $(dpkg-query -f . -W | wc -c)"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert int(done.stdout) > 50 and store.verify(paths, made.digest) == []
