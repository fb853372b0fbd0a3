"""A190 for the hook: each system call of an admission fails once. Either the login is refused and there is no verdict,
or it is let in and the verdict is whole; a call that fails never leaves half of it."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from jailkit.jail.record import read_session

from .caller import OPEN
from .lab import DULL, Lab
from .test_faults import CERTAIN, worth

NEEDED = {"openat", "flock", "write", "fchown", "fchmod", "rename", "renameat", "renameat2", "setgroups", "setresuid",
          "setresgid", "chdir", "close_range", "pidfd_open", "readlinkat", "poll", "getdents64"}  # fmt: skip


def admission(lab: Lab, *options: str) -> tuple[int, bytes]:
    """The hook below strace, which so is the process that calls PAM: exit status and what the user sees."""
    env = {**OPEN, "PATH": "/usr/bin"}
    done = subprocess.run(
        ["/usr/bin/strace", "-f", "-qq", *options, "--", lab.programs.path("hook")],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.slow
def test_every_call(lab: Lab) -> None:
    # strace would be moved into the jail's group, and be ended with it: the group is another test's
    lab.changed(cgroups=())
    trace = lab.root / "trace"
    assert admission(lab, "-o", str(trace)) == (0, b"")
    counts: dict[str, int] = {}
    calls = []
    for line in trace.read_text().splitlines()[1:]:
        found = re.match(r"\d+ +(\w+)\(", line)
        if found and found[1] not in CERTAIN:
            counts[found[1]] = counts.get(found[1], 0) + 1
            if " = -1 E" not in line:
                calls.append((found[1], counts[found[1]]))
    trace.unlink()
    refused = set()
    for name, number in worth(calls):
        for path in lab.sessions.iterdir():
            path.unlink()
        status, out = admission(
            lab, "-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={name}:error=EIO:when={number}"
        )
        lab.lines()
        verdicts = [path for path in lab.sessions.iterdir() if not path.name.startswith(".")]
        if status == 0:
            assert len(verdicts) == 1, (name, number)
            session = read_session(str(verdicts[0]))
            assert session is not None
            assert (session.user, session.service) == ("dora", "sshd")
            stat = verdicts[0].stat()
            assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) == (0, lab.record.gid, 0o640), (name, number)
        else:
            assert verdicts == [], (name, number, status)
            assert out in (DULL, b""), (name, number, out)
            refused.add(name)
    assert len(refused & NEEDED) >= 13, refused
    assert os.path.exists(lab.paths.record(lab.record.uid))
