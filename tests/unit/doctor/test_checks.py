"""Checks of what a test host cannot be: another kernel, other control groups, a mail server, systemd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jailkit.doctor import accounts, cgroups, check, jobs, kernel, pam, probe, run, sshd
from jailkit.doctor.check import Check, Finding, Host, perform
from jailkit.errors import JailkitError
from jailkit.kernel import cgroup
from jailkit.login import pam as login_pam
from jailkit.login import user_manager
from jailkit.paths import Paths

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    passwd = tmp_path / "passwd"
    passwd.write_text(
        "root:x:0:0::/root:/bin/bash\nbroken line\nx:y:z:a:b:c:d\nalice:x:1001:1001::/home/alice:/bin/sh\n"
    )
    return Host(Paths(str(tmp_path)), str(passwd))


def text(findings: list[Finding]) -> str:
    return "\n".join(f"{f.state}: {f.seen} [{f.mend}]" for f in findings)


@pytest.mark.parametrize(
    ("release", "state"),
    [
        ("5.15.0-91-generic", "fail"),
        ("5.18.99", "fail"),
        ("5.19.0", "ok"),
        ("6.1.0-18-amd64", "ok"),
        ("4.19", "fail"),
        ("x", "fail"),
    ],
)
def test_kernel_version(release: str, state: str, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "h", release, "v", "x86_64")))
    assert kernel._version(host)[0].state == state


@pytest.mark.parametrize(
    ("files", "state", "says"),
    [
        ({"user/max_user_namespaces": "0"}, "fail", "is 0"),
        ({"user/max_user_namespaces": "9"}, "ok", "at most 9"),
        ({"user/max_user_namespaces": "9", "kernel/unprivileged_userns_clone": "0"}, "ok", "users may not make any"),
        (
            {"user/max_user_namespaces": "9", "kernel/apparmor_restrict_unprivileged_userns": "1"},
            "ok",
            "AppArmor restricts",
        ),
    ],
)
def test_user_namespaces(
    files: dict[str, str], state: str, says: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_read", lambda path: files.get(path.removeprefix("/proc/sys/"), ""))
    (finding,) = kernel._user_namespaces(host)
    assert finding.state == state and says in finding.seen and bool(finding.mend) is (state == "fail")


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ("rw,relatime", "ok"),
        ("rw,hidepid=off", "ok"),
        ("rw,hidepid=1", "fail"),
        ("rw,hidepid=invisible", "fail"),
        ("rw,hidepid=2,gid=7", "fail"),
    ],
)
def test_hidepid(options: str, state: str, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        kernel, "_read", lambda path: f"proc /proc proc rw 0 0\nx /x tmpfs rw 0 0\nproc /proc proc {options} 0 0"
    )
    assert kernel._hidepid(host)[0].state == state


def test_a_probe_that_cannot_fails_with_the_reason(host: Host) -> None:
    """/proc is no file system to idmap: the same step that passes for /usr fails for it, so it can fail."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    steps = {step.text.partition(" ")[0]: step for step in probe.run(["/usr", "/proc"]) if "idmapped" in step.text}
    assert steps["/usr"].good and not steps["/proc"].good and steps["/proc"].mend


def test_the_probe_leaves_nothing() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    program = (
        "import os; from jailkit.doctor import probe\n"
        "before = open('/proc/self/mountinfo').read(), sorted(os.listdir('/proc/self/fd'))\n"
        "steps = probe.run(['/usr'])\n"
        "assert (open('/proc/self/mountinfo').read(), sorted(os.listdir('/proc/self/fd'))) == before\n"
        "assert not [s for s in steps if not s.good and s.needed], steps\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=30)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["cgroup.controllers:cpu io memory pids rdma"], ("v2", {"cpu", "io", "memory", "pids"})),
        (["cgroup.controllers:pids"], ("v2", {"pids"})),
        (["pids/cgroup.procs:", "memory/cgroup.procs:", "blkio/cgroup.procs:"], ("v1", {"pids", "memory", "io"})),
        ([], ("", set())),
    ],
)
def test_controllers(files: list[str], expected: tuple[str, set[str]], tmp_path: Path) -> None:
    for entry in files:
        name, _, content = entry.partition(":")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert cgroups.controllers(str(tmp_path)) == expected


@pytest.mark.parametrize(
    ("able", "state", "says"),
    [
        (set(cgroups._HELD), "ok", "limits.memory, limits.swap, limits.cpu, limits.cpu_weight"),
        (set(cgroups._HELD) - {"weight", "read"}, "warn", "limits.cpu_weight, limits.read"),
        (set(), "warn", "limits.memory"),
    ],
)
def test_limits_that_cannot_be_held_are_named(
    able: set[str], state: str, says: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "held", lambda: able)
    (finding,) = cgroups._limits(host)
    assert finding.state == state and says in finding.seen


@pytest.mark.parametrize(
    ("found", "state", "says"),
    [
        (("v2", {"cpu", "io", "memory", "pids"}), "ok", "v2"),
        (("v2", {"cpu", "pids"}), "warn", "memory (memory), disk bandwidth (io)"),
        (("", set()), "warn", "no control groups"),
    ],
)
def test_missing_controllers_are_named(
    found: tuple[str, set[str]], state: str, says: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "controllers", lambda: found)
    (finding,) = cgroups._controllers(host)
    assert finding.state == state and says in finding.seen


