"""Files in a home, where the user owns every name: nothing planted there leads us astray."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.errors import HostError
from agent.host import Host
from agent.secret import Secret

from . import small_root
from .small_root import mode

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
KEYS = ".ssh/authorized_keys"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = small_root.make(tmp_path / "root")
    home = root / "home/mallory"
    home.mkdir()
    own(home)
    return root


def own(path: Path, uid: int = 1500) -> None:
    if os.geteuid() == 0:
        os.chown(path, uid, uid, follow_symlinks=False)


def test_a_file_is_made_with_its_directories(root: Path) -> None:
    before = os.umask(0)
    try:
        Host(root).write_in_home("mallory", KEYS, b"ssh-ed25519 AAAA\n")
    finally:
        os.umask(before)

    home = root / "home/mallory"
    assert (home / KEYS).read_text() == "ssh-ed25519 AAAA\n"
    assert (mode(home / ".ssh"), mode(home / KEYS)) == (0o700, 0o600)
    assert Host(root).read_in_home("mallory", KEYS) == b"ssh-ed25519 AAAA\n"


@as_root
def test_all_of_it_is_the_users_and_root_is_root_again(root: Path) -> None:
    groups = os.getgroups()

    Host(root).write_in_home("mallory", KEYS, Secret(b"key"), mode=0o640, directory_mode=0o711)

    for path in (root / "home/mallory/.ssh", root / "home/mallory" / KEYS):
        assert (path.stat().st_uid, path.stat().st_gid) == (1500, 1500)
    assert mode(root / "home/mallory/.ssh") == 0o711
    assert mode(root / "home/mallory" / KEYS) == 0o640
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, os.getgid(), groups)


def test_the_same_again_is_not_rewritten(root: Path) -> None:
    host = Host(root)
    host.write_in_home("mallory", KEYS, b"key")
    before = small_root.everything(root)

    host.write_in_home("mallory", KEYS, b"key")

    assert small_root.everything(root) == before


def test_absent_is_none(root: Path) -> None:
    host = Host(root)

    assert host.read_in_home("mallory", KEYS) is None
    assert host.read_in_home("daemon", KEYS) is None


def plant_file_link(root: Path) -> None:
    (root / "home/mallory/.ssh").mkdir()
    (root / "home/mallory" / KEYS).symlink_to("/etc/shadow")


def plant_directory_link(root: Path) -> None:
    (root / "home/mallory/.ssh").symlink_to("/etc")


def plant_link_to_own(root: Path) -> None:
    (root / "home/mallory/other").mkdir()
    (root / "home/mallory/.ssh").symlink_to("other")


def plant_relative_link(root: Path) -> None:
    (root / "home/mallory/.ssh").mkdir()
    (root / "home/mallory" / KEYS).symlink_to("../../../etc/shadow")


def plant_pipe(root: Path) -> None:
    (root / "home/mallory/.ssh").mkdir()
    os.mkfifo(root / "home/mallory" / KEYS)


def plant_directory(root: Path) -> None:
    (root / "home/mallory" / KEYS).mkdir(parents=True)


def plant_file_on_the_way(root: Path) -> None:
    (root / "home/mallory/.ssh").write_text("")


@pytest.mark.parametrize(
    ("plant", "wrong"),
    [
        (plant_file_link, "is a link, not followed"),
        (plant_relative_link, "is a link, not followed"),
        (plant_directory_link, ".ssh is a link or no directory"),
        (plant_link_to_own, ".ssh is a link or no directory"),
        (plant_file_on_the_way, ".ssh is a link or no directory"),
        (plant_pipe, "is not a regular file"),
        (plant_directory, "Is a directory"),
    ],
)
def test_what_is_planted_is_refused_and_left(root: Path, plant: object, wrong: str) -> None:
    assert callable(plant)
    plant(root)
    for path in (root / "home/mallory").rglob("*"):
        own(path)
    before = small_root.everything(root)

    with pytest.raises(HostError, match=f"write /home/mallory/{KEYS}: {wrong}"):
        Host(root).write_in_home("mallory", KEYS, b"key")
    with pytest.raises(HostError, match=f"read /home/mallory/{KEYS}: {wrong}"):
        Host(root).read_in_home("mallory", KEYS)

    assert small_root.everything(root) == before


@as_root
@pytest.mark.parametrize(
    ("path", "owner", "wrong"),
    [
        ("home/mallory/.ssh", 0, ".ssh belongs to uid 0, not to mallory"),
        ("home/mallory/.ssh", 77, ".ssh belongs to uid 77, not to mallory"),
        ("home/mallory", 77, "/home/mallory belongs to uid 77, not to mallory"),
        ("home/mallory", 0, "/home/mallory belongs to uid 0, not to mallory"),
        ("home", 77, "home belongs to uid 77"),
    ],
)
def test_a_directory_of_somebody_else_is_refused(
    root: Path, path: str, owner: int, wrong: str
) -> None:
    (root / "home/mallory/.ssh").mkdir()
    own(root / "home/mallory/.ssh")
    own(root / path, owner)
    before = small_root.everything(root)

    with pytest.raises(HostError, match=wrong):
        Host(root).write_in_home("mallory", KEYS, b"key")

    assert small_root.everything(root) == before


@as_root
def test_a_file_of_root_in_the_home_is_no_secret_given_away(root: Path) -> None:
    (root / "home/mallory/.ssh").mkdir()
    own(root / "home/mallory/.ssh")
    (root / "home/mallory" / KEYS).write_text("root's")
    (root / "home/mallory" / KEYS).chmod(0o600)

    with pytest.raises(HostError, match="Permission denied"):
        Host(root).read_in_home("mallory", KEYS)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a//b", "a/../b", "", "a/", ".", "a/."])
def test_a_path_that_leaves_the_home_is_refused(root: Path, path: str) -> None:
    with pytest.raises(HostError, match="expected a plain path below the home directory"):
        Host(root).write_in_home("mallory", path, b"key")


@pytest.mark.parametrize(
    ("user", "wrong"),
    [
        ("daemon", "write /usr/sbin/.ssh/authorized_keys: No such file or directory"),
        ("nobody-here", "user nobody-here: no such user"),
    ],
)
def test_a_home_that_is_not_there_is_named(root: Path, user: str, wrong: str) -> None:
    with pytest.raises(HostError, match=wrong):
        Host(root).write_in_home(user, KEYS, b"key")


def test_a_home_below_a_link_of_root_is_found(root: Path) -> None:
    (root / "home").rename(root / "var-home")
    (root / "home").symlink_to("/var-home")

    Host(root).write_in_home("mallory", KEYS, b"key")

    assert (root / "var-home/mallory" / KEYS).read_bytes() == b"key"


def test_a_file_of_any_size_costs_no_memory(root: Path) -> None:
    (root / "home/mallory/.ssh").mkdir()
    own(root / "home/mallory/.ssh")
    path = root / "home/mallory" / KEYS
    path.touch()
    own(path)
    os.truncate(path, 60 << 30)
    host = Host(root)

    with pytest.raises(HostError, match="authorized_keys: larger than 1048576 bytes"):
        host.read_in_home("mallory", KEYS)
    host.write_in_home("mallory", KEYS, b"key")

    assert path.read_bytes() == b"key"
