"""Files of repositories as dnf, yum and zypper read them: one section, a key a line."""

import re
from collections.abc import Mapping
from typing import Any, Optional

from .base import Context
from .readers import kind

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_SCALARS = (str, int, float)


def read_id(raw: object, blank: str) -> str:
    """Return the name of a repository, *blank* in the place of each blank."""
    text = str(raw) if type(raw) is int else raw
    if isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.: +~-]*", text):
        return text.replace(" ", blank)
    raise ValueError("expected a repository's name such as 'epel'")


def read_values(raw: Mapping[Any, Any], *, as_spelled: bool = False) -> dict[str, str]:
    """Return what keys are set to, as text; raises ValueError.

    Those of a repository are in lower case whatever is given, others may need to be *as_spelled*.
    """
    values: dict[str, str] = {}
    for name, value in raw.items():
        key = str(name).strip()
        key = key if as_spelled else key.lower().replace("-", "_")
        if not _KEY.fullmatch(key):
            raise ValueError(f"expected a key such as 'baseurl', got {name!r}")
        items = value if isinstance(value, list) else [value]
        if not items or any(type(item) not in (*_SCALARS, bool) for item in items):
            raise ValueError(f"expected text at {key}, got {kind(value)}")
        words = [str(int(item)) if isinstance(item, bool) else str(item).strip() for item in items]
        if any(re.search(r"[\n\r\0]", word) for word in words):
            raise ValueError(f"expected text on one line at {key}")
        values[key] = "\n    ".join(words)
    return values


def section(name: str, values: Mapping[str, str]) -> str:
    """Return the file of one repository."""
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())


def put(path: str, text: str, place: str, context: Context) -> None:
    """Write a repository's file, unless there is another of that name."""
    before: Optional[bytes] = context.host.read(path)
    if before is not None and before != text.encode():
        context.report.notice(place, f"{path} is there already and stays as it is")
        return
    context.host.write(path, text.encode())
