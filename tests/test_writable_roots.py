"""Roots that a jail may write to: what is hers stays hers, what is shared stays whole, and all of it can be looked at,
dropped or made an image of."""

from __future__ import annotations

import json
import os
import random
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host import Host, wait_for
from tests.test_cli import output
from tests.writable import HERS, template

pytestmark = pytest.mark.host


def add(host: Host, name: str, tag: str) -> None:
    host.jailctl("add-user", name, "--template", tag, "--key", host.key(name) + ".pub")


def inside(host: Host, name: str, command: str, check: bool = True) -> str:
    done = host.jailctl("exec", name, "--", "sh", "-c", command, check=False)
    assert done.returncode == 0 or not check, done
    return done.stdout + done.stderr


def changes(host: Host, name: str) -> dict[str, str]:
    found = output(host, "diff", name)["changes"]
    return {change["path"]: change["kind"] for change in found}


def layer(host: Host, name: str) -> Path:
    return host.root / "var/lib/jailctl/jails" / name / "layer"


def refused(host: Host, *words: str) -> dict[str, str]:
    done = host.jailctl(*words, "--json", check=False)
    assert done.returncode != 0, done
    found: dict[str, str] = json.loads(done.stderr)["error"]
    return found


@pytest.fixture(scope="module")
def wide(host: Host) -> Iterator[Host]:
    """``wida`` and ``widb``, both of one template with an overlay."""
    template(host, "wide", "overlay")
    for name in ("wida", "widb"):
        add(host, name, "wide")
    yield host
    for name in ("wida", "widb"):
        host.jailctl("remove-user", name)


@pytest.fixture
def clean(wide: Host) -> Host:
    """Nothing of an earlier test is left in the roots."""
    for name in ("wida", "widb"):
        wide.jailctl("reset", name, "--yes", "--stop")
    return wide


def test_what_she_writes_is_hers_alone_and_stays(clean: Host) -> None:
    host = clean
    assert changes(host, "wida") == {}
    assert inside(host, "wida", f"stat -c '%U %a' {HERS} {HERS}/sub {HERS}/keep").split() == [
        "wida", "755", "root", "755", "root", "644",
    ]  # fmt: skip
    inside(host, "wida", f"cd {HERS}; echo mine > new; mkdir dir; echo x > dir/x; ln -s new link")
    assert "No such file" in inside(host, "widb", f"cat {HERS}/new", check=False)
    host.jailctl("stop", "wida")
    assert inside(host, "wida", f"cat {HERS}/new {HERS}/dir/x") == "mine\nx\n"
    assert changes(host, "wida") == {
        f"{HERS}/new": "added", f"{HERS}/dir": "added", f"{HERS}/dir/x": "added", f"{HERS}/link": "added",
    }  # fmt: skip
    assert changes(host, "widb") == {}
    assert host.jailctl("image", "verify").returncode == 0


def test_only_what_the_template_gives_is_writable(clean: Host) -> None:
    for path in ("/x", "/etc/x", "/etc/profile", "/opt/x", "/usr/x", f"{HERS}/keep", f"{HERS}/sub/x", "/srv/x"):
        said = inside(clean, "wida", f"echo x > {path}", check=False)
        assert "Permission denied" in said or "Read-only file system" in said, (path, said)
    assert changes(clean, "wida") == {}


def test_files_of_the_image_deleted_renamed_replaced(clean: Host) -> None:
    host = clean
    inside(host, "wida", f"cd {HERS}; rm -f remove; mv keep kept; cp change c2; echo more >> c2; mv -f c2 change")
    assert changes(host, "wida") == {
        f"{HERS}/remove": "removed", f"{HERS}/keep": "removed", f"{HERS}/kept": "added", f"{HERS}/change": "changed",
    }  # fmt: skip
    assert inside(host, "widb", f"cat {HERS}/remove {HERS}/keep {HERS}/change") == "three\none\ntwo\n"
    host.jailctl("stop", "wida")
    assert inside(host, "wida", f"ls {HERS}").split() == ["change", "kept", "sub"]
    text = host.jailctl("diff", "wida").stdout
    assert f"D  {HERS}/remove\n" in text and f"C  {HERS}/change  (4 to 9 bytes)\n" in text


