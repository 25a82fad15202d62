"""As much of JSON schema as docs/status.schema.json uses; a word it does not know is an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,),
    "number": (int, float), "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
WORDS = {
    *("$schema", "$defs", "$ref", "title", "type", "const", "enum", "items", "required"),
    *("properties", "additionalProperties", "if", "then", "else"),
}


def offences(value: Any, schema: dict[str, Any], whole: dict[str, Any], at: str) -> Iterator[str]:
    """Yield, one line each, where *value* is not what *schema*, a part of *whole*, says."""
    assert set(schema) <= WORDS, set(schema) - WORDS
    if "$ref" in schema:
        yield from offences(value, whole["$defs"][schema["$ref"].rpartition("/")[2]], whole, at)
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_is(value, name) for name in names):
            yield f"{at}: expected {names}, got {value!r}"
            return
    if "const" in schema and value != schema["const"]:
        yield f"{at}: expected {schema['const']!r}, got {value!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: expected one of {schema['enum']}, got {value!r}"
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            yield from offences(item, schema["items"], whole, f"{at}[{number}]")
    if isinstance(value, dict):
        yield from _object(value, schema, whole, at)
    if "if" in schema:
        branch = "else" if any(offences(value, schema["if"], whole, at)) else "then"
        yield from offences(value, schema[branch], whole, at)


def _object(
    value: dict[str, Any], schema: dict[str, Any], whole: dict[str, Any], at: str
) -> Iterator[str]:
    for key in schema.get("required", ()):
        if key not in value:
            yield f"{at}: no {key!r}"
    properties = schema.get("properties", {})
    for key, item in value.items():
        if key in properties:
            yield from offences(item, properties[key], whole, f"{at}.{key}")
        elif schema.get("additionalProperties") is False:
            yield f"{at}: {key!r} is not in the schema"


def _is(value: Any, name: str) -> bool:
    # To JSON, true is no number.
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
