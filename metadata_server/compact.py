"""Instances as short JSON texts between this server and itself: quick to read, checked by nobody.

For the state and for workers, who get back exactly what was written. What comes from anywhere else
is a document of the configuration (document.py), in which every mistake is found.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from .config_instance import INSTANCE
from .instance import Instance
from .secret import Secret

Read = Callable[[Any], Any]

_MADE_BY: Final = 1
"""To be counted up when documents of the same keys make other instances than before."""


@cache
def fingerprint() -> str:
    """Return what differs when a document may make another instance, or one of another form."""
    known = [_MADE_BY, INSTANCE.schema(), _shape(Instance)]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]


def pack(instance: Instance) -> str:
    """Return the text that `unpack` makes *instance* of."""
    return json.dumps(_plain(instance), separators=(",", ":"), ensure_ascii=False)


def unpack(text: str) -> Instance:
    """Return the instance of *text*, which `pack` made."""
    found: Instance = _read_instance(json.loads(text))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if isinstance(value, Secret):
        return base64.b64encode(value.reveal()).decode()
    if isinstance(value, IPv4Address):
        return int(value)
    if isinstance(value, IPv6Address):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    # Of a table of ours only what is not as it would be anyhow.
    return {
        field.name: _plain(getattr(value, field.name))
        for field in fields(value)
        if getattr(value, field.name) != _default(field)
    }


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _reader(hint: Any) -> Read | None:
    """Return what makes a value of the type *hint* of its plain form; None when it is that form."""
    if hint is Secret:
        return _secret
    if is_dataclass(hint) and isinstance(hint, type):
        return _table(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple:
        return _row(_reader(inner[0]))
    if origin is Union or type(hint).__name__ == "UnionType":
        kinds = [each for each in inner if each is not type(None)]
        if set(kinds) <= {IPv4Address, IPv6Address}:
            return _address
        return _reader(kinds[0])
    return _address if hint in (IPv4Address, IPv6Address) else None


def _table(kind: type[Any]) -> Read:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}

    def read(plain: Mapping[str, Any]) -> Any:
        values = {}
        for name, each in plain.items():
            reader = readers[name]
            values[name] = each if reader is None else reader(each)
        return kind(**values)

    return read


def _row(item: Read | None) -> Read:
    if item is None:
        return tuple
    return lambda plain: tuple(map(item, plain))


def _address(plain: int | str) -> IPv4Address | IPv6Address:
    return IPv4Address(plain) if isinstance(plain, int) else IPv6Address(plain)


def _secret(plain: str) -> Secret:
    return Secret(base64.b64decode(plain))


def _shape(kind: type[Any]) -> Any:
    """Return names, types and defaults of the fields of *kind* and of all tables in it."""
    hints = get_type_hints(kind)
    found = []
    for field in fields(kind):
        hint = hints[field.name]
        inner = [each for each in (hint, *get_args(hint)) if is_dataclass(each)]
        below = [_shape(each) for each in inner if isinstance(each, type)]
        default = _default(field)
        shown = None if default is MISSING else repr(default)
        found.append([field.name, str(hint), shown, below])
    return found


_read_instance: Final = _table(Instance)
