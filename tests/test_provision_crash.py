"""Provisioning that is killed, starved or run by many at once: the next run ends it, and nobody gets in on the way.

What has to happen inside the library's own process is in provision_inside.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.host import Host
from tests.inside import call


def inside(host: Host, command: str, timeout: float = 110, **options: Any) -> Any:
    return call(host, ["provision_inside"], command, timeout, **options)


@pytest.fixture(scope="module")
def crash() -> Iterator[Host]:
    with Host() as made:
        made.jailctl("setup")
        yield made


def wrong(results: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    return [(result["at"], result["wrong"]) for result in results if result["wrong"]]


def namespace(host: Host) -> str:
    return host.run(["/usr/bin/readlink", "/proc/self/ns/mnt"], check=True).stdout.strip()


def test_a095_killed_at_every_boundary_of_an_add(crash: Host) -> None:
    key = crash.key("kay")
    results = inside(
        crash, "crash_add", name="kay", key=key, ssh_at=["applied"], keys=[crash.public_key("kay")], password="secret"
    )
    assert len(results) >= 3 * 8 + 2
    assert wrong(results) == []
    outside = f"in:{namespace(crash)}"
    for result in results:
        if "login" not in result:
            continue
        if result["enabled"]:
            assert "in:mnt" in result["login"] and outside not in result["login"], result
        else:
            assert result["login"] == "refused", result
    assert sum(result["enabled"] for result in results) == 2
    assert sum("login" in result for result in results) > 10


def test_a095_killed_at_every_boundary_of_a_removal(crash: Host) -> None:
    results = inside(
        crash,
        "crash_remove",
        name="ray",
        key=crash.key("ray"),
        archive="/root/ray.tar.gz",
        keys=[crash.public_key("ray")],
    )
    assert len(results) >= 3 * 11 + 3
    assert wrong(results) == []
    outside = f"in:{namespace(crash)}"
    for result in results:
        if result["shut"]:
            assert result.get("login", "refused") == "refused", result
        else:
            assert "in:mnt" in result["login"] and outside not in result["login"], result


def test_a095_killed_at_every_boundary_with_files_only(crash: Host) -> None:
    """The same for a chroot jail: nobody gets in before the end of the one, or after the beginning of the other."""
    common: dict[str, Any] = {"key": crash.key("fil"), "keys": [crash.public_key("fil")], "template": "sftp-only"}
    results = inside(crash, "crash_add", name="fil", ssh_at=["applied"], password="secret", **common)
    assert len(results) >= 3 * 8 + 2
    assert wrong(results) == []
    reached = {(result["login"], result["enabled"]) for result in results if "login" in result}
    # without a key only su is tried, which is refused for ever
    assert reached == {("refused", False), ("refused", True), ("in:sftp", True)}
    results = inside(crash, "crash_remove", name="fil", archive="/root/fil.tar.gz", **common)
    assert len(results) >= 3 * 11 + 3
    assert wrong(results) == []
    assert not [result for result in results if result["shut"] and result.get("login", "refused") != "refused"]


def test_a095_killed_at_every_boundary_of_taking_an_account_and_giving_it_back(crash: Host) -> None:
    crash.run(["/usr/sbin/useradd", "-m", "-s", "/bin/bash", "old"], check=True)
    results = inside(crash, "crash_existing", name="old", shell="/bin/bash")
    assert wrong(results) == []
    outside = f"in:{namespace(crash)}"
    assert all(outside not in result.get("login", "") for result in results)


def test_an_interrupted_removal_asked_for_in_another_way_is_the_other_one_while_it_can_be(crash: Host) -> None:
    found = inside(crash, "changed_mind", name="mind")
    assert found == {"before": ["undo", True, True], "after": ["remove", False, False]}


def test_an_addition_that_let_somebody_in_is_never_undone(crash: Host) -> None:
    found = inside(crash, "live_home", name="liv", archive="/root/liv.tar")
    assert found.pop("left") == []
    assert set(found) == {"kept applied", "kept done", "archived applied", "archived done"}
    assert all(value in ("hers", ["liv/work"], ["./work"], ["work"]) for value in found.values()), found


def test_a_home_made_anew_outlives_the_failure_of_its_plan(crash: Host) -> None:
    found = inside(crash, "failed_mend", name="men")
    assert found == {"code": "io.failed", "kept": True, "open": [], "wrong": []}


def test_a095_killed_at_random_moments_with_the_tool_that_runs_then(crash: Host) -> None:
    results = inside(crash, "random_kills", name="rand", rounds=25, seed=20261124)
    assert wrong(results) == []
    assert {result["there"] for result in results} == {False, True}, "the moments were badly chosen"


@pytest.mark.parametrize("place", ["/var/lib/jailctl", "/etc/jailctl", "/home"])
def test_a_full_disk_is_told_and_undone(crash: Host, place: str) -> None:
    crash.run(["/bin/sh", "-c", "rm -rf /etc/skel/big && head -c 300000 /dev/zero > /etc/skel/big"], check=True)
    sizes = [4, 8, 16, 40, 64, 100, 200, 300, 400, 800, 1600, 2400, 3200, 8000]
    results = inside(crash, "full_disk", name="full", place=place, sizes=sizes, keys=[crash.public_key("full")])
    assert [(result["size"], result["left"]) for result in results if result["left"]] == []
    failed = [result for result in results if result["code"]]
    assert failed and not results[-1]["code"], results
    for result in results:
        assert result["account"]["wrong"] == result["wrong"] == [], result
    for result in failed:
        if result["code"] == "interrupted.undo":  # no room for the journal of the undoing either: done when there is
            assert "and cannot undo" in result["message"] and "disk is full" in result["message"], result
            assert place == "/var/lib/jailctl" and result["recovered"] == ["full"], result
        else:
            assert result["code"].startswith("io."), result
        assert result["account"]["there"] == result["onward"], result
        assert result["onward"] == ("goes on where it stopped" in result["hint"]), result


@pytest.mark.parametrize("at", [(-1, ""), (2, "doing"), (3, "doing"), (4, "doing"), (5, "doing")], ids=str)
def test_a094_a_file_size_limit_of_one_byte_leaves_old_files_or_new_ones(crash: Host, at: tuple[int, str]) -> None:
    result = inside(crash, "limited", name="small", at=list(at), limit="RLIMIT_FSIZE", value=1)
    assert result["status"] in (6, 9, 10)
    assert result["checks"] == [0, 0]
    assert result["account"]["wrong"] == []
    assert result["wrong"] == []
    if at[0] < 3:  # 2 is the account itself
        assert result["same"]


@pytest.mark.parametrize(("limit", "value"), [("RLIMIT_NOFILE", 8), ("RLIMIT_AS", 150 << 20), ("RLIMIT_NPROC", 1)])
def test_a094_other_limits_end_in_a_whole_account_or_none(crash: Host, limit: str, value: int) -> None:
    result = inside(crash, "limited", name="tight", at=[-1, ""], limit=limit, value=value)
    assert result["checks"] == [0, 0]
    assert result["account"]["wrong"] == []
    assert result["wrong"] == []


def test_a098_twenty_at_once_get_twenty_uids(crash: Host) -> None:
    names = [f"par{number:02}" for number in range(20)]
    result = inside(crash, "parallel", names=names, same=4)
    assert result["statuses"] == [0] * 24
    assert len(set(result["uids"])) == len(set(result["bases"])) == 20
    assert result["wrong"] == []
    assert crash.run(["/usr/sbin/pwck", "-q", "-r"]).returncode == 0
    assert crash.run(["/usr/sbin/grpck", "-q", "-r"]).returncode == 0
    running = [crash.spawn(["/usr/local/sbin/jailctl", "remove-user", name]) for name in names]
    for process in running:
        assert process.wait(60) == 0
        process.close()
    assert crash.run(["/usr/sbin/pwck", "-q", "-r"]).returncode == 0
    assert "par" not in (crash.root / "etc/passwd").read_text()


def test_a098_a_stale_lock_of_a_killed_tool_is_recovered(crash: Host) -> None:
    dead = crash.run(["/bin/sh", "-c", "echo $$"], check=True).stdout.strip()
    (crash.root / "etc/passwd.lock").write_text(dead)
    crash.jailctl("add-user", "stale")
    crash.jailctl("remove-user", "stale")


def test_a096_programs_are_started_by_absolute_path_and_never_by_a_shell(crash: Host) -> None:
    programs = inside(crash, "executed", name="exec")
    assert {argv[0] for argv in programs} == {"/usr/sbin/pwck", "/usr/sbin/grpck"}
    assert not any("canary" in word for argv in programs for word in argv)
    assert not (crash.root / "canary").exists()
