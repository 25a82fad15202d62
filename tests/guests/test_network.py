"""The network of real guests: what is asked for is there, for the systems' own tools and others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest

from ..agent.network.documents import NAMES, RENDERERS, resolved
from ..conftest import StartGuest, StartMachine, StartNspawn
from . import images, installed
from .cloud import CHECKOUT, Cloud
from .light import LightGuest, Nic

pytestmark = pytest.mark.guest

SEED = "/var/lib/cloud/seed/nocloud"
AGENT = ["python3", "-m", "agent"]
BOOT = [*AGENT, "run", "--datasource", "nocloud"]


# --- the systems' own parsers -----------------------------------------------------------------


@pytest.fixture(scope="module")
def tools(network_root: Path) -> Any:
    """A guest with the tools of all back ends; no test changes what another one sees."""
    with LightGuest(network_root) as guest:
        yield guest


def put(guest: LightGuest, back_end: str, name: str) -> str:
    """Write a document's files for *back_end* below a root of their own; return that root."""
    from agent.report import Report

    root = f"/srv/{back_end}/{name}"
    for file in RENDERERS[back_end](resolved(name, Report())):
        guest.write(root + file.path, file.text.encode(), mode=file.mode)
    return root


@pytest.mark.parametrize("name", NAMES)
def test_each_systems_own_tool_reads_what_is_written(tools: LightGuest, name: str) -> None:
    root = put(tools, "netplan", name)
    done = tools.run(["/lib/netplan/generate", "--root-dir", root])
    assert (done.returncode, done.stderr) == (0, b"")

    path = f"{put(tools, 'ifupdown', name)}/etc/network/interfaces.d/50-linklocal"
    done = tools.run(["ifup", "--no-act", "--force", "--all", "--interfaces", path])
    assert done.returncode == 0, done.stderr

    directory = f"{put(tools, 'keyfile', name)}/etc/NetworkManager/system-connections"
    for file in tools.names(directory):
        profile = tools.read(f"{directory}/{file}")
        argv = ["nmcli", "--offline", "connection", "modify", "connection.zone", ""]
        done = tools.run(argv, input=profile)
        assert done.returncode == 0, done.stderr
        assert lost(profile.decode(), done.stdout.decode()) == set()


def lost(before: str, after: str) -> set[str]:
    """Return the lines of a keyfile that NetworkManager's own writer leaves out."""

    def lines(text: str) -> set[str]:
        return {line.split("/32 ")[0] for line in text.lower().splitlines() if "=" in line}

    # Spelled by it in its own way: lists of bytes, orders, and the length of a single address.
    spelled = ("ssid=", "route", "routing-rule", "stp=true")
    return {line for line in lines(before) - lines(after) if not line.startswith(spelled)}


def test_networkd_understands_every_line(tools: LightGuest) -> None:
    tools.call("makedirs", "/etc/systemd/network")
    for name in NAMES:
        for file in sorted(tools.names(f"{put(tools, 'networkd', name)}/etc/systemd/network")):
            text = tools.read(f"/srv/networkd/{name}/etc/systemd/network/{file}")
            stem, _, suffix = file.rpartition(".")
            tools.write(f"/etc/systemd/network/{stem}-{name}.{suffix}", text)
    tools.call("makedirs", "/run/systemd/netif/links")
    tools.sh("chown -R systemd-network /run/systemd/netif")
    log = {"SYSTEMD_LOG_TARGET": "console", "SYSTEMD_LOG_LEVEL": "info"}

    with tools.start(["/lib/systemd/systemd-networkd"], env=log) as daemon:
        daemon.wait_for("Enumeration completed")
        said = daemon.stderr.decode() + daemon.stdout.decode()

    # Whatever it says of a file begins with the file's path.
    lines = [line for line in said.splitlines() if "/etc/systemd/network/" in line]
    fine = ("was already configured by", "Configuring with")
    assert [line for line in lines if not any(words in line for words in fine)] == []


# --- two machines that reach each other -------------------------------------------------------


