"""Names and values that are more than names and values: paths, options, other users' ids, line ends.

systemd#6237 and CVE-2020-13776 (0day, 0x1), CVE-2023-29383 (chfn), CVE-2025-61984 and CVE-2023-51385 (ssh), and
CVE-2026-41940 (cPanel: one caller forgot to encode a line end). Attacks A117, A119, A125, as they apply to jailctl.

Each verb with each of them, by the product's own command line: refused with a number and a hint, and nothing changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ..host import Host
from . import cli
from .world import Pair, changes, pair, state

pytestmark = pytest.mark.host
USER = "namesok"
NAMES = [
    "../x", "a/b", "/etc", "-x", "--root=/", "--", "a b", " a", "a ", "a:b", "a,b", "a\nb", "a\rb", "a\0b", "\n",
    "$(id)", "`id`", ";", "a;id", "*", "?", "~", "~root", ".", "..", "a..b", ".a", "a.", "a-", "", "a" * 33, "a" * 5000,
    "0", "0day", "0x1", "1001", "4294967295", "-1", "root", "nobody", "ALL", "all", "jailed", "self", "tags", "%g", "%",
    "jailed-chroot",
    "@staff", "+a", "#1001", "a\\b", "a'b", 'a"b', "a|b", "a&b", "a>b", "\u00e4", "\u0430lice", "\ufb00", "a\u200bb",
    "a\u202eb", "\udcff", "A", "Alice", "a\x1b[2J", "a\x7f", "{{7*7}}", "%n%s", "a=b", "a$", "alice.toml\0", "\ufeffa",
]  # fmt: skip
VERBS = (["add-user", "N"], ["remove-user", "N"], ["start", "N"], ["stop", "N"], ["show", "N"], ["enter", "N"],
         ["exec", "N", "--", "true"], ["add-user", "N", "--existing"])  # fmt: skip
CHANGING = (["remove-user", "--match", "N"], ["set", "N", "linger=5"], ["suspend", "N"], ["resume", "N"],
            ["expire", "N", "--never"], ["rename", "N", "namesnew"], ["rename", USER, "N"],
            ["move-home", "N", "/home/namesnew"])  # fmt: skip


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    yield pair(host, USER)


def refused(done: cli.Done, allowed: tuple[int, ...] = (2, 5)) -> bool:
    """With a sentence, and a hint that says what to do (for a value of a spec it is in the sentence)."""
    if done.status not in allowed or done.out:
        return False
    error = done.error
    return bool(error["message"]) and (bool(error["hint"]) or error["code"].startswith(("usage.", "invalid.spec")))


@pytest.mark.parametrize("verb", VERBS, ids=lambda words: "-".join(w.strip("-") for w in words if w not in ("N", "--")))
def test_a117_names(people: Pair, verb: list[str]) -> None:
    host = people.host
    before = state(host)
    many = [[verb[0], "--json", *(name if word == "N" else word for word in verb[1:])] for name in NAMES]
    for name, done in zip(NAMES, cli.calls(host, many), strict=True):
        assert refused(done), (name, done)
        assert "Traceback" not in done.err
    assert changes(before, host) == []
    assert people.host.ssh(USER, "true").returncode == 0


def test_a117_names_of_the_verbs_that_change_jails(people: Pair) -> None:
    """They read names as the others do, so each gets every eighth; ``*`` alone is no pattern."""
    host = people.host
    before = state(host)
    for number, (verb, *words) in enumerate(CHANGING):
        names = [*NAMES[number :: len(CHANGING)], "*"]
        many = [[verb, "--json", *(name if word == "N" else word for word in words)] for name in names]
        for name, done in zip(names, cli.calls(host, many), strict=True):
            if name in ("a=b", "--") and verb == "set":
                continue  # a setting, and nothing at all: "nothing is to be set"
            assert refused(done), (verb, name, done)
    assert changes(before, host) == []


def test_a117_names_behind_a_double_dash(people: Pair) -> None:
    """There nothing is an option."""
    host = people.host
    before = state(host)
    names = [name for name in NAMES if name.startswith("-")]
    for verb in ("add-user", "remove-user", "show", "start"):
        for done in cli.calls(host, [[verb, "--json", "--", name] for name in names]):
            assert refused(done, (5,)), done
    assert changes(before, host) == []


@pytest.mark.parametrize("name", ["sshd", "daemon", "mail", "sync"])
def test_a117_accounts_of_the_system(people: Pair, name: str) -> None:
    host = people.host
    before = state(host)
    new, existing = cli.calls(host, [["add-user", "--json", name], ["add-user", "--json", name, "--existing"]])
    assert refused(new, (4,)) and new.error["code"] == "conflict.account-exists"
    assert refused(existing, (8,)) and existing.error["code"] == "unsafe.system-account"
    assert changes(before, host) == []


OPTIONS = [
    ["--template", "-x"], ["--template", "--help"], ["--template", "../shell"], ["--template", "/etc"],
    ["--template", "@file"], ["--template", "shell\n"], ["--template", ""], ["--template", "nothere"],
    ["--key", "-rf"], ["--key", "--help"], ["--key", "@/etc/passwd"], ["--key", "/etc/shadow"], ["--key", "/dev/zero"],
    ["--key", "/root"], ["--key", ""], ["--key", "/nonexistent"], ["--key", "/proc/self/mem"],
    ["--set", "hostname=-x"], ["--set", "hostname=a\nb"], ["--set", "hostname=a b"], ["--set", "hostname=$(id)"],
    ["--set", "hostname="], ["--set", "hostname=../x"], ["--set", "hostname=a.b"], ["--set", "hostname=" + "a" * 64],
    ["--set", "shell=-c"], ["--set", "shell=--login"], ["--set", "shell=bash"], ["--set", "shell=/etc/passwd"],
    ["--set", "shell=/usr/../../etc/x"], ["--set", "shell=/bin/bash\n"], ["--set", "shell=/bin/ba sh"],
    ["--set", "home=/"], ["--set", "home=/home"], ["--set", "home=/home/../etc"], ["--set", "home=-x"],
    ["--set", "home=/home/a:b"], ["--set", "home=/home/a\nb"], ["--set", "home=/etc/x"], ["--set", "home=//home/x"],
    ["--set", "home=/proc/self/fd/3"], ["--set", "home=/proc/self/cwd"], ["--set", "home=/home/" + "a" * 300],
    ["--set", "network=-x"], ["--set", "network=host\n"], ["--set", "network=private"],
    ["--set", "linger=-1"], ["--set", "linger=1e3"], ["--set", "linger=0x10"], ["--set", "linger=99999999999999"],
    ["--set", "linger="], ["--set", "uid=0"], ["--set", "user=root"], ["--set", "existing=true"], ["--set", "keys=x"],
    ["--set", "template=x"], ["--set", "x=y"], ["--set", "=x"], ["--set", "x"], ["--set", "__class__=x"],
    ["--set", "hostname=a", "--set", "hostname=b"], ["--root", "relative"], ["--root", "/a b"], ["--unknown"],
]  # fmt: skip


def test_a119_options_values_are_data(people: Pair) -> None:
    host = people.host
    before = state(host)
    many = [["add-user", "--json", "namesnew", *words] for words in OPTIONS]
    answers = zip(OPTIONS, cli.calls(host, many), strict=True)
    assert [(words, done) for words, done in answers if not refused(done, (2, 3, 4, 5, 8, 9))] == []
    assert changes(before, host) == []


VALUES = [
    ["expire", USER, "--at", "-1"], ["expire", USER, "--at", "@0"], ["expire", USER, "--at", "now"],
    ["expire", USER, "--at", "2027-01-31T00:00:00"], ["expire", USER, "--at", "2027-13-01"],
    ["expire", USER, "--at", "9" * 99], ["expire", USER, "--in", "-1d"], ["expire", USER, "--in", "1e9d"],
    ["expire", USER, "--in", "999999w"], ["expire", USER, "--in", "1d", "--never"], ["expire", USER],
    ["suspend", USER, "--message", "a\nb"], ["suspend", USER, "--message", "\x1b[2J"],
    ["suspend", USER, "--message", "x" * 201], ["suspend", USER, "--message", "\u2028"],
    ["suspend", USER, "--message", " "], ["set", USER], ["set", USER, "=x"], ["set", USER, "user=root"],
    ["set", USER, "existing=true"], ["set", USER, "keys=x"], ["set", USER, "uid=0"], ["set", USER, "suspended="],
    ["set", USER, "limits=1"], ["set", USER, "limits.=1"], ["set", USER, "limits.memory=-1"],
    ["set", USER, "limits.memory=1e9"], ["set", USER, "limits.sources=x"], ["set", USER, "limits.__class__=x"],
    ["set", USER, "shell=../x"], ["set", USER, "home=/home/a\nb"], ["set", USER, "template=../x"],
    ["set", USER, "plan=../x"], ["set", USER, "linger=5", "linger=6"], ["set", USER, "--remove-key", "--all"],
    ["set", USER, "--remove-key", "*"], ["set", USER, "--add-key", "@x"], ["move-home", USER, "relative"],
    ["move-home", USER, "-x"], ["move-home", USER, "/home/a b"], ["move-home", USER, "/home/../etc/x"],
    ["move-home", USER, "/etc/x"], ["move-home", USER, "/home"], ["move-home", USER, "/proc/self/fd/3"],
    ["move-home", USER, f"/home/{USER}/sub"], ["move-home", USER, "/tmp/x"], ["stop", "--jobs", "0", USER],
    ["stop", "--all", USER], ["stop", "--plan", "../x"], ["stop", "--template", "a_b"], ["stop"],
]  # fmt: skip


def test_a119_values_of_the_verbs_that_change_jails(people: Pair) -> None:
    host = people.host
    before = state(host)
    answers = zip(VALUES, cli.calls(host, [[verb, "--json", *words] for verb, *words in VALUES]), strict=True)
    assert [(words, done) for words, done in answers if not refused(done, (2, 3, 4, 5, 8, 9))] == []
    assert changes(before, host) == []


def test_a119_a_message_is_data(people: Pair) -> None:
    """Whatever it looks like, it reaches the user as it is, and no file or terminal takes it for more."""
    host = people.host
    for text in ("--help", "@file $(id); `id` %s%n", 'a "b" = \\ {{7*7}}', "\u00fcml\u00e4ut"):
        host.jailctl("suspend", USER, f"--message={text}")
        assert host.ssh(USER, "id").stdout == f"{text}\n"
    host.jailctl("resume", USER)
    assert host.ssh(USER, "id -un").stdout == f"{USER}\n"


def test_a119_words_behind_the_dashes_belong_to_the_command(people: Pair) -> None:
    """jailctl exec hands them on as they are, and reads none of them."""
    words = ["--root=/", "--json", "-q", "@x", "=", "+", "a b", "$(id)", "x;y", "'", '"', "\\", "*", "--help", "\n", ""]
    script = "import json, sys; print(json.dumps(sys.argv[1:]))"
    (done,) = cli.calls(people.host, [["exec", USER, "--", "python3", "-c", script, *words]])
    assert json.loads(done.out) == words


ARCHIVES = ["-x.tar", "x.tar", "--checkpoint-action=exec=id", "@file", "/etc/x.tar\n", "/root/$(id).tar", "/a b.tar"]
UNSAFE = [f"/home/{USER}/x.tar", "/dev/null", "/root", "/dev", "/proc/self/fd/1", f"/home/{USER}", "/nonexistent/x.tar"]


def test_a119_where_an_archive_goes_is_data(people: Pair) -> None:
    """The plan names the very path that was given; no tar is asked, so none can take it for an option."""
    host = people.host
    before = state(host)
    words = ["remove-user", "--json", USER, "--dry-run", "--archive"]
    for name, done in zip(ARCHIVES, cli.calls(host, [[*words, name] for name in ARCHIVES]), strict=True):
        assert done.status == 0 and json.loads(done.out)["jails"][0]["archive"] == f"/{name.removeprefix('/')}", done
    for done in cli.calls(host, [[*words, name] for name in UNSAFE]):
        assert refused(done, (3, 4, 5, 8, 9)), done
    assert refused(cli.calls(host, [[*words, "/root/x.tar", "--keep-home"]])[0])
    assert changes(before, host) == []


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE9vb29vb29vb29vb29vb29vb29vb29vb29vb29vb29v"
KEYS = {
    "carriage return": f"{KEY} a\rssh-ed25519 x\n", "form feed": f"{KEY} a\x0ccommand=\"id\" {KEY}\n",
    "nul": f"{KEY} a\0b\n", "escape": f"{KEY} a\x1b[2J\n", "options": f'command="id" {KEY}\n',
    "environment": f'environment="LD_PRELOAD=/x" {KEY}\n', "restrict": f"restrict {KEY}\n",
    "cert-authority": f"cert-authority {KEY}\n", "no key": "\n# nothing\n",
    "a line too many": f"{KEY}\nroot:x:0:0::/:/x\n",
    "two on a line": f"{KEY} {KEY}\nx {KEY}\n", "line separator": f"{KEY} a\u2028command=\"id\" {KEY}\n",
    "toml": f'{KEY} a"]\nadmin = true\n', "long comment": f"{KEY} {'x' * 300}\n",
}  # fmt: skip


def test_a125_keys_with_more_than_a_key(people: Pair) -> None:
    host = people.host
    before = state(host)
    words = ["add-user", "--json", "namesnew", "--key", "-"]
    for case, done in zip(KEYS, cli.calls(host, [words] * len(KEYS), inputs=list(KEYS.values())), strict=True):
        assert refused(done, (5,)), (case, done)
        assert done.error["code"].startswith("invalid.key")
    assert changes(before, host) == []


def test_a125_what_is_taken_makes_no_second_line(people: Pair) -> None:
    """Line ends of another system, a password with a colon and one with a second line."""
    host = people.host
    lines = {name: (host.root / f"etc/{name}").read_text().count("\n") for name in ("passwd", "shadow", "group")}
    done = host.run(["/usr/local/sbin/jailctl", "add-user", "namescrlf", "--key", "-"], input=f"{KEY} a\r\n{KEY}\r\n")
    assert done.returncode == 0, done
    keys = (host.root / "etc/jailctl/keys/namescrlf").read_text()
    assert "\r" not in keys and keys.count("ssh-ed25519") == 1
    given = "pass:word\nroot::0:0:::"
    done = host.run(["/usr/local/sbin/jailctl", "add-user", "namespass", "--password-stdin"], input=given)
    assert done.returncode in (0, 5)
    for name, count in lines.items():
        text = (host.root / f"etc/{name}").read_text()
        extra = (1 + (done.returncode == 0)) if name != "group" else text.count("\n") - count
        assert text.count("\n") == count + extra
        assert "root::" not in text
    assert not any("root::0" in path.read_text() for path in (host.root / "etc/jailctl/jails.d").iterdir())
