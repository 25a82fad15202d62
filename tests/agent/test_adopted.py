"""A machine that cloud-init has set up, and linklocal-agent takes over: nothing is done again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import Serve
from ..guests.cloud import CHECKOUT
from .test_ec2 import fetch
from .test_openstack import INSTANCE

FINISHED = "var/lib/cloud/instances/i-1/boot-finished"
USER_DATA = "#cloud-config\nwrite_files:\n  - {path: /made, content: again}\n"


def boot(root: Path, user_data: str = USER_DATA, instance_id: str = "i-1") -> str:
    argv = [sys.executable, "-m", "agent", "run", "--quiet", "--root", str(root)]
    argv += ["--user-data", "-", "--instance-id", instance_id]
    done = subprocess.run(argv, cwd=CHECKOUT, input=user_data, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root whose instance i-1 cloud-init has gone through, and the drop-in package on it."""
    for place in ("usr/lib/linklocal", "var/lib/cloud/data", "var/lib/cloud/instances/i-1/sem"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "usr/lib/linklocal/agent.yaml").write_text("cloud_init_compat: true\n")
    (tmp_path / "var/lib/cloud/data/instance-id").write_text("i-1\n")
    (tmp_path / "var/lib/cloud/instances/i-1/sem/config_runcmd").touch()
    (tmp_path / FINISHED).write_text("21.5 - Mon, 23 Nov 2026 10:00:00 +0000 - v. 22.4.2\n")
    return tmp_path


def test_its_user_data_is_not_run_again(root: Path) -> None:
    assert boot(root).startswith("done")
    assert boot(root).startswith("done")

    assert not (root / "made").exists()
    assert (root / "run/cloud-init/result.json").exists()


def test_what_its_image_left_out_is_not_done_for_lack_of_the_last_modules_mark(root: Path) -> None:
    (root / FINISHED).unlink()
    (root / "var/lib/cloud/data/result.json").write_text("{}")

    assert boot(root) == "done\n"
    assert not (root / "made").exists()


def test_what_it_had_not_begun_when_it_was_cut_off_is_done_and_said(root: Path) -> None:
    (root / FINISHED).unlink()
    (root / "var/lib/cloud/instances/i-1/sem/config_timezone").touch()
    user_data = f"{USER_DATA}timezone: Asia/Tokyo\n"

    said = boot(root, user_data)
    made = (root / "made").read_text()
    (root / "made").write_text("changed since")
    boot(root, user_data)

    assert "cloud-init was cut off" in said
    assert "timezone" not in said
    assert made == "again"
    assert (root / "made").read_text() == "changed since"


@pytest.mark.parametrize("instance_id", ["vm1.example.com", "0", "a:b"])
def test_an_id_that_is_odd_is_found(root: Path, instance_id: str) -> None:
    (root / "var/lib/cloud/data/instance-id").write_text(f"{instance_id}\n")
    place = root / "var/lib/cloud/instances"
    (place / "i-1").rename(place / instance_id)

    said = boot(root, instance_id=instance_id)

    assert said.startswith("done"), said
    assert not (root / "made").exists()
    assert os.readlink(root / "var/lib/cloud/instance") == f"instances/{instance_id}"
    assert sorted(path.name for path in place.iterdir()) == [instance_id]


@pytest.mark.parametrize("asked", ["DataSourceEc2: DataSourceEc2", "DataSourceEc2Local: x"])
def test_where_it_has_asked_in_another_dialect_the_id_is_by_that(
    root: Path, serve: Serve, asked: str
) -> None:
    url = serve({**INSTANCE, "user_data": USER_DATA}).guest_url
    there, _ = fetch(url)
    assert there is not None
    instance_id = there.instance_id
    data = root / "var/lib/cloud/data"
    (data / "instance-id").write_text(f"{instance_id}\n")
    (data / "previous-datasource").write_text(f"{asked}\n")
    place = root / "var/lib/cloud/instances"
    (place / "i-1").rename(place / instance_id)
    for path, text in (
        ("etc/linklocal/agent.yaml", f"metadata_urls: ['{url}']\n"),
        ("sys/class/dmi/id/product_name", "OpenStack Nova\n"),
    ):
        (root / path).parent.mkdir(parents=True)
        (root / path).write_text(text)

    for _ in range(2):
        argv = [sys.executable, "-m", "agent", "run", "--quiet", "--root", str(root)]
        subprocess.run(argv, cwd=CHECKOUT, check=True)
        status = json.loads((root / "run/linklocal/status.json").read_text())
        assert (status["datasource"], status["instance_id"]) == ("ec2", instance_id)
        assert status["adopted"]
    assert not (root / "made").exists()


def test_an_id_is_no_way_out_of_its_directory(root: Path) -> None:
    (root / "var/lib/cloud/data/instance-id").write_text("../instances/i-1\n")

    boot(root, instance_id="../instances/i-1")
    boot(root, instance_id="..")

    assert (root / "made").read_text() == "again"
    assert "linklocal" not in (root / FINISHED).read_text()
    assert not (root / "var/lib/cloud/boot-finished").exists()


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def endless(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(1 << 40)


def round_about(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("damage", [directory, endless, round_about])
def test_what_it_left_may_be_damaged(root: Path, damage: Callable[[Path], None]) -> None:
    damage(root / "var/lib/cloud/data/instance-id")

    first, second = boot(root), boot(root)

    assert first.startswith("done")
    assert "what cloud-init has done cannot be told" in first
    assert second.startswith("done")
    assert not (root / "made").exists()


@pytest.mark.parametrize("damage", [directory, endless, round_about])
def test_marks_that_are_damaged_hold_up_no_boot(root: Path, damage: Callable[[Path], None]) -> None:
    (root / "var/lib/cloud/instance").symlink_to("instances/i-1")
    damage(root / FINISHED)

    assert boot(root).startswith("done")
    assert not (root / "made").exists()


def test_another_instance_is_set_up(root: Path) -> None:
    (root / "var/lib/cloud/data/instance-id").write_text("i-0\n")

    assert boot(root).startswith("done")

    assert (root / "made").read_text() == "again"


def test_what_the_operator_says_lies_over_what_the_package_says(root: Path) -> None:
    (root / "etc/linklocal").mkdir(parents=True)
    (root / "etc/linklocal/agent.yaml").write_text("cloud_init_compat: false\n")

    assert boot(root).startswith("done")

    assert (root / "made").read_text() == "again"
    assert not (root / "run/cloud-init").exists()
