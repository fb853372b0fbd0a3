"""Numbers of system calls, from the kernel's own headers: not from the table that the product's filter is made of."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

MACHINE = os.uname().machine
# Headers of Debian 12 end at Linux 6.1. From 424 on a number is the same on all architectures.
_NEWER = {"fchmodat2": 452, "statmount": 457, "listmount": 458, "lsm_set_self_attr": 460, "open_tree_attr": 467}


@cache
def numbers() -> dict[str, int]:
    """By name, without ``__NR_``."""
    header = {"x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "/usr/include/asm-generic/unistd.h"}
    text = Path(header[MACHINE]).read_text()
    return _NEWER | {name: int(value) for name, value in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
