"""Changes by API over the configuration: what they do, what is refused, what outlives what."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from metadata_server import overlay as overlays
from metadata_server.catalog import Catalog
from metadata_server.compact import pack, unpack
from metadata_server.config import read_instances
from metadata_server.document import composed, described, patched, pointer, read
from metadata_server.errors import (
    ConfigError,
    Conflict,
    InvalidDocument,
    NotFound,
    PreconditionFailed,
)
from metadata_server.example import EXAMPLE_ID, example_instance
from metadata_server.instance import Instance
from metadata_server.made import reader
from metadata_server.overlay import Overlay
from metadata_server.store import Store

EVERYTHING = """
id: one
name: web-1
project_id: p
enterprise_project_id: 0123
flavor: s6.large.2
image: {id: i, name: Debian 12}
vpc_id: v
launch_index: 3
meta: {charging_mode: "0", os_bit: "32"}
keys:
  - name: k
    public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA m"
security_groups: []
user_data: "#!/bin/sh"
vendor_data: {a: [1, 2.5, null, true, "x"]}
nics:
  - ipv4: 10.0.0.1
    prefix: 16
    gateway: 10.0.0.254
    mtu: 9000
    routes: [{network: 10.1.0.0/16, gateway: 10.0.0.2}]
  - {ipv6: "fd00::1", addresses: ["fd00::2/64"], vlan: {id: 5, link: tapx}, id: v5}
  - {id: tapx, mac: "02:00:00:00:00:01"}
dns: [10.0.0.53]
qos: {min: 1}
tags: {a.b: c}
agency: {name: a, credentials_command: [issue, now]}
metadata_options: {http_tokens: required, hop_limit: 2}
identify: {interface: br0}
reset_password: {proof: token}
extra: {latest/meta-data/rack: "012"}
files: [{path: /etc/motd, content_base64: AAH/}]
devices: [{type: nic, mac: "02:00:00:00:00:01", vlan: 5}]
block_devices: {ami: sda}
ec2_ids: {ami-id: ami-1}
spot: {}
"""


def instances(*texts: str) -> list[Instance]:
    return [each for text in texts for each in read_instances(text.encode(), Path("test"))]


class State:
    """A state directory that servers come and go over."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stores: list[Store] = []

    def start(self, base: Sequence[Instance]) -> tuple[Overlay, Catalog]:
        store = Store(self.directory, [overlays.SCHEMA])
        self.stores.append(store)
        catalog = Catalog(read=reader(store))
        return Overlay(store, catalog, base), catalog

    def close(self) -> None:
        for store in self.stores:
            store.close()


@pytest.fixture
def state(tmp_path: Path) -> Any:
    made = State(tmp_path / "state")
    yield made
    made.close()


@pytest.mark.parametrize(
    "text", [EVERYTHING, "id: x", "id: w\nos_type: Windows\nname: win\nqos: {}"]
)
def test_what_is_described_is_read_back(text: str) -> None:
    (instance,) = instances(text)

    document = json.loads(json.dumps(described(instance)))

    assert read(document) == instance


