"""The JSON Schema of template.toml, for editors and for the reference page; and of manifests."""

from __future__ import annotations

from typing import Any

from .template import TemplateFile


def template_schema() -> dict[str, Any]:
    """Of one file, a template's or a part's (draft 2020-12). It knows the keys, types and choices; what depends on
    other keys, or on other files, only ``jailctl template check`` knows."""
    schema: dict[str, Any] = _plain(TemplateFile.model_json_schema(by_alias=True))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "template.toml of jailctl",
        "description": "A template of jails, or a part of templates.",
    }


def manifest_schema() -> dict[str, Any]:
    """Of a manifest. A jail without a word of its own may be null there: ``alice:`` of YAML."""
    from .manifest import Manifest

    schema: dict[str, Any] = _plain(Manifest.model_json_schema(by_alias=True))
    for name, key in (("Jail", "user"), ("PlanSpec", "name")):
        made = schema["$defs"][name]
        made["required"] = [each for each in made.get("required", ()) if each != key]
        made["properties"].pop("manifest")
    jails = schema["$defs"]["Jail"]["properties"]
    jails["suspended"] = {"description": jails["suspended"]["description"], "type": ["string", "boolean"]}
    for table, name, key in (("jails", "Jail", "user"), ("plans", "PlanSpec", "name")):
        item = {"$ref": f"#/$defs/{name}"}
        asked = {"allOf": [item, {"required": [key]}]}
        schema["properties"][table] = {
            "description": schema["properties"][table]["description"],
            "anyOf": [
                {"type": "object", "additionalProperties": {"anyOf": [item, {"type": "null"}]}},
                {"type": "array", "items": asked},
            ],
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "manifest of jailctl",
        "description": "Jails and the plans that they are sold as, for jailctl apply.",
    }


def _plain(value: Any) -> Any:
    """Without what only Python knows: TOML has no null, and titles that repeat the key, docstrings of classes."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    left = {key: _plain(item) for key, item in value.items() if not (key == "title" and isinstance(item, str))}
    if "properties" in left:
        left.pop("description", None)
    if left.get("default", "") is None:
        del left["default"]
    choices = left.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        rest = [choice for choice in choices if choice != {"type": "null"}]
        left["anyOf"] = rest
        if len(rest) == 1:
            del left["anyOf"]
            left = {**rest[0], **left}
    return left
