"""The options of bonds: one table of what each system calls them."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

from .reading import Reader, address, boolean, device, integer, word

MODES = (
    "balance-rr",
    "active-backup",
    "balance-xor",
    "broadcast",
    "802.3ad",
    "balance-tlb",
    "balance-alb",
)
"""In the kernel's order: a number is one of these, too."""


class Option(NamedTuple):
    """One option."""

    kernel: str
    """Also ifupdown's and nova's, with `bond-` or `bond_` before it."""
    netplan: str
    networkd: str
    read: Callable[[Any], str]
    milliseconds: bool = False


def mode(raw: object) -> str:
    """Return a mode by name or number."""
    if raw in MODES:
        return str(raw)
    number = int(raw) if isinstance(raw, (int, str)) and str(raw) in "0123456" and raw != "" else -1
    if 0 <= number < len(MODES):
        return MODES[number]
    raise ValueError(f"expected one of {', '.join(MODES)}")


def number(raw: object) -> str:
    """Return a number as text."""
    return str(integer(0, 2**31 - 1)(raw))


def switch(raw: object) -> str:
    """Return 0 or 1."""
    return "1" if boolean(raw) else "0"


def targets(raw: object) -> str:
    """Return addresses, parted by commas."""
    words = raw.replace(",", " ").split() if isinstance(raw, str) else raw
    if not isinstance(words, (list, tuple)) or not words:
        raise ValueError("expected a list of addresses")
    return ",".join(map(address, words))


OPTIONS = (
    Option("mode", "mode", "Mode", mode),
    Option("miimon", "mii-monitor-interval", "MIIMonitorSec", number, milliseconds=True),
    Option("updelay", "up-delay", "UpDelaySec", number, milliseconds=True),
    Option("downdelay", "down-delay", "DownDelaySec", number, milliseconds=True),
    Option("lacp_rate", "lacp-rate", "LACPTransmitRate", word),
    Option("min_links", "min-links", "MinLinks", number),
    Option("xmit_hash_policy", "transmit-hash-policy", "TransmitHashPolicy", word),
    Option("ad_select", "ad-select", "AdSelect", word),
    Option("all_slaves_active", "all-slaves-active", "AllSlavesActive", switch),
    Option("arp_interval", "arp-interval", "ARPIntervalSec", number, milliseconds=True),
    Option("arp_ip_target", "arp-ip-targets", "ARPIPTargets", targets),
    Option("arp_validate", "arp-validate", "ARPValidate", word),
    Option("arp_all_targets", "arp-all-targets", "ARPAllTargets", word),
    Option("fail_over_mac", "fail-over-mac-policy", "FailOverMACPolicy", word),
    Option("num_grat_arp", "gratuitous-arp", "GratuitousARP", number),
    Option("packets_per_slave", "packets-per-slave", "PacketsPerSlave", number),
    Option("primary_reselect", "primary-reselect-policy", "PrimaryReselectPolicy", word),
    Option("lp_interval", "learn-packet-interval", "LearnPacketIntervalSec", number),
    Option("resend_igmp", "resend-igmp", "ResendIGMP", number),
    # It is said of the member there, and not of the bond.
    Option("primary", "primary", "", device),
)
LACP_RATES = {"0": "slow", "1": "fast"}


def read_options(reader: Reader, spellings: Callable[[Option], tuple[str, ...]]) -> dict[str, str]:
    """Return the options that *reader* has under their *spellings*, by the kernel's names."""
    found: dict[str, str] = {}
    for option in OPTIONS:
        value: str | None = reader.take(option.read, *spellings(option))
        if value is not None:
            if option.kernel == "lacp_rate":
                value = LACP_RATES.get(value, value)
            found[option.kernel] = value
    return found
