"""Each folder of tests/cases is booted in a light guest, by the distribution's own Python, twice.

Debian 12 always; in the slow tier also 11, which has the oldest Python and libraries that the agent
runs on, and 13.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from ..conftest import StartGuest
from . import installed, roots
from .cases import MARKS, Case, cases, changed, differences, outcome, status_of, whole
from .cloud import Cloud, Service
from .light import LightGuest, Nic

pytestmark = pytest.mark.guest

ALL = cases("guest")
NAMESPACE = uuid.UUID("ca9e8b7c-f2be-4b6d-a639-f10b4d994d04")


class Release(NamedTuple):
    """A distribution, and the agent installed on it."""

    lower: Path
    layer: Path


@pytest.fixture(
    scope="module",
    params=[
        roots.DEBIAN12,
        pytest.param(roots.DEBIAN11, marks=pytest.mark.slow),
        pytest.param(roots.DEBIAN13, marks=pytest.mark.slow),
    ],
)
def release(
    request: pytest.FixtureRequest, debian12: Path, tmp_path_factory: pytest.TempPathFactory
) -> Release:
    lower = roots.built(request.param)
    return Release(lower, installed.layer(lower, tmp_path_factory.mktemp("installed")))


class Served(NamedTuple):
    cloud: Cloud
    service: Service
    nics: Mapping[str, Nic]
    """By the name of the case."""
    again: Mapping[str, Nic]
    """The same case under another instance id."""


@pytest.fixture(scope="module")
def served(debian12: Path) -> Iterator[Served]:
    """One server with an instance for each case, told apart by address alone."""
    instances = []
    nics: tuple[dict[str, Nic], dict[str, Nic]] = ({}, {})
    for net, names in enumerate(nics, 1):
        for number, case in enumerate(ALL, 10):
            nic = Nic(f"192.168.{net}.{number}/24", f"fa:16:3e:00:{net:02x}:{number:02x}")
            names[case.name] = nic
            instance = {
                "id": str(uuid.uuid5(NAMESPACE, f"{net} {case.name}")),
                **case.instance,
                "nics": [
                    {"mac": nic.mac, "ipv4": nic.address.partition("/")[0], "prefix": 24},
                ],
            }
            if case.user_data is not None:
                instance["user_data_base64"] = base64.b64encode(case.user_data).decode()
            instances.append(instance)
    with Cloud() as cloud, cloud.serve(instances) as service:
        yield Served(cloud, service, *nics)


def boot(guest: LightGuest, datasource: str) -> str:
    """Boot the agent through all its stages; return what it says on the way, for a failed test."""
    argv = ["python3", "-m", "agent", "run", "--datasource", datasource]
    done = guest.run(argv, cwd=installed.HOME)
    return f"status {done.returncode}\n{(done.stdout + done.stderr).decode()}"


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[pytest.mark.slow] if case.slow else []) for case in ALL],
    ids=[case.name for case in ALL],
)
def test_a_boot_makes_what_the_case_expects_and_to_do_it_again_changes_nothing(
    case: Case, served: Served, light_guest: StartGuest, release: Release
) -> None:
    made = time.time()
    guest = light_guest(
        served.cloud, served.nics[case.name], lower=release.lower, layers=[release.layer]
    )
    case.prepare(guest)

    said = boot(guest, case.datasource)

    assert guest.exists("/run/linklocal/status.json"), said
    assert differences(case, guest) == [], said

    before = whole(guest, made)
    guest.reboot()
    said = boot(guest, case.datasource)

    after = whole(guest, made)
    assert changed(before, after) - case.again == set(), said

    guest.sh(MARKS)
    said = boot(guest, case.datasource)

    again = changed(after, whole(guest, made))
    assert [path for path in sorted(again) if not case.may_change_twice(path)] == [], said


# The guest's own root once more, with nothing in it that can be written, and the plan made there.
READ_ONLY = """
mount --rbind / /mnt
awk '$5 ~ "^/mnt" { sub(/^rw/, "ro", $6); print $6, $5 }' /proc/self/mountinfo |
    while read -r options point; do mount -o "remount,bind,$options" "$point"; done
! touch /mnt/etc/written /mnt/run/written 2>/dev/null
exec chroot /mnt sh -ec 'cd "$0" && exec python3 -m agent plan --json --datasource "$1"' "$0" "$@"
"""


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=[case.name for case in ALL])
def test_a_plan_is_made_on_a_root_that_cannot_be_written(
    case: Case, served: Served, light_guest: StartGuest, debian12: Path, installed_agent: Path
) -> None:
    made = time.time()
    guest = light_guest(served.cloud, served.nics[case.name], layers=[installed_agent])
    case.prepare(guest)
    before = whole(guest, made)

    done = guest.run(
        ["unshare", "--mount", "sh", "-ec", READ_ONLY, installed.HOME, case.datasource]
    )

    text = done.stdout.decode()
    assert done.returncode == (case.expect["status"] == "failed"), text + done.stderr.decode()
    assert json.loads(text)["effects"]
    assert "Read-only" not in text
    assert changed(before, whole(guest, made)) == set()


def test_a_new_instance_id_does_everything_again(
    served: Served, light_guest: StartGuest, release: Release
) -> None:
    case = next(case for case in ALL if case.name == "guide-case-2")
    guest = light_guest(
        served.cloud, served.nics[case.name], lower=release.lower, layers=[release.layer]
    )
    boot(guest, case.datasource)
    guest.sh("usermod -p '!' root")

    # The same disk in another machine: another address, so another instance.
    guest.nic = served.again[case.name]
    guest.reboot()
    said = boot(guest, case.datasource)

    assert differences(case, guest) == [], said
    assert outcome(status_of(guest)) == "done"
