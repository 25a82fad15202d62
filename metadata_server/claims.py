"""What an instance must have to itself among all others. Pure."""

from __future__ import annotations

from typing import NamedTuple

from .catalog import origins
from .instance import Identify, Instance


class Claim(NamedTuple):
    """*value* is taken by the instance; *key* of its configuration says so."""

    key: str
    what: str
    value: object


def claims(instance: Instance) -> tuple[Claim, ...]:
    """Return all that no other instance may have, beside its id."""
    found = []
    if instance.os_type == "Windows":
        found.append(Claim("name", "a name (Windows)", instance.name.lower()))
    found += [Claim("nics", "a MAC address", nic.mac) for nic in instance.nics]
    key = "nics" if instance.identify == Identify() else "identify"
    found += [Claim(key, "an origin", origin) for origin in origins(instance)]
    return tuple(found)
