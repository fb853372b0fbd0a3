"""Where an image's programs come from: one builder a file, each with the two functions of :class:`Source`. ``apt.py``
serves ``debian.py``, ``copied/`` serves ``copy.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from ...paths import Paths
from ...spec.template import TemplateSpec
from ..layer import Contents, Row


@dataclass(frozen=True)
class Build:
    """What a builder works with. directory: of the template, for files that it names. host_root: where the host's
    files are ("/" but in tests). scratch: an empty directory of the builder's own, mode 0700, removed afterwards; on
    the file system of the images. log: takes one line for the build's log and for the progress."""

    paths: Paths
    spec: TemplateSpec
    directory: str
    contents: Contents
    scratch: str
    host_root: str = "/"
    log: Callable[[str], None] = lambda line: None


class Source(Protocol):
    """A module of this package."""

    def inputs(self, spec: TemplateSpec, directory: str, host_root: str) -> Any:
        """JSON data that changes when the layer would: its digest is the key of the build cache and tells a stale
        image. Cheap (well below a second), and it writes nothing. Raise JailkitError."""
        ...

    def problems(self, spec: TemplateSpec, directory: str, host_root: str) -> list[tuple[str, str]]:
        """What a build would fail on, all of it, as far as looking at this host can tell: (key in the template, what is
        wrong). May take seconds; writes and executes nothing. Raise JailkitError."""
        ...

    def rows(self, build: Build) -> Iterable[Row]:
        """The layer; contents go to ``build.contents``. Raise JailkitError, OSError."""
        ...
