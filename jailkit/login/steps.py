"""The steps of ``jailctl setup``: each says what and why, knows whether it is done, does it, and takes it back.

``revert`` undoes this run's ``apply`` (an older fragment comes back); ``remove`` is for ``setup --undo``.
"""

from __future__ import annotations

import contextlib
import grp
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import JailkitError
from ..image import build, store, tags
from ..image.template import load_template
from ..kernel.beneath import remove_tree
from ..paths import CHROOT_GROUP, GROUP, Paths
from .render import shipped
from .run import run
from .text import read, write


@dataclass(frozen=True)
class Provision:
    """What setup needs of provision/, which login/ does not import: handed in by the command line.

    group: make the group. directories: make the directories. modes: what they are to be. jails: names of all jails.
    add: make a jailed user (name, public key, template; without a password). remove: take her away again, whatever is
    left. forget: remove the state, or return why it is kept."""

    group: Callable[[], object]
    directories: Callable[[], None]
    modes: dict[str, int]
    jails: Callable[[], list[str]]
    add: Callable[[str, str, str], None]
    remove: Callable[[str], None]
    forget: Callable[[], str]


class Step(ABC):
    """One thing that setup puts on the host. id: stable, for programs."""

    id: str
    what: str
    why: str

    @abstractmethod
    def done(self) -> bool:
        """Whether everything is as it should be already."""

    @abstractmethod
    def apply(self) -> None:
        """Make it so. Raise JailkitError or OSError; what was there before is then still there."""

    @abstractmethod
    def remove(self) -> str:
        """Take it off the host, if it is ours. Return what was kept and why, or ""."""

    def there(self) -> bool:
        """Whether anything of it is on the host, be it as it should be or not."""
        return self.done()

    def check(self) -> None:  # noqa: B027 - most have nothing to check
        """Raise JailkitError if applying could not work. Called for all steps before the first is applied."""

    def revert(self) -> None:
        """Undo this run's :meth:`apply`."""
        self.remove()

    def files(self) -> dict[str, str]:
        """Texts that it would install, by path: for ``--dry-run``."""
        return {}


class Group(Step):
    id = "group"
    what = f"make the system groups {GROUP} and {CHROOT_GROUP}"
    why = f"sshd and PAM confine the members of {GROUP}, and nobody else; of {CHROOT_GROUP}, to files"

    def __init__(self, provision: Provision) -> None:
        self._provision = provision

    def done(self) -> bool:
        return all(_group(name) for name in (GROUP, CHROOT_GROUP))

    def there(self) -> bool:
        return any(_group(name) for name in (GROUP, CHROOT_GROUP))

    def apply(self) -> None:
        self._provision.group()

    def remove(self) -> str:
        kept = []
        for name in (CHROOT_GROUP, GROUP):
            found = _group(name)
            if found is None:
                continue
            if found.gr_mem:
                kept.append(f"group {name}: it has members: {', '.join(found.gr_mem)}")
                continue
            status, _, err = run(["/usr/sbin/groupdel", name])
            if status != 0:
                raise JailkitError("host.group", f"groupdel {name} failed: {err.strip()}", f"getent group {name}")
        return "; ".join(kept)


def _group(name: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name)
    except KeyError:
        return None


class Directories(Step):
    id = "directories"
    why = "specs, keys, images and state live there; the login path trusts nothing that others may write"

    def __init__(self, paths: Paths, provision: Provision) -> None:
        self.what = f"make {paths.etc}, {paths.var} and {paths.run}"
        self._paths, self._provision = paths, provision

    def done(self) -> bool:
        for path, mode in self._provision.modes.items():
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                return False
            if status.st_mode != 0o040000 | mode or status.st_uid != 0:
                return False
        return True

    def there(self) -> bool:
        # the top one may be all that an earlier undo has left, for the state in it
        return any(
            os.path.lexists(p)
            for p in self._provision.modes
            if not p.startswith(self._paths.run) and p != self._paths.var
        )

    def apply(self) -> None:
        self._provision.directories()

    def revert(self) -> None:
        self._provision.forget()
        self._rmdirs()

    def remove(self) -> str:
        state = self._provision.forget()
        kept = [*self._rmdirs(), *([state] if state else [])]
        return f"kept: {', '.join(kept)}" if kept else ""

    def _rmdirs(self) -> list[str]:
        """Remove what is empty, deepest first; return the directories in which an administrator's files are left."""
        kept = []
        for path in sorted(self._provision.modes, key=lambda p: (-p.count("/"), p)):
            if path == self._paths.run:
                continue  # empty after the next boot; locks in it may be held this moment
            try:
                os.rmdir(path)
            except FileNotFoundError:
                continue
            except OSError:
                if path not in (self._paths.var, self._paths.etc) and not path.startswith(self._paths.run):
                    kept.append(path)
        return kept


