"""What a jail may use. Template, plan and jail each say what they care about; the nearest that says something wins."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from .fields import Model, Size

Unlimited = Literal["unlimited"]
"""Lifts what a template or a plan has set."""

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"(?:(\w{3})(?:-(\w{3}))? )?([0-2][0-9]):([0-5][0-9])-([0-2][0-9]):([0-5][0-9])")
_YEAR = 31_536_000


def _hours(items: list[str]) -> list[str]:
    for item in items:
        found = _HOURS.fullmatch(item)
        if (
            found is None
            or any(day is not None and day not in _DAYS for day in found.group(1, 2))
            or any(int(hour) * 60 + int(minute) > 1440 for hour, minute in (found.group(3, 4), found.group(5, 6)))
            or found.group(3, 4) == found.group(5, 6)
        ):
            raise ValueError(f"{item!r} must be like 'mon-fri 08:00-18:00', 'sat 22:00-02:00' or '08:00-24:00'")
    return items


def _sources(items: list[str]) -> list[str]:
    for item in items:
        try:
            ipaddress.ip_network(item)
        except ValueError:
            raise ValueError(f"{item!r} must be an address or a network without host bits, as 192.0.2.0/24") from None
    return items


Hours = Annotated[list[str], Field(max_length=16), AfterValidator(_hours)]
Sources = Annotated[list[str], Field(max_length=16), AfterValidator(_sources)]
Seconds = Annotated[int, Field(ge=1, le=_YEAR)]
Rate = Annotated[int, Field(ge=1, le=1_000_000_000)]


class Limits(Model):
    """None: what the plan says, else the template, else no limit. All hold for a jail as a whole, but ``open_files``,
    which is each process's, and ``idle`` and ``session``, which are each session's. Sizes as ``"512M"``."""

    memory: Size | Unlimited | None = Field(default=None, description="memory of all processes together")
    swap: Size | Unlimited | Literal["0"] | None = Field(default=None, description='swap beside it, or "0" for none')
    cpu: Annotated[float, Field(ge=0.01, le=1024)] | Unlimited | None = Field(
        default=None, description="CPUs at most: 0.5 is half of one"
    )
    cpu_weight: Annotated[int, Field(ge=1, le=10000)] | None = Field(
        default=None, description="share of the CPUs where jails compete; 100 is usual"
    )
    processes: Annotated[int, Field(ge=4, le=4_000_000)] | Unlimited | None = Field(
        default=None, description="processes and threads at once"
    )
    read: Size | Unlimited | None = Field(default=None, description="bytes read from each disk in a second")
    write: Size | Unlimited | None = Field(default=None, description="bytes written to each disk in a second")
    read_ops: Rate | Unlimited | None = Field(default=None, description="reads from each disk in a second")
    write_ops: Rate | Unlimited | None = Field(default=None, description="writes to each disk in a second")
    open_files: Annotated[int, Field(ge=32, le=1_048_576)] | Unlimited | None = Field(
        default=None, description="files that one process has open"
    )
    sessions: Annotated[int, Field(ge=1, le=10_000)] | Unlimited | None = Field(
        default=None, description="logins at once"
    )
    idle: Seconds | Unlimited | None = Field(default=None, description="seconds without input until a session ends")
    session: Seconds | Unlimited | None = Field(default=None, description="seconds that a session lasts at most")
    hours: Hours | None = Field(
        default=None, description="when logins are let in, as 'mon-fri 08:00-18:00', in the host's time; [] for always"
    )
    sources: Sources | None = Field(
        default=None, description="addresses or networks that logins may come from; [] for all"
    )
    disk: Size | Unlimited | None = Field(default=None, description="bytes of all that is the jail's own")
    inodes: Annotated[int, Field(ge=16, le=4_000_000_000)] | Unlimited | None = Field(
        default=None, description="files and directories of all that is the jail's own"
    )


@dataclass(frozen=True)
class Effective:
    """One limit as it holds. value: None for no limit. origin: "template NAME", "plan NAME", "jail" or "default"."""

    value: Any
    origin: str


def effective(*levels: tuple[str, Limits]) -> dict[str, Effective]:
    """Each limit of :class:`Limits` as it holds. levels: (origin, what it says), the nearest last."""
    found = {}
    for name in Limits.model_fields:
        value, origin = None, "default"
        for where, limits in levels:
            if (said := getattr(limits, name)) is not None:
                value, origin = said, where
        lifted = value == "unlimited" or value == []
        found[name] = Effective(None if lifted else value, origin)
    return found
