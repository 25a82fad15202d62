"""Examples as manuals have them, under Debian's cloud-init and under ours, in guests alike."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ..conftest import StartGuest
from . import installed
from .cloud import Cloud
from .compare import Example, differences, examples, outcome, rows, unmeant, view
from .light import LightGuest, Nic

pytestmark = [pytest.mark.guest, pytest.mark.slow]

ALL = examples()
NAMESPACE = uuid.UUID("0a4f5b1c-3d0e-4a55-8f4e-6f7a2c1c9d10")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q me@laptop"
STATUS = "/run/linklocal/status.json"


class Served(NamedTuple):
    cloud: Cloud
    nics: dict[str, Nic]


@pytest.fixture(scope="module")
def served(debian12: Path) -> Iterator[Served]:
    """One server with an instance for each example; both guests of an example are that one."""
    instances = []
    nics = {}
    for number, example in enumerate(ALL, 10):
        mac = f"fa:16:3e:01:{number // 200:02x}:{number % 200:02x}"
        nic = Nic(f"192.168.{number // 200}.{number % 200 + 1}/16", mac)
        nics[example.name] = nic
        instances.append(
            {
                "id": str(uuid.uuid5(NAMESPACE, example.name)),
                "name": "ecs-ddd4",
                "keys": [{"name": "laptop", "public_key": KEY}],
                "user_data": example.user_data,
                "nics": [{"mac": mac, "ipv4": nic.address.partition("/")[0], "prefix": 16}],
            }
        )
    with Cloud() as cloud, cloud.serve(instances):
        yield Served(cloud, nics)


# The image's own: where the datasource is, and nothing that this tier of guests has not.
IMAGE = b"""\
datasource_list: [OpenStack]
datasource: {OpenStack: {max_wait: 10, timeout: 5}}
"""
# Debian's cloud-init makes a locale without being asked, and a DSA key: that takes seconds, and
# neither is compared.
QUICK = b"locale: false\nssh_genkeytypes: [ed25519]\n"


def boot_theirs(guest: LightGuest) -> str:
    """Go through the stages that come once there is a network; return all that is said."""
    guest.write("/etc/cloud/cloud.cfg.d/99-image.cfg", IMAGE + QUICK)
    said = ""
    for stage in (["init"], ["modules", "--mode", "config"], ["modules", "--mode", "final"]):
        done = guest.run(["cloud-init", *stage])
        said += (done.stdout + done.stderr).decode(errors="replace")
    return said


def boot_ours(guest: LightGuest) -> None:
    argv = ["python3", "-m", "agent", "run", "--datasource", "openstack"]
    guest.run(argv, cwd=installed.HOME)


@pytest.mark.parametrize("example", ALL, ids=[example.name for example in ALL])
def test_both_make_the_same_of_it(
    example: Example,
    served: Served,
    light_guest: StartGuest,
    debian12: Path,
    installed_agent: Path,
) -> None:
    nic = served.nics[example.name]
    with LightGuest(debian12, cloud=served.cloud, nic=nic, product="OpenStack Nova") as theirs:
        said = boot_theirs(theirs)
        before = view(theirs)
    ours = light_guest(served.cloud, nic, layers=[installed_agent])
    boot_ours(ours)

    found = list(differences(before, view(ours)))

    wrong = unmeant(example.name, found, rows())
    status = outcome(json.loads(ours.read(STATUS)))
    warned = [line for line in said.splitlines() if "WARNING" in line]
    assert wrong == [], "\n".join([*wrong, *status, *warned])
