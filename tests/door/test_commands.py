"""What runs inside, and in which environment: the door's arguments, sshd's original command, sftp."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from .lab import UID, USER, Lab


def test_command(lab: Lab) -> None:
    done = lab.run('echo "$0"; shopt -q login_shell; echo $?; exit 7')
    assert (done.status, done.out, done.err, done.log) == (7, b"bash\n1\n", b"", [])


def test_login_shell_with_a_command(lab: Lab) -> None:
    """``su - dora -c``."""
    done = lab.run(argv=["-door", "-c", 'echo "$0"; shopt -q login_shell; echo $?'])
    assert done.out == b"-bash\n0\n"


@pytest.mark.parametrize("argv", [["-door"], ["door"], ["/opt/jailctl/libexec/door"]])
def test_interactive_without_a_terminal(lab: Lab, argv: list[str]) -> None:
    """``ssh -T``: a login shell that reads its input."""
    done = lab.run(argv=argv, data=b'echo "$0"; shopt -q login_shell; echo $?; exit 4\n')
    assert (done.status, done.out) == (4, b"-bash\n0\n")


def forced(lab: Lab) -> str:
    return lab.paths.door


def test_forced_command(lab: Lab) -> None:
    done = lab.run(forced(lab), env={"SSH_ORIGINAL_COMMAND": "echo a'b c'; echo $((6*7)); exit 9"})
    assert (done.status, done.out) == (9, b"ab c\n42\n")


@pytest.mark.parametrize("env", [{}, {"SSH_ORIGINAL_COMMAND": ""}])
def test_forced_command_without_an_original(lab: Lab, env: dict[str, str]) -> None:
    done = lab.run(forced(lab), data=b'echo "$0"\n', env=env)
    assert (done.status, done.out) == (0, b"-bash\n")


def test_forced_command_that_asks_for_the_door(lab: Lab) -> None:
    """Only once: then it is a command like any other, and inside there is no door."""
    done = lab.run(forced(lab), env={"SSH_ORIGINAL_COMMAND": forced(lab)})
    assert (done.status, done.out) == (127, b"")


def test_nothing_is_evaluated_outside(lab: Lab) -> None:
    """A069: quotes, substitutions, newlines, 100 KiB: one argument of the shell inside."""
    canary = "/srv/jailkit-door-canary"
    for command in (
        f"$(touch {canary})",
        f"`touch {canary}`",
        f"true; touch {canary}",
        f"true\ntouch {canary}",
        f"%n {canary}",
    ):
        lab.run(forced(lab), env={"SSH_ORIGINAL_COMMAND": command})
        assert not os.path.exists(canary)
    long = "echo " + "x" * 100_000
    assert lab.run(forced(lab), env={"SSH_ORIGINAL_COMMAND": long}).out == b"x" * 100_000 + b"\n"


def test_sftp(lab: Lab) -> None:
    """What sshd would have served itself, on the host, becomes a program inside."""
    lab.changed(sftp="/usr/bin/printf")
    done = lab.run(forced(lab), env={"SSH_ORIGINAL_COMMAND": "internal-sftp %s-%s a b"})
    assert (done.status, done.out) == (0, b"a-b")
    assert lab.run("internal-sftp").status == 1  # printf's own: no operand
    assert lab.run("internal-sftpd").status == 127


def test_sftp_with_too_many_arguments(lab: Lab) -> None:
    assert lab.run("internal-sftp " + "x" * 5000).refused("login.service-denied")


def test_no_home(lab: Lab) -> None:
    """A home that is not there is no reason to be locked out, nor to be anywhere but in the jail."""
    lab.changed(home="/nowhere")
    done = lab.run("pwd; ls -d /image /root 2>&1 | wc -l")
    assert (done.status, done.out) == (0, b"/\n2\n")


def test_home_is_no_way_out(lab: Lab) -> None:
    """A013: a record that names a magic link."""
    for home in ("/proc/self/fd/3", "/proc/self/cwd", "/proc/1/root", "/proc/self/fd/0"):
        lab.changed(home=home)
        done = lab.run("stat -c %d:%i / . && cat /proc/1/mountinfo | wc -l")
        places = done.out.split()[:2]
        assert places[0] == places[1], home


def test_no_shell(lab: Lab) -> None:
    lab.changed(shell="/bin/nothing")
    done = lab.run("true")
    assert done.refused("login.kernel")
    assert "execve: No such file" in done.log[0]


# -- the environment


def test_environment(lab: Lab) -> None:
    """A064, A134: what the client may send, what it may not, and what nobody but the record decides."""
    hostile = {
        "LD_PRELOAD": "x",
        "LD_LIBRARY_PATH": "x",
        "BASH_ENV": "/x",
        "ENV": "/x",
        "PYTHONPATH": "/x",
        "IFS": "x",
        "PATH": "/x",
        "HOME": "/x",
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": "/x",
        "GCONV_PATH": "/x",
        "SSH_AUTH_SOCK": "/x",
        "XDG_RUNTIME_DIR": "/x",
        "BASH_FUNC_ls%%": "() { id; }",
        "LC_ALL": "() { :; }; id",
        "LC_TIME": "x" * 65,
        "LC_ALL2": "x",
        "LC_x": "x",
        "LANG": "a/../b",
        "TERM": "x\n",
        "TZ": "a b",
        "NOTHING": "x",
        "SHELLOPTS": "xtrace",
        "PS4": "$(id)",
    }
    good = {
        "LC_CTYPE": "de_DE.UTF-8@euro",
        "LANGUAGE": "de:en",
        "COLORTERM": "truecolor",
        "NO_COLOR": "1",
        "GIT_PROTOCOL": "version=2",
        "SSH_CONNECTION": "fe80::1%eth0 50000 10.0.0.1 22",
        "SSH_CLIENT": "10.0.0.2 50000 22",
    }
    lab.changed(shell="/usr/bin/env")
    child = subprocess.Popen(
        ["door"],
        executable=lab.programs.path("door"),
        env={**hostile, **good},
        user=UID,
        group=UID,
        extra_groups=[],
        stdout=subprocess.PIPE,
    )
    out, _ = child.communicate(timeout=10)
    found = dict(line.split("=", 1) for line in out.decode().splitlines())
    assert found == {
        **good,
        "HOME": str(lab.home),
        "USER": USER,
        "LOGNAME": USER,
        "SHELL": "/usr/bin/env",
        "PATH": lab.record.path,
        "XDG_RUNTIME_DIR": f"/run/user/{UID}",
    }


def test_environment_has_an_end(lab: Lab) -> None:
    many = {f"LC_{chr(65 + i // 26)}{chr(65 + i % 26)}": "x" * 64 for i in range(600)}
    lab.changed(shell="/usr/bin/env")
    done = lab.run(argv=["door"], env=many)
    assert done.status == 0
    assert len(re.findall(rb"^LC_", done.out, re.M)) == 32
