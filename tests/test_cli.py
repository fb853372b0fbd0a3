"""jailctl on a whole host: the JSON of every verb is what docs/json.md says, exits are what docs/exit-codes.md says,
and what is printed for people is safe to print.

Attacks: A117 (names), A119 (option injection), A136 (terminal escapes, as far as list and show go)."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jailkit.cli.main import cli
from jailkit.jail.record import Session
from jailkit.kernel.proc import start_time

from .host import Host, wait_for

pytestmark = pytest.mark.host
DOCUMENT = (Path(__file__).resolve().parents[1] / "docs/json.md").read_text()
EXAMPLES: dict[str, Any] = {
    name: json.loads(text) for name, text in re.findall(r"^```json (\S[^\n]*)\n(.*?)^```$", DOCUMENT, re.M | re.S)
}


def difference(example: Any, real: Any, where: str = "") -> str:
    """Where two JSON values differ in keys or types, or "". An empty list and null differ from nothing."""
    if example is None or real is None:
        return ""
    if type(example) is not type(real):
        return f"{where}: {type(real).__name__}, documented as {type(example).__name__}"
    if isinstance(example, dict):
        if where.endswith((".files", ".links")):
            return ""
        if example.keys() != real.keys():
            return f"{where}: keys {sorted(real)}, documented {sorted(example)}"
        return next(filter(None, (difference(example[k], real[k], f"{where}.{k}") for k in example)), "")
    if isinstance(example, list) and example:
        return next(filter(None, (difference(example[0], item, f"{where}[]") for item in real)), "")
    return ""


def output(host: Host, verb: str, *arguments: str, check: bool = True) -> Any:
    done = host.jailctl(*verb.split(), "--json", *arguments, check=check)
    assert done.stderr == ""
    value = json.loads(done.stdout)
    assert difference(EXAMPLES[verb], value, verb) == ""
    assert done.stdout.isascii()
    return value


@pytest.fixture(scope="module")
def user(host: Host) -> Iterator[str]:
    host.jailctl("add-user", "clijson", "--key", host.key("clijson") + ".pub")
    yield "clijson"
    host.jailctl("remove-user", "clijson")


def test_the_comparison_can_fail() -> None:
    assert difference({"a": [{"b": 1}]}, {"a": [{"b": "1"}]}, "x") == "x.a[].b: str, documented as int"
    assert "keys" in difference({"a": 1}, {"a": 1, "b": 2})
    assert difference({"a": None}, {"a": 3}) == ""


def shown_verbs(host: Host, *group: str) -> list[str]:
    text = host.jailctl(*group, "--help").stdout
    return re.findall(r"^  ([a-z-]+)  +[A-Z]", text.partition("Verbs:")[2].partition("Examples:")[0], re.M)


def test_every_verb_is_documented(host: Host) -> None:
    names = [name for name, _ in cli.verbs()]
    groups = {name.split()[0] for name in names if " " in name}
    shown = shown_verbs(host)
    verbs = [verb for verb in shown if verb not in groups]
    verbs += [f"{group} {verb}" for group in groups for verb in shown_verbs(host, group)]
    assert sorted(verbs) == sorted(names) and set(verbs) | {"error", "version", "backup --list"} == set(EXAMPLES)


def test_setup(host: Host) -> None:
    value = output(host, "setup", "--dry-run")
    assert value["dry_run"] and not value["changed"] and {s["state"] for s in value["steps"]} == {"already"}
    assert "/etc/ssh/sshd_config.d/000-jailctl.conf" in value["files"]
    assert output(host, "setup")["changed"] is False


def test_add_and_remove(host: Host) -> None:
    key = host.key("cliadd") + ".pub"
    planned = output(host, "add-user", "cliadd", "--key", key, "--dry-run")
    assert planned["jail"] is None and planned["operations"] and not planned["changed"]
    assert host.run(["/usr/bin/id", "cliadd"]).returncode == 1
    made = output(host, "add-user", "cliadd", "--key", key)
    assert made["changed"] and made["jail"]["state"] == "dormant" and made["login"] == "ssh cliadd@testhost"
    again = output(host, "add-user", "cliadd", "--key", key)
    assert not again["changed"] and again["operations"] == [] and again["jail"] == made["jail"]
    assert output(host, "add-user", "cliadd")["changed"] is False  # what is left out is as it is
    assert output(host, "remove-user", "cliadd", "--dry-run")["jails"][0]["changed"] is False
    gone = output(host, "remove-user", "cliadd", "--archive", "/root/cliadd.tar")["jails"]
    assert [(entry["changed"], entry["archive"]) for entry in gone] == [(True, "/root/cliadd.tar")]
    assert (host.root / "root/cliadd.tar").stat().st_mode & 0o777 == 0o600


def test_copies_of_a_jail(host: Host) -> None:
    host.jailctl("add-user", "clikeep")
    kept = output(host, "backup", "clikeep", "/root/clikeep.tar.zst")["jails"][0]
    assert kept["changed"] and kept["names"] > 1 and kept["taken"] == "stopped"
    listed = host.jailctl("backup", "--list", "/root/clikeep.tar.zst", "--json").stdout
    assert difference(EXAMPLES["backup --list"], json.loads(listed)) == ""
    assert output(host, "clone", "clikeep", "clicopy", "--dry-run")["jail"] is None
    assert output(host, "clone", "clikeep", "clicopy")["jail"]["name"] == "clicopy"
    assert output(host, "archive", "clikeep", "/root/clikeep2.tar.zst")["jails"][0]["changed"]
    assert output(host, "restore", "clikeep", "/root/clikeep.tar.zst")["jail"]["name"] == "clikeep"
    for name in ("clikeep", "clicopy"):
        host.jailctl("remove-user", name)


def test_a_jails_life(host: Host) -> None:
    host.jailctl("add-user", "clilife")
    assert output(host, "set", "clilife", "linger=5")["jails"][0]["changed"]
    assert output(host, "suspend", "clilife", "--message", "x")["jails"][0]["operations"][0]["op"] == "suspend"
    assert output(host, "resume", "clilife", "--dry-run")["jails"][0]["dry_run"]
    assert output(host, "resume", "clilife")["jails"][0]["error"] is None
    assert output(host, "expire", "clilife", "--at", "2099-01-31")["jails"][0]["expires"] == "2099-01-31T00:00:00Z"
    assert output(host, "move-home", "clilife", "/home/clielse")["home"] == "/home/clielse"
    assert output(host, "rename", "clilife", "clinew")["old"] == "clilife"
    output(host, "remove-user", "clinew")


def test_list_and_show(host: Host, user: str) -> None:
    jail = next(row for row in output(host, "list")["jails"] if row["name"] == user)
    assert output(host, "show", user)["jail"] == jail
    with host.ssh_spawn(user, "cat") as session:
        assert session.stdin and session.stdout
        session.stdin.write(b"x\n")
        session.stdout.read(2)
        value = output(host, "show", user)
        assert value["jail"]["state"] == "running" and value["pid"] and value["processes"] >= 3
        (seen,) = value["sessions"]
        assert (seen["service"], seen["from"]) == ("sshd", "127.0.0.1") and abs(seen["since"] - time.time()) < 60
        assert seen["auth"] == [{"method": "publickey", "fingerprint": value["keys"][0]["fingerprint"]}]
        listed = host.run(["/usr/bin/ssh-keygen", "-lf", f"/etc/jailctl/keys/{user}"])
        assert value["keys"][0]["fingerprint"] in listed.stdout
        table = host.jailctl("show", user).stdout
        assert "publickey" in table and re.search(r"^sshd +127\.0\.0\.1", table, re.M)


def test_templates(host: Host) -> None:
    rows = output(host, "template list")["templates"]
    assert {"name": "shell", "kept": "shipped"}.items() <= next(row for row in rows if row["name"] == "shell").items()
    assert output(host, "template new", "clitemplate", "--from", "shell")["files"] == ["template.toml"]
    assert output(host, "template show", "clitemplate")["kept"] == "own"
    assert output(host, "template check", "clitemplate")["templates"][0]["valid"]
    with (host.root / "etc/jailctl/templates/clitemplate/template.toml").open("a") as file:
        file.write("lingr = 1\n")
    (row,) = output(host, "template check", "clitemplate", check=False)["templates"]
    assert row["errors"][0]["where"] == "lingr"
    assert host.jailctl("template", "check", "clitemplate", check=False).returncode == 5
    shutil.rmtree(host.root / "etc/jailctl/templates/clitemplate")


def test_start_stop_exec_enter(host: Host, user: str) -> None:
    output(host, "stop", user)
    (started,) = output(host, "start", user)["jails"]
    assert started["changed"] and output(host, "start", user)["jails"][0] == {**started, "changed": False}
    value = output(host, "exec", user, "--", "sh", "-c", "echo out; echo err >&2; exit 3", check=False)
    assert (value["status"], value["stdout"], value["stderr"]) == (3, "out\n", "err\n")
    entered = host.jailctl("enter", "--json", user, input="exit 4\n", check=False)
    assert entered.returncode == 4 and json.loads(entered.stdout) == {"name": user, "status": 4}
    stopped = {"name": user, "uid": started["uid"], "changed": True, "error": None}
    assert output(host, "stop", user)["jails"] == [stopped]
    assert output(host, "stop", user)["jails"][0]["changed"] is False


def test_usage(host: Host, user: str) -> None:
    assert host.ssh(user, "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo x >used").returncode == 0
    (before,) = output(host, "usage", user)["jails"]
    assert before["cpu_seconds"] > 0.1 and before["memory_bytes"] > 1 << 20 and before["sessions"] >= 1
    assert before["disk"]["measured"] and before["disk"]["inodes"] >= 2, "a home in memory is walked"
    host.ssh(user, "touch more")
    host.jailctl("stop", user)
    (after,) = output(host, "usage", user, "--history", "hour", "--measure")["jails"]
    assert after["sessions"] == before["sessions"] + 1
    assert before["cpu_seconds"] < after["cpu_seconds"] < before["cpu_seconds"] + 5, "once each"
    assert after["disk"]["inodes"] == before["disk"]["inodes"] + 1
    assert sum(one["sessions"] for one in after["history"]) == after["sessions"]
    assert output(host, "usage", "--sample")["jails"] == []
    assert output(host, "usage", user)["jails"][0]["cpu_seconds"] == after["cpu_seconds"]
    text = host.jailctl("usage", user, "--since", "hour").stdout.splitlines()
    assert text[0].split()[:2] == ["NAME", "DISK"] and text[1].startswith(user)
    assert "missing.jail" in host.jailctl("--json", "usage", "nobody-here", check=False).stderr
    assert "usage.sample" in host.jailctl("--json", "usage", user, "--sample", check=False).stderr


def test_usage_of_a_jail_that_ended_by_itself(host: Host) -> None:
    """The watcher ends it, without Python, and keeps what its control groups have counted."""
    host.jailctl("add-user", "cliends", "--key", host.key("cliends") + ".pub", "--set", "linger=0")
    try:
        base = host.jailctl("--json", "usage", "cliends").stdout
        assert json.loads(base)["jails"][0]["cpu_seconds"] == 0
        host.ssh("cliends", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")
        wait_for(lambda: json.loads(host.jailctl("--json", "show", "cliends").stdout)["jail"]["state"] == "dormant", 10)
        (used,) = output(host, "usage", "cliends")["jails"]
        assert used["cpu_seconds"] > 0.1 and used["memory_bytes"] > 1 << 20 and used["sessions"] == 1
        host.ssh("cliends", "true")
    finally:
        host.jailctl("remove-user", "cliends")
    query = "SELECT sum(sessions) FROM samples WHERE name = 'cliends' AND span = 'hour'"
    code = f'import sqlite3; print(sqlite3.connect("/var/lib/jailctl/usage.db").execute("{query}").fetchone()[0])'
    assert host.run(["/usr/bin/python3", "-c", code]).stdout == "2\n", "the last one as well"


def test_doctor_completion_version(host: Host) -> None:
    assert {check["id"] for check in output(host, "doctor", "kernel")["checks"]} >= {"kernel.version", "kernel.jail"}
    assert output(host, "completion", "fish")["shell"] == "fish"
    assert difference(EXAMPLES["version"], json.loads(host.jailctl("--json", "--version").stdout)) == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "nobody-here"], "missing.jail"),
        (["exec", "nobody-here", "--", "id"], "missing.jail"),
        (["enter", "nobody-here"], "missing.jail"),
        (["start", "nobody-here"], "missing.jail"),
        (["stop", "nobody-here"], "missing.jail"),
        (["remove-user", "nobody-here"], "missing.jail"),
        (["add-user", "cli-x", "--template", "none"], "missing.template"),
        (["add-user", "cli-x", "--key", "/nowhere"], "missing.key-file"),
        (["add-user", "cli-x", "--set", "colour=red"], "usage.set"),
        (["add-user", "cli-x", "--key", "-", "--password-stdin"], "usage.stdin"),
        (["add-user", "daemon"], "conflict.account-exists"),
        (["add-user", "jailctl-test-x"], "invalid.user-name"),
        (["add-user", "../x"], "invalid.user-name"),
        (["add-user", "-x"], "usage.arguments"),
        (["add-user", "--", "-x"], "invalid.user-name"),
        (["show", "a\nb"], "invalid.user-name"),
        (["remove-user", "a", "--keep-home", "--archive", "/x"], "usage.remove"),
        (["setup", "--undo", "--dry-run"], "usage.arguments"),
        (["doctor", "no.such"], "usage.check"),
    ],
)
def test_refusals(host: Host, arguments: list[str], code: str) -> None:
    done = host.jailctl("--json", *arguments, check=False)
    error = json.loads(done.stderr)
    assert difference(EXAMPLES["error"], error) == "" and error["error"]["code"] == code
    assert done.returncode == error["error"]["exit"] != 0 and done.stdout == ""
    plain = host.jailctl(*arguments, check=False)
    assert plain.returncode == done.returncode and plain.stderr.startswith("jailctl: ")
    assert "\x1b" not in plain.stderr and "\nb" not in plain.stderr


def test_exec_passes_bytes_signals_and_status(host: Host, user: str) -> None:
    data = bytes(range(256)) * 300
    done = host.run_bytes(["/usr/local/sbin/jailctl", "exec", user, "--", "cat"], input=data)
    assert (done.returncode, done.stdout) == (0, data)
    assert host.jailctl("exec", user, "--", "sh", "-c", "kill -TERM $$", check=False).returncode == 143
    assert host.jailctl("exec", user, "--", "printf", "%s|", "a b", "$(id)", "*", "").stdout == "a b|$(id)|*||"


def test_what_a_client_says_is_shown_escaped(host: Host, user: str) -> None:
    """A session record holds words of the client's (sudo CVE-2023-28487): none of them moves the cursor."""
    uid = int(output(host, "start", user)["jails"][0]["uid"])
    with host.spawn(["/usr/bin/sleep", "60"]) as process:
        start = start_time(process.pid)
        assert start is not None
        evil = "\x1b]0;t\x07\x9b2J\rx\u202e"
        session = Session(process.inner_pid, start, 0, user, "sshd", evil, evil, f"publickey {evil}")
        path = host.root / f"run/jailctl/jails/{uid}/sessions/{process.inner_pid}"
        path.write_bytes(session.pack())
        shown = host.jailctl("show", user).stdout
        assert "\\x1b]0;t\\x07\\x9b2J\\x0dx\\u202e" in shown
        assert not set(shown) & set("\x1b\x07\x9b\r\u202e")
        path.unlink()


