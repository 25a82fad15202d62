"""The packages in guests with systemd: installed, booted, upgraded, removed, purged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ..conftest import StartNspawn
from ..guests import roots
from ..guests.cloud import Cloud, Service
from ..guests.light import Nic
from ..guests.nspawn import NspawnGuest
from .test_machine import ROUTER, lease

pytestmark = [pytest.mark.guest, pytest.mark.slow, pytest.mark.timeout(300)]

NIC = Nic()
INSTANCE = {
    "id": "7c1b2a5e-88f2-4d1e-9c7a-0a4a5f6b7c8d",
    "name": "ecs-pack",
    "nics": [{"mac": NIC.mac, "ipv4": NIC.address.partition("/")[0], "prefix": 24, "dhcp": False}],
    "user_data": "#cloud-config\nssh_genkeytypes: [ed25519]\nruncmd: [echo ran >>/root/ran]\n"
    "write_files:\n  - {path: /etc/packed, content: by the package}\n",
}
AGENT, SERVER = "linklocal-agent_*_all.deb", "linklocal-server_*_all.deb"
PASSWORD = b"Packed-2468.word\n"
UNITS = "linklocal-agent linklocal-network linklocal-config linklocal-final linklocal-resetd"
# What a machine was asked to be outlives the agent; its own files do not.
LEFT = "find / -xdev -path /root/packages -prune -o -name '*linklocal*' -print"
ASKED_FOR = {"/etc/sudoers.d/90-linklocal-users", "/etc/ssh/sshd_config.d/10-linklocal.conf"}


@pytest.fixture
def layer(packages: Path, tmp_path: Path) -> Path:
    """A layer with the packages in /root/packages."""
    place = tmp_path / "layer/root/packages"
    place.mkdir(parents=True)
    for path in packages.glob("*.deb"):
        shutil.copy(path, place)
    place.parent.chmod(0o700)
    return tmp_path / "layer"


def install(guest: NspawnGuest, pattern: str) -> None:
    guest.sh(f"dpkg --install --force-confold /root/packages/{pattern}")


def booted(guest: NspawnGuest) -> str:
    # The guest's link has its address from outside.
    guest.write("/etc/linklocal/cloud-config.d/10-network.yaml", b"network: {config: disabled}\n")
    guest.reboot()
    return guest.sh("linklocal-agent status --wait --timeout 60")


def reset(service: Service, instance: Mapping[str, object] = INSTANCE) -> None:
    done = service.ctl(
        *("reset-password", str(instance["id"]), "--user", "root", "--password-stdin"),
        *("--wait", "20"),
        input=PASSWORD,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "release", [roots.machine11, roots.machine12, roots.machine13], ids=lambda each: each.__name__
)
def test_installed_booted_reset_upgraded_removed_and_purged(
    nspawn_guest: StartNspawn, cloud: Cloud, layer: Path, release: Callable[[], Path]
) -> None:
    with cloud.serve([INSTANCE]) as service:
        options = {"cloud": cloud, "nic": NIC, "layers": [layer], "product": "OpenStack Nova"}
        guest = nspawn_guest(lower=release(), **options)
        install(guest, AGENT)

        assert "status: done" in booted(guest)
        assert guest.read("/etc/packed") == b"by the package"
        assert guest.sh(f"systemctl is-active {UNITS}").split() == ["active"] * 5
        assert guest.sh("linklocal-agent doctor").count("problem") == 0
        reset(service)
        before = guest.sh("linklocal-resetd status --json; cat /etc/shadow")
        # As an upgrade leaves it where a release has fewer modules than the one before.
        guest.write("/usr/lib/linklocal/linklocal/agent/gone/__pycache__/old.pyc", b"")

        install(guest, AGENT)
        assert guest.sh("systemctl is-active linklocal-resetd").strip() == "active"
        assert guest.sh("cat /etc/shadow") in before
        assert json.loads(before.splitlines()[0])["fingerprint"] in guest.sh(
            "linklocal-resetd status --json"
        )
        assert "applied" in guest.sh("linklocal-resetd history")
        assert "status: done" in booted(guest)
        assert guest.read("/root/ran") == b"ran\n"

        guest.sh("dpkg --remove linklocal-agent")
        kept = guest.sh(LEFT).split()
        assert "/var/lib/linklocal" in kept
        assert "/usr/lib/linklocal" not in kept
        guest.sh("dpkg --purge linklocal-agent")
        assert set(guest.sh(LEFT).split()) <= ASKED_FOR
        guest.reboot()
        assert guest.sh("systemctl list-units --all --no-legend 'linklocal*'").strip() == ""


# An image in a chroot, with what such a one has of the machine at work, and without.
IMAGE = """\
mkdir /image; mount -t tmpfs none /image; cd /image; mkdir -p usr run dev proc var/lib
cp -a /etc /bin /sbin /lib* .; cp -a /var/lib/linklocal var/lib
for each in usr run dev proc; do mount --rbind /$each $each; done
chroot . linklocal-agent clean --seal
umount -R -l run dev proc
chroot . linklocal-agent clean --seal
cat etc/machine-id; ls -d var/lib/linklocal/* etc/ssh/ssh_host* 2>/dev/null || :
"""


def test_what_is_sealed_in_a_chroot_is_not_the_machine_around_it(
    nspawn_guest: StartNspawn, cloud: Cloud, layer: Path
) -> None:
    with cloud.serve([INSTANCE]) as service:
        guest = nspawn_guest(cloud=cloud, nic=NIC, layers=[layer], product="OpenStack Nova")
        install(guest, AGENT)
        told = booted(guest)

        said = guest.sh(IMAGE).splitlines()

        assert "emptied /etc/machine-id" in said
        assert all(line.startswith(("removed /", "emptied /")) for line in said), said
        assert not [line for line in said if " /run/" in line]
        assert guest.sh("linklocal-agent status") == told
        reset(service)


def test_a_sealed_machine_boots_as_a_new_one(
    nspawn_guest: StartNspawn, cloud: Cloud, layer: Path
) -> None:
    own = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /etc/hostname"
    daemon = "linklocal-resetd status --json"
    with cloud.serve([INSTANCE]) as service:
        guest = nspawn_guest(cloud=cloud, nic=NIC, layers=[layer], product="OpenStack Nova")
        install(guest, AGENT)
        booted(guest)
        reset(service)
        before = guest.sh(own).splitlines()
        identity = json.loads(guest.sh(daemon))["fingerprint"]
        said = guest.sh("linklocal-agent clean --seal")
        assert said.startswith("stopped linklocal-resetd.service\n")
        guest.halt()

    other = {**INSTANCE, "id": "0e8f4c2a-5a3b-4d7f-9f0e-6d2b8c1a7f35", "name": "ecs-copy"}
    with cloud.serve([other]) as service:
        guest.boot()
        after = guest.sh(f"linklocal-agent status --wait --timeout 60 >/dev/null; {own}")
        assert [one for one in after.splitlines() if one in before] == []
        assert after.splitlines()[-1] == "ecs-copy"
        assert json.loads(guest.sh(daemon))["fingerprint"] != identity
        assert "applied" not in guest.sh("linklocal-resetd history")
        assert guest.read("/root/ran") == b"ran\nran\n"
        # Nothing was enabled that its owner had not enabled.
        assert guest.sh("systemctl is-enabled systemd-networkd || :") == "disabled\n"
        reset(service, other)


# As Ubuntu divides it from 25.10 on: the one depends on the other, which has its files.
DIVIDED = """\
cd /tmp; mkdir -p whole/DEBIAN base/DEBIAN base/usr/bin base/usr/lib/systemd/system-generators
for each in whole base; do
  printf '%s\\n' 'Version: 26.1' 'Architecture: all' 'Maintainer: x <x@y.example>' \
    'Description: divided' >$each/DEBIAN/control
done
printf '%s\\n' 'Package: cloud-init' 'Depends: cloud-init-base' >>whole/DEBIAN/control
echo 'Package: cloud-init-base' >>base/DEBIAN/control
touch base/usr/bin/cloud-init base/usr/lib/systemd/system-generators/cloud-init-generator
dpkg-deb --build whole; dpkg-deb --build base; dpkg --install base.deb whole.deb
"""


@pytest.mark.parametrize(
    "tool", ["dpkg --install", "apt-get --yes --no-install-recommends install"]
)
def test_a_cloud_init_of_several_packages_makes_room(
    nspawn_guest: StartNspawn, layer: Path, tool: str
) -> None:
    guest = nspawn_guest(layers=[layer])
    guest.sh(DIVIDED)

    guest.sh(f"{tool} /root/packages/linklocal-agent_*.deb /root/packages/*-cloud-init_*.deb")

    assert "linklocal" in guest.text("/usr/bin/cloud-init")
    assert not guest.exists("/usr/lib/systemd/system-generators/cloud-init-generator")
    assert guest.sh("dpkg --audit") == ""


def test_where_no_dhcp_client_is_there_networkd_gets_the_address_that_is_answered(
    nspawn_guest: StartNspawn, layer: Path
) -> None:
    """In an image that holds what the package needs alone, in a cloud that knows by address."""
    nic = Nic("192.168.1.10/24", NIC.mac, configured=False)
    placed = {"mac": nic.mac, "ipv4": "192.168.1.10", "prefix": 24}
    with Cloud(("169.254.169.254/32", f"{ROUTER}/24")) as cloud, lease(cloud, nic):
        guest = nspawn_guest(cloud=cloud, nic=nic, layers=[layer], product="OpenStack Nova")
        install(guest, AGENT)
        guest.sh("rm /usr/sbin/dhclient; systemctl enable systemd-networkd")
        guest.write("/etc/linklocal/agent.yaml", b"report_boot: true\n")
        with cloud.serve([{**INSTANCE, "nics": [placed]}]) as service:
            guest.reboot()

            assert "status: done" in guest.sh("linklocal-agent status --wait --timeout 60 --strict")
            assert guest.read("/root/ran") == b"ran\n"
            assert "network: fallback, written for" in guest.text("/var/log/linklocal/agent.log")
            ready = service.ctl("wait-ready", str(INSTANCE["id"]), "--timeout", "20")
            assert ready.returncode == 0, ready.stdout + ready.stderr
            guest.reboot()
            assert "status: done" in guest.sh("linklocal-agent status --wait --timeout 60 --strict")
            assert guest.read("/root/ran") == b"ran\n"


def test_a_machine_without_a_datasource_starts_nothing(
    nspawn_guest: StartNspawn, layer: Path
) -> None:
    guest = nspawn_guest(layers=[layer])
    install(guest, AGENT)
    guest.reboot()

    assert guest.sh("cat /run/linklocal/generator").startswith("off: nothing names a datasource")
    states = guest.sh(f"systemctl is-active {UNITS} || :").split()
    assert states == ["inactive"] * 5
    assert "off: nothing names a datasource" in guest.sh("linklocal-agent doctor")


def test_a_machine_with_a_seed_alone_has_no_fault(nspawn_guest: StartNspawn, layer: Path) -> None:
    """It has no metadata service, so that the reset daemon has nobody to ask."""
    guest = nspawn_guest(layers=[layer])
    install(guest, AGENT)
    seed = "/var/lib/cloud/seed/nocloud"
    guest.write(f"{seed}/meta-data", b"instance-id: seed-1\n")
    guest.write(f"{seed}/user-data", b"#cloud-config\nssh_genkeytypes: [ed25519]\n")

    assert "status: done" in booted(guest)
    assert guest.sh("systemctl is-system-running --wait") == "running\n"
    shown = guest.sh("systemctl show --value --property Result,StatusText linklocal-resetd")
    assert set(shown.splitlines()) == {"success", "no metadata service is known here"}


@pytest.mark.parametrize(
    ("release", "tool"), [(roots.machine12, "nftables"), (roots.machine11, "iptables")]
)
def test_only_root_reaches_the_service_under_lockdown(
    nspawn_guest: StartNspawn,
    cloud: Cloud,
    layer: Path,
    release: Callable[[], Path],
    tool: str,
) -> None:
    ask = "curl --silent --max-time 5 http://169.254.169.254/latest/meta-data/hostname"
    with cloud.serve([INSTANCE]) as service:
        options = {"cloud": cloud, "nic": NIC, "layers": [layer], "product": "OpenStack Nova"}
        guest = nspawn_guest(lower=release(), **options)
        install(guest, AGENT)
        booted(guest)
        as_user = f"setpriv --reuid nobody --clear-groups {ask}"
        assert guest.sh(as_user).startswith("ecs-pack")

        guest.sh("systemctl enable --now linklocal-lockdown")
        assert f"in place with {tool}" in guest.sh("linklocal-agent lockdown")
        assert guest.run(["sh", "-c", as_user]).returncode == 7
        assert guest.sh(ask).startswith("ecs-pack")
        reset(service)
        booted(guest)
        assert guest.run(["sh", "-c", as_user]).returncode == 7
        assert guest.sh("linklocal-agent lockdown --status") == "in place\n"

        guest.sh("dpkg --remove linklocal-agent")
        assert guest.sh(as_user).startswith("ecs-pack")
        left = guest.sh("nft list ruleset || { iptables-save; ip6tables-save; }")
        assert "linklocal" not in left.lower()


def test_the_server_serves_as_its_own_user_and_by_socket(
    nspawn_guest: StartNspawn, layer: Path
) -> None:
    guest = nspawn_guest(layers=[layer])
    install(guest, SERVER)
    assert guest.sh("systemctl is-enabled linklocal-server || :").strip() == "disabled"
    guest.write("/etc/linklocal/instances.d/one.yaml", b"id: one\nidentify: {default: true}\n")

    guest.sh("systemctl start linklocal-server")
    owner = guest.sh("ps -o user= -C python3,linklocal-server").split()
    assert "linklocal" in owner
    ask = "curl --silent http://127.0.0.1:8254/latest/meta-data/instance-id"
    assert guest.sh(ask).startswith("i-")
    assert "one" in guest.sh("linklocal instance list")
    modes = guest.sh("stat -c '%a %U:%G' /var/lib/linklocal/server /etc/linklocal/control-tokens")
    assert modes.splitlines() == ["700 linklocal:linklocal", "640 root:linklocal"]
    exposure = guest.sh("systemd-analyze security --no-pager linklocal-server | tail -1")
    assert float(exposure.split(":")[1].split()[0]) <= 2.0

    guest.sh("systemctl stop linklocal-server && ip address add 169.254.169.254/32 dev lo")
    guest.sh("sed -i 's/^listen:.*/listen: [\"169.254.169.254:80\"]/' /etc/linklocal/server.yaml")
    guest.sh("systemctl start linklocal-server.socket")
    at_socket = ask.replace("127.0.0.1:8254", "169.254.169.254")
    assert guest.sh(at_socket).startswith("i-")

    # What an operator wrote is the operator's.
    guest.sh("rm /etc/linklocal/instances.d/one.yaml && dpkg --purge linklocal-server")
    assert guest.sh(LEFT).strip() == ""
    assert guest.run(["getent", "passwd", "linklocal"]).returncode == 2
