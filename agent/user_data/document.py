"""YAML to plain values, within bounds. An error says where and what, and quotes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from ..errors import ConfigError

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML without libyaml: slower, otherwise the same.
    from yaml import SafeLoader  # type: ignore[assignment]  # the two share what is used here

DEEPEST = 100
MOST_NODES = 200_000
LONGEST_NUMBER = 100
"""Characters of a number; to make one of more takes quadratic time. What is longer is text."""
_TEXT, _INTEGER, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float"))
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|\*\S+""")


def parse(content: bytes, place: str) -> tuple[Any, tuple[str, ...]]:
    """Return the one document in *content*, and what is odd about it in words.

    Raises ConfigError, which begins with *place*, when it is not YAML, is nested too deeply, or
    grows beyond all measure when its aliases are followed.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place}: expected UTF-8, got another byte at {error.start}") from None
    try:
        _check_shape(text, place)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, ()
            if b"&" in content:
                _Aliases(place).size(node)
            return loader.construct_document(node), tuple(loader.odd)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = _QUOTED.sub("…", error.problem or error.context or "not YAML")
        raise ConfigError(f"{place}: {where}{what}") from None
    except yaml.YAMLError:
        raise ConfigError(f"{place}: a character that YAML does not allow") from None
    except RecursionError:
        raise ConfigError(f"{place}: nested too deeply") from None
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError):
        # A scalar that looks like a number or a date and is none, such as 2026-99-99.
        raise ConfigError(f"{place}: a value that is not what its form says") from None


def parse_mapping(content: bytes, place: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the mapping in *content*, an empty one for an empty document, as `parse` does."""
    value, odd = parse(content, place)
    if value is None:
        return {}, odd
    if not isinstance(value, dict):
        got = "a list" if isinstance(value, list) else "a single value"
        raise ConfigError(f"{place}: expected a mapping of keys to values, got {got}")
    known = {key: item for key, item in value.items() if isinstance(key, str)}
    if len(known) < len(value):
        odd += ("a key that is not text was left out",)
    return known, odd


def _check_shape(text: str, place: str) -> None:
    """Refuse what would exhaust the stack of libyaml's composer, or the memory.

    Composing is recursive in C and ends the process where nesting is deep enough; events are not.
    Every level and every value but the first takes one of these characters, so that few of them
    leave no doubt, whatever ends a line.
    """
    if sum(map(text.count, "-?:[{,")) <= DEEPEST:
        return
    depth = nodes = 0
    for event in yaml.parse(text, Loader=SafeLoader):
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise ConfigError(f"{place}: nested deeper than {DEEPEST} levels")
        if nodes > MOST_NODES:
            raise ConfigError(f"{place}: more than {MOST_NODES} values")


class _Aliases:
    """Measures a document with all its aliases followed, without following them."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._sizes: dict[int, int] = {}

    def size(self, node: Any) -> int:
        """Return the number of values below *node*; ConfigError beyond MOST_NODES."""
        known = self._sizes.get(id(node))
        if known == 0:
            raise ConfigError(f"{self._place}: an alias that contains itself")
        if known:
            return known
        self._sizes[id(node)] = 0
        total = 1
        if isinstance(node, yaml.SequenceNode):
            total += sum(self.size(item) for item in node.value)
        elif isinstance(node, yaml.MappingNode):
            total += sum(self.size(key) + self.size(item) for key, item in node.value)
        if total > MOST_NODES:
            raise ConfigError(f"{self._place}: more than {MOST_NODES} values through its aliases")
        self._sizes[id(node)] = total
        return total


class _Loader(SafeLoader):
    """Also notes keys that are given twice: YAML silently keeps the last. Bounds numbers."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.odd: list[str] = []

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and len(value) > LONGEST_NUMBER:
            return _TEXT
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # its stub

    def construct_number(self, node: Any) -> Any:
        if len(node.value) > LONGEST_NUMBER:
            raise ValueError("a number that is too long")
        if node.tag == _INTEGER:
            return self.construct_yaml_int(node)
        return self.construct_yaml_float(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    line = key.start_mark.line + 1
                    self.odd.append(
                        f"line {line}: key {key.value!r} is there twice, the last counts"
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


for _tag in (_INTEGER, _FLOAT):
    _Loader.add_constructor(_tag, _Loader.construct_number)