def test_quiet_says_nothing(host: Host, user: str) -> None:
    for arguments in (
        ["list"],
        ["show", user],
        ["doctor", "kernel.version"],
        ["setup", "--no-login-test"],
        ["stop", user],
    ):
        done = host.jailctl("--quiet", *arguments)
        assert (done.stdout, done.stderr) == ("", "")


def test_completion_in_a_real_shell(host: Host, user: str) -> None:
    script = """
        source /usr/local/share/bash-completion/completions/jailctl
        COMP_WORDS=(jailctl show cli) COMP_CWORD=2; _jailctl_completion jailctl; echo "${COMPREPLY[@]}"
        COMP_WORDS=(jailctl rem) COMP_CWORD=1; COMPREPLY=(); _jailctl_completion jailctl; echo "${COMPREPLY[@]}"
    """
    done = host.run(["/bin/bash", "-c", script], env={"PATH": "/usr/local/sbin:/usr/bin:/bin"})
    assert done.stdout.splitlines() == [user, "remove-user"]


def test_interrupted_by_the_keyboard(host: Host, user: str) -> None:
    with host.spawn(["/usr/local/sbin/jailctl", "doctor"]) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        wait_for(lambda: "_pydantic_core" in maps.read_text(), 20, "the interpreter is not past its own start")
        process.signal(2)
        assert process.wait(20) == 130
        assert process.stderr and process.stderr.read().decode().endswith("undoes what was begun\n")
