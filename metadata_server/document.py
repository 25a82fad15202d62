"""Instances as JSON documents in the words of the configuration: written, patched, read. Pure.

Patches are those of RFC 7386. What is wrong with a document is said with its place in it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final, TypeVar

from .config_derived import derived_meta, derived_names
from .config_forms import Section, Wrong, below, note
from .config_instance import INSTANCE
from .config_reader import MAX_DEPTH, NULL, STRING, Items, Node, Problems, Scalar, Table
from .errors import InvalidDocument
from .instance import EMPTY, Instance
from .secret import Secret

Document = dict[str, Any]

T = TypeVar("T")

_BODY: Final = Path("body")
_TAGS: Final = {bool: "bool", int: "int", float: "float"}

_FORMS: Final = ("user_data", "user_data_file", "user_data_base64")
"""The keys of one value, of which only one may be there."""

_INDEX: Final = re.compile(r"\[([0-9]+)\]")


class _Mistakes(Problems):
    """Problems by their place in the document; there is no file that has lines."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        super().__init__()
        self._document = document
        self.found: dict[tuple[str, str], None] = {}

    def add(self, node: Node, where: str, text: str) -> None:
        self.found[(pointer(where, self._document), f"{where}: {text}" if where else text)] = None

    def __len__(self) -> int:
        return len(self.found)

    def check(self) -> None:
        """Raise InvalidDocument when there is any."""
        if self.found:
            raise InvalidDocument(*self.found)


def read(document: Mapping[str, Any]) -> Instance:
    """Return the instance that *document* describes; raises InvalidDocument with every mistake."""
    return read_section(INSTANCE, document).instance


def read_section(section: Section[T], document: Mapping[str, Any]) -> T:
    """Return what *section* makes of *document*; raises InvalidDocument with every mistake."""
    mistakes = _Mistakes(document)
    node = _node(document)
    found: list[T] = []
    try:
        found.append(section.read(node, "", mistakes))
    except Wrong as wrong:
        note(wrong, node, "", mistakes)
    mistakes.check()
    return found[0]


def _refuse_host(
    document: Mapping[str, Any], command: tuple[str, ...], mistakes: _Mistakes
) -> None:
    places: list[tuple[str, Mapping[str, Any], str]] = [("", document, "user_data_file")]
    files = document.get("files")
    if isinstance(files, list):
        places += [
            (f"files[{index}]", each, "content_file")
            for index, each in enumerate(files)
            if isinstance(each, Mapping)
        ]
    for where, table, key in places:
        if table.get(key) is not None:
            name = key.removesuffix("_file")
            text = f"only the server's own configuration names files; use {name} or {name}_base64"
            mistakes.add(_NOWHERE, below(where, key), text)
    agency = document.get("agency")
    asked = agency.get("credentials_command") if isinstance(agency, Mapping) else None
    if asked is not None and asked != list(command):
        text = "only the server's own configuration names programs"
        mistakes.add(_NOWHERE, "agency.credentials_command", text)


def described(instance: Instance) -> Document:
    """Return the document that `read` makes *instance* of; what is derived is left out."""
    found: Document = _described(instance)
    hidden = derived_meta(instance)
    meta = {key: text for key, text in instance.meta.items() if hidden.get(key) != text}
    found.pop("meta", None)
    if meta:
        found["meta"] = meta
    if derived_names({"id": instance.id, "name": instance.name})["hostname"] == instance.hostname:
        del found["hostname"]
    if instance.user_data is not None:
        del found["user_data"]
        found["user_data_base64"] = _base64(instance.user_data)
    if instance.files:
        found["files"] = [
            {"path": file.path, "content_base64": _base64(file.content)} for file in instance.files
        ]
    return found


