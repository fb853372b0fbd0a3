"""Specs, templates and options: every error at once, nothing converted, comments kept."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator

import pytest

from jailkit.errors import InvalidFile, JailkitError
from jailkit.paths import Paths
from jailkit.spec import include, load, settings, write
from jailkit.spec.config import Config
from jailkit.spec.jail import MARK, JailSpec, differences
from jailkit.spec.limits import Limits
from jailkit.spec.template import TemplateSpec
from tests.unit.rooted import TREE, rooted

TEMPLATE = 'name = "x"\ndescription = "d"\nsource = "host"\n'


@pytest.fixture
def paths() -> Iterator[Paths]:
    with rooted() as made:
        os.makedirs(made.specs)
        yield made


def errors(text: str) -> dict[str, str]:
    with pytest.raises(InvalidFile) as caught:
        load.parse(TemplateSpec, text, "t.toml", "invalid.template")
    return dict(caught.value.errors)


def test_every_error_of_a_template_comes_at_once_with_its_path() -> None:
    found = errors(
        'name = "X"\ndescripton = "d"\nsource = "hosts"\nlinger = true\ntmp = 5\nservices = []\nbinds = ["/etc"]\n'
        '[image]\ncopy = ["/etc/../root"]\nlinsk = {}\nlinks = {"/a" = 1}\n'
    )
    assert set(found) == {
        "name",
        "description",
        "descripton",
        "source",
        "linger",
        "tmp",
        "services",
        "binds",
        "image.copy",
        "image.linsk",
        "image.links./a",
    }
    assert found["descripton"] == "is not a known key; did you mean 'description'?"
    assert found["image.linsk"] == "is not a known key; did you mean 'links'?"
    assert found["description"] == "is missing"
    assert found["tmp"] == "must be a text in quotes"


def test_the_text_of_an_error_names_file_and_key() -> None:
    with pytest.raises(InvalidFile) as caught:
        load.parse(TemplateSpec, TEMPLATE + 'network = "lan"\n', "/etc/t.toml", "invalid.template")
    assert caught.value.message == "/etc/t.toml: at 'network': must be 'none' or 'host'"
    assert caught.value.exit_number == 5


@pytest.mark.parametrize(
    "text", ["", "name = ", "\x00", "a = 1\na = 2", "x = " + "[" * 5000], ids=["empty", "cut", "nul", "twice", "deep"]
)
def test_what_is_no_template_is_refused_and_not_half_read(text: str) -> None:
    with pytest.raises(InvalidFile):
        load.parse(TemplateSpec, text, "t.toml", "invalid.template")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shell", '"bash"'),
        ("shell", '"/bin/../bash"'),
        ("shell", '"/bin/ba sh"'),
        ("shell", '"/bin/sh\\n"'),
        ("path", '"/bin:"'),
        ("path", '"/bin:.:/usr/bin"'),
        ("tmp", '"0M"'),
        ("tmp", '"1T"'),
        ("tmp", '"1.5G"'),
        ("linger", "-1"),
        ("linger", '"ever"'),
        ("linger", "1e3"),
        ("linger", "true"),
        ("services", '["ssh d"]'),
        ("services", '["a", "a"]'),
        ("binds", '["/"]'),
        ("binds", '["/usr", "/usr"]'),
        ("network", "false"),
    ],
)
def test_a_value_that_could_not_stand_in_our_files_is_refused(key: str, value: str) -> None:
    assert key in errors(TEMPLATE + f"{key} = {value}\n")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/etc/shadow-",
        "/etc/ssh/ssh_host_rsa_key",
        "/etc/sudoers.d",
        "/etc/ssl/private/*",
        "/root",
        "/etc",
    ],
)
def test_a_secret_is_never_copied_whatever_a_template_says(path: str) -> None:
    assert "image.copy" in errors(TEMPLATE + f'[image]\ncopy = ["{path}"]\n')


def test_image_paths_stand_there_once_and_not_below_a_link() -> None:
    found = errors(TEMPLATE + '[image]\ndirectories = ["/a", "/a", "/l/x"]\nlinks = {"/l" = "/a"}\n')
    assert "/a stands there twice" in next(iter(found.values()))
    found = errors(TEMPLATE + '[image]\ndirectories = ["/l/x"]\nlinks = {"/l" = "/a"}\n')
    assert "lies below a link" in next(iter(found.values()))


def test_the_shipped_template_is_valid_and_holds_homes(paths: Paths) -> None:
    spec = include.resolve(paths, "shell").spec
    assert spec.holds_home("/home/alice")
    assert not spec.holds_home("/var/lib/alice")
    assert not spec.holds_home("/data/alice")
    assert spec.tmp_bytes == 256 << 20


FILES_ONLY = 'name = "drop"\ndescription = "x"\nlevel = "chroot"\nsource = "host"\n'


def test_a_template_with_files_only() -> None:
    spec = load.parse(TemplateSpec, FILES_ONLY + "linger = 5\n", "drop", "invalid.template")
    assert (spec.services, spec.linger) == (["sshd"], 5)
    assert spec.holds_home("/home/alice") and spec.holds_home("/data/drop/alice")
    assert not spec.holds_home("/var/lib/alice")


@pytest.mark.parametrize(
    "line",
    ['shell = "/bin/sh"', 'network = "host"', 'connectors = ["dns"]', 'root = "overlay"', 'smoke = ["true"]',
     '[image]\ndirectories = ["/srv"]', '[[run]]\ncommand = "true"'],
)  # fmt: skip
def test_a189_what_means_nothing_with_files_only_is_refused_not_ignored(line: str) -> None:
    text = "\n".join(f"{where}: {what}" for where, what in errors(FILES_ONLY + line + "\n").items())
    assert "means nothing" in text and line.strip("[").split()[0].split("]")[0] in text


def test_the_shipped_options_are_the_defaults_commented_out() -> None:
    lines = (TREE / "etc/jailctl.toml").read_text().splitlines()
    assert tomllib.loads("\n".join(lines)) == {}
    text = "\n".join(line.removeprefix("#") for line in lines if line.startswith("#") and not line.startswith("# "))
    values = tomllib.loads(text)
    assert load.validate(Config, values, "jailctl.toml", "invalid.config") == Config()
    assert set(values) == set(Config.model_fields)


def test_settings_go_through_the_model() -> None:
    spec = settings.jail_spec("alice", ["linger=300", "network=host", "hostname=web-1"])
    assert (spec.linger, spec.network, spec.hostname) == (300, "host", "web-1")
    assert settings.jail_spec("alice", ["linger=forever"]).linger == "forever"
    for pair in ("linger", "uid=0", "keys=x", "existing=true", "user=root", "=x"):
        with pytest.raises(JailkitError, match="KEY=VALUE"):
            settings.settings([pair])


@pytest.mark.parametrize(
    "pair",
    [
        "hostname=-x",
        "hostname=a.b",
        "hostname=a\nb",
        "hostname=",
        "shell=-c",
        "shell=/bin/sh\r",
        "home=/x",
        "home=//a/b",
        "home=/home/../etc",
        "home=/home/a:b",
        "linger=-5",
        "linger=99999999999",
        "network=lan",
        "template=../x",
        "template=--help",
        "template={{7*7}}",
    ],
)
def test_a119_a125_hostile_values_of_set_are_refused(pair: str) -> None:
    with pytest.raises(JailkitError) as caught:
        settings.jail_spec("alice", [pair])
    assert caught.value.exit_number in (2, 5)


def test_what_is_given_twice_is_refused() -> None:
    with pytest.raises(JailkitError, match="twice"):
        settings.jail_spec("alice", ["linger=1", "linger=2"])
    with pytest.raises(JailkitError, match="twice"):
        settings.jail_spec("alice", ["template=shell"], template="shell")


def test_a_written_spec_reads_back_and_keeps_comments_and_order() -> None:
    spec = settings.jail_spec("alice", ["linger=5", "network=host"], keys=["ssh-ed25519 AAAA a@b", "ssh-rsa BBBB"])
    text = write.spec_text(spec)
    assert text.splitlines()[0] == MARK
    assert load.parse(JailSpec, text, "x", "invalid.spec") == spec
    edited = text.replace('network = "host"', '# she needs the net\nnetwork = "host"   # until May')
    again = write.spec_text(spec.model_copy(update={"linger": 9, "keys": []}), edited)
    assert "# she needs the net\n" in again
    assert "# until May" in again
    assert "keys" not in again
    assert load.parse(JailSpec, again, "x", "invalid.spec").linger == 9
    assert write.spec_text(spec, edited) == edited
    taken = JailSpec(user="bob", existing=True)
    assert write.spec_text(taken, write.spec_text(taken)) == write.spec_text(taken)


def test_settings_are_laid_over_a_spec_and_empty_ones_taken_out_of_it() -> None:
    have = settings.jail_spec("alice", ["linger=5", "network=host", "limits.memory=1G", "limits.cpu=0.5"])
    pairs = ["linger=forever", "network=", "limits.memory=", "limits.sources=192.0.2.1,10.0.0.0/8", "limits.sessions=2",
             "limits.hours=unlimited", "limits.processes=unlimited"]  # fmt: skip
    made = settings.changed(have, settings.settings(pairs, "", reset=True))
    assert made.linger == "forever" and made.network is None
    assert made.limits == Limits(
        cpu=0.5, sources=["192.0.2.1", "10.0.0.0/8"], sessions=2, hours=[], processes="unlimited"
    )
    assert settings.changed(have, {}) == have
    for wrong in ("limits.memory=x", "limits.sessions=0", "limits.cpu=x", "shell=x"):
        with pytest.raises(JailkitError):
            settings.changed(have, settings.settings([wrong], "", reset=True))
    for wrong in ("suspended=x", "expires=x", "limits=x", "limits.x=1", "user=root", "limits.memory"):
        with pytest.raises(JailkitError) as caught:
            settings.settings([wrong], "", reset=True)
        assert caught.value.code == "usage.set"


def test_differences_name_field_and_both_values() -> None:
    have = settings.jail_spec("alice", ["linger=5"], keys=["ssh-ed25519 AAAA a@b"])
    want = settings.jail_spec("alice", ["network=host"])
    assert differences(have, want) == [
        ("network", "(template's)", "host"),
        ("linger", "5", "(template's)"),
        ("keys", "a@b", "(none)"),
    ]
    assert differences(have, have) == []


def test_differences_name_nested_fields() -> None:
    have = JailSpec(user="alice", limits=Limits(memory="1G", sources=["192.0.2.0/24"]), suspended="not paid")
    want = JailSpec(user="alice", limits=Limits(memory="2G", processes="unlimited", sources=[]), plan="gold")
    assert differences(have, want) == [
        ("plan", "(none)", "gold"),
        ("limits.memory", "1G", "2G"),
        ("limits.processes", "(plan's)", "unlimited"),
        ("limits.sources", "192.0.2.0/24", "(no limit)"),
        ("suspended", "not paid", "(none)"),
    ]


@pytest.mark.parametrize(("name", "host"), [("al.ice", "al-ice"), ("_a_", "a"), ("__", "jail"), ("bob", "bob")])
def test_a_host_name_follows_from_the_user(name: str, host: str) -> None:
    assert JailSpec(user=name).host_name == host


def put(path: str, text: str, mode: int = 0o600) -> str:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def test_a_spec_file_is_read_with_its_mark(paths: Paths) -> None:
    put(paths.spec("alice"), f'{MARK}\nuser = "alice"\n')
    put(paths.spec("bob"), 'user = "bob"\n')
    assert load.jail_spec(paths, "alice") == (JailSpec(user="alice"), True)
    assert load.jail_spec(paths, "bob")[1] is False
    put(paths.spec("carol"), 'user = "bob"\n')
    with pytest.raises(InvalidFile, match="the file is that of 'carol'"):
        load.jail_spec(paths, "carol")


def test_a123_a_file_that_others_could_have_written_is_refused(paths: Paths) -> None:
    path = put(paths.spec("alice"), f'{MARK}\nuser = "alice"\n')
    for owner, mode in ((0, 0o620), (0, 0o602), (54321, 0o600)):
        os.chown(path, owner, 0)
        os.chmod(path, mode)
        with pytest.raises(JailkitError) as caught:
            load.jail_spec(paths, "alice")
        assert caught.value.code == "unsafe.path"
        assert path in caught.value.message
        os.chown(path, 0, 0)
        os.chmod(path, 0o600)
    load.jail_spec(paths, "alice")
    os.chmod(paths.specs, 0o777)
    with pytest.raises(JailkitError, match="others may write"):
        load.jail_spec(paths, "alice")


def test_a123_a_link_to_a_spec_is_refused(paths: Paths) -> None:
    os.symlink(put(f"{paths.specs}/real", f'{MARK}\nuser = "alice"\n'), paths.spec("alice"))
    with pytest.raises(JailkitError, match="symbolic link"):
        load.jail_spec(paths, "alice")


def test_a090_a_fifo_as_a_spec_does_not_hang(paths: Paths) -> None:
    os.mkfifo(paths.spec("alice"), 0o600)
    with pytest.raises(JailkitError) as caught:
        load.jail_spec(paths, "alice")
    assert caught.value.code == "invalid.file"


def test_a189_a_template_that_is_missing_or_misnamed_is_refused(paths: Paths) -> None:
    with pytest.raises(JailkitError, match="there is no template 'weeb'") as caught:
        include.resolve(paths, "weeb")
    assert caught.value.hint.startswith("there are: ") and "shell" in caught.value.hint
    os.makedirs(f"{paths.templates}/mine")
    put(f"{paths.templates}/mine/template.toml", TEMPLATE, 0o644)
    with pytest.raises(InvalidFile, match="the folder is called 'mine'"):
        include.resolve(paths, "mine")


def test_options_have_defaults_and_unknown_ones_are_errors(paths: Paths) -> None:
    assert load.config(paths) == Config()
    put(paths.config, 'home_base = "/srv/homes"\n', 0o644)
    assert load.config(paths).home_base == "/srv/homes"
    put(paths.config, 'home_bas = "/srv"\nuid_min = -1\n', 0o644)
    with pytest.raises(InvalidFile) as caught:
        load.config(paths)
    assert [where for where, _ in caught.value.errors] == ["uid_min", "home_bas"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/", "holds"), ("/etc", "holds"), ("/var", "holds"), ("/usr", "holds"), ("/usr/local", "lies in"),
        ("/home", "holds"), ("/home/x", "lies in"), ("/tmp/x", "lies in"), ("/run", "holds"), ("/dev/x", "lies in"),
    ],
)  # fmt: skip
def test_a037_no_mount_point_lies_in_a_writable_directory(path: str, why: str) -> None:
    found = errors(f'{TEMPLATE}root = "overlay"\nwritable = ["{path}"]\n')
    assert why in str(found)


def test_what_may_be_writable() -> None:
    text = f'{TEMPLATE}root = "overlay"\nwritable = ["/srv", "/etc/app", "/var/lib/app", "/opt"]\n'
    assert len(load.parse(TemplateSpec, text, "t.toml", "invalid.template").writable) == 4
    assert "needs root" in str(errors(f'{TEMPLATE}writable = ["/srv"]\n'))
