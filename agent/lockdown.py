"""Root alone reaches the metadata service: the platform's rule, by nftables or iptables.

The vendor's guide gives the rule for iptables and IPv4 (2.7.3.1, Notes). Here it covers IPv6 and
what is forwarded from containers as well, and is undone without a trace.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

from .errors import AgentError, HostError
from .host import Host

ADDRESSES = ("169.254.169.254", "fd00:ec2::254", "fe80::a9fe:a9fe")
NAME = "linklocal"
CHAIN = "LINKLOCAL"


class Filter(NamedTuple):
    """What is to be kept from others than root."""

    addresses: tuple[str, ...] = ADDRESSES
    forwarded: bool = True
    """Whether containers and other guests behind this machine are kept away, too."""


def wanted(urls: tuple[str, ...], *, forwarded: bool) -> Filter:
    """Return the filter for the usual addresses and those of *urls*, which agent.yaml names."""
    from .datasources.client import read_address

    found = [str(ip_address(read_address(url).host)) for url in urls]
    kept = [each for each in found if not ip_address(each).is_loopback]
    return Filter(tuple(dict.fromkeys((*ADDRESSES, *kept))), forwarded)


def apply(host: Host, wish: Filter) -> str:
    """Put the filter in place, in one step and as often as asked; return what did it."""
    if host.which("nft"):
        _run(host, ["nft", "-f", "-"], _table(wish))
        return "nftables"
    families = _families(host)
    for tool, version in families:
        rules = [each for each in wish.addresses if ip_address(each).version == version]
        _remove_chain(host, tool)
        _run(host, [tool, "-w", "-N", CHAIN])
        for address in rules:
            owner = ["-m", "owner", "!", "--uid-owner", "0"]
            _run(host, [tool, "-w", "-A", CHAIN, "-d", address, *owner, "-j", "REJECT"])
        _run(host, [tool, "-w", "-I", "OUTPUT", "-j", CHAIN])
        for address in rules if wish.forwarded else ():
            _run(host, [tool, "-w", "-I", "FORWARD", "-d", address, *_COMMENT, "-j", "REJECT"])
    return "iptables"


def undo(host: Host) -> str:
    """Take the filter away; return what did it. Nothing happens when there is none."""
    if host.which("nft"):
        _run(host, ["nft", "-f", "-"], f"table inet {NAME}\ndelete table inet {NAME}\n")
        return "nftables"
    for tool, _ in _families(host):
        _remove_chain(host, tool)
    return "iptables"


def in_place(host: Host) -> bool:
    """Say whether the filter is there."""
    if host.which("nft"):
        return host.run(["nft", "list", "table", "inet", NAME]).status == 0
    found = [host.run([tool, "-w", "-S", CHAIN]).status == 0 for tool, _ in _families(host)]
    return all(found)


_COMMENT = ["-m", "comment", "--comment", NAME]


def _table(wish: Filter) -> str:
    """Return the rules as nft reads them: the table is made anew in one transaction."""
    lines = [f"table inet {NAME}", f"delete table inet {NAME}", f"table inet {NAME} {{"]
    chains = [("output", " meta skuid != 0")] + ([("forward", "")] if wish.forwarded else [])
    for hook, owner in chains:
        lines += [f"  chain {hook} {{", f"    type filter hook {hook} priority -10; policy accept;"]
        for version, family in ((4, "ip"), (6, "ip6")):
            some = [each for each in wish.addresses if ip_address(each).version == version]
            if some:
                lines.append(f"    {family} daddr {{ {', '.join(some)} }}{owner} counter reject")
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def _families(host: Host) -> list[tuple[str, int]]:
    found = [(tool, version) for tool, version in (("iptables", 4), ("ip6tables", 6))]
    if not host.which("iptables"):
        raise HostError("lockdown: expected nft or iptables to be installed, found neither")
    return [each for each in found if host.which(each[0])]


def _remove_chain(host: Host, tool: str) -> None:
    """Remove our chain and what leads there; it may not be there."""
    while host.run([tool, "-w", "-D", "OUTPUT", "-j", CHAIN]).status == 0:
        pass
    listed = host.run([tool, "-w", "-S", "FORWARD"]).output.decode("utf-8", "replace")
    for line in listed.splitlines():
        words = line.split()
        if words[:2] == ["-A", "FORWARD"] and NAME in [each.strip('"') for each in words]:
            rule = [each.strip('"') for each in words[1:]]
            host.run([tool, "-w", "-D", *rule])
    host.run([tool, "-w", "-F", CHAIN])
    host.run([tool, "-w", "-X", CHAIN])


def _run(host: Host, argv: list[str], stdin: str = "") -> None:
    done = host.run(argv, stdin=stdin.encode())
    if done.status:
        said = done.output.decode("utf-8", "replace").strip().replace("\n", "; ")
        raise AgentError(f"lockdown: {argv[0]}: exit status {done.status}: {said}")
