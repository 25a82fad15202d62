"""The model on a machine: every link gets the name of its device. Pure; NICs are an argument."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from ..report import Report
from .model import Kind, Link, Match, Network

LONGEST = 15
"""Characters of a device's name."""
_DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,15}")


class Nic(NamedTuple):
    """An interface that is there without being made by us."""

    name: str
    mac: str
    """Its own, also while it is in a bond."""
    driver: str = ""
    hardware: bool = True
    """Whether its address is its own; one end of a wire in software has it of whoever made it."""
    up: bool = False
    carrier: bool = False


def resolve(network: Network, nics: Sequence[Nic] | None, report: Report) -> Network:
    """Return *network* with the names of devices; links before those that are made of them.

    Links whose NIC is not there are named in *report* and left out, and so is what is made of them
    alone. Without *nics* nothing is known of the machine: what has no name gets one, by its place.
    """
    devices: dict[str, tuple[str, ...]] = {}
    found: dict[str, Link] = {}
    taken: set[str] = set()
    # A NIC that is named by its address is not for a pattern to have.
    for link in sorted(filter(_is_physical, network.links), key=lambda link: not link.match.mac):
        mine = [_guessed(link, len(found))] if nics is None else _matched(link, nics, taken, report)
        devices[link.name] = tuple(each.name for each in mine)
        for each in mine:
            if each.name in found:
                words = f"another link is called {each.name!r}, too; left out"
                report.refused(link.place, words)
                continue
            found[each.name] = each
    order = [name for link in network.links for name in devices.get(link.name, ())]
    ordered = {name: found[name] for name in dict.fromkeys(order) if name in found}
    made = [link for link in network.links if not link.physical]
    _make(made, devices, ordered, report)
    return network._replace(links=tuple(ordered.values()))


def _is_physical(link: Link) -> bool:
    return link.physical


def _guessed(link: Link, number: int) -> Link:
    """Return the link with a name, where nobody knows what NICs there will be."""
    name = link.set_name or (link.name if _DEVICE.fullmatch(link.name) else "")
    return link._replace(name=name or f"eth{number}")


def _matched(link: Link, nics: Sequence[Nic], taken: set[str], report: Report) -> list[Link]:
    """Return the link once for each NIC that is meant; its NICs are *taken* then."""
    match = link.match
    meant = [nic for nic in nics if nic.name not in taken and _is_meant(nic, link)]
    if not meant:
        if match.mac:
            words = f"no NIC of this machine has the address {match.mac}"
        elif match.name or match.driver:
            words = "no NIC of this machine is meant by 'match'"
        else:
            words = f"this machine has no NIC {link.name!r}"
        report.failed(link.place, f"{words}; left out")
        return []
    if link.set_name or link.kind is Kind.WIFI:
        meant = meant[:1]
    taken.update(nic.name for nic in meant)
    return [_named(link, nic) for nic in meant]


def _is_meant(nic: Nic, link: Link) -> bool:
    match = link.match
    if match == Match():
        return nic.name == link.name
    return (
        match.mac in (None, nic.mac)
        and (match.name is None or fnmatchcase(nic.name, match.name))
        and (match.driver is None or fnmatchcase(nic.driver, match.driver))
    )


def _named(link: Link, nic: Nic) -> Link:
    """Return the link as that of *nic*: found again by its address, unless by its name alone."""
    if link.match == Match():
        return link._replace(name=link.set_name or nic.name)
    # Some back ends look for the permanent address, and a container's NIC has none.
    by_address = nic.mac and (nic.hardware or link.set_name)
    match = Match(mac=nic.mac) if by_address else Match()
    return link._replace(name=link.set_name or nic.name, match=match)


def _make(
    ahead: list[Link],
    devices: dict[str, tuple[str, ...]],
    found: dict[str, Link],
    report: Report,
) -> None:
    """Add to *found* what is made of other links, those that others are made of first."""
    names = {link.name for link in ahead}
    while ahead:
        ready = [link for link in ahead if not names & set(_parts(link))]
        if not ready:
            for link in ahead:
                report.refused(link.place, "the links are made of one another; left out")
            return
        for link in ready:
            made = _made(link, devices, report)
            if made is not None and made.name in found:
                words = f"another link is called {made.name!r}, too; left out"
                report.refused(link.place, words)
                made = None
            devices[link.name] = (made.name,) if made else ()
            if made:
                found[made.name] = made
        names -= {link.name for link in ready}
        ahead = [link for link in ahead if link.name in names]


def _parts(link: Link) -> Iterable[str]:
    return (link.vlan.link,) if link.vlan else link.members


def _made(link: Link, devices: Mapping[str, tuple[str, ...]], report: Report) -> Link | None:
    """Return the link of its devices' names; None when it is of none that are there."""
    if link.vlan:
        below = devices.get(link.vlan.link, ())
        if not below:
            report.failed(
                link.place, f"the link {link.vlan.link!r} below it is not there; left out"
            )
            return None
        plain = f"{below[0]}.{link.vlan.id}"
        name = link.set_name or (plain if len(plain) <= LONGEST else f"vlan{link.vlan.id}")
        return link._replace(name=name, set_name=name, vlan=link.vlan._replace(link=below[0]))
    members: list[str] = []
    for part in link.members:
        if not devices.get(part):
            report.failed(link.place, f"its member {part!r} is not there; left out")
        members += devices.get(part, ())
    if link.members and not members:
        report.failed(link.place, "none of its members is there; left out")
        return None
    name = link.set_name or link.name
    if link.bond:
        return link._replace(name=name, bond=link.bond._replace(members=tuple(members)))
    bridge = link.bridge
    if bridge:
        costs, priorities = (
            {device: number for part, number in each.items() for device in devices.get(part, ())}
            for each in (bridge.path_costs, bridge.port_priorities)
        )
        bridge = bridge._replace(
            members=tuple(members), path_costs=costs, port_priorities=priorities
        )
    return link._replace(name=name, bridge=bridge)


def renames(network: Network, nics: Sequence[Nic]) -> tuple[tuple[str, str], ...]:
    """Return which device is to be called what, in an order that never takes a name twice."""
    by_mac = {nic.mac: nic.name for nic in nics if nic.mac}
    wanted = {}
    for link in network.links:
        if link.physical and link.set_name and link.match.mac in by_mac:
            now = by_mac[link.match.mac]
            if now != link.set_name:
                wanted[now] = link.set_name
    names = {nic.name for nic in nics}
    steps: list[tuple[str, str]] = []
    while wanted:
        free = [now for now, new in wanted.items() if new not in names]
        # Of a ring, one steps aside; a NIC that nobody asked about steps aside, too.
        now = free[0] if free else next(iter(wanted))
        new = wanted[now]
        if not free:
            aside = _free_name(names)
            steps.append((new, aside))
            names = (names - {new}) | {aside}
            if new in wanted:
                wanted[aside] = wanted.pop(new)
            continue
        steps.append((now, new))
        names = (names - {now}) | {new}
        del wanted[now]
    return tuple(steps)


def _free_name(names: set[str]) -> str:
    number = 0
    while f"nic{number}" in names:
        number += 1
    return f"nic{number}"
