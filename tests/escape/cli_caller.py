"""Run inside the host by the product's interpreter: many calls of jailctl from one process, each in a fork (cli.py)."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile


def call(words: list[str], given: str) -> dict[str, object]:
    from jailkit.cli.main import main

    with tempfile.TemporaryFile() as input_, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        input_.write(given.encode())
        input_.seek(0)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for number, file in enumerate((input_, out, err)):
                    os.dup2(file.fileno(), number)
                sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in enumerate(("r", "w", "w")))
                status = main(words)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="backslashreplace"))
    return {"status": status, "out": texts[0], "err": texts[1]}


def run() -> None:
    from jailkit.cli.main import VERBS

    later = ("provision.host", "doctor.run", "login.setup", "login.verify", "jail.enter", "cli.provisioning")
    for module in (*later, *(f"cli.{name}" for name, _ in VERBS.values())):
        importlib.import_module(f"jailkit.{module}")
    for words, given in json.load(sys.stdin):
        print(json.dumps(call(words, given)), flush=True)


run()
