"""Building an image: the layers of a template, one over the other.

    source      where its programs come from (source/*.py)          cached by what the source says of its inputs
    etc         directories, links and host files of ``[image]``    cheap, made each time
    files       ``files/``, rendered                                cheap, made each time
    points      what jails are mounted on, and a placeholder for each file of their own
    run ...     each ``[[run]]`` in a throw-away jail of the layers so far     cached by these layers and the command

A layer is rows (layer.py); their contents are in the store. What came out is named by its digest: the same input gives
the same image, and building it again costs a look."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..errors import JailkitError
from ..paths import Paths
from . import cache, contents, hostfiles, layer, points, scratch, store, tags
from .layer import Contents, Row
from .source import Build, Source
from .template import Template, load_template, render_samples, rendered_files
from .world import canonical_digest, settings

Log = Callable[[str], None]


@dataclass(frozen=True)
class Layer:
    """name: "source", "etc", "files", "run 1" ...; cached: taken from the build cache; rows: how many it has."""

    name: str
    cached: bool
    rows: int
    seconds: float


@dataclass(frozen=True)
class Built:
    """digest: of the image. changed: it was not there before. inputs: what it was built from (see :func:`inputs`)."""

    template: str
    digest: str
    changed: bool
    inputs: str
    layers: tuple[Layer, ...]

    def data(self) -> dict[str, Any]:
        rows = [vars(layer) for layer in self.layers]
        return {"template": self.template, "digest": self.digest, "changed": self.changed, "layers": rows}


def build(paths: Paths, name: str, cache_too: bool = True, log: Log | None = None, host_root: str = "/") -> Built:
    """Make the image of template ``name`` unless it is there. No tag is moved.

    cache_too: use layers of earlier builds. log: takes each line of what goes on; all of it is kept in
    ``logs/<name>.log`` as well. Interrupted or failed, it leaves nothing but that. Two at once are safe. Raise
    ``missing.template``, ``invalid.template``, ``invalid.image``, ``invalid.run-step``, ``host.*``, ``io.*``."""
    template = load_template(paths, name)
    render_samples(template)
    with _told(paths, name):
        store.ready(paths)
    with (
        _told(paths, name), _logged(paths, name, log) as say, contents.in_use(paths), scratch.directory(paths) as place,
    ):  # fmt: skip
        known = inputs(paths, template, host_root)  # before: what changes meanwhile makes the image a stale one
        bench = _Bench(paths, template, contents.Store(paths, place, cache_too), place, host_root, say, cache_too)
        rows = bench.rows()
        points.check(template.spec, template.jail_names, rows)
        digest, changed = store.publish(paths, template, rows, bench.contents, place)
        made = Built(name, digest, changed, known, tuple(bench.done))
        say(f"{name}: image {digest[:12]} {'made' if changed else 'was there'}")
        return made


def inputs(paths: Paths, template: Template, host_root: str = "/") -> str:
    """SHA-256 (hex) over all that the image of ``template`` would be built from now, by looking only: another one than
    that of the last build means that the image is stale. Raise what the source's own ``inputs`` raises."""
    spec = template.spec
    copied = hostfiles.copied(spec.image.copy_, contents.Counted(), host_root)
    files = {name: [canonical_digest(data.hex()), mode] for name, (data, mode) in template.files.items()}
    return canonical_digest([
        settings(spec), store.jail_texts(template), files, [row.data() for row in copied],
        source_of(spec.source).inputs(spec, template.directory, host_root),
    ])  # fmt: skip


def stale(paths: Paths, name: str) -> bool:
    """Whether the template or the host have changed since the image that is in use was built from it. False for one
    that was not built from its template. Raise as :func:`inputs`, ``missing.template``."""
    moves = tags.history(paths, name)
    return bool(moves and moves[-1].inputs) and moves[-1].inputs != inputs(paths, load_template(paths, name))


def smoke(paths: Paths, digest: str, log: Log | None = None) -> None:
    """Run the smoke commands of the template in throw-away jails of its image. log: as in :func:`build`; the lines
    follow those of the build. Raise as workshop.smoke."""
    from . import workshop

    template = store.template(paths, digest)
    if template.spec.smoke:
        with _told(paths, template.spec.name), _logged(paths, template.spec.name, log, more=True) as say:
            workshop.smoke(paths, paths.image_root(digest), template, say)


def source_of(kind: str) -> Source:
    """The module that builds from that kind of source."""
    module: Source = import_module(f"{__package__}.source.{kind}")
    return module


