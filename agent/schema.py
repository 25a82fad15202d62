"""Parsed YAML to typed records, with the place in every error: the one reader of all sections.

A `typing.NamedTuple` is the schema: field names are the accepted keys (`from_` reads `from`),
annotations the types, and `Annotated[T, read]` lets *read* make a T of the raw value. What is
wrong is left out and named; values of what is not understood are never quoted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import (
    Annotated,
    Any,
    Callable,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from .errors import ConfigError
from .report import Report
from .secret import Secret

_Read = Callable[[Any, str, Report], Any]


class _Reader:
    """How a value of one type is read; *read* raises ValueError for what is no such value."""

    # Plain classes: to make a NamedTuple costs every boot 0.3 ms.
    __slots__ = ("exact", "read", "secret")

    def __init__(self, read: _Read, exact: tuple[type, ...] = (), secret: bool = False) -> None:
        self.read = read
        self.exact = exact
        """Raw types that are meant for this reader, when a Union offers several."""
        self.secret = secret


class _Field:
    """A field of a schema: its name, its reader, and whether it has no default."""

    __slots__ = ("name", "reader", "required")

    def __init__(self, name: str, reader: _Reader, required: bool) -> None:
        self.name = name
        self.reader = reader
        self.required = required


def load(schema: Any, raw: Mapping[str, Any], report: Report, at: str = "") -> Any:
    """Return *raw* as the NamedTuple *schema*; what is wrong is left out and named in *report*.

    A key that is refused here is as if it were absent. Inside a list or a mapping it takes its
    whole item with it: a default never stands in for what was meant otherwise. Raises ConfigError
    when *raw* is no mapping or a required key of *schema* itself is missing.
    """
    try:
        values, _ = _values(schema, raw, at, report)
    except ValueError as error:
        raise ConfigError(f"{at}: {error}" if at else str(error)) from error
    return schema(**values)


def keys(schema: Any) -> tuple[str, ...]:
    """Return the keys *schema* accepts, in its order."""
    return tuple(_key(name) for name in schema._fields)


class _Refused(ValueError):
    """The item cannot be used, and the report already says why."""


def _record(schema: Any, raw: Any, at: str, report: Report) -> Any:
    values, complete = _values(schema, raw, at, report)
    if not complete:
        raise _Refused
    return schema(**values)


def _values(schema: Any, raw: Any, at: str, report: Report) -> tuple[dict[str, Any], bool]:
    """Return the values of the fields, and whether none of them was refused."""
    if not isinstance(raw, Mapping):
        raise _expected("a mapping", raw)
    fields = _fields(schema)
    values: dict[str, Any] = {}
    refused = set()
    for key, value in raw.items():
        place = f"{at}.{key}" if at else str(key)
        field = fields.get(key) or _deprecated(key, raw, fields, place, report)
        # A key without a value is a key that is not there.
        if field is None or value is None:
            continue
        try:
            values[field.name] = field.reader.read(value, place, report)
        except ValueError as error:
            _refuse(report, place, error, value, field.reader.secret)
            refused.add(field.name)
    missing = [
        key
        for key, field in fields.items()
        if field.required and field.name not in values and field.name not in refused
    ]
    if missing:
        raise ValueError(f"missing key {missing[0]!r}")
    if any(field.required and field.name in refused for field in fields.values()):
        raise _Refused("a required key is refused")
    return values, not refused


def _deprecated(
    key: Any, raw: Mapping[Any, Any], fields: Mapping[str, _Field], place: str, report: Report
) -> _Field | None:
    """Return the field meant by *key* in its old spelling with dashes; say so, or what is near."""
    plain = str(key).replace("-", "_")
    field = fields.get(plain)
    if field is None:
        report.warning(place, f"unknown key {str(key)!r}, {_nearest(key, fields)}")
    elif plain in raw:
        report.warning(place, f"given beside {plain!r}, which is used")
        return None
    else:
        report.notice(place, f"deprecated, now spelled {plain!r}")
    return field


def _refuse(report: Report, place: str, error: ValueError, raw: Any, secret: bool) -> None:
    if not isinstance(error, _Refused):
        report.refused(place, _told(error, raw, secret))


@cache
def _fields(schema: Any) -> dict[str, _Field]:
    hints = get_type_hints(schema, include_extras=True)
    return {
        _key(name): _Field(name, _reader(hints[name]), name not in schema._field_defaults)
        for name in schema._fields
    }


def _key(name: str) -> str:
    """Return the key of a field; a trailing underscore only keeps a word of Python apart."""
    return name.rstrip("_")


def _reader(hint: Any) -> _Reader:
    """Return the reader for the type *hint*."""
    plain = _PLAIN.get(hint) if isinstance(hint, type) or hint is Any else None
    if plain is not None:
        return plain
    if isinstance(hint, type) and hasattr(hint, "_fields"):
        return _Reader(lambda raw, at, report: _record(hint, raw, at, report), (dict,))
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _own(_reader(arguments[0]), arguments[1])
    if origin is Union:
        return _union([_reader(part) for part in arguments if part is not type(None)])
    if origin is tuple:
        return _sequence(_reader(arguments[0]))
    if origin is Literal:
        return _choice(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(_reader(arguments[1]))
    raise TypeError(f"no reader for {hint!r} in a schema")


def _own(base: _Reader, read: Callable[[Any], Any]) -> _Reader:
    return _Reader(lambda raw, at, report: read(raw), base.exact, base.secret)


def _sequence(item: _Reader) -> _Reader:
    def read(raw: Any, at: str, report: Report) -> tuple[Any, ...]:
        if not isinstance(raw, (list, tuple)):
            raise _expected("a list", raw)
        values = []
        for number, value in enumerate(raw):
            place = f"{at}[{number}]"
            try:
                values.append(item.read(value, place, report))
            except ValueError as error:
                _refuse(report, place, error, value, item.secret)
        return tuple(values)

    return _Reader(read, (list,), item.secret)


def _mapping(item: _Reader) -> _Reader:
    def read(raw: Any, at: str, report: Report) -> dict[str, Any]:
        if not isinstance(raw, Mapping):
            raise _expected("a mapping", raw)
        values = {}
        for key, value in raw.items():
            place = f"{at}.{key}"
            if not isinstance(key, str):
                report.refused(place, f"expected a string as key, got {_kind(key)}{_quotes(key)}")
                continue
            try:
                values[key] = item.read(value, place, report)
            except ValueError as error:
                _refuse(report, place, error, value, item.secret)
        return values

    return _Reader(read, (dict,), item.secret)


def _union(readers: Sequence[_Reader]) -> _Reader:
    secret = any(reader.secret for reader in readers)
    if len(readers) == 1:
        return readers[0]

    def read(raw: Any, at: str, report: Report) -> Any:
        meant = [reader for reader in readers if type(raw) in reader.exact]
        if len(meant) == 1:
            return meant[0].read(raw, at, report)
        texts = []
        for reader in meant or readers:
            tried = Report()
            try:
                value = reader.read(raw, at, tried)
            except ValueError as error:
                texts.append(str(error).partition(", got")[0].replace("expected ", ""))
                continue
            report.entries += tried.entries
            return value
        raise _expected(" or ".join(filter(None, texts)), raw)

    return _Reader(read, tuple(kind for reader in readers for kind in reader.exact), secret)


def _choice(allowed: tuple[Any, ...]) -> _Reader:
    def read(raw: Any, at: str, report: Report) -> Any:
        if not any(type(value) is type(raw) and value == raw for value in allowed):
            raise ValueError(f"expected one of {', '.join(str(value) for value in allowed)}")
        return raw

    return _Reader(read, tuple({type(value) for value in allowed}))


def _string(raw: Any, at: str, report: Report) -> str:
    if isinstance(raw, str):
        return raw
    if isinstance(raw, bytes):
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise ValueError("expected text, got bytes that are not UTF-8") from None
    raise ValueError(f"expected a string, got {_kind(raw)}{_quotes(raw)}")


def _data(raw: Any, at: str, report: Report) -> bytes:
    return raw if isinstance(raw, bytes) else _string(raw, at, report).encode()


def _secret(raw: Any, at: str, report: Report) -> Secret:
    return Secret(_data(raw, at, report))


def _integer(raw: Any, at: str, report: Report) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    # Decimal digits in quotes can mean one thing only.
    if isinstance(raw, str) and raw.isascii() and raw[raw.startswith("-") :].isdigit():
        return int(raw)
    raise _expected("a whole number", raw)


def _number(raw: Any, at: str, report: Report) -> float:
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        return float(raw)
    raise _expected("a number", raw)


_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _boolean(raw: Any, at: str, report: Report) -> bool:
    value = _WORDS.get(raw.lower()) if isinstance(raw, str) else raw
    if isinstance(value, bool):
        return value
    raise _expected("true or false", raw)


_PLAIN: dict[Any, _Reader] = {
    str: _Reader(_string, (str,)),
    bytes: _Reader(_data, (str, bytes)),
    Secret: _Reader(_secret, (str, bytes), secret=True),
    int: _Reader(_integer, (int,)),
    float: _Reader(_number, (float, int)),
    bool: _Reader(_boolean, (bool,)),
    Any: _Reader(lambda raw, at, report: raw, (object,)),
}

_KINDS = (
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number with a fraction"),
    (str, "a string"),
    (bytes, "binary data"),
    (Mapping, "a mapping"),
    ((list, tuple), "a list"),
    (type(None), "nothing"),
)


def _kind(raw: Any) -> str:
    """Return what YAML made of the value, in the user's words and without the value."""
    for types, words in _KINDS:
        if isinstance(raw, types):
            return words
    return f"a {type(raw).__name__}"


def _expected(what: str, raw: Any) -> ValueError:
    return ValueError(f"expected {what}, got {_kind(raw)}")


def _quotes(raw: Any) -> str:
    scalar = isinstance(raw, (int, float)) or type(raw).__name__ in ("date", "datetime")
    return ": put it in quotes" if scalar else ""


def _told(error: ValueError, raw: Any, secret: bool) -> str:
    """Return the text of *error*, without the value when that is secret."""
    text = str(error)
    if secret and isinstance(raw, (str, bytes, int, float)):
        plain = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
        if plain in text or repr(plain)[1:-1] in text:
            return "malformed value"
    return text


def _nearest(key: Any, fields: Mapping[str, Any]) -> str:
    # Imported for those who mistype: difflib costs more than a whole section.
    from difflib import get_close_matches

    near = get_close_matches(key.replace("-", "_"), fields, 1) if isinstance(key, str) else ()
    return f"nearest is {near[0]!r}" if near else f"expected one of {', '.join(sorted(fields))}"
