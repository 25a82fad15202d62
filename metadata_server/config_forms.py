"""The forms a configured value may have: each reads a node, and describes itself for editors.

A form raises Wrong for its own value; lists, tables and sections note what is wrong inside them
and go on, so that one reading finds every mistake.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from .config_reader import BINARY, Items, Node, Problems, Scalar, Table, number, truth
from .secret import Secret

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Schema = dict[str, Any]


class Wrong(Exception):
    """A value that is not of its form, in words; without words it is noted already."""


class Form(Protocol[T_co]):
    def read(self, node: Node, where: str, problems: Problems) -> T_co: ...

    def schema(self) -> Schema: ...


def shown(node: Node) -> str:
    """Return *node* as an error text may name it."""
    if isinstance(node, Items):
        return "a list"
    if isinstance(node, Table):
        return "a table"
    if node.is_null:
        return "nothing"
    return repr(node.text if len(node.text) <= 60 else node.text[:57] + "...")


def nearest(word: str, known: list[str]) -> str:
    """Return the end of a sentence about an unknown *word*."""
    close = difflib.get_close_matches(word, known, 1, 0.5)
    return f", nearest is {close[0]!r}" if close else f", expected one of {', '.join(known)}"


@dataclass(frozen=True)
class Text(Generic[T]):
    """A single value that *reader* makes of its text; the text of a secret is never shown.

    Numbers and truth values are taken as they are written, so that ids of digits need no quotes.
    """

    reader: Callable[[str], T]
    expected: str
    pattern: str | None = None
    secret: bool = False

    def read(self, node: Node, where: str, problems: Problems) -> T:
        if not isinstance(node, Scalar) or node.is_null or node.tag == BINARY:
            raise Wrong(f"expected {self.expected}, got {self._shown(node)}")
        try:
            return self.reader(node.text)
        except Wrong:
            raise
        except ValueError as error:
            raise Wrong(f"expected {self.expected}, got {self._shown(node)}") from error

    def schema(self) -> Schema:
        # Editors type what the file holds; 0 and "0" are both taken.
        found: Schema = {"type": ["string", "number"], "description": self.expected}
        if self.pattern:
            found = {"type": "string", "pattern": self.pattern, "description": self.expected}
        return found

    def _shown(self, node: Node) -> str:
        return "***" if self.secret and isinstance(node, Scalar) else shown(node)


@dataclass(frozen=True)
class Whole:
    """A whole number in a range, both ends included."""

    least: int
    most: int

    def read(self, node: Node, where: str, problems: Problems) -> int:
        found = number(node) if isinstance(node, Scalar) else None
        if not isinstance(found, int) or not self.least <= found <= self.most:
            raise Wrong(
                f"expected a whole number from {self.least} to {self.most}, got {shown(node)}"
            )
        return found

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Truth:
    def read(self, node: Node, where: str, problems: Problems) -> bool:
        found = truth(node) if isinstance(node, Scalar) else None
        if found is None:
            raise Wrong(f"expected true or false, got {shown(node)}")
        return found

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice:
    words: tuple[str, ...]

    def read(self, node: Node, where: str, problems: Problems) -> str:
        if not isinstance(node, Scalar) or node.text not in self.words:
            raise Wrong(f"expected {' or '.join(self.words)}, got {shown(node)}")
        return node.text

    def schema(self) -> Schema:
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class ListOf(Generic[T]):
    """A list; *unique* refuses a value that is there twice."""

    item: Form[T]
    unique: bool = False

    def read(self, node: Node, where: str, problems: Problems) -> tuple[T, ...]:
        if not isinstance(node, Items):
            raise Wrong(f"expected a list, got {shown(node)}")
        found: list[T] = []
        for index, each in enumerate(node.nodes):
            place = f"{where}[{index}]"
            try:
                value = self.item.read(each, place, problems)
            except Wrong as wrong:
                note(wrong, each, place, problems)
                continue
            if self.unique and value in found:
                problems.add(each, place, f"expected each value once, got {shown(each)} again")
                continue
            found.append(value)
        return tuple(found)

    def schema(self) -> Schema:
        return {"type": "array", "items": self.item.schema(), "uniqueItems": self.unique}


@dataclass(frozen=True)
class TableOf(Generic[T]):
    """A table whose keys are free, or of *names*, or read by *key*."""

    item: Form[T]
    key: Callable[[str], str] | None = None
    names: tuple[str, ...] = ()
    most: int | None = None
    noun: str = "key"

    def read(self, node: Node, where: str, problems: Problems) -> Mapping[str, T]:
        if not isinstance(node, Table):
            raise Wrong(f"expected a table, got {shown(node)}")
        if self.most is not None and len(node.entries) > self.most:
            raise Wrong(f"expected at most {self.most} entries, got {len(node.entries)}")
        found: dict[str, T] = {}
        for key, value in node.entries:
            place = below(where, key.text)
            try:
                name = self._name(key, found)
                found[name] = self.item.read(value, place, problems)
            except Wrong as wrong:
                note(wrong, value if isinstance(value, Scalar) else key, place, problems)
        return found

    def _name(self, key: Scalar, found: Mapping[str, T]) -> str:
        if self.names and key.text not in self.names:
            raise Wrong(f"unknown {self.noun}{nearest(key.text, list(self.names))}")
        try:
            name = self.key(key.text) if self.key else key.text
        except ValueError as error:
            raise Wrong(f"expected {error}") from error
        if name in found:
            raise Wrong(f"expected each {self.noun} once, got {key.text!r} again")
        return name

    def schema(self) -> Schema:
        found: Schema = {"type": "object"}
        if self.names:
            found["properties"] = {name: self.item.schema() for name in self.names}
            found["additionalProperties"] = False
        else:
            found["additionalProperties"] = self.item.schema()
        if self.most is not None:
            found["maxProperties"] = self.most
        return found


@dataclass(frozen=True)
class Json:
    """Any value that JSON can carry; *table* says that it has to be a table."""

    table: bool = False

    def read(self, node: Node, where: str, problems: Problems) -> Any:
        if self.table and not isinstance(node, Table):
            raise Wrong(f"expected a table, got {shown(node)}")
        return _json(node, where, problems)

    def schema(self) -> Schema:
        return {"type": "object"} if self.table else {}


def _json(node: Node, where: str, problems: Problems) -> Any:
    if isinstance(node, Items):
        return [_json(each, f"{where}[{n}]", problems) for n, each in enumerate(node.nodes)]
    if isinstance(node, Table):
        found: dict[str, Any] = {}
        for key, value in node.entries:
            place = below(where, key.text)
            if key.text in found:
                problems.add(key, place, "expected each key once, got it again")
            found[key.text] = _json(value, place, problems)
        return found
    if node.is_null:
        return None
    if node.tag == BINARY:
        problems.add(node, where, "expected a value that JSON can carry, got binary data")
        return None
    known = truth(node)
    if known is None:
        figure = number(node)
        if isinstance(figure, float) and not math.isfinite(figure):
            problems.add(node, where, f"expected a value that JSON can carry, got {node.text!r}")
        return node.text if figure is None else figure
    return known


@dataclass(frozen=True)
class SecretText:
    """Text that is never shown."""

    expected: str

    def read(self, node: Node, where: str, problems: Problems) -> Secret:
        if not isinstance(node, Scalar) or node.is_null:
            raise Wrong(f"expected {self.expected}, got {shown(node)}")
        return Secret(node.text.encode())

    def schema(self) -> Schema:
        return {"type": "string", "description": self.expected}


@dataclass(frozen=True)
class Key(Generic[T]):
    """One key of a section: its name, the form of its value, and a line for people."""

    name: str
    form: Form[T]
    doc: str
    required: bool = False


Values = dict[str, Any]


@dataclass(frozen=True)
class Section(Generic[T]):
    """A table with known keys, which *build* makes into a value of ours.

    *build* gets what was set, without the keys that are null, and the table for its place; it may
    raise Wrong, or note problems of single keys itself. When there is a mistake inside it is asked
    all the same, so that the rest can be checked beside others, but what it says then is not
    heard, unless it can do with what is *partial*: it might only follow from that mistake.
    """

    name: str
    keys: tuple[Key[Any], ...]
    build: Callable[[Values, Table, str, Problems], T]
    partial: bool = False

    def read(self, node: Node, where: str, problems: Problems) -> T:
        if not isinstance(node, Table):
            raise Wrong(f"expected a table, got {shown(node)}")
        known = {key.name: key for key in self.keys}
        values: Values = {}
        seen: set[str] = set()
        missing = False
        before = len(problems)
        for name, value in node.entries:
            place = below(where, name.text)
            if name.text in seen:
                problems.add(name, place, "expected each key once, got it again")
                continue
            seen.add(name.text)
            key = known.get(name.text)
            if key is None:
                problems.add(
                    name, where, f"unknown key {name.text!r}{nearest(name.text, [*known])}"
                )
            elif not value.is_null:
                try:
                    values[key.name] = key.form.read(value, place, problems)
                except Wrong as wrong:
                    note(wrong, value, place, problems)
        for key in self.keys:
            if key.required and key.name not in values:
                missing = True
                if key.name not in seen or entry(node, key.name).is_null:
                    problems.add(node, where, f"missing key {key.name!r}, expected {key.doc}")
        if missing:
            raise Wrong
        if len(problems) == before or self.partial:
            return self.build(values, node, where, problems)
        unheard = Problems()
        try:
            made = self.build(values, node, where, unheard)
        except Wrong:
            raise Wrong from None
        if len(unheard):
            raise Wrong
        return made

    def schema(self) -> Schema:
        properties = {}
        for key in self.keys:
            properties[key.name] = {**key.form.schema(), "description": key.doc}
        found: Schema = {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
        }
        required = [key.name for key in self.keys if key.required]
        if required:
            found["required"] = required
        return found


def built(make: Callable[..., T]) -> Callable[[Values, Table, str, Problems], T]:
    """Return a *build* for a section whose keys are the arguments of *make*."""

    def build(values: Values, node: Table, where: str, problems: Problems) -> T:
        return make(**values)

    return build


def note(wrong: Wrong, node: Node, where: str, problems: Problems) -> None:
    """Add what *wrong* says, unless it was noted where it happened."""
    if wrong.args:
        problems.add(node, where, str(wrong))


def below(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def entry(node: Table, name: str) -> Node:
    """Return the value of the key *name*, or the table itself: the best place for a problem."""
    for key, value in node.entries:
        if key.text == name:
            return value
    return node
