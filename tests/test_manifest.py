"""Manifests and the library on a host with real accounts: twice, with drift, stopped, killed, from many sides."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.host import Host
from tests.inside import argv as inside_argv
from tests.inside import call
from tests.test_cli import DOCUMENT, EXAMPLES, difference

pytestmark = pytest.mark.host

TREE = Path(__file__).resolve().parents[1]
SCRIPTS = TREE / "docs/examples"
PLANNED = [json.loads(line) for line in re.findall(r"^```jsonl\n(.*?)^```$", DOCUMENT, re.M | re.S)[0].splitlines()]
HASH = "$6$abcdefgh$kX1wE2bO1yH0mQ6cS0tq5M8XyV1Xr6o8bqZ0pS3w9N7aR2dK4fL5gJ6hT1uY3iC0vB8nM2zW4eD7xP9qA5sG6/"


def inside(host: Host, command: str, timeout: float = 90, **options: Any) -> Any:
    return call(host, ["manifest_inside"], command, timeout, **options)


class Quick:
    """A host whose jailctl needs no start of Python: manifest_inside.serve()."""

    def __init__(self, host: Host) -> None:
        self.host, self.root = host, host.root
        self._process = host.spawn(inside_argv(["manifest_inside"], "serve"))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def command(self, *argv: str, source: str | None = None, input: str | None = None) -> CompletedProcess[str]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"argv": argv, "source": source, "input": input}).encode() + b"\n")
        self._process.stdin.flush()
        done = json.loads(self._process.stdout.readline())
        return CompletedProcess(argv, done["status"], done["stdout"], done["stderr"])

    def jailctl(self, *argv: str, input: str | None = None, check: bool = True) -> CompletedProcess[str]:
        done = self.command(*argv, input=input)
        assert not check or done.returncode == 0, (done.stdout, done.stderr)
        return done

    def output(self, verb: str, *argv: str) -> Any:
        """As docs/json.md has it."""
        value = json.loads(self.jailctl(*verb.split(), *argv, "--json").stdout)
        assert difference(EXAMPLES[verb], value, verb) == ""
        return value

    def run(self, *argv: str) -> None:
        self.host.run(argv, check=True)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Of its own: hundreds of jails are left in it."""
    with Host() as made:
        made.jailctl("setup")
        yield made


@pytest.fixture(scope="module")
def quick(host: Host) -> Iterator[Quick]:
    made = Quick(host)
    yield made
    made.close()


def write(host: Host | Quick, text: str, name: str = "man.yaml") -> str:
    (host.root / "root" / name).write_text(text)
    return f"/root/{name}"


def apply(host: Quick, file: str, *more: str, verb: str = "apply", status: int = 0, **options: Any) -> list[Any]:
    """The lines of JSON, as docs/json.md has them, the summary last."""
    done = host.jailctl(verb, "-f", file, "--json", *more, check=False, **options)
    assert done.returncode == status, (done.stdout, done.stderr)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    line, summary = PLANNED if verb == "diff" or "--dry-run" in more else EXAMPLES["apply"]
    assert [difference(line, plain_values(each)) for each in lines[:-1]] == [""] * (len(lines) - 1)
    assert difference(summary, lines[-1]) == ""
    return lines


def plain_values(line: Any) -> Any:
    """Without the values, which are of the types that the fields have."""
    return {**line, "differences": [{**row, "have": None, "want": None} for row in line["differences"]]}


def fields(lines: list[Any], name: str) -> dict[str, bool]:
    """Which fields of a jail differ, and whether they have drifted."""
    return {row["field"]: row["drift"] for line in lines if line.get("name") == name for row in line["differences"]}


MANIFEST = f"""\
name: mancust
defaults: {{plan: manplan}}
plans:
  manplan: {{limits: {{processes: 100}}, description: Small}}
jails:
  mana:
  manb: {{keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA b]}}
  manc: {{password_hash: {HASH}, linger: 5}}
"""


