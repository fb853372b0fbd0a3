"""What a session in the jail can do: terminals, commands, exit statuses, bytes, files. As an ordinary login would."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .host import Host, Terminal, wait_for
from .ways.people import make_jailed
from .ways.ways import GIT, INTERNAL_PORT

pytestmark = pytest.mark.host
USER = "sess"
SU = ["/bin/su", "-", USER]
BYTES = bytes(range(256)) * 8192 + b"\r\n\x00\xff\x1b[31m~.\n"


@pytest.fixture(scope="module")
def jail(host: Host) -> Iterator[Host]:
    make_jailed(host, USER)
    internal = host.stock_sshd_config.replace("/usr/lib/openssh/sftp-server", "internal-sftp")
    with host.sshd_on(INTERNAL_PORT + 1, internal):
        yield host


def shell(terminal: Terminal) -> Terminal:
    """At the prompt, which is set to something that no output contains."""
    terminal.expect(r"[$#] ")
    terminal.sendline("PS1='ready''> '; bind 'set enable-bracketed-paste off' 2>/dev/null")
    terminal.expect("ready> ")
    return terminal


def ask(terminal: Terminal, command: str) -> str:
    """What the command prints, without its echo."""
    terminal.sendline(command)
    terminal.expect("ready> ")
    assert isinstance(terminal.before, str)
    return terminal.before.replace("\r", "").partition("\n")[2].strip()


# -- terminals


def opened(host: Host, way: str) -> Terminal:
    if way == "ssh":
        return shell(host.ssh_terminal(USER))
    return shell(host.terminal(SU if way == "su" else ["/bin/login", "-f", USER]))


@pytest.mark.parametrize("way", ["ssh", "su", "login"])
def test_a_shell_has_a_terminal_of_the_jail(jail: Host, way: str) -> None:
    with opened(jail, way) as terminal:
        tty = ask(terminal, "tty")
        assert re.fullmatch(r"/dev/pts/\d+", tty)
        assert ask(terminal, "test -c $(tty) && test -w $(tty) && echo /dev/pts/*") == f"{tty} /dev/pts/ptmx"
        assert ask(terminal, "echo $SSH_TTY") in (tty, "")
        assert ask(terminal, "ps -o tty= -p $$") == tty[5:]
        assert ask(terminal, "shopt -q login_shell && echo yes") == "yes"
        terminal.sendline("exit 7")
        wait_for(lambda: terminal.process.poll() is not None, 5, "the session stays after exit")
        assert terminal.process.returncode == (0 if way == "login" else 7)  # login(1) has its own


@pytest.mark.parametrize("way", ["ssh", "su", "login"])
def test_the_window_size_follows(jail: Host, way: str) -> None:
    with opened(jail, way) as terminal:
        assert ask(terminal, "stty size") == "24 80"
        terminal.resize(50, 132)
        wait_for(lambda: ask(terminal, "stty size") == "50 132", 5, "the new size does not come in")
        ask(terminal, "trap 'echo CHANGED' WINCH")
        terminal.resize(30, 100)
        terminal.expect("CHANGED", timeout=5)


@pytest.mark.parametrize("way", ["ssh", "su", "login"])
def test_job_control(jail: Host, way: str) -> None:
    with opened(jail, way) as terminal:
        terminal.sendline("sleep 600")
        time.sleep(0.3)
        terminal.control("z")
        terminal.expect("Stopped")
        terminal.expect("ready> ")
        assert "Running" in ask(terminal, "bg; jobs")
        terminal.sendline("fg")
        time.sleep(0.3)
        terminal.control("c")
        terminal.expect("ready> ")
        assert ask(terminal, "echo $?") == "130"
        terminal.sendline("cat")
        time.sleep(0.3)
        terminal.send("line\n")
        terminal.expect("line\r\nline")
        terminal.control("d")
        terminal.expect("ready> ")
        terminal.control("d")
        wait_for(lambda: terminal.process.poll() is not None, 5, "the session stays after ^D")


def test_a_command_with_a_terminal(jail: Host) -> None:
    with jail.ssh_terminal(USER, "tty; stty size; exit 5") as terminal:
        terminal.expect(r"/dev/pts/\d+\s+24 80")
        wait_for(lambda: terminal.process.poll() is not None, 5)
        assert terminal.process.returncode == 5


def test_eight_bits_pass_through_the_terminal(jail: Host) -> None:
    with opened(jail, "ssh") as terminal:
        assert ask(terminal, r"printf '\303\244\342\202\254\n'") == "ä€"


@pytest.mark.parametrize("program", ["tmux", "screen"])
def test_terminal_multiplexers(jail: Host, program: str) -> None:
    with opened(jail, "ssh") as terminal:
        terminal.sendline(
            {"tmux": "exec tmux new 'tty; exec cat'", "screen": "exec screen sh -c 'tty; exec cat'"}[program]
        )
        terminal.expect(r"/dev/pts/\d+")
        terminal.sendline("through the multiplexer")
        terminal.expect("through the multiplexer")
        time.sleep(0.5)  # tmux asks the terminal what it is, and takes keys that come first for the answer
        terminal.control("b" if program == "tmux" else "a")
        terminal.send("d")
        terminal.expect("detached")
    listed = jail.ssh(USER, "tmux ls" if program == "tmux" else "screen -ls")
    assert "1 windows" in listed.stdout or "Detached" in listed.stdout
    assert jail.ssh(USER, "tmux kill-server" if program == "tmux" else "screen -X quit").returncode == 0


def test_a_closed_window_hangs_the_shell_up(jail: Host) -> None:
    with opened(jail, "ssh") as terminal:
        terminal.sendline("sleep 7654")
        wait_for(lambda: any(p.argv == ("sleep", "7654") for p in jail.processes()), 5)
        terminal.hang_up()
        wait_for(lambda: not any(p.argv == ("sleep", "7654") for p in jail.processes()), 10, "it survived its terminal")


@pytest.mark.parametrize("program", ["vi", "less", "man", "python3"])
def test_full_screen_programs(jail: Host, program: str) -> None:
    commands = {
        "vi": ("vi -u NONE note", "ihello\x1b:wq\r"),
        "less": ("less /etc/passwd", "q"),
        "man": ("man bash", "q"),
        "python3": ("python3 -q", "print(6 * 7)\rexit()\r"),
    }
    command, keys = commands[program]
    with opened(jail, "ssh") as terminal:
        terminal.sendline(command)
        time.sleep(0.7)
        terminal.send(keys)
        terminal.expect("ready> ")
        assert ask(terminal, "echo status=$?") == "status=0"
        if program == "vi":
            assert ask(terminal, "cat note") == "hello"


# -- commands


@pytest.mark.parametrize("status", [0, 1, 3, 126, 127, 255])
def test_exit_statuses(jail: Host, status: int) -> None:
    assert jail.ssh(USER, f"exit {status}").returncode == status
    assert jail.run([*SU, "-c", f"exit {status}"]).returncode == status


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV"])
def test_a_command_that_a_signal_ends(jail: Host, name: str) -> None:
    expected = 128 + getattr(signal, f"SIG{name}")
    assert jail.ssh(USER, f"kill -{name} $$").returncode in (expected, 255)
    assert jail.ssh(USER, f"sh -c 'kill -{name} $$'; exit $?").returncode == expected


def test_input_and_output_are_clean_to_the_byte(jail: Host) -> None:
    done = jail.ssh_bytes(USER, "cat; echo err >&2", input=BYTES)
    assert (done.stdout, done.stderr, done.returncode) == (BYTES, b"err\n", 0)


def test_the_end_of_input_arrives(jail: Host) -> None:
    assert jail.ssh(USER, "wc -c", input=b"x" * 100_000).stdout == "100000\n"
    assert jail.ssh(USER, "wc -c").stdout == "0\n"


def test_a_reader_that_goes_away(jail: Host) -> None:
    assert jail.ssh(USER, "yes | head -n 1").stdout == "y\n"
    assert jail.run(["/bin/sh", "-c", "exec " + quoted(jail.ssh_argv(USER, "yes")) + " | head -n 1"]).stdout == "y\n"
    wait_for(lambda: not any(p.argv == ("yes",) for p in jail.processes()), 10, "yes goes on without a reader")


def quoted(argv: list[str]) -> str:
    return " ".join(f"'{part}'" for part in argv)


def test_commands_keep_their_words(jail: Host) -> None:
    command = "printf '<%s>' 'a  b' \"$(printf 'x\\ty')\" '*' \"it's\" '$HOME' ';' '\\' é"
    assert jail.ssh(USER, command).stdout == "<a  b><x\ty><*><it's><$HOME><;><\\><é>"
    assert jail.ssh(USER, "printf '%s' " + "a" * 100_000).stdout == "a" * 100_000


def test_a_signal_to_the_client_ends_the_command(jail: Host) -> None:
    with jail.ssh_spawn(USER, "sleep 8765", tty=True) as process:
        wait_for(lambda: any(p.argv == ("sleep", "8765") for p in jail.processes()), 5)
        process.signal(signal.SIGTERM)
        wait_for(lambda: not any(p.argv == ("sleep", "8765") for p in jail.processes()), 10, "it outlived its client")


def test_a_background_process_outlives_its_session(jail: Host) -> None:
    assert jail.ssh(USER, "nohup sleep 9876 >/dev/null 2>&1 & echo $!").returncode == 0
    assert any(p.argv == ("sleep", "9876") for p in jail.processes())
    assert jail.ssh(USER, "pkill -f 'sleep 9876'").returncode == 0


def test_the_environment_is_the_jails(jail: Host) -> None:
    done = jail.ssh(USER, "env -0", opts=["-o", "SetEnv=LC_NUMERIC=C.UTF-8 LD_PRELOAD=/x FOO=bar"])
    env = dict(entry.partition("=")[::2] for entry in done.stdout.split("\0") if entry)
    assert (env["HOME"], env["USER"], env["LOGNAME"], env["SHELL"]) == (f"/home/{USER}", USER, USER, "/bin/bash")
    assert env["LC_NUMERIC"] == "C.UTF-8" and env["XDG_RUNTIME_DIR"] == f"/run/user/{jail.ids(USER)[0]}"
    assert not {"LD_PRELOAD", "FOO", "SSH_AUTH_SOCK", "PAM_SERVICE", "DISPLAY"} & set(env)


# -- files


@pytest.mark.parametrize("port", [22, INTERNAL_PORT + 1], ids=["external", "internal-sftp"])
def test_sftp(jail: Host, port: int) -> None:
    (jail.root / "var/tmp/bytes").write_bytes(BYTES)
    done = jail.sftp(
        USER,
        f"put /var/tmp/bytes b{port}\nget b{port} /var/tmp/back{port}\nmkdir d{port}\nrename b{port} d{port}/c\n"
        f"chmod 640 d{port}/c\nls -l d{port}\npwd\n-get /etc/shadow /var/tmp/shadow\n",
        opts=["-o", f"Port={port}"],
    )
    assert done.returncode == 0, done.stderr
    assert (jail.root / f"var/tmp/back{port}").read_bytes() == BYTES
    assert re.search(rf"-rw-r-----.* {len(BYTES)} ", done.stdout)
    assert f"/home/{USER}" in done.stdout
    assert not (jail.root / "var/tmp/shadow").exists()


@pytest.mark.parametrize("port", [22, INTERNAL_PORT + 1], ids=["external", "internal-sftp"])
@pytest.mark.parametrize("option", ["-O", "-s"])
def test_scp(jail: Host, option: str, port: int) -> None:
    name = f"scp{option}{port}"
    (jail.root / "var/tmp/bytes").write_bytes(BYTES)
    for sources, target in ((["/var/tmp/bytes"], f":{name}"), ([f":{name}"], f"/var/tmp/{name}")):
        done = jail.scp(USER, sources, target, opts=[option, "-p", "-o", f"Port={port}"])
        assert done.returncode == 0, done.stderr
    assert (jail.root / f"var/tmp/{name}").read_bytes() == BYTES
    assert os.stat(jail.root / f"home/{USER}/{name}").st_uid == jail.ids(USER)[0]


def test_rsync(jail: Host) -> None:
    shell_option = ["-e", " ".join(jail.ssh_argv(USER)[:-1])]
    source = "/usr/share/doc/bash/"
    for sources, target in ((source, f"{USER}@127.0.0.1:doc/"), (f"{USER}@127.0.0.1:doc/", "/var/tmp/doc/")):
        done = jail.run(["/usr/bin/rsync", "-a", "--no-owner", "--no-group", *shell_option, sources, target])
        assert done.returncode == 0, done.stderr
    assert tree(Path(source)) == tree(jail.root / "var/tmp/doc") != {}


def tree(top: Path) -> dict[str, str]:
    return {
        str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(top.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def test_git_push_and_clone(jail: Host) -> None:
    ssh = f"core.sshCommand={' '.join(jail.ssh_argv(USER)[:-1])}"
    url = f"ssh://{USER}@127.0.0.1/home/{USER}/repo.git"
    assert jail.ssh(USER, "git init -q --bare repo.git").returncode == 0
    jail.run(["/usr/bin/git", "init", "-q", "/var/tmp/work"], check=True)
    (jail.root / "var/tmp/work/file").write_bytes(BYTES)
    jail.run([*GIT, "-C", "/var/tmp/work", "add", "file"], check=True)
    jail.run([*GIT, "-C", "/var/tmp/work", "commit", "-q", "-m", "one"], check=True)
    jail.run([*GIT, "-c", ssh, "-C", "/var/tmp/work", "push", "-q", url, "HEAD:main"], check=True)
    jail.run([*GIT, "-c", ssh, "clone", "-q", "-b", "main", url, "/var/tmp/clone"], check=True)
    assert (jail.root / "var/tmp/clone/file").read_bytes() == BYTES
