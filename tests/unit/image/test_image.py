"""Images: what goes in, what never does, the digest, the store, and templates that mean harm."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jailkit.errors import InvalidFile, JailkitError
from jailkit.image import entries, host, render, store
from jailkit.image.template import image_entries, jail_entries, load_template
from jailkit.paths import Paths
from tests.unit.rooted import TREE, rooted

USER: dict[str, object] = {
    "name": "alice",
    "uid": 1001,
    "gid": 1001,
    "group": "alice",
    "gecos": "",
    "home": "/home/alice",
    "shell": "/bin/bash",
}
JAIL: dict[str, object] = {"hostname": "alice", "network": "none"}


@pytest.fixture
def paths() -> Iterator[Paths]:
    with rooted() as made:
        yield made


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A host's root with something of everything in its /etc."""
    root = tmp_path / "host"
    for name in ("usr/bin", "usr/lib", "etc/ssl/private", "etc/ssl/certs", "etc/vim", "etc/closed"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc/vim/vimrc").write_text("set nocp\n")
    (root / "etc/shadow").write_text("root:secret")
    (root / "etc/shadow").chmod(0o644)
    (root / "etc/ssl/private/key").write_text("secret")
    (root / "etc/ssl/certs/ca.pem").write_text("cert")
    (root / "etc/ssl/certs/out").symlink_to("/root/secret")
    (root / "etc/token").write_text("secret")
    (root / "etc/token").chmod(0o640)
    (root / "etc/theirs").write_text("secret")
    os.chown(root / "etc/theirs", 54321, 0)
    (root / "etc/suid").write_text("x")
    (root / "etc/suid").chmod(0o6755)
    os.mkfifo(root / "etc/fifo")
    (root / "etc/closed").chmod(0o750)
    (root / "etc/closed/file").write_text("secret")
    return root


def names(found: list[entries.Entry]) -> dict[str, entries.Entry]:
    return {entry.path: entry for entry in found}


def test_a197_only_what_is_roots_and_readable_by_all_is_copied(fake: Path) -> None:
    found = names(host.copied(["/etc/*"], str(fake)))
    assert set(found) == {
        "/etc/ssl",
        "/etc/ssl/certs",
        "/etc/ssl/certs/ca.pem",
        "/etc/ssl/certs/out",
        "/etc/suid",
        "/etc/vim",
        "/etc/vim/vimrc",
    }
    assert found["/etc/suid"].mode == 0o755
    assert found["/etc/vim/vimrc"].data == b"set nocp\n"


def test_a_link_is_copied_as_a_link_and_never_followed(fake: Path) -> None:
    assert names(host.copied(["/etc/ssl/certs"], str(fake)))["/etc/ssl/certs/out"].target == "/root/secret"
    (fake / "etc/link").symlink_to("ssl")
    assert host.copied(["/etc/link/certs"], str(fake)) == []


def test_what_the_host_lacks_is_left_out(fake: Path) -> None:
    assert host.copied(["/etc/nothing", "/etc/no/thing", "/etc/none*"], str(fake)) == []


def test_a_host_that_is_not_merged_is_refused(fake: Path) -> None:
    assert [entry.target for entry in host.merged_links(str(fake))] == ["usr/bin", "usr/lib"]
    (fake / "bin").unlink()
    (fake / "bin").mkdir()
    with pytest.raises(JailkitError) as caught:
        host.merged_links(str(fake))
    assert caught.value.code == "host.usrmerge"


def test_a_later_layer_wins_and_brings_its_directories() -> None:
    found = entries.tree([[entries.file("/a/b", b"1"), entries.file("/c", b"x")], [entries.file("/a/b/c", b"2")]])
    assert [(entry.path, entry.kind) for entry in found] == [
        ("/a", "directory"),
        ("/a/b", "directory"),
        ("/a/b/c", "file"),
        ("/c", "file"),
    ]
    found = entries.tree([[entries.file("/a/b/c", b"2")], [entries.link("/a/b", "/etc")]])
    assert [entry.path for entry in found] == ["/a", "/a/b"]


def test_the_digest_is_of_the_input_and_of_nothing_else(paths: Paths, fake: Path) -> None:
    first = store.wanted(paths, "shell", str(fake))
    again = Path(shutil.copytree(fake, f"{fake}2", symlinks=True, ignore=shutil.ignore_patterns("fifo")))
    for path in again.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    (again / "etc/theirs").write_text("another secret")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from jailkit.image import store; from jailkit.paths import Paths;"
        "print(store.wanted(Paths(sys.argv[2]), 'shell', sys.argv[3]))"
    )
    env = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    argv = [sys.executable, "-c", code, str(TREE), paths.root, str(again)]
    other = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.strip()
    assert other == first
    (again / "etc/vim/vimrc").write_text("set cp\n")
    assert store.wanted(paths, "shell", str(again)) != first


