"""YAML and JSON read into nodes that know their file and line. Nothing is built yet.

What a document may cost is bounded before it is walked: bytes, depth, and values, where an alias
counts for everything behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from .errors import ConfigError

# The C parser is about ten times faster and not on every system.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_FILE_AND_LINE: Final = re.compile(r"(.*?):(\d+)(?::|$)", re.DOTALL)

MAX_BYTES: Final = 32 * 1024 * 1024
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 2_000_000

NULL: Final = "tag:yaml.org,2002:null"
STRING: Final = "tag:yaml.org,2002:str"
BINARY: Final = "tag:yaml.org,2002:binary"
_NUMBERS: Final = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MERGE: Final = "tag:yaml.org,2002:merge"
_TRUTH: Final = "tag:yaml.org,2002:bool"


@dataclass(frozen=True, slots=True)
class Scalar:
    file: Path
    line: int
    tag: str
    text: str
    """As written, without quotes."""
    size: int = 1

    @property
    def is_null(self) -> bool:
        return self.tag == NULL


@dataclass(frozen=True, slots=True)
class Items:
    file: Path
    line: int
    nodes: tuple[Node, ...]
    size: int

    is_null = False


@dataclass(frozen=True, slots=True)
class Table:
    file: Path
    line: int
    entries: tuple[tuple[Scalar, Node], ...]
    size: int

    is_null = False


Node = Scalar | Items | Table


class Problems:
    """The mistakes found so far, each once, as `file:line: where: what, what was expected`."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}
        """With the line in the file each is in."""
        self._places: set[tuple[Path, str]] = set()

    def add(self, node: Node, where: str, text: str) -> None:
        self._lines[
            f"{node.file}:{node.line}: {where}: {text}"
            if where
            else f"{node.file}:{node.line}: {text}"
        ] = node.line
        self._places.add((node.file, where))

    def add_line(self, line: str) -> None:
        found = _FILE_AND_LINE.match(line)
        self._lines[line] = int(found[2]) if found else 0

    def has(self, file: Path, where: str) -> bool:
        """Say whether there is one at *where* of *file*, or below it."""
        return any(
            at == file and (place == where or place.startswith((f"{where}.", f"{where}[")))
            for at, place in self._places
        )

    def is_at(self, file: Path, where: str) -> bool:
        """Say whether there is one at *where* itself, such as an unknown key."""
        return (file, where) in self._places

    def __len__(self) -> int:
        return len(self._lines)

    def check(self) -> None:
        """Raise ConfigError when there is any: the files as they were read, each by its lines."""
        files: dict[str, int] = {}

        def order(line: str) -> tuple[int, int]:
            found = _FILE_AND_LINE.match(line)
            file = found[1] if found else line
            return files.setdefault(file, len(files)), self._lines[line]

        if self._lines:
            raise ConfigError(*sorted(self._lines, key=order))


class _Scalars(SafeConstructor, Resolver):
    """What plain YAML text means, without a document around it."""

    def __init__(self) -> None:
        SafeConstructor.__init__(self)
        Resolver.__init__(self)


_SCALARS: Any = _Scalars()


def number(node: Scalar) -> int | float | None:
    """Return the number that *node* spells without quotes, if it does."""
    # A colon would make it a number to base 60, which nobody writes on purpose.
    if node.tag not in _NUMBERS or ":" in node.text:
        return None
    value: int | float | None = _construct(node)
    return value


def truth(node: Scalar) -> bool | None:
    """Return the truth value that *node* spells without quotes, if it does."""
    if node.tag != _TRUTH:
        return None
    value: bool | None = _construct(node)
    return value


def _construct(node: Scalar) -> Any:
    try:
        return _SCALARS.construct_object(ScalarNode(node.tag, node.text))
    except (ValueError, KeyError):  # an explicit tag on text that it does not fit
        return None


