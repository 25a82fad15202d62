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
    for family in (4, 6):
        ways = [link.name for link in network.links if _leads_out(link, family)]
        if len(ways) < 2:
            continue
        ranks = {name: number for number, name in enumerate(ways)}
        links = (
            _ranked(link, family, ranks[link.name]) if link.name in ranks else link
            for link in network.links
        )
        network = network._replace(links=tuple(links))
    return network


def _leads_out(link: Link, family: int) -> bool:
    dynamic = link.dhcp4 if family == 4 else link.dhcp6 is not Dhcp6.NO
    return dynamic or any(is_default(each) and version(each.to) == family for each in link.routes)


def _ranked(link: Link, family: int, rank: int) -> Link:
    metric = STEP * (rank + 1)
    if family == 4 and link.dhcp4 and link.dhcp4_options.metric is None:
        link = link._replace(dhcp4_options=link.dhcp4_options._replace(metric=metric))
    if family == 6 and link.dhcp6 is not Dhcp6.NO and link.dhcp6_options.metric is None:
        link = link._replace(dhcp6_options=link.dhcp6_options._replace(metric=metric))
    if rank == 0:
        return link
    table = FIRST_TABLE + rank - 1
    routes: list[Route] = []
    for route in link.routes:
        if not is_default(route) or version(route.to) != family:
            routes.append(route)
            continue
        # Its rank in the main table is for when the first way is gone.
        routes.append(route if route.metric is not None else route._replace(metric=metric))
        routes.append(route._replace(metric=None, table=table))
    if len(routes) == len(link.routes):
        return link
    rules = []
    for address in link.addresses:
        if version(address) == family:
            interface = ip_interface(address)
            routes.append(Route(str(interface.network), table=table))
            own = f"{interface.ip}/{interface.max_prefixlen}"
            rules.append(Rule(table, source=own, priority=table))
    return link._replace(routes=tuple(dict.fromkeys(routes)), rules=(*link.rules, *rules))
