"""Where the files of each back end are: apart from what writes them, of which one is imported."""

HEADER = "# Made by linklocal-agent from the instance's network configuration.\n"

NETPLAN = "/etc/netplan/50-linklocal.yaml"
INTERFACES = "/etc/network/interfaces.d/50-linklocal"

NETWORKD = "/etc/systemd/network"
# Files of what is made come first by name: a VLAN has the address of its NIC, whose own file is
# found by that address, and the first file that fits is taken.
MADE, FOUND = "10-linklocal", "20-linklocal"

KEYFILES = "/etc/NetworkManager/system-connections"
PROFILE = "linklocal-"

SYSCONFIG = "/etc/sysconfig/network-scripts"
IFCFG = ("ifcfg-", "route-", "route6-", "rule-", "rule6-")
