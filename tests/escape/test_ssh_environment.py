"""Variables that the client sends: LD_*, BASH_ENV, PYTHON*, functions in LC_ALL, 64 KiB of it.

AcceptEnv lets LANG and LC_* through by default; a wildcard there lets more through than it says (CVE-2014-2532);
Shellshock (CVE-2014-6271) travelled in LC_ALL. Attack A064.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from ..host import Host
from . import client
from .opens import Opens
from .world import Pair, all_closed, pair

pytestmark = pytest.mark.host
USER, ANY_PORT, MANY = "sentenv", 2233, "x" * 65536
MARK = f"mark{secrets.token_hex(8)}"
HOSTILE = {
    **dict.fromkeys(
        (
            "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "BASH_ENV", "ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP",
            "PERL5LIB", "GCONV_PATH", "LOCPATH", "NLSPATH", "TERMINFO", "IFS", "PS4", "SHELLOPTS", "BASHOPTS", "CDPATH",
            "PATH", "HOME", "USER", "LOGNAME", "SHELL", "PAM_USER", "PAM_TYPE", "PAM_SERVICE", "SSH_AUTH_INFO_0",
            "GLIBC_TUNABLES", "MALLOC_CHECK_", "HOSTALIASES", "RES_OPTIONS", "TMPDIR", "XDG_RUNTIME_DIR", "SSH_TTY",
            "BASH_FUNC_ls%%", "JAILCTL_ROOT", "PROMPT_COMMAND",
        ),
        f"/{MARK}",
    ),
    "LC_ALL": f"() {{ :; }}; echo {MARK}",
    "LANG": f"../../{MARK}",
    "LC_TIME": f"{MARK}\nLD_PRELOAD=/{MARK}",
    "LC_PAPER": MANY,
    f"LC_{MARK}": "C",
    "TZ": f":$({MARK})",
    "TERM": f"/{MARK}\x1b",
}  # fmt: skip
GOOD = {"LANG": "C.UTF-8", "LC_TIME": "POSIX", "TZ": "Europe/Berlin", "LC_NUMERIC": "C"}


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    """The second sshd lets every variable through, so that they come as far as the door."""
    both = pair(host, USER)
    fragment = (host.root / "etc/ssh/sshd_config.d/000-jailctl.conf").read_text()
    weak = fragment.replace("AcceptEnv ", "AcceptEnv * ")
    assert weak != fragment
    stock = host.stock_sshd_config.replace("Include /etc/ssh/sshd_config.d/*.conf", "AcceptEnv *")
    with host.sshd_on(ANY_PORT, f"{stock}\n{weak}"):
        yield both


def environment(answer: client.Answer) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in answer.out.decode().split("\0") if entry)


SHOW = b"cat /proc/self/environ"


def test_a064_nothing_hostile_comes_in(people: Pair) -> None:
    with client.connection(people.host, people.free, port=ANY_PORT) as transport:
        # LD_PRELOAD and others would break the command itself, and its output is all that there is to see
        known = {name: value for name, value in HOSTILE.items() if name.startswith(("LC_", "PYTHON", "TERMINFO"))}
        assert environment(client.ask(transport, SHOW, known)).items() >= known.items(), "the probe does not work"
    with client.connection(people.host, people.tenant, port=ANY_PORT) as transport:
        got = environment(client.ask(transport, SHOW, HOSTILE))
    assert MARK not in "".join([*got, *got.values()]) and MANY not in got.values()
    uid = people.host.ids(people.tenant)[0]
    fixed = {"HOME": f"/home/{USER}", "USER": USER, "LOGNAME": USER, "SHELL": "/bin/bash", "PATH": got["PATH"],
             "XDG_RUNTIME_DIR": f"/run/user/{uid}"}  # fmt: skip
    assert got.items() >= fixed.items()
    assert "/home" not in got["PATH"] and "::" not in got["PATH"] and "." not in got["PATH"].split(":")
    ours = {"SSH_CLIENT", "SSH_CONNECTION", "SSH_ORIGINAL_COMMAND", "SSH_TTY", "PWD", "SHLVL", "_"}
    assert set(got) - set(fixed) <= ours


@pytest.mark.parametrize("port", [22, ANY_PORT])
def test_a064_what_is_harmless_comes_in(people: Pair, port: int) -> None:
    """So that the refusal above is one of contents."""
    with client.connection(people.host, people.tenant, port=port) as transport:
        assert environment(client.ask(transport, SHOW, GOOD)).items() >= GOOD.items()


@pytest.mark.parametrize("name", ["LC_ALL", "TERM", "SSH_ORIGINAL_COMMAND"])
def test_a064_long_values_do_not_stop_a_login(people: Pair, name: str) -> None:
    with client.connection(people.host, people.tenant, port=ANY_PORT) as transport:
        answer = client.ask(transport, b"id -un", {name: MANY, "LC_TIME": "C"})
        assert (answer.out, answer.status) == (f"{USER}\n".encode(), 0)


def test_a064_no_process_of_root_has_them(people: Pair) -> None:
    """The hook at open and close, and the start of a cold jail, at the moment when they open their files. The client's
    variables come after the hook at the opening; at the close sshd could have handed them on."""
    host = people.host
    host.jailctl("stop", USER)
    with Opens(host.root / "run/jailctl") as seen, Opens(host.root / "var/lib/jailctl") as kept:
        with client.connection(host, people.tenant, port=ANY_PORT) as transport:
            client.ask(transport, SHOW, HOSTILE)
        all_closed(host, USER)
    privileged = [opening for opening in seen.all() + kept.all() if opening.effective]
    hooks = [opening for opening in privileged if opening.argv == ("/opt/jailctl/libexec/hook",)]
    cold = [opening for opening in privileged if opening.argv[-5:-4] == ("/opt/jailctl/lib/jailkit/jail/cold.py",)]
    assert {next(v for v in opening.environ if v.startswith("PAM_TYPE=")) for opening in hooks} == {
        "PAM_TYPE=open_session",
        "PAM_TYPE=close_session",
    }
    assert cold and all(
        set(opening.environ) == {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"} for opening in cold
    )
    assert [opening for opening in privileged if any(MARK in value or MANY in value for value in opening.environ)] == []
