"""The wires between guests and the cloud: a program that does what it reads on its stdin.

It stays in the host's own user namespace, which alone may reach every guest's network, with its
sockets in the cloud's network namespace. Nothing it makes outlives those namespaces.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import struct
import sys
from collections.abc import Iterator
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

NEWNET = 0x40000000
BRIDGE = "br0"
# Pinned: a bridge otherwise takes its address from its ports, and guests would keep a stale one.
BRIDGE_MAC = "02:00:a9:fe:a9:fe"
NO_DAD = 0x02
SCOPE_LINK = 253
TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TAP, IFF_NO_PI = 2, 0x1000
libc = ctypes.CDLL(None, use_errno=True)


def enter(pid: int) -> None:
    """Move this process into the network namespace of *pid*; sockets made before stay behind."""
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, NEWNET) < 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(fd)


@contextlib.contextmanager
def links(pid: int, back_to: int) -> Iterator[IPRoute]:
    enter(pid)
    try:
        with IPRoute() as route:
            yield route
    finally:
        enter(back_to)


def add_address(route: IPRoute, index: int, address: str) -> None:
    host, _, length = address.partition("/")
    flags = {"flags": NO_DAD} if ":" in host else {}
    route.addr("add", index=index, address=host, prefixlen=int(length), **flags)


class Wires:
    def __init__(self, cloud: int) -> None:
        self._cloud = cloud
        enter(cloud)
        self._route = IPRoute()
        self._bridge = 0
        self._ports = 0

    def bridge(self, addresses: list[str]) -> list[str]:
        """Make the bridge and return those of *addresses* that it got: IPv6 may be off."""
        self._route.link("add", ifname=BRIDGE, kind="bridge", address=BRIDGE_MAC)
        self._bridge = self._route.link_lookup(ifname=BRIDGE)[0]
        self._route.link("set", index=self._bridge, state="up")
        owned = []
        for address in addresses:
            try:
                add_address(self._route, self._bridge, address)
            except NetlinkError:
                if ":" not in address:
                    raise
            else:
                owned.append(address)
        return owned

    def attach(
        self, pid: int, mac: str, address: str, address6: str | None, configured: bool, name: str
    ) -> str:
        """Give the guest whose init is *pid* a link; return the name of the bridge's port."""
        port = self._next_port()
        peer = {"ifname": name, "address": mac, "net_ns_pid": pid}
        self._route.link("add", ifname=port, kind="veth", peer=peer)
        self._plug(port, address)
        if not configured:
            return port
        with links(pid, self._cloud) as guest:
            link = guest.link_lookup(ifname=name)[0]
            guest.link("set", index=link, state="up")
            add_address(guest, link, address)
            guest.route("add", dst="169.254.169.254/32", oif=link, scope=SCOPE_LINK)
            if address6 is not None:
                add_address(guest, link, address6)
        return port

    def tap(self, address: str) -> str:
        """Make a port for a virtual machine, which opens it by the name that is returned."""
        port = self._next_port()
        request = struct.pack("16sH22x", port.encode(), IFF_TAP | IFF_NO_PI)
        with open("/dev/net/tun", "r+b", buffering=0) as tun:
            fcntl.ioctl(tun, TUNSETIFF, request)
            fcntl.ioctl(tun, TUNSETPERSIST, 1)
        self._plug(port, address)
        return port

    def _next_port(self) -> str:
        self._ports += 1
        return f"port{self._ports}"

    def _plug(self, port: str, address: str) -> None:
        """Make *port* one of the bridge's, behind which *address* is."""
        index = self._route.link_lookup(ifname=port)[0]
        self._route.link("set", index=index, master=self._bridge)
        self._route.link("set", index=index, state="up")
        self._route.route("replace", dst=f"{address.partition('/')[0]}/32", oif=self._bridge)

    def detach(self, port: str) -> None:
        """Take the wire away, both ends; a guest that ended took it already."""
        for index in self._route.link_lookup(ifname=port):
            with contextlib.suppress(NetlinkError):
                self._route.link("del", index=index)


def main() -> None:
    wires = Wires(int(sys.argv[1]))
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            answer["value"] = getattr(wires, request["do"])(**request["with"])
        except (NetlinkError, OSError) as error:
            answer["error"] = f"{request['do']}: {error}"
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
