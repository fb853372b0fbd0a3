"""The one grammar of names. No string from outside becomes part of a path, a command or a file
of ours before it has passed here. Without regular expressions: the login path imports this.

Sources: useradd(8) CAVEATS; systemd's "User/Group Name Syntax" (why a name never starts with a digit:
systemd#6237, CVE-2020-13776); CVE-2023-51385 and CVE-2025-61984 (shell and control characters in ssh user names).
"""

from __future__ import annotations

from .errors import JailkitError

_LOWER = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_RESERVED = frozenset({"root", "nobody", "nogroup", "all", "jailed", "jailed-chroot", "self", "tags"})


def user_name(text: str) -> str:
    """Return ``text`` if it may be the name of a jailed user: 1 to 32 of ``a-z 0-9 _ . -``, first a letter or ``_``,
    last not ``.`` or ``-``, no two dots in a row. Raise ``invalid.user-name`` otherwise."""
    if not _fits(text, 32, _LOWER + "_", _LOWER + _DIGITS + "_.-", _LOWER + _DIGITS + "_") or ".." in text:
        raise JailkitError(
            "invalid.user-name",
            f"{text!r} cannot be a user name",
            "use 1 to 32 of a-z, 0-9, '_', '.', '-', starting with a letter or '_'",
        )
    if text in _RESERVED:
        raise JailkitError("invalid.user-name", f"the name {text!r} is reserved", "choose another name")
    return text


def template_name(text: str) -> str:
    """Return ``text`` if it may name a template: ``a-z 0-9 -``, up to 48. Raise ``invalid.template-name``."""
    return _label(text, "template")


def plan_name(text: str) -> str:
    """Return ``text`` if it may name a plan (what jails are sold as): as a template. Raise ``invalid.plan-name``."""
    return _label(text, "plan")


def manifest_name(text: str) -> str:
    """Return ``text`` if it may name a manifest: as a template. Raise ``invalid.manifest-name``."""
    return _label(text, "manifest")


def _label(text: str, what: str) -> str:
    if not _fits(text, 48, _LOWER, _LOWER + _DIGITS + "-", _LOWER + _DIGITS):
        raise JailkitError(
            f"invalid.{what}-name",
            f"{text!r} cannot be a {what} name",
            "use up to 48 of a-z, 0-9, '-', starting with a letter",
        )
    return text


def image_reference(text: str) -> str:
    """Return ``text`` if it names an image: ``TEMPLATE`` or ``TEMPLATE:TAG``, the tag up to 48 of ``a-z 0-9 . _ -``,
    first and last a letter or digit. Raise ``invalid.image-name``, ``invalid.template-name``."""
    name, colon, tag = text.partition(":")
    template_name(name)
    if colon and not _fits(tag, 48, _LOWER + _DIGITS, _LOWER + _DIGITS + "._-", _LOWER + _DIGITS):
        raise JailkitError(
            "invalid.image-name",
            f"{text!r} cannot name an image",
            "use TEMPLATE or TEMPLATE:TAG, the tag up to 48 of a-z, 0-9, '.', '_', '-'",
        )
    return text


def host_name(text: str) -> str:
    """Return ``text`` if it is one label of a host name (RFC 1123, up to 63). Raise ``invalid.host-name``."""
    if not _fits(text, 63, _LOWER + _DIGITS, _LOWER + _DIGITS + "-", _LOWER + _DIGITS):
        raise JailkitError("invalid.host-name", f"{text!r} cannot be a host name", "use up to 63 of a-z, 0-9, '-'")
    return text


def _fits(text: str, longest: int, first: str, middle: str, last: str) -> bool:
    return 0 < len(text) <= longest and text[0] in first and text[-1] in last and all(c in middle for c in text)
