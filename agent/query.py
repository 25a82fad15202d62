"""Answers about the instance: the file in /run for all, the datasource again for root alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .errors import ConfigError, HostError
from .host import Host
from .instance import InstanceData
from .instance_data import PATH, REDACTED
from .secret import Secret

USER = {
    "userdata": "user_data",
    "vendordata": "vendor_data",
    "vendordata2": "vendor_data2",
}
"""Documents that are kept nowhere: root asks the datasource for them again."""


def known(host: Host) -> dict[str, Any]:
    """Return what the last boot wrote for all to read."""
    content = host.read(PATH)
    if content is None:
        raise HostError(f"{PATH}: not there: no boot has found its instance yet")
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise HostError(f"{PATH}: not what the agent writes")
    return found


def document_key(key: str) -> str:
    """Return the field of the instance's data that *key* names, empty when it is none of them."""
    return USER.get(key.replace("_", "").replace("-", ""), "")


def find(values: Mapping[str, Any], key: str) -> Any:
    """Return the value at the dotted *key*, the names of v1 at the top, too; or ConfigError."""
    here: Any = {**values.get("v1", {}), **values}
    for step in key.split("."):
        if isinstance(here, Mapping) and step in here:
            here = here[step]
        elif isinstance(here, list) and step.isdecimal() and int(step) < len(here):
            here = here[int(step)]
        else:
            near = _nearest(here, step)
            raise ConfigError(f"{key}: no such key{near}")
    return here


def _nearest(here: Any, step: str) -> str:
    if not isinstance(here, Mapping):
        return ""
    from difflib import get_close_matches

    found = get_close_matches(step, [str(name) for name in here], 1)
    return f", nearest is {found[0]!r}" if found else ""


def is_redacted(value: Any) -> bool:
    """Say whether there is anything in *value* that others may not read."""
    if isinstance(value, Mapping):
        return any(map(is_redacted, value.values()))
    if isinstance(value, list):
        return any(map(is_redacted, value))
    return bool(value == REDACTED)


def served(instance: InstanceData, field: str) -> bytes:
    """Return a document as it was served, empty when there is none."""
    value = getattr(instance, field)
    return value.reveal() if isinstance(value, Secret) else b""
