"""Template python, used by its user over ssh: venv, pip without an index, a server on her loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.host import Host

pytestmark = pytest.mark.host
WHEEL = """
import hashlib, base64, zipfile, pathlib
pathlib.Path("wheels").mkdir()
files = {
    "greeting/__init__.py": "def greet(): return 'hello from a wheel'\\n",
    "greeting/__main__.py": "from . import greet\\nprint(greet())\\n",
    "greeting-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n",
    "greeting-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    "greeting-1.0.dist-info/entry_points.txt": "[console_scripts]\\ngreet = greeting.__main__:greet\\n",
}
with zipfile.ZipFile("wheels/greeting-1.0-py3-none-any.whl", "w") as wheel:
    record = ""
    for name, text in files.items():
        wheel.writestr(name, text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text)}\\n"
    wheel.writestr("greeting-1.0.dist-info/RECORD", record + "greeting-1.0.dist-info/RECORD,,\\n")
"""
SERVER = """
set -e
mkdir www && echo served > www/page && cd www
python3 -m http.server --bind 127.0.0.1 8000 >log 2>&1 &
for i in $(seq 50); do
    python3 -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:8000/page").read().decode(), end="")' \\
        2>/dev/null && exit 0
    sleep 0.1
done
cat log >&2
exit 1
"""


@pytest.fixture(scope="module")
def python(host: Host) -> Iterator[Host]:
    host.jailctl("update", "python", timeout=120)  # with its smoke tests
    host.jailctl("add-user", "pytess", "--template", "python", "--key", host.key("pytess") + ".pub")
    yield host
    host.jailctl("remove-user", "pytess")


def succeeds(host: Host, command: str, output: str, *, input: str = "", timeout: float = 60) -> None:
    done = host.ssh("pytess", command, input=input, timeout=timeout)
    assert (done.stdout, done.returncode) == (output, 0), done.stderr


def test_a_venv_takes_a_wheel_without_an_index(python: Host) -> None:
    succeeds(python, "python3 -", "", input=WHEEL)
    install = "app/bin/pip install --quiet --disable-pip-version-check --no-index --find-links wheels greeting"
    succeeds(python, f"python3 -m venv app && {install} && app/bin/python -m greeting", "hello from a wheel\n")
    succeeds(python, "app/bin/pip list --no-index --format=freeze | grep greeting", "greeting==1.0\n")
    succeeds(
        python, "head -c 2 app/bin/greet && app/bin/pip uninstall -q -y greeting && ls app/bin/greet || true", "#!"
    )


def test_pip_has_no_way_out_without_a_network(python: Host) -> None:
    done = python.ssh(
        "pytess", "python3 -m venv --clear other && other/bin/pip install --retries 0 --timeout 2 greeting", timeout=60
    )
    assert done.returncode != 0 and "greeting" in done.stderr


def test_a_server_on_her_own_loopback(python: Host) -> None:
    succeeds(python, "bash -s", "served\n", input=SERVER)
    outside = "import socket; socket.create_connection(('127.0.0.1', 8000), 2)"
    done = python.run(["/usr/bin/python3", "-c", outside])
    assert done.returncode == 1 and "refused" in done.stderr
    assert python.ssh("pytess", f'python3 -c "{outside}"').returncode == 0, "it serves still"


MODULES = {
    "sqlite3": ("c = sqlite3.connect('x.db'); c.execute('create table if not exists t(a)')\n"
                "c.execute('insert into t values (1)'); c.commit()\n"
                "print(c.execute('select max(a) from t').fetchone()[0])", "1\n"),
    "ssl": ("print(len(ssl.create_default_context().get_ca_certs()) > 50)", "True\n"),
    "zoneinfo": ("print(zoneinfo.ZoneInfo('Europe/Berlin'))", "Europe/Berlin\n"),
    "multiprocessing": ("p = multiprocessing.Pool(2); print(p.map(abs, [-1, -2]))", "[1, 2]\n"),
    "ctypes": ("print(ctypes.CDLL(None).getpid() > 0)", "True\n"),
    "locale": ("print(locale.setlocale(locale.LC_ALL, 'C.UTF-8'))", "C.UTF-8\n"),
    "tempfile": ("print(tempfile.gettempdir())", "/tmp\n"),
    "pwd": ("print(pwd.getpwuid(__import__('os').getuid()).pw_name)", "pytess\n"),
    "curses": ("curses.setupterm('xterm-256color'); print(curses.tigetnum('colors'))", "256\n"),
}  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_what_needs_more_than_files(python: Host, module: str) -> None:
    code, expected = MODULES[module]
    succeeds(python, "python3 -", expected, input=f"import {module}\n{code}\n")


def test_its_own_library_is_compiled_already(python: Host) -> None:
    """A library that Python compiles anew at each start costs every start of hers."""
    code = "import sys, email.parser, os; print(os.path.exists(email.parser.__cached__))"
    succeeds(python, "python3 -", "True\n", input=code)