def test_a_manifest_comes_true_and_a_second_time_nothing_is_done(quick: Quick) -> None:
    file = write(quick, MANIFEST)
    planned = apply(quick, file, "--dry-run")
    assert planned[-1]["summary"]["add"] == 4 and not (quick.root / "etc/jailctl/plans.d/manplan.toml").exists()
    assert fields(planned, "manc") == {"plan": False, "linger": False, "manifest": False, "password": False}
    assert apply(quick, file)[-1]["summary"] | {"seconds": 0} == {
        "added": 3, "changed": 0, "removed": 0, "same": 0, "failed": 0, "left": 0, "stopped": False, "seconds": 0,
        "dry_run": False,
    }  # fmt: skip
    assert f"manc:{HASH}:" in (quick.root / "etc/shadow").read_text()
    for more in ((), ("--jobs", "1"), ("--prune",)):
        assert {line["outcome"] for line in apply(quick, file, *more)[:-1]} == {"same"}
    told = quick.jailctl("apply", "-f", file)
    assert told.stdout == "No changes: 3 jails as they should be.\n" and told.stderr == ""
    assert quick.jailctl("diff", "-f", file).stdout == told.stdout
    toml = 'name = "mancust"\n[plans.manplan]\nlimits.processes = 100\ndescription = "Small"\n'
    toml += '[jails.mana]\nplan = "manplan"\n'
    lines = [json.loads(line) for line in quick.jailctl("apply", "-f", "-", "--json", input=toml).stdout.splitlines()]
    assert lines[-1]["summary"]["same"] == 1


def drift(quick: Quick) -> None:
    quick.run("/usr/sbin/usermod", "-s", "/bin/bash", "mana")
    recipe = quick.root / "var/lib/jailctl/jails/mana/recipe"
    recipe.write_text(recipe.read_text().replace("limit.processes 100", "limit.processes 9999"))
    with (quick.root / "etc/jailctl/keys/manb").open("a") as file:
        file.write("ssh-ed25519 AAAA evil\n")
    spec = quick.root / "etc/jailctl/jails.d/manb.toml"
    spec.write_text(spec.read_text().replace("user = ", 'shell = "/bin/dash"\nuser = ', 1))
    quick.run("/bin/chown", "0:0", "/home/manc")


def test_drift_is_told_or_mended_as_the_policy_says(quick: Quick) -> None:
    file = write(quick, MANIFEST)
    apply(quick, file)
    drift(quick)
    found = apply(quick, file, verb="diff")
    assert fields(found, "mana") == {"account.shell": True, "recipe.limits.processes": True}
    assert fields(found, "manb") == {"key-file": True, "spec-file.shell": True}
    assert fields(found, "manc") == {"home.owner": True}
    told = apply(quick, file, "--policy", "report", status=4)
    assert {line["error"]["code"] for line in told if line.get("what") == "jail"} == {"conflict.drift"}
    assert "account.shell" in told[1]["error"]["message"]
    people = quick.jailctl("diff", "-f", file).stdout
    assert "! account.shell" in people and "/bin/bash → /opt/jailctl/libexec/door" in people
    assert fields(apply(quick, file, verb="diff"), "mana")  # and nothing was touched
    assert {line["outcome"] for line in apply(quick, file) if line.get("what") == "jail"} == {"changed"}
    assert apply(quick, file)[-1]["summary"]["same"] == 3
    assert (quick.root / "home/manc").stat().st_uid == (quick.root / "home/manc").stat().st_gid != 0
    assert "evil" not in (quick.root / "etc/jailctl/keys/manb").read_text()
    quick.run("/bin/chown", "mana", "/home/manc")  # that may be somebody's: it is not taken from her
    assert apply(quick, file, status=4)[-2]["error"]["code"] == "conflict.home-owner"
    quick.run("/bin/chown", "manc", "/home/manc")


