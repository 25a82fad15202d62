"""Several ways out: answers leave by the NIC that was asked. Pure.

Neither network_data.json nor version 1 can say which route is for whose packets. Two default
routes of the same rank would send what came in by one NIC out by the other, where it is dropped.
"""

from __future__ import annotations

from ipaddress import ip_interface

from .model import Dhcp6, Link, Network, Route, Rule, is_default, version

FIRST_TABLE = 101
"""The table of the second link with a way out; the third has the next."""
STEP = 100
"""Between the metrics of the links' default routes."""


def source_routed(network: Network) -> Network:
    """Return *network* with tables and rules of their own for all ways out but the first."""
    if any(link.rules or any(route.table for route in link.routes) for link in network.links):
        # Whoever wrote it says it all.
        return network
    ways = [link for link in network.links if _leads_out(link)]
    if len(ways) < 2:
        return network
    second = {link.name: number for number, link in enumerate(ways)}
    return network._replace(
        links=tuple(
            _ranked(link, second[link.name]) if link.name in second else link
            for link in network.links
        )
    )


def _leads_out(link: Link) -> bool:
    dynamic = link.dhcp4 or link.dhcp6 is not Dhcp6.NO
    return dynamic or any(map(is_default, link.routes))


def _ranked(link: Link, number: int) -> Link:
    metric = STEP * (number + 1)
    if link.dhcp4 and link.dhcp4_options.metric is None:
        link = link._replace(dhcp4_options=link.dhcp4_options._replace(metric=metric))
    if link.dhcp6 is not Dhcp6.NO and link.dhcp6_options.metric is None:
        link = link._replace(dhcp6_options=link.dhcp6_options._replace(metric=metric))
    if number == 0:
        return link
    table = FIRST_TABLE + number - 1
    routes: list[Route] = []
    ways: set[int] = set()
    for route in link.routes:
        if not is_default(route):
            routes.append(route)
            continue
        ways.add(version(route.to))
        # Its rank in the main table is for when the first way is gone.
        routes.append(route if route.metric is not None else route._replace(metric=metric))
        routes.append(route._replace(metric=None, table=table))
    rules = []
    for address in link.addresses:
        if version(address) in ways:
            interface = ip_interface(address)
            routes.append(Route(str(interface.network), table=table))
            own = f"{interface.ip}/{interface.max_prefixlen}"
            rules.append(Rule(table, source=own, priority=table))
    return link._replace(routes=tuple(dict.fromkeys(routes)), rules=(*link.rules, *rules))
