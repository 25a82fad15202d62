"""Config drives and NoCloud seeds: directories, real images, documents that are wrong."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.boot import Wishes, boot
from agent.datasources import Search, discover
from agent.datasources.client import Patience
from agent.datasources.detect import detect
from agent.datasources.fat import open_fat
from agent.datasources.iso9660 import open_iso9660
from agent.datasources.trees import opened
from agent.errors import AgentError, DatasourceError
from agent.host import Host
from agent.instance import InstanceData
from agent.plan import Plan
from agent.report import Report

from ..conftest import need_namespaces
from ..guests.directory import DirectoryGuest
from .disks import ENVIRONMENT, FAT, FLAGS, attach, disk

ID = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"
META_DATA = {
    "uuid": ID,
    "hostname": "web.novalocal",
    "launch_index": 2,
    "public_keys": {"me": "ssh-ed25519 AAAA me\n"},
    "random_seed": "c2VlZA==",
    "files": [{"path": "/etc/injected", "content_path": "/content/0000"}],
}
NETWORK: dict[str, Any] = {"links": [], "networks": [], "services": []}
LARGE = b"#!/bin/sh\n" + b"# of many clusters\n" * 1000
DRIVE = {
    "openstack/latest/meta_data.json": json.dumps(META_DATA).encode(),
    "openstack/latest/user_data": LARGE,
    "openstack/latest/vendor_data.json": b'{"cloud-init": "#!/bin/sh\\n"}',
    "openstack/latest/network_data.json": json.dumps(NETWORK).encode(),
    "openstack/content/0000": b"injected\n",
}
EC2_DRIVE = {
    "ec2/latest/meta-data.json": json.dumps(
        {
            "instance-id": "i-0000002a",
            "local-hostname": "web",
            "public-keys": {"0": {"_name": "0=me", "openssh-key": "ssh-rsa A me"}},
            "placement": {"availability-zone": "az1"},
            "ami-launch-index": 3,
        }
    ).encode(),
    "ec2/latest/user-data": b"#!/bin/sh\n",
}
SEED = {
    "meta-data": b"instance-id: i-seed\nlocal-hostname: web\npublic-keys: [ssh-rsa A me]\n",
    "user-data": b"#cloud-config\n{}\n",
    "vendor-data": b"#!/bin/sh\n",
    "network-config": b"network: {version: 2, ethernets: {eth0: {dhcp4: true}}}\n",
}
PATIENCE = Patience(timeout=1.0, deadline=1.0, pause=0.05)


def found(guest: DirectoryGuest, name: str, **more: Any) -> tuple[InstanceData, Report]:
    report = Report()
    host = Host(guest.root)
    return discover(host, Search([name], PATIENCE, **more), report), report


def put(guest: DirectoryGuest, directory: str, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        guest.write(f"{directory}/{name}", content)


@pytest.mark.parametrize("kind", [*FLAGS, *FAT])
def test_a_config_drive_is_read_from_the_disk(
    guest_root: DirectoryGuest, tmp_path: Path, kind: str
) -> None:
    attach(guest_root, disk(tmp_path / "image", kind, "config-2", DRIVE))

    assert detect(Host(guest_root.root)).name == "configdrive"
    data, report = found(guest_root, "configdrive")

    assert report.entries == []
    assert (data.datasource, data.instance_id) == ("configdrive", ID)
    assert (data.hostname, data.launch_index) == ("web.novalocal", 2)
    assert data.user_data.reveal() == LARGE
    assert data.public_keys == ("ssh-ed25519 AAAA me",)
    assert (data.network_config, data.network_kind) == (NETWORK, "openstack")
    assert data.random_seed is not None
    assert data.random_seed.reveal() == b"seed"
    assert [(file.path, file.content.reveal()) for file in data.files] == [
        ("/etc/injected", b"injected\n")
    ]


@pytest.mark.parametrize("kind", ["joliet and rock ridge", "fat16"])
def test_a_nocloud_disk_is_read(guest_root: DirectoryGuest, tmp_path: Path, kind: str) -> None:
    label = "cidata" if kind not in FAT else "CIDATA"
    attach(guest_root, disk(tmp_path / "image", kind, label, SEED), "sr0")

    assert detect(Host(guest_root.root)).name == "nocloud"
    data, report = found(guest_root, "nocloud")

    assert report.entries == []
    assert (data.instance_id, data.hostname) == ("i-seed", "web")
    assert data.public_keys == ("ssh-rsa A me",)
    assert data.user_data.reveal() == SEED["user-data"]
    assert data.vendor_data is not None
    assert data.network_kind == "v2"
    assert data.network_config == {"version": 2, "ethernets": {"eth0": {"dhcp4": True}}}


@pytest.mark.guest
def test_a_block_device_of_the_machine_is_read_and_nothing_else(tmp_path: Path) -> None:
    need_namespaces()
    image = disk(tmp_path / "image", "joliet", "config-2", DRIVE)
    argv = ["losetup", "--find", "--show", "--read-only", str(image)]
    done = subprocess.run(argv, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    device = done.stdout.strip()
    try:
        with opened(Host("/"), device) as volume:
            label, names, content = volume.label, volume.names("openstack"), volume.get("x")
            user_data = volume.get("openstack/latest/user_data")
    finally:
        subprocess.run(["losetup", "--detach", device], env=ENVIRONMENT, check=True)

    assert (label, names, content, user_data) == ("config-2", ("content", "latest"), None, LARGE)
    for path in (str(image), "/dev/null", "/dev"):
        with pytest.raises(DatasourceError, match="is no block device"), opened(Host("/"), path):
            pass


def test_a_boot_from_a_config_drive_injects_files_and_a_plan_only_says_so(
    guest_root: DirectoryGuest, tmp_path: Path
) -> None:
    attach(guest_root, disk(tmp_path / "image", "joliet", "config-2", DRIVE))

    plan = Plan(Host(guest_root.root))
    boot(plan, Wishes())
    assert ("write", "/etc/injected") in [(each.verb, each.target) for each in plan.effects]
    assert not guest_root.exists("/etc/injected")

    record = boot(Host(guest_root.root), Wishes()).record
    assert record["datasource"] == "configdrive"
    assert guest_root.text("/etc/injected") == "injected\n"
    assert guest_root.stat("/etc/injected").mode == 0o600


def test_the_ec2_layout_of_a_drive_is_read(guest_root: DirectoryGuest) -> None:
    put(guest_root, "/config-drive", EC2_DRIVE)

    data, report = found(guest_root, "configdrive")

    assert report.entries == []
    assert (data.instance_id, data.hostname) == ("i-0000002a", "web")
    assert (data.public_keys, data.launch_index) == (("ssh-rsa A me",), 3)
    assert data.availability_zone == "az1"
    assert data.user_data.reveal() == b"#!/bin/sh\n"


def test_a_drive_with_dated_versions_alone_is_read_by_the_newest(
    guest_root: DirectoryGuest,
) -> None:
    for version, name in (("2012-08-10", "old"), ("2018-08-27", "new")):
        meta_data = json.dumps({"uuid": ID, "hostname": name}).encode()
        guest_root.write(f"/config-drive/openstack/{version}/meta_data.json", meta_data)

    assert found(guest_root, "configdrive")[0].hostname == "new"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"README": b"hello"}, "there is neither"),
        ({"openstack/latest/meta_data.json": b"{"}, "meta_data.json: not JSON"),
        ({"openstack/latest/meta_data.json": b"{}"}, "expected the instance's id as 'uuid'"),
        ({"ec2/latest/meta-data.json": b"{}"}, "expected the instance's id as 'instance-id'"),
    ],
)
def test_a_config_drive_without_documents_is_an_error(
    guest_root: DirectoryGuest, tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    attach(guest_root, disk(tmp_path / "image", "joliet", "config-2", files))

    with pytest.raises(DatasourceError, match=words):
        found(guest_root, "configdrive")


@pytest.mark.parametrize(
    ("item", "result", "words"),
    [
        ({"path": "etc/x", "content_path": "/content/0000"}, "refused", "an absolute path"),
        ({"path": "/etc/x", "content_path": "/../../x"}, "refused", "a content_path such as"),
        ({"path": "/etc/x", "content_path": "/content/9"}, "failed", "listed, but not served"),
        (7, "refused", "an absolute path"),
    ],
)
def test_an_injected_file_that_is_wrong_is_left_out(
    guest_root: DirectoryGuest, item: Any, result: str, words: str
) -> None:
    good = {"path": "/etc/good", "content_path": "/content/0000"}
    meta_data = json.dumps({"uuid": ID, "files": [item, good]}).encode()
    put(guest_root, "/config-drive/openstack", {"latest/meta_data.json": meta_data})
    guest_root.write("/config-drive/openstack/content/0000", b"x")

    data, report = found(guest_root, "configdrive")

    assert [file.path for file in data.files] == ["/etc/good"]
    assert [(each.place, each.result) for each in report.entries] == [
        ("meta_data.json files[0]", result)
    ]
    assert words in report.entries[0].detail


class Image:
    """A disk in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, offset: int, size: int) -> bytes:
        return self._content[offset : offset + size]


