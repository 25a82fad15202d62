"""A cloud-config archive, a YAML list of documents, to its items."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from .document import parse
from .mime import safe_name
from .parts import CLOUD_CONFIG, UNKNOWN, Piece, Refused, first_line_type

OWN_FIELDS = ("content", "type", "filename", "launch-index")


def split(content: bytes) -> tuple[Piece, ...]:
    """Return the items of the archive in *content*; Refused when it is none."""
    try:
        value, _ = parse(content, "archive")
    except ConfigError as error:
        raise Refused(str(error)) from None
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Refused("archive: expected a list of documents")
    return tuple(_piece(item, number) for number, item in enumerate(value))


def _piece(item: Any, number: int) -> Piece:
    expected = f"archive[{number}]: expected text, or a mapping with 'content' and 'type'"
    fields = item if isinstance(item, dict) else {"content": item}
    content = fields.get("content")
    kind, name = fields.get("type", ""), fields.get("filename", "")
    index = fields.get("launch-index")
    if isinstance(content, str):
        content = content.encode()
    if not isinstance(content, bytes) or not isinstance(kind, str) or not isinstance(name, str):
        return Piece(b"", problem=expected)
    if index is not None and type(index) is not int:
        return Piece(b"", problem=f"archive[{number}].launch-index: expected a number")
    # Without a type, what does not say otherwise is cloud-config.
    if not kind and first_line_type(content.lstrip()) == UNKNOWN:
        kind = CLOUD_CONFIG
    headers = {
        str(key).title(): value
        for key, value in fields.items()
        if key not in OWN_FIELDS and isinstance(value, str)
    }
    if kind:
        headers["Content-Type"] = kind
    return Piece(content, kind.lower(), safe_name(name), index, headers=headers)
