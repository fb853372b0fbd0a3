"""A manifest: the jails of one customer base, and the plans that they are sold as, in one file or several.

    name: customers
    defaults: {template: shell, plan: small}
    plans:
      small: {limits: {memory: 512M, processes: 100}}
    jails:
      alice:
        keys: [ssh-ed25519 AAAA... alice@laptop]
      bob: {plan: large, suspended: true}

``jails`` is a table by name, or a list whose items have ``user``. The keys of a jail are those of its spec file
(spec/jail.py) and ``password_hash``; of a plan those of plans.d (spec/plan.py). Unknown keys are errors, so what comes
later (``resellers``, ``shares``, a jail's own ``jails``) means nothing else before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from ..errors import InvalidFile, JailkitError, together
from . import document, load
from .document import Document, Error
from .fields import ImageReference, Line, Linger, ManifestName, Model, Network, PlanName, Program, UserName
from .jail import Instant, JailSpec
from .limits import Limits
from .plan import PlanSpec

SUSPENDED = "This account is suspended."
"""What ``suspended: true`` tells the user."""

_HASH = re.compile(r"\$(?:y|gy|7|2[abxy]|6|5)\$[A-Za-z0-9./$=,]{1,240}")


def check_hash(text: str) -> str:
    """Return ``text`` if it is a hash that can be a field of shadow(5). Raise ValueError."""
    if not _HASH.fullmatch(text):
        raise ValueError("must be a hash of crypt(5), as mkpasswd prints it: yescrypt, bcrypt, SHA-512 or SHA-256")
    return text


class Defaults(Model):
    """What jails of this file have that do not say it themselves."""

    template: ImageReference | None = Field(default=None, description="template that they are made from")
    plan: PlanName | None = Field(default=None, description="their plan")
    shell: Program | None = Field(default=None, description="login shell inside")
    network: Network | None = Field(default=None, description='"none" or "host"')
    linger: Linger | None = Field(default=None, description='seconds after the last session, or "forever"')
    expires: Instant | None = Field(default=None, description="when logins end, as 2027-01-31T00:00:00Z")
    limits: Limits = Field(default_factory=Limits, description="limits of their own")


class Jail(JailSpec):
    """One jail of a manifest: its spec, and what no spec holds."""

    password_hash: Annotated[str, AfterValidator(check_hash)] | None = Field(
        default=None, description="its password, as crypt(5) writes it; left out: jailctl leaves the password alone"
    )

    @field_validator("suspended", mode="before")
    @classmethod
    def _suspended(cls, value: object) -> object:
        return SUSPENDED if value is True else None if value is False else value

    @model_validator(mode="after")
    def _once(self) -> Jail:
        if self.existing and self.password_hash is not None:
            raise ValueError("an existing account keeps its password: leave password_hash out")
        return self


class Manifest(Model):
    """All of one name. Made by :func:`read` or by hand: ``Manifest(name="m", jails={"alice": {"plan": "small"}})``."""

    name: ManifestName = Field(description="the name; --prune removes what only an earlier state of it had")
    description: Line = Field(default="", description="one line for people")
    defaults: Defaults = Field(default_factory=Defaults, description="what jails have that do not say it themselves")
    plans: dict[PlanName, PlanSpec] = Field(default_factory=dict, description="plans by name")
    jails: dict[UserName, Jail] = Field(default_factory=dict, description="jails by name")

    @field_validator("plans", mode="before")
    @classmethod
    def _plans(cls, value: Any) -> Any:
        return _named(value, "name")

    @field_validator("jails", mode="before")
    @classmethod
    def _jails(cls, value: Any) -> Any:
        return _named(value, "user")

    def spec(self, name: str) -> JailSpec:
        """What the jail of ``name`` should be, defaults and all. Raise KeyError."""
        jail = self.jails[name]
        # what was valid stays so: ten thousand need not be judged twice
        values: dict[str, Any] = {field: getattr(jail, field) for field in JailSpec.model_fields}
        for key in self.defaults.model_fields_set - {"limits"}:
            if key not in jail.model_fields_set:
                values[key] = getattr(self.defaults, key)
        said = self.defaults.limits.model_dump(exclude_none=True)
        if said:
            values["limits"] = Limits(**{**said, **jail.limits.model_dump(exclude_none=True)})
        values["manifest"] = self.name
        given = jail.model_fields_set | self.defaults.model_fields_set | {"manifest"}
        return JailSpec.model_construct(given - {"password_hash"}, **values)

    def plan(self, name: str) -> PlanSpec:
        """The plan of ``name`` as its file holds it. Raise KeyError."""
        return self.plans[name].model_copy(update={"manifest": self.name})

    def data(self) -> dict[str, Any]:
        """What differs from the defaults, as plain data, as a file has it."""
        made: dict[str, Any] = {"name": self.name, **self.model_dump(exclude_defaults=True)}
        for table, key in (("plans", "name"), ("jails", "user")):
            if table in made:
                items = getattr(self, table).items()
                made[table] = {
                    name: {k: v for k, v in item.model_dump(exclude_defaults=True).items() if k != key}
                    for name, item in items
                }
        return made


def _named(value: Any, key: str) -> Any:
    """A table, or a list whose items have ``key``, as a table whose items have it. An empty item is one that says
    nothing: ``alice:`` of YAML."""
    if isinstance(value, list):
        names = [item.get(key) if isinstance(item, dict) else None for item in value]
        for name in names:
            if not isinstance(name, str):
                raise ValueError(f"each item of the list must be a table with {key!r}")
        twice = sorted({str(name) for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise ValueError(f"has {twice[0]!r} twice")
        return dict(zip(names, value, strict=True))
    if not isinstance(value, dict):
        return value
    made = {}
    for name, item in value.items():
        if isinstance(item, dict):
            if "manifest" in item:
                raise ValueError(f"{name}: 'manifest' is not a key here: it is the name of this file's manifest")
            if item.get(key, name) != name:
                raise ValueError(f"{name}: {key!r} is another one than the name of its table")
        made[name] = {key: name, **(item or {})} if isinstance(item, dict) or item is None else item
    return made


@dataclass
class Read:
    """Manifests by name, and the files in which their jails and plans stand, by ("jails" or "plans", name)."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    owners: dict[tuple[str, str], Document] = field(default_factory=dict)


