"""A template of the administrator's own: made from nothing, or a copy of another under a name of its own."""

from __future__ import annotations

import os

import tomlkit
from tomlkit.exceptions import TOMLKitError

from ..errors import JailkitError
from ..image.template import own_trees
from ..kernel import disk
from ..kernel.beneath import remove_tree, require_root_owned_chain
from ..names import template_name
from ..paths import Paths
from ..spec import include, load
from . import files

Files = dict[str, tuple[bytes, bool]]
"""Path below the template's folder: content, and whether it is executable."""

SKELETON = """\
# What these jails are for, and what an administrator should know of them.
#
#     jailctl template check NAME            says all that is wrong, at once
#     jailctl add-user alice --template NAME --key alice.pub
#
# Beside this file: files/ is put into the image (files/etc/motd becomes /etc/motd), jail/etc/ into each jail's own
# /etc; names that end in .j2 are rendered. All keys: docs/template-reference.md, or jailctl template schema.

name = "NAME"
description = "A shell of my own"

# Parts and templates that this one builds on; see each by: jailctl template show shell --resolved
includes = ["skeleton", "accounts", "system", "shells", "locale", "terminfo", "ssl", "man", "editors"]

# Where programs come from. "host": the host's own /usr, read-only. "copy": programs copied from the host, listed in
# [copy]. "debian": a Debian of its own, with the packages of [debian]. "tar": a root in a tar file, named in [tar].
source = "host"

#shell = "/bin/bash"
#path = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"

# "host": the host's own network, with all that listens on it.
#network = "none"

# Seconds that background processes outlive the last session; or "forever".
#linger = 60

# /tmp, /var/tmp, /run and /dev/shm of one jail together.
#tmp = "256M"

# "overlay": what is changed in the directories of `writable` is kept beside each jail; "ephemeral": until it stops.
#root = "overlay"
#writable = ["/srv"]

# Host services that a jail may use.
#connectors = ["dns", "mysql"]

# Commands that must succeed in a jail of a new image, before any other jail gets it.
smoke = ["test -w ~"]

#[image]
#directories = ["/data"]
#copy = ["/etc/skel"]

#[image.links]
#"/etc/motd" = "/usr/share/motd"

# A command that is run while the image is built, as root, in a throw-away jail of what is there so far.
#[[run]]
#command = "echo built > /etc/built"
"""


def skeleton(name: str) -> Files:
    """Raise ``invalid.template-name``."""
    return {"template.toml": (SKELETON.replace("NAME", template_name(name)).encode(), False)}


def copy(paths: Paths, name: str, source: str) -> Files:
    """What a copy of template ``source`` under ``name`` would hold. Raise ``missing.template``, ``invalid.template``,
    ``unsafe.path``."""
    resolved = include.resolve(paths, source)
    piece = resolved.pieces[-1]
    file = f"{piece.directory}/template.toml"
    try:
        document = tomlkit.parse(load.read_trusted(file).decode())
    except TOMLKitError as error:  # tomllib has read it
        raise JailkitError("invalid.template", f"{file}: {error}") from None
    document["name"] = template_name(name)
    tar = piece.data.get("tar", {}).get("file", "/")
    if not tar.startswith("/"):
        document["tar"]["file"] = f"{piece.directory}/{tar}"
    found: Files = {"template.toml": (tomlkit.dumps(document).encode(), False)}
    for part, tree in own_trees(piece.directory).items():
        found.update({f"{part}/{path}": content for path, content in tree.items()})
    return found


def folder(paths: Paths, name: str) -> str:
    """Where template ``name`` of the administrator's own lies or would lie. Raise ``conflict.template`` if it does, or
    would replace a part; ``invalid.template-name``."""
    if name == include.PARTS:
        raise JailkitError("invalid.template-name", f"{name!r} is the folder of parts", "choose another name")
    path = f"{paths.templates}/{template_name(name)}"
    if os.path.lexists(path):
        raise JailkitError("conflict.template", f"{path} is there already", "choose another name, or edit that one")
    if name in include.names(paths, parts=True):
        text = f"there is a part {name}: templates that include it would get this one instead"
        raise JailkitError("conflict.template", text, f"choose another name; or make {paths.templates}/parts/{name}")
    return path


def hides(paths: Paths, name: str) -> bool:
    """Whether there is a shipped template of that name, which the administrator's own comes before."""
    return os.path.lexists(f"{include.shipped(paths)}/{name}/template.toml")


def write(paths: Paths, name: str, content: Files) -> str:
    """Make the template's folder, whole or not at all; return it. Raise ``conflict.template``, ``unsafe.path``,
    OSError."""
    target = folder(paths, name)
    os.makedirs(os.path.dirname(paths.etc), 0o755, exist_ok=True)
    files.directory(paths.etc, 0o755)
    files.directory(paths.templates, 0o755)
    require_root_owned_chain(paths.templates)
    scratch = f"{paths.templates}/.{name}.new"
    if os.path.lexists(scratch):
        remove_tree(scratch)  # of a run that was killed
    files.directory(scratch, 0o755)
    try:
        for path, (data, executable) in content.items():
            parts = path.split("/")[:-1]
            for count in range(len(parts)):
                files.directory("/".join([scratch, *parts[: count + 1]]), 0o755)
            files.write(f"{scratch}/{path}", data, 0o755 if executable else 0o644)
        os.rename(scratch, target)
    except BaseException:
        remove_tree(scratch)
        raise
    disk.sync_names(paths.templates)
    return target
