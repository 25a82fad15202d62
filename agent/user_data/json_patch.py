"""JSON patches, RFC 6902, on a cloud-config. All of a patch is applied, or nothing of it."""

from __future__ import annotations

from typing import Any, NamedTuple

FIELDS = {
    "add": ("value",),
    "remove": (),
    "replace": ("value",),
    "move": ("from",),
    "copy": ("from",),
    "test": ("value",),
}
MOST_VALUES = 200_000
DEEPEST = 100


class PatchError(Exception):
    """The patch is none, or cannot be applied; in words without values."""


class _Place(NamedTuple):
    """Where a pointer leads: a mapping or list, and the key or index in it."""

    container: Any
    key: Any


def apply(patch: Any, document: Any) -> Any:
    """Return *document*, which stays as it is, with *patch* applied; PatchError when it cannot."""
    if not isinstance(patch, list):
        raise PatchError("expected a list of operations")
    budget = _Budget()
    # In a list of its own the whole document is a value like any other.
    top = [budget.copied(document)]
    for number, operation in enumerate(patch):
        where = f"[{number}]"
        if not isinstance(operation, dict):
            raise PatchError(f"{where}: expected an operation")
        name = operation.get("op")
        if not isinstance(name, str) or name not in FIELDS:
            raise PatchError(f"{where}.op: expected one of {', '.join(FIELDS)}")
        for field in ("path", *FIELDS[name]):
            if field not in operation:
                raise PatchError(f"{where}: expected {field!r} for {name}")
        try:
            _do(name, operation, top, budget)
        except PatchError as error:
            raise PatchError(f"{where} {name}: {error}") from None
        except RecursionError:
            raise PatchError(f"{where} {name}: nested too deeply") from None
    _check_depth(top)
    return top[0]


def _do(name: str, operation: dict[str, Any], top: list[Any], budget: _Budget) -> None:
    path = _pointer(operation["path"])
    if name == "test":
        if not same(_get(top, path), operation["value"]):
            raise PatchError("the value is another")
    elif name == "remove":
        _remove(top, path)
    elif name == "add":
        _add(top, path, budget.copied(operation["value"]))
    elif name == "replace":
        place = _find(top, path)
        place.container[place.key] = budget.copied(operation["value"])
    else:
        source = _pointer(operation["from"])
        value = _get(top, source)
        if name == "move":
            if path[: len(source)] == source and path != source:
                raise PatchError("a value cannot be moved into itself")
            _remove(top, source)
        else:
            value = budget.copied(value)
        _add(top, path, value)


def same(one: Any, other: Any) -> bool:
    """Say whether two values are equal as JSON has it: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _pointer(text: Any) -> tuple[str, ...]:
    """Return the steps of a JSON pointer, RFC 6901."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchError("expected a path such as '/runcmd/0'")
    steps = tuple(text.split("/")[1:])
    for step in steps:
        rest = step.replace("~0", "").replace("~1", "")
        if "~" in rest:
            raise PatchError("expected '~0' or '~1' after a '~' in a path")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)


def _find(top: list[Any], path: tuple[str, ...]) -> _Place:
    """Return the place of a value that is there."""
    place = _Place(top, 0)
    for step in path:
        here = place.container[place.key]
        if isinstance(here, dict):
            if step not in here:
                raise PatchError("there is no such path")
            place = _Place(here, step)
        elif isinstance(here, list):
            place = _Place(here, _index(step, len(here) - 1))
        else:
            raise PatchError("there is no such path")
    return place


def _get(top: list[Any], path: tuple[str, ...]) -> Any:
    place = _find(top, path)
    return place.container[place.key]


def _add(top: list[Any], path: tuple[str, ...], value: Any) -> None:
    if not path:
        top[0] = value
        return
    parent = _get(top, path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = value
    elif isinstance(parent, list):
        end = len(parent)
        parent.insert(end if path[-1] == "-" else _index(path[-1], end), value)
    else:
        raise PatchError("there is no such path")


def _remove(top: list[Any], path: tuple[str, ...]) -> None:
    if not path:
        raise PatchError("the whole document cannot be removed")
    place = _find(top, path)
    del place.container[place.key]


def _index(step: str, last: int) -> int:
    plain = step.isascii() and step.isdecimal() and (step == "0" or step[0] != "0")
    if not plain or len(step) > 9:
        raise PatchError("expected an index into a list")
    if int(step) > last:
        raise PatchError("there is no such index")
    return int(step)


def _check_depth(top: list[Any]) -> None:
    """Refuse what moves have nested deeper than a document may be; this is no recursion itself."""
    level: list[Any] = top
    for _ in range(DEEPEST + 2):
        below: list[Any] = []
        for each in level:
            if isinstance(each, (dict, list)):
                below += each.values() if isinstance(each, dict) else each
        level = below
    if level:
        raise PatchError(f"nested deeper than {DEEPEST} levels")


class _Budget:
    """Copies values, as many as a document may have: copies of copies grow without end."""

    def __init__(self) -> None:
        self._left = MOST_VALUES

    def copied(self, value: Any) -> Any:
        """Return a copy of *value* that shares nothing with it."""
        self._left -= 1
        if self._left < 0:
            raise PatchError(f"more than {MOST_VALUES} values")
        if isinstance(value, dict):
            return {key: self.copied(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.copied(item) for item in value]
        return value
