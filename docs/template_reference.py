#!/usr/bin/env python3
"""Prints docs/template-reference.md, made from the models of template.toml:

python3 docs/template_reference.py > docs/template-reference.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jailkit.spec.schema import template_schema

_HEAD = """# Reference of template.toml

Made by `docs/template_reference.py` from the models that check the file; a test holds that it is up to date. How to
write one: [templates.md](templates.md). The same as JSON Schema, for editors: `jailctl template schema`.

A template is a folder: `template.toml`, `files/` (into the image) and `jail/etc/` (into each jail's own `/etc`).
Unknown keys are errors. A part is the same without `source`. What one includes is merged: scalars of the includer win,
lists append (those of `limits` replace), tables merge.
"""
_TABLES = {
    "copy": 'Only with `source = "copy"`; a part may have one for the templates that are.',
    "debian": 'Only with `source = "debian"`.',
    "tar": 'Only with `source = "tar"`.',
    "run": "A command that is run while the image is built, on what is there so far. May stand there many times.",
    "limits": "What a jail may use where neither plan nor jail say otherwise: [limits.md](limits.md).",
    "image": "What the root holds beside the programs and `files/`.",
}


def reference() -> str:
    schema = template_schema()
    models = schema["$defs"]
    top = {key: field for key, field in schema["properties"].items() if key not in _TABLES}
    parts = [_HEAD, "## Keys\n", _table(top, schema["required"])]
    for key, sentence in _TABLES.items():
        field = schema["properties"][key]
        model = models[_model(field)]
        shown = f"[[{key}]]" if field.get("type") == "array" else f"[{key}]"
        parts += [f"## {shown}\n", f"{sentence}\n", _table(model["properties"], model.get("required", []))]
    return "\n".join(parts)


def _model(field: dict[str, Any]) -> str:
    found = field.get("$ref") or field.get("items", {}).get("$ref")
    return str(found).rpartition("/")[2]


def _table(fields: dict[str, Any], required: list[str]) -> str:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in fields.items():
        default = "must be given" if key in required else _default(field)
        rows.append(f"| `{key}` | {_type(field)} | {default} | {field.get('description', '').replace('|', '&#124;')} |")
    return "\n".join(rows) + "\n"


def _default(field: dict[str, Any]) -> str:
    if field.get("default", "") is None:
        return ""
    if "default" in field and field["default"] != "":
        return f"`{json.dumps(field['default'])}`"
    return {"array": "none", "object": "none"}.get(field.get("type", ""), "")


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(choice) for choice in field["anyOf"] if choice.get("type") != "null")
    if "enum" in field:
        return ", ".join(f'`"{choice}"`' for choice in field["enum"])
    if "const" in field:
        return f'`"{field["const"]}"`'
    if field.get("type") == "array":
        return f"list of: {_type(field['items'])}"
    if field.get("type") == "object":
        return "table of texts"
    return {"string": "text", "boolean": "true or false", "integer": "whole number", "number": "number"}[field["type"]]


if __name__ == "__main__":
    sys.stdout.write(reference())