DOCUMENTS: tuple[dict[str, Any], ...] = ({}, {"a": 1}, {"a": {"b": 1, "c": {"d": 2}}, "e": [1]})
PATCHES: tuple[dict[str, Any], ...] = (
    {},
    {"a": None},
    {"a": 5},
    {"a": {"c": None}},
    {"a": {"x": 1}},
    {"a": {"c": {"d": None, "y": 3}}},
    {"e": {"z": 1}},
    {"e": None, "n": {"m": {"l": None}}},
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_composed_patches_do_what_one_after_the_other_does(document: dict[str, Any]) -> None:
    for first in PATCHES:
        for second in PATCHES:
            for third in PATCHES:
                stepwise = patched(patched(patched(document, first), second), third)
                at_once = composed(document, composed(document, first, second), third)
                assert patched(document, at_once) == stepwise, (first, second, third)


@pytest.mark.parametrize(
    ("where", "document", "expected"),
    [
        ("", {}, ""),
        ("nics[0].mac", {"nics": [{"mac": 1}]}, "/nics/0/mac"),
        ("meta.a.b", {"meta": {"a.b": 1}}, "/meta/a.b"),
        ("tags.a/b~", {"tags": {"a/b~": 1}}, "/tags/a~1b~0"),
        ("image.name", {}, "/image/name"),
    ],
)
def test_a_place_becomes_a_pointer(where: str, document: dict[str, Any], expected: str) -> None:
    assert pointer(where, document) == expected


async def test_a_change_is_served_and_outlives_restart_and_reload(state: State) -> None:
    base = instances("id: a\nflavor: small\nmeta: {x: '1', y: '2'}")
    overlay, catalog = state.start(base)
    revision = catalog.revision("a")

    await overlay.set("a", {"meta": {"x": None, "z": "3"}})
    await overlay.set("a", {"tags": {"n": "v"}})

    changed = catalog.by_id("a")
    assert changed is not None
    assert catalog.revision("a") > revision
    assert {"y": "2", "z": "3"}.items() <= changed.meta.items()
    assert "x" not in changed.meta
    await overlay.replace_base(instances("id: a\nflavor: large\nmeta: {x: '1', y: '5'}"))
    reloaded = catalog.by_id("a")
    assert reloaded is not None
    assert (reloaded.flavor, reloaded.meta["y"], reloaded.meta["z"]) == ("large", "5", "3")
    assert reloaded.meta["metering.resourcespeccode"] == "large.linux"
    tag = overlay.tag("a")
    overlay, catalog = state.start(instances("id: a\nflavor: large\nmeta: {x: '1', y: '5'}"))
    assert catalog.by_id("a") == reloaded
    assert overlay.tag("a") == tag
    await overlay.reset("a")
    dropped = catalog.by_id("a")
    assert dropped is not None
    assert dropped.tags == {}
    assert overlay.get("a") is None


async def test_instances_come_and_go(state: State) -> None:
    overlay, catalog = state.start(instances("id: a"))

    (made,) = await overlay.create([{"name": "new", "nics": [{"ipv4": "10.0.0.9"}]}])

    assert catalog.at("10.0.0.9") == made
    await overlay.delete(["a", made.id])
    assert catalog.all() == ()
    assert catalog.at("10.0.0.9") is None
    overlay, catalog = state.start(instances("id: a"))
    assert catalog.all() == ()
    with pytest.raises(NotFound):
        await overlay.reset(made.id)
    await overlay.reset("a")
    assert [each.id for each in catalog.all()] == ["a"]


async def test_many_are_created_all_or_none(state: State) -> None:
    overlay, catalog = state.start([])

    with pytest.raises(InvalidDocument) as refused:
        await overlay.create([{"id": "a"}, {"id": "b", "nics": [{"mac": "nope"}]}])

    assert [where for where, _ in refused.value.problems] == ["/1/nics/0/mac"]
    assert catalog.all() == ()
    with pytest.raises(InvalidDocument, match=r"origin of its own, 10\.0\.0\.1"):
        await overlay.create([{"nics": [{"ipv4": "10.0.0.1"}]}, {"nics": [{"ipv4": "10.0.0.1"}]}])
    assert len(await overlay.create([{}] * 50)) == 50
    overlay, catalog = state.start([])
    assert len(catalog.all()) == 50


REFUSED: tuple[tuple[Mapping[str, Any], type[Exception], str], ...] = (
    ({"flavour": "x"}, InvalidDocument, "unknown key 'flavour', nearest is 'flavor'"),
    ({"nics": [{"mac": "01:00:00:00:00:00"}]}, InvalidDocument, r"nics\[0\]\.mac: expected"),
    ({"nics": [{"ipv4": "10.0.0.2"}]}, InvalidDocument, "10.0.0.2 is taken by instance other"),
    ({"id": "b"}, InvalidDocument, "id: expected a, which never changes"),
    ({"id": None}, InvalidDocument, "missing key 'id'"),
    ({"user_data": "x"}, Conflict, "user_data: fixed"),
    ({"user_data_file": "/etc/passwd"}, InvalidDocument, "only the server's own configuration"),
    (
        {"files": [{"path": "/a", "content_file": "/etc/passwd"}]},
        InvalidDocument,
        r"files\[0\]\.content_file: only the server",
    ),
    (
        {"agency": {"name": "x", "credentials_command": ["id"]}},
        InvalidDocument,
        "credentials_command: only the server",
    ),
    ({"reset_password": {"proof": "none"}}, InvalidDocument, "proof: expected low-port or token"),
    ({"password_hash": "canary"}, InvalidDocument, r"got \*\*\*"),
    ({"meta": {"a": "\ud800"}}, InvalidDocument, "surrogates"),
    ({"vendor_data": {"a": 1e999}}, InvalidDocument, "JSON can carry"),
)


@pytest.mark.parametrize(("patch", "error", "text"), REFUSED)
async def test_a_wrong_patch_is_refused_and_changes_nothing(
    state: State, patch: Mapping[str, Any], error: type[Exception], text: str
) -> None:
    overlay, catalog = state.start(instances("id: a", "id: other\nnics: [{ipv4: 10.0.0.2}]"))
    before = catalog.all()

    with pytest.raises(error, match=text) as refused:
        await overlay.set("a", patch)

    assert "canary" not in str(refused.value)
    assert catalog.all() == before
    assert overlay.get("a") is None


async def test_too_deep_a_patch_is_refused(state: State) -> None:
    overlay, _ = state.start(instances("id: a"))
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"x": deep}

    with pytest.raises(InvalidDocument, match="at most 32 levels"):
        await overlay.set("a", {"vendor_data": deep})


