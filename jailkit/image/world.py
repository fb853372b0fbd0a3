"""What of an image concerns the recipe of a jail: the settings of its template and the files that are rendered once a
jail. An update that leaves them alone costs a jail nothing; one that changes them has its recipe made anew when it
starts next (jail/images.py)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ..spec.template import TemplateSpec

_ROOT_ONLY = frozenset(("name", "description", "includes", "source", "copy", "debian", "tar", "run", "smoke", "image"))
"""What is only about the root, so that a jail need not know it changed."""


def settings(spec: TemplateSpec) -> dict[str, Any]:
    """The template as JSON data, without what is as by default, so that a new option changes no digest."""
    return spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def world(settings: dict[str, Any], jail_files: dict[str, str]) -> str:
    """SHA-256 (hex) over all that a recipe is made from beside the jail's own spec."""
    body = {key: value for key, value in settings.items() if key not in _ROOT_ONLY}
    return canonical_digest([body, jail_files])


def canonical_digest(value: object) -> str:
    """SHA-256 (hex) of ``value`` as JSON with one spelling."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