def _described(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        plain = type(value)
        found = {}
        for field in fields(plain):
            each = getattr(value, field.name)
            default = field.default
            if callable(field.default_factory):
                default = field.default_factory()
            if each != default:
                found[field.name] = _described(each)
        return found
    if isinstance(value, Mapping):
        return {key: _described(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_described(each) for each in value]
    if isinstance(value, (IPv4Address, IPv6Address)):
        return str(value)
    if isinstance(value, Secret):
        return value.reveal().decode("utf-8", "replace")
    return value


def patched(document: Mapping[str, Any], patch: Mapping[str, Any]) -> Document:
    """Return *document* with *patch* over it."""
    found = dict(document)
    if any(form in patch for form in _FORMS):
        # Another form of the same value takes its place; so does null, whatever form it has.
        for form in _FORMS:
            found.pop(form, None)
    return _patched(found, patch)


def _patched(document: Any, patch: Mapping[str, Any]) -> Document:
    found = dict(document) if isinstance(document, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping):
            found[key] = _patched(found.get(key), value)
        else:
            found[key] = value
    return found


def composed(
    document: Mapping[str, Any], first: Mapping[str, Any], second: Mapping[str, Any]
) -> Document:
    """Return the one patch that does to *document* what *first* and then *second* do."""
    found = dict(first)
    if any(form in second for form in _FORMS):
        for form in _FORMS:
            found.pop(form, None)
    return _composed(document, found, second)


def _composed(document: Any, first: Mapping[str, Any], second: Mapping[str, Any]) -> Document:
    known = document if isinstance(document, Mapping) else {}
    found = dict(first)
    for key, value in second.items():
        if not isinstance(value, Mapping):
            found[key] = value
            continue
        earlier = found.get(key)
        if key in found and not isinstance(earlier, Mapping):
            # What was a table there is gone, and a patch has no other word for "nothing but this".
            under = known.get(key)
            earlier = dict.fromkeys(under if isinstance(under, Mapping) else ())
        found[key] = _composed(known.get(key), earlier or {}, value)
    return found


def pointer(where: str, document: Mapping[str, Any] = EMPTY) -> str:
    """Return a place in *document*, such as `nics[0].mac`, as a JSON pointer (RFC 6901)."""
    found, rest = "", where
    here: Any = document
    while rest:
        if index := _INDEX.match(rest):
            name, rest = index[1], rest[index.end() :]
            here = here[int(name)] if isinstance(here, (list, tuple)) else None
        else:
            rest = rest.removeprefix(".")
            name = _name(rest, here)
            rest = rest[len(name) :]
            here = here.get(name) if isinstance(here, Mapping) else None
        found += "/" + name.replace("~", "~0").replace("/", "~1")
    return found


def _name(rest: str, here: Any) -> str:
    """Return the key with which *rest* begins; keys of *here* may have periods themselves."""
    known = [key for key in here if rest.startswith(key)] if isinstance(here, Mapping) else []
    plain = re.split(r"[.\[]", rest, maxsplit=1)[0]
    return max([plain, *known], key=len) or rest


def command_of(instance: Instance) -> tuple[str, ...]:
    """Return the program that issues the instance's credentials."""
    return instance.agency.credentials_command if instance.agency else ()


def check(document: Mapping[str, Any], command: tuple[str, ...] = ()) -> None:
    """Raise InvalidDocument when *document*, or a patch, may not come from outside.

    That is what is too deep, text that is no Unicode, and what reads files of the server's host or
    runs programs there, but for *command*, which it runs already.
    """
    ahead: list[tuple[Any, int]] = [(document, 1)]
    while ahead:
        value, depth = ahead.pop()
        if depth > MAX_DEPTH:
            raise InvalidDocument(("", f"expected at most {MAX_DEPTH} levels"))
        if isinstance(value, Mapping):
            ahead += [(each, depth + 1) for each in value.values()]
        elif isinstance(value, (list, tuple)):
            ahead += [(each, depth + 1) for each in value]
    try:
        text_of(document).encode()
    except UnicodeEncodeError:
        raise InvalidDocument(("", "expected Unicode text without lone surrogates")) from None
    mistakes = _Mistakes(document)
    _refuse_host(document, command, mistakes)
    mistakes.check()


def text_of(document: Mapping[str, Any]) -> str:
    """Return the one spelling of *document* in JSON."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _node(value: Any) -> Node:
    """Return *value*, of JSON, as the forms of the configuration read it."""
    if isinstance(value, Mapping):
        entries = tuple((_scalar(STRING, str(key)), _node(each)) for key, each in value.items())
        size = 1 + sum(key.size + each.size for key, each in entries)
        return Table(_BODY, 1, entries, size)
    if isinstance(value, (list, tuple)):
        nodes = tuple(map(_node, value))
        return Items(_BODY, 1, nodes, 1 + sum(each.size for each in nodes))
    if value is None:
        return _scalar(NULL, "null")
    kind = _TAGS.get(type(value))
    if kind is None:
        return _scalar(STRING, str(value))
    return _scalar(f"tag:yaml.org,2002:{kind}", json.dumps(value))


def _scalar(tag: str, text: str) -> Scalar:
    return Scalar(_BODY, 1, tag, text)


_NOWHERE: Final = _scalar(NULL, "null")


def _base64(value: Secret) -> str:
    return base64.b64encode(value.reveal()).decode()