async def test_user_data_changes_by_force_only_and_in_any_form(state: State) -> None:
    overlay, catalog = state.start(instances("id: a\nuser_data: old"))

    await overlay.set("a", {"user_data_base64": "bmV3"}, force=True)
    await overlay.set("a", {"user_data": "newer"}, force=True)

    found = catalog.by_id("a")
    assert found is not None
    assert found.user_data is not None
    assert found.user_data.reveal() == b"newer"
    await overlay.set("a", {"user_data": None}, force=True)
    found = catalog.by_id("a")
    assert found is not None
    assert found.user_data is None


async def test_of_two_who_write_at_once_none_loses(state: State) -> None:
    overlay, catalog = state.start(instances("id: a"))
    tag = overlay.tag("a")

    await asyncio.gather(*(overlay.set("a", {"meta": {f"k{n}": "v"}}) for n in range(20)))

    found = catalog.by_id("a")
    assert found is not None
    assert {f"k{n}" for n in range(20)} <= found.meta.keys()
    with pytest.raises(PreconditionFailed):
        await overlay.set("a", {"meta": {"k": "v"}}, tag=tag)
    await overlay.set("a", {"meta": {"k": "v"}}, tag=overlay.tag("a"))


async def test_a_configuration_that_does_not_fit_the_changes_is_refused(state: State) -> None:
    overlay, catalog = state.start(instances("id: a"))
    await overlay.create([{"id": "made", "nics": [{"ipv4": "10.0.0.1"}]}])
    before = catalog.all()
    clash = instances("id: a\nnics: [{ipv4: 10.0.0.1}]")

    with pytest.raises(ConfigError, match=r"instance made, as changed.* taken by instance a"):
        await overlay.replace_base(clash)

    assert catalog.all() == before
    # A server that starts has to serve what it can, or nobody could undo the change.
    overlay, catalog = state.start(clash)
    assert [each.id for each in catalog.all()] == ["a"]
    assert await overlay.reset("made") is None


