"""Reading spec, template and option files: who may have written them is checked first, then everything that is wrong
with them is said at once, each error with its path in the file."""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ..errors import InvalidFile, JailkitError
from ..kernel.beneath import require_root_owned_chain
from ..names import plan_name, user_name
from ..paths import Paths
from .config import Config
from .fields import Model
from .jail import MARK, JailSpec
from .plan import PlanSpec

_LIMIT = 1 << 20
M = TypeVar("M", bound=Model)


def read_trusted(path: str, limit: int = _LIMIT) -> bytes:
    """Content of a file that only root can have written: each component of ``path`` root's own and writable by nobody
    else, no link, a plain file of at most ``limit`` bytes (1 MiB).

    Raise FileNotFoundError, ``unsafe.path``, ``invalid.file``, ``io.read``."""
    directory, _, name = path.rpartition("/")
    if not os.path.lexists(path):
        raise FileNotFoundError(path)
    require_root_owned_chain(path)
    try:
        parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # never blocks on a FIFO, never follows a link that came after the walk
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        finally:
            os.close(parent)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise JailkitError("invalid.file", f"{path} is not a plain file", f"ls -l {path}")
            if status.st_uid != 0 or status.st_mode & 0o022:
                raise JailkitError("unsafe.path", f"{path} is not root's alone", f"chmod go-w {path}")
            data = file.read(limit + 1)
    except OSError as error:
        raise JailkitError("io.read", f"cannot read {path}: {error.strerror}") from None
    if len(data) > limit:
        raise JailkitError("invalid.file", f"{path} is larger than {limit >> 20} MiB", f"ls -l {path}")
    return data


def jail_spec(paths: Paths, name: str) -> tuple[JailSpec, bool]:
    """The spec of ``name`` and whether its file carries jailkit's mark.

    Raise ``missing.spec``, ``invalid.spec``, ``unsafe.path``."""
    path = paths.spec(user_name(name))
    try:
        text = _text(read_trusted(path), path, "invalid.spec")
    except FileNotFoundError:
        raise _missing(path, name) from None
    spec = parse(JailSpec, text, path, "invalid.spec")
    _require_user(spec.user, name, path)
    return spec, _marked(text)


def jail_data(paths: Paths, name: str, known: dict[str, Any] | None) -> tuple[dict[str, Any], bool]:
    """:func:`jail_spec` as JailSpec.data(). known: of a spec that was valid; one that says the same is valid, too."""
    path = paths.spec(user_name(name))
    try:
        text = _text(read_trusted(path), path, "invalid.spec")
    except FileNotFoundError:
        raise _missing(path, name) from None
    found = table(text.encode(), path, "invalid.spec")
    if found != known:
        found = validate(JailSpec, found, path, "invalid.spec").data()
    _require_user(str(found["user"]), name, path)
    return found, _marked(text)


def _missing(path: str, name: str) -> JailkitError:
    return JailkitError("missing.spec", f"there is no {path}", f"jailctl add-user {name}")


def _require_user(user: str, name: str, path: str) -> None:
    if user != name:
        raise InvalidFile("invalid.spec", path, [("user", f"is {user!r}, but the file is that of {name!r}")])


def _marked(text: str) -> bool:
    return text.partition("\n")[0].strip() == MARK


class Drafted(Paths):
    """A host with other plans than it has: what a manifest would make of it can be asked before anything is written.
    drafts: plans that are new or changed."""

    def __init__(self, root: str, drafts: Mapping[str, PlanSpec]) -> None:
        super().__init__(root)
        self.drafts = drafts

    def plan(self, name: str) -> str:
        return f"{self.plans}/.draft-{name}" if name in self.drafts else super().plan(name)  # is not there


def plan(paths: Paths, name: str) -> PlanSpec:
    """The plan ``name``. Raise ``missing.plan``, ``invalid.plan``, ``unsafe.path``."""
    if isinstance(paths, Drafted) and name in paths.drafts:
        return paths.drafts[name]
    path = paths.plan(plan_name(name))
    stamp = _stamp(path)
    known = _known.get(path)
    if known is not None and known[0] == stamp:
        return known[1]
    try:
        data = read_trusted(path)
    except FileNotFoundError:
        raise JailkitError("missing.plan", f"there is no plan {name!r}", f"write it: {path}") from None
    found = validate(PlanSpec, table(data, path, "invalid.plan"), path, "invalid.plan")
    if found.name != name:
        raise InvalidFile("invalid.plan", path, [("name", f"is {found.name!r}, but the file is that of {name!r}")])
    if stamp == _stamp(path):
        if len(_known) >= 64:
            _known.clear()
        _known[path] = stamp, found
    return found


