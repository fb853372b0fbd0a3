"""Images on a host: update, rollback, prune, as an administrator does it and as those who are logged in see it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pexpect
import pytest

from tests.host import Host, wait_for

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def h() -> Iterator[Host]:
    with Host() as host:
        host.jailctl("setup")
        for name in ("anna", "berta"):
            host.jailctl("add-user", name, "--key", f"{host.key(name)}.pub", "--set", "linger=0")
        yield host


def change(h: Host, text: str) -> None:
    """A new version of the template: one that its jails can see."""
    with (h.root / "opt/jailctl/templates/parts/shells/files/etc/profile").open("a") as file:
        file.write(f"# {text}\n")


def said(h: Host, *arguments: str, status: int = 0) -> Any:
    done = h.run(["/usr/local/sbin/jailctl", *arguments, "--json"])
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout if status == 0 else done.stderr)


def last(h: Host, user: str) -> str:
    return h.ssh(user, "tail -n 1 /etc/profile").stdout.strip()


def test_two_hosts_have_the_same_image(h: Host) -> None:
    """Built at another time, on another host, for other users: the same bytes, so the same name."""
    with Host() as other:
        argv = ["/usr/local/sbin/jailctl", "image", "build", "shell"]
        other.run(argv, env={"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}, check=True)
        assert other.image("shell") == h.image("shell")


def test_an_update_reaches_all_dormant_jails_and_a_rollback_takes_it_back(h: Host) -> None:
    first = h.image("shell")
    recipes = {name: (h.root / f"var/lib/jailctl/jails/{name}/recipe").read_bytes() for name in ("anna", "berta")}
    change(h, "second")
    assert said(h, "update", "shell", "--dry-run")["updates"] == [{"template": "shell", "digest": first, "stale": True}]
    done = said(h, "update", "shell")["updates"][0]
    assert (done["before"], done["changed"]) == (first, True)
    assert done["digest"] == h.image("shell") != first
    assert [last(h, name) for name in ("anna", "berta")] == ["# second"] * 2
    for name, text in recipes.items():
        assert (h.root / f"var/lib/jailctl/jails/{name}/recipe").read_bytes() == text, "an update touches no jail"
    again = said(h, "update", "shell")["updates"][0]
    assert again["changed"] is False and again["digest"] == done["digest"]
    assert said(h, "image", "rollback", "shell")["digest"] == first
    assert last(h, "anna") != "# second"
    assert said(h, "image", "rollback", "shell")["digest"] == done["digest"]
    assert last(h, "anna") == "# second"


def test_who_is_logged_in_keeps_her_root_until_the_jail_stops(h: Host) -> None:
    before = h.image("shell")
    with h.ssh_terminal("anna") as term:
        term.sendline("echo in''side")
        term.expect("inside")
        change(h, "third")
        assert "until stopped: anna\n" in h.jailctl("update", "shell").stdout
        term.sendline("tail -n 1 /etc/profile; echo se''en")
        term.expect("seen")
        assert "third" not in str(term.before)
        shown = said(h, "show", "anna")
        assert (shown["jail"]["running_image"], shown["jail"]["image"]) == (before, h.image("shell"))
        listed = {jail["name"]: jail for jail in said(h, "list")["jails"]}
        assert listed["anna"]["running_image"] == before and listed["berta"]["running_image"] is None
        assert last(h, "anna") != "# third", "a second session joins the jail that runs"
        assert last(h, "berta") == "# third"
        used = {image["digest"]: image for image in said(h, "image", "list")["images"]}
        assert used[before]["running"] == [h.ids("anna")[0]]
    wait_for(lambda: said(h, "show", "anna")["pid"] is None, 10, "her jail ends")
    assert last(h, "anna") == "# third"


def test_a_restart_tells_and_ends_what_is_old(h: Host) -> None:
    with h.ssh_terminal("anna") as term:
        term.sendline("echo in''side")
        term.expect("inside")
        change(h, "fourth")
        done = said(h, "update", "shell", "--restart", "--grace", "1")
        assert [jail["name"] for jail in done["restarted"]] == ["anna"]
        term.expect("This system is updated: it ends in 1 s")
        term.expect(pexpect.EOF)
    assert last(h, "anna") == "# fourth"
    assert said(h, "update", "shell", "--restart")["restarted"] == []


def test_settings_come_with_the_image_and_go_back_with_it(h: Host) -> None:
    """A recipe is made anew at the first start on an image of other settings, and only then."""
    toml = h.root / "opt/jailctl/templates/shell/template.toml"
    text = toml.read_text()
    recipe = h.root / "var/lib/jailctl/jails/berta/recipe"
    before = recipe.read_bytes()
    try:
        toml.write_text(text.replace('path = "', 'path = "/opt/tools:'))
        (h.root / "opt/jailctl/templates/parts/accounts/jail/etc/motd.j2").write_text("Hello {{ user.name }}\n")
        said(h, "update", "shell")
        assert recipe.read_bytes() == before
        seen = h.ssh("berta", 'echo "$PATH"; cat /etc/motd').stdout
        assert seen.startswith("/opt/tools:") and seen.endswith("Hello berta\n")
        assert recipe.read_bytes() != before
        said(h, "image", "rollback", "shell")
        done = h.ssh("berta", 'echo "$PATH"; cat /etc/motd')
        assert "/opt/tools" not in done.stdout and "No such file" in done.stderr
        assert recipe.read_bytes() == before
    finally:
        toml.write_text(text)
        (h.root / "opt/jailctl/templates/parts/accounts/jail/etc/motd.j2").unlink()


def test_a_failed_smoke_test_stops_an_update(h: Host) -> None:
    toml = h.root / "opt/jailctl/templates/shell/template.toml"
    text, before = toml.read_text(), h.image("shell")
    try:
        toml.write_text(text.replace("smoke = [", 'smoke = ["test -x /bin/bash", "echo sad; test -e /etc/nothing",', 1))
        error = said(h, "update", "shell", status=5)["error"]
        assert error["code"] == "invalid.smoke" and "/etc/nothing" in error["message"]
        assert error["message"].startswith("shell: ") and "/var/lib/jailctl/logs/shell.log" in error["hint"]
        log = (h.root / "var/lib/jailctl/logs/shell.log").read_text()
        assert log.index("layer etc") < log.index("smoke test: echo sad") < log.index(" sad\n")
        assert h.image("shell") == before
        toml.write_text(text.replace("smoke = [", 'smoke = ["test -x /bin/bash",', 1))
        assert said(h, "update", "shell")["updates"][0]["changed"]
    finally:
        toml.write_text(text)
        said(h, "update", "shell")


def test_a_jail_stays_in_its_level(h: Host) -> None:
    """No name that jails are made from may mean an image that none of them could start from."""
    before = h.image("shell")
    h.jailctl("image", "export", "sftp-only", "/root/files.tar")
    for words in (
        ("tag", "sftp-only", "shell"), ("tag", "sftp-only", "shell", "--dry-run"),
        ("rollback", "shell", "--to", "sftp-only"), ("import", "/root/files.tar", "shell"),
    ):  # fmt: skip
        assert said(h, "image", *words, status=4)["error"]["code"] == "conflict.level"
    assert h.image("shell") == before
    said(h, "image", "tag", "sftp-only", "other")  # no jail is made from it
    said(h, "image", "untag", "other")


def test_an_update_of_all_leaves_what_has_no_template(h: Host) -> None:
    said(h, "image", "tag", "shell", "elsewhere")
    done = h.jailctl("update", "--dry-run")
    assert "elsewhere stays as it is" in done.stderr and "elsewhere" not in done.stdout
    assert {row["template"] for row in said(h, "update")["updates"]} == {"shell", "sftp-only"}
    assert said(h, "update", "shell:kept", status=2)["error"]["code"] == "usage.tag"
    said(h, "image", "untag", "elsewhere")


def test_control_c_in_an_update_of_several_leaves_nothing(h: Host) -> None:
    """Every process of the terminal gets it; one that waits for work must not take the others along."""
    folder = h.root / "etc/jailctl/templates/slow"
    folder.mkdir(parents=True)
    (folder / "template.toml").write_text(
        'name = "slow"\ndescription = "d"\nincludes = ["shell"]\n[[run]]\ncommand = "echo begun; sleep 60"\n'
    )
    log = h.root / "var/lib/jailctl/logs"
    with h.terminal(["/usr/local/sbin/jailctl", "update", "slow", "nowhere"]) as term:
        wait_for(lambda: any("begun" in path.read_text() for path in log.glob("slow.log.*")), 20, "the step")
        term.control("c")
        term.expect("jailctl: stopped")
        wait_for(lambda: term.process.poll() is not None, 10, "its end")
        assert "Traceback" not in str(term.before)
    assert not [path.name for path in (h.root / "var/lib/jailctl/images").iterdir() if path.name[:2] == ".b"]


def test_prune_takes_what_nothing_uses_and_says_what_it_frees(h: Host) -> None:
    for text in ("fifth", "sixth"):
        change(h, text)
        said(h, "update", "shell")
    now, rollback = h.image("shell"), said(h, "image", "rollback", "shell", "--dry-run")["digest"]
    with h.spawn(h.ssh_argv("anna", "sleep 60")) as session:
        wait_for(lambda: said(h, "show", "anna")["pid"] is not None, 10, "her jail")
        change(h, "seventh")
        said(h, "update", "shell")
        change(h, "eighth")
        said(h, "update", "shell")
        there = {image["digest"] for image in said(h, "image", "list")["images"] if image["template"] == "shell"}
        planned = said(h, "image", "prune", "--dry-run")
        assert there == {
            image["digest"] for image in said(h, "image", "list")["images"] if image["template"] == "shell"
        }
        done = said(h, "image", "prune")
        assert (done["images"], done["contents"]) == (planned["images"], planned["contents"])
        assert done["freed"] == planned["freed"] > 0
        left = {image["digest"] for image in said(h, "image", "list")["images"] if image["template"] == "shell"}
        assert rollback in done["images"] and now in left, "anna runs in it"
        assert left == there - set(done["images"]) and len(left) == 3
        assert said(h, "image", "prune")["images"] == []
        session.kill()
    assert said(h, "image", "verify")["images"][0]["ok"]
    assert last(h, "berta") == "# eighth"


def test_tags_hold_an_image_and_jails_can_be_made_of_them(h: Host) -> None:
    old = h.image("shell")
    said(h, "image", "tag", "shell", "shell:kept")
    assert said(h, "image", "tag", "shell", "shell:kept")["changed"] is False
    change(h, "ninth")
    said(h, "update", "shell")
    said(h, "image", "prune", "--all")
    h.jailctl("add-user", "carla", "--template", "shell:kept", "--key", f"{h.key('carla')}.pub")
    assert last(h, "carla") != "# ninth" and said(h, "show", "carla")["jail"]["image"] == old
    assert said(h, "image", "untag", "shell:kept", status=7)["error"]["code"] == "busy.image"
    h.jailctl("remove-user", "carla")
    said(h, "image", "untag", "shell:kept")
    assert old in said(h, "image", "prune", "--all")["images"]
    assert said(h, "image", "show", old[:12], status=3)["error"]["code"] == "missing.image"


def test_what_differs_between_two_images(h: Host) -> None:
    first = h.image("shell")
    change(h, "tenth")
    (h.root / "opt/jailctl/templates/parts/shells/files/etc/added").write_text("")
    said(h, "update", "shell")
    found = said(h, "image", "diff", first, "shell")["differences"]
    assert {(row["kind"], row["path"]) for row in found} == {("changed", "/etc/profile"), ("added", "/etc/added")}
    assert said(h, "image", "diff", "shell", "shell")["differences"] == []


def test_damage_is_seen_and_mended(h: Host) -> None:
    digest = h.image("shell")
    profile = h.root / f"var/lib/jailctl/images/{digest}/root/etc/profile"
    profile.write_text("evil\n")
    found = h.run(["/usr/local/sbin/jailctl", "image", "verify", "shell"])
    assert found.returncode == 5 and "/etc/profile: has another content" in found.stdout
    os.rename(h.root / f"var/lib/jailctl/images/{digest}", h.root / "var/lib/jailctl/damaged")
    said(h, "update", "shell")
    assert h.image("shell") == digest
    assert said(h, "image", "verify", "shell")["images"] == [{"digest": digest, "ok": True, "problems": []}]


def test_an_update_takes_no_longer_for_many_jails(h: Host) -> None:
    """What moves is one link: no file of a jail is opened. Looked at by what the switch touches, not by a clock."""
    before = time.time()
    change(h, "eleventh")
    said(h, "update", "shell")
    for name in ("anna", "berta"):
        top = h.root / f"var/lib/jailctl/jails/{name}"
        assert max(path.stat().st_ctime for path in [top, *top.rglob("*")]) < before