def test_reset_drops_it(clean: Host) -> None:
    host = clean
    inside(host, "wida", f"echo x > {HERS}/new; rm -f {HERS}/keep; echo home > ~/stays")
    assert refused(host, "reset", "wida", "--yes")["code"] == "busy.jail"
    host.jailctl("stop", "wida")
    assert refused(host, "reset", "wida")["code"] == "usage.confirm"
    dry = output(host, "reset", "wida", "--dry-run")
    assert dry["dropped"] == 2 and not dry["changed"] and len(changes(host, "wida")) == 2
    host.jailctl("reset", "wida", "--yes")
    assert changes(host, "wida") == {}
    assert inside(host, "wida", f"cat {HERS}/keep ~/stays; ls {HERS}").split() == [
        "one", "home", "change", "keep", "remove", "sub",
    ]  # fmt: skip
    assert sorted(os.listdir(layer(host, "wida").parent)) == ["layer", "recipe"]


def test_reset_on_a_terminal_asks(clean: Host) -> None:
    inside(clean, "wida", f"echo x > {HERS}/new")
    clean.jailctl("stop", "wida")
    for answer, left in (("n", 1), ("y", 0)):
        with clean.terminal(["/usr/local/sbin/jailctl", "reset", "wida"]) as term:
            term.expect("for good\\?")
            term.sendline(answer)
            wait_for(lambda: term.process.poll() is not None, 10)
        assert len(changes(clean, "wida")) == left


def test_an_update_is_seen_through(clean: Host) -> None:
    host = clean
    inside(host, "wida", f"cd {HERS}; echo mine > new; rm -f remove; cat change > c; mv -f c change")
    host.jailctl("stop", "wida")
    files = host.root / "etc/jailctl/templates/wide/files" / HERS.lstrip("/")
    (files / "keep").write_text("updated\n")
    (files / "change").write_text("updated\n")
    (files / "remove").write_text("updated\n")
    (files / "sub/more").write_text("updated\n")
    host.jailctl("update", "wide")
    assert inside(host, "wida", f"cd {HERS}; cat keep change new sub/more; ls") == (
        "updated\ntwo\nmine\nupdated\nchange\nkeep\nnew\nsub\n"
    )
    assert inside(host, "widb", f"cat {HERS}/change {HERS}/remove") == "updated\nupdated\n"
    assert changes(host, "wida") == {f"{HERS}/new": "added", f"{HERS}/remove": "removed", f"{HERS}/change": "changed"}
    template(host, "wide", "overlay")


def test_commit_makes_an_image_of_it(clean: Host) -> None:
    host = clean
    inside(
        host, "wida",
        f"cd {HERS}; echo tool > tool; chmod 2775 tool; mkdir d; chmod 2777 d; mkfifo fifo; rm -f remove; "
        "echo s > secret; chmod 600 secret; ln -s /etc/passwd link; python3 -c 'import os,socket; "
        'os.setxattr("tool", "user.x", b"1"); socket.socket(socket.AF_UNIX).bind("socket"); '
        "os.mknod(\"white\", 0o20666, 0)' || true",
    )  # fmt: skip
    assert refused(host, "commit", "wida", "wide:hers")["code"] == "busy.jail"
    host.jailctl("stop", "wida")
    assert refused(host, "commit", "wida", "wide")["code"] == "usage.commit"
    dry = output(host, "commit", "wida", "wide:hers", "--dry-run")
    made = output(host, "commit", "wida", "wide:hers")
    assert dry == {**made, "changed": False, "dry_run": True} and made["changed"]
    assert not output(host, "commit", "wida", "wide:hers")["changed"]
    dropped = "\n".join(made["left_out"])
    for what in ("fifo: is a FIFO", "socket: is a socket", "tool: its set-id bits", "d: its set-id bits", "user.x"):
        assert what in dropped, dropped
    root = host.root / "var/lib/jailctl/images" / made["digest"] / "root"
    for path in root.rglob("*"):
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == (0, 0) and not status.st_mode & 0o6000, path
        assert stat.S_IFMT(status.st_mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK), path
        assert stat.S_ISLNK(status.st_mode) or not status.st_mode & 0o022 or status.st_mode & 0o1000, path
    assert not (root / HERS.lstrip("/") / "remove").exists()
    host.jailctl("image", "verify", made["digest"][:12])
    add(host, "widc", "wide:hers")
    try:
        said = inside(host, "widc", f"cd {HERS}; cat tool change; stat -c '%U %a' tool secret d; readlink link")
        assert said.split() == ["tool", "two", "root", "755", "root", "600", "root", "755", "/etc/passwd"]
        assert changes(host, "widc") == {}
    finally:
        host.jailctl("remove-user", "widc")