@pytest.mark.parametrize("change", ["file", "mode", "link", "template"])
def test_every_kind_of_change_changes_the_digest(paths: Paths, fake: Path, change: str) -> None:
    first = store.wanted(paths, "shell", str(fake))
    if change == "file":
        (fake / "etc/vim/vimrc").write_text("other")
    elif change == "mode":
        (fake / "etc/vim/vimrc").chmod(0o755)
    elif change == "link":
        (fake / "etc/ssl/certs/out").unlink()
        (fake / "etc/ssl/certs/out").symlink_to("/root/secre")
    else:
        with open(f"{paths.opt}/templates/shell/files/etc/profile", "a", encoding="utf-8") as file:
            file.write("# more\n")
    assert store.wanted(paths, "shell", str(fake)) != first


def test_an_image_is_built_once_and_verifies(paths: Paths, fake: Path) -> None:
    os.umask(0o077)
    try:
        digest = store.build(paths, "shell", str(fake))
    finally:
        os.umask(0o022)
    assert store.tagged(paths, "shell") == digest
    assert store.verify(paths, digest) == []
    assert store.digests(paths) == [digest]
    root = Path(store.root(paths, digest))
    assert os.readlink(f"{paths.tags}/shell") == f"../images/{digest}"
    assert stat.S_IMODE(root.parent.stat().st_mode) == 0o700
    assert not [path for path in [root, *root.rglob("*")] if not path.is_symlink() and path.stat().st_mode & 0o022]
    assert (root / "root").stat().st_mode & 0o7777 == 0o700
    assert (root / "etc/passwd").read_bytes() == b""
    assert os.readlink(root / "bin") == "usr/bin"
    before = root.stat().st_ino
    assert store.build(paths, "shell", str(fake)) == digest
    assert root.stat().st_ino == before
    assert os.listdir(paths.images).count(digest) == 1
    assert not [name for name in os.listdir(paths.images) if name.startswith(".build")]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: (root / "etc/profile").write_text("evil"), "has another content"),
        (lambda root: (root / "etc/profile").chmod(0o666), "has mode 0666"),
        (lambda root: os.chown(root / "etc/profile", 54321, 0), "belongs to 54321:0"),
        (lambda root: (root / "etc/profile").unlink(), "is missing"),
        (lambda root: (root / "etc/more").write_text(""), "is not in the manifest"),
        (lambda root: ((root / "bin").unlink(), (root / "bin").symlink_to("evil")), "points to 'evil'"),
        (lambda root: ((root / "etc/profile").unlink(), (root / "etc/profile").mkdir()), "is no file"),
    ],
)
def test_verify_sees_each_damage(paths: Paths, fake: Path, damage: object, said: str) -> None:
    assert callable(damage)
    digest = store.build(paths, "shell", str(fake))
    damage(Path(store.root(paths, digest)))
    assert [what for _, what in store.verify(paths, digest)] == [said]


def test_a_forged_manifest_is_refused(paths: Paths, fake: Path) -> None:
    digest = store.build(paths, "shell", str(fake))
    path = f"{paths.images}/{digest}/manifest.json"
    body = json.loads(Path(path).read_text())
    body["entries"] = body["entries"][1:]
    Path(path).write_text(json.dumps(body))
    with pytest.raises(JailkitError) as caught:
        store.verify(paths, digest)
    assert caught.value.code == "invalid.image"


