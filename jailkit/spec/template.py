"""A template: ``templates/<name>/template.toml`` beside ``files/`` (into the image) and ``jail/`` (one copy a jail)."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from .fields import (
    Connector,
    Level,
    Linger,
    Model,
    Network,
    PlainPath,
    Program,
    RootMode,
    SearchPath,
    Services,
    Size,
    TemplateName,
    linger_seconds,
    plain_path,
    size_bytes,
)
from .limits import Limits
from .source import CopySource, DebianSource, RunStep, TarSource

_PATTERN = re.compile(r"/etc(/[A-Za-z0-9._@+*?-]+)+")
# Never copied into an image, whatever a template says: secrets, and what only root's programs read. Prefixes, so that
# the backup /etc/shadow- and /etc/sudoers.d are meant, too.
FORBIDDEN = (
    "/etc/shadow", "/etc/gshadow", "/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid", "/etc/sudoers",
    "/etc/ssh", "/etc/ssl/private", "/etc/security", "/etc/pam.d", "/etc/jailctl", "/etc/krb5.keytab",
    "/etc/NetworkManager", "/etc/wireguard", "/etc/letsencrypt", "/etc/machine-id",
)  # fmt: skip


SourceKind = Literal["host", "copy", "debian", "tar"]
_SOURCE = 'where programs come from: "host" shows the host\'s own /usr; "copy", "debian", "tar": their tables'


class ImageSpec(Model):
    """What the image's root holds beside the rendered ``files/``.

    directories: made empty, 0755; each jail mounts its own ``/tmp``, ``/run`` and home on them. closed: made empty,
    0700. links: path to target.
    copy: paths or patterns below the host's /etc; what is missing, not root's or not readable by all is left out.
    """

    directories: list[PlainPath] = Field(default_factory=list, description="empty directories, mode 0755")
    closed: list[PlainPath] = Field(default_factory=list, description="empty directories, mode 0700")
    links: dict[PlainPath, str] = Field(default_factory=dict, description="symbolic links: path and target")
    copy_: list[str] = Field(default_factory=list, alias="copy", description="host files below /etc, with * and ?")

    @field_validator("links")
    @classmethod
    def _links(cls, links: dict[str, str]) -> dict[str, str]:
        for target in links.values():
            if not target or not target.isprintable() or len(target) > 255:
                raise ValueError(f"{target!r} cannot be the target of a link")
        return links

    @field_validator("copy_")
    @classmethod
    def _patterns(cls, items: list[str]) -> list[str]:
        for item in items:
            if not _PATTERN.fullmatch(item) or "/.." in item or "/./" in item:
                raise ValueError(f"{item!r} must be a path or pattern below /etc")
            if item.startswith(FORBIDDEN):
                raise ValueError(f"{item!r} is never copied into an image")
        return items


class TemplateFile(Model):
    """A template.toml by itself: that of a template, or of a part, which has no ``source`` and is for including only.

    level "chroot": sshd's own sftp server in a ChrootDirectory, nothing else. root "overlay": what a jail changes in
    ``writable`` directories is kept beside it; "ephemeral": until it stops. smoke: shell commands that must succeed in
    a jail of a new image before any other jail gets it.
    """

    name: TemplateName = Field(description="the name, as that of the folder")
    description: str = Field(description="one line for people", min_length=1, max_length=200)
    includes: list[TemplateName] = Field(default_factory=list, description="parts and templates that it builds on")
    level: Level = Field(default="namespaces", description='how jails are confined: "namespaces", or "chroot" for sftp')
    source: SourceKind | None = Field(default=None, description=_SOURCE)
    copying: CopySource | None = Field(default=None, alias="copy", description='for source = "copy"')
    debian: DebianSource | None = Field(default=None, description='for source = "debian"')
    tar: TarSource | None = Field(default=None, description='for source = "tar"')
    run: list[RunStep] = Field(default_factory=list, description="commands run in the image while it is built")
    smoke: list[str] = Field(default_factory=list, description="commands that must succeed in a jail of a new image")
    root: RootMode = Field(default="readonly", description='"readonly", or writable: "overlay" (kept), "ephemeral"')
    writable: list[PlainPath] = Field(default_factory=list, description="directories of a writable root that are hers")
    connectors: list[Connector] = Field(default_factory=list, description="host services that a jail may use")
    binds: list[PlainPath] = Field(
        default_factory=list, description='host directories, shown read-only; ["/usr"] for source = "host"'
    )
    network: Network = Field(default="none", description='"none", or "host" for the host\'s own')
    linger: Linger = Field(default=60, description='seconds that a jail outlives its last session, or "forever"')
    services: Services = Field(
        default=["sshd", "su", "su-l", "login", "jailctl"], description="PAM services that may log in"
    )
    tmp: Size = Field(default="256M", description="size of a jail's own /tmp, /var/tmp, /run and /dev/shm together")
    shell: Program = Field(default="/bin/bash", description="login shell")
    path: SearchPath = Field(
        default="/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games", description="PATH at login"
    )
    sftp: Program = Field(default="/usr/lib/openssh/sftp-server", description="sftp server inside the jail")
    limits: Limits = Field(default_factory=Limits, description="what a jail may use, where nothing nearer says so")
    image: ImageSpec = Field(default_factory=ImageSpec, description="what the root holds")

    @model_validator(mode="after")
    def _own_table(self) -> TemplateFile:
        for name, table in self.tables().items():
            if table is not None and self.source is not None and name != self.source:
                raise ValueError(f"[{name}] is for source = {name!r}, but source is {self.source!r}")
        return self

    @field_validator("smoke")
    @classmethod
    def _smoke(cls, items: list[str]) -> list[str]:
        for item in items:
            if not item or "\0" in item or len(item) > 4096:
                raise ValueError("must be shell commands of 1 to 4096 bytes")
        return items

    @field_validator("connectors", "includes", "writable")
    @classmethod
    def _once(cls, items: list[str]) -> list[str]:
        if len(set(items)) != len(items):
            raise ValueError("name one twice")
        return items

    @field_validator("binds")
    @classmethod
    def _binds(cls, items: list[str]) -> list[str]:
        for item in items:
            if item != "/usr" and not item.startswith(("/usr/", "/opt/", "/srv/")):
                raise ValueError(f"{item!r} must be /usr, or lie below /usr, /opt or /srv")
        if len(set(items)) != len(items):
            raise ValueError("name a directory twice")
        return items

    @field_validator("description")
    @classmethod
    def _line(cls, text: str) -> str:
        if not text.isprintable():
            raise ValueError("must be one printable line")
        return text

    def tables(self) -> dict[str, CopySource | DebianSource | TarSource | None]:
        """The tables that belong to one source, by its name."""
        return {"copy": self.copying, "debian": self.debian, "tar": self.tar}


class TemplateSpec(TemplateFile):
    """A template as a whole, with all that it includes merged into it (include.py)."""

    source: SourceKind = Field(description=_SOURCE)

    @model_validator(mode="before")
    @classmethod
    def _host_usr(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("source") == "host" and "binds" not in data:
            return {**data, "binds": ["/usr"]}
        return data

    @model_validator(mode="before")
    @classmethod
    def _chroot(cls, data: Any) -> Any:
        """Nothing of the image is shown and nothing runs: what would be for that is refused, not ignored."""
        if not isinstance(data, dict) or data.get("level") != "chroot":
            return data
        idle = sorted(set(data) & _NOT_IN_CHROOT)
        if idle:
            raise ValueError(f'level = "chroot" has files only, so {", ".join(idle)} means nothing')
        return data if "services" in data else {**data, "services": ["sshd"]}

    @model_validator(mode="after")
    def _source_table(self) -> TemplateSpec:
        if self.source in ("copy", "tar") and self.tables()[self.source] is None:
            raise ValueError(f"source = {self.source!r} needs a table [{self.source}]")
        if self.source == "host" and not self.binds:
            raise ValueError('source = "host" needs binds, such as ["/usr"]')
        return self

    @model_validator(mode="after")
    def _root_mode(self) -> TemplateSpec:
        if self.writable and self.root == "readonly":
            raise ValueError('writable: needs root = "overlay" or "ephemeral"')
        for path in self.writable:
            for point in (*_MOUNTED, "/etc", *self.binds):
                if f"{point}/".startswith(f"{path.rstrip('/')}/"):
                    raise ValueError(f"writable: {path} holds {point}, on which a jail mounts what is not hers")
                if path.startswith(f"{point}/") and point != "/etc":
                    raise ValueError(f"writable: {path} lies in {point}, which is mounted over it")
        return self

    @model_validator(mode="after")
    def _paths_once(self) -> TemplateSpec:
        image = self.image
        paths = [*image.directories, *image.closed, *image.links]
        twice = sorted({path for path in paths if paths.count(path) > 1})
        if twice:
            raise ValueError(f"image: {', '.join(twice)} stands there twice")
        inside = sorted(path for path in paths if any(path.startswith(link + "/") for link in image.links))
        if inside:
            raise ValueError(f"image: {', '.join(inside)} lies below a link")
        return self

    @property
    def tmp_bytes(self) -> int:
        return size_bytes(self.tmp)

    @property
    def linger_seconds(self) -> int | None:
        return linger_seconds(self.linger)

    def holds_home(self, home: str) -> bool:
        """Whether a jail's root has the top directory that ``home`` is mounted below, and needs it for nothing else. A
        chroot jail mounts nothing."""
        plain_path(home)
        top = "/" + home.split("/")[1]
        return top not in _SYSTEM and (self.level == "chroot" or top in ("/home", *self.image.directories))


_NOT_IN_CHROOT = frozenset(("connectors", "copy", "debian", "image", "network", "path", "root", "run", "sftp", "shell",
                            "smoke", "tar", "tmp", "writable"))  # fmt: skip
_MOUNTED = ("/dev", "/home", "/proc", "/run", "/sys", "/tmp", "/var/tmp")
_SYSTEM = frozenset(("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root", "/run",
                     "/sbin", "/sys", "/tmp", "/usr", "/var"))  # fmt: skip
