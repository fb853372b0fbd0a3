"""Templates that are rendered, and those that mean harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jailkit.errors import InvalidFile
from jailkit.image import build, render
from jailkit.image.template import jail_entries, load_template, rendered_files
from jailkit.paths import Paths

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
    put(paths, "files/etc/motd", "once")
    put(paths, "files/etc/motd.j2", "twice")
    with pytest.raises(InvalidFile) as caught:
        rendered_files(load_template(paths, "shell"))
    assert [where for where, _ in caught.value.errors] == [
        "files/etc/motd.j2",
        "files/etc/one.j2",
        "files/etc/two.j2",
    ]


def test_a123_template_files_of_others_and_links_are_refused(paths: Paths) -> None:
    top = Path(f"{paths.opt}/templates/parts/shells/files/etc")
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


def test_what_is_wrong_with_a_jails_own_files_is_said_before_an_image_is_made(paths: Paths) -> None:
    put(paths, "jail/etc/motd.j2", "{% if jail.network == 'host' %}{{ nothing }}{% endif %}")
    with pytest.raises(InvalidFile) as caught:
        build.build(paths, "shell")
    assert caught.value.errors == [("jail/etc/motd.j2", "'nothing' is undefined")]
    assert not os.path.exists(paths.images)
