"""What a test has to do in the library's own process, inside a throw-away host: files of this folder, run by the
product's own Python beside each other, as the modules that they are here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .host import Host

PYTHON = "/opt/jailctl/venv/bin/python3"
_HERE = Path(__file__).parent
_LOADER = """
import json, os, sys, types
os.umask(0o022)
tests = sys.modules["tests"] = types.ModuleType("tests")
for name, source in json.loads(sys.argv[1]).items():
    module = sys.modules[f"tests.{name}"] = types.ModuleType(f"tests.{name}")
    setattr(tests, name, module)
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
print(json.dumps(getattr(module, sys.argv[2])(**json.loads(sys.argv[3]))))
"""


def argv(modules: Sequence[str], function: str, **options: Any) -> list[str]:
    """The command line that calls ``function`` of the last of ``modules`` and prints its value as JSON."""
    sources = {name: (_HERE / f"{name}.py").read_text() for name in modules}
    return [PYTHON, "-I", "-c", _LOADER, json.dumps(sources), function, json.dumps(options)]


def call(host: Host, modules: Sequence[str], function: str, timeout: float, **options: Any) -> Any:
    """Its value; see :func:`argv`."""
    done = host.run(argv(modules, function, **options), timeout=timeout)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
