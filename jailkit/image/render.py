"""Jinja2 for template files: undefined names are errors, the environment is sandboxed, no loader exists (so nothing can
be included or read), and one encoder stands where values enter a text."""

from __future__ import annotations

import functools
import platform
import re
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..spec.template import TemplateSpec

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _final(value: object) -> object:
    """What ``{{ }}`` writes: a control character could begin a line, or a field, of its own in a flat file (CR and LF
    into state files: cPanel CVE-2026-41940, useradd CVE-2023-29383)."""
    text = str(value)
    if _CONTROL.search(text):
        raise ValueError(f"{text[:40]!r} has a control character")
    return value


def _field(value: object) -> str:
    """Filter ``field``: a value for a file whose fields end at colons."""
    text = str(value)
    if ":" in text:
        raise ValueError(f"{text[:40]!r} has a colon")
    return text


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True, finalize=_final
    )
    environment.filters["field"] = _field
    # the host's clock, environment or randomness would end in the digest
    environment.globals.clear()
    return environment


_DNS = ("nameserver", "search", "domain", "options", "sortlist")
_ENVIRONMENT = _environment()


@functools.lru_cache(maxsize=256)
def _compiled(text: str) -> Template:
    return _ENVIRONMENT.from_string(text)


def render(text: str, context: dict[str, Any]) -> str:
    """``text`` with the values of ``context``. Raise ValueError, one sentence with the line."""
    try:
        return _compiled(text).render(context)
    except TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.message}") from None
    except TemplateError as error:
        raise ValueError(f"{error.message}") from None
    except (ArithmeticError, LookupError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def image_context(template: TemplateSpec) -> dict[str, Any]:
    """Names that ``files/*.j2`` may use: ``template`` and ``os``."""
    return {"template": _template(template), "os": _os()}


def jail_context(template: TemplateSpec, user: dict[str, Any], jail: dict[str, Any], dns: list[str]) -> dict[str, Any]:
    """Names that ``jail/etc/*.j2`` may use. user: name, uid, gid, group, gecos, home, shell. jail: hostname, network.
    dns: lines for resolv.conf."""
    return {"template": _template(template), "os": _os(), "user": user, "jail": jail, "dns": dns}


def _template(template: TemplateSpec) -> dict[str, Any]:
    return {"name": template.name, "description": template.description, "path": template.path, "shell": template.shell}


def _os() -> dict[str, str]:
    try:
        found = platform.freedesktop_os_release()
    except OSError:
        found = {}
    return {key: found.get(key.upper(), "") for key in ("id", "name", "version_id", "pretty_name")}


def dns_lines(resolv_conf: str) -> list[str]:
    """The lines of resolv.conf(5) that mean something."""
    lines = (" ".join(line.split()) for line in resolv_conf.splitlines())
    return [line for line in lines if line.partition(" ")[0] in _DNS and line.isprintable()]
