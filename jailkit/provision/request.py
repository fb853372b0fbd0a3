"""What was asked of a host beyond adding, changing and removing: judged when it is asked, and again when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .host import Host, Plan
    from .state import OpenPlan


class Request(Protocol):
    """One kind of thing that may be asked for."""

    def judged(self, host: Host) -> Plan:
        """The plan, by the facts as they are now; reads only. Raise what speaks against it."""
        ...

    def is_that(self, opened: OpenPlan) -> bool:
        """Whether the interrupted plan is this request's own: when that is finished, nothing more is to be done."""
        ...
