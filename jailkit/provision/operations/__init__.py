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
from .move_home import Close, LeaveHome, MoveHome, SetHome
from .own_home import OwnHome
from .password import SetPassword
from .quota import ClearQuota, SetQuota
from .rename import CloseOld, MoveJailFiles, MoveSpec, MoveSpool, RenameAccount, RenameRow
from .reserve import Reserve
from .restore import DropOld, Hold, Release, Swap, Unpack
from .spec_file import RemoveSpec, WriteSpec
from .spool import CleanSpool
from .stop import RequireUnmounted, StopJail
from .suspend import Suspend

__all__ = [
    "BuildImage", "CleanSpool", "ClearQuota", "Close", "CloseOld", "Confine", "CreateAccount", "Disable", "DropOld",
    "Enable", "Forget", "GiveBack", "Hold", "JailFiles", "KeepHome", "KeyFile", "LeaveHome", "MakeHome", "MoveHome",
    "MoveJailFiles", "MoveSpec", "MoveSpool", "Operation", "OwnHome", "Release", "RemoveAccount", "RemoveHome",
    "RemoveJailFiles", "RemoveKeys", "RemoveSpec", "RenameAccount", "RenameRow", "RequireUnmounted", "Reserve",
    "SetHome", "SetLimits", "SetPassword", "SetQuota", "StopJail", "Suspend", "Swap", "Unpack", "WriteArchive",
    "WriteSpec", "from_data",
]  # fmt: skip

_KINDS: dict[str, type[Operation]] = {
    each.kind: each
    for each in list(globals().values())
    if isinstance(each, type) and issubclass(each, Operation) and each is not Operation
}


def from_data(data: dict[str, Any]) -> Operation:
    """The operation that the journal holds; the inverse of :meth:`Operation.data`."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    kind = _KINDS[values.pop("op")]
    return kind(**values)
