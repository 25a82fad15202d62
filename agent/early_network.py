"""A network for a moment, to ask the metadata service before the machine's own network is up.

By the DHCP client that is installed, else with a link-local address; what is made here is taken
down again, and nothing of a lease reaches resolv.conf or another file of the machine.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Callable, NamedTuple

from .datasources.client import has_route
from .errors import HostError
from .host import Host
from .journal import log
from .leases import Lease, of_dhclient, of_dhcpcd, of_udhcpc
from .state import RUN

NICS = "/sys/class/net"
MOST_NICS = 4
DIRECTORY = f"{RUN}/agent/dhcp"
NETWORKD = "/run/systemd/netif/state"
TICK = 0.05
SERVICE_V6 = "http://[fe80::a9fe:a9fe%25{}]"
# dhclient is confined by AppArmor on some distributions: these are the places it may write to.
DHCLIENT_PID = "/run/dhclient-linklocal.pid"
DHCLIENT_LEASES = "/var/lib/dhcp/dhclient-linklocal.leases"
ETHERNET = b"1"


class Nic(NamedTuple):
    """A network interface that may lead somewhere."""

    name: str
    up: bool
    """Whether it was up when it was found."""
    mac: str


Client = Callable[[Host, str, float], "Lease | None"]


@contextmanager
def up(host: Host, urls: Sequence[str], timeout: float) -> Iterator[tuple[str, ...]]:
    """Give a network when there is no way to any of *urls*, and addresses to ask besides.

    *timeout*: the longest time DHCP may take, in seconds.
    """
    if host.records or not host.live or any(map(has_route, urls)) or host.which("ip") is None:
        yield ()
        return
    if host.kind(NETWORKD) is not None and _comes(urls, timeout):
        # It is at work on the machine's own network.
        yield ()
        return
    with ExitStack() as undo:
        further: tuple[str, ...] = ()
        try:
            further = _brought_up(host, timeout, undo)
        except HostError as error:
            log.info("%s", error)
        yield further


def _comes(urls: Sequence[str], timeout: float) -> bool:
    """Say whether there is a way to one of *urls* within *timeout* seconds."""
    end = time.monotonic() + timeout
    while not any(map(has_route, urls)):
        if time.monotonic() > end:
            return False
        time.sleep(TICK)
    return True


def _brought_up(host: Host, timeout: float, undo: ExitStack) -> tuple[str, ...]:
    nics = list(_nics(host))
    if not nics:
        log.info("early network: there is no interface")
        return ()
    for nic in nics:
        if not nic.up:
            undo.callback(_try, host, "link", "set", "dev", nic.name, "down")
            _ip(host, "link", "set", "dev", nic.name, "up")
    client = _client(host)
    if client is not None:
        for nic in nics:
            lease = client(host, nic.name, timeout / len(nics))
            if lease is not None:
                log.info("early network: %s has %s by DHCP", nic.name, lease.address)
                _apply(host, nic.name, lease, undo)
                return ()
    nic = nics[0]
    address = link_local(nic.mac)
    log.info("early network: %s has %s, link-local", nic.name, address)
    _apply(host, nic.name, Lease(address, ()), undo)
    return (SERVICE_V6.format(nic.name),)


def _apply(host: Host, name: str, lease: Lease, undo: ExitStack) -> None:
    # Its routes go with the address.
    undo.callback(_try, host, "-4", "address", "del", lease.address, "dev", name)
    _ip(host, "-4", "address", "replace", lease.address, "dev", name)
    for destination, gateway in lease.routes:
        via = () if gateway == "0.0.0.0" else ("via", gateway)  # noqa: S104 - not to bind to
        # A gateway may be outside of the address's own network.
        onlink = ("onlink",) if via else ()
        _ip(host, "-4", "route", "replace", destination, *via, "dev", name, *onlink)


def link_local(mac: str) -> str:
    """Return an address of 169.254.0.0/16 for the interface, always the same (RFC 3927, 2.1)."""
    number = zlib.crc32(mac.encode())
    third, fourth = 1 + number % 254, 1 + (number >> 8) % 254
    if (third, fourth) == (169, 254):
        fourth = 1
    return f"169.254.{third}.{fourth}/16"


# --- interfaces


def _nics(host: Host) -> Iterator[Nic]:
    """Yield the interfaces of hardware, or those that a container was given as such."""
    names = [name for name in host.names(NICS) if name != "lo" and _is_plain(host, name)]
    real = [name for name in names if host.kind(f"{NICS}/{name}/device") is not None]
    chosen = real or [name for name in names if name.startswith(("eth", "en"))]
    for name in chosen[:MOST_NICS]:
        flags = int(_value(host, name, "flags") or b"0", 16)
        yield Nic(name, bool(flags & 1), _value(host, name, "address").decode("ascii", "replace"))


def _is_plain(host: Host, name: str) -> bool:
    if _value(host, name, "type") != ETHERNET:
        return False
    made = ("bridge", "bonding", "master", "tun_flags", "wireless")
    return all(host.kind(f"{NICS}/{name}/{what}") is None for what in made)


def _value(host: Host, name: str, what: str) -> bytes:
    try:
        return (host.read(f"{NICS}/{name}/{what}") or b"").strip()
    except HostError:
        return b""


# --- DHCP clients


def _client(host: Host) -> Client | None:
    """Return the first client that is installed."""
    for program, client in CLIENTS.items():
        if host.which(program) is not None:
            return client
    return None


def _dhclient(host: Host, name: str, timeout: float) -> Lease | None:
    # Its script would write resolv.conf; the lease says all.
    files = ["-pf", DHCLIENT_PID, "-lf", DHCLIENT_LEASES]
    try:
        host.make_directory("/var/lib/dhcp")
        host.remove(DHCLIENT_LEASES)
        _run(host, ["dhclient", "-4", "-1", "-q", "-sf", "/bin/true", *files, name], timeout)
        text = host.read(DHCLIENT_LEASES) or b""
        return of_dhclient(text.decode("utf-8", "replace"))
    finally:
        # It stays in the background to renew the lease; it is ended without giving it back.
        _run(host, ["dhclient", "-4", "-x", "-q", "-sf", "/bin/true", *files, name], 5.0)
        host.remove(DHCLIENT_LEASES)
        host.remove(DHCLIENT_PID)


def _udhcpc(host: Host, name: str, timeout: float) -> Lease | None:
    # It calls `sh bound` in this directory: /run itself may forbid to run what is in it.
    script, said = f"{DIRECTORY}/bound", f"{DIRECTORY}/lease"
    try:
        host.make_directory(DIRECTORY, mode=0o700)
        host.write(script, f"set >{said}\n".encode(), mode=0o600)
        options = ["-f", "-n", "-q", "-t", "3", "-T", "1", "-O", "staticroutes", "-s", "/bin/sh"]
        _run(host, ["udhcpc", *options, "-i", name], timeout, cwd=DIRECTORY)
        text = (host.read(said) or b"").decode("utf-8", "replace")
        return of_udhcpc(text)
    finally:
        for path in (script, said, DIRECTORY):
            host.remove(path)


def _dhcpcd(host: Host, name: str, timeout: float) -> Lease | None:
    options = ["--ipv4only", "--oneshot", "--noarp", "--noipv4ll", "--script", "/bin/true"]
    seconds = str(max(1, round(timeout)))
    _run(host, ["dhcpcd", *options, "--timeout", seconds, name], timeout + 1)
    said = _run(host, ["dhcpcd", "--ipv4only", "--dumplease", name], 5.0)
    return of_dhcpcd(said)


CLIENTS: dict[str, Client] = {"dhclient": _dhclient, "dhcpcd": _dhcpcd, "udhcpc": _udhcpc}


def _run(host: Host, argv: Sequence[str], timeout: float, cwd: str = "/") -> str:
    """Run a client; return what it says, nothing when it takes too long."""
    try:
        return host.run(argv, timeout=timeout, cwd=cwd).output.decode("utf-8", "replace")
    except HostError as error:
        log.info("early network: %s", error)
        return ""


def _ip(host: Host, *words: str) -> None:
    done = host.run(["ip", *words], timeout=5.0)
    if done.status != 0:
        said = done.output.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise HostError(f"early network: ip {' '.join(words)}: {said}")


def _try(host: Host, *words: str) -> None:
    """Take down what may not even have come up."""
    try:
        _ip(host, *words)
    except HostError as error:
        log.info("%s", error)