def test_ephemeral_is_gone_when_it_stops(host: Host) -> None:
    template(host, "brief", "ephemeral")
    add(host, "widd", "brief")
    try:
        inside(host, "widd", f"echo x > {HERS}/new; rm -f {HERS}/keep")
        assert inside(host, "widd", f"ls {HERS}").split() == ["change", "new", "remove", "sub"]
        said = inside(host, "widd", f"head -c 400M /dev/zero > {HERS}/full", check=False)
        assert "No space left" in said  # it counts to `tmp`
        host.jailctl("stop", "widd")
        assert inside(host, "widd", f"ls {HERS}").split() == ["change", "keep", "remove", "sub"]
        assert refused(host, "diff", "widd")["code"] == "conflict.root"
        assert not layer(host, "widd").exists()
    finally:
        host.jailctl("remove-user", "widd")


def test_a_layer_that_is_missing_or_anothers_is_refused(clean: Host) -> None:
    host = clean
    host.jailctl("stop", "wida")
    place = layer(host, "wida")
    place.rename(place.with_name("elsewhere"))
    error = refused(host, "start", "wida")
    assert error["code"] == "missing.layer" and "jailctl reset wida" in error["hint"]
    assert host.ssh("wida", "true").returncode != 0
    report = json.loads(host.jailctl("doctor", "state", "--json", check=False).stdout)
    (finding,) = next(check["findings"] for check in report["checks"] if check["id"] == "state.layers")
    assert finding["state"] == "fail" and "jailctl reset wida" in finding["mend"]
    place.symlink_to("elsewhere")
    assert refused(host, "start", "wida")["code"] == "missing.layer"
    place.unlink()
    place.with_name("elsewhere").rename(place)
    for path, owner in ((place, 0), (place / "upper", host_base(host, "wida")), (place / "work", 0)):
        os.chown(path, 4711, 4711)
        assert refused(host, "start", "wida")["code"] == "unsafe.layer", path
        os.chown(path, owner, owner)
        path.chmod(0o777)
        assert refused(host, "start", "wida")["code"] == "unsafe.layer", path
        path.chmod(0o755 if path.name == "upper" else 0o700)
    host.jailctl("start", "wida")
    host.jailctl("stop", "wida")


def host_base(host: Host, name: str) -> int:
    return int(json.loads(host.jailctl("show", name, "--json").stdout)["jail"]["base"])


def test_removal_takes_the_layer(wide: Host) -> None:
    host = wide
    add(host, "wide1", "wide")
    inside(host, "wide1", f"cd {HERS}; rm -f keep; mkdir -p a/b; echo x > a/b/c; chmod 0 a/b || true")
    host.jailctl("remove-user", "wide1")
    assert not layer(host, "wide1").parent.exists()


def test_a_reset_killed_at_any_moment_drops_all_or_nothing(clean: Host) -> None:
    host, begin = clean, time.monotonic()
    host.jailctl("reset", "wida", "--yes")
    whole = time.monotonic() - begin
    place, count = layer(host, "wida") / "upper" / HERS.lstrip("/"), 400
    outcomes = set()
    for number in range(16):
        inside(host, "wida", f"mkdir -p {HERS}/many; cd {HERS}/many; seq {count} | xargs touch")
        host.jailctl("stop", "wida")
        with host.spawn(["/usr/local/sbin/jailctl", "reset", "wida", "--yes"]) as reset:
            time.sleep(whole * (0.3 + number * 0.08))
            reset.kill()
        left = len(os.listdir(place / "many")) if (place / "many").exists() else 0
        outcomes.add(left)
        assert "sub" in inside(host, "wida", f"ls {HERS}")  # it starts
        host.jailctl("stop", "wida")
    assert outcomes == {0, count}, f"{outcomes}: half of it, or the moments were badly chosen"
    host.jailctl("reset", "wida", "--yes")
    assert sorted(os.listdir(layer(host, "wida").parent)) == ["layer", "recipe"]


def test_a_commit_killed_at_any_moment_leaves_nothing_or_an_image(clean: Host) -> None:
    host, chance = clean, random.Random(20261127)
    inside(host, "wida", f"cd {HERS}; seq 400 | while read n; do echo $n > $n; done")
    host.jailctl("stop", "wida")
    for number in range(8):
        with host.spawn(["/usr/local/sbin/jailctl", "commit", "wida", f"wide:kill{number}"]) as commit:
            time.sleep(chance.uniform(0.15, 0.6))
            commit.kill()
    assert len(changes(host, "wida")) == 400
    host.jailctl("commit", "wida", "wide:whole")
    assert not [name for name in os.listdir(host.root / "var/lib/jailctl/images") if name.startswith(".build-")]
    host.jailctl("image", "verify")
