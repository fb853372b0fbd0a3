"""Code in templates, and in the values that are put into them.

jumpserver#16608, #16749, #17500: server-side template injection by a banner, a message of the day, a user's own field.
Attack A120. And templates that are wrong in themselves (issue 2, section 5): every error at once, each with file and
place.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import jinja2
import pytest

from ..host import Host
from . import cli
from .world import Flag, Pair, changes, pair, state

pytestmark = pytest.mark.host
USER = "templated"
LEAK = "root:"
PAYLOADS = {
    "popen": "{{ lipsum.__globals__['os'].popen('echo root: > FLAG; echo root:').read() }}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('echo root:').read() }}",
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }} root:",
    "attr-filter": "{{ (''|attr('__class__')).__mro__ }} root:",
    "format": "{{ '{0.__class__}'.format(user) }} root:",
    "percent": "{{ '%s' % user.__class__ }} root:",
    "self": "{{ self.__init__.__globals__ }} root:",
    "include": "{% include '/etc/passwd' %}",
    "include-relative": "{% include '../../../etc/passwd' %}",
    "import": "{% import '/etc/passwd' as x %}{{ x }} root:",
    "extends": "{% extends '/etc/passwd' %}",
    "change-user": "{{ user.update({'uid': 0}) }} root:",
    "namespace": "{% set x = namespace(a=1) %}{{ x.a.__class__ }} root:",
    "undefined": "{{ nothing.here }} root:",
    "syntax": "{% if %} root:",
    "number": "{{ 1 / 0 }} root:",
}


BOTH = ("popen", "attr-filter", "include", "change-user", "undefined")
PROBE = "/etc/jailctl/templates/probe"
KEPT = ("images", "tags", "contents", "cache", "logs", "histories", "state.db")
MAY_CHANGE = (PROBE, *(f"/var/lib/jailctl/{name}" for name in KEPT))
"""What a text in a file says comes out when it is rendered: by then ids are reserved, which are never given again, and
an image may be built, which the next user of the template takes. There is no account, no jail and no file of hers."""


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    yield pair(host, USER)


@pytest.fixture
def template(people: Pair) -> Iterator[Path]:
    """A copy of the shipped one, of another name."""
    top = people.host.root / "etc/jailctl/templates/probe"
    shutil.copytree(people.host.root / "opt/jailctl/templates/shell", top)
    text = (top / "template.toml").read_text()
    (top / "template.toml").write_text(text.replace('name = "shell"', 'name = "probe"'))
    for place in ("files/etc", "jail/etc"):
        (top / place).mkdir(parents=True, exist_ok=True)
    yield top
    shutil.rmtree(top)


def add(host: Host, *words: str) -> cli.Done:
    (done,) = cli.calls(host, [["add-user", "--json", "tplnew", "--template", "probe", *words]])
    return done


@pytest.mark.parametrize("case", [case for case in PAYLOADS if case not in ("undefined", "syntax", "number")])
@pytest.mark.filterwarnings("ignore")  # of popen's child, which the payload does not wait for
def test_a120_the_probe_works(case: str, tmp_path: Path) -> None:
    """With Jinja as it is when nobody thinks of it."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0\n")
    loader = jinja2.FunctionLoader(lambda name: "root:x" if name.endswith("etc/passwd") else None)
    text = PAYLOADS[case].replace("FLAG", str(tmp_path / "flag"))
    rendered = jinja2.Environment(loader=loader).from_string(text).render(user={"name": "x"})
    assert LEAK in rendered
    assert (tmp_path / "flag").exists() == (case == "popen")


@pytest.mark.parametrize("place", ["files/etc/motd.j2", "jail/etc/motd.j2"])
def test_a120_code_in_a_template_is_refused(people: Pair, template: Path, place: str) -> None:
    host = people.host
    before = state(host)
    chosen = PAYLOADS if place.startswith("files") else {case: PAYLOADS[case] for case in BOTH}
    for case, payload in chosen.items():
        flag = Flag(host)
        (template / place).write_text(f"welcome\n{payload.replace('FLAG', flag.path)}\n")
        done = add(host)
        assert (done.status, done.out) == (5, ""), (case, done)
        assert done.error["code"] == "invalid.template" and place in done.error["message"], (case, done)
        assert "root:x" not in done.err and not flag.raised(), case
    (template / place).unlink()
    assert [path for path in changes(before, host) if not path.startswith(MAY_CHANGE)] == []