def document(number: int) -> dict[str, Any]:
    """Return version 2 for the machine *number*: two NICs, IPv4 and IPv6 on both."""
    return {
        "version": 2,
        "ethernets": {
            "one": {
                "match": {"macaddress": f"52:54:00:00:01:0{number}"},
                "addresses": [f"10.1.0.{number}/24", f"fd01::{number}/64"],
            },
            "two": {
                "match": {"macaddress": f"52:54:00:00:02:0{number}"},
                "addresses": [f"10.2.0.{number}/24", f"fd02::{number}/64"],
                "mtu": 1400,
                "routes": [{"to": "10.3.0.0/16", "via": f"10.2.0.{3 - number}"}],
            },
            "gone": {"match": {"macaddress": "52:54:00:00:00:99"}, "dhcp4": True},
        },
    }


def nics(number: int) -> tuple[Nic, Nic]:
    return (
        Nic(f"10.1.0.{number}/24", f"52:54:00:00:01:0{number}", configured=False),
        Nic(f"10.2.0.{number}/24", f"52:54:00:00:02:0{number}", configured=False, name="eth1"),
    )


def seed(guest: LightGuest, number: int, back_end: str) -> None:
    guest.write(f"{SEED}/meta-data", f"instance-id: machine-{number}\n".encode())
    guest.write(f"{SEED}/user-data", b"#cloud-config\n{}\n")
    guest.write(f"{SEED}/network-config", json.dumps(document(number)).encode())
    guest.write("/etc/linklocal/agent.yaml", f"network_back_end: {back_end}\n".encode())


def status(guest: LightGuest) -> dict[str, Any]:
    found = guest.run([*AGENT, "status", "--json"], cwd=installed.HOME)
    return json.loads(found.stdout)  # type: ignore[no-any-return]


def network_row(guest: LightGuest) -> dict[str, Any] | None:
    return next((row for row in status(guest)["modules"] if row["name"] == "network"), None)


def reach(guest: LightGuest, number: int) -> list[str]:
    """Return which addresses of the machine *number* answer *guest*."""
    found = []
    for address in (
        f"10.1.0.{number}",
        f"10.2.0.{number}",
        f"fd01::{number}",
        f"fd02::{number}",
    ):
        # An address of IPv6 is to be had a second later: it is asked first whether it is taken.
        done = guest.run(["ping", "-q", "-c", "1", "-w", "8", address])
        if b" 0 received" not in done.stdout and b"received" in done.stdout:
            found.append(address)
    return found


EVERYTHING = ["10.1.0.2", "10.2.0.2", "fd01::2", "fd02::2"]


def links(guest: LightGuest) -> dict[str, dict[str, Any]]:
    rows = json.loads(guest.sh("ip -json address show"))
    return {row["ifname"]: row for row in rows}


@pytest.mark.slow
def test_two_machines_reach_each_other_after_boot_and_reboot_by_ifupdown(
    light_guest: StartGuest, cloud: Cloud, network_root: Path, installed_agent: Path
) -> None:
    guests = []
    for number in (1, 2):
        first, second = nics(number)
        guest = light_guest(cloud, first, lower=network_root, layers=[installed_agent])
        cloud.attach(guest.pid, second)
        seed(guest, number, "ifupdown")
        guest.run(BOOT, cwd=installed.HOME, check=True)
        guests.append(guest)
    here = guests[0]

    row = network_row(here)
    assert row is not None
    assert row["detail"] == "network-config, written for ifupdown"
    assert [entry["place"] for entry in row["entries"]] == ["network-config.ethernets.gone"], row[
        "entries"
    ]
    assert reach(here, 2) == EVERYTHING
    assert links(here)["eth1"]["mtu"] == 1400
    assert "10.3.0.0/16 via 10.2.0.2 dev eth1" in here.sh("ip route")

    written = here.snapshot("/etc/network")
    for number, guest in enumerate(guests, 1):
        guest.reboot()
        cloud.attach(guest.pid, nics(number)[1])
        # What init does at every boot.
        guest.sh("mkdir -p /run/network && ifup -a")
        guest.run(BOOT, cwd=installed.HOME, check=True)

    assert here.snapshot("/etc/network") == written
    again = network_row(here)
    assert again is not None
    assert again["result"] == "ran before"
    assert reach(here, 2) == EVERYTHING


