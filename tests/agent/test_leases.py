"""What DHCP clients write down of a lease, good and bad."""

from __future__ import annotations

import pytest

from agent.early_network import link_local
from agent.leases import Lease, of_dhclient, of_dhcpcd, of_udhcpc

DHCLIENT = """\
lease {
  interface "eth0";
  fixed-address 10.0.0.9;
  option subnet-mask 255.255.0.0;
}
lease {
  interface "eth0";
  fixed-address 192.168.1.10;
  option subnet-mask 255.255.255.0;
  option routers 192.168.1.1,192.168.1.2;
  option dhcp-lease-time 3600;
  option domain-name-servers 8.8.8.8;
  renew 1 2026/11/23 06:00:00;
}
"""
CLASSLESS = (
    "  option rfc3442-classless-static-routes 32,169,254,169,254,192,168,1,2,0,192,168,1,1;\n"
)
METADATA = ("169.254.169.254/32", "192.168.1.2")
DEFAULT = ("0.0.0.0/0", "192.168.1.1")


@pytest.mark.parametrize(
    ("text", "lease"),
    [
        (DHCLIENT, Lease("192.168.1.10/24", (DEFAULT,))),
        (DHCLIENT.replace("  renew", f"{CLASSLESS}  renew"),
         Lease("192.168.1.10/24", (METADATA, DEFAULT))),
        (DHCLIENT.replace("  option routers", "  option other"), Lease("192.168.1.10/24", ())),
        (DHCLIENT.replace("192.168.1.1,", "x,"), Lease("192.168.1.10/24", ())),
        (DHCLIENT.replace("192.168.1.10", "192.168.1.999"), None),
        (DHCLIENT.replace("255.255.255.0", "255.0.255.0"), None),
        (DHCLIENT.replace("  renew", "  option rfc3442-classless-static-routes 33,1;\n  renew"),
         Lease("192.168.1.10/24", (DEFAULT,))),
        ("lease {\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_leases_of_dhclient(text: str, lease: Lease | None) -> None:
    assert of_dhclient(text) == lease


@pytest.mark.parametrize(
    ("text", "lease"),
    [
        ("ip='192.168.1.10'\nmask='24'\nrouter='192.168.1.1 192.168.1.2'\n",
         Lease("192.168.1.10/24", (DEFAULT,))),
        ("ip=192.168.1.10\nsubnet=255.255.255.0\nmask=24\nPATH=/bin\n",
         Lease("192.168.1.10/24", ())),
        ("ip='192.168.1.10'\nmask='24'\nrouter='192.168.1.1'\n"
         "staticroutes='169.254.169.254/32 192.168.1.2 0.0.0.0/0 192.168.1.1'\n",
         Lease("192.168.1.10/24", (METADATA, DEFAULT))),
        ("ip='192.168.1.10'\nmask='24'\nstaticroutes='; reboot'\n", Lease("192.168.1.10/24", ())),
        ("interface=eth0\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_leases_of_udhcpc(text: str, lease: Lease | None) -> None:
    assert of_udhcpc(text) == lease


def test_leases_of_dhcpcd() -> None:
    text = (
        "reason=BOUND\ninterface=eth0\nip_address=192.168.1.10\nsubnet_cidr=24\n"
        "classless_static_routes='169.254.169.254/32 192.168.1.2 0.0.0.0/0 192.168.1.1'\n"
        "routers='192.168.1.1'\n"
    )

    assert of_dhcpcd(text) == Lease("192.168.1.10/24", (METADATA, DEFAULT))
    assert of_dhcpcd("dhcpcd is not running") is None


def test_a_link_local_address_is_the_interfaces_own_and_never_the_services() -> None:
    addresses = {link_local(f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}") for n in range(5000)}

    assert len(addresses) > 4000
    assert "169.254.169.254/16" not in addresses
    for address in addresses:
        third, fourth = map(int, address.partition("/")[0].split(".")[2:])
        assert 1 <= third <= 254
        assert 1 <= fourth <= 254
