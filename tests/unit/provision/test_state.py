"""The state database and the journal; then the engine that applies plans, with operations that fail and die."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from jailkit.errors import JailkitError
from jailkit.paths import Paths
from jailkit.provision import layout
from jailkit.provision import operations as all_operations
from jailkit.provision.apply import Applier
from jailkit.provision.lock import locked
from jailkit.provision.operations import Operation
from jailkit.provision.state import Row, State
from jailkit.provision.world import World
from jailkit.spec.config import Config
from tests.unit.rooted import TREE, rooted


@pytest.fixture
def paths() -> Iterator[Paths]:
    with rooted() as made:
        layout.ensure(made)
        yield made


def row(name: str, existing: bool = False) -> Row:
    return Row(name, 0, 0, 0, "adding", existing, "", False, f"/home/{name}", "", {"user": name}, 1)


def choose(uid: int, base: int | None) -> tuple[int, int, int]:
    return max(uid, 999) + 1, max(uid, 999) + 1, (base or 0) + 1024


def test_a199_every_file_and_directory_is_roots_alone_whatever_the_umask(paths: Paths) -> None:
    os.umask(0)
    try:
        state = State(paths.state_db)
        state.reserve(row("a"), choose)
        state.begin("a", "add", [], 0)
    finally:
        os.umask(0o022)
    found = [name for name in os.listdir(paths.var) if name.startswith("state.db")]
    assert len(found) >= 2
    assert all(os.stat(f"{paths.var}/{name}").st_mode & 0o777 == 0o600 for name in found)
    for path, mode in layout.modes(paths).items():
        assert os.stat(path).st_mode & 0o7777 == mode
    state.close()


def test_a_database_from_before_there_were_levels(paths: Paths) -> None:
    """Those jails are of the only level that there was."""
    state = State(paths.state_db)
    state.reserve(row("old"), choose)
    state.close()
    with sqlite3.connect(paths.state_db) as database:
        database.execute("DROP INDEX IF EXISTS jails_template")
        database.execute("ALTER TABLE jails DROP COLUMN level")
    database.close()
    for state in (State(paths.state_db), State(paths.state_db)):
        found = state.get("old")
        assert found is not None and found.level == "namespaces"
        state.close()
    state = State(paths.state_db)
    assert state.reserve(replace(row("new"), level="chroot"), choose).level == "chroot"
    state.close()


def test_a104_ids_are_remembered_after_the_jail_is_forgotten(paths: Paths) -> None:
    state = State(paths.state_db)
    first = state.reserve(row("a"), choose)
    state.forget("a")
    second = state.reserve(row("a"), choose)
    assert (first.uid, second.uid) == (1000, 1001)
    assert second.base == first.base + 1024
    third = state.reserve(row("b", existing=True), lambda uid, base: (50, 50, (base or 0) + 1024))
    assert state.reserve(row("c"), choose).uid == 1002  # an existing account's uid was not given by us
    assert third.uid == 50
    state.close()


def test_a098_processes_at_once_get_different_ids(paths: Paths) -> None:
    State(paths.state_db).close()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from tests.unit.provision.test_state import row, choose;"
        "from jailkit.provision.state import State; s = State(sys.argv[2]);"
        "print(*[s.reserve(row(f'{sys.argv[3]}-{i}'), choose).uid for i in range(20)])"
    )
    argv = [sys.executable, "-c", code, str(TREE), paths.state_db]
    running = [subprocess.Popen([*argv, f"p{n}"], stdout=subprocess.PIPE, text=True) for n in range(6)]
    uids = [uid for process in running for uid in process.communicate(timeout=60)[0].split()]
    assert len(uids) == len(set(uids)) == 120


def test_one_plan_a_name_is_open(paths: Paths) -> None:
    state = State(paths.state_db)
    plan = state.begin("a", "add", [{"op": "x"}], 0)
    with pytest.raises(JailkitError) as caught:
        state.begin("a", "remove", [], 0)
    assert caught.value.code == "busy.plan"
    state.step(plan, 0, "doing")
    state.note(plan, 0, {"temporary": "/x"})
    opened = state.open_plan("a")
    assert opened is not None
    assert opened.steps == [({"op": "x"}, "doing", {"temporary": "/x"})]
    state.end(plan, "a", None)
    assert state.open_plan("a") is None
    assert state.open_names() == []
    state.close()


def test_a_secret_leaves_the_database_with_its_plan(paths: Paths) -> None:
    state = State(paths.state_db)
    plan = state.begin("a", "add", [{"op": "password", "hashed": "$y$SECRETHASH"}], 0)
    state.end(plan, "a", None)
    state.close()
    for name in os.listdir(paths.var):
        path = Path(paths.var, name)
        assert not path.is_file() or b"SECRETHASH" not in path.read_bytes()


def test_a_damaged_database_is_an_error_with_its_path(paths: Paths) -> None:
    Path(paths.state_db).write_bytes(b"not a database" * 100)
    with pytest.raises(JailkitError) as caught:
        State(paths.state_db)
    assert caught.value.code == "io.state"
    assert paths.state_db in caught.value.message


def test_the_schema_refuses_an_unknown_phase(paths: Paths) -> None:
    state = State(paths.state_db)
    state.reserve(row("a"), choose)
    with pytest.raises(JailkitError):
        state.update("a", phase="ready")
    state.close()
    with sqlite3.connect(paths.state_db) as database:
        assert database.execute("SELECT phase FROM jails").fetchall() == [("adding",)]


# -- the engine


@dataclass(frozen=True)
class Touch(Operation):
    """Makes a file; fails, dies or counts on demand."""

    path: str
    fail: str = ""

    kind = "touch"

    def describe(self) -> str:
        return f"make {self.path}"

    def check(self, world: World) -> bool:
        return os.path.exists(self.path)

    def apply(self, world: World) -> None:
        if self.fail == "error":
            raise JailkitError("io.failed", "as asked")
        if self.fail == "oserror":
            raise OSError(28, "No space left on device", self.path)
        if self.fail == "interrupt":
            raise KeyboardInterrupt
        world.remember(tried=world.note.get("tried", 0) + 1)
        Path(self.path).write_text(str(world.note["tried"]))

    def undo(self, world: World) -> None:
        if self.fail == "no-undo":
            raise OSError(30, "Read-only file system", self.path)
        Path(self.path).unlink(missing_ok=True)


@dataclass(frozen=True)
class FinalTouch(Touch):
    kind = "final-touch"
    final = True


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {**all_operations._KINDS, "touch": Touch, "final-touch": FinalTouch}
    monkeypatch.setattr(all_operations, "_KINDS", kinds)


def applier(paths: Paths, boundary: Callable[[int, str], None] | None = None) -> Applier:
    return Applier(paths, Config(), State(paths.state_db), "a", boundary=boundary)


def touches(top: Path, *fails: str) -> list[Operation]:
    return [Touch("because", str(top / str(number)), fail) for number, fail in enumerate(fails)]


@pytest.mark.parametrize(
    ("fail", "code"), [("error", "io.failed"), ("oserror", "io.full"), ("interrupt", None)], ids=str
)
def test_a_failed_step_undoes_all_and_leaves_no_plan(paths: Paths, tmp_path: Path, fail: str, code: str | None) -> None:
    with pytest.raises(KeyboardInterrupt if code is None else JailkitError) as caught:
        applier(paths).begin("add", touches(tmp_path, "", "", fail, ""))
    if isinstance(caught.value, JailkitError):
        assert caught.value.code == code
    assert os.listdir(tmp_path) == []
    assert State(paths.state_db).open_names() == []


def test_after_something_was_destroyed_nothing_is_undone(paths: Paths, tmp_path: Path) -> None:
    operations = [
        *touches(tmp_path, ""),
        FinalTouch("because", str(tmp_path / "f")),
        Touch("b", str(tmp_path / "x"), "error"),
    ]
    with pytest.raises(JailkitError) as caught:
        applier(paths).begin("remove", operations)
    assert "goes on where it stopped" in caught.value.hint
    assert sorted(os.listdir(tmp_path)) == ["0", "f"]
    assert State(paths.state_db).open_names() == ["a"]


def test_an_undo_that_fails_is_said_and_tried_again(paths: Paths, tmp_path: Path) -> None:
    with pytest.raises(JailkitError) as caught:
        applier(paths).begin("add", touches(tmp_path, "no-undo", "error"))
    assert caught.value.code == "interrupted.undo"
    assert "as asked" in caught.value.message
    opened = State(paths.state_db).open_plan("a")
    assert opened is not None and opened.direction == "back"
    with pytest.raises(JailkitError):
        applier(paths).resume()
    assert State(paths.state_db).open_names() == ["a"]


BOUNDARIES = [(number, label) for number in range(3) for label in ("doing", "applied", "done")]


@pytest.mark.parametrize("target", BOUNDARIES, ids=str)
def test_killed_at_a_boundary_the_next_run_goes_on(paths: Paths, tmp_path: Path, target: tuple[int, str]) -> None:
    def die(number: int, label: str) -> None:
        if (number, label) == target:
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        try:
            applier(paths, die).begin("add", touches(tmp_path, "", "", ""))
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    seen: list[tuple[int, str]] = []
    applier(paths, lambda number, label: seen.append((number, label))).resume()
    assert [(tmp_path / str(number)).read_text() for number in range(3)] == ["1", "1", "1"]  # none was done twice
    assert (target[0], "doing") in seen or target[1] == "done"
    assert State(paths.state_db).open_names() == []


@pytest.mark.parametrize("target", [(1, "undoing"), (1, "undone"), (0, "undoing"), (0, "undone")], ids=str)
def test_killed_while_undoing_the_next_run_undoes_the_rest(
    paths: Paths, tmp_path: Path, target: tuple[int, str]
) -> None:
    def die(number: int, label: str) -> None:
        if (number, label) == target:
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        try:
            applier(paths, die).begin("add", touches(tmp_path, "", "", "error"))
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    applier(paths).resume()
    assert os.listdir(tmp_path) == []
    assert State(paths.state_db).open_names() == []


def test_the_lock_of_a_jail_keeps_others_out_and_goes_with_its_holder(paths: Paths) -> None:
    ready, ready_in = os.pipe()
    pid = os.fork()
    if pid == 0:
        with locked(paths, "a"):
            os.write(ready_in, b"x")
            signal.pause()
    os.read(ready, 1)
    with pytest.raises(JailkitError) as caught, locked(paths, "a", 0.1):
        raise AssertionError("two hold it")
    assert caught.value.code == "busy.locked"
    with locked(paths, "b", 0.1):
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with locked(paths, "a", 0.1):
        pass
