"""Documents that the command reads from files, and changes that it reads from KEY=VALUE words."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import UsageError

_STEP = re.compile(r"\[(\d{1,6})\]|\.?((?:[^.\[\]\\]|\\.)+)")


def read_instances(name: str) -> Any:
    """Return the instance or the list of instances in the file *name*, `-` for stdin.

    It is YAML or JSON, as in the server's configuration. Files it names are read here, relative to
    it, and become part of the document.
    """
    # PyYAML is not for the commands that read no file.
    from ..config_forms import Json
    from ..config_reader import Problems, parse
    from ..errors import ConfigError

    path = Path("stdin" if name == "-" else name)
    problems = Problems()
    try:
        node = parse(_bytes(name), path)
        if node is None:
            raise UsageError(f"{path}: expected an instance or a list of them, found nothing")
        found = Json().read(node, "", problems)
        problems.check()
    except ConfigError as error:
        raise UsageError("; ".join(error.problems)) from error
    for each in found if isinstance(found, list) else [found]:
        if not isinstance(each, dict):
            raise UsageError(f"{path}: expected an instance or a list of them")
        _take_in(each, "user_data", path.parent)
        for file in each.get("files") or ():
            if isinstance(file, dict):
                _take_in(file, "content", path.parent)
    return found


def read_json(name: str) -> Any:
    """Return the JSON document in the file *name*, `-` for stdin."""
    try:
        return json.loads(_bytes(name))
    except ValueError as error:
        raise UsageError(f"{name}: not JSON: {error}") from None


def read_text(name: str) -> str:
    """Return the text in the file *name*, `-` for stdin."""
    return _text(name, _bytes(name))


def changes(words: Sequence[str], current: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the merge patch that *words*, KEY=VALUE each, ask for.

    A key is a path such as `tags.Name` or `nics[0].ipv4`; `\\.` is a dot in a name. A value is
    JSON, or else text; `@FILE` is what is in a file. Lists are changed as *current* has them.
    """
    patch: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        steps = _steps(key)
        if not equals or not steps or isinstance(steps[0], int):
            raise UsageError("expected KEY=VALUE such as tags.Name=web or nics[0].mtu=1400")
        value: Any
        if text.startswith("@"):
            value = _bytes(text[1:])
            if steps == ["user_data"]:
                steps = ["user_data_base64"]
                value = base64.b64encode(value)
            value = _text(text[1:], value)
        else:
            value = _value(text)
        _put(patch, steps, value, current or {}, key)
    return patch


def needs_current(words: Sequence[str]) -> bool:
    """Say whether one of *words* changes something in a list."""
    return any(
        isinstance(step, int) for word in words for step in _steps(word.partition("=")[0])[1:]
    )


def _put(patch: dict[str, Any], steps: list[str | int], value: Any, current: Any, key: str) -> None:
    here: Any = patch
    for index, step in enumerate(steps):
        is_last = index == len(steps) - 1
        current = _below(current, step)
        if isinstance(step, int):
            if not isinstance(here, list) or step > len(here):
                have = len(here) if isinstance(here, list) else 0
                raise UsageError(f"{key}: the list has {have} entries")
            if step == len(here):
                here.append({})
        if is_last:
            here[step] = value
            return
        if isinstance(steps[index + 1], int):
            if _below(here, step) is None:
                # A patch has the whole list or nothing of it.
                here[step] = json.loads(json.dumps(current if isinstance(current, list) else []))
        elif not isinstance(_below(here, step), dict):
            here[step] = {}
        here = here[step]


def _below(value: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return value[step] if isinstance(value, list) and step < len(value) else None
    return value.get(step) if isinstance(value, Mapping) else None


def _steps(key: str) -> list[str | int]:
    """Return the names and numbers of a path; nothing when it is none."""
    steps: list[str | int] = []
    at = 0
    while at < len(key):
        found = _STEP.match(key, at)
        if not found:
            return []
        number, name = found.groups()
        steps.append(int(number) if number else re.sub(r"\\(.)", r"\1", name))
        at = found.end()
    return steps


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _take_in(table: dict[str, Any], key: str, directory: Path) -> None:
    """Put the content of the file that `KEY_file` names in its place."""
    name = table.pop(f"{key}_file", None)
    if name is not None:
        table[f"{key}_base64"] = base64.b64encode(_bytes(str(directory / str(name)))).decode()


def _bytes(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{name}: expected text in UTF-8") from None
