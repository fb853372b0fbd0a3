"""Where things are. Every path of jailkit hangs on one root (``--root``; tests use it).

Accounts, sshd and PAM are always the host's own; ``root`` moves jailkit's files only. The C programs
have their directories compiled in (``make ROOT=...``), as nothing that a user starts may choose them.
"""

from __future__ import annotations

import os

GROUP = "jailed"
"""Members are confined at login: the PAM line and the sshd Match block look at this group."""
CHROOT_GROUP = "jailed-chroot"
"""Those of them whose jail is of level "chroot": sshd serves their files itself, and nothing else."""


class Paths:
    """All paths below ``root`` (an absolute directory name; default ``/``). Pure: touches no file."""

    def __init__(self, root: str = "/") -> None:
        if not os.path.isabs(root):
            raise ValueError(f"root must be absolute, not {root!r}")
        self.root = os.path.normpath(root)

        self.etc = self._at("etc/jailctl")
        self.config = self._at("etc/jailctl/jailctl.toml")
        self.specs = self._at("etc/jailctl/jails.d")
        self.templates = self._at("etc/jailctl/templates")
        self.keys = self._at("etc/jailctl/keys")
        self.plans = self._at("etc/jailctl/plans.d")

        self.var = self._at("var/lib/jailctl")
        self.images = self._at("var/lib/jailctl/images")
        self.tags = self._at("var/lib/jailctl/tags")
        self.histories = self._at("var/lib/jailctl/histories")
        self.contents = self._at("var/lib/jailctl/contents")
        self.cache = self._at("var/lib/jailctl/cache")
        self.logs = self._at("var/lib/jailctl/logs")
        self.jails = self._at("var/lib/jailctl/jails")
        self.uids = self._at("var/lib/jailctl/uids")
        self.state_db = self._at("var/lib/jailctl/state.db")
        self.usage_db = self._at("var/lib/jailctl/usage.db")

        self.run = self._at("run/jailctl")
        self.run_jails = self._at("run/jailctl/jails")
        self.run_names = self._at("run/jailctl/names")
        self.mount_point = self._at("run/jailctl/root")
        self.relay = self._at("run/jailctl/relay")

        self.opt = self._at("opt/jailctl")
        self.libexec = self._at("opt/jailctl/libexec")
        self.door = self._at("opt/jailctl/libexec/door")
        self.hook = self._at("opt/jailctl/libexec/hook")
        self.keeper = self._at("opt/jailctl/libexec/keeper")

    def _at(self, relative: str) -> str:
        return os.path.join(self.root, relative)

    # what belongs to one image; a digest is 64 hex digits, a tag comes from names.image_reference()

    def tag(self, reference: str) -> str:
        """A symbolic link to the image's directory: replacing it is what an update or a rollback does."""
        return f"{self.tags}/{reference}"

    def history(self, reference: str) -> str:
        """Which images the tag has named, a line each."""
        return f"{self.histories}/{reference}"

    def image(self, digest: str) -> str:
        return f"{self.images}/{digest}"

    def image_root(self, digest: str) -> str:
        """The directory that is a jail's ``/``."""
        return f"{self.images}/{digest}/root"

    def image_manifest(self, digest: str) -> str:
        return f"{self.images}/{digest}/manifest.json"

    def image_world(self, digest: str) -> str:
        """One line that changes when the settings of jails on this image would (image/world.py)."""
        return f"{self.images}/{digest}/world"

    # what belongs to one jail; `name` comes from names.user_name(), never straight from outside

    def spec(self, name: str) -> str:
        return f"{self.specs}/{name}.toml"

    def plan(self, name: str) -> str:
        """A plan that jails refer to (spec/plan.py); `name` comes from names.plan_name()."""
        return f"{self.plans}/{name}.toml"

    def key_file(self, name: str) -> str:
        return f"{self.keys}/{name}"

    def jail(self, name: str) -> str:
        """What is the jail's own outside the home: rendered files, writable layer, start recipe."""
        return f"{self.jails}/{name}"

    def recipe(self, name: str) -> str:
        """All that starting a cold jail reads (see jail/recipe.py)."""
        return f"{self.jails}/{name}/recipe"

    def layer(self, name: str) -> str:
        """What a jail with an "overlay" root has changed in it: ``upper`` and ``work`` of overlayfs."""
        return f"{self.jails}/{name}/layer"

    def uid_mark(self, uid: int) -> str:
        """There as long as ``uid`` belongs to a jail: what systemd looks at before it starts a user manager."""
        return f"{self.uids}/{uid}"

    def run_jail(self, uid: int) -> str:
        return f"{self.run_jails}/{uid}"

    def record(self, uid: int) -> str:
        """The entry record (jail/record.py)."""
        return f"{self.run_jails}/{uid}/entry"

    def sessions(self, uid: int) -> str:
        return f"{self.run_jails}/{uid}/sessions"

    def chroot(self, uid: int) -> str:
        """Of a chroot jail, while it has sessions: a link to the directory that sshd makes their root."""
        return f"{self.run_jails}/{uid}/chroot"

    def lock(self, uid: int) -> str:
        return f"{self.run_jails}/{uid}/lock"

    def meter(self, uid: int) -> str:
        """What the jail has used since the boot (jail/meter.py)."""
        return f"{self.run_jails}/{uid}/meter"
