"""One thing that a plan does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ...paths import Paths
from ..world import World


@dataclass(frozen=True)
class Operation:
    """Its fields are plain data, so that the journal can hold it; ``why`` says what made the planner ask for it.

    Each is done again after a crash: :meth:`apply` must find its own half-done work and go on from there, whatever the
    instruction it was killed at, and :meth:`undo` must cope with work that was never begun.
    """

    why: str

    kind: ClassVar[str] = ""
    final: ClassVar[bool] = False
    """Once it has taken effect, the plan can only go forward: it destroys something, or lets somebody in."""

    def describe(self) -> str:
        """What it does, as a short imperative sentence."""
        raise NotImplementedError

    def check(self, world: World) -> bool:
        """Whether it is done already. Asked right before :meth:`apply`, as a plan ages."""
        return False

    def effective(self, paths: Paths, name: str) -> bool:
        """Of a ``final`` operation that was begun and did not end: whether it may have taken effect."""
        return True

    def intent(self, world: World) -> dict[str, Any]:
        """What the step's note holds from its beginning: names that it is about to make."""
        return {}

    def prepare(self, world: World) -> None:
        """The part of it that shows nowhere yet, and has to be on the disk before :meth:`apply` shows it. Raise as
        that."""

    def apply(self, world: World) -> None:
        """Do it. Raise JailkitError or OSError."""
        raise NotImplementedError

    @classmethod
    def apply_all(cls, many: Sequence[tuple[Self, World]]) -> dict[str, Exception]:
        """:meth:`apply` for many jails, which fail each alone: what it raised, by name. Those override it that can do
        many at the cost of one."""
        errors: dict[str, Exception] = {}
        for operation, world in many:
            try:
                operation.apply(world)
            except Exception as error:  # noqa: BLE001  # whatever it was, the others go on; it is told of this one
                errors[world.name] = error
        return errors

    def undo(self, world: World) -> None:
        """Take back what was done, if there is something to take back."""

    def data(self) -> dict[str, Any]:
        """For the journal."""
        return {"op": self.kind, **vars(self)}

    def public(self) -> dict[str, str]:
        """For people: ``{"op", "what", "why"}``."""
        return {"op": self.kind, "what": self.describe(), "why": self.why}
