"""Manifests and the library on a host with real accounts: twice, with drift, stopped, killed, from many sides."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.host import Host
from tests.test_cli import DOCUMENT, EXAMPLES, difference, output
from tests.test_provision_crash import PYTHON

pytestmark = pytest.mark.host

TREE = Path(__file__).resolve().parents[1]
INSIDE = (TREE / "tests/manifest_inside.py").read_text()
SCRIPTS = TREE / "docs/examples"
PLANNED = [json.loads(line) for line in re.findall(r"^```jsonl\n(.*?)^```$", DOCUMENT, re.M | re.S)[0].splitlines()]
HASH = "$6$abcdefgh$kX1wE2bO1yH0mQ6cS0tq5M8XyV1Xr6o8bqZ0pS3w9N7aR2dK4fL5gJ6hT1uY3iC0vB8nM2zW4eD7xP9qA5sG6/"


def inside(host: Host, command: str, timeout: float = 90, **options: Any) -> Any:
    done = host.run([PYTHON, "-I", "-c", INSIDE, command, json.dumps(options)], timeout=timeout)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def write(host: Host, text: str, name: str = "man.yaml") -> str:
    (host.root / "root" / name).write_text(text)
    return f"/root/{name}"


def apply(host: Host, file: str, *more: str, verb: str = "apply", status: int = 0, **options: Any) -> list[Any]:
    """The lines of JSON, as docs/json.md has them, the summary last."""
    done = host.jailctl(verb, "-f", file, "--json", *more, check=False, **options)
    assert done.returncode == status, (done.stdout, done.stderr)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    line, summary = PLANNED if verb == "diff" or "--dry-run" in more else EXAMPLES["apply"]
    assert [difference(line, each) for each in lines[:-1]] == [""] * (len(lines) - 1)
    assert difference(summary, lines[-1]) == ""
    return lines


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


def test_a_manifest_comes_true_and_a_second_time_nothing_is_done(host: Host) -> None:
    file = write(host, MANIFEST)
    planned = apply(host, file, "--dry-run")
    assert planned[-1]["summary"]["add"] == 4 and not (host.root / "etc/jailctl/plans.d/manplan.toml").exists()
    assert fields(planned, "manc") == {"plan": False, "linger": False, "manifest": False, "password": False}
    assert apply(host, file)[-1]["summary"] | {"seconds": 0} == {
        "added": 3, "changed": 0, "removed": 0, "same": 0, "failed": 0, "left": 0, "stopped": False, "seconds": 0,
        "dry_run": False,
    }  # fmt: skip
    assert f"manc:{HASH}:" in (host.root / "etc/shadow").read_text()
    for more in ((), ("--jobs", "1"), ("--prune",)):
        assert {line["outcome"] for line in apply(host, file, *more)[:-1]} == {"same"}
    told = host.jailctl("apply", "-f", file)
    assert told.stdout == "No changes: 3 jails as they should be.\n" and told.stderr == ""
    assert host.jailctl("diff", "-f", file).stdout == told.stdout
    toml = 'name = "mancust"\n[plans.manplan]\nlimits.processes = 100\ndescription = "Small"\n'
    toml += '[jails.mana]\nplan = "manplan"\n'
    lines = [json.loads(line) for line in host.jailctl("apply", "-f", "-", "--json", input=toml).stdout.splitlines()]
    assert lines[-1]["summary"]["same"] == 1


def drift(host: Host) -> None:
    host.run(["/usr/sbin/usermod", "-s", "/bin/bash", "mana"], check=True)
    recipe = host.root / "var/lib/jailctl/jails/mana/recipe"
    recipe.write_text(recipe.read_text().replace("limit.processes 100", "limit.processes 9999"))
    with (host.root / "etc/jailctl/keys/manb").open("a") as file:
        file.write("ssh-ed25519 AAAA evil\n")
    spec = host.root / "etc/jailctl/jails.d/manb.toml"
    spec.write_text(spec.read_text().replace("user = ", 'shell = "/bin/dash"\nuser = ', 1))
    host.run(["/bin/chown", "0:0", "/home/manc"], check=True)


def test_drift_is_told_or_mended_as_the_policy_says(host: Host) -> None:
    file = write(host, MANIFEST)
    apply(host, file)
    drift(host)
    found = apply(host, file, verb="diff")
    assert fields(found, "mana") == {"account.shell": True, "recipe.limits.processes": True}
    assert fields(found, "manb") == {"key-file": True, "spec-file.shell": True}
    assert fields(found, "manc") == {"home.owner": True}
    told = apply(host, file, "--policy", "report", status=4)
    assert {line["error"]["code"] for line in told if line.get("what") == "jail"} == {"conflict.drift"}
    assert "account.shell" in told[1]["error"]["message"]
    people = host.jailctl("diff", "-f", file).stdout
    assert "! account.shell" in people and "/bin/bash → /opt/jailctl/libexec/door" in people
    assert fields(apply(host, file, verb="diff"), "mana")  # and nothing was touched
    assert {line["outcome"] for line in apply(host, file) if line.get("what") == "jail"} == {"changed"}
    assert apply(host, file)[-1]["summary"]["same"] == 3
    assert (host.root / "home/manc").stat().st_uid == (host.root / "home/manc").stat().st_gid != 0
    assert "evil" not in (host.root / "etc/jailctl/keys/manb").read_text()
    host.run(["/bin/chown", "mana", "/home/manc"], check=True)  # that may be somebody's: it is not taken from her
    assert apply(host, file, status=4)[-2]["error"]["code"] == "conflict.home-owner"
    host.run(["/bin/chown", "manc", "/home/manc"], check=True)


def test_a_plan_changes_its_jails_running_ones_at_once(host: Host) -> None:
    file = write(host, MANIFEST)
    apply(host, file)
    host.jailctl("start", "mana")
    other = write(host, MANIFEST.replace("processes: 100", "processes: 90"), "other.yaml")
    assert fields(apply(host, other, verb="diff"), "manb") == {"recipe.limits.processes": False}
    done = {line["name"]: [step["op"] for step in line["operations"]] for line in apply(host, other)[:-1]}
    assert "limits" in done["mana"] and "limits" not in done["manb"] and "jail-files" in done["manb"]
    host.jailctl("add-user", "manhand", "--set", "plan=manplan")  # of the plan, and of no manifest
    assert fields(apply(host, file), "manhand") == {"recipe.limits.processes": False}
    shown = json.loads(host.jailctl("show", "manhand", "--resolved", "--json").stdout)
    assert shown["resolved"]["limits.processes"] == {"value": 100, "from": "plan manplan"}
    assert host.jailctl("plan", "remove", "manplan", check=False).returncode == 7
    changed = output(host, "plan set", "manplan", "limits.processes=80")
    assert {jail["outcome"] for jail in changed["jails"]} == {"changed"} and len(changed["jails"]) == 4
    listed = output(host, "plan list")["plans"]
    assert next(plan for plan in listed if plan["name"] == "manplan")["jails"] == 4
    assert output(host, "plan show", "manplan")["plan"]["limits"]["processes"] == 80
    host.jailctl("plan", "set", "manshort", "limits.memory=1G")
    assert output(host, "plan remove", "manshort", "--dry-run")["changed"] is False
    assert output(host, "plan remove", "manshort")["changed"] is True
    host.jailctl("remove-user", "manhand")
    host.jailctl("stop", "mana")


def test_one_that_fails_stops_no_other_and_the_exit_number_says_it(host: Host) -> None:
    host.run(["/usr/sbin/useradd", "-M", "manforeign"], check=True)
    file = write(host, "name: manfail\njails: {mand: {}, manforeign: {}, mane: {template: nosuch}, manf: {}}")
    lines = apply(host, file, status=4)
    assert {line["name"]: line["outcome"] for line in lines[:-1]} == {
        "mand": "added", "manforeign": "failed", "mane": "failed", "manf": "added"
    }  # fmt: skip
    told = host.jailctl("apply", "-f", file, check=False)
    assert "jailctl: manforeign: the account manforeign exists" in told.stderr and "2 failed, 2 as they" in told.stdout
    assert host.jailctl("diff", "-f", file, check=False).returncode == 4
    host.run(["/usr/sbin/userdel", "manforeign"], check=True)


def test_prune_removes_what_the_manifest_made_and_nothing_else(host: Host) -> None:
    host.jailctl("add-user", "manown")
    text = "name: manprune\nplans: {mang: {}}\njails: {mang1: {plan: mang}, mang2: {}, mang3: {}}"
    apply(host, write(host, text))
    other = write(host, "name: manother\njails: {mang2: {}, mani: {}}", "other.yaml")
    assert apply(host, other, status=4)[0]["error"]["code"] == "conflict.manifest"
    less = write(host, "name: manprune\njails: {mang3: {}}")
    assert apply(host, less)[-1]["summary"]["removed"] == 0
    kinds = {line["name"]: line["kind"] for line in apply(host, less, "--prune", verb="diff")[:-1]}
    assert kinds == {"mang3": "same", "mang1": "remove", "mang2": "remove", "mang": "remove"}
    refused = host.jailctl("apply", "-f", less, "--prune", check=False)
    assert refused.returncode == 2 and "mang1, mang2" in refused.stderr
    done = apply(host, less, "--prune", "--yes", "--keep-home")
    assert {line["name"]: line["outcome"] for line in done[:-1]} == {
        "mang3": "same", "mang1": "removed", "mang2": "removed", "mang": "removed"
    }  # fmt: skip
    names = {jail["name"] for jail in json.loads(host.jailctl("list", "--json").stdout)["jails"]}
    assert {"manown", "mani", "mang3"} <= names and not {"mang1", "mang2"} & names
    kept = (host.root / "home/mang1").stat()
    assert (kept.st_uid, kept.st_mode & 0o777) == (0, 0o700)


def test_a_manifest_that_is_wrong_changes_nothing_and_says_where(host: Host) -> None:
    file = write(host, "name: manwrong\nplans: {manw: {}}\njails:\n  manw: {}\n  no: {}\n  manx: {keys: [a]}\n")
    done = host.jailctl("apply", "-f", file, check=False)
    assert done.returncode == 5 and f"{file}:5: jails.no: " in done.stderr
    assert not (host.root / "etc/jailctl/plans.d/manw.toml").exists()
    assert host.jailctl("apply", check=False).returncode == 2 and host.jailctl("diff", check=False).returncode == 2
    (host.root / file[1:]).chmod(0o666)
    assert host.jailctl("apply", "-f", file, check=False).returncode == 8


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


def example(host: Host, name: str, *args: str, input: str | None = None) -> tuple[int, str]:
    source = (SCRIPTS / name).read_text()
    done = host.run([PYTHON, "-I", "-c", source, *args], input=input, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, (done.stdout + done.stderr).strip()


def test_the_example_of_a_billing_system(host: Host) -> None:
    for plan in ("mansilver", "mangold"):
        host.jailctl("plan", "set", plan, "limits.open_files=100")
    order = ("create", "manbill", "--package", "mansilver", "--key", host.public_key("manbill"))
    for _ in range(2):
        assert example(host, "billing.py", *order) == (0, "success")
    assert host.ssh("manbill", "id -un").stdout == "manbill\n"
    for _ in range(2):
        assert example(host, "billing.py", "suspend", "manbill") == (0, "success")
    assert host.ssh("manbill", "id -un").returncode != 0
    assert example(host, "billing.py", "unsuspend", "manbill") == (0, "success")
    assert example(host, "billing.py", "change-package", "manbill", "--package", "mangold") == (0, "success")
    assert host.ssh("manbill", "id -un").stdout == "manbill\n"
    status, text = example(host, "billing.py", "change-package", "manbill", "--package", "nosuch")
    assert status == 3 and text.startswith("missing.plan: ")
    for _ in range(2):
        assert example(host, "billing.py", "terminate", "manbill") == (0, "success")
    assert "manbill" not in (host.root / "etc/passwd").read_text()


def test_the_example_of_a_csv_file(host: Host) -> None:
    host.jailctl("plan", "set", "mancsv", "limits.open_files=100")
    lines = ["name,plan,key,expires", f"mancsv1,mancsv,{host.public_key('mancsv1')},",
             "mancsv2,mancsv,,2099-01-01T00:00:00Z", "root,,,"]  # fmt: skip
    file = host.root / "root/c.csv"
    file.write_text("\n".join(lines))
    status, text = example(host, "csv_import.py", "/root/c.csv")
    assert status == 1 and "reserved" in text
    file.write_text("\n".join(lines[:-1]))
    assert example(host, "csv_import.py", "/root/c.csv") == (0, "2 added, 0 failed, 0 as they should be")
    assert example(host, "csv_import.py", "/root/c.csv") == (0, "0 added, 0 failed, 2 as they should be")


def test_the_example_of_pull_requests(host: Host) -> None:
    (host.root / "root/reviewers").mkdir(exist_ok=True)
    (host.root / "root/reviewers/eve").write_text(host.public_key("manreview") + "\n")
    both = json.dumps([{"number": 7, "login": "eve"}, {"number": 8, "login": "nobody"}])
    assert example(host, "pull_requests.py", "/root/reviewers", input=both) == (
        0, "plan review: added\njail pr-7: added\njail pr-8: added"
    )  # fmt: skip
    assert example(host, "pull_requests.py", "/root/reviewers", input=both) == (0, "")
    one = json.dumps([{"number": 7, "login": "eve"}])
    assert example(host, "pull_requests.py", "/root/reviewers", input=one) == (0, "jail pr-8: removed")


def test_the_page_shows_the_examples_as_they_are() -> None:
    page = (TREE / "docs/library.md").read_text()
    for file in sorted(SCRIPTS.glob("*.py")):
        assert f"```python\n{file.read_text()}```" in page, file.name