def read_file(path: Path) -> Node | None:
    """Return the one document in *path*, or None when it holds nothing.

    Raises ConfigError with file and line when it cannot be read or is no YAML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: expected at most {MAX_BYTES} bytes")
    return parse(data, path)


def parse(data: bytes, path: Path) -> Node | None:
    """Return the one document in *data*, whose places are said to be in *path*."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: expected UTF-8 text") from None
    try:
        return _Composer(path).compose(yaml.parse(text, _LOADER))
    except yaml.MarkedYAMLError as error:
        # str(error) would quote the line, and with it whatever secret is there. Hence no cause.
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.reason}") from error


class _Open:
    """A list or table whose end has not come yet."""

    def __init__(self, line: int, anchor: str | None, *, is_table: bool) -> None:
        self.line = line
        self.anchor = anchor
        self.is_table = is_table
        self.nodes: list[Node] = []


class _Composer:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._anchors: dict[str, Node] = {}
        self._open: list[_Open] = []
        self._values = 0

    def compose(self, events: Iterable[Any]) -> Node | None:
        document: Node | None = None
        started = False
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if started:
                    raise self._wrong(event, "expected one document, found a second")
                started = True
                continue
            node = self._node(event)
            if node is None:
                continue
            self._values += node.size if isinstance(event, yaml.AliasEvent) else 1
            if self._values > MAX_VALUES:
                raise self._wrong(event, f"expected at most {MAX_VALUES} values, aliases followed")
            if self._open:
                self._open[-1].nodes.append(node)
            else:
                document = node
        if isinstance(document, Scalar) and document.is_null:
            return None
        return document

    def _node(self, event: Any) -> Node | None:
        """Return the node that ends with *event*, if one does."""
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            tag = event.tag
            if tag is None or tag == "!":
                tag = _SCALARS.resolve(ScalarNode, event.value, event.implicit)
            return self._named(event.anchor, Scalar(self._path, line, str(tag), event.value))
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._wrong(
                    event, f"no finished value is called '&{event.anchor}' before this"
                )
            return self._anchors[event.anchor]
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            if len(self._open) == MAX_DEPTH:
                raise self._wrong(event, f"expected at most {MAX_DEPTH} levels")
            is_table = isinstance(event, yaml.MappingStartEvent)
            self._open.append(_Open(line, event.anchor, is_table=is_table))
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            ended = self._open.pop()
            node: Node
            if ended.is_table:
                node = self._table(ended)
            else:
                size = 1 + sum(item.size for item in ended.nodes)
                node = Items(self._path, ended.line, tuple(ended.nodes), size)
            return self._named(ended.anchor, node)
        return None

    def _named(self, anchor: str | None, node: Node) -> Node:
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _table(self, ended: _Open) -> Table:
        entries: list[tuple[Scalar, Node]] = []
        merged: list[tuple[Scalar, Node]] = []
        nodes = iter(ended.nodes)
        for key, value in zip(nodes, nodes, strict=True):
            if not isinstance(key, Scalar):
                raise ConfigError(f"{self._path}:{key.line}: expected text as a key")
            if key.tag == _MERGE:
                merged += self._merged(value)
            else:
                entries.append((key, value))
        own = {key.text for key, _ in entries}
        for key, value in merged:
            if key.text not in own:
                own.add(key.text)
                entries.append((key, value))
        size = 1 + sum(key.size + value.size for key, value in entries)
        return Table(self._path, ended.line, tuple(entries), size)

    def _merged(self, value: Node) -> Iterator[tuple[Scalar, Node]]:
        for table in value.nodes if isinstance(value, Items) else (value,):
            if not isinstance(table, Table):
                raise ConfigError(f"{self._path}:{value.line}: expected a table behind '<<'")
            yield from table.entries

    def _wrong(self, event: Any, text: str) -> ConfigError:
        return ConfigError(f"{self._path}:{event.start_mark.line + 1}: {text}")
