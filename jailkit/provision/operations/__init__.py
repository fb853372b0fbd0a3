"""What a plan is made of, one kind a file."""

from __future__ import annotations

from typing import Any

from .account import CreateAccount, RemoveAccount
from .archive import WriteArchive
from .base import Operation
from .confine import Confine, GiveBack
from .enable import Disable, Enable
from .forget import Forget, RemoveJailFiles
from .home import KeepHome, MakeHome, RemoveHome
from .image import BuildImage
from .jail_files import JailFiles
from .key_file import KeyFile, RemoveKeys
from .limits import SetLimits
from .own_home import OwnHome
from .password import SetPassword
from .reserve import Reserve
from .spec_file import RemoveSpec, WriteSpec
from .spool import CleanSpool
from .stop import RequireUnmounted, StopJail
from .suspend import Suspend

__all__ = [
    "BuildImage", "CleanSpool", "Confine", "CreateAccount", "Disable", "Enable", "Forget", "GiveBack", "JailFiles",
    "KeepHome", "KeyFile", "MakeHome", "Operation", "OwnHome", "RemoveAccount", "RemoveHome", "RemoveJailFiles",
    "RemoveKeys", "RemoveSpec", "RequireUnmounted", "Reserve", "SetLimits", "SetPassword", "StopJail", "Suspend",
    "WriteArchive", "WriteSpec", "from_data",
]  # fmt: skip

_KINDS: dict[str, type[Operation]] = {
    kind.kind: kind
    for kind in (
        BuildImage, CleanSpool, Confine, CreateAccount, Disable, Enable, Forget, GiveBack, JailFiles, KeepHome, KeyFile,
        MakeHome, OwnHome, RemoveAccount, RemoveHome, RemoveJailFiles, RemoveKeys, RemoveSpec, RequireUnmounted,
        Reserve, SetLimits, SetPassword, StopJail, Suspend, WriteArchive, WriteSpec,
    )
}  # fmt: skip


def from_data(data: dict[str, Any]) -> Operation:
    """The operation that the journal holds; the inverse of :meth:`Operation.data`."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    kind = _KINDS[values.pop("op")]
    return kind(**values)