class _Bench:
    """One build under way."""

    def __init__(
        self, paths: Paths, template: Template, kept: contents.Store, place: str, host_root: str, log: Log, old: bool
    ) -> None:
        self.paths, self.template, self.contents, self.place = paths, template, kept, place
        self._host_root, self._log, self._old = host_root, log, old
        self.done: list[Layer] = []

    def rows(self) -> list[Row]:
        """All layers merged."""
        spec = self.template.spec
        merged = layer.merge([
            self._source_layer(), self._timed("etc", self._etc), self._timed("files", self._files),
        ])  # fmt: skip
        merged = layer.merge([points.needed(spec, self.template.jail_names, merged, self.contents), merged])
        for number, _ in enumerate(spec.run):
            merged = layer.merge([merged, self._run_layer(number, merged)])
        return merged

    def _timed(self, name: str, make: Callable[[Contents], list[Row]]) -> list[Row]:
        begin = time.monotonic()
        rows = make(self.contents)
        self._note(name, False, rows, begin)
        return rows

    def _note(self, name: str, cached: bool, rows: list[Row], begin: float) -> None:
        made = Layer(name, cached, len(rows), round(time.monotonic() - begin, 3))
        self.done.append(made)
        how = "from the cache" if cached else f"{made.seconds:.1f} s"
        self._log(f"{self.template.spec.name}: layer {name}: {made.rows} names, {how}")

    def _cached(self, name: str, key: str, make: Callable[[], list[Row]]) -> list[Row]:
        begin = time.monotonic()
        found = cache.get(self.paths, key, self.contents) if self._old else None
        rows = make() if found is None else found
        if found is None:
            self.contents.settle()
            cache.put(self.paths, key, self.template.spec.name, rows)
        self._note(name, found is not None, rows, begin)
        return rows

    def _source_layer(self) -> list[Row]:
        spec, source = self.template.spec, source_of(self.template.spec.source)

        def make(kept: Contents) -> list[Row]:
            place = f"{self.place}/source"
            os.mkdir(place, 0o700)
            build = Build(self.paths, spec, self.template.directory, kept, place, self._host_root, self._log)
            return list(source.rows(build))

        if spec.source == "host":
            return self._timed("source", make)
        known = source.inputs(spec, self.template.directory, self._host_root)
        return self._cached("source", canonical_digest(["source", spec.source, known]), lambda: make(self.contents))

    def _etc(self, kept: Contents) -> list[Row]:
        image = self.template.spec.image
        made = [layer.directory(path) for path in image.directories]
        made += [layer.directory(path, 0o700) for path in image.closed]
        made += [layer.link(path, target) for path, target in image.links.items()]
        return [*hostfiles.copied(image.copy_, kept, self._host_root), *made]

    def _files(self, kept: Contents) -> list[Row]:
        return [
            layer.file(f"/{path}", data, 0o755 if executable else 0o644, kept)
            for path, (data, executable) in rendered_files(self.template).items()
        ]

    def _run_layer(self, number: int, below: list[Row]) -> list[Row]:
        step = self.template.spec.run[number]
        name = f"run {number + 1}"

        def make() -> list[Row]:
            from . import workshop

            self._log(f"{self.template.spec.name}: {name}: {step.command.strip().splitlines()[0][:100]}")
            place = f"{self.place}/run-{number + 1}"
            os.mkdir(place, 0o700)
            store.place(f"{place}/lower", below, self.contents)
            return workshop.layer_of(self.paths, f"{place}/lower", place, step, self.contents, self._log, binds)

        binds = self.template.spec.binds  # what the host has there is not looked at: a run step is no watch on it
        key = canonical_digest(["run", [row.data() for row in below], step.model_dump(mode="json"), binds])
        return self._cached(name, key, make)


@contextmanager
def _told(paths: Paths, name: str) -> Iterator[None]:
    try:
        yield
    except JailkitError as error:
        if error.code not in ("invalid.run-step", "invalid.smoke"):
            raise
        hint = f"its jails keep the image that they have; all that it wrote: {paths.logs}/{name}.log"
        raise JailkitError(error.code, f"{name}: {error.message}", hint) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise JailkitError(
            "io.image", f"cannot build the image of {name}: {where}{error.strerror or error}",
            "df -h /var/lib/jailctl; df -i /var/lib/jailctl",
        ) from None  # fmt: skip


@contextmanager
def _logged(paths: Paths, name: str, log: Log | None, more: bool = False) -> Iterator[Log]:
    """The log of a template's last build; of two at once, the one that ended last. more: go on with it."""
    path = f"{paths.logs}/{name}.log"
    temporary = path if more else f"{path}.{os.getpid()}"
    how = os.O_APPEND if more else os.O_TRUNC
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | how | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def say(line: str) -> None:
        with suppress(OSError):  # a full disk stops the build, not what is said of it
            os.write(fd, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {json.dumps(line)[1:-1]}\n".encode())
        if log is not None:
            log(line)

    try:
        yield say
    except JailkitError as error:
        say(f"{name}: failed: {error.message}")
        raise
    finally:
        os.close(fd)
        os.rename(temporary, path)