def test_a_broken_disk_is_read_or_refused_and_comes_to_an_end(tmp_path: Path) -> None:
    chance = random.Random(8)  # noqa: S311  # the same sequence every time
    for kind in ("joliet", "rock ridge", "fat12"):
        files = {"meta-data": b"instance-id: x\n", "below/user_data": b"x" * 3000}
        whole = disk(tmp_path / kind, kind, "cidata", files).read_bytes()
        places = [at for at in range(len(whole)) if whole[at]]
        for _ in range(200):
            broken = bytearray(whole)
            for at in chance.sample(places, 8):
                broken[at] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
            end = chance.choice((len(broken), chance.randrange(len(broken))))
            content = bytes(broken[:end])
            with contextlib.suppress(AgentError):
                read = Image(content).read
                volume = open_fat(read) if kind in FAT else open_iso9660(read)
                if volume is not None:
                    volume.get("below/user_data")
                    volume.names("below")


def test_a_name_without_end_on_a_disk_costs_what_its_length_does() -> None:
    """Each piece stands before all that came before it: 32,768 of them took seconds."""
    sector, per_cluster, fat_sectors, clusters = 512, 128, 600, 70_000
    head = bytearray(sector)
    head[0], head[13], head[16], head[510:] = 0xEB, per_cluster, 1, b"\x55\xaa"
    head[11:13], head[14] = sector.to_bytes(2, "little"), 32
    head[32:36] = (32 + fat_sectors + clusters * per_cluster).to_bytes(4, "little")
    head[36:40], head[44] = fat_sectors.to_bytes(4, "little"), 2
    piece = bytearray(b"\x41\x30" * 16)
    piece[0], piece[11] = 1, 0x0F

    def read(offset: int, size: int) -> bytes:
        if offset < sector:
            return bytes(head[offset : offset + size])
        if offset < (32 + fat_sectors) * sector:
            # Every cluster is followed by itself.
            return ((offset - 32 * sector) // 4).to_bytes(size, "little")
        return bytes(piece) * (size // len(piece))

    began = time.process_time()
    volume = open_fat(read)

    assert volume is not None
    assert volume.get("meta-data") is None
    assert time.process_time() - began < 0.5


# --- NoCloud in all places


@pytest.mark.parametrize("name", ["nocloud", "nocloud-net"])
def test_a_seed_directory_is_read(guest_root: DirectoryGuest, name: str) -> None:
    put(guest_root, f"/var/lib/cloud/seed/{name}", SEED)

    record = boot(Host(guest_root.root), Wishes()).record

    assert (record["status"], record["datasource"]) == ("done", "nocloud")
    assert record["instance_id"] == "i-seed"
    assert guest_root.text("/etc/hostname") == "web\n"


@contextlib.contextmanager
def served(directory: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield str(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    "named",
    [
        {"/proc/cmdline": "ro ds=nocloud;s=http://127.0.0.1:PORT/web/;h=line quiet\n"},
        {"/proc/cmdline": "ro ds=nocloud-net;seedfrom=http://localhost:PORT/web;h=line\n"},
        {"/sys/class/dmi/id/product_serial": "ds=nocloud;s=http://127.0.0.1:PORT/web/;h=line\n"},
        {"/proc/cmdline": "ds=nocloud;s=http://127.0.0.1:PORT/__dmi.chassis-serial-number__/;h=line\n",
         "/sys/class/dmi/id/chassis_serial": "web\n"},
        {"/etc/linklocal/agent.yaml": "seed: http://127.0.0.1:PORT/web\n",
         "/proc/cmdline": "ds=nocloud;h=line\n"},
        {"/proc/cmdline": "ds=nocloud;h=line\n",
         "/var/lib/cloud/seed/nocloud/meta-data": "seedfrom: http://127.0.0.1:PORT/web/\n"},
        {"/proc/cmdline": "ds=nocloud;s=file:///opt/seed/;h=line\n"},
        {"/proc/cmdline": "ds=nocloud;s=/opt/seed;h=line\n"},
    ],
)  # fmt: skip
def test_a_seed_is_where_the_machine_is_told(
    guest_root: DirectoryGuest, tmp_path: Path, named: dict[str, str]
) -> None:
    put(guest_root, "/opt/seed", SEED)
    put(DirectoryGuest(tmp_path), "/web", SEED)
    with served(tmp_path) as port:
        for path, text in named.items():
            guest_root.write(path, text.replace("PORT", port).encode())

        record = boot(Host(guest_root.root), Wishes()).record

    assert (record["status"], record["instance_id"]) == ("done", "i-seed"), record["detail"]
    assert guest_root.text("/etc/hostname") == "line\n"


def test_a_line_alone_is_a_seed(guest_root: DirectoryGuest) -> None:
    guest_root.write("/proc/cmdline", b"ds=nocloud;h=web;i=abc-1\n")

    data, _ = found(guest_root, "nocloud")

    assert (data.instance_id, data.hostname) == ("abc-1", "web")


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        ("ftp://127.0.0.1/", "expected a directory or a URL of http"),
        ("seed", "expected a directory or a URL of http"),
        ("/nowhere", "nocloud seed /nowhere: expected meta-data, there is none"),
        ("http://127.0.0.1:PORT/nowhere/", "expected meta-data, there is none"),
        ("http://localhost:PORT/nowhere/", "expected meta-data, there is none"),
        ("http://127.0.0.1:1/", "connection refused; gave up after"),
    ],
)
def test_a_seed_that_is_named_and_not_there_is_an_error(
    guest_root: DirectoryGuest, tmp_path: Path, seed: str, words: str
) -> None:
    with served(tmp_path) as port, pytest.raises(AgentError, match=words):
        found(guest_root, "nocloud", seed=seed.replace("PORT", port))


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"network-config": b"version: 3\n"}, "network-config"),
        ({"network-config": b"network: [\n"}, "network-config"),
        ({"network-config": b"- a\n"}, "network-config"),
        ({"meta-data": b"local-hostname: [a]\n"}, "meta-data local-hostname"),
        ({"meta-data": b"public-keys: [1]\n"}, "meta-data public-keys"),
        ({"meta-data": b"public-keys: 1\n"}, "meta-data public-keys"),
    ],
)
def test_what_a_boot_can_do_without_is_reported(
    guest_root: DirectoryGuest, files: dict[str, bytes], place: str
) -> None:
    put(guest_root, "/var/lib/cloud/seed/nocloud", {"user-data": b"", **files})

    data, report = found(guest_root, "nocloud")

    assert data.instance_id == "nocloud"
    assert [(each.place, each.result) for each in report.entries] == [(place, "refused")]


