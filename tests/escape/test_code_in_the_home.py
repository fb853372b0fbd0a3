"""Root that runs, loads or reads what lies in the tenant's tree: NSS and gconv modules, locales, preloads, Python's
sitecustomize, programs with the names of system tools.

docker CVE-2019-14271, sudo CVE-2025-32463 (-R), uutils/coreutils#10327, rsync CVE-2026-43617, iocage#535, shadow#1512.
Attacks A127, A129.

Who opens what is the kernel's word (opens.py): each file that anybody opens below /home and in the jail's own tmpfs,
with the ids of that moment, while logins and every verb of jailctl run.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest

from ..host import Host
from .opens import Opening, Opens
from .world import Flag, Pair, keeper, pair, sleeper

pytestmark = pytest.mark.host
USER = "planted"
SCRIPT = "#!/bin/sh\nid -u >> FLAG\n"
PLANTS = {
    **{f"{place}{name}": SCRIPT for place in ("", "bin/", ".local/bin/") for name in (
        "sh", "bash", "ldconfig", "getent", "tar", "gzip", "zstd", "mount", "umount", "useradd", "python3", "xauth",
        "locale", "iconv", "sftp-server")},
    "etc/nsswitch.conf": "passwd: canary\ngroup: canary\nshadow: canary\n",
    "etc/passwd": "root::0:0::/:/bin/sh\n", "etc/ld.so.preload": "/home/planted/lib/canary.so\n",
    "etc/ld.so.conf": "/home/planted/lib\n", "etc/gconv-modules": "module X// UTF-8// canary 1\n",
    "etc/ssl/openssl.cnf": ".include /home/planted/x\n", "etc/pam.d/sshd": "session required canary.so\n",
    "lib/libnss_canary.so.2": "x", "lib/canary.so": "x", "lib/libc.so.6": "x",
    "lib/python3.11/site-packages/sitecustomize.py": "open('FLAG', 'a').write('python')\n",
    "sitecustomize.py": "open('FLAG', 'a').write('python')\n", "usercustomize.py": "open('FLAG', 'a').write('user')\n",
    "jailkit.py": "open('FLAG', 'a').write('jailkit')\n", "os.py": "open('FLAG', 'a').write('os')\n",
    "pyvenv.cfg": "home = /home/planted\n", ".pythonrc": "open('FLAG', 'a').write('rc')\n",
    ".terminfo/x/xterm": "x", ".inputrc": "x", ".tarrc": "x", ".config/jailctl/jailctl.toml": "x = [\n",
    ".pam_environment": "LD_PRELOAD DEFAULT=/home/planted/lib/canary.so\n", ".ssh/rc": SCRIPT,
    ".ssh/environment": "A=b\n", ".ssh/authorized_keys": "x\n", ".ssh/authorized_keys2": "x\n", ".k5login": "x\n",
    ".shosts": "x\n", ".hushlogin": "",
    ".profile": "PATH=$HOME/bin:$HOME:$PATH\n", ".popt": "x\n", "jailctl.toml": "x = [\n", "template.toml": "x = [\n",
}  # fmt: skip
"""Named from the home."""


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    yield pair(host, USER, "--set", "linger=60")


@pytest.fixture(scope="module")
def planted(people: Pair) -> Iterator[tuple[Pair, Flag]]:
    flag = Flag(people.host)
    for name, text in PLANTS.items():
        people.give(USER, name, text.replace("FLAG", flag.path), 0o755)
    yield people, flag


def of_root(openings: list[Opening]) -> list[Opening]:
    """By a process with root's ids or any capability at all."""
    return [opening for opening in openings if opening.effective or opening.fsuid == 0]


DAC = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def stock(host: Host, opening: Opening) -> bool:
    """pam_env reads this one in sshd's privileged process, by Debian's own line in /etc/pam.d/sshd. It takes her
    file-system id for it, so it has not the capabilities to read what she may not. What it sets:
    test_pam_environment.py."""
    return (
        opening.path.endswith("/.pam_environment")
        and opening.argv == (f"sshd: {USER} [priv]",)
        and opening.fsuid == host.ids(USER)[0]
        and not opening.effective & DAC
    )


def home(host: Host) -> str:
    return str(host.root / "home" / USER)


def test_a127_the_probe_works(planted: tuple[Pair, Flag]) -> None:
    """A Python of root's in that directory, and a shell with that PATH: seen with root's ids, and the flag goes up."""
    people, flag = planted
    with Opens(home(people.host)) as seen:
        people.host.run(["/usr/bin/python3", "-c", "import usercustomize"], cwd=f"/home/{USER}")
        assert "user" in flag.text()
        flag.lower()
        people.host.run(["/bin/sh", "-c", "ldconfig"], env={"PATH": f"/home/{USER}/bin:/usr/bin:/bin"})
        assert flag.text() == "0\n"
        flag.lower()
        people.host.run(["/bin/cat", f"/home/{USER}/etc/nsswitch.conf"], user=USER)
    found = of_root(seen.all())
    assert any(opening.path.endswith("/usercustomize.py") and not opening.run for opening in found)
    assert any(opening.path.endswith("/bin/ldconfig") and opening.run for opening in found)
    assert not any(opening.path.endswith("/nsswitch.conf") for opening in found)
    assert any(opening.path.endswith("/nsswitch.conf") and opening.fsuid != 0 for opening in seen.all())


