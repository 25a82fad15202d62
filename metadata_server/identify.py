"""Whose request is it: the peer's address, its interface, or a trusted proxy's signed word.

X-Forwarded-For is never believed. Whoever is not known gets NotFound and learns nothing.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, NamedTuple, Protocol

from .catalog import Origin, normalised, origins
from .errors import BadRequest, Forbidden, NotFound
from .instance import Instance
from .secret import Secret

NOTHING_HERE: Final = "The resource could not be found."


class Lookup(Protocol):
    """What of the catalog tells guests apart."""

    def by_id(self, instance_id: str) -> Instance | None: ...

    def at(self, address: str, interface: str | None = None) -> Instance | None: ...

    def id_at(self, address: str, interface: str | None = None) -> str | None: ...


class Headers(Protocol):
    """Headers by name, whatever its case."""

    def __contains__(self, name: object, /) -> bool: ...

    def getall(self, name: str, default: tuple[str, ...], /) -> Sequence[str]:
        """Return the values of all headers of that name, or *default*."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Proxies that may say whose request they pass on, and the secret they sign it with."""

    shared_secret: Secret
    trusted: frozenset[str]
    """Addresses, as `normalised` spells them."""

    def trusts(self, address: str) -> bool:
        try:
            return normalised(address) in self.trusted
        except ValueError:
            return False


REMEMBERED: Final = 1024
"""Host headers that need no second look; there are few, unless somebody makes them up."""


class Caller(NamedTuple):
    instance: Instance
    proxied: bool


def identify(
    catalog: Lookup,
    proxy: Proxy | None,
    address: str | None,
    interface: str | None,
    headers: Headers,
) -> Caller:
    """Return who asks from *address*, through *interface* when the listener is bound to one."""
    if proxy is not None and address is not None and proxy.trusts(address):
        if "X-Metadata-Provider" in headers:
            return Caller(_balanced(catalog, proxy, headers), True)
        return Caller(_vouched(catalog, proxy, headers), True)
    instance = catalog.at(address or "", interface)
    if instance is None:
        raise NotFound(NOTHING_HERE)
    return Caller(instance, False)


def asks_for_itself(proxy: Proxy | None, address: str | None, headers: Headers) -> bool:
    """Say whether a trusted proxy names no instance, as one that looks whether we are there."""
    if proxy is None or address is None or not proxy.trusts(address):
        return False
    return not any(name in headers for name in ("X-Instance-ID", "X-Metadata-Provider"))


def _vouched(catalog: Lookup, proxy: Proxy, headers: Headers) -> Instance:
    """Return the instance that the proxy names; the texts and their order are nova's."""
    instance_id = _header(headers, "X-Instance-ID")
    signature = _header(headers, "X-Instance-ID-Signature")
    tenant = _header(headers, "X-Tenant-ID")
    _check_signature(proxy, instance_id, signature)
    instance = catalog.by_id(instance_id)
    if instance is None or instance.project_id != tenant:
        raise NotFound(NOTHING_HERE)
    return instance


def _balanced(catalog: Lookup, proxy: Proxy, headers: Headers) -> Instance:
    """Return the instance with the address that a load balancer says it passes a request on for.

    What is signed is the balancer's own name only, so the address rests on the trust in it.
    """
    address = _header(headers, "X-Forwarded-For").partition(",")[0].strip()
    provider = _header(headers, "X-Metadata-Provider")
    signature = ", ".join(headers.getall("X-Metadata-Provider-Signature", ()))
    _check_signature(proxy, provider, signature)
    try:
        origin = Origin(normalised(address), None)
    except ValueError:
        raise BadRequest("X-Forwarded-For: expected an address.") from None
    instance = catalog.at(str(origin.address))
    # Whoever answers for everybody has no address of its own.
    if instance is None or origin not in origins(instance):
        raise BadRequest("Expected exactly one port with the address in X-Forwarded-For.")
    return instance


def _check_signature(proxy: Proxy, name: str, signature: str) -> None:
    expected = hmac.new(proxy.shared_secret.reveal(), _bytes(name), "sha256").hexdigest()
    if not hmac.compare_digest(expected.encode(), _bytes(signature)):
        raise Forbidden("Invalid proxy request signature.")


def _header(headers: Headers, name: str) -> str:
    values = headers.getall(name, ())
    if len(values) > 1:
        # One may be the guest's own, which the proxy has passed on.
        raise BadRequest(f"Multiple {name} headers found within request.")
    if not values:
        raise BadRequest(f"{name} header is missing from request.")
    return values[0]


def _bytes(header: str) -> bytes:
    return header.encode("utf-8", "surrogateescape")


class Hosts:
    """The Host headers that are answered: address literals, localhost and the configured names.

    A name that an attacker's DNS points at the service is none of these, so a page in the guest's
    browser cannot read from it.
    """

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self._names = frozenset({"localhost", *(name.rstrip(".").lower() for name in names)})
        self._seen: set[str] = set()

    def welcome(self, header: str) -> bool:
        """Say whether *header* is one that is answered."""
        if header in self._seen:
            return True
        if not self._is_ours(header):
            return False
        if len(self._seen) < REMEMBERED:
            self._seen.add(header)
        return True

    def _is_ours(self, header: str) -> bool:
        found = _AUTHORITY.fullmatch(header)
        if found is None:
            return False
        if found["bracketed"] is not None:
            return _is_address(found["bracketed"])
        name = found["name"].rstrip(".").lower()
        return name in self._names or _is_address(name)


_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+(?:%[\w.%-]+)?)\]|(?P<name>[\w.-]+))(?::[0-9]{1,5})?",
    re.ASCII,
)


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
