"""jailkit: a jail of one's own for every user of a Linux host.

    from jailkit import Host, JailkitError

    with Host.open() as host:
        host.add_user("alice", keys=["ssh-ed25519 AAAA... alice@laptop"], limits={"memory": "512M"})

The names below are all that is public; the rest may change from one release to the next. docs/library.md has worked
examples. Nothing is imported before it is asked for: a login imports this package, and must not wait for pydantic.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own constant costs an import, on the login path
if TYPE_CHECKING:
    from .errors import InvalidFile as InvalidFile
    from .errors import JailkitError as JailkitError
    from .library import Host as Host
    from .library import Plan as Plan
    from .provision.info import JailInfo as JailInfo
    from .provision.manifests import Outcome as Result
    from .provision.operations import Operation as Operation
    from .provision.survey import Difference as Difference
    from .provision.survey import Finding as Finding
    from .spec.jail import JailSpec as JailSpec
    from .spec.limits import Limits as Limits
    from .spec.manifest import Manifest as Manifest
    from .spec.plan import PlanSpec as PlanSpec

__all__ = [
    "Difference", "Finding", "Host", "InvalidFile", "JailInfo", "JailSpec", "JailkitError", "Limits", "Manifest",
    "Operation", "Plan", "PlanSpec", "Result",
]  # fmt: skip

_PLACES = {
    "Difference": "provision.survey", "Finding": "provision.survey", "Host": "library", "InvalidFile": "errors",
    "JailInfo": "provision.info", "JailSpec": "spec.jail", "JailkitError": "errors", "Limits": "spec.limits",
    "Manifest": "spec.manifest", "Operation": "provision.operations", "Plan": "library", "PlanSpec": "spec.plan",
    "Result": "provision.manifests:Outcome",
}  # fmt: skip


if not TYPE_CHECKING:  # or any name would be one, for a type checker

    def __getattr__(name: str) -> object:
        place = _PLACES.get(name)
        if place is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        module, _, other = place.partition(":")
        found = getattr(import_module(f"{__name__}.{module}"), other or name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
