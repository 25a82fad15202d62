"""Which datasource a machine has, by what platforms say of themselves; nobody is asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.datasources.detect import detect, detect_service
from agent.host import Host

from ..guests.directory import DirectoryGuest

PLATFORMS: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[1] / "data/platforms.yaml").read_text()
)
DMI = "/sys/class/dmi/id"
# Set for good: an audit hook cannot be taken away again.
OPENED: list[str] = []
sys.addaudithook(lambda event, _: OPENED.append(event) if event.startswith("socket.") else None)


def machine(root: Path, platform: dict[str, Any]) -> DirectoryGuest:
    """Return a directory that says of itself what *platform* does."""
    guest = DirectoryGuest(root)
    guest.write("/proc/cmdline", (platform.get("line", "") + "\n").encode())
    for name, text in platform.get("dmi", {}).items():
        guest.write(f"{DMI}/{name}", f"{text}\n".encode())
    for label in platform.get("labels", ()):
        guest.write(f"/dev/disk/by-label/{label}", b"")
    for path, text in platform.get("files", {}).items():
        guest.write(path, text.encode())
    return guest


@pytest.mark.parametrize("platform", PLATFORMS, ids=[row["name"] for row in PLATFORMS])
def test_a_platform_is_known_by_what_it_says_without_a_socket(
    tmp_path: Path, platform: dict[str, Any]
) -> None:
    host = Host(machine(tmp_path, platform).root)
    del OPENED[:]

    found = detect(host)

    assert found.name == platform["datasource"], found.reason
    assert found.reason
    assert OPENED == []


def test_the_table_is_of_many_platforms() -> None:
    assert len({row["name"] for row in PLATFORMS}) == len(PLATFORMS) >= 40
    assert {row["datasource"] for row in PLATFORMS} == {
        "openstack", "ec2", "configdrive", "nocloud", "",
    }  # fmt: skip


def test_a_service_is_there_also_beside_a_config_drive(tmp_path: Path) -> None:
    platform = {"dmi": {"product_name": "OpenStack Nova"}, "labels": ["config-2"]}

    assert detect_service(Host(machine(tmp_path, platform).root)).name == "openstack"


def test_reasons_are_words_for_people(tmp_path: Path) -> None:
    found = detect(Host(machine(tmp_path, {"labels": ["cidata"]}).root))

    assert found.reason == "disk /dev/disk/by-label/cidata with the label 'cidata'"