_known: dict[str, tuple[tuple[int, ...], PlanSpec]] = {}
"""Plans by path, with the stamps of the trusted files that they were read from: ten thousand jails have one plan, and
only who writes the file can change its content without another inode or time of change (stat(2))."""


def _stamp(path: str) -> tuple[int, ...]:
    try:
        status = os.lstat(path)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode


def config(paths: Paths) -> Config:
    """The options; defaults where there is no file. Raise ``invalid.config``, ``unsafe.path``."""
    try:
        text = _text(read_trusted(paths.config), paths.config, "invalid.config")
    except FileNotFoundError:
        return Config()
    return parse(Config, text, paths.config, "invalid.config")


def _text(data: bytes, path: str, code: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidFile(code, path, [("", f"is not UTF-8 at byte {error.start}")]) from None


def table(data: bytes, file: str, code: str) -> dict[str, Any]:
    """``data`` (TOML) as it stands there. Raise InvalidFile with ``code``; ``file`` is the source of ``data``."""
    try:
        return tomllib.loads(_text(data, file, code))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidFile(code, file, [("", f"is not TOML: {error}")]) from None


def parse(model: type[M], text: str, file: str, code: str) -> M:
    """``text`` (TOML) as ``model``. Raise InvalidFile with ``code`` and all errors; ``file`` is their source."""
    return validate(model, table(text.encode(), file, code), file, code)


def validate(model: type[M], data: dict[str, Any], file: str, code: str) -> M:
    """``data`` as ``model``; see :func:`parse`."""
    try:
        return model.model_validate(data)
    except ValidationError as failure:
        errors = [(_where(error), sentence(model, error)) for error in failure.errors()]
        raise InvalidFile(code, file, list(dict.fromkeys(errors))) from None


def _where(error: ErrorDetails) -> str:
    parts = error["loc"]
    # of a union pydantic names the branch that failed, as "int" or "literal['forever']": not a key of the file
    named = [part for part in parts if isinstance(part, int) or _is_key(part)]
    return ".".join(f"[{part}]" if isinstance(part, int) else part for part in named).replace(".[", "[")


def _is_key(part: str) -> bool:
    return not part.startswith(("literal[", "constrained-", "function-")) and part not in ("int", "str", "bool")


_WORDS = {
    "missing": "is missing",
    "string_type": "must be a text in quotes",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
}


def path_of(error: ErrorDetails, data: Any) -> tuple[str | int, ...]:
    """Where in ``data`` an error is: without the branches of unions, which pydantic names as well. A list of tables
    may have been read as a table by their ``user`` or ``name``."""
    path: list[str | int] = []
    for part in error["loc"]:
        if isinstance(data, list) and isinstance(part, str):
            names = [item.get("user", item.get("name")) if isinstance(item, dict) else None for item in data]
            part = names.index(part) if part in names else len(data)
        if part in data if isinstance(data, dict) else isinstance(data, list) and int(part) < len(data):
            data = data[part]
            path.append(part)
    return (*path, error["loc"][-1]) if error["type"] == "missing" else tuple(path)


def sentence(model: type[Model], error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        return "is not a known key" + _did_you_mean(model, error)
    if kind in _WORDS:
        return _WORDS[kind]
    if kind == "literal_error":
        return f"must be {error['ctx']['expected']}"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    text = error["msg"]
    return text[0].lower() + text[1:]


def _did_you_mean(model: type[Model], error: ErrorDetails) -> str:
    *parents, key = error["loc"]
    for part in parents:
        below = model if isinstance(part, int) else _model_of(model, part)
        if below is None:
            return ""
        model = below
    known = [field.alias or name for name, field in model.model_fields.items()]
    close = difflib.get_close_matches(str(key), known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _model_of(model: type[Model], key: str) -> type[Model] | None:
    """The model that the value of ``key`` has: of the field itself, of ``X | None``, of a list's items."""
    for name, field in model.model_fields.items():
        if key == (field.alias or name):
            kinds = (field.annotation, *get_args(field.annotation))
            return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Model)), None)
    return None
