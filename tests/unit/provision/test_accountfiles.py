"""Many accounts in one rewrite, on a copy of the files: the same bytes as shadow's own tools leave, nothing of others
touched, killed at every boundary."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jailkit.errors import JailkitError
from jailkit.kernel.beneath import remove_tree
from jailkit.provision import accountfile, accountfiles
from jailkit.provision.accountfiles import Changed, New, change, encoded

FILES = ("passwd", "shadow", "group", "gshadow")
DOOR = "/opt/jailctl/libexec/door"
PASSWD = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
SHADOW = "root:*:20000:0:99999:7:::\ndaemon:*:20000:0:99999:7:::\n"
GROUP = "root:x:0:\ndaemon:x:1:\nsudo:x:27:\njailed:x:990:\njailed-chroot:x:989:\n"
GSHADOW = "root:*::\ndaemon:*::\nsudo:*::\njailed:!::\njailed-chroot:!::\n"


@pytest.fixture
def etc() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("account files are root's")
    top = Path(tempfile.mkdtemp(prefix="jailkit-test-", dir="/run"))
    try:
        made = top / "etc"
        made.mkdir()
        for name, text in zip(FILES, (PASSWD, SHADOW, GROUP, GSHADOW), strict=True):
            (made / name).write_text(text)
            (made / name).chmod(0o640 if "shadow" in name else 0o644)
        os.chown(made / "shadow", 0, 42)
        for name in ("login.defs", "nsswitch.conf"):
            shutil.copy(f"/etc/{name}", made)
        shutil.copytree("/etc/pam.d", made / "pam.d")
        (made / "default").mkdir()
        shutil.copy("/etc/default/useradd", made / "default")
        yield made
    finally:
        with contextlib.suppress(JailkitError):
            remove_tree(str(top))


def copy(etc: Path, name: str) -> Path:
    subprocess.run(["/bin/cp", "-a", str(etc), str(etc.parent / name)], check=True)
    return etc.parent / name


def tool(etc: Path, *argv: str, stdin: str = "") -> None:
    """One of shadow's own, in a mount namespace where ``etc`` is /etc."""
    script = 'mount --bind "$0" /etc && exec "$@"'
    done = subprocess.run(
        ["/usr/bin/unshare", "-m", "--", "/bin/sh", "-c", script, str(etc), *argv],
        input=stdin, capture_output=True, text=True, check=False, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def useradd(etc: Path, name: str, uid: int, groups: str = "jailed") -> None:
    tool(
        etc, "useradd", "--no-create-home", "--no-log-init", "--user-group", "--uid", str(uid), "--home-dir",
        f"/home/{name}", "--shell", DOOR, "--groups", groups, "--password", "*", "--key", "SUB_UID_COUNT=0", "--key",
        "SUB_GID_COUNT=0", "--", name,
    )  # fmt: skip


def new(name: str, uid: int, *groups: str) -> New:
    return New(name, uid, f"/home/{name}", DOOR, groups or ("jailed",))


def contents(etc: Path) -> dict[str, bytes]:
    return {name: (etc / name).read_bytes() for name in FILES}


def strays(etc: Path) -> list[str]:
    return sorted(name for name in os.listdir(etc) if name.endswith("+") or name.split(".")[0] in FILES and "." in name)


# -- the same bytes as the tools


def test_accounts_are_what_useradd_makes(etc: Path) -> None:
    theirs = copy(etc, "theirs")
    for number in range(5):
        useradd(theirs, f"user{number}", 2000 + number, "jailed,jailed-chroot" if number == 3 else "jailed")
    ours = [new(f"user{n}", 2000 + n, *(["jailed", "jailed-chroot"] if n == 3 else [])) for n in range(5)]
    assert change(ours, etc=str(etc)) == {}
    assert contents(etc) == contents(theirs)
    for name in FILES:
        mine, other = (etc / name).stat(), (theirs / name).stat()
        assert (mine.st_mode, mine.st_uid, mine.st_gid) == (other.st_mode, other.st_uid, other.st_gid)
        assert (etc / f"{name}-").exists()
    assert strays(etc) == []


def test_password_ageing_is_that_of_this_host(etc: Path) -> None:
    text = (etc / "login.defs").read_text()
    for key, value in (("PASS_MAX_DAYS", "90"), ("PASS_MIN_DAYS", "2"), ("PASS_WARN_AGE", "5")):
        text = "".join(line for line in text.splitlines(True) if not line.startswith(key)) + f"{key}\t{value}\n"
    (etc / "login.defs").write_text(text)
    (etc / "default/useradd").write_text("SHELL=/bin/sh\nINACTIVE=30\nEXPIRE=2031-02-03\n")
    theirs = copy(etc, "theirs")
    useradd(theirs, "user", 2000)
    assert change([new("user", 2000)], etc=str(etc)) == {}
    assert b"user:*:%d:2:90:5:30:22313:\n" % (time.time() // 86400) in (etc / "shadow").read_bytes()
    assert contents(etc) == contents(theirs)


def test_without_gshadow_and_with_lines_of_nis(etc: Path) -> None:
    (etc / "gshadow").unlink()
    for name, line in (("passwd", "+::::::"), ("shadow", "+::::::::"), ("group", "+:::")):
        with (etc / name).open("a") as file:
            file.write(f"{line}\n")
    theirs = copy(etc, "theirs")
    useradd(theirs, "user", 2000)
    assert change([new("user", 2000)], etc=str(etc)) == {}
    for name in ("passwd", "shadow", "group"):
        assert (etc / name).read_bytes() == (theirs / name).read_bytes(), name
    assert not (etc / "gshadow").exists()


def test_changes_are_what_usermod_gpasswd_and_chpasswd_make(etc: Path) -> None:
    for each in ("one", "two", "three"):
        useradd(etc, each, {"one": 2000, "two": 2001, "three": 2002}[each])
    theirs = copy(etc, "theirs")
    tool(theirs, "usermod", "--shell", "/bin/bash", "--", "one")
    tool(theirs, "gpasswd", "--add", "two", "jailed-chroot")
    tool(theirs, "gpasswd", "--delete", "three", "jailed")
    tool(theirs, "chpasswd", "--encrypted", stdin="two:$y$j9T$x$y\n")
    altered = [
        Changed("one", shell="/bin/bash"),
        Changed("two", password="$y$j9T$x$y", join=("jailed-chroot",)),
        Changed("three", leave=("jailed",)),
    ]
    assert change(alter=altered, etc=str(etc)) == {}
    assert contents(etc) == contents(theirs)


def test_what_is_removed_is_what_userdel_removes(etc: Path) -> None:
    before = contents(etc)
    for number in range(4):
        useradd(etc, f"user{number}", 2000 + number, "jailed,sudo")
    theirs = copy(etc, "theirs")
    tool(theirs, "userdel", "user1")
    tool(theirs, "userdel", "user2")
    assert change(remove=[("user1", 2001), ("user2", 2002)], etc=str(etc)) == {}
    assert contents(etc) == contents(theirs)
    assert change(remove=[("user0", 2000), ("user3", 2003), ("never", 2009)], etc=str(etc)) == {}
    assert contents(etc) == before


# -- what is not ours


BROKEN = {
    "passwd": b"broken\n\n:x:1:1:::\nold:x:77:77:\xff\xfe:/old:/bin/sh\nold:x:78:78::/:\n"
    b"Upper:x:79:1::/:/bin/sh\n#comment",
    "shadow": b"old:*:x:y\n\nUpper:*:::::::\nlonely:*:1:0:9:7:::",
    "group": b"broken\nold:x:77:nobody,,ghost\n\nUpper:x:79:ghost",
    "gshadow": b"old:!:a:nobody,,ghost\n\n#",
}


def test_lines_of_others_stay_byte_for_byte_however_broken(etc: Path) -> None:
    for name, data in BROKEN.items():
        with (etc / name).open("ab") as file:
            file.write(data)
    before = contents(etc)
    assert change([new("user", 2000)], etc=str(etc)) == {}
    after = contents(etc)
    for name in FILES:
        lines = [line for line in after[name].split(b"\n") if not line.startswith(b"user:")]
        kept = [line.replace(b"jailed:x:990:user", b"jailed:x:990:").replace(b"jailed:!::user", b"jailed:!::")
                for line in lines]  # fmt: skip
        assert b"\n".join(kept).removesuffix(b"\n") == before[name]
    assert change(alter=[Changed("Upper", shell=DOOR)], etc=str(etc)) == {}, "what pwck always said of it"
    assert change(remove=[("user", 2000)], etc=str(etc)) == {}
    assert (etc / "group").read_bytes() == before["group"] + b"\n"


def test_names_and_numbers_of_others_are_refused_and_the_rest_is_made(etc: Path) -> None:
    useradd(etc, "theirs", 2000)
    (etc / "group").write_text((etc / "group").read_text() + "shared:x:2005:\nfolk:x:2006:theirs\n")
    wanted = [new("theirs", 2001), new("one", 2000), new("shared", 2002), new("two", 2005), new("folk", 2006),
              new("x", 2003, "nowhere"), new("fine", 2004), new("twin", 2004)]  # fmt: skip
    refused = change(wanted, etc=str(etc))
    assert {name: error.code for name, error in refused.items()} == {
        "theirs": "conflict.account-exists", "one": "conflict.account-exists", "shared": "conflict.group-exists",
        "two": "conflict.group-exists", "folk": "conflict.group-exists", "x": "missing.group",
        "twin": "conflict.account-exists",
    }  # fmt: skip
    text = (etc / "passwd").read_text()
    assert "fine:x:2004:2004" in text and text.count("\n") == PASSWD.count("\n") + 2
    assert {name: e.code for name, e in change(remove=[("theirs", 9)], etc=str(etc)).items()} == {
        "theirs": "conflict.account-exists"
    }
    assert {name: e.code for name, e in change(alter=[Changed("nobody", shell="/x")], etc=str(etc)).items()} == {
        "nobody": "missing.account"
    }
    assert (etc / "passwd").read_text() == text


@pytest.mark.parametrize("bad", ["a:b", "a\nb", "a\rb", "a\0", "a\x1b", "a\x7f", "a\x85", "a\u2028", "\udcff"])
def test_nothing_ends_a_field_or_a_line(etc: Path, bad: str) -> None:
    assert encoded("Ärger, ja") == "Ärger, ja".encode()
    before = contents(etc)
    wrong = [
        New("one", 2000, bad, DOOR), New("two", 2001, "/home/two", bad), New("three", 2002, "/", DOOR, gecos=bad),
        New("four", 2003, "/", DOOR, password=bad), New(bad, 2004, "/", DOOR), New("five", 2005, "/", DOOR, (bad,)),
    ]  # fmt: skip
    refused = change(wrong, alter=[Changed("daemon", shell=bad), Changed("root", password=bad)], etc=str(etc))
    assert {error.code for error in refused.values()} == {"invalid.field"} and len(refused) == 8
    assert contents(etc) == before


def test_what_pwck_refuses_is_never_written(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(etc)
    monkeypatch.setattr(accountfile, "ageing", None)
    monkeypatch.setattr(accountfiles, "ageing", lambda etc: [b"x", b"y"])  # as if we had a bug
    with pytest.raises(JailkitError) as caught:
        change([new("user", 2000)], etc=str(etc))
    assert caught.value.code == "host.account"
    assert contents(etc) == before and strays(etc) == []


def test_owner_mode_and_attributes_stay(etc: Path) -> None:
    os.chmod(etc / "shadow", 0o600)
    os.chown(etc / "group", 0, 5)
    probe = etc / "attributes"
    probe.touch()
    os.setxattr(etc / "passwd", "trusted.jailkit", b"label")
    assert change([new("user", 2000)], etc=str(etc)) == {}
    assert os.getxattr(etc / "passwd", "trusted.jailkit") == b"label"
    assert (etc / "shadow").stat().st_mode & 0o7777 == 0o600 and (etc / "group").stat().st_gid == 5


def test_a_file_that_is_no_plain_file_of_roots_is_refused(etc: Path) -> None:
    os.chown(etc / "gshadow", 1, 0)
    with pytest.raises(JailkitError) as caught:
        change([new("user", 2000)], etc=str(etc))
    assert caught.value.code == "unsafe.file"


# -- killed


def killed_at(etc: Path, label: str, **what: object) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            change(**what, etc=str(etc), point=lambda at: os.kill(os.getpid(), 9) if at == label else None)  # type: ignore[arg-type]
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


@pytest.mark.parametrize("label", ["gshadow", "group", "shadow", "passwd", "renamed"])
def test_an_addition_killed_between_two_files_is_no_account_or_a_whole_one(etc: Path, label: str) -> None:
    whole, plain = copy(etc, "whole"), copy(etc, "plain")
    wanted = [new(f"user{n}", 2000 + n) for n in range(3)]
    change(wanted, etc=str(whole))
    killed_at(etc, label, add=wanted)
    there = b"user1:" in (etc / "passwd").read_bytes()
    assert there == (label == "renamed")
    if there:
        assert contents(etc) == contents(whole)
    undone = copy(etc, "undone")
    assert change(remove=[(one.name, one.uid) for one in wanted], etc=str(undone)) == {}
    assert contents(undone) == contents(plain) and strays(undone) == []
    assert change(wanted, etc=str(etc)) == {}
    assert contents(etc) == contents(whole) and strays(etc) == []
    tool(etc, "pwck", "-q", "-r")
    tool(etc, "grpck", "-q", "-r")


@pytest.mark.parametrize("label", ["passwd", "shadow", "group", "gshadow", "renamed"])
def test_a_removal_killed_between_two_files_leaves_nobody_unconfined(etc: Path, label: str) -> None:
    plain = copy(etc, "plain")
    change([new("user", 2000)], etc=str(etc))
    killed_at(etc, label, remove=[("user", 2000)])
    assert (b"user:" in (etc / "passwd").read_bytes()) == (label == "passwd")
    if label == "passwd":
        assert b"jailed:x:990:user\n" in (etc / "group").read_bytes()
    assert change(remove=[("user", 2000)], etc=str(etc)) == {}
    assert contents(etc) == contents(plain) and strays(etc) == []


# -- locks


@contextlib.contextmanager
def holding(etc: Path, script: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["/usr/bin/python3", "-I", "-c", script, str(etc)], stdout=subprocess.PIPE)
    try:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


LCKPWDF = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1] + "/.pwd.lock", os.O_WRONLY | os.O_CREAT, 0o600)
fcntl.lockf(fd, fcntl.LOCK_EX)
print("ready", flush=True)
time.sleep(60)
"""


def test_lckpwdf_of_another_is_waited_for_and_ours_keeps_the_tools_out(etc: Path) -> None:
    with holding(etc, LCKPWDF) as process:
        with pytest.raises(JailkitError) as caught:
            change([new("user", 2000)], etc=str(etc), seconds=0.2)
        assert caught.value.code == "busy.accounts" and ".pwd.lock" in caught.value.message
        process.kill()
        assert change([new("user", 2000)], etc=str(etc), seconds=10) == {}
    seen: list[object] = []

    def point(label: str) -> None:
        argv = ["/usr/bin/python3", "-I", "-c", LCKPWDF.replace("LOCK_EX", "LOCK_EX | fcntl.LOCK_NB"), str(etc)]
        seen.append(subprocess.run(argv, capture_output=True, check=False, timeout=20).returncode)
        seen.append(sorted(path.name for path in etc.glob("*.lock") if path.name != ".pwd.lock"))

    change([new("next", 2001)], etc=str(etc), point=point)
    assert seen[:2] == [1, ["group.lock", "gshadow.lock", "passwd.lock", "shadow.lock"]]


def test_a_lock_of_a_dead_process_is_taken_over_and_of_a_living_one_respected(etc: Path) -> None:
    dead = subprocess.Popen(["/bin/true"])
    dead.wait()
    lock = etc / "group.lock"
    for text in (f"{dead.pid}\0", f"{dead.pid}", f"{dead.pid}\n"):
        lock.write_text(text)
        assert change(alter=[Changed("daemon", join=("sudo",), leave=("sudo",))], etc=str(etc), seconds=2) == {}
        assert not lock.exists()
    for text in (f"{os.getpid()}\0", "", "nonsense", "0", "-1"):
        lock.write_text(text)
        with pytest.raises(JailkitError) as caught:
            change([new("user", 2000)], etc=str(etc), seconds=0.1)
        assert caught.value.code == "busy.accounts" and "group.lock" in caught.value.message
        assert lock.read_text() == text
    assert sorted(path.name for path in etc.glob("*.lock")) == [".pwd.lock", "group.lock"]


def test_vipw_and_we_keep_each_other_out(etc: Path) -> None:
    script = 'mount --bind "$0" /etc && EDITOR="sh -c \'echo ready; exec sleep 60\'" exec vipw'
    process = subprocess.Popen(
        ["/usr/bin/unshare", "-m", "--", "/bin/sh", "-c", script, str(etc)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        with pytest.raises(JailkitError) as caught:
            change([new("user", 2000)], etc=str(etc), seconds=0.2)
        assert caught.value.code == "busy.accounts"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert change([new("user", 2000)], etc=str(etc), seconds=10) == {}


def test_useradd_beside_us_loses_nobody(etc: Path) -> None:
    script = (
        'mount --bind "$0" /etc; for n in 1 2 3 4 5 6 7 8; do '
        "useradd -M -N -u 300$n -g daemon -K SUB_UID_COUNT=0 -K SUB_GID_COUNT=0 loop$n || exit 1; done"
    )
    loop = subprocess.Popen(["/usr/bin/unshare", "-m", "--", "/bin/sh", "-c", script, str(etc)])
    for number in range(8):
        assert change([new(f"ours{number}", 4000 + number)], etc=str(etc), seconds=30) == {}
    assert loop.wait(60) == 0
    names = {line.split(":")[0] for line in (etc / "passwd").read_text().splitlines()}
    assert {f"ours{n}" for n in range(8)} | {f"loop{n}" for n in range(1, 9)} <= names
    tool(etc, "pwck", "-q", "-r")
    tool(etc, "grpck", "-q", "-r")


# -- no room


@pytest.fixture
def small(etc: Path) -> Iterator[Path]:
    """A file system of 64 KiB that holds the files."""
    place = etc.parent / "small"
    place.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=96k,mode=0755", "none", str(place)], check=True)
    try:
        for name in (*FILES, "login.defs"):
            shutil.copy2(etc / name, place)
        yield place
    finally:
        subprocess.run(["/bin/umount", str(place)], check=True)


def test_a_full_disk_leaves_the_old_files(small: Path) -> None:
    before = contents(small)
    with pytest.raises(OSError, match="No space"):
        change([new(f"user{n}", 2000 + n) for n in range(2000)], etc=str(small))
    assert contents(small) == before and strays(small) == []
    assert change([new("user", 2000)], etc=str(small)) == {}


def test_a_read_only_disk_is_told(small: Path) -> None:
    subprocess.run(["/bin/mount", "-o", "remount,ro", str(small)], check=True)
    before = contents(small)
    with pytest.raises(OSError, match="Read-only"):
        change([new("user", 2000)], etc=str(small))
    assert contents(small) == before


NAMES = ["ann", "bob", "annex", "an", "+nis", "x"]
LINES = st.lists(
    st.sampled_from(NAMES).flatmap(lambda name: st.sampled_from([f"{name}:x:{name}:", f"{name}:x:7:ann,bob", name, ""]))
)


@given(LINES, st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["put", "drop", "list", "without"]))))
def test_few_changes_and_many_come_to_the_same(lines: list[str], acts: list[tuple[str, str]]) -> None:
    """Few lines are searched for, many are found by an index."""
    text = "".join(line + "\n" for line in lines).encode()
    files = []
    for searches in (0, 1000):
        file = accountfile.AccountFile("/nonexistent", "group")
        file._old = text
        file._asked = file._counted = accountfile._SEARCHES - searches
        for word, act in acts:
            name = word.encode()
            if act == "put":
                file.put([name, b"x", b"8", b"new"])
            elif act == "drop":
                file.drop(name)
            elif act == "list" and len(fields := file.get(name) or []) == 4:
                file.put_list(fields, 3, [b"ann", b"zoe"])
            elif act == "without":
                file.without({name}, (3,))
        files.append(file)
    assert files[0].content() == files[1].content()
    assert [files[0].get(name.encode()) for name in NAMES] == [files[1].get(name.encode()) for name in NAMES]
    for number in (b"7", b"8", b"ann", b"x"):
        real = any(line.split(b":")[2:3] == [number] and line.count(b":") > 2 for line in text.split(b"\n"))
        assert [file.has_number(number) for file in files] == [real, real]
    if not acts:
        assert files[0].content() == text
