"""What dpkg(1) knows, read from its files below /var/lib/dpkg; it is not run."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from .hosttree import HostTree

_DPKG = "/var/lib/dpkg"
_FIELD = re.compile(r"^(Package|Status|Architecture|Version): *(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    architecture: str
    version: str


def installed(tree: HostTree) -> list[Package]:
    """All packages in the state "installed". Raise Refused."""
    found = []
    for paragraph in tree.text(f"{_DPKG}/status").split("\n\n"):
        fields = dict(_FIELD.findall(paragraph))
        if fields.get("Status", "").endswith(" installed") and "Package" in fields:
            found.append(Package(fields["Package"], fields.get("Architecture", ""), fields.get("Version", "")))
    return found


def digest(tree: HostTree) -> str:
    """SHA-256 (hex) over name, architecture and version of all that is installed."""
    rows = sorted(f"{found.name}:{found.architecture}={found.version}" for found in installed(tree))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


class Database:
    def __init__(self, tree: HostTree) -> None:
        """Raise Refused."""
        self.tree = tree
        self.packages = installed(tree)
        self.native = next((found.architecture for found in self.packages if found.name == "dpkg"), "")
        lines = tree.text(f"{_DPKG}/diversions").splitlines()
        self._diverted = {lines[at]: (lines[at + 1], lines[at + 2]) for at in range(0, len(lines) - 2, 3)}

    def files(self, name: str) -> list[str] | None:
        """Paths of an installed package, directories too, as its list has them and as dpkg-divert(1) moved them.
        None if it is not installed. Where it is for several architectures, the host's own is meant."""
        here = [found for found in self.packages if found.name == name]
        here.sort(key=lambda found: (found.architecture not in (self.native, "all"), found.architecture))
        for found in here[:1]:
            for stem in (f"{name}:{found.architecture}", name):
                text = self.tree.text(f"{_DPKG}/info/{stem}.list")
                if text:
                    return [self._place(path, name) for path in text.splitlines() if path not in ("/.", "")]
        return None

    def _place(self, path: str, name: str) -> str:
        place, owner = self._diverted.get(path, (path, name))
        return path if owner == name else place  # the diverting package has its own file at the old place

    def alternatives(self) -> list[str]:
        """Links such as /usr/bin/editor: update-alternatives(1) makes them at installation, and no list names them.

        A file of its database: the status, the master link, then name and link of each slave up to an empty line; its
        own name is the alternative's."""
        links = []
        for name in self.tree.glob(f"{_DPKG}/alternatives/*"):
            lines = self.tree.text(name).partition("\n\n")[0].splitlines()
            links += [line for line in (*lines[1:2], *lines[3::2]) if line.startswith("/")]
        return links
