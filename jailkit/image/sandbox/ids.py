"""The ids with which images are built: nobody's on the host."""

from __future__ import annotations

BUILD_BASE = 699_934_464
"""First id of the one range in which builds run: right below the first jail's own (provision/ids.py), so that no
account, no jail and no file of the host has one of them."""

BUILD_RANGE = 65_536
"""How many ids a build has: 0 to 65,535, as a Debian expects."""

NOBODY = 65_534
"""Within the range: who is nobody inside, and has no capability."""