@pytest.mark.parametrize(
    ("meta_data", "words"),
    [
        (b"instance-id: [\n", "meta-data: line"),
        (b"- a\n", "meta-data: expected a mapping"),
        (b"instance-id: ''\n", "expected the instance's id as 'instance-id'"),
        (b"instance-id: ../x\n", "expected an instance id of letters"),
    ],
)
def test_meta_data_that_says_nobody_is_an_error(
    guest_root: DirectoryGuest, meta_data: bytes, words: str
) -> None:
    put(guest_root, "/var/lib/cloud/seed/nocloud", {"meta-data": meta_data})

    with pytest.raises(DatasourceError, match=words):
        found(guest_root, "nocloud")


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        ("ssh-rsa A", ("ssh-rsa A",)),
        ("|\n  ssh-rsa A\n  ssh-rsa B", ("ssh-rsa A", "ssh-rsa B")),
        ("[ssh-rsa A, ssh-rsa A, ssh-rsa B]", ("ssh-rsa A", "ssh-rsa B")),
        ("{me: ssh-rsa A, you: {openssh-key: ssh-rsa B}}", ("ssh-rsa A", "ssh-rsa B")),
    ],
)
def test_keys_come_in_every_form(
    guest_root: DirectoryGuest, keys: str, lines: tuple[str, ...]
) -> None:
    meta_data = f"public-keys: {keys}\n".encode()
    put(guest_root, "/var/lib/cloud/seed/nocloud", {"meta-data": meta_data})

    assert found(guest_root, "nocloud")[0].public_keys == lines
