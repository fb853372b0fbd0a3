"""A plan: what a provider sells under a name. ``/etc/jailctl/plans.d/<name>.toml``; jails refer to it, and change with
it. (A plan of operations, how a jail gets there, is provision/plan.py's.)"""

from __future__ import annotations

from pydantic import Field

from .fields import ImageReference, Line, Linger, ManifestName, Model, Network, PlanName, Program
from .limits import Limits


class PlanSpec(Model):
    """None: the template's, or what a jail says itself, which always wins."""

    name: PlanName = Field(description="the name, as that of its file")
    description: Line = Field(default="", description="one line for people")
    template: ImageReference | None = Field(default=None, description="template of jails that name none themselves")
    shell: Program | None = Field(default=None, description="login shell inside the jail")
    network: Network | None = Field(default=None, description='"none" or "host"')
    linger: Linger | None = Field(default=None, description='seconds after the last session, or "forever"')
    limits: Limits = Field(default_factory=Limits, description="what each of its jails may use")
    manifest: ManifestName | None = Field(default=None, description="the manifest that it comes from")
