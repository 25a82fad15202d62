"""The instances the server knows, by id and by where their requests come from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import count
from typing import Final, NamedTuple

from .errors import ConfigError
from .instance import Instance


class Origin(NamedTuple):
    """Where a request comes from; None is any address or any interface, both None is anywhere."""

    address: str | None
    interface: str | None

    def __str__(self) -> str:
        if self.address is None:
            return "any guest" if self.interface is None else f"interface {self.interface}"
        return self.address if self.interface is None else f"{self.address}%{self.interface}"


ANYWHERE: Final = Origin(None, None)


def normalised(address: IPv4Address | IPv6Address | str) -> str:
    """Return the one spelling of *address*: IPv4-mapped IPv6 is IPv4, a zone is left out.

    Raises ValueError when it is no address.
    """
    if isinstance(address, str):
        address = ip_address(address.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if address.scope_id is not None:
            return str(address).partition("%")[0]
    return str(address)


def origins(instance: Instance) -> tuple[Origin, ...]:
    """Return every origin whose requests are the instance's own.

    Addresses are those of `identify`. Without any, a named interface alone tells the guest, and
    without an interface the addresses of the nics do. With both, both have to be right.
    """
    identify = instance.identify
    known = list(identify.addresses)
    if not known and identify.interface is None:
        for nic in instance.nics:
            known += [address for address in (nic.ipv4, nic.ipv6) if address is not None]
    found = [Origin(normalised(address), identify.interface) for address in known]
    if identify.interface is not None and not found:
        found.append(Origin(None, identify.interface))
    if identify.default:
        found.append(ANYWHERE)
    return tuple(dict.fromkeys(found))


class Catalog:
    """All instances; a lookup is a few dictionary reads however many there are."""

    def __init__(self, instances: Sequence[Instance] = ()) -> None:
        self._revisions: Iterator[int] = count(1)
        self._by_id: dict[str, tuple[Instance, int]] = {}
        self._by_origin: dict[tuple[str | None, str | None], Instance] = {}
        self._watching: list[Callable[[Sequence[Instance], Collection[str]], None]] = []
        self.replace_base(instances)

    def watch(self, changed: Callable[[Sequence[Instance], Collection[str]], None]) -> None:
        """Call *changed* after each change, with the instances that are new and the ids gone."""
        self._watching.append(changed)

    def __len__(self) -> int:
        return len(self._by_id)

    def by_id(self, instance_id: str) -> Instance | None:
        found = self._by_id.get(instance_id)
        return found[0] if found else None

    def at(self, address: str, interface: str | None = None) -> Instance | None:
        """Return the instance whose requests come from *address* through *interface*, if any.

        *address* is a literal one, as a socket names its peer. What is said most exactly wins:
        address and interface, address, interface, and at last the default instance.
        """
        if ":" in address:
            address = normalised(address)
        known = self._by_origin
        found = known.get((address, None))
        if interface is not None:
            found = known.get((address, interface)) or found or known.get((None, interface))
        return found or known.get(ANYWHERE)

    def all(self) -> tuple[Instance, ...]:
        return tuple(instance for instance, _ in self._by_id.values())

    def revision(self, instance_id: str) -> int:
        """Return a number that is never the same for two states of an instance; 0 is unknown."""
        found = self._by_id.get(instance_id)
        return found[1] if found else 0

    def replace_base(self, instances: Sequence[Instance]) -> None:
        """Know *instances* from now on and no others; unchanged ones keep their revision.

        Raises ConfigError, and changes nothing, when two of them cannot be told apart.
        """
        by_id: dict[str, tuple[Instance, int]] = {}
        by_origin: dict[tuple[str | None, str | None], Instance] = {}
        problems = []
        for instance in instances:
            if instance.id in by_id:
                problems.append(f"instance {instance.id}: there are two with this id")
                continue
            old = self._by_id.get(instance.id)
            kept = old is not None and old[0] == instance
            by_id[instance.id] = old if old and kept else (instance, next(self._revisions))
            for origin in origins(instance):
                other = by_origin.setdefault(origin, instance)
                if other is not instance:
                    problems.append(
                        f"instance {instance.id}: {origin} already identifies instance {other.id}"
                    )
        if problems:
            raise ConfigError(*problems)
        old_ids, self._by_id, self._by_origin = self._by_id, by_id, by_origin
        if self._watching:
            known = set(map(id, old_ids.values()))
            put = [each[0] for each in by_id.values() if id(each) not in known]
            self._tell(put, old_ids.keys() - by_id.keys())

    def change(self, put: Sequence[Instance] = (), drop: Collection[str] = ()) -> None:
        """Know *put* in the place of what has their ids, and forget those whose id is in *drop*.

        Raises ConfigError, and changes nothing, when two instances cannot be told apart.
        """
        moved = {instance.id for instance in put} | set(drop)
        claimed: dict[tuple[str | None, str | None], Instance] = {}
        problems = []
        for instance in put:
            for origin in origins(instance):
                other = claimed.setdefault(origin, instance)
                held = self._by_origin.get(origin)
                if other is instance and held is not None and held.id not in moved:
                    other = held
                if other is not instance:
                    problems.append(
                        f"instance {instance.id}: {origin} already identifies instance {other.id}"
                    )
        if problems:
            raise ConfigError(*problems)
        for instance_id in moved:
            if old := self.by_id(instance_id):
                for origin in origins(old):
                    del self._by_origin[origin]
        for instance_id in drop:
            self._by_id.pop(instance_id, None)
        for instance in put:
            self._by_id[instance.id] = (instance, next(self._revisions))
        self._by_origin.update(claimed)
        self._tell(put, drop)

    def _tell(self, put: Sequence[Instance], drop: Collection[str]) -> None:
        if put or drop:
            for changed in self._watching:
                changed(put, drop)
