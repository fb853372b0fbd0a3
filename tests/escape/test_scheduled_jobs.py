"""Jobs that the host runs in the user's name without a login: cron and at, by their real daemons.

They ask PAM, but neither the account's shell nor sshd. Attack A076. Mail delivery that runs what ~/.forward names asks
nobody at all: doctor looks for it (jailkit/doctor/jobs.py); there is no mail server in this host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from ..host import Host, wait_for
from .world import Flag, Pair, outside, pair

pytestmark = pytest.mark.host
USER = "jobs"


@pytest.fixture(scope="module")
def people(host: Host) -> Iterator[Pair]:
    yield pair(host, USER)


def refusals(host: Host, mark: int, service: str) -> list[str]:
    wanted = f"refused user={USER} service={service} "
    return [line for line in host.syslog()[mark:] if wanted in line and "code=login.service-denied" in line]


def test_a076_cron(people: Pair) -> None:
    """@reboot jobs, as those run at once: of the users' own tables and of the system's, with shells of their choice."""
    host, mark = people.host, len(people.host.syslog())
    raised: list[Flag] = []
    quiet: list[Flag] = []
    system = []
    for user, flags in ((people.free, raised), (people.tenant, quiet)):
        lines = []
        for shell in ("/bin/sh", "/bin/bash", "/opt/jailctl/libexec/door"):
            if shell.startswith("/bin/") or user == people.tenant:
                flags.append(Flag(host))
                lines += [f"SHELL={shell}", f"@reboot touch {flags[-1].path}"]
        host.run(["/usr/bin/crontab", "-u", user, "-"], input="\n".join([*lines, ""]), check=True)
        flags.append(Flag(host))
        system.append(f"@reboot {user} touch {flags[-1].path}\n")
    (host.root / "etc/cron.d/probe").write_text("".join(system))
    (host.root / "run/crond.reboot").unlink(missing_ok=True)
    with host.spawn(["/usr/sbin/cron", "-f"]):
        wait_for(lambda: all(flag.raised() for flag in raised), 15, "cron itself does not work here")
        wait_for(lambda: len(refusals(host, mark, "cron")) == 4, 15, lambda: "\n".join(host.syslog()[mark:]))
    assert not any(flag.raised() for flag in quiet)
    assert outside(host, USER) == []
    (host.root / "etc/cron.d/probe").unlink()
    for user in (people.free, people.tenant):
        host.run(["/usr/bin/crontab", "-r", "-u", user], check=True)


def test_a076_at(people: Pair) -> None:
    """The tenant's job is put in by a process of hers outside, as one would be that is older than her jail."""
    host, mark = people.host, len(people.host.syslog())
    flags = {user: Flag(host) for user in (people.free, people.tenant)}
    with host.spawn(["/usr/sbin/atd", "-f"]):
        wait_for((host.root / "run/atd.pid").exists, 5)
        for user, flag in flags.items():
            done = host.run(["/usr/bin/at", "now"], user=user, input=f"touch {flag.path}\n", cwd=f"/home/{user}")
            assert "job" in done.stderr, done
        wait_for(flags[people.free].raised, 15, "at itself does not work here")
        wait_for(lambda: len(refusals(host, mark, "atd")) == 1, 15, lambda: "\n".join(host.syslog()[mark:]))
    assert not flags[people.tenant].raised()
    assert outside(host, USER) == []


@pytest.mark.parametrize("command", ["crontab -", "at 23:59"])
def test_a076_from_inside_nothing_comes_into_the_spool(people: Pair, command: str) -> None:
    """Both programs are setgid or setuid on the host, and have the spool there."""
    host = people.host

    def jobs() -> set[str]:
        return {path.name for path in (host.root / "var/spool/cron").rglob("*") if path.is_file()}

    before = jobs()
    job = "0 0 1 1 * true\n" if "crontab" in command else "true\n"
    host.run([f"/usr/bin/{command.split()[0]}", command.split()[1]], user=people.free, input=job, cwd="/srv")
    after = jobs()
    assert after - before, "the probe does not work"
    done = host.ssh(USER, command, input=job)
    assert done.returncode != 0 and not re.search(r"^job \d", done.stderr, re.M), done
    assert jobs() == after