def test_a_plan_changes_its_jails_running_ones_at_once(quick: Quick) -> None:
    file = write(quick, MANIFEST)
    apply(quick, file)
    quick.jailctl("start", "mana")
    other = write(quick, MANIFEST.replace("processes: 100", "processes: 90"), "other.yaml")
    assert fields(apply(quick, other, verb="diff"), "manb") == {"recipe.limits.processes": False}
    done = {line["name"]: [step["op"] for step in line["operations"]] for line in apply(quick, other)[:-1]}
    assert "limits" in done["mana"] and "limits" not in done["manb"] and "jail-files" in done["manb"]
    quick.jailctl("add-user", "manhand", "--set", "plan=manplan")  # of the plan, and of no manifest
    assert fields(apply(quick, file), "manhand") == {"recipe.limits.processes": False}
    shown = json.loads(quick.jailctl("show", "manhand", "--resolved", "--json").stdout)
    assert shown["resolved"]["limits.processes"] == {"value": 100, "from": "plan manplan"}
    assert quick.jailctl("plan", "remove", "manplan", check=False).returncode == 7
    changed = json.loads(quick.jailctl("plan", "set", "manplan", "limits.processes=80", "--json").stdout)
    assert difference(EXAMPLES["plan set"], plain_values(changed)) == ""
    assert {jail["outcome"] for jail in changed["jails"]} == {"changed"} and len(changed["jails"]) == 4
    listed = quick.output("plan list")["plans"]
    assert next(plan for plan in listed if plan["name"] == "manplan")["jails"] == 4
    assert quick.output("plan show", "manplan")["plan"]["limits"]["processes"] == 80
    quick.jailctl("plan", "set", "manshort", "limits.memory=1G")
    assert quick.output("plan remove", "manshort", "--dry-run")["changed"] is False
    assert quick.output("plan remove", "manshort")["changed"] is True
    quick.jailctl("remove-user", "manhand")
    quick.jailctl("stop", "mana")


def test_a_plan_that_changes_fails_one_jail_and_changes_the_others(quick: Quick) -> None:
    quick.jailctl("plan", "set", "manfollow", "limits.processes=70")
    for name in ("manfollow1", "manfollow2"):
        quick.jailctl("add-user", name, "--set", "plan=manfollow")
    spec = quick.root / "etc/jailctl/jails.d/manfollow1.toml"
    before = spec.read_text()
    spec.write_text(before + "colour = 1\n")
    done = quick.jailctl("plan", "set", "manfollow", "limits.processes=80", "--json", check=False)
    found = {jail["name"]: jail for jail in json.loads(done.stdout)["jails"]}
    assert done.returncode == found["manfollow1"]["error"]["exit"]
    assert found["manfollow1"]["error"]["code"] == "invalid.spec" and found["manfollow2"]["outcome"] == "changed"
    spec.write_text(before + "linger = 8\n")  # an edit that was not applied comes true with it, as with jailctl set
    quick.jailctl("plan", "set", "manfollow", "limits.processes=80")
    assert quick.output("show", "manfollow1")["jail"]["linger"] == 8


def test_one_that_fails_stops_no_other_and_the_exit_number_says_it(quick: Quick) -> None:
    quick.run("/usr/sbin/useradd", "-M", "manforeign")
    file = write(quick, "name: manfail\njails: {mand: {}, manforeign: {}, manh: {template: nosuch}, manf: {}}")
    lines = apply(quick, file, status=4)
    assert {line["name"]: line["outcome"] for line in lines[:-1]} == {
        "mand": "added", "manforeign": "failed", "manh": "failed", "manf": "added"
    }  # fmt: skip
    told = quick.jailctl("apply", "-f", file, check=False)
    assert "jailctl: manforeign: the account manforeign exists" in told.stderr and "2 failed, 2 as they" in told.stdout
    assert quick.jailctl("diff", "-f", file, check=False).returncode == 4
    quick.run("/usr/sbin/userdel", "manforeign")


