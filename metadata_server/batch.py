"""Several instances of one description: names by the naming rules, addresses counted up. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

from .errors import InvalidDocument
from .hostname import batch_names

MOST: Final = 1000
"""The largest batch."""

_OWN: Final = ("id", "hostname", "launch_index", "ec2_ids")
_OWN_OF_NIC: Final = ("id", "vif_id", "mac")
_COUNTED: Final = (("ipv4", "prefix", 24), ("ipv6", "ipv6_prefix", 64), ("public_ipv4", None, 0))


def batch(
    document: Mapping[str, Any], count: int, *, same_name: bool = False
) -> list[dict[str, Any]]:
    """Return the documents of *count* instances, each like *document* and with its own place.

    Names follow the rule in `name`, and addresses of nics and of `identify` count up from the
    given ones. Raises InvalidDocument for what cannot be the same for all of them.
    """
    if not 1 <= count <= MOST:
        raise InvalidDocument(("", f"count: expected 1 to {MOST}, got {count}"))
    names = _names(document, count, same_name=same_name)
    if count == 1:
        return [{**document, **names[0]}]
    wrong = [
        (f"/{key}", f"{key}: expected none, each of {count} instances gets its own")
        for key in _OWN
        if document.get(key) is not None
    ]
    for place, nic in _tables(document, "nics"):
        wrong += [
            (
                f"/nics/{place}/{key}",
                f"nics[{place}].{key}: expected none, each instance gets its own",
            )
            for key in _OWN_OF_NIC
            if nic.get(key) is not None
        ]
    if wrong:
        raise InvalidDocument(*wrong)
    return [
        {**_counted(document, number, count), **name, "launch_index": number}
        for number, name in enumerate(names)
    ]


def _names(document: Mapping[str, Any], count: int, *, same_name: bool) -> list[dict[str, str]]:
    name = document.get("name")
    if name is None:
        return [{}] * count
    if not isinstance(name, str):
        raise InvalidDocument(("/name", "name: expected text"))
    try:
        return [{"name": each} for each in batch_names(name, count, duplicate=same_name)]
    except ValueError as error:
        raise InvalidDocument(("/name", f"name: {error}")) from None


def _counted(document: Mapping[str, Any], number: int, count: int) -> dict[str, Any]:
    """Return *document* with its addresses as the instance *number* of *count* has them."""
    found = dict(document)
    nics = []
    for place, nic in _tables(document, "nics"):
        own = dict(nic)
        for key, prefix, default in _COUNTED:
            if isinstance(nic.get(key), str):
                where = ("nics", str(place), key)
                length = nic.get(prefix, default) if prefix else None
                gateway = nic.get("gateway" if key == "ipv4" else "gateway6")
                own[key] = _address(nic[key], number, count, where, length, gateway)
        nics.append(own)
    if nics:
        found["nics"] = nics
    identify = document.get("identify")
    if isinstance(identify, Mapping) and isinstance(identify.get("addresses"), list):
        found["identify"] = {
            **identify,
            "addresses": [
                _address(each, number, count, ("identify", "addresses", str(place)), None, None)
                if isinstance(each, str)
                else each
                for place, each in enumerate(identify["addresses"])
            ],
        }
    return found


def _address(
    text: str, number: int, count: int, where: tuple[str, ...], prefix: Any, gateway: Any
) -> str:
    try:
        first = ip_address(text)
        found = first + number
        last = first + (count - 1)
    except ValueError:
        # Not an address, or the end of all addresses: reading the instance will say so of one.
        return text
    pointer, name = "/" + "/".join(where), ".".join(where)
    if prefix is not None and not _in_subnet(first, last, prefix):
        raise InvalidDocument(
            (pointer, f"{name}: expected room for {count} addresses from {first} in its /{prefix}")
        )
    if gateway == str(found):
        raise InvalidDocument(
            (pointer, f"{name}: {count} addresses from {first} would take the gateway's, {gateway}")
        )
    return str(found)


def _in_subnet(
    first: IPv4Address | IPv6Address, last: IPv4Address | IPv6Address, prefix: Any
) -> bool:
    try:
        network = ip_network(f"{first}/{prefix}", strict=False)
    except ValueError:
        # The prefix itself is wrong, which is said where it is read.
        return True
    return last in network and last != getattr(network, "broadcast_address", None)


def _tables(document: Mapping[str, Any], key: str) -> list[tuple[int, Mapping[str, Any]]]:
    given = document.get(key)
    if not isinstance(given, list):
        return []
    return [(place, each) for place, each in enumerate(given) if isinstance(each, Mapping)]
