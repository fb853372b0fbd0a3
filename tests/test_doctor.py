"""``jailctl doctor`` sees what is wrong, and what it says mends it.

Attacks: A008 (a component that others may write), A067 (an earlier Match block), A076 (scheduled jobs).

Each case breaks one thing on a host that is sound, expects the finding, mends it (by the very command that doctor
printed, where that is one), and expects everything to be sound again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .host import Host

pytestmark = pytest.mark.host
DOOR = "/opt/jailctl/libexec/door"
FRAGMENT = "/etc/ssh/sshd_config.d/000-jailctl.conf"
EARLY = "/etc/ssh/sshd_config.d/00-early.conf"
MEND = "MEND"
"""In place of an undo command: run what doctor says."""


@pytest.fixture(scope="module")
def sound() -> Iterator[Host]:
    with Host() as host:
        host.jailctl("setup", "--no-login-test")
        host.run(["/usr/sbin/useradd", "-m", "-s", "/bin/bash", "plain"], check=True)
        for name in ("alice", "bob"):
            host.jailctl("add-user", name, "--key", host.key(name) + ".pub")
        host.jailctl("add-user", "dan", "--template", "sftp-only", "--key", host.key("dan") + ".pub")
        yield host


def shell(host: Host, command: str) -> None:
    host.run(["/bin/bash", "-ec", command], check=True, timeout=60)


def doctor(host: Host, *checks: str) -> dict[str, dict[str, Any]]:
    done = host.jailctl("--json", "doctor", *checks, check=False)
    value = json.loads(done.stdout)
    assert done.returncode == {"ok": 0, "warn": 20, "fail": 21}[value["worst"]]
    return {check["id"]: check for check in value["checks"]}


CASES = [
    # check, how to break it, state, what the finding says, how to mend it
    ("paths.programs", f"chmod 757 {DOOR}", "fail", "has mode 0757", MEND),
    ("paths.programs", "chown 1 /opt/jailctl/libexec/hook", "fail", "belongs to uid 1", MEND),
    ("paths.programs", "chmod g+w /opt/jailctl", "fail", "/opt/jailctl has mode", MEND),
    ("paths.programs", f"chmod u+s {DOOR}", "fail", "setuid", MEND),
    ("paths.programs", "chmod o-r /opt/jailctl/libexec/keeper", "fail", "read and executed", MEND),
    ("paths.programs", f"mv {DOOR} /opt/door", "fail", "No such file", f"mv /opt/door {DOOR}"),
    ("paths.cold-start", "chmod o+w $(readlink -f /opt/jailctl/lib)/jailkit/jail/cold.py", "fail", "cold.py has mode",
     MEND),
    ("paths.directories", "chmod 777 /etc/jailctl/keys", "fail", "/etc/jailctl/keys has mode 0777", "jailctl setup"),
    ("paths.directories", "chown 1 /var/lib/jailctl", "fail", "belongs to uid 1", MEND),
    ("paths.directories", "rmdir /etc/jailctl/templates", "fail", "missing: /etc/jailctl/templates", MEND),
    ("paths.directories", "chmod 755 /etc/jailctl/jails.d", "warn", "has mode 0755, not 0700", MEND),
    ("paths.files", "chmod 666 /etc/jailctl/keys/alice", "fail", "keys/alice has mode 0666", MEND),
    ("paths.files", "chown alice /etc/jailctl/jails.d/alice.toml", "fail", "belongs to uid", MEND),
    ("paths.files", "chmod o+r /var/lib/jailctl/state.db", "fail", "state.db has mode", MEND),
    ("paths.homes", "chmod o+w /home", "fail", "/home has mode", MEND),
    ("paths.homes", "chown plain /home/alice", "fail", "/home/alice is not a directory of uid",
     "chown alice /home/alice"),
    ("paths.homes", "mv /home/bob /home/bob2", "fail", "there is no /home/bob", "mv /home/bob2 /home/bob"),
    ("paths.homes", "chmod 775 /home/dan", "fail", "dan: /home/dan has mode 0775: others may write", MEND),
    ("paths.homes", "chmod 755 /home/dan", "fail", "dan: /home/dan has mode 0755: others may enter", MEND),
    ("paths.homes", "chown dan /home/dan", "fail", "dan: /home/dan belongs to uid", MEND),
    ("paths.homes", "rmdir /home/dan/files", "fail", "dan: there is no /home/dan/files", MEND),
    ("paths.shells", f"echo {DOOR} >> /etc/shells", "warn", "is in /etc/shells", "sed -i /jailctl/d /etc/shells"),
    ("sshd.config", f"echo NoSuchWord yes > {EARLY}", "fail", "NoSuchWord", f"rm {EARLY}"),
    ("sshd.fragment", f"echo '# mine' >> {FRAGMENT}", "fail", "not what jailctl wrote", MEND),
    ("sshd.fragment", f"chmod 666 {FRAGMENT}", "fail", "can be written by others", MEND),
    ("sshd.fragment", f"rm {FRAGMENT}", "fail", "is missing", MEND),
    ("sshd.fragment", "sed -i s/^Include/#Include/ /etc/ssh/sshd_config", "fail", "does not read",
     "sed -i s/^#Include/Include/ /etc/ssh/sshd_config"),
    ("sshd.effective", f"printf 'Match User alice\\n ForceCommand /bin/sh\\n' > {EARLY}", "fail",
     f"forcecommand is '/bin/sh', not '{DOOR}', for user=alice", f"rm {EARLY}"),
    ("sshd.effective", f"printf 'Match Address 203.0.113.0/24\\n AllowTcpForwarding yes\\n' > {EARLY}", "fail",
     f"allowtcpforwarding is 'yes', not 'no', for user=alice addr=203.0.113.1 host=client.example.net (see {EARLY}:2)",
     f"rm {EARLY}"),
    ("sshd.effective", f"printf 'Match all\\n PermitTunnel yes\\n' > {EARLY}", "fail", "permittunnel is 'yes'",
     f"rm {EARLY}"),
    ("sshd.effective", f"printf 'Match User dan\\n ChrootDirectory none\\n' > {EARLY}", "fail",
     "chrootdirectory is 'none', not '/run/jailctl/jails/%U/chroot', for user=dan", f"rm {EARLY}"),
    ("sshd.global", "sed -i 's/^UsePAM yes/UsePAM no/' /etc/ssh/sshd_config", "fail", "UsePAM is no",
     "sed -i 's/^UsePAM no/UsePAM yes/' /etc/ssh/sshd_config"),
    ("sshd.global", f"echo PermitUserEnvironment yes > {EARLY}", "warn", "PermitUserEnvironment is yes", f"rm {EARLY}"),
    ("sshd.global", f"echo StrictModes no > {EARLY}", "warn", "StrictModes is no", f"rm {EARLY}"),
    ("sshd.admitted", f"echo AllowGroups staff root > {EARLY}", "warn", "allowgroups lets only these log in",
     f"rm {EARLY}"),
    ("sshd.running", f"touch {FRAGMENT}", "fail", "has not read its configuration since", MEND),
    ("pam.order", "sed -i '/pam_unix/i session sufficient pam_permit.so' /etc/pam.d/common-session", "fail",
     "pam_permit.so can end the stack before the hook", "sed -i /sufficient/d /etc/pam.d/common-session"),
    ("pam.order", "pam-auth-update --package --disable jailctl", "fail", "the hook is not among", MEND),
    ("pam.services", "printf 'session required pam_unix.so\\n' > /etc/pam.d/vsftpd", "fail",
     "vsftpd: the hook is not among",
     "rm /etc/pam.d/vsftpd"),
    ("pam.profile", "rm /usr/share/pam-configs/jailctl", "warn", "is missing", MEND),
    ("accounts.members", "gpasswd -a plain jailed", "fail", "plain is in group jailed and has no jail",
     "gpasswd -d plain jailed"),
    ("accounts.members", "usermod -s /bin/bash alice", "fail", "the shell of alice is /bin/bash", MEND),
    ("accounts.members", "sed -i '/^jailed:/s/$/,ghost/' /etc/group", "warn",
     "ghost is in group jailed and has no account",
     "sed -i '/^jailed:/s/,ghost$//' /etc/group"),
    ("accounts.specs", "gpasswd -d bob jailed", "fail", "bob has a jail and is not in group jailed", MEND),
    ("accounts.levels", "gpasswd -d dan jailed-chroot", "fail", "dan has files only and is not in", MEND),
    ("accounts.levels", "gpasswd -a alice jailed-chroot", "fail", "alice has a shell and is in", MEND),
    ("accounts.levels", "gpasswd -a plain jailed-chroot", "fail", "plain is in group jailed-chroot and not in jailed",
     "gpasswd -d plain jailed-chroot"),
    ("accounts.outside", f"usermod -s {DOOR} plain", "fail", "plain has the door for a shell",
     "usermod -s /bin/bash plain"),
    ("accounts.privileged", "groupadd -f docker; gpasswd -a alice docker", "warn", "alice is in docker", MEND),
    ("accounts.privileged", "mkdir -p /etc/sudoers.d; echo 'bob ALL=(ALL) ALL' > /etc/sudoers.d/bob", "warn",
     "/etc/sudoers.d/bob:1 names bob", "rm /etc/sudoers.d/bob"),
    ("accounts.privileged", "echo '%jailed ALL=(ALL) ALL' >> /etc/sudoers", "warn", "names %jailed",
     "sed -i /jailed/d /etc/sudoers"),
    ("accounts.uids", "useradd -o -u $(id -u alice) -M twin", "fail", "several accounts: alice, twin",
     "sed -i /^twin:/d /etc/passwd"),
    ("accounts.ranges", "echo plain:700000500:65536 >> /etc/subuid", "fail", "overlaps /etc/subuid (700000500, 65536)",
     "sed -i /700000500/d /etc/subuid"),
    ("state.journal", "cp /etc/jailctl/jails.d/alice.toml /etc/jailctl/jails.d/zed.toml", "fail",
     "zed has a spec that was never",
     "rm /etc/jailctl/jails.d/zed.toml"),
    ("state.journal", "mv /etc/jailctl/jails.d/bob.toml /root", "fail", "its spec file is gone",
     "mv /root/bob.toml /etc/jailctl/jails.d"),
    ("state.recipes", "truncate -s 0 /var/lib/jailctl/jails/alice/recipe", "fail", "damaged", MEND),
    ("state.recipes", "usermod -u 4242 bob", "fail", "bob is now uid 4242", "usermod -u $(stat -c %u /var/mail/x) bob"),
    ("state.images", "for f in /var/lib/jailctl/images/*/root/etc/profile; do echo >> $f; done", "fail", "/etc/profile",
     "for f in /var/lib/jailctl/images/*/root/etc/profile; do sed -i '$d' $f; done"),
    ("state.images", "echo '# new' >> /opt/jailctl/templates/parts/shells/files/etc/profile",
     "warn", "has changed since",
     "sed -i '$d' /opt/jailctl/templates/parts/shells/files/etc/profile"),
    ("state.runtime",
     "jailctl start alice; kill -9 $(jailctl --json show alice | grep -oP '\"pid\": \\K\\d+' | head -1)", "warn",
     "the keeper of alice has ended", MEND),
    ("state.scratch", "mkdir /var/lib/jailctl/images/.build-x", "warn", ".build-x is left",
     "rmdir /var/lib/jailctl/images/.build-x"),
    ("state.scratch", "touch /etc/jailctl/keys/zed", "warn", "keys/zed belongs to no jail", "rm /etc/jailctl/keys/zed"),
    ("jobs.scheduled", "mkdir -p /var/spool/cron/crontabs; echo > /var/spool/cron/crontabs/alice", "warn",
     "alice has a crontab",
     "rm /var/spool/cron/crontabs/alice"),
    ("jobs.scheduled", "mkdir -p /etc/cron.d; echo '* * * * * bob /bin/true' > /etc/cron.d/x", "warn",
     "/etc/cron.d/x:1 runs as bob",
     "rm /etc/cron.d/x"),
    ("jobs.scheduled",
     "mkdir -p /var/spool/cron/atjobs; touch /var/spool/cron/atjobs/a1; chown bob /var/spool/cron/atjobs/a1", "warn",
     "bob has the at job a1", MEND),
    ("jobs.scheduled", "mkdir -p /var/lib/systemd/linger; touch /var/lib/systemd/linger/bob", "warn",
     "user manager for bob",
     "rm /var/lib/systemd/linger/bob"),
]  # fmt: skip


def test_a_sound_host(sound: Host) -> None:
    found = doctor(sound)
    assert {check["state"] for check in found.values()} == {"ok"}, [c for c in found.values() if c["state"] != "ok"]
    assert len(found) > 35


def test_every_check_has_a_case() -> None:
    """Those without one here: the kernel's and the control groups' are settings of the whole machine (unit tests), and
    a host without the group, the modules or a mail server is not this host."""
    ids = {case[0] for case in CASES}
    elsewhere = {"kernel.version", "kernel.features", "kernel.userns", "kernel.jail", "kernel.overlay", "kernel.proc"}
    elsewhere |= {"cgroup.controllers", "cgroup.limits", "cgroup.keeper", "pam.modules", "pam.user-manager"}
    elsewhere |= {"accounts.group", "jobs.mail"}
    elsewhere |= {"quota.counted", "quota.file-systems", "quota.held"}  # tests/test_quotas.py, tests/lab/quotas
    elsewhere |= {"state.layers"}  # tests/test_writable_roots.py
    # tests/test_connectors.py
    elsewhere |= {f"connectors.{name}" for name in ("relay", "syslog", "dns", "mysql", "postgresql")}
    from jailkit.doctor.run import CHECKS

    assert {check.id for check in CHECKS} == ids | elsewhere and not ids & elsewhere


@pytest.mark.parametrize(
    ("check", "breaks", "state", "says", "mend"), CASES, ids=[f"{case[0]}-{i}" for i, case in enumerate(CASES)]
)
def test_finding(sound: Host, check: str, breaks: str, state: str, says: str, mend: str) -> None:
    if "/var/mail/x" in mend:
        mend = mend.replace("$(stat -c %u /var/mail/x)", sound.run(["/usr/bin/id", "-u", "bob"]).stdout.strip())
    shell(sound, breaks)
    try:
        found = doctor(sound, check)[check]
        assert found["state"] == state, found
        findings = [f for f in found["findings"] if says in f["seen"]]
        assert findings, found
        if mend == MEND:
            assert findings[0]["mend"]
            shell(sound, findings[0]["mend"])
    finally:
        if mend != MEND:
            shell(sound, mend)
    after = doctor(sound, check)[check]
    assert after["state"] == "ok", after


def test_what_is_printed(sound: Host) -> None:
    shell(sound, "chmod 666 /etc/jailctl/keys/alice; chmod 666 /etc/jailctl/keys/bob")
    done = sound.jailctl("doctor", "paths.files", "paths.homes", check=False)
    shell(sound, "chmod 644 /etc/jailctl/keys/alice /etc/jailctl/keys/bob")
    assert done.returncode == 21
    assert done.stdout == (
        "fail  paths.files            2 findings; should be: specs, keys and recipes are root's\n"
        "      fail: /etc/jailctl/keys/alice has mode 0666\n"
        "      mend: chmod 644 /etc/jailctl/keys/alice\n"
        "      fail: /etc/jailctl/keys/bob has mode 0666\n"
        "      mend: chmod 644 /etc/jailctl/keys/bob\n"
        "ok    paths.homes            3 homes\n"
        "\n1 ok, 0 warnings, 1 failure\n"
    )


@pytest.mark.parametrize("hide", ["1", "2"])
def test_hidden_processes(sound: Host, hide: str) -> None:
    """With hidepid the door cannot read who called PAM. The mend keeps others' processes hidden from everybody else."""
    assert sound.ssh("alice", "true").returncode == 0
    shell(sound, f"mount -o remount,hidepid={hide} /proc")
    try:
        assert sound.ssh("alice", "true").returncode != 0
        (finding,) = doctor(sound, "kernel.proc")["kernel.proc"]["findings"]
        assert finding["state"] == "fail"
        shell(sound, finding["mend"].partition(", and")[0])
        assert doctor(sound, "kernel.proc")["kernel.proc"]["state"] == "ok"
        assert sound.ssh("alice", "true").returncode == 0
        assert sound.run(["/bin/cat", "/proc/1/stat"], user="plain").returncode != 0
    finally:
        shell(sound, "mount -o remount,hidepid=0,gid=0 /proc")


def test_doctor_changes_nothing(sound: Host) -> None:
    look = ["/usr/bin/find", "/etc", "/var/lib/jailctl", "/run/jailctl", "-type", "f", "-printf", "%p %m %U %T@ %s\\n"]
    look += ["-o", "-printf", "%p %m %U\\n"]
    before = sound.run(look, check=True).stdout.splitlines()
    doctor(sound)
    after = sound.run(look, check=True).stdout.splitlines()
    # SQLite's own: a reader of a database in WAL mode makes its index
    assert [line for line in {*before} ^ {*after} if "state.db-" not in line] == []


def test_a_host_without_anything(fresh_host: Host) -> None:
    """Before setup every failure is mended by setup."""
    found = doctor(fresh_host)
    failed = [f for check in found.values() for f in check["findings"] if f["state"] == "fail"]
    assert len(failed) >= 5 and {f["mend"] for f in failed} == {"jailctl setup"}
    fresh_host.jailctl("setup", "--no-login-test")
    assert {check["state"] for check in doctor(fresh_host).values()} == {"ok"}