def test_prune_removes_what_the_manifest_made_and_nothing_else(quick: Quick) -> None:
    quick.jailctl("add-user", "manown")
    text = "name: manprune\nplans: {mang: {}}\njails: {mang1: {plan: mang}, mang2: {}, mang3: {}}"
    apply(quick, write(quick, text))
    other = write(quick, "name: manother\njails: {mang2: {}, mani: {}}", "other.yaml")
    assert apply(quick, other, status=4)[0]["error"]["code"] == "conflict.manifest"
    less = write(quick, "name: manprune\njails: {mang3: {}}")
    assert apply(quick, less)[-1]["summary"]["removed"] == 0
    kinds = {line["name"]: line["kind"] for line in apply(quick, less, "--prune", verb="diff")[:-1]}
    assert kinds == {"mang3": "same", "mang1": "remove", "mang2": "remove", "mang": "remove"}
    refused = quick.jailctl("apply", "-f", less, "--prune", check=False)
    assert refused.returncode == 2 and "mang1, mang2" in refused.stderr
    done = apply(quick, less, "--prune", "--yes", "--keep-home")
    assert {line["name"]: line["outcome"] for line in done[:-1]} == {
        "mang3": "same", "mang1": "removed", "mang2": "removed", "mang": "removed"
    }  # fmt: skip
    names = {jail["name"] for jail in json.loads(quick.jailctl("list", "--json").stdout)["jails"]}
    assert {"manown", "mani", "mang3"} <= names and not {"mang1", "mang2"} & names
    kept = (quick.root / "home/mang1").stat()
    assert (kept.st_uid, kept.st_mode & 0o777) == (0, 0o700)


def test_a_manifest_that_is_wrong_changes_nothing_and_says_where(quick: Quick) -> None:
    file = write(quick, "name: manwrong\nplans: {manw: {}}\njails:\n  manw: {}\n  no: {}\n  manx: {keys: [a]}\n")
    done = quick.jailctl("apply", "-f", file, check=False)
    assert done.returncode == 5 and f"{file}:5: jails.no: " in done.stderr
    assert not (quick.root / "etc/jailctl/plans.d/manw.toml").exists()
    assert quick.jailctl("apply", check=False).returncode == 2 and quick.jailctl("diff", check=False).returncode == 2
    (quick.root / file[1:]).chmod(0o666)
    assert quick.jailctl("apply", "-f", file, check=False).returncode == 8


def test_before_setup_no_account_is_made_that_has_another_way_in(fresh_host: Host) -> None:
    for text in ("{password_hash: $6$a$b}", "{existing: true}"):
        file = write(fresh_host, f"name: manearly\njails: {{a: {{}}, b: {text}}}")
        done = fresh_host.jailctl("apply", "-f", file, check=False)
        assert done.returncode == 6 and "would be a way past the jail" in done.stderr
        assert "\na:" not in (fresh_host.root / "etc/passwd").read_text()
    file = write(fresh_host, "name: manearly\njails: {jailctl-test-a: {}}")
    assert fresh_host.jailctl("apply", "-f", file, check=False).returncode == 5


def test_ctrl_c_ends_after_the_jails_in_hand_and_the_next_run_goes_on(host: Host) -> None:
    done = inside(host, "broken_off", prefix="manint", count=520, number=signal.SIGINT)
    summary = done["lines"][-1]["summary"]
    assert done["status"] == 130 and summary["stopped"] and summary["left"] > 0 and summary["failed"] == 0
    assert done["there"] == summary["added"] == 520 - summary["left"]
    assert done["again"] == {"same": done["there"], "added": 520 - done["there"]}
    assert done["third"] == {"same": 520} and done["whole"]


def test_killed_the_next_run_goes_on(host: Host) -> None:
    done = inside(host, "broken_off", prefix="mankill", count=300, number=signal.SIGKILL)
    assert done["status"] == -9 and done["there"] <= 300
    assert sum(done["again"].values()) == 300 and not done["again"].get("failed")
    assert done["third"] == {"same": 300} and done["whole"]


def test_what_was_planned_is_what_is(host: Host) -> None:
    for each in inside(host, "chance", seed=4, rounds=8):
        assert each["wrong"] == [] and each["errors"] == [], each
        assert set(each["second"]) <= {"same"} and set(each["fourth"]) <= {"same"}, each
        assert each["seen"] == each["drifted"], each


def test_eight_threads_in_each_of_four_processes(host: Host) -> None:
    done = inside(host, "crowd", processes=4, threads=8)
    assert done["statuses"] == [0, 0, 0, 0]
    assert done["shared"]["limits"] == {"open_files": 100, "sessions": 101, "idle": 102, "session": 103}
    assert len(done["left"]) == 16 and done["states"] == ["dormant"]


