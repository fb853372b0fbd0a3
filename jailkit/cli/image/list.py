"""``jailctl image list``"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..output import Settings, emit, say, table
from ..verb import verb
from . import common

if TYPE_CHECKING:
    from ...paths import Paths
    from ...provision.images import Image

_EXAMPLES = """
jailctl image list
jailctl image list --json | jq -r '.images[] | select(.used | not) | .digest'
"""


@verb(
    "All images, the youngest first. Tags: names that mean it now. Jails: how many start from it at their next start; "
    "running: how many run in it. A stale one was built from a template or a host that has changed since.",
    _EXAMPLES,
)
def command(settings: Settings) -> None:
    from ...provision import images

    paths = common.ready(settings)
    found = images.all_images(paths)
    jails = _jails(paths)
    stale = _stale(paths, found)
    rows = [
        {
            **image.data(),
            "used": image.used,
            "jails": sum(jails.get(tag, 0) for tag in image.tags) + len(image.pinned),
            "stale": [tag for tag in image.tags if tag in stale],
        }
        for image in found
    ]
    if settings.json:
        emit({"images": rows})
    elif not rows:
        say(settings, "There are no images. Build one: jailctl image build shell")
    elif not settings.quiet:
        shown = [
            (
                ", ".join(image.tags) or "-", image.digest[:12], common.day(image.made),
                common.size(image.size), row["jails"], len(image.running), _state(image, stale),
            )
            for image, row in zip(found, rows, strict=True)
        ]  # fmt: skip
        table(("tags", "image", "made", "size", "jails", "running", "state"), shown)


def _state(image: Image, stale: set[str]) -> str:
    if image.problem:
        return "damaged"
    if any(tag in stale for tag in image.tags):
        return "stale"
    if image.tags:
        return "current"
    if image.running or image.pinned:
        return "in use"
    return "before" if image.before else "unused"


def _stale(paths: Paths, found: list[Image]) -> set[str]:
    from ...errors import JailkitError
    from ...image import build

    stale = set()
    for tag in (tag for image in found for tag in image.tags):
        try:
            if build.stale(paths, tag):
                stale.add(tag)
        except JailkitError:  # its template is gone or broken: doctor says so
            continue
    return stale


def _jails(paths: Paths) -> dict[str, int]:
    """How many jails there are of each tag."""
    from ...provision.made_from import count

    return count(paths)
