"""The ids that building uses: one range of its own, which no account and no jail has (jails begin at 700,000,000).

Ids 0 to 65,535 of a confined process are these on the host, where they are nobody's."""

from __future__ import annotations

BUILD_RANGE = 65_536
BUILD_BASE = 700_000_000 - BUILD_RANGE
NOBODY = 65_534
"""Within the range: who is nobody inside, and has no capability."""