def test_the_library_does_what_the_pages_say(host: Host) -> None:
    done = inside(host, "library")
    assert done["kinds"][:2] == ["reserve", "jail-files"] and done["untouched"] and done["state"] == "dormant"
    assert done["steps"][0] == f"1/{len(done['kinds'])}" and not done["again"]
    assert done["mapping"] == ["manlib0", True, True]
    assert done["set"] == 7 and done["reset"] != 7
    assert set(done["spec"]) == {"user", "keys", "manifest"}
    assert [done[key] for key in ("missing", "none", "invalid", "differs", "hash", "gone", "plan")] == [
        "KeyError", "missing.jail", "invalid.spec", "conflict.differs", "invalid.password", "missing.jail",
        "missing.plan",
    ]  # fmt: skip
    assert done["removed"] == [True, False] and done["fork"] == 0


# -- docs/examples


def example(host: Quick, name: str, *args: str, input: str | None = None) -> tuple[int, str]:
    source = (SCRIPTS / name).read_text()
    done = host.command(*args, source=source, input=input)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, (done.stdout + done.stderr).strip()


def test_the_example_of_a_billing_system(quick: Quick) -> None:
    for plan in ("mansilver", "mangold"):
        quick.jailctl("plan", "set", plan, "limits.open_files=100")
    order = ("create", "manbill", "--package", "mansilver", "--key", quick.host.public_key("manbill"))
    for _ in range(2):
        assert example(quick, "billing.py", *order) == (0, "success")
    assert quick.host.ssh("manbill", "id -un").stdout == "manbill\n"
    for _ in range(2):
        assert example(quick, "billing.py", "suspend", "manbill") == (0, "success")
    assert quick.host.ssh("manbill", "id -un").returncode != 0
    assert example(quick, "billing.py", "unsuspend", "manbill") == (0, "success")
    assert example(quick, "billing.py", "change-package", "manbill", "--package", "mangold") == (0, "success")
    assert quick.host.ssh("manbill", "id -un").stdout == "manbill\n"
    status, text = example(quick, "billing.py", "change-package", "manbill", "--package", "nosuch")
    assert status == 3 and text.startswith("missing.plan: ")
    for _ in range(2):
        assert example(quick, "billing.py", "terminate", "manbill") == (0, "success")
    assert "manbill" not in (quick.root / "etc/passwd").read_text()


def test_the_example_of_a_csv_file(quick: Quick) -> None:
    quick.jailctl("plan", "set", "mancsv", "limits.open_files=100")
    lines = ["name,plan,key,expires", f"mancsv1,mancsv,{quick.host.public_key('mancsv1')},",
             "mancsv2,mancsv,,2099-01-01T00:00:00Z", "root,,,"]  # fmt: skip
    file = quick.root / "root/c.csv"
    file.write_text("\n".join(lines))
    status, text = example(quick, "csv_import.py", "/root/c.csv")
    assert status == 1 and "reserved" in text
    file.write_text("\n".join(lines[:-1]))
    assert example(quick, "csv_import.py", "/root/c.csv") == (0, "2 added, 0 failed, 0 as they should be")
    assert example(quick, "csv_import.py", "/root/c.csv") == (0, "0 added, 0 failed, 2 as they should be")


def test_the_example_of_pull_requests(quick: Quick) -> None:
    (quick.root / "root/reviewers").mkdir(exist_ok=True)
    (quick.root / "root/reviewers/eve").write_text(quick.host.public_key("manreview") + "\n")
    both = json.dumps([{"number": 7, "login": "eve"}, {"number": 8, "login": "nobody"}])
    assert example(quick, "pull_requests.py", "/root/reviewers", input=both) == (
        0, "plan review: added\njail pr-7: added\njail pr-8: added"
    )  # fmt: skip
    assert example(quick, "pull_requests.py", "/root/reviewers", input=both) == (0, "")
    one = json.dumps([{"number": 7, "login": "eve"}])
    assert example(quick, "pull_requests.py", "/root/reviewers", input=one) == (0, "jail pr-8: removed")


def test_the_page_shows_the_examples_as_they_are() -> None:
    page = (TREE / "docs/library.md").read_text()
    for file in sorted(SCRIPTS.glob("*.py")):
        assert f"```python\n{file.read_text()}```" in page, file.name