@pytest.mark.slow
def test_a_nic_is_renamed_and_another_instance_gets_another_network(
    light_guest: StartGuest, cloud: Cloud, network_root: Path, installed_agent: Path
) -> None:
    first, second = nics(1)
    guest = light_guest(cloud, first, lower=network_root, layers=[installed_agent])
    cloud.attach(guest.pid, second)
    swapped = {
        name: {"match": {"macaddress": mac}, "set-name": name, "addresses": [address]}
        for name, mac, address in (
            ("eth1", first.mac, "10.8.0.1/24"),
            ("eth0", second.mac, "10.9.0.1/24"),
        )
    }
    seed(guest, 1, "ifupdown")
    guest.write(f"{SEED}/network-config", json.dumps({"version": 2, "ethernets": swapped}).encode())

    guest.run(BOOT, cwd=installed.HOME, check=True)
    found = links(guest)
    guest.write(f"{SEED}/meta-data", b"instance-id: another\n")
    guest.write(f"{SEED}/network-config", json.dumps(document(1)).encode())
    guest.run(BOOT, cwd=installed.HOME, check=True)

    assert (found["eth1"]["address"], found["eth0"]["address"]) == (first.mac, second.mac)
    assert found["eth1"]["addr_info"][0]["local"] == "10.8.0.1"
    assert not guest.names("/etc/systemd/network")
    assert "10.1.0.1" in guest.sh("ip address show dev eth1")
    assert "10.8.0.1" not in guest.sh("ip address show")


def test_answers_leave_by_the_nic_that_was_asked(
    light_guest: StartGuest, cloud: Cloud, network_root: Path, installed_agent: Path
) -> None:
    first = Nic("10.1.0.1/24", "52:54:00:00:01:01")
    second = Nic("10.2.0.1/24", "52:54:00:00:02:01", configured=False, name="eth1")
    served = [
        {"mac": first.mac, "ipv4": "10.1.0.1", "prefix": 24, "gateway": "10.1.0.254"},
        {"mac": second.mac, "ipv4": "10.2.0.1", "prefix": 24, "gateway": "10.2.0.254"},
    ]
    instance = {"id": "two-ways-out", "nics": [{**nic, "dhcp": False} for nic in served]}
    guest = light_guest(cloud, first, lower=network_root, layers=[installed_agent])
    cloud.attach(guest.pid, second)
    guest.write("/etc/linklocal/agent.yaml", b"network_back_end: ifupdown\n")

    with cloud.serve([instance]):
        argv = [*AGENT, "run", "--datasource", "openstack"]
        guest.run(argv, cwd=installed.HOME, check=True)

    assert not status(guest)["degraded"], status(guest)
    assert "via 10.1.0.254 dev eth0" in guest.sh("ip route get 192.0.2.1")
    assert "via 10.2.0.254 dev eth1" in guest.sh("ip route get 192.0.2.1 from 10.2.0.1")
    assert "dev eth1" in guest.sh("ip route get 10.2.0.9 from 10.2.0.1")


def test_a_nic_that_is_plugged_in_later_is_configured_by_the_command(
    light_guest: StartGuest, cloud: Cloud, network_root: Path, installed_agent: Path
) -> None:
    first, second = nics(1)
    guest = light_guest(cloud, first, lower=network_root, layers=[installed_agent])
    wanted = {
        name: {"match": {"macaddress": nic.mac}, "addresses": [nic.address]}
        for name, nic in (("one", first), ("two", second))
    }
    seed(guest, 1, "ifupdown")
    guest.write(f"{SEED}/network-config", json.dumps({"version": 2, "ethernets": wanted}).encode())
    guest.run(BOOT, cwd=installed.HOME, check=True)
    missing = network_row(guest)

    cloud.attach(guest.pid, second)
    done = guest.run([*AGENT, "network", "apply"], cwd=installed.HOME, check=True)
    again = guest.run([*AGENT, "network", "apply"], cwd=installed.HOME, check=True)
    shown = guest.run([*AGENT, "network", "show"], cwd=installed.HOME, check=True)

    assert missing is not None
    assert [entry["place"] for entry in missing["entries"]] == ["network-config.ethernets.two"]
    assert done.stdout == b"network: network-config, written for ifupdown\n"
    assert again.stdout == b"network: network-config, as it was for ifupdown\n"
    assert "10.2.0.1/24" in guest.sh("ip address show dev eth1")
    assert b"file /etc/network/interfaces.d/50-linklocal\n" in shown.stdout


