"""How two values become one, as `merge_how` and `merge_type` say it: dict(…)+list(…)+str(…).

Of *value*, what was there before, and *other*, what comes after. Neither is changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

FORM = "expected mergers such as 'list(append)+dict(no_replace,recurse_list)+str()'"
_ONE = re.compile(r"([a-z]+)\(([a-z_,\s]*)\)")

DICT_METHODS = ("replace", "no_replace")
LIST_METHODS = ("append", "prepend", "replace", "no_replace")
RECURSE_LIST = frozenset({"recurse_array", "recurse_list"})
# What each kind may be asked for; the first method of two that are there is the one that holds.
KNOWN: Mapping[str, frozenset[str]] = {
    "dict": frozenset({*DICT_METHODS, "recurse_str", "recurse_dict", "allow_delete"})
    | RECURSE_LIST,
    "list": frozenset({*LIST_METHODS, "recurse_str", "recurse_dict"}) | RECURSE_LIST,
    "str": frozenset({"append", "replace"}),
}


class Merger(NamedTuple):
    """One of the mergers a user names: its kind, and the words in its brackets."""

    kind: str
    options: frozenset[str]


DEFAULT = (
    Merger("dict", frozenset({"replace"})),
    Merger("list", frozenset()),
    Merger("str", frozenset()),
)
"""What holds between parts that say nothing: a later part replaces the keys of an earlier."""


def read_text(text: str) -> tuple[Merger, ...]:
    """Return the mergers in *text*, none for empty text; ValueError says what is expected."""
    found = []
    for piece in filter(None, (each.strip() for each in text.split("+"))):
        form = _ONE.fullmatch(piece)
        if form is None:
            raise ValueError(FORM)
        found.append(_merger(form[1], form[2].split(",")))
    return tuple(found)


def read(raw: object) -> tuple[Merger, ...]:
    """Return the mergers of the key `merge_how`: text, or a list of names with settings."""
    if raw is None:
        return ()
    if isinstance(raw, str):
        return read_text(raw)
    if not isinstance(raw, list):
        raise ValueError(FORM)  # noqa: TRY004 - a reader's one exception, whatever is wrong
    found = []
    for item in raw:
        name = item.get("name") if isinstance(item, dict) else None
        settings = item.get("settings", []) if isinstance(item, dict) else None
        if not isinstance(name, str) or not isinstance(settings, list):
            raise ValueError(FORM)  # noqa: TRY004 - as above
        found.append(_merger(name, settings))
    return tuple(found)


def _merger(kind: str, options: list[Any]) -> Merger:
    if kind not in KNOWN:
        raise ValueError(f"expected one of dict, list and str as a merger, got {kind[:40]!r}")
    words = frozenset(filter(None, (str(option).strip() for option in options)))
    for word in sorted(words - KNOWN[kind]):
        known = ", ".join(sorted(KNOWN[kind]))
        raise ValueError(f"expected {kind}() with some of {known}, got {word[:40]!r}")
    return Merger(kind, words)


def merge(mergers: tuple[Merger, ...], value: Any, other: Any) -> Any:
    """Return *value* with *other* merged in. Of two mergers of one kind the first counts."""
    if isinstance(value, dict):
        return _merge_dict(mergers, value, other)
    if isinstance(value, list):
        return _merge_list(mergers, value, other)
    if isinstance(value, str):
        return _merge_text(mergers, value, other)
    return value


def _options(mergers: tuple[Merger, ...], kind: str) -> frozenset[str] | None:
    return next((each.options for each in mergers if each.kind == kind), None)


def _method(options: frozenset[str], methods: tuple[str, ...], default: str) -> str:
    return next((method for method in methods if method in options), default)


def _merge_dict(mergers: tuple[Merger, ...], value: dict[Any, Any], other: Any) -> Any:
    options = _options(mergers, "dict")
    if options is None or not isinstance(other, dict):
        return value
    replace = _method(options, DICT_METHODS, "no_replace") == "replace"
    whole = dict(value)
    for key, new in other.items():
        if key not in whole:
            whole[key] = new
        elif new is None and "allow_delete" in options:
            del whole[key]
        elif replace:
            whole[key] = new
        elif isinstance(new, dict) or _recurses(options, new):
            whole[key] = merge(mergers, whole[key], new)
    return whole


def _merge_list(mergers: tuple[Merger, ...], value: list[Any], other: Any) -> Any:
    options = _options(mergers, "list")
    if options is None:
        return value
    method = _method(options, LIST_METHODS, "replace")
    if not isinstance(other, list):
        return other if method == "replace" else value
    if method == "append":
        return value + other
    if method == "prepend":
        return other + value
    whole = list(value)
    if method == "replace":
        # Item by item, and the list grows no longer: that is the rule, odd as it may be.
        for number, (old, new) in enumerate(zip(value, other)):
            inner = isinstance(new, dict) and "recurse_dict" in options
            recurse = inner or _recurses(options, new)
            whole[number] = merge(mergers, old, new) if recurse else new
    return whole


def _merge_text(mergers: tuple[Merger, ...], value: str, other: Any) -> Any:
    options = _options(mergers, "str")
    if options is None:
        return value
    return f"{value}{other}" if "append" in options else other


def _recurses(options: frozenset[str], new: Any) -> bool:
    if isinstance(new, list):
        return bool(options & RECURSE_LIST)
    return isinstance(new, str) and "recurse_str" in options
