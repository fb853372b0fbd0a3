"""A home or working directory that is no name but a descriptor: ``/proc/self/fd/N`` of whoever changes to it.

CVE-2024-21626, attack 1 (a container's workdir). Attack A013. There is no API yet; no template names a home.
"""

from __future__ import annotations

import pytest

from .cells import Cells

pytestmark = pytest.mark.host
HOMES = ("/proc/self/fd/3", "/proc/self/cwd", "/dev/fd/4", "/home/../proc/self/cwd")


@pytest.mark.parametrize("home", HOMES)
def test_a013_as_the_home_of_a_new_user(cells: Cells, home: str) -> None:
    host = cells.host
    before = (host.root / "etc/passwd").read_text()
    done = host.jailctl("add-user", "escfd", "--key", f"{host.key('escfd')}.pub", f"--set=home={home}", check=False)
    assert done.returncode != 0 and "home" in done.stderr, done
    assert (host.root / "etc/passwd").read_text() == before
    assert not (host.root / "etc/jailctl/jails.d/escfd.toml").exists()


def test_a013_an_ordinary_home_is_taken(cells: Cells) -> None:
    host = cells.host
    argv = ["add-user", "escfd", "--key", f"{host.key('escfd')}.pub", "--set=home=/home/escfd"]
    assert "/home/escfd" in host.jailctl(*argv, "--dry-run").stdout


def test_a013_of_an_existing_account(cells: Cells) -> None:
    host = cells.host
    home = "/proc/self/fd/3"
    host.run(["/usr/sbin/useradd", "-M", "-d", home, "-s", "/bin/sh", "escfdold"], check=True)
    done = host.jailctl("add-user", "escfdold", "--existing", "--key", f"{host.key('escfd')}.pub", check=False)
    assert done.returncode != 0 and home in done.stderr
    assert f":{home}:/bin/sh" in (host.root / "etc/passwd").read_text()


def test_a013_in_the_recipe_of_a_jail(cells: Cells) -> None:
    """Had it come as far as that, the start checks the home's parents, and each is what the *starter* sees."""
    host, user = cells.host, "escfdlate"
    cells.make(user)
    recipe = host.root / f"var/lib/jailctl/jails/{user}/recipe"
    text = recipe.read_text()
    try:
        for home in HOMES:
            recipe.write_text(text.replace(f"home /home/{user}\n", f"home {home}\n"))
            done = host.run(["/bin/su", user, "-c", "pwd -P; ls /"])
            assert done.returncode != 0 and done.stdout == "", (home, done)
    finally:
        recipe.write_text(text)
    assert host.run(["/bin/su", user, "-c", "pwd -P"]).stdout != ""