def files(path: str) -> list[str]:
    """``path``, or the manifests of the folder ``path`` by name: ``*.yaml *.yml *.toml *.json``.

    Raise ``missing.manifest``, ``invalid.manifest``."""
    path = os.path.abspath(path)
    if not os.path.lexists(path):
        raise JailkitError("missing.manifest", f"there is no {path}", f"ls {os.path.dirname(path)}")
    if not os.path.isdir(path):
        if os.path.splitext(path)[1].lower() not in document.KINDS:
            known = " ".join(sorted(document.KINDS))
            raise JailkitError("invalid.manifest", f"{path} has none of the endings {known}", "give it one, or -f -")
        return [path]
    names = [n for n in sorted(os.listdir(path)) if n[0] != "." and os.path.splitext(n)[1].lower() in document.KINDS]
    if not names:
        raise JailkitError("missing.manifest", f"there is no manifest in {path}", "*.yaml, *.yml, *.toml, *.json")
    return [f"{path}/{name}" for name in names]


def load_file(path: str) -> Document:
    """A file that only root can have written (see load.read_trusted). Raise InvalidFile, ``unsafe.path``."""
    kind = document.KINDS[os.path.splitext(path)[1].lower()]
    try:
        data = load.read_trusted(path, document.LIMIT)
    except FileNotFoundError:
        raise JailkitError("missing.manifest", f"there is no {path}") from None
    return document.read(data, path, kind)


def read(documents: Iterable[Document], normalise_key: Callable[[str], str]) -> Read:
    """The manifests of all files: those of one name are one. normalise_key: provision.keys.normalise.

    Raise InvalidFile or InvalidFiles with all that is wrong with all of them."""
    found, failures = Read(), []
    for each in documents:
        try:
            _join(found, each, _one(each, normalise_key))
        except InvalidFile as failure:
            failures.append(failure)
    if failures:
        raise together(failures)
    return found