@pytest.mark.parametrize(
    ("programs", "output", "says"),
    [
        ([], "", "no mail server"),
        (
            ["/usr/sbin/postconf"],
            "allow_mail_to_commands = alias, forward\nforward_path = $home/.forward",
            "Postfix runs commands",
        ),
        (["/usr/sbin/postconf"], "allow_mail_to_commands = alias\nforward_path = $home/.forward", "no mail server"),
        (["/usr/sbin/postconf"], "allow_mail_to_files = alias,forward\nforward_path = x", "Postfix writes files"),
        (["/usr/sbin/postconf"], "allow_mail_to_files = alias,forward\nforward_path = ", "no mail server"),
        (["/usr/sbin/postconf"], "mailbox_command = /usr/bin/procmail", "procmail"),
        (["/usr/sbin/exim4"], "no_forbid_file\nno_forbid_pipe\n", "Exim runs commands"),
        (["/usr/sbin/exim4"], "forbid_pipe\n", "no mail server"),
        (["/usr/sbin/smtpd"], "", "/usr/sbin/smtpd may run"),
    ],
)
def test_mail_servers(programs: list[str], output: str, says: str, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: path in programs)
    monkeypatch.setattr(jobs, "run", lambda argv: (0, output, ""))
    assert says in text(jobs._mail(host))


def test_a_user_manager_that_our_lines_do_not_reach(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_manager, "exists", lambda: True)
    monkeypatch.setattr(login_pam, "problems", lambda service, paths: [f"{service}: no hook"])
    monkeypatch.setattr(login_pam, "installed", lambda paths: True)
    assert "fail: systemd --user of a jailed user would run outside: systemd-user: no hook" in text(
        pam._user_manager(host)
    )
    monkeypatch.setattr(login_pam, "problems", lambda service, paths: [])
    monkeypatch.setattr(user_manager, "kept_away", lambda paths: False)
    assert pam._user_manager(host)[0].state == "warn"
    monkeypatch.setattr(user_manager, "kept_away", lambda paths: True)
    assert pam._user_manager(host)[0].state == "ok"


def test_missing_modules(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pam, "_MODULES", ("/nowhere",))
    assert [f.state for f in pam._modules(host)] == ["fail", "fail"]


def test_no_group(host: Host) -> None:
    host.__dict__["group"] = None
    assert accounts._group(host)[0].state == "fail" and not host.members


def test_the_password_file_is_read_as_it_is(host: Host) -> None:
    assert [(a.name, a.uid, a.shell) for a in host.accounts] == [("root", 0, "/bin/bash"), ("alice", 1001, "/bin/sh")]


def test_sudoers(tmp_path: Path) -> None:
    main, more = tmp_path / "sudoers", tmp_path / "d"
    more.mkdir()
    main.write_text(
        "# alice ALL=ALL\nalice,carol ALL=(ALL) ALL\nDefaults:alice !lecture\nroot ALL=ALL\n%jailed ALL=NOPASSWD: /x\n"
    )
    (more / "bob").write_text("bob\tALL=(ALL) ALL\n")
    (more / "bob.bak").write_text("alice ALL=ALL\n")  # sudo passes over names with a dot
    found = accounts._sudoers(["alice", "bob"], str(main), str(more))
    assert found == [(f"{main}:2", "alice"), (f"{main}:5", "%jailed"), (f"{more}/bob:1", "bob")]


def test_a_check_that_breaks_is_a_failure(host: Host) -> None:
    def refuses(host: Host) -> list[Finding]:
        raise JailkitError("host.x", "a sentence", "a hint")

    def breaks(host: Host) -> list[Finding]:
        raise OSError(5, "Input/output error")

    assert perform(Check("a.b", "t", refuses), host).findings == [Finding("fail", "a sentence", "a hint")]
    result = perform(Check("a.b", "t", breaks), host)
    assert result.state == "fail" and "could not be checked" in result.findings[0].seen


def test_the_worst_finding_counts(host: Host) -> None:
    found = [Finding("ok", "a"), Finding("fail", "b"), Finding("warn", "c")]
    assert perform(Check("a.b", "t", lambda host: found), host).state == "fail"


def test_selection() -> None:
    assert [c.id for c in run.select(["pam.order"])] == ["pam.order"]
    assert {c.id.partition(".")[0] for c in run.select(["sshd", "kernel.proc"])} == {"sshd", "kernel"}
    assert run.select([]) == run.CHECKS
    with pytest.raises(KeyError):
        run.select(["ssh"])


def test_ids_are_unique_and_titles_say_what_is_right() -> None:
    ids = [c.id for c in run.CHECKS]
    assert len(set(ids)) == len(ids) and all(len(c.title) > 5 and "." in c.id for c in run.CHECKS)


def test_counts() -> None:
    assert (check.count(0, "home"), check.count(1, "home"), check.count(2, "home")) == ("0 homes", "1 home", "2 homes")


def test_users_named_in_earlier_match_blocks_are_asked_about_first(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    config = host.paths.root + "/sshd_config"
    Path(config).write_text("Match User x,user30\n  PermitTTY no\n")
    monkeypatch.setattr(sshd, "CONFIG", config)
    host.__dict__["jailed"] = [f"user{number:02}" for number in range(40)]
    assert sshd.sample(host)[:2] == ["user30", "user00"] and len(sshd.sample(host)) == 12
