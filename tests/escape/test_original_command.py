"""The command that the client asks for, evaluated by something outside the jail.

Shellshock (CVE-2014-6271) came through SSH_ORIGINAL_COMMAND and a ForceCommand; wrappers put it into another shell's
line (open-bastion#102, #39). Attacks A069, A080, A082, A083.

The strings of A080 to A083 are those that got out of lshell, rssh, scponly, git-shell and rrsync: there they ran what a
list of commands forbade. Here they may run; what counts is where.
"""

from __future__ import annotations

from collections.abc import Iterator

import paramiko
import pytest

from ..host import Host
from . import client
from .world import Flag, Pair, in_jail, outside, pair, sleeper

pytestmark = pytest.mark.host
USER = "original"


@pytest.fixture(scope="module")
def people(host: Host) -> Pair:
    return pair(host, USER)


@pytest.fixture(scope="module")
def lines(people: Pair) -> Iterator[dict[str, paramiko.Transport]]:
    with client.connection(people.host, people.free) as free, client.connection(people.host, people.tenant) as tenant:
        yield {people.free: free, people.tenant: tenant}


COMMANDS = {
    "plain": "touch @",
    "substitution": "echo $(touch @)",
    "backticks": "echo `touch @`",
    "semicolon": "true; touch @",
    "newline": "true\ntouch @",
    "carriage-return": "true \r; touch @",
    "background": "true & touch @",
    "quotes": "echo '\"'; touch @; echo \"'\"",
    "percent": "echo %s%n%u%h; touch @",
    "function": "x='() { :;}; touch @' bash -c :; touch @",
    "sftp-and": "internal-sftp; touch @",
    "door": "/opt/jailctl/libexec/door; touch @",
    "door-as-root": "/opt/jailctl/libexec/door -c 'touch @'; touch @",
    "escape-sequences": "printf '\\033]0;x\\007'; touch @",
    "long": "true " + "x" * 100_000 + "; touch @",
}
"""A069. @: a path that everybody may make on the host."""


@pytest.mark.parametrize("case", COMMANDS)
def test_a069_evaluated_inside_only(people: Pair, lines: dict[str, paramiko.Transport], case: str) -> None:
    check(people, lines, COMMANDS[case])


def check(people: Pair, lines: dict[str, paramiko.Transport], command: str) -> None:
    flag = Flag(people.host)
    line = command.replace("@", flag.path).encode()
    client.ask(lines[people.free], line)
    assert flag.raised(), "the probe itself does not work"
    flag.lower()
    client.ask(lines[people.tenant], line)
    assert not flag.raised()
    assert client.ask(lines[people.tenant], f"ls {flag.path}".encode()).status == 0, "it did not run inside"
    assert outside(people.host, people.tenant) == []


BAD_WRAPPERS = {
    "option": ("/bin/sh $SSH_ORIGINAL_COMMAND", "-c touch${IFS}@"),
    "eval": ("eval $SSH_ORIGINAL_COMMAND", "x; touch @"),
    "format": ('printf "$SSH_ORIGINAL_COMMAND" | sh', "touch\\040@"),
    "unquoted": ('eval "echo $SSH_ORIGINAL_COMMAND"', "$(touch @)"),
}
"""ForceCommands as people write them, and what gets past them."""


@pytest.mark.parametrize("case", BAD_WRAPPERS)
def test_a069_what_only_a_bad_wrapper_would_run(people: Pair, case: str) -> None:
    wrapper, command = BAD_WRAPPERS[case]
    flag = Flag(people.host)
    line = command.replace("@", flag.path).encode()
    config = f"{people.host.stock_sshd_config}\nMatch User {people.free}\n  ForceCommand {wrapper}\n"
    with people.host.sshd_on(2232, config):
        for user, raised in ((people.free, True), (people.tenant, False)):
            with client.connection(people.host, user, port=2232) as transport:
                client.ask(transport, line)
            assert flag.raised() == raised
            if raised:
                flag.lower()


def test_a069_sftp_arguments_are_the_jails(people: Pair, lines: dict[str, paramiko.Transport]) -> None:
    """``internal-sftp ARGS`` is turned into the server of the jail, with ARGS, by the door."""
    flag = Flag(people.host)
    client.ask(lines[people.tenant], f"internal-sftp $(touch {flag.path})".encode())
    client.ask(lines[people.tenant], f"internal-sftp -h; touch {flag.path}".encode())
    assert not flag.raised()
    assert client.ask(lines[people.tenant], f"ls {flag.path}".encode()).status == 0


def test_a069_not_even_the_door_takes_what_is_too_long(people: Pair, lines: dict[str, paramiko.Transport]) -> None:
    """Linux takes one string of at most 128 KiB: sshd's own exec of the shell fails, for everybody alike."""
    flag = Flag(people.host)
    line = b"touch " + flag.path.encode() + b" " + b"x" * 140_000
    for user in (people.free, people.tenant):
        assert client.ask(lines[user], line).status != 0
        assert not flag.raised()
    assert client.ask(lines[people.tenant], b"id -un").out == b"original\n"


