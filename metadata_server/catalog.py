"""The instances the server knows, by id and by where their requests come from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
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


AT_ONCE: Final = 32
"""Instances that are looked at before somebody else gets a turn: a few milliseconds' worth."""
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


class Stored(NamedTuple):
    """An instance that is read when somebody asks for it, and what has to be known before."""

    id: str
    origins: tuple[Origin, ...]
    ends: str | None = None
    """Its auto_terminate_time."""


class _Known(NamedTuple):
    """What is known by an id; an instance of the state is None until it is asked for."""

    instance: Instance | None
    revision: int
    stored: bool
    origins: tuple[Origin, ...]
    ends: str | None


Changed = Callable[[Sequence["Instance | Stored"], Collection[str]], None]


class Catalog:
    """All instances; a lookup is a few dictionary reads however many there are."""

    def __init__(
        self,
        instances: Sequence[Instance] = (),
        read: Callable[[str], Instance | None] = lambda _: None,
    ) -> None:
        """Know *instances*; *read* finds stored ones by id, and knows of no others."""
        self._read = read
        self._revisions: Iterator[int] = count(1)
        self._by_id: dict[str, _Known] = {}
        self._by_origin: dict[tuple[str | None, str | None], str] = {}
        self._watching: list[Changed] = []
        self.replace_base(instances)

    def watch(self, changed: Changed) -> None:
        """Call *changed* after each change, with the instances that are new and the ids gone."""
        self._watching.append(changed)

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, instance_id: str) -> bool:
        return instance_id in self._by_id

    def by_id(self, instance_id: str) -> Instance | None:
        found = self._by_id.get(instance_id)
        if found is None:
            return None
        return found.instance or self._asked_for(instance_id, found)

    def at(self, address: str, interface: str | None = None) -> Instance | None:
        """Return the instance whose requests come from *address* through *interface*, if any.

        *address* is a literal one, as a socket names its peer. What is said most exactly wins:
        address and interface, address, interface, and at last the default instance.
        """
        found = self.id_at(address, interface)
        return self.by_id(found) if found is not None else None

    def id_at(self, address: str, interface: str | None = None) -> str | None:
        """Return the id of what `at` returns; this reads nothing."""
        if ":" in address:
            address = normalised(address)
        known = self._by_origin
        found = known.get((address, None))
        if interface is not None:
            found = known.get((address, interface)) or found or known.get((None, interface))
        if found is None:
            found = known.get(ANYWHERE)
        return found

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all instances, always in the same order; this reads none of them."""
        return tuple(self._by_id)

    def all(self) -> tuple[Instance, ...]:
        return tuple(each for each in map(self.by_id, self.ids()) if each is not None)

    async def wanted(self, wants: Callable[[Instance], bool]) -> list[Instance]:
        """Return the instances that *wants* says yes to; others' work is done in between.

        One of the state is read at its first use, and there may be a hundred thousand of them.
        """
        found = []
        for number, instance_id in enumerate(self.ids()):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            instance = self.by_id(instance_id)
            if instance is not None and wants(instance):
                found.append(instance)
        return found

    def known(self) -> tuple[Instance | Stored, ...]:
        """Return all instances, those that are stored by what identifies them."""
        return tuple(
            each.instance
            if each.instance is not None and not each.stored
            else Stored(instance_id, each.origins, each.ends)
            for instance_id, each in self._by_id.items()
        )

    def revision(self, instance_id: str) -> int:
        """Return a number that is never the same for two states of an instance; 0 is unknown."""
        found = self._by_id.get(instance_id)
        return found.revision if found else 0

    def replace_base(
        self,
        instances: Sequence[Instance],
        stored: Iterable[Stored] = (),
        *,
        afresh: bool = False,
    ) -> None:
        """Know *instances* and *stored* ones from now on and no others.

        Unchanged ones keep their revision; *afresh* says that stored ones may have changed. Raises
        ConfigError, and changes nothing, when two of them cannot be told apart.
        """
        by_id: dict[str, _Known] = {}
        by_origin: dict[tuple[str | None, str | None], str] = {}
        problems = []
        for instance in instances:
            if instance.id in by_id:
                problems.append(f"instance {instance.id}: there are two with this id")
                continue
            old = self._by_id.get(instance.id)
            if old is None or old.stored or old.instance != instance:
                old = _Known(instance, next(self._revisions), False, origins(instance), None)
            by_id[instance.id] = old
            problems += _claim(by_origin, instance.id, old.origins)
        for each in stored:
            old = self._by_id.get(each.id)
            if old is None or not old.stored or afresh:
                old = _Known(None, next(self._revisions), True, each.origins, each.ends)
            by_id[each.id] = old
            problems += _claim(by_origin, each.id, each.origins)
        if problems:
            raise ConfigError(*problems)
        old_ids, self._by_id, self._by_origin = self._by_id, by_id, by_origin
        if self._watching:
            renewed = {key for key, each in by_id.items() if old_ids.get(key) is not each}
            put = [each for each in self.known() if each.id in renewed]
            self._tell(put, old_ids.keys() - by_id.keys())

    def change(self, put: Sequence[Instance | Stored] = (), drop: Collection[str] = ()) -> None:
        """Know *put* in the place of what has their ids, and forget those whose id is in *drop*.

        Raises ConfigError, and changes nothing, when two instances cannot be told apart.
        """
        moved = {each.id for each in put} | set(drop)
        claimed: dict[tuple[str | None, str | None], str] = {}
        problems = []
        made = {}
        for each in put:
            if isinstance(each, Stored):
                known = _Known(None, next(self._revisions), True, each.origins, each.ends)
            else:
                known = _Known(each, next(self._revisions), False, origins(each), None)
            made[each.id] = known
            problems += _claim(claimed, each.id, known.origins)
            for origin in known.origins:
                held = self._by_origin.get(origin)
                if held is not None and held not in moved:
                    problems.append(_taken(each.id, origin, held))
        if problems:
            raise ConfigError(*problems)
        for instance_id in moved:
            if old := self._by_id.get(instance_id):
                self._forget(old.origins)
        for instance_id in drop:
            self._by_id.pop(instance_id, None)
        self._by_id.update(made)
        self._by_origin.update(claimed)
        self._tell(put, drop)

    def _forget(self, claimed: Iterable[Origin]) -> None:
        for origin in claimed:
            del self._by_origin[origin]

    def _asked_for(self, instance_id: str, known: _Known) -> Instance | None:
        found = self._read(instance_id)
        if found is None:
            # It cannot be read, or is gone already: what says so is on its way.
            del self._by_id[instance_id]
            self._forget(known.origins)
        else:
            self._by_id[instance_id] = known._replace(instance=found)
        return found

    def _tell(self, put: Sequence[Instance | Stored], drop: Collection[str]) -> None:
        if put or drop:
            for changed in self._watching:
                changed(put, drop)


def _claim(
    by_origin: dict[tuple[str | None, str | None], str], instance_id: str, wanted: Iterable[Origin]
) -> list[str]:
    """Note that requests of *wanted* origins are the instance's; return what is wrong with that."""
    problems = []
    for origin in wanted:
        other = by_origin.setdefault(origin, instance_id)
        if other != instance_id:
            problems.append(_taken(instance_id, origin, other))
    return problems


def _taken(instance_id: str, origin: Origin, other: str) -> str:
    return f"instance {instance_id}: {origin} already identifies instance {other}"
