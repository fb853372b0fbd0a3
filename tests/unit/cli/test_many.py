"""Verbs on many jails: processes, results, ^C, and who is killed. The work is played; the state is not asked."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from jailkit.cli import many
from jailkit.cli.output import Settings
from jailkit.errors import JailkitError

NAMES = [f"n{number:02}" for number in range(12)]


class Nothing:
    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_host", lambda settings: Nothing())


def work(host: Any, name: str, step: many.Step) -> many.Entry:
    if name == "n03":
        raise JailkitError("busy.locked", "it is worked on", "later")
    if name == "n05":
        raise JailkitError("missing.jail", "there is none", "list")
    return {"changed": name != "n00", "pid": os.getpid()}


def silent(entry: many.Entry) -> None:
    return


@pytest.mark.parametrize("jobs", [1, 2, 5, 64])
def test_one_result_each_and_the_exit_number_of_the_worst(jobs: int, capfd: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []
    assert many.each(Settings(json=True), NAMES, work, lambda entry: shown.append(entry["name"]), "working", jobs) == 7
    found = json.loads(capfd.readouterr().out)["jails"]
    assert [entry["name"] for entry in found] == NAMES
    assert {entry["name"]: entry["error"]["code"] for entry in found if entry["error"]} == {
        "n03": "busy.locked", "n05": "missing.jail",
    }  # fmt: skip
    pids = {entry["pid"] for entry in found if not entry["error"]}
    assert pids == {os.getpid()} if jobs == 1 else os.getpid() not in pids and len(pids) <= min(jobs, len(NAMES))
    assert sorted(shown) == [name for name in NAMES if name not in ("n03", "n05")]


def test_people_get_a_line_each_and_a_sum(capfd: pytest.CaptureFixture[str]) -> None:
    many.each(Settings(), NAMES, work, lambda entry: print(entry["name"], "done"), "working", 2)
    said = capfd.readouterr()
    assert "n04 done" in said.out and "12 jails: 9 changed, 1 not, 2 failed." in said.out
    assert "n03: it is worked on" in said.err and "hint: later" in said.err


@pytest.mark.parametrize(("settings", "told"), [(Settings(quiet=True), 2), (Settings(json=True), 0)])
def test_the_errors_of_some_are_told_to_people_quiet_or_not(
    settings: Settings, told: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert many.each(settings, NAMES, work, silent, "working") == 7
    assert capfd.readouterr().err.count("jailctl: n0") == told


def test_one_jail_alone_fails_as_any_verb(capfd: pytest.CaptureFixture[str]) -> None:
    assert many.each(Settings(json=True), ["n05"], work, silent, "working", 4) == 3
    said = capfd.readouterr()
    assert said.out == "" and json.loads(said.err)["error"]["code"] == "missing.jail"


@pytest.mark.parametrize("jobs", [1, 3])
def test_interrupted_it_ends_after_the_jails_in_hand(jobs: int, capfd: pytest.CaptureFixture[str]) -> None:
    ours = os.getpid()

    def slow(host: Any, name: str, step: many.Step) -> many.Entry:
        if name == "n02":
            os.kill(ours, signal.SIGINT)
        time.sleep(0.1)
        return {"changed": True}

    before = signal.getsignal(signal.SIGINT)
    assert many.each(Settings(json=True), NAMES, slow, silent, "working", jobs) == 130
    found = [entry["name"] for entry in json.loads(capfd.readouterr().out)["jails"]]
    assert found == NAMES[: len(found)] and 3 <= len(found) <= 3 + jobs
    assert signal.getsignal(signal.SIGINT) == before


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())


def test_interrupted_twice_it_ends_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours, before = os.getpid(), children()  # other tests of this process may have left some
    asked, ask = tmp_path / "asked", many._Stop._ask

    def told(self: many._Stop, number: int, frame: FrameType | None) -> None:
        ask(self, number, frame)
        asked.touch()

    monkeypatch.setattr(many._Stop, "_ask", told)

    def stuck(host: Any, name: str, step: many.Step) -> many.Entry:
        if name == "n00":
            os.kill(ours, signal.SIGINT)
            while not asked.exists():  # two that come before the first is handled are one
                time.sleep(0.01)
            os.kill(ours, signal.SIGINT)
        time.sleep(60)
        return {"changed": True}

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        many.each(Settings(quiet=True), NAMES, stuck, silent, "working", 2)
    assert time.monotonic() - began < 30
    assert children() <= before


def test_who_is_killed_fails_its_jail_and_the_others_go_on(capfd: pytest.CaptureFixture[str]) -> None:
    def deadly(host: Any, name: str, step: many.Step) -> many.Entry:
        if name in ("n01", "n02", "n07"):
            os.kill(os.getpid(), signal.SIGKILL)
        return {"changed": True}

    assert many.each(Settings(json=True), NAMES, deadly, silent, "working", 2) == 10
    found = {entry["name"]: entry["error"] for entry in json.loads(capfd.readouterr().out)["jails"]}
    assert {name for name, error in found.items() if error} == {"n01", "n02", "n07"}
    assert found["n01"]["code"] == "interrupted.worker" and len(found) == len(NAMES)


def test_what_nobody_expected_is_one_jails_failure(capfd: pytest.CaptureFixture[str]) -> None:
    def odd(host: Any, name: str, step: many.Step) -> many.Entry:
        if name == "n01":
            raise OSError(28, "No space left on device", "/x")
        if name == "n02":
            raise ZeroDivisionError
        return {"changed": True}

    assert many.each(Settings(json=True), NAMES, odd, silent, "working", 2) == 9
    found = {entry["name"]: entry["error"] for entry in json.loads(capfd.readouterr().out)["jails"]}
    assert found["n01"]["code"] == "io.full" and found["n02"]["code"] == "internal.bug"