def test_a127_a129_no_login_and_no_verb_touches_it(planted: tuple[Pair, Flag]) -> None:
    people, flag = planted
    host = people.host
    host.jailctl("stop", USER)
    with Opens(home(host)) as seen:
        assert host.ssh(USER, "bash -lc 'ldconfig; getent'").returncode == 0
        assert host.sftp(USER, "pwd\nls\n").returncode == 0
        assert host.run(["/bin/su", "-", USER, "-c", "true"]).returncode == 0
        for words in (
            ["exec", USER, "--", "sh", "-c", "sh"], ["list"], ["show", USER], ["list", "--json"], ["stop", USER],
            ["start", USER], ["start", USER], ["add-user", USER, "--key", f"{host.key(USER)}.pub"],
        ):  # fmt: skip
            done = host.run(["/usr/local/sbin/jailctl", *words], cwd=f"/home/{USER}", timeout=60)
            assert done.returncode == 0, done
        host.run(["/usr/local/sbin/jailctl", "doctor"], cwd=f"/home/{USER}")
    every = seen.all()
    assert {o.path.rpartition("/")[2] for o in every if o.run and o.fsuid != 0} >= {"ldconfig", "getent"}
    ours = [opening for opening in of_root(every) if opening.path != home(host) and not stock(host, opening)]
    assert ours == [], ours
    # her own .profile put her programs first in PATH: they ran as her, in the jail, where the flag is another file
    assert not flag.raised()


def test_a127_nor_in_the_jails_own_tmpfs(planted: tuple[Pair, Flag]) -> None:
    """/tmp, /var/tmp, /run and /dev/shm of a running jail, which root's processes never enter."""
    people, flag = planted
    host = people.host
    plant = "cp -r ~/bin ~/etc ~/lib ~/*.py /tmp; cp -r ~/etc ~/lib /run/user/$(id -u); ls /tmp | wc -l"
    assert int(host.ssh(USER, plant).stdout) > 5
    inside = f"/proc/{keeper(host, USER).pid}/root/tmp"
    with Opens(inside) as seen:
        assert host.ssh(USER, "cat /tmp/etc/passwd").returncode == 0
        for words in (["exec", USER, "--", "true"], ["list"], ["show", USER], ["doctor"], ["stop", USER]):
            host.run(["/usr/local/sbin/jailctl", *words], cwd="/tmp")
    every = seen.all()
    assert any(opening.path.endswith("/etc/passwd") for opening in every)
    assert of_root(every) == []
    assert not flag.raised()


def test_a129_enter_as_root_does_not_exist(planted: tuple[Pair, Flag]) -> None:
    """Every process that jailctl exec and enter put into the jail has the tenant's ids and nothing else."""
    host = planted[0].host
    uid = host.ids(USER)[0]
    with host.spawn(["/usr/local/sbin/jailctl", "exec", USER, "--", "sleep", "8129"]):
        process = sleeper(host, "8129")
        assert process.uids == (uid,) * 4 and set(process.caps.values()) == {0}
        first = keeper(host, USER)
        for other in host.processes():
            if other.namespaces["user"] == first.namespaces["user"]:
                assert set(other.uids) == {uid} and set(other.caps.values()) == {0}, other


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "remove"])
def test_a127_a129_removal(people: Pair, archive: bool) -> None:
    """Root opens directories, to empty them, and for an archive the files, to read them: it runs and maps nothing."""
    host, user, flag = people.host, f"removed{int(archive)}", Flag(people.host)
    both = pair(host, user)
    for name, text in PLANTS.items():
        both.give(user, name, text.replace("FLAG", flag.path).replace(USER, user), 0o755)
    assert host.ssh(user, "bash -lc true").returncode == 0
    words = ["remove-user", user, *(["--archive", f"/root/{user}.tar.gz"] if archive else [])]
    with Opens(str(host.root / "home" / user)) as seen:
        done = host.run(["/usr/local/sbin/jailctl", *words], cwd=f"/home/{user}", env={
            "PATH": f"/home/{user}/bin:/home/{user}:/usr/sbin:/usr/bin", "HOME": f"/home/{user}"})  # fmt: skip
    assert done.returncode == 0, done
    found = of_root(seen.all())
    assert not any(opening.run for opening in found) and not flag.raised()
    if archive:
        assert host.run(["/bin/tar", "tzf", f"/root/{user}.tar.gz"]).stdout.count("\n") > len(PLANTS)
        assert stat.S_IMODE((host.root / f"root/{user}.tar.gz").stat().st_mode) == 0o600
    else:
        assert [opening for opening in found if not opening.directory] == []
    assert not (host.root / "home" / user).exists()
