"""A small real jail for the C programs alone: they are compiled with a root directory of their own, the jail is started
by ``jailkit.jail.start`` in a scratch directory, and logins are played by this process. No account, sshd or PAM is
touched."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .caller import Caller
from .lab import DOOR, Ground, Lab, Programs, compiled


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("namespaces and other users' processes need root")


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """Below /srv, as every directory above a record must be root's alone, and /tmp is everybody's."""
    need_root()
    path = Path(tempfile.mkdtemp(prefix="jailkit-door-", dir="/srv"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def programs(scratch: Path) -> Programs:
    """Built twice, with every warning an error: as they are installed, and with the sanitizers."""
    build = scratch / "build"
    make = [
        "/usr/bin/make",
        "-s",
        "-j2",
        "-C",
        str(DOOR),
        f"BUILD={build}",
        f"ROOT={scratch}",
        f"LOG={scratch}/log",
        "START=2",
    ]
    done = subprocess.run([*make, "all", "asan", "layout"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    subprocess.run([*make, "install"], capture_output=True, check=True)
    return Programs(build)


@pytest.fixture(scope="session")
def log(scratch: Path) -> Iterator[socket.socket]:
    """Where the programs find their /dev/log."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(f"{scratch}/log")
    os.chmod(f"{scratch}/log", 0o666)
    listener.setblocking(False)
    yield listener
    listener.close()


@pytest.fixture(scope="session")
def shared_ground(scratch: Path, programs: Programs, log: socket.socket) -> Iterator[Ground]:
    ground = Ground(scratch, programs, log)
    yield ground
    ground.close()


@pytest.fixture
def ground(shared_ground: Ground) -> Ground:
    """Records without a jail."""
    shared_ground.reset()
    return shared_ground


@pytest.fixture(scope="session")
def shared_lab(scratch: Path, programs: Programs, log: socket.socket) -> Iterator[Lab]:
    lab = Lab(scratch, programs, log)
    yield lab
    lab.close()


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    """A running jail of user ``dora``, and a session record that names this process as the one that called PAM."""
    shared_lab.reset()
    yield shared_lab
    shared_lab.check()


@pytest.fixture(scope="session")
def program(scratch: Path) -> Path:
    return compiled(scratch, "caller")


@pytest.fixture(params=[False, True], ids=["hook", "asan"])
def caller(lab: Lab, program: Path, request: pytest.FixtureRequest) -> Iterator[Caller]:
    lab.sessions.joinpath(str(os.getpid())).unlink()
    with Caller(lab, program, asan=request.param) as made:
        yield made


@pytest.fixture
def product(lab: Lab) -> Iterator[Path]:
    """What a cold start runs: this tree, by the layout of an installation."""
    opt = lab.root / "opt/jailctl"
    (opt / "venv/bin").mkdir(parents=True, exist_ok=True)
    python = opt / "venv/bin/python3"
    python.unlink(missing_ok=True)
    python.symlink_to("/usr/bin/python3")
    (opt / "lib").unlink(missing_ok=True)
    (opt / "lib").symlink_to(Path(__file__).resolve().parents[2])
    yield python
    python.unlink(missing_ok=True)
