"""The reader of PAM stacks, and whether it sees each way past the hook."""

from __future__ import annotations

from pathlib import Path

import pytest

from jailkit.login import pam, pam_config
from jailkit.paths import Paths

PATHS = Paths("/")
HOOK = (
    "session [success=1 default=ignore] pam_succeed_if.so quiet user notingroup jailed\n"
    "session required pam_exec.so quiet seteuid stdout /opt/jailctl/libexec/hook\n"
)
COMMON = (
    "session [default=1] pam_permit.so\nsession requisite pam_deny.so\nsession required pam_permit.so\n"
    "session required pam_unix.so\n"
)


def problems(directory: Path, service: str, text: str, **others: str) -> list[str]:
    for name, content in {service: text, **others}.items():
        (directory / name).write_text(content)
    return pam.problems(service, PATHS, (str(directory),))


@pytest.mark.parametrize(
    "text",
    [
        COMMON + HOOK,
        COMMON + HOOK + "session optional pam_systemd.so\n",
        HOOK,
        "session optional pam_keyinit.so force revoke\n" + COMMON + HOOK,
        "auth sufficient pam_rootok.so\naccount sufficient pam_x.so\n" + COMMON + HOOK,  # other types do not count
        "-session optional pam_systemd.so\n" + HOOK,
        HOOK.replace("required", "requisite"),
        HOOK.replace("quiet user", "\\\n  quiet user"),  # a line goes on behind a backslash
        HOOK.replace("pam_exec.so", "/lib/x86_64-linux-gnu/security/pam_exec.so"),
        "session required pam_x.so # session sufficient pam_y.so\n" + HOOK,
        "session [success=1 default=ignore] pam_succeed_if.so service in cron use_uid\nsession optional pam_y.so\n"
        + HOOK,
        "session [success=die default=ignore] pam_x.so\n" + HOOK,
    ],
)
def test_the_hook_is_reached(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, "sshd", text) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (COMMON, "not among its session modules"),
        ("", "not among its session modules"),
        (HOOK.replace("required", "optional"), "not among"),
        (HOOK.replace("required", "sufficient"), "not among"),
        (HOOK.replace("success=1", "success=2"), "not among"),
        (HOOK.replace("default=ignore", "default=1"), "not among"),  # an error of the guard would skip the hook
        (HOOK.replace("notingroup", "ingroup"), "not among"),
        (HOOK.replace("jailed", "jailed2"), "not among"),
        (HOOK.replace("libexec/hook", "libexec/hook2"), "not among"),
        ("\n".join(reversed(HOOK.splitlines())), "not among"),
        (HOOK.replace("\nsession required", "\nsession optional pam_x.so\nsession required"), "not among"),
        ("session sufficient pam_x.so\n" + HOOK, "sshd:1: pam_x.so can end the stack"),
        ("session [success=done default=bad] pam_x.so\n" + HOOK, "pam_x.so can end the stack"),
        ("session [success=2 default=ignore] pam_x.so\n" + HOOK + COMMON, "pam_x.so can end the stack"),
        ("session [default=3] pam_x.so\nsession optional pam_y.so\n" + HOOK + COMMON, "pam_x.so can end the stack"),
        ("session include missing\n" + HOOK, "No such file"),
        ("nonsense\n" + HOOK, "cannot be read"),
        ("session whatever pam_x.so\n" + HOOK, "unknown control"),
    ],
)
def test_a_way_past_the_hook_is_seen(tmp_path: Path, text: str, says: str) -> None:
    found = problems(tmp_path, "sshd", text)
    assert len(found) == 1 and says in found[0]


def test_a_jump_that_lands_on_the_guard_is_fine(tmp_path: Path) -> None:
    text = "session [success=1 default=ignore] pam_x.so\nsession optional pam_y.so\n" + HOOK
    assert problems(tmp_path, "sshd", text) == []


@pytest.mark.parametrize("word", ["@include common", "session include common", "session substack common"])
def test_included(tmp_path: Path, word: str) -> None:
    assert problems(tmp_path, "sshd", f"{word}\n", common=COMMON + HOOK) == []


def test_done_within_a_substack_ends_only_that(tmp_path: Path) -> None:
    assert problems(tmp_path, "a", "session substack sub\n" + HOOK, sub="session sufficient pam_x.so\n") == []
    assert problems(tmp_path, "b", "session include sub\n" + HOOK, sub="session sufficient pam_x.so\n") != []


def test_a_substack_counts_as_one_for_a_jump(tmp_path: Path) -> None:
    sub = "session optional pam_x.so\nsession optional pam_y.so\n"
    jump = "session [success=1 default=ignore] pam_z.so\nsession substack sub\n"
    assert problems(tmp_path, "a", jump + HOOK, sub=sub) == []
    assert problems(tmp_path, "b", jump.replace("=1", "=2") + HOOK + COMMON, sub=sub) != []


def test_a_service_without_session_lines_falls_back_to_other(tmp_path: Path) -> None:
    assert problems(tmp_path, "passwd", "password required pam_unix.so\n", other=COMMON + HOOK) == []
    assert problems(tmp_path, "passwd", "password required pam_unix.so\n", other=COMMON) != []


def test_includes_without_end(tmp_path: Path) -> None:
    assert "included too deeply" in problems(tmp_path, "a", "@include a\n")[0]


def test_services(tmp_path: Path) -> None:
    for name in ("sshd", "common-session", "sshd.dpkg-old", "su~", ".hidden", "cron.pam-old", "su-l"):
        (tmp_path / name).write_text("")
    assert pam_config.services((str(tmp_path),)) == ["sshd", "su-l"]


def test_what_we_install_is_what_we_look_for(tmp_path: Path) -> None:
    assert problems(tmp_path, "sshd", "\n".join(pam.lines(PATHS)) + "\n") == []
    assert "Priority: -1024\n" in pam.profile(PATHS)
