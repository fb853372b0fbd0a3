"""``/etc/jailctl/jailctl.toml``: the administrator's options for the whole host."""

from __future__ import annotations

from pydantic import Field

from .fields import Model, PlainPath, TemplateName

PRIVILEGED = ["root", "sudo", "wheel", "admin", "adm", "disk", "shadow", "kmem", "staff", "docker", "lxd", "incus",
              "incus-admin", "libvirt", "systemd-journal"]  # fmt: skip


class Config(Model):
    """Every option with its default; the shipped file is these lines, commented out (a test holds it)."""

    template: TemplateName = Field(default="shell", description="template of a new jail when none is named")
    home_base: PlainPath = Field(default="/home", description="directory below which new homes are made")
    skel: PlainPath = Field(default="/etc/skel", description="directory whose files a new home starts with")
    uid_min: int = Field(
        default=0, ge=0, le=2**31 - 1, description="lowest uid of a new account; 0: as /etc/login.defs"
    )
    uid_max: int = Field(
        default=0, ge=0, le=2**31 - 1, description="highest uid of a new account; 0: as /etc/login.defs"
    )
    range_start: int = Field(
        default=700_000_000, ge=2**24, le=2**31, description="first id of the first jail's own range (1024 ids each)"
    )
    never_touch: list[str] = Field(
        default_factory=list, description="break-glass accounts: never put into a jail, whatever is asked"
    )
    privileged_groups: list[str] = Field(
        default_factory=lambda: list(PRIVILEGED), description="members of these groups are not put into a jail"
    )
