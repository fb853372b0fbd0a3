"""``jailctl image ...``: the read-only roots that jails share."""

from __future__ import annotations

from ..group import Group, Table

VERBS: Table = {
    "build": ("image.build", "Build the image of a template; no jail is moved to it."),
    "list": ("image.list", "All images, one line each: who uses them, and which are out of date."),
    "show": ("image.show", "One image: what it holds, its tags and their history."),
    "diff": ("image.diff", "What differs between two images."),
    "tag": ("image.tag", "Let a name mean an image."),
    "untag": ("image.untag", "Forget a name."),
    "rollback": ("image.rollback", "Let a template's jails start from the image before."),
    "prune": ("image.prune", "Remove images that nothing uses."),
    "verify": ("image.verify", "Compare every byte of images with their manifests."),
    "export": ("image.export", "Write an image to a file."),
    "import": ("image.import_", "Take an image from a file."),
}
_EXAMPLES = """
jailctl update shell                            build, try and switch in one
jailctl image build shell && jailctl image list
jailctl image rollback shell                    the next logins get the image before
"""

command = Group(
    "image",
    VERBS,
    help="Read-only roots, built from templates once and shared by all their jails. A tag (TEMPLATE or TEMPLATE:TAG) "
    "says which image jails start from; a digest, or its first digits, names one for good.",
    examples=_EXAMPLES,
)
