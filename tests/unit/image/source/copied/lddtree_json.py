"""Runs under the system's Python, which has Debian's pyelftools: lddtree(1)'s own reading of each program, as JSON.

Arguments: programs. Output: {"seconds": of the processor, "programs": {path: {name asked for: where it is, or null}}}.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import sys
import time
from typing import Any


def lddtree() -> Any:
    loader = importlib.machinery.SourceFileLoader("lddtree", "/usr/bin/lddtree")
    spec = importlib.util.spec_from_loader("lddtree", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def main() -> None:
    sys.dont_write_bytecode = True
    module = lddtree()
    begin = time.process_time()
    paths = module.LoadLdpaths("/")
    found = {}
    for program in sys.argv[1:]:
        # its cache of libraries is one for all programs unless it is given an own one
        parsed = module.ParseELF(program, "/", ldpaths={key: list(value) for key, value in paths.items()}, _all_libs={})
        found[program] = {
            name: os.path.realpath(row["realpath"]) if row["realpath"] else None for name, row in parsed["libs"].items()
        }
    print(json.dumps({"seconds": time.process_time() - begin, "programs": found}))


if __name__ == "__main__":
    main()
