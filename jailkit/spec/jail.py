"""The spec of one jail: ``/etc/jailctl/jails.d/<user>.toml``."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, field_validator

from .fields import Home, HostName, ImageReference, Linger, ManifestName, Model, Network, PlanName, Program, UserName
from .limits import Limits
from .plan import PlanSpec

MARK = "# managed by jailctl"
"""First line of a spec file. `remove-user` touches only jails whose spec carries it."""

SETTABLE = (
    "template", "plan", "hostname", "shell", "home", "network", "linger",
    *(f"limits.{name}" for name in Limits.model_fields),
)  # fmt: skip
"""Keys that ``--set KEY=VALUE`` takes."""


def _message(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("must be one printable line")
    return text


def _instant(text: str) -> str:
    try:
        parsed = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        raise ValueError(f"{text!r} must be a time in UTC, as 2027-01-31T00:00:00Z") from None
    if parsed.strftime("%Y-%m-%dT%H:%M:%SZ") != text:
        raise ValueError(f"{text!r} must be a time in UTC, as 2027-01-31T00:00:00Z")
    return text


S = TypeVar("S", "JailSpec", PlanSpec)
Message = Annotated[str, Field(max_length=200), AfterValidator(_message)]
Instant = Annotated[str, AfterValidator(_instant)]


class JailSpec(Model):
    """What one jail should be. A field that is left out (None) is the plan's, else the template's, or follows from the
    user's name.

    keys: public keys, each ``TYPE BASE64 [COMMENT]`` as provision/keys.py returns them. existing: the account was there
    before jailkit, which gives it back when the jail is removed.
    """

    user: UserName = Field(description="the user, and the name of the jail")
    template: ImageReference | None = Field(
        default=None,
        description="the template that the jail is made from, or TEMPLATE:TAG for another image of it; "
        "default: the plan's, else the host's",
    )
    plan: PlanName | None = Field(default=None, description="the plan whose limits and settings it has")
    hostname: HostName | None = Field(
        default=None, description="host name inside the jail; default: from the user's name"
    )
    shell: Program | None = Field(default=None, description="login shell inside the jail; default: the template's")
    home: Home | None = Field(default=None, description="home directory, inside as outside; default: /home/USER")
    network: Network | None = Field(default=None, description='"none" or "host"; default: the template\'s')
    linger: Linger | None = Field(default=None, description='seconds after the last session, or "forever"')
    existing: bool = Field(default=False, description="the account was there before jailkit")
    keys: list[str] = Field(default_factory=list, description="public keys that may log in")

    limits: Limits = Field(default_factory=Limits, description="limits of its own, over those of plan and template")
    suspended: Message | None = Field(
        default=None, description="nobody may log in; what the user is told; left out: not suspended"
    )
    expires: Instant | None = Field(default=None, description="when logins end, as 2027-01-31T00:00:00Z")
    manifest: ManifestName | None = Field(default=None, description="the manifest that it comes from")

    @field_validator("keys")
    @classmethod
    def _keys(cls, items: list[str]) -> list[str]:
        for item in items:
            if not item.isprintable() or len(item) > 16384 or not item.strip():
                raise ValueError("a key must be one printable line of up to 16384 characters")
        return items

    def data(self) -> dict[str, Any]:
        """What differs from the defaults, as plain data; JailSpec.model_validate() reads it back."""
        return {"user": self.user, **self.model_dump(exclude_defaults=True)}

    @property
    def host_name(self) -> str:
        """``hostname``, or the user's name as RFC 1123 allows it."""
        return self.hostname or re.sub(r"[^a-z0-9]+", "-", self.user).strip("-") or "jail"


def differences(have: JailSpec, want: JailSpec) -> list[tuple[str, str, str]]:
    """Fields in which two specs differ, as ``limits.memory`` where they are nested: (field, what is, what is asked
    for), in the order of the model."""
    return [(field, _shown(field, old), _shown(field, new)) for field, old, new in changes(have, want)]


def changes(have: S, want: S) -> list[tuple[str, Any, Any]]:
    """As :func:`differences`, with the values themselves; also of two plans."""
    rows = []
    for field in (JailSpec if isinstance(have, JailSpec) else PlanSpec).model_fields:
        old, new = getattr(have, field), getattr(want, field)
        if isinstance(old, Limits) and isinstance(new, Limits):
            pairs = [(f"limits.{name}", getattr(old, name), getattr(new, name)) for name in Limits.model_fields]
        else:
            pairs = [(field, old, new)]
        rows += [pair for pair in pairs if pair[1] != pair[2]]
    return rows


_NONE = ("plan", "suspended", "expires", "manifest")


def _shown(field: str, value: object) -> str:
    if value is None:
        return "(none)" if field in _NONE else "(plan's)" if field.startswith("limits.") else "(template's)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and field == "keys":
        return ", ".join(" ".join(str(item).split(" ")[2:]) or str(item)[-16:] for item in value) or "(none)"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(no limit)"
    return str(value)