FIELDS = "{{7*7}}{% include '/etc/passwd' %}{{ lipsum.__globals__ }}${7*7}<%= 7*7 %>"


def test_a120_values_are_not_code(people: Pair) -> None:
    """The one field of hers that is free text: the account's full name, as chfn lets her set it."""
    host = people.host
    name = "tplgecos"
    host.run(["/usr/sbin/useradd", "-m", "-c", FIELDS, name], check=True)
    host.jailctl("add-user", name, "--existing", "--key", f"{host.key(name)}.pub")
    inside = host.ssh(name, "getent passwd $(id -un)").stdout
    assert inside.split(":")[4] == FIELDS
    assert inside.count("\n") == 1


def test_a120_a_control_character_in_a_value(people: Pair) -> None:
    """The field is written by hand, as a directory service may hold it: refused, or not handed on."""
    host = people.host
    name = "tplcontrol"
    host.run(["/usr/sbin/useradd", "-m", name], check=True)
    passwd = host.root / "etc/passwd"
    line = next(line for line in passwd.read_bytes().split(b"\n") if line.startswith(f"{name}:".encode()))
    parts = line.split(b":")
    parts[4] = "a\rroot\x1b[2J\x85\u2028b".encode()
    passwd.write_bytes(passwd.read_bytes().replace(line, b":".join(parts)))
    done = host.jailctl("add-user", name, "--existing", "--key", f"{host.key(name)}.pub", check=False)
    assert done.returncode in (0, 5, 6)
    if done.returncode == 0:
        inside = host.ssh(name, "cat /etc/passwd").stdout
        assert not {"\r", "\x1b", "\x85", "\u2028"} & set(inside)
        assert inside.count("\n") == inside.count(":x:")
        host.jailctl("remove-user", name)
    host.run(["/usr/sbin/userdel", "-r", name], check=True)


def test_refusal_every_error_of_a_template_at_once(people: Pair, template: Path) -> None:
    host = people.host
    before = state(host)
    text = (template / "template.toml").read_text()
    (template / "template.toml").write_text(
        text.replace('network = "none"', 'network = "all"\njial = true').replace("linger = 60", 'linger = "soon"')
        .replace('source = "host"', 'source = "host"\nbinds = ["/etc"]')
        .replace('shell = "/bin/bash"', 'shell = "bash"')
    )  # fmt: skip
    done = add(host)
    assert done.status == 5 and done.error["code"] == "invalid.template"
    lines = done.error["message"].splitlines()
    assert len(lines) == 5 and all("templates/probe/template.toml" in line for line in lines)
    for place in ("network", "jial", "linger", "binds", "shell"):
        assert sum(f"'{place}" in line for line in lines) >= 1, (place, lines)
    assert [path for path in changes(before, host) if not path.startswith(PROBE)] == []


BROKEN: dict[str, Callable[[Path], object]] = {
    "not TOML": lambda top: (top / "template.toml").write_text("name = [\n"),
    "empty": lambda top: (top / "template.toml").write_text(""),
    "missing": lambda top: (top / "template.toml").unlink(),
    "another name": lambda top: (top / "template.toml").write_text((top / "template.toml").read_text().replace(
        'name = "probe"', 'name = "other"')),
    "a link to a secret": lambda top: (top / "jail/etc/x").symlink_to("/etc/shadow"),
    "a FIFO": lambda top: os.mkfifo(top / "jail/etc/x"),
    "not UTF-8": lambda top: (top / "jail/etc/x.j2").write_bytes(b"\xff\xfe"),
    "writable by all": lambda top: top.chmod(0o777),
    "file writable by all": lambda top: (top / "template.toml").chmod(0o666),
    "hers": lambda top: os.chown(top, 1001, 1001),
    "a secret to copy": lambda top: (top / "template.toml").write_text((top / "template.toml").read_text()
        + '[image]\ncopy = ["/etc/shadow*"]\n'),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_refusal_a_broken_template(people: Pair, template: Path, case: str) -> None:
    """Refused with the file's name, and nothing is changed; the user whose template is whole logs in meanwhile."""
    host = people.host
    BROKEN[case](template)
    before = state(host)
    done = add(host)
    assert done.status in (3, 5, 8) and "probe" in done.error["message"], done
    assert [path for path in changes(before, host) if not path.startswith(MAY_CHANGE)] == []
    assert host.ssh(USER, "true").returncode == 0
