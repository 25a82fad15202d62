"""Later boots of an instance that the firmware knows by its UUID: nobody is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.boot import Wishes, boot
from agent.host import Host
from agent.instance_data import REDACTED
from agent.modules.base import Stage

from ..conftest import Serve
from ..guests.directory import DirectoryGuest
from .loopback import Answer, ok, replies, serving
from .test_openstack import ID, INSTANCE

KNOWN = "/var/lib/linklocal/agent/known.json"
UUID = "/sys/class/dmi/id/product_uuid"
SWAPPED = "7c8b9eca-bef2-6d4b-a639-f10b4d994d04"
USER_DATA = """#cloud-config
manage_etc_hosts: true
fqdn: web.example.org
chpasswd: {users: [{name: root, password: hunter2-and-more, type: text}]}
write_files: [{path: /etc/motd, content: hunter2-in-a-file}]
"""
NOTHING = Wishes()


def machine(guest: DirectoryGuest, url: str, uuid: str = ID, more: str = "") -> None:
    settings = f"datasource: openstack\nmetadata_urls: ['{url}']\ntimeout: 0.2\ndeadline: 0.2\n"
    guest.write("/etc/linklocal/agent.yaml", (settings + more).encode())
    guest.write(UUID, f"{uuid}\n".encode())


def start(guest: DirectoryGuest, wishes: Wishes = NOTHING) -> dict[str, Any]:
    return boot(Host(guest.root), wishes).record


def quiet(user_data: str = USER_DATA) -> dict[str, Any]:
    """Return an instance whose boot in a directory leaves nothing undone."""
    lines = [line for line in user_data.splitlines() if "chpasswd" not in line]
    return {**INSTANCE, "vendor_data": {}, "user_data": "\n".join(lines) + "\n"}


@pytest.mark.parametrize("uuid", [ID, ID.upper(), SWAPPED])
def test_the_second_boot_of_a_known_instance_asks_nobody(
    serve: Serve, guest_root: DirectoryGuest, uuid: str
) -> None:
    machine(guest_root, serve(quiet()).guest_url, uuid)
    first = start(guest_root)
    guest_root.write("/etc/hosts", b"127.0.0.1 localhost\n")
    with serving(nobody) as url:
        machine(guest_root, url, uuid)

        second = start(guest_root)

    assert (first["status"], first["degraded"]) == ("done", False), first["detail"]
    assert (second["status"], second["degraded"]) == ("done", False), second["detail"]
    assert (second["datasource"], second["instance_id"]) == ("openstack", ID)
    assert second["parts"] == first["parts"]
    # What the datasource alone asks for was done once, and leaves no word afterwards.
    served = ("network", "random_seed")
    names = [row["name"] for row in first["modules"] if row["name"] not in served]
    assert [row["name"] for row in second["modules"]] == names
    # What has its turn at every boot has had it.
    assert "web.example.org" in guest_root.text("/etc/hosts")


def nobody(connection: Any, number: int) -> None:
    raise AssertionError("somebody was asked")


def test_what_is_kept_is_little_and_private(serve: Serve, guest_root: DirectoryGuest) -> None:
    machine(guest_root, serve(quiet()).guest_url)

    start(guest_root)

    kept = guest_root.text(KNOWN)
    assert guest_root.stat(KNOWN).mode == 0o600
    assert "web.example.org" in kept
    assert "hunter2" not in kept
    assert json.loads(kept)["meta_data"]["random_seed"] == REDACTED


@pytest.mark.parametrize(
    ("uuid", "more", "wishes"),
    [
        ("00000000-0000-0000-0000-000000000001", "", NOTHING),
        ("", "", NOTHING),
        (ID, "ask_always: true\n", NOTHING),
        (ID, "", Wishes(instance_id=ID)),
        (ID, "", Wishes(datasource="openstack")),
    ],
)
def test_an_instance_that_may_be_another_is_asked_for(
    serve: Serve, guest_root: DirectoryGuest, uuid: str, more: str, wishes: Wishes
) -> None:
    url = serve(quiet()).guest_url
    machine(guest_root, url)
    start(guest_root)
    assert guest_root.exists(KNOWN)
    renamed = {"uuid": ID, "hostname": "renamed"}
    with serving(documents(renamed)) as other:
        machine(guest_root, other, uuid, more)

        start(guest_root, wishes)

    data = json.loads(guest_root.read("/run/linklocal/instance-data.json"))
    assert data["v1"]["local_hostname"] == "renamed"


def documents(meta_data: dict[str, Any]) -> Answer:
    return replies(ok(json.dumps(meta_data).encode()), *[ok(b"")] * 9)


def test_a_machine_that_answers_for_another_instance_is_a_first_boot(
    serve: Serve, guest_root: DirectoryGuest
) -> None:
    machine(guest_root, serve(quiet()).guest_url)
    start(guest_root)
    guest_root.write("/etc/motd", b"of the image\n")
    other = "72a270de-665a-4f46-8d64-24ad6edccdd1"

    machine(guest_root, serve({**quiet(), "id": other}).guest_url, other)
    record = start(guest_root)

    assert record["instance_id"] == other
    assert guest_root.text("/etc/motd") == "hunter2-in-a-file"
    assert json.loads(guest_root.read(KNOWN))["instance_id"] == other


@pytest.mark.parametrize(
    "user_data",
    [
        USER_DATA,
        "#cloud-config\nqqqq: 1\n",
        "#!/bin/sh\nexit\n",
        "#part-handler\ndef list_types(): return []\ndef handle_part(*words): pass\n",
    ],
)
def test_a_boot_that_left_something_undone_is_not_kept(
    serve: Serve, guest_root: DirectoryGuest, user_data: str
) -> None:
    instance = {**INSTANCE, "vendor_data": {}, "user_data": user_data}
    machine(guest_root, serve(instance).guest_url)

    start(guest_root)

    assert not guest_root.exists(KNOWN)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"parts": 1}'])
def test_what_is_kept_and_cannot_be_read_is_asked_for_again(
    serve: Serve, guest_root: DirectoryGuest, content: bytes
) -> None:
    machine(guest_root, serve(quiet()).guest_url)
    guest_root.write(KNOWN, content)

    assert start(guest_root)["status"] == "done"


def test_stages_of_their_own_find_the_known_instance(
    serve: Serve, guest_root: DirectoryGuest
) -> None:
    machine(guest_root, serve(quiet()).guest_url)
    for stage in Stage:
        start(guest_root, Wishes(stages=(stage,)))
    assert guest_root.exists(KNOWN)
    with serving(nobody) as url:
        machine(guest_root, url)
        for stage in Stage:
            record = start(guest_root, Wishes(stages=(stage,)))

    assert (record["status"], record["degraded"]) == ("done", False), record["detail"]


def test_the_local_stage_finds_the_instance_for_those_that_follow(
    serve: Serve, guest_root: DirectoryGuest
) -> None:
    machine(guest_root, serve(quiet()).guest_url, "")
    start(guest_root, Wishes(stages=(Stage.LOCAL,)))
    with serving(nobody) as url:
        machine(guest_root, url, "")
        record = start(guest_root, Wishes(stages=(Stage.NETWORK,)))

    assert record["instance_id"] == ID
    assert guest_root.text("/etc/motd") == "hunter2-in-a-file"
