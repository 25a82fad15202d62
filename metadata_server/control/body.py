"""JSON bodies of the control plane, read by small typed readers that name each mistake's place."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from aiohttp import web

from ..day.times import LATEST, LONGEST, MOMENT, SECONDS, read_moment, read_seconds
from ..errors import InvalidDocument
from ..secret import Secret


class InvalidBody(InvalidDocument):
    """A body with mistakes: *problems* is (JSON pointer, text) for each."""


class Body:
    """A JSON object, read key by key; `finish` raises all mistakes at once.

    A reader that finds a mistake notes it and returns the default.
    """

    def __init__(self, raw: dict[str, Any], within: tuple[str, ...] = ()) -> None:
        self._raw = raw
        self._within = within
        self._read: list[str] = []
        self._problems: list[tuple[str, str]] = []

    def text(
        self,
        key: str,
        default: str | None = None,
        *,
        longest: int = 256,
        printable: bool = True,
    ) -> str | None:
        """Return the string at *key*: not empty, *printable* if so, at most *longest* long."""
        value = self._value(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self.refuse(key, f"expected a string, got {_type(value)}")
        elif not 0 < len(value) <= longest:
            self.refuse(key, f"expected 1 to {longest} characters, got {len(value)}")
        elif printable and not value.isprintable():
            self.refuse(key, "expected printable characters only")
        else:
            return value
        return default

    def secret(self, key: str, *, longest: int = 1024) -> Secret | None:
        """Return the string at *key*, which no text will ever quote."""
        value = self._value(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.refuse(key, f"expected a string, got {_type(value)}")
        elif not 0 < len(value) <= longest:
            self.refuse(key, f"expected 1 to {longest} characters, got {len(value)}")
        else:
            try:
                return Secret(value.encode())
            except UnicodeEncodeError:
                self.refuse(key, "expected Unicode text without lone surrogates")
        return None

    def flag(self, key: str) -> bool:
        """Return the boolean at *key*, False when it is absent."""
        value = self._value(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.refuse(key, f"expected true or false, got {_type(value)}")
        return False

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """Return the one of *choices* at *key*."""
        value = self.text(key, default)
        if value in choices and value is not None:
            return value
        expected = ", ".join(map(repr, choices))
        self.refuse(key, f"expected one of {expected}, got {value!r}")
        return default

    def number(self, key: str, default: int, *, least: int, most: int) -> int:
        """Return the whole number at *key*, from *least* to *most*."""
        value = self._value(key)
        if value is None:
            return default
        if type(value) is int and least <= value <= most:
            return value
        self.refuse(key, f"expected a whole number from {least} to {most}")
        return default

    def figure(self, key: str, default: float, *, most: float) -> float:
        """Return the number at *key*, above 0 and at most *most*."""
        value = self._value(key)
        if value is None:
            return default
        if type(value) in (int, float) and 0 < value <= most:
            return float(value)
        self.refuse(key, f"expected a number above 0 and up to {most:g}")
        return default

    def names(self, key: str) -> list[str]:
        """Return the strings of the list at *key*, which has some; empty when it is absent."""
        value = self._value(key)
        if value is None:
            return []
        if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            return list(value)
        self.refuse(key, "expected a list of strings")
        return []

    def seconds(self, key: str, *, longest: float = LONGEST) -> float | None:
        """Return the length of time at *key* in seconds, None when it is absent."""
        return self._time(key, read_seconds, longest, SECONDS)

    def moment(self, key: str) -> float | None:
        """Return the time at *key* in seconds since 1970, None when it is absent."""
        return self._time(key, read_moment, LATEST, MOMENT)

    def _time(
        self, key: str, reader: Callable[[str], float], most: float, expected: str
    ) -> float | None:
        value = self._value(key)
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = reader(value)
            except ValueError:
                value = None
        if type(value) in (int, float) and 0 <= value <= most:
            return float(value)
        self.refuse(key, f"expected {expected}")
        return None

    def table(self, key: str) -> Body:
        """Return the object at *key*, an empty one when it is absent; they share their mistakes."""
        value = self._value(key)
        if value is not None and not isinstance(value, dict):
            self.refuse(key, f"expected an object, got {_type(value)}")
        below = Body(value if isinstance(value, dict) else {}, (*self._within, key))
        below._problems = self._problems
        return below

    def tables(self, key: str) -> list[Body]:
        """Return the objects of the list at *key*."""
        value = self._value(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse(key, f"expected a list, got {_type(value)}")
            return []
        found = []
        for index, each in enumerate(value):
            below = Body(each if isinstance(each, dict) else {}, (*self._within, key, str(index)))
            below._problems = self._problems
            if not isinstance(each, dict):
                below.refuse("", f"expected an object, got {_type(each)}")
            found.append(below)
        return found

    def texts(self, key: str) -> dict[str, str]:
        """Return the object at *key*, all of whose values are strings."""
        below = self.table(key)
        for name, value in below._raw.items():
            if not isinstance(value, str):
                below.refuse(name, f"expected a string, got {_type(value)}")
        return {name: value for name, value in below._raw.items() if isinstance(value, str)}

    def words(self, key: str, *, most: int) -> list[str]:
        """Return the list of 1 to *most* strings at *key*."""
        value = self._value(key)
        is_good = isinstance(value, list) and 0 < len(value) <= most
        if is_good and all(isinstance(each, str) and each for each in value):
            return list(value)
        self.refuse(key, f"expected a list of 1 to {most} strings")
        return []

    def secrets(self, key: str) -> dict[str, Secret]:
        """Return the object at *key*, all of whose values are strings that no text will quote."""
        below = self.table(key)
        found = {name: below.secret(name) for name in below._raw}
        return {name: value for name, value in found.items() if value is not None}

    def has(self, key: str) -> bool:
        return self._raw.get(key) is not None

    def keys(self) -> list[str]:
        return [printable(key) for key in self._raw]

    def peek(self, key: str) -> Any:
        """Return whatever is at *key*, unread: to see which form it has."""
        return self._raw.get(key)

    def refuse(self, key: str, text: str) -> None:
        """Note a mistake at *key*."""
        names = (*self._within, key) if key else self._within
        place = ".".join(printable(name) for name in names)
        where = "".join(f"/{_escaped(name)}" for name in names)
        self._problems.append((where, f"{place}: {text}" if place else text))

    def check(self) -> None:
        """Raise InvalidBody when there was any mistake; keys that nobody read are none."""
        if self._problems:
            raise InvalidBody(*self._problems)

    def finish(self) -> None:
        """Raise InvalidBody when there was any mistake or a key that nobody read."""
        for key in self._raw:
            if key not in self._read:
                near = difflib.get_close_matches(key, self._read, n=1)
                hint = f"nearest is {near[0]!r}" if near else f"known are {', '.join(self._read)}"
                self._problems.append(
                    (f"/{_escaped(key)}", f"unknown key {printable(key)!r}; {hint}")
                )
        if self._problems:
            raise InvalidBody(*self._problems)

    def _value(self, key: str) -> Any:
        self._read.append(key)
        return self._raw.get(key)


async def read_body(request: web.Request) -> Body:
    """Return the JSON object that *request* carries; raises InvalidBody."""
    value = await read_json(request) if await request.read() else {}
    if not isinstance(value, dict):
        raise InvalidBody(("", f"body: expected a JSON object, got {_type(value)}"))
    return Body(value)


async def read_json(request: web.Request, most: int | None = None) -> Any:
    """Return the JSON value that *request* carries; raises InvalidBody.

    *most* bytes are taken in the place of what the application takes of others.
    """
    raw = await (request.read() if most is None else _read(request, most))
    if not raw:
        raise InvalidBody(("", "body: expected JSON, got nothing"))
    try:
        value = json.loads(raw, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        # The message names a position and what was expected there, never the text itself.
        raise InvalidBody(
            ("", f"body: not JSON: line {error.lineno}, column {error.colno}: {error.msg}")
        ) from None
    except UnicodeDecodeError:
        raise InvalidBody(("", "body: expected JSON in UTF-8")) from None
    except (ValueError, RecursionError):
        raise InvalidBody(("", "body: expected JSON of sane depth and number sizes")) from None
    return value


async def _read(request: web.Request, most: int) -> bytes:
    """Return the body, of at most *most* bytes; aiohttp 3.8 has one limit for all requests."""
    if request.content.at_eof():
        return await request.read()  # The proof of who asks has read it already.
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > most:
            raise web.HTTPRequestEntityTooLarge(max_size=most, actual_size=len(body))
    return bytes(body)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two readers of one document must not see different values.
    value: dict[str, Any] = {}
    for key, item in pairs:
        if key in value:
            raise InvalidBody((f"/{_escaped(key)}", f"{printable(key)}: the key is there twice"))
        value[key] = item
    return value


def _constant(name: str) -> NoReturn:
    raise InvalidBody(("", f"body: {name} is not JSON"))


def printable(key: str) -> str:
    """Return *key*, which anybody may have made up, as an error text can show it."""
    return key.encode("ascii", "backslashreplace").decode()[:64]


def _escaped(key: str) -> str:
    """Return *key* as part of a JSON pointer (RFC 6901)."""
    return printable(key).replace("~", "~0").replace("/", "~1")


def _type(value: object) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        type(None): "null",
    }
    return names.get(type(value), "a number")