def test_the_units_of_hot_plugged_nics_are_understood(tools: LightGuest) -> None:
    unit, rules = "linklocal-hotplug@.service", "90-linklocal-hotplug.rules"
    for name, path in ((unit, "/etc/systemd/system"), (rules, "/etc/udev/rules.d")):
        tools.write(f"{path}/{name}", (CHECKOUT / "systemd" / name).read_bytes())
    tools.write("/usr/bin/linklocal-agent", b"#!/bin/sh\n", mode=0o755)

    done = tools.run(["systemd-analyze", "verify", "--man=no", "linklocal-hotplug@eth1.service"])

    assert done.returncode == 0, done.stderr
    assert unit.encode() not in done.stderr


NETWORKD, MANAGER = "systemd-networkd", "NetworkManager"


@pytest.fixture
def only(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a layer in which one service alone configures the network at boot."""

    def layer(service: str) -> Path:
        units = tmp_path / "units/etc/systemd/system"
        (units / "multi-user.target.wants").mkdir(parents=True)
        for name in {"networking", "NetworkManager-wait-online", NETWORKD, MANAGER} - {service}:
            (units / f"{name}.service").symlink_to("/dev/null")
        unit = f"/lib/systemd/system/{service}.service"
        (units / f"multi-user.target.wants/{service}.service").symlink_to(unit)
        return tmp_path / "units"

    return layer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("back_end", "service"),
    [("networkd", NETWORKD), ("netplan", NETWORKD), ("networkmanager", MANAGER)],
)
def test_two_machines_with_systemd_reach_each_other_after_boot_and_reboot(
    nspawn_guest: StartNspawn,
    cloud: Cloud,
    network_root: Path,
    installed_agent: Path,
    only: Callable[[str], Path],
    back_end: str,
    service: str,
) -> None:
    layers = [installed_agent, only(service)]
    guests = []
    for number in (1, 2):
        first, second = nics(number)
        guest = nspawn_guest(lower=network_root, cloud=cloud, nic=first, layers=layers)
        cloud.attach(guest.pid, second)
        seed(guest, number, back_end)
        guest.run(BOOT, cwd=installed.HOME, check=True)
        guests.append(guest)
    here = guests[0]

    row = network_row(here)
    assert row is not None
    assert [entry["place"] for entry in row["entries"]] == ["network-config.ethernets.gone"], row[
        "entries"
    ]
    assert reach(here, 2) == EVERYTHING
    assert links(here)["eth1"]["mtu"] == 1400
    assert "10.3.0.0/16 via 10.2.0.2 dev eth1" in here.sh("ip route")

    for number, guest in enumerate(guests, 1):
        guest.reboot()
        cloud.attach(guest.pid, nics(number)[1])

    assert reach(here, 2) == EVERYTHING
    assert here.sh(f"systemctl is-active {service}") == "active\n"


PEER = """\
pair() {
  ip link add $1 type veth peer name $2
  ip link set $2 netns peer
  ip -n peer link set $2 up
}
ip netns add peer
pair near far; pair near2 far2; pair near3 far3
ip link set near address 52:54:00:00:03:01
ip -n peer link add link far name far.7 type vlan id 7
ip -n peer address add 10.7.0.2/24 dev far.7
ip -n peer address add fd07::2/64 dev far.7 nodad
ip -n peer link set far.7 up
ip -n peer link add bridge type bridge
ip -n peer address add 10.8.0.2/24 dev bridge
ip -n peer link set far2 master bridge
ip -n peer link set far3 master bridge
ip -n peer link set bridge up
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_vlan_a_bond_and_a_name_are_there_after_boot_and_reboot(
    vm: StartMachine, machine12: Path, installed_agent: Path, tmp_path: Path, cloud: Cloud
) -> None:
    """The kernel of light and nspawn guests is this machine's, and may know neither."""
    nic = Nic(configured=False)
    wanted = {
        "version": 2,
        "ethernets": {
            "wan": {
                "match": {"macaddress": nic.mac},
                "set-name": "wan0",
                "addresses": [nic.address],
            },
            "near": {"match": {"macaddress": "52:54:00:00:03:01"}},
            "near2": {},
            "near3": {},
        },
        "vlans": {"near.7": {"id": 7, "link": "near", "addresses": ["10.7.0.1/24", "fd07::1/64"]}},
        "bonds": {
            "bond0": {
                "interfaces": ["near2", "near3"],
                "parameters": {"mode": "active-backup", "mii-monitor-interval": 100},
                "addresses": ["10.8.0.1/24"],
            }
        },
    }
    layer = tmp_path / "layer"
    (layer / SEED.lstrip("/")).mkdir(parents=True)
    for name, text in (
        ("meta-data", "instance-id: machine"),
        ("user-data", "#cloud-config\n{}\n"),
        ("network-config", json.dumps(wanted)),
    ):
        (layer / SEED.lstrip("/") / name).write_text(text)
    image = images.make(machine12, tmp_path / "disk.raw", layers=[layer, installed_agent])
    ping = "for each in 10.7.0.2 fd07::2 10.8.0.2; do ping -q -c 1 -w 20 $each; done"

    guest = vm(image, cloud=cloud, nic=nic)
    guest.sh(PEER)
    guest.sh(f"cd {installed.HOME} && python3 -m agent run --datasource nocloud", timeout=240)
    told = json.loads(guest.sh(f"cd {installed.HOME} && python3 -m agent status --json"))
    guest.sh(ping, timeout=120)
    before = guest.sh("ip -brief address show dev wan0")
    guest.reboot()
    guest.sh(PEER)
    guest.sh(ping, timeout=120)

    row = next(row for row in told["modules"] if row["name"] == "network")
    assert row["detail"] == "network-config, written for netplan"
    assert row["entries"] == []
    assert nic.address in before
    assert nic.address in guest.sh("ip -brief address show dev wan0")
    assert "active-backup" in guest.read("/sys/class/net/bond0/bonding/mode").decode()


@pytest.mark.parametrize(
    ("file", "compat", "asked"),
    [
        (None, "", "fallback, written for networkd"),
        ("/etc/netplan/01-image.yaml", "", None),
        # What cloud-init has generated makes room for an instance's, not for nobody's.
        ("/etc/netplan/50-cloud-init.yaml", "cloud_init_compat: true\n", None),
    ],
)
def test_before_an_instance_is_met_the_first_nic_asks_where_nothing_else_is_said(
    light_guest: StartGuest,
    cloud: Cloud,
    network_root: Path,
    installed_agent: Path,
    file: str | None,
    compat: str,
    asked: str | None,
) -> None:
    nic = Nic("10.1.0.1/24", "52:54:00:00:01:01", configured=False)
    guest = light_guest(cloud, nic, lower=network_root, layers=[installed_agent])
    settings = f"network_back_end: networkd\ndeadline: 0.5\ndhcp_timeout: 0.2\n{compat}"
    guest.write("/etc/linklocal/agent.yaml", settings.encode())
    if file:
        guest.write(file, b"network: {version: 2}\n")

    done = guest.run([*AGENT, "run", "--datasource", "openstack"], cwd=installed.HOME)

    assert done.returncode == 1, done.stdout
    said = guest.text("/var/log/linklocal/agent.log")
    assert "no metadata service found" in said
    assert ("written for" in said) is bool(asked)
    assert asked is None or f"network: {asked}" in said
    assert bool(guest.names("/etc/systemd/network")) is bool(asked)
    assert file is None or guest.text(file) == "network: {version: 2}\n"
