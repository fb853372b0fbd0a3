"""What may be in a backup. Everything is judged before anything of it is written, and once more as it is written.

A name that would leave its part, a file below a link, a hard link to what the archive does not hold before it, a
device, a set-id file: the whole archive is refused (CVE-2007-4559, CVE-2025-4517). What a link says is hers: it is
resolved in her jail. Limits are the room that there is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import JailkitError
from ...image.foreign.outside import shown, unsafe
from .entry import ACCESS, DEFAULT, OPAQUE, Entry
from .parse import MANIFEST, SUMS

HOME, LAYER = "home", "layer"
NAME_MOST, COMPONENT_MOST, DEPTH_MOST, TARGET_MOST = 256 << 10, 255, 4096, 4095


@dataclass(frozen=True)
class Shape:
    """What sort of archive it is. plain: the tar of a home, made by any program; its names are those of what is in the
    home. strip: of a plain one, how many leading components of its names to drop. below: where in the archive's home
    the part that is restored begins ("home/files" in a chroot jail)."""

    plain: bool = False
    strip: int = 0
    below: str = HOME


class Judge:
    """Takes the entries of an archive in their order. names, files, bytes: counted. dropped: how many things it had
    that no backup holds; ``notes`` says the first of them."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._found: dict[str, str] = {}
        self.names = self.files = self.bytes = self.dropped = 0
        self.notes: list[str] = []

    def take(self, entry: Entry) -> Entry | None:
        """The entry under its plain name; None for one that is no part of what is restored. Raise
        ``unsafe.archive``."""
        name = self._name(entry.name)
        if name is None:
            if entry.kind != "directory":
                raise unsafe(f"{shown(entry.name)} has no name after {self._shape.strip} components are left out")
            return None
        if name in (MANIFEST, SUMS) and not self._shape.plain:
            return self._text(entry, name)
        made = replace(entry, name=name)
        self._parent(made)
        self._kind(made)
        if made.kind == "directory" and self._found.get(name) == "directory":
            self._clean(made)
            return made
        if name in self._found:
            raise unsafe(f"{shown(name)} is there twice, as a {self._found[name]} and as a {made.kind}")
        if made.kind == "fifo":
            self._drop(f"the FIFO {shown(name)}")
            self._found[name] = "FIFO"
            return None
        self._found[name] = made.kind
        self._clean(made)
        self.names += 1
        self.files += made.kind == "file"
        self.bytes += made.stored
        return made

    def end(self) -> None:
        """Nothing follows. Raise ``invalid.archive``."""
        if HOME not in self._found:
            raise JailkitError("invalid.archive", "it holds no home", "jailctl backup --list FILE")

    @property
    def layer(self) -> bool:
        return LAYER in self._found

    def _name(self, text: str) -> str | None:
        """Relative, without "." and empty components; None where nothing is left of it."""
        try:
            size = len(text.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            raise unsafe(f"the name {shown(text)} is none") from None
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if text.startswith("/"):
            raise unsafe(f"the name {shown(text)} begins with '/'")
        if ".." in parts:
            raise unsafe(f"the name {shown(text)} climbs out with '..'")
        if "\0" in text:
            raise unsafe(f"the name {shown(text)} holds a NUL")
        longest = max((len(part.encode("utf-8", "surrogateescape")) for part in parts), default=0)
        if size > NAME_MOST or len(parts) > DEPTH_MOST or longest > COMPONENT_MOST:
            raise unsafe(f"the name {shown(text)} is too long or too deep")
        if not self._shape.plain:
            return "/".join(parts)
        if parts and len(parts) <= self._shape.strip:
            return None if len(parts) < self._shape.strip else self._shape.below
        return "/".join([self._shape.below, *parts[self._shape.strip :]])

    def _text(self, entry: Entry, name: str) -> Entry:
        if entry.kind != "file" or name in self._found:
            raise unsafe(f"{name} is not one plain file")
        self._found[name] = "file"
        return replace(entry, name=name)

    def _parent(self, made: Entry) -> None:
        parent = made.name.rpartition("/")[0]
        if self._shape.plain:
            self._imply(parent)
        elif not parent and made.name not in (HOME, LAYER):
            text = f"it holds {shown(made.name)}: it is no backup of a jail"
            raise JailkitError("invalid.archive", text, "a tar of a home: --home-only")
        if parent and self._found.get(parent) != "directory":
            kind = self._found.get(parent, "nothing that the archive holds before it")
            raise unsafe(f"{shown(made.name)} lies below {shown(parent)}, which is a {kind}")
        top = not parent or (self._shape.plain and made.name == self._shape.below)
        if top and made.kind != "directory":
            raise unsafe(f"{shown(made.name)} is a {made.kind}, not a directory")

    def _imply(self, parent: str) -> None:
        """The directories above, which other programs may leave out."""
        parts = parent.split("/") if parent else []
        for count in range(1, len(parts) + 1):
            self._found.setdefault("/".join(parts[:count]), "directory")

    def _kind(self, made: Entry) -> None:
        name = shown(made.name)
        if made.kind == "device" or (made.kind == "whiteout" and not made.name.startswith(f"{LAYER}/")):
            raise unsafe(f"{name} is a device")
        if (made.mode & 0o4000 or (made.mode & 0o2000 and made.kind != "directory")) and made.kind != "link":
            raise unsafe(f"{name} has set-id bits ({made.mode:04o})")
        if made.kind == "link" and not 0 < len(made.target.encode("utf-8", "replace")) <= TARGET_MOST:
            raise unsafe(f"the link {name} points to nothing, or too far")
        if made.kind == "link" and "\0" in made.target:
            raise unsafe(f"the link {name} holds a NUL")
        if made.kind == "hard link":
            target = self._name(made.target)
            same = target is not None and target.split("/")[0] == made.name.split("/")[0]
            if not same or self._found.get(target or "") != "file":
                raise unsafe(f"{name} is a hard link to {shown(made.target)}, which is no file that came before it")
            made.target = target or ""

    def _clean(self, made: Entry) -> None:
        """Leave attributes out that give rights, or that no backup has."""
        layer = made.kind == "directory" and made.name.split("/")[0] == LAYER
        for key in list(made.attributes):
            if key.startswith("user.") or key in (ACCESS, DEFAULT) or (key == OPAQUE and layer):
                continue
            del made.attributes[key]
            self._drop(f"the attribute {shown(key)} of {shown(made.name)}")
        if made.kind not in ("file", "directory"):
            made.attributes = {}

    def _drop(self, what: str) -> None:
        self.dropped += 1
        if len(self.notes) < 20:
            self.notes.append(what)
