"""Mount points in our own mount namespace."""

from __future__ import annotations

import os

from ..kernel import mount


def below(directories: list[str]) -> list[str]:
    """Mount points that are one of ``directories`` or lie below one, links resolved, sorted."""
    tops = [os.path.realpath(directory) for directory in directories]
    points = {point for _, point, _, _ in mount.table()}
    return sorted(
        point for point in points if any(point == top or point.startswith(top.rstrip("/") + "/") for top in tops)
    )
