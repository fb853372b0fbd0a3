"""What planning looks at beside the jail itself: accounts, templates, rows; as they are at each moment, or read once
for all jails of a chunk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..image.template import Template
from ..paths import Paths
from . import limits, resolve
from .lookup import Lookup, Snapshot
from .state import Row


@dataclass
class View:
    """What was read once, right after the locks of the jails in ``rows`` were taken. rows: None for those that there
    are not. able: the limits that this host holds. memo: see inspect.Memo."""

    rows: dict[str, Row]
    look: Lookup = field(default_factory=Snapshot)
    able: set[str] = field(default_factory=limits.able)
    memo: dict[tuple[object, ...], Any] = field(default_factory=dict)
    _templates: dict[str, tuple[Template, str | None]] = field(default_factory=dict)

    def template(self, paths: Paths, reference: str) -> tuple[Template, str | None]:
        """See resolve.template. An image that is not built yet is asked for again."""
        found = self._templates.get(reference)
        if found is None or found[1] is None:
            found = self._templates[reference] = resolve.template(paths, reference)
        return found