async def test_a_change_waits_for_an_instance_that_is_gone_from_the_configuration(
    state: State,
) -> None:
    overlay, catalog = state.start(instances("id: a", "id: b"))
    await overlay.set("a", {"tags": {"k": "v"}})

    await overlay.replace_base(instances("id: b"))

    assert [each.id for each in catalog.all()] == ["b"]
    await overlay.replace_base(instances("id: a", "id: b"))
    found = catalog.by_id("a")
    assert found is not None
    assert found.tags == {"k": "v"}


async def test_the_built_in_instance_keeps_what_no_document_may_say(state: State) -> None:
    overlay, catalog = state.start([example_instance(loopback=True)])

    await overlay.set(EXAMPLE_ID, {"tags": {"k": "v"}})

    found = catalog.by_id(EXAMPLE_ID)
    assert found is not None
    assert found.reset_password.proof == "none"


async def test_a_command_of_the_configuration_stays_over_changes(state: State) -> None:
    overlay, catalog = state.start(instances(EVERYTHING))

    await overlay.set("one", {"agency": {"name": "b"}})
    document = overlay.document("one")
    await overlay.replace("one", {**document, "flavor": "x"})

    found = catalog.by_id("one")
    assert found is not None
    assert found.agency is not None
    assert (found.agency.name, found.agency.credentials_command) == ("b", ("issue", "now"))


@pytest.mark.parametrize("text", [EVERYTHING, "id: x", "id: w\nos_type: Windows\nspot: {price: 1}"])
def test_what_is_packed_is_unpacked(text: str) -> None:
    (instance,) = instances(text)

    assert unpack(pack(instance)) == instance


async def test_a_state_of_another_version_is_made_ready_and_what_is_wrong_left_out(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    overlay, _ = state.start([])
    await overlay.create([{"id": f"i{n}", "nics": [{"ipv4": f"10.0.0.{n}"}]} for n in range(3)])
    with sqlite3.connect(state.directory / "state.sqlite") as older:
        older.executescript("DELETE FROM made; DELETE FROM claimed; DELETE FROM made_by;")
        older.execute("UPDATE overlay SET document = '{\"flavour\": 1}' WHERE instance_id = 'i1'")

    overlay, catalog = state.start([])

    assert catalog.ids() == ("i0", "i2")
    found = catalog.at("10.0.0.2")
    assert found is not None
    assert found.id == "i2"
    assert "instance i1, as changed by API: unknown key 'flavour'" in caplog.text
    with pytest.raises(InvalidDocument, match=r"10\.0\.0\.2 is taken by instance i2"):
        await overlay.create([{"nics": [{"ipv4": "10.0.0.2"}]}])
    assert await overlay.reset("i1") is None


async def test_what_cannot_be_read_from_the_state_is_unknown_and_said_once(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    overlay, _ = state.start([])
    await overlay.create([{"id": "a", "nics": [{"ipv4": "10.0.0.1"}]}])
    with sqlite3.connect(state.directory / "state.sqlite") as broken:
        broken.execute("UPDATE made SET form = '{'")

    _, catalog = state.start([])

    assert [catalog.at("10.0.0.1") for _ in range(3)] == [None] * 3
    assert caplog.text.count("instance a: cannot be read from the state") == 1


async def test_a_whole_instance_over_a_configured_one_takes_its_things(state: State) -> None:
    base = instances("id: a\nnics: [{ipv4: 10.0.0.1}]")
    overlay, catalog = state.start(base)

    await overlay.replace("a", {"nics": [{"ipv4": "10.0.0.2"}]})
    await overlay.create([{"id": "b", "nics": [{"ipv4": "10.0.0.1"}]}])

    assert catalog.at("10.0.0.1") == catalog.by_id("b")
    with pytest.raises(InvalidDocument, match=r"10\.0\.0\.1 is taken by instance b"):
        await overlay.reset("a")
    _, catalog = state.start(base)
    assert [(catalog.at(f"10.0.0.{n}") or base[0]).id for n in (1, 2)] == ["b", "a"]