class Options(Step):
    """The commented file of options. Never replaced: from the first line that an administrator uncomments it is
    hers."""

    id = "options"
    why = "every option with its default, commented out"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.what = f"install {paths.config}"

    def check(self) -> None:
        if not self.done() and not os.path.exists(shipped(self._paths, "jailctl.toml")):
            raise JailkitError("missing.file", f"{self._paths.opt}/etc/jailctl.toml is missing", "run ./install again")

    def done(self) -> bool:
        return os.path.lexists(self._paths.config)

    def apply(self) -> None:
        write(self._paths.config, self._text(), 0o644)

    def _text(self) -> str:
        return read(shipped(self._paths, "jailctl.toml"))

    def remove(self) -> str:
        if not self.done():
            return ""
        if read(self._paths.config) != self._text():
            return f"kept: {self._paths.config} (it was edited)"
        os.unlink(self._paths.config)
        return ""


class Image(Step):
    """The image of one template. others: of those that have a step of their own."""

    why = "a jail's root: read-only, shared by all jails of the template"

    def __init__(self, paths: Paths, template: str, others: Sequence[str] = ()) -> None:
        self.id = f"image.{template}"
        self.what = f"build the image of template {template}"
        self._paths, self._template, self._others = paths, template, others

    def check(self) -> None:
        # raises what is wrong with the template, all of it at once
        build.inputs(self._paths, load_template(self._paths, self._template))

    def done(self) -> bool:
        return tags.current(self._paths, self._template) is not None and not build.stale(self._paths, self._template)

    def there(self) -> bool:
        return bool(store.digests(self._paths) or tags.all_tags(self._paths))

    def apply(self) -> None:
        self._before = tags.current(self._paths, self._template)
        made = build.build(self._paths, self._template)
        tags.move(self._paths, self._template, made.digest, "build", made.inputs)

    def revert(self) -> None:
        if self._before is None:
            self.remove()
        else:
            tags.move(self._paths, self._template, self._before, "rollback")

    def remove(self) -> str:
        """The images go with the last tag; those of other templates are the administrator's to remove."""
        with contextlib.suppress(JailkitError):
            tags.remove(self._paths, self._template)
        left = sorted(tags.all_tags(self._paths))
        if left and set(left) <= set(self._others):
            return ""
        if left:
            return f"kept: images {', '.join(left)} (jailctl image untag NAME, then this again)"
        for path in store.places(self._paths):
            remove_tree(path)
        return ""


class Completion(Step):
    """Completion for all users' shells, where each shell looks by itself."""

    id = "completion"
    why = "verbs, options and names complete with <Tab>"
    places = {
        "bash": "/usr/local/share/bash-completion/completions/jailctl",
        "zsh": "/usr/local/share/zsh/site-functions/_jailctl",
        "fish": "/usr/local/share/fish/vendor_completions.d/jailctl.fish",
    }

    def __init__(self, scripts: dict[str, str]) -> None:
        self._scripts = scripts
        self.what = "install completion for bash, zsh and fish below /usr/local/share"

    def files(self) -> dict[str, str]:
        return {self.places[shell]: text for shell, text in self._scripts.items()}

    def done(self) -> bool:
        return all(os.path.isfile(path) and read(path) == text for path, text in self.files().items())

    def there(self) -> bool:
        return any(os.path.lexists(path) for path in self.files())

    def apply(self) -> None:
        for path, text in self.files().items():
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            write(path, text, 0o644)

    def remove(self) -> str:
        for path in self.files():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            directory = os.path.dirname(path)
            with contextlib.suppress(OSError):  # as far as they are empty: we may have been the first there
                while directory.startswith("/usr/local/share/"):
                    os.rmdir(directory)
                    directory = os.path.dirname(directory)
        return ""


def _listed(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if name[0] != "."]
    except FileNotFoundError:
        return []
