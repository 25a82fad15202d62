"""What a machine's network is to be, whoever asks for it and whatever applies it.

Every string here was checked when it was read: it can stand in any back end's file as it is.
Addresses and networks are text in their canonical form, `192.168.1.10/24`.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple, Optional

from ..secret import Secret

EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


class Kind(Enum):
    """What a link is; only ETHERNET and WIFI are found on the machine, the others are made."""

    ETHERNET = "ethernet"
    WIFI = "wifi"
    BOND = "bond"
    BRIDGE = "bridge"
    VLAN = "vlan"


class Dhcp6(Enum):
    """Whether addresses come by DHCPv6, or only what an address alone does not say."""

    NO = "no"
    STATEFUL = "stateful"
    STATELESS = "stateless"


class Route(NamedTuple):
    """A way to a network."""

    to: str
    """A network; EVERYWHERE for the default route."""
    via: Optional[str] = None
    metric: Optional[int] = None
    table: Optional[int] = None
    on_link: bool = False
    """The gateway is on the link although no address of ours says so."""
    source: Optional[str] = None
    mtu: Optional[int] = None


class Rule(NamedTuple):
    """Which table of routes is asked for some packets; one of *source* and *to* is there."""

    table: int
    source: Optional[str] = None
    to: Optional[str] = None
    priority: Optional[int] = None


class Dhcp(NamedTuple):
    """What is done otherwise than the client's own way; None leaves it as it is."""

    metric: Optional[int] = None
    use_dns: Optional[bool] = None
    use_domains: Optional[bool] = None
    use_routes: Optional[bool] = None
    use_mtu: Optional[bool] = None
    use_ntp: Optional[bool] = None
    use_hostname: Optional[bool] = None
    send_hostname: Optional[bool] = None
    hostname: Optional[str] = None


class Match(NamedTuple):
    """Which of the machine's NICs is meant; none of them: the one of the link's name."""

    mac: Optional[str] = None
    name: Optional[str] = None
    """A pattern of the shell."""
    driver: Optional[str] = None
    """A pattern of the shell."""


class Bond(NamedTuple):
    """Several links as one."""

    members: tuple[str, ...]
    options: Mapping[str, str] = {}
    """By the kernel's names, such as `mode` and `miimon`; times are in milliseconds."""


class Bridge(NamedTuple):
    """A switch of links. Times are in seconds."""

    members: tuple[str, ...]
    stp: Optional[bool] = None
    priority: Optional[int] = None
    forward_delay: Optional[int] = None
    hello_time: Optional[int] = None
    max_age: Optional[int] = None
    ageing_time: Optional[int] = None
    path_costs: Mapping[str, int] = {}
    """By member."""
    port_priorities: Mapping[str, int] = {}
    """By member."""


class Vlan(NamedTuple):
    """A tagged network on another link."""

    id: int
    link: str


class AccessPoint(NamedTuple):
    """A wireless network to join."""

    ssid: str
    password: Optional[Secret] = None
    """None for an open network."""
    hidden: bool = False


class Link(NamedTuple):
    """One interface."""

    name: str
    """As the document calls it; the device's own name once it is resolved."""
    kind: Kind = Kind.ETHERNET
    place: str = ""
    """Where it stands in the document, for what is said of it later."""
    match: Match = Match()
    set_name: Optional[str] = None
    """The name that the device is to get; a VLAN without one is called after its link."""
    set_mac: Optional[str] = None
    mtu: Optional[int] = None
    dhcp4: bool = False
    dhcp6: Dhcp6 = Dhcp6.NO
    dhcp4_options: Dhcp = Dhcp()
    dhcp6_options: Dhcp = Dhcp()
    accept_ra: Optional[bool] = None
    """Whether router advertisements are heard; None leaves that to the system."""
    addresses: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    optional: bool = False
    """The boot does not wait for it."""
    auto: bool = True
    """It comes up by itself."""
    wake_on_lan: bool = False
    bond: Optional[Bond] = None
    bridge: Optional[Bridge] = None
    vlan: Optional[Vlan] = None
    access_points: tuple[AccessPoint, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """The links that are part of this one."""
        whole = self.bond or self.bridge
        return whole.members if whole else ()

    @property
    def physical(self) -> bool:
        """Whether it is found on the machine, and not made."""
        return self.kind in (Kind.ETHERNET, Kind.WIFI)


class Network(NamedTuple):
    """The whole of it."""

    links: tuple[Link, ...] = ()
    renderer: Optional[str] = None
    """networkd or NetworkManager, for netplan, where the document says so."""

    def named(self, name: str) -> Optional[Link]:
        """Return the link of that name."""
        return next((link for link in self.links if link.name == name), None)

    def master_of(self, name: str) -> Optional[Link]:
        """Return the bond or bridge that the link *name* is part of."""
        return next((link for link in self.links if name in link.members), None)

    def vlans_on(self, name: str) -> tuple[Link, ...]:
        """Return the VLANs on the link *name*."""
        return tuple(link for link in self.links if link.vlan and link.vlan.link == name)


class File(NamedTuple):
    """A file that a back end reads."""

    path: str
    text: str
    mode: int = 0o644


def version(address: str) -> int:
    """Return 4 or 6."""
    return 6 if ":" in address else 4


def is_default(route: Route) -> bool:
    """Say whether it is the way to everywhere, in the main table."""
    return route.to in EVERYWHERE.values() and route.table in (None, 254)