def test_an_interrupted_build_is_cleaned_and_one_under_way_is_not(paths: Paths, fake: Path) -> None:
    import fcntl

    store.build(paths, "shell", str(fake))
    dead, alive = f"{paths.images}/.build-dead", f"{paths.images}/.build-alive"
    for path in (dead, alive):
        os.makedirs(f"{path}/root/etc")
    fd = os.open(alive, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert store.clean(paths) == 1
    assert os.path.isdir(alive)
    os.close(fd)
    assert store.clean(paths) == 1


def test_builds_at_once_end_in_one_image(paths: Paths, fake: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from jailkit.image import store; from jailkit.paths import Paths;"
        "print(store.build(Paths(sys.argv[2]), 'shell', sys.argv[3]))"
    )
    argv = [sys.executable, "-c", code, str(TREE), paths.root, str(fake)]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    digests = {process.communicate(timeout=60)[0].strip() for process in running}
    assert len(digests) == 1
    assert [process.returncode for process in running] == [0] * 4
    assert store.verify(paths, digests.pop()) == []
    assert not [name for name in os.listdir(paths.images) if name.startswith(".build")]


def test_a_stale_image_is_known(paths: Paths) -> None:
    assert store.stale(paths, "shell") is False
    store.build(paths, "shell")
    assert store.stale(paths, "shell") is False
    with open(f"{paths.opt}/templates/shell/files/etc/profile", "a", encoding="utf-8") as file:
        file.write("# more\n")
    assert store.stale(paths, "shell") is True


def test_a_tag_to_nothing_is_no_image(paths: Paths) -> None:
    os.makedirs(paths.tags)
    os.symlink("../images/" + "0" * 64, f"{paths.tags}/shell")
    assert store.tagged(paths, "shell") is None
    os.unlink(f"{paths.tags}/shell")
    os.symlink("/etc", f"{paths.tags}/shell")
    assert store.tagged(paths, "shell") is None


def test_the_jails_own_files(paths: Paths) -> None:
    template = load_template(paths, "shell")
    made = jail_entries(template, USER, JAIL, [])
    assert sorted(made) == template.jail_names == ["group", "hostname", "hosts", "passwd", "resolv.conf"]
    assert made["passwd"].decode().splitlines()[-1] == "alice:x:1001:1001::/home/alice:/bin/bash"
    assert made["group"].decode().splitlines()[-1] == "alice:x:1001:"
    assert made["resolv.conf"] == b""
    with_net = jail_entries(template, USER, {**JAIL, "network": "host"}, ["nameserver 192.0.2.1"])
    assert with_net["resolv.conf"] == b"nameserver 192.0.2.1\n"


def test_a_primary_group_of_the_system_stands_there_once(paths: Paths) -> None:
    made = jail_entries(load_template(paths, "shell"), {**USER, "gid": 8, "group": "mail"}, JAIL, [])
    assert [line for line in made["group"].decode().splitlines() if ":8:" in line] == ["mail:x:8:"]


@pytest.mark.parametrize("value", ["a\nroot::0:0::/:/bin/sh", "a\r", "a\x00", "a\u2028b", "a\x85b", "x:0:0"])
def test_a125_no_value_begins_a_line_or_a_field_of_its_own(paths: Paths, value: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        jail_entries(load_template(paths, "shell"), {**USER, "gecos": value}, JAIL, [])
    assert caught.value.errors[0][0] == "jail/etc/passwd.j2"


def test_a120_data_is_never_a_template(paths: Paths) -> None:
    made = jail_entries(load_template(paths, "shell"), {**USER, "gecos": "{{7*7}}{% if 1 %}"}, JAIL, [])
    assert "{{7*7}}{% if 1 %}" in made["passwd"].decode()


@pytest.mark.parametrize(
    "text",
    [
        "{{ nothing }}",
        "{{ template.nothing }}",
        "{% include '/etc/shadow' %}",
        "{% import 'os' as o %}",
        "{% extends 'x' %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ range(10) }}",
        "{{ template.update({'a': 1}) }}",
        "{{ 1/0 }}",
        "{% if %}",
        "{{ '%s' % template.__class__ }}",
        "{{ ('{0.__class__}').format(template) }}",
        "{{ 'a\nb' }}",
    ],
)
def test_a120_a_template_cannot_reach_out(text: str) -> None:
    with pytest.raises(ValueError, match="."):
        render.render(text, {"template": {"name": "x"}})


def test_render_keeps_the_text_and_fills_it_in() -> None:
    assert render.render("a {{ x }}\n{% if x %}\nb\n{% endif %}\n", {"x": "1"}) == "a 1\nb\n"


def put(paths: Paths, relative: str, text: str) -> None:
    path = Path(f"{paths.opt}/templates/shell/{relative}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_every_error_of_every_file_comes_at_once(paths: Paths) -> None:
    put(paths, "files/etc/one.j2", "{{ nothing }}")
    put(paths, "files/etc/two.j2", "{% if %}")
    put(paths, "files/etc/profile.j2", "twice")
    with pytest.raises(InvalidFile) as caught:
        image_entries(load_template(paths, "shell"))
    assert [where for where, _ in caught.value.errors] == [
        "files/etc/one.j2",
        "files/etc/profile.j2",
        "files/etc/two.j2",
    ]


def test_a123_template_files_of_others_and_links_are_refused(paths: Paths) -> None:
    top = Path(f"{paths.opt}/templates/shell/files/etc")
    os.chown(top / "profile", 54321, 0)
    (top / "bash.bashrc").chmod(0o666)
    (top / "link").symlink_to("/etc/shadow")
    os.mkfifo(top / "fifo")
    with pytest.raises(InvalidFile) as caught:
        load_template(paths, "shell")
    assert [where for where, _ in caught.value.errors] == [
        "files/etc/bash.bashrc",
        "files/etc/fifo",
        "files/etc/link",
        "files/etc/profile",
    ]


def test_a_full_disk_leaves_no_half_image(paths: Paths, fake: Path) -> None:
    import resource

    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            store.build(paths, "shell", str(fake))
        except JailkitError as error:
            os._exit(0 if error.code == "io.image" else 3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.digests(paths) == []
    assert store.tagged(paths, "shell") is None
    assert not [name for name in os.listdir(paths.images) if name.startswith(".build")]
