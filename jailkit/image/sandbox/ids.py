"""The ids with which images are built: nobody's on the host."""

from __future__ import annotations

BUILD_BASE = 699_934_464
"""First id of the one range in which builds run: right below the first jail's own (provision/ids.py), so that no
account, no jail and no file of the host has one of them."""

BUILD_RANGE = 65_536
"""How many ids a build has: 0 to 65,535, as a Debian expects."""

NOBODY = 65_534
"""Within the range: who is nobody inside, and has no capability."""

SMOKE_USER = BUILD_BASE + 2_000
"""Whose smoke tests are. As a jail's user it is the same inside and outside, and beside it the ids of a jail are there
(JAIL_RANGE): what ids of persons own below a bind is nobody's, as it is in the jails that are to come."""

JAIL_RANGE = 1024
"""How many ids a jail has (jail/recipe.py)."""
