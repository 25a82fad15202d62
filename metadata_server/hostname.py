"""Host names made of instance names, and names for a batch, by the vendor guide's rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

DOMAIN: Final = ".novalocal"
LABEL: Final = 63
WINDOWS_NAME: Final = 15
"""Longer names break NetBIOS, and with it some Windows applications."""

_HEAD = re.compile(r"\A[^A-Za-z0-9]+")
_TAIL = re.compile(r"[^A-Za-z0-9_-].*", re.DOTALL)
_NUMBERED = re.compile(
    r"(?P<head>[^\[\]]*)\[(?P<begin>\d{1,4}),\s*(?P<bits>[1-4])\](?P<tail>[^\[\]]*)"
)


def host_name(name: str) -> str:
    """Return the host name that the instance *name* gives, or "" when nothing of it can be used.

    Whatever comes before the first letter or digit is ignored; a period or a character that is
    not ASCII ends the name. A hyphen at the end goes too, as RFC 1123 has it.
    """
    kept = _TAIL.sub("", _HEAD.sub("", name))
    return kept.replace("-_", "-").replace("_", "-")[:LABEL].rstrip("-")


def batch_names(name: str, count: int, *, duplicate: bool = False) -> tuple[str, ...]:
    """Return the names of *count* instances made at once under *name*.

    `ecs` gives ecs-0001, ecs-0002; `ecs[66,3]abc` gives ecs066abc, ecs067abc; with *duplicate* all
    have the same name. A single instance keeps a plain name as it is. Raises ValueError for a
    malformed rule.
    """
    if count < 1:
        raise ValueError(f"expected a count of at least 1, got {count}")
    if duplicate:
        return (name,) * count
    return tuple(_numbered(name, count))


def _numbered(name: str, count: int) -> Iterator[str]:
    if "[" not in name and "]" not in name:
        if count == 1:
            yield name
            return
        head, tail, begin, bits = f"{name}-", "", 1, 4
    else:
        rule = _NUMBERED.fullmatch(name)
        if not rule:
            raise ValueError(
                f"expected a naming rule such as 'ecs[66,3]abc' with a first number from 0 to 9999"
                f" and 1 to 4 digits, got {name!r}"
            )
        head, tail = rule["head"], rule["tail"]
        begin, bits = int(rule["begin"]), int(rule["bits"])
    for number in range(begin, begin + count):
        yield f"{head}{number:0{bits}}{tail}"