def test_a069_nul(people: Pair) -> None:
    """sshd takes no string with a NUL in it: nothing may run, neither what is before it nor what is after."""
    first, second = Flag(people.host), Flag(people.host)
    with (
        client.connection(people.host, people.tenant) as transport,
        pytest.raises((paramiko.SSHException, EOFError, OSError)),
    ):
        client.ask(transport, f"touch {first.path}\0; touch {second.path}".encode())
    assert not first.raised() and not second.raised()
    with client.connection(people.host, people.free) as transport:
        assert client.ask(transport, f"touch {first.path}".encode()).status == 0
    assert first.raised()


def test_a069_empty(people: Pair) -> None:
    """An empty command is a shell, as from sshd without us; and its input is hers."""
    flag = Flag(people.host)
    for user, raised in ((people.free, True), (people.tenant, False)):
        done = people.host.ssh(user, "", input=f"touch {flag.path}\nls {flag.path}\n")
        assert done.stdout.endswith(f"{flag.path}\n")
        assert flag.raised() == raised
        if raised:
            flag.lower()


PUBLISHED = {
    "lshell-147-function": "echo FREEDOM! && help () { touch @; } && help",
    "lshell-149-control-v-j": "echo\ntouch @",
    "lshell-148-double-pipe": "false || touch @",
    "lshell-151-quotes": "echo '' \"\" && 't'\"o\"'uch' @",
    "cve-2016-6902": "ls . <<<x && bash -c 'touch @'",
    "cve-2016-6903": "echo $(bash -c 'touch @')",
    "awk": "awk 'BEGIN { system(\"touch @\") }'",
    "find": "find . -maxdepth 0 -exec touch @ \\;",
    "tar": "tar cf /dev/null /dev/null --checkpoint=1 --checkpoint-action=exec='touch @'",
    "vi": "vi -e -s -c '!touch @' -c 'q!' </dev/null",
    "rsync-e": "rsync -e \"sh -c 'touch @' #\" host:x . ; true",
    "scp-S": "printf '#!/bin/sh\\ntouch @\\n' >S; chmod +x S; scp -S ./S host:x . ; true",
    "ssh-proxycommand": "ssh -F none -o ProxyCommand='touch @' host; true",
    "git-alias": "git -c alias.y='!touch @' y",
    "git-ssh-command": "GIT_SSH_COMMAND='touch @;' git ls-remote host:x; true",
    "sed": "sed -n '1e touch @' /etc/hostname",
    "env-s": "env -S 'bash -c' 'touch @'",
    "xargs": "echo @ | xargs touch",
    "bash-env": "echo 'touch @' >b; env -u SSH_CLIENT BASH_ENV=./b bash -c :",
    "ld-so": "/lib64/ld-linux-x86-64.so.2 /usr/bin/touch @ || /lib/ld-linux-aarch64.so.1 /usr/bin/touch @",
}
"""A080, A082."""


@pytest.mark.parametrize("case", PUBLISHED)
def test_a082_strings_that_got_out_of_others(people: Pair, lines: dict[str, paramiko.Transport], case: str) -> None:
    check(people, lines, PUBLISHED[case])


RSH = "printf '#!/bin/sh\\ntouch @\\n' >r; chmod +x r; "
FILES = {
    "ssh-config": (".ssh/config", "Host *\n  ProxyCommand touch @\n", "ssh host; true"),
    "git-config": (".gitconfig", "[alias]\n  x = !touch @\n", "git x"),
    "profile": (".bashrc", "touch @\n", "true"),
    "popt": (".popt", "rsync alias --look --rsh='sh r'\n", RSH + "rsync --look host:x . ; true"),
}
"""A083: the file of the user's, what it says, the innocent command."""


@pytest.mark.parametrize("case", FILES)
def test_a083_what_the_users_files_add(people: Pair, lines: dict[str, paramiko.Transport], case: str) -> None:
    name, text, command = FILES[case]
    flag = Flag(people.host)
    for user, raised in ((people.free, True), (people.tenant, False)):
        people.give(user, name, text.replace("@", flag.path))
        client.ask(lines[user], command.replace("@", flag.path).encode())
        (people.home(user) / name).unlink()
        assert flag.raised() == raised
        if raised:
            flag.lower()
    assert client.ask(lines[people.tenant], f"ls {flag.path}".encode()).status == 0


def test_a082_with_a_full_shell_the_border_is_the_same(people: Pair) -> None:
    """The list of commands, if there is one, is comfort: she has every program, and what holds her is unchanged."""
    for user, time in ((people.free, "8265"), (people.tenant, "8266")):
        with people.host.ssh_spawn(user, f"exec python3 -c 'import os; os.execlp(\"sleep\", \"sleep\", \"{time}\")'"):
            process = sleeper(people.host, time)
            if user == people.tenant:
                assert in_jail(people.host, process, user) and process.seccomp == 2
            else:
                assert process.root == people.host.processes()[0].root and not process.no_new_privs
