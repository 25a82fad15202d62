"""linklocal qemu-args: the flags by which a virtual machine finds the metadata service."""

from __future__ import annotations

import shlex
from argparse import ArgumentTypeError, Namespace
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

from .errors import DONE, CtlError
from .net import BRIDGE
from .output import document
from .parser import Parser, client, wants_json

DESCRIPTION: Final = f"""\
Print the flags of QEMU by which a guest is instance ID: its network interfaces with their MAC
addresses, and the SMBIOS strings that tell our agent and cloud-init that this is OpenStack:
  eval "qemu-system-x86_64 -m 1024 disk.qcow2 $(linklocal qemu-args ID)"
The interfaces are ports of the bridge {BRIDGE}, which `linklocal net up` makes, or of
--bridge; with --tap they are tap devices that are there already; with --user no privilege is
needed: QEMU hands what the guest sends to 169.254.169.254 to the server by socat, from a loopback
address of the instance."""

PRODUCT: Final = "OpenStack Nova"


def add(commands: Any) -> None:
    made: Parser = commands.add_parser(
        "qemu-args", help="flags of QEMU for an instance", description=DESCRIPTION
    )
    made.add_argument("id", metavar="ID")
    how = made.add_mutually_exclusive_group()
    how.add_argument("--bridge", metavar="NAME", default=BRIDGE, help=f"default: {BRIDGE}")
    how.add_argument(
        "--tap", metavar="NAME", action="append", help="one for each interface; repeatable"
    )
    how.add_argument(
        "--user",
        metavar="ADDRESS:PORT",
        type=_read_server,
        help="user network; where the guests' listener is, such as 127.0.0.1:8254",
    )
    made.add_common()
    made.set_defaults(run=run)


def run(options: Namespace) -> int:
    server = client(options)
    found = server.get("instances", options.id)
    words = [*_smbios(found), *_network(options, found)]
    if wants_json(options):
        document(words)
    else:
        print(shlex.join(words))
    return DONE


def _smbios(found: dict[str, Any]) -> list[str]:
    """Return the strings that make the guest one of OpenStack, with its own serial number."""
    system = {
        "type": "1",
        "manufacturer": "OpenStack Foundation",
        "product": PRODUCT,
        "serial": found["id"],
        "family": "Virtual Machine",
    }
    # Only a UUID can be one; QEMU makes up another.
    with suppress(ValueError):
        system["uuid"] = str(UUID(found["id"]))
    chassis = {"type": "3", "manufacturer": "OpenStack Foundation", "asset": PRODUCT}
    return ["-smbios", _option(system), "-smbios", _option(chassis)]


def _network(options: Namespace, found: dict[str, Any]) -> list[str]:
    nics = [nic for nic in found["nics"] if not nic.get("bond") and not nic.get("vlan")]
    if options.tap and len(options.tap) != len(nics):
        raise CtlError(f"--tap: expected one for each of {len(nics)} interfaces")
    words: list[str] = []
    for number, nic in enumerate(nics):
        device = {"netdev": f"net{number}", "mac": nic["mac"]}
        words += ["-netdev", _netdev(options, found, number)]
        words += ["-device", f"virtio-net-pci,{_option(device)}"]
    return words


def _netdev(options: Namespace, found: dict[str, Any], number: int) -> str:
    own = {"id": f"net{number}"}
    if options.tap:
        tap = {"ifname": options.tap[number], "script": "no", "downscript": "no"}
        return f"tap,{_option({**own, **tap})}"
    if options.user is None:
        return f"bridge,{_option({**own, 'br': options.bridge})}"
    if number:
        return f"user,{_option({**own, 'restrict': 'on'})}"
    # QEMU keeps one connection of its own to a plain address, and breaks at the second request.
    command = f"cmd:socat - TCP:{options.user},bind={_loopback(found)}"
    forward = {"guestfwd": f"tcp:169.254.169.254:80-{command}"}
    return f"user,{_option({**own, 'net': '169.254.0.0/16', **forward})}"


def _loopback(found: dict[str, Any]) -> str:
    """Return the loopback address that the instance is known by."""
    addresses = [*found["identify"]["addresses"], *(nic.get("ipv4") for nic in found["nics"])]
    for each in addresses:
        if each is not None and ip_address(each).is_loopback and ":" not in each:
            return str(each)
    raise CtlError(
        f"{found['id']} has no loopback address to be known by; give it one: linklocal instance set"
        f" {found['id']} 'identify.addresses=[\"127.0.1.1\"]'"
    )


def _option(values: dict[str, str]) -> str:
    # A comma ends a value unless it is there twice.
    return ",".join(f"{key}={value.replace(',', ',,')}" for key, value in values.items())


def _read_server(text: str) -> str:
    host, _, port = text.rpartition(":")
    with suppress(ValueError):
        if ip_address(host).version == 4 and 0 < int(port) < 65536:
            return text
    raise ArgumentTypeError("expected ADDRESS:PORT such as 127.0.0.1:8254")