def _one(source: Document, normalise_key: Callable[[str], str]) -> Manifest:
    errors = _empty(source)
    keys = _Keys(source, normalise_key)
    try:
        made: Manifest | None = Manifest.model_validate(source.value)
    except ValidationError as failure:
        made = None
        told: dict[document.Path, list[str]] = {}
        for error in failure.errors():  # a value of several kinds has an error of each
            told.setdefault(load.path_of(error, source.value), []).append(_sentence(error))
        for path, sentences in told.items():
            errors.append((path, source.line(path), ", or ".join(dict.fromkeys(sentences))))
    errors += keys.errors
    if errors or made is None:
        raise document.refusal(source.file, errors)
    return keys.normal(made)


def _sentence(error: ErrorDetails) -> str:
    models: dict[str | int, type[Model]] = {"jails": Jail, "plans": PlanSpec}
    table, *rest = error["loc"]
    if len(rest) < 2 or table not in models:
        return load.sentence(Manifest, error)
    return load.sentence(models[table], {**error, "loc": tuple(rest[1:])})


def _empty(source: Document) -> list[Error]:
    """Keys without a value, but for jails and plans that say nothing."""
    found: list[Error] = []

    def walk(value: Any, path: document.Path) -> None:
        if value is None and not (len(path) == 2 and path[0] in ("jails", "plans")):
            found.append((path, source.line(path), "has no value: leave it out, or give it one"))
        for key, item in value.items() if isinstance(value, dict) else enumerate(value) if type(value) is list else ():
            if item is None or type(item) is dict or type(item) is list:
                walk(item, (*path, key))

    walk(source.value, ())
    return found


class _Keys:
    """The public keys of all jails of a file. errors: what is none."""

    def __init__(self, source: Document, normalise: Callable[[str], str]) -> None:
        self.errors: list[Error] = []
        self._known: dict[str, str] = {}
        jails = source.value.get("jails")
        pairs = jails.items() if isinstance(jails, dict) else enumerate(jails) if isinstance(jails, list) else ()
        for name, jail in pairs:
            keys = jail.get("keys") if isinstance(jail, dict) else None
            for number, key in enumerate(keys if isinstance(keys, list) else ()):
                if isinstance(key, str) and key.strip() and key.isprintable():
                    try:
                        self._known[key] = normalise(key)
                    except JailkitError as error:
                        path = ("jails", name, "keys", number)
                        self.errors.append((path, source.line(path), error.message))

    def normal(self, made: Manifest) -> Manifest:
        """``made`` with its keys as the key file has them, each once."""
        jails = {}
        for name, jail in made.jails.items():
            unique: dict[str, str] = {}
            for key in jail.keys:
                unique.setdefault(self._known[key].split(" ", 2)[1], self._known[key])
            keys = list(unique.values())
            jails[name] = jail if keys == jail.keys else jail.model_copy(update={"keys": keys})
        return made.model_copy(update={"jails": jails})


def _join(found: Read, source: Document, made: Manifest) -> None:
    errors: list[Error] = []
    for table in ("jails", "plans"):
        for name in getattr(made, table):
            other = found.owners.setdefault((table, name), source)
            if other is not source:
                path = (table, name)
                first = f"{other.file}:{other.line(path)}"
                errors.append((path, source.line(path), f"stands in {first} already"))
    if errors:
        raise document.refusal(source.file, errors)
    have = found.manifests.get(made.name)
    if have is not None:  # each file's own defaults are its own
        specs = {name: _whole(have, name) for name in have.jails} | {name: _whole(made, name) for name in made.jails}
        made = have.model_copy(update={"defaults": Defaults(), "plans": {**have.plans, **made.plans}, "jails": specs})
    found.manifests[made.name] = made


def _whole(manifest: Manifest, name: str) -> Jail:
    data = {key: value for key, value in manifest.spec(name).data().items() if key != "manifest"}
    return Jail.model_validate({**data, "password_hash": manifest.jails[name].password_hash})
