"""linklocal net and qemu-args: how guests reach 169.254.169.254, in a network of the test's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metadata_server.config import read_instances

from ..conftest import need_namespaces
from ..guests.cloud import python_binds
from ..guests.light import LightGuest, host_layers
from .commands import REPOSITORY, linklocal, served

ADDRESSES = {"169.254.169.254/32", "fd00:ec2::254/128", "fe80::a9fe:a9fe/64"}


@pytest.fixture
def machine() -> Iterator[LightGuest]:
    """A machine with a network of its own and nothing in it."""
    need_namespaces()
    with LightGuest(Path("/"), lowers=host_layers(), binds=python_binds()) as made:
        yield made


def run(machine: LightGuest, *words: str, status: int = 0) -> str:
    path = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    done = machine.run(list(words), cwd=str(REPOSITORY), env={"PATH": path}, timeout=60)
    assert done.returncode == status, (words, done.stdout, done.stderr)
    return (done.stdout + done.stderr).decode()


def net(machine: LightGuest, *words: str, status: int = 0) -> str:
    command = (sys.executable, "-m", "metadata_server.ctl", "net", *words)
    return run(machine, *command, status=status)


def addresses(machine: LightGuest) -> dict[str, set[str]]:
    """Return what `ip` says of every interface."""
    shown: list[dict[str, Any]] = json.loads(run(machine, "ip", "-j", "address", "show"))
    return {
        each["ifname"]: {f"{a['local']}/{a['prefixlen']}" for a in each["addr_info"]}
        for each in shown
    }


def test_a_bridge_comes_serves_and_goes(machine: LightGuest) -> None:
    before = addresses(machine)

    said = net(machine, "up", "--address", "192.168.7.1/24")

    own = addresses(machine)["linklocal0"]
    assert ADDRESSES | {"192.168.7.1/24"} <= own
    assert "ip link add linklocal0 address 02:00:a9:fe:a9:fe type bridge" in said
    assert "next: linklocal-server --listen 169.254.169.254:80" in said
    assert "up already" in net(machine, "up", status=1)
    assert "ip link del linklocal0" in net(machine, "down")
    assert addresses(machine) == before
    assert "was not brought up" in net(machine, "down", status=1)


def test_a_namespace_comes_with_it_and_goes() -> None:
    need_namespaces()
    ctl = f"{sys.executable} -m metadata_server.ctl net"
    script = f"""set -e
        mount -t tmpfs tmpfs /run
        {ctl} up --netns md
        ip -n md -j address show dev linklocal0
        ip -j link show dev linklocal0 2>/dev/null && exit 1
        {ctl} down --netns md >/dev/null
        ip netns list"""

    done = subprocess.run(
        ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script],
        cwd=REPOSITORY,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        check=True,
        text=True,
    )

    *_, shown = done.stdout.splitlines()
    found = {f"{a['local']}/{a['prefixlen']}" for a in json.loads(shown)[0]["addr_info"]}
    assert found >= ADDRESSES
    assert "ip netns add md" in done.stdout
    assert "next: ip netns exec md linklocal-server" in done.stderr


def test_what_was_there_before_stays(machine: LightGuest) -> None:
    run(machine, "ip", "link", "add", "br7", "type", "bridge")
    run(machine, "ip", "address", "add", "169.254.169.254/32", "dev", "br7")
    before = addresses(machine)

    said = net(machine, "up", "--interface", "br7")

    assert "169.254.169.254/32 is there already, and stays" in said
    assert addresses(machine)["br7"] >= ADDRESSES
    # Somebody else takes one away meanwhile.
    run(machine, "ip", "address", "del", "fd00:ec2::254/128", "dev", "br7")
    assert "gone already" in net(machine, "down", "--interface", "br7")
    assert addresses(machine) == before


def test_a_mistake_half_way_leaves_nothing(machine: LightGuest) -> None:
    before = addresses(machine)
    run(machine, "ip", "link", "add", "other", "type", "bridge")
    run(machine, "ip", "link", "set", "other", "up")

    # Two interfaces may have one address of IPv4, but none has the same one twice.
    said = net(machine, *("up", "--address", "10.0.0.1/24", "--address", "10.0.0.1/24"), status=1)

    assert "File exists" in said or "already assigned" in said
    run(machine, "ip", "link", "del", "other")
    assert addresses(machine) == before
    assert "was not brought up" in net(machine, "down", status=1)


def test_nothing_is_done_dry_or_without_the_interface(machine: LightGuest) -> None:
    before = addresses(machine)

    assert "ip link add" in net(machine, "up", "--dry-run")
    assert "no interface br9" in net(machine, "up", "--interface", "br9", status=1)
    for bad in (("--bridge", "a b"), ("--address", "10.0.0.1"), ("--netns", "../x")):
        assert "expected" in net(machine, "up", *bad, status=64)
    assert addresses(machine) == before


ONE = b"""
id: ca9e8b7c-f2be-4b6d-a639-f10b4d994d04
nics: [{mac: "fa:16:3e:f7:c1:47", ipv4: 192.168.1.10}, {mac: "fa:16:3e:f7:c1:48"}]
identify: {addresses: [127.0.1.1]}
"""
SYSTEM = "serial=ca9e8b7c-f2be-4b6d-a639-f10b4d994d04,family=Virtual Machine,"
INSTANCES = read_instances(b"[{id: first}, " + b"{id: plain, nics: [{ipv4: 10.0.0.9}]}]", Path("i"))


async def test_a_machine_is_told_who_it_is(tmp_path: Path) -> None:
    async with served(tmp_path, *INSTANCES, *read_instances(ONE, Path("i"))) as control:
        one = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"
        bridged = (await linklocal("qemu-args", one, "--json", at=control)).document
        tapped = await linklocal("qemu-args", one, "--tap", "t0", "--tap", "t1", at=control)
        user = await linklocal("qemu-args", one, "--user", "127.0.0.1:8254", "--json", at=control)
        short = await linklocal("qemu-args", one, "--tap", "t0", at=control)
        none = await linklocal("qemu-args", "plain", "--user", "127.0.0.1:8254", at=control)
        wrong = await linklocal("qemu-args", one, "--user", "localhost", at=control)

    assert bridged == [
        "-smbios",
        f"type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,{SYSTEM}uuid={one}",
        "-smbios",
        "type=3,manufacturer=OpenStack Foundation,asset=OpenStack Nova",
        *("-netdev", "bridge,id=net0,br=linklocal0"),
        *("-device", "virtio-net-pci,netdev=net0,mac=fa:16:3e:f7:c1:47"),
        *("-netdev", "bridge,id=net1,br=linklocal0"),
        *("-device", "virtio-net-pci,netdev=net1,mac=fa:16:3e:f7:c1:48"),
    ]
    assert "tap,id=net1,ifname=t1,script=no,downscript=no" in tapped.out
    assert "TCP:127.0.0.1:8254,,bind=127.0.1.1" in user.out
    assert (short.status, "expected one for each of 2" in short.err) == (1, True)
    assert (none.status, "identify.addresses=" in none.err) == (1, True)
    assert wrong.status == 64
    # QEMU takes them as they are.
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    started = subprocess.run(
        [program, "-S", "-nodefaults", "-display", "none", "-monitor", "stdio", *user.document],
        input="info network\nquit\n",
        capture_output=True,
        check=False,
        text=True,
    )
    assert started.returncode == 0, started.stderr
    assert "macaddr=fa:16:3e:f7:c1:47" in started.stdout
