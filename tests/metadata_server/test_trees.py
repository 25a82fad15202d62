"""What is served: everything listed and nothing else, at each version, as nova and the guide do."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metadata_server import ec2, openstack
from metadata_server.config import read_instances
from metadata_server.instance import Agency, Instance, Key, Nic, Route
from metadata_server.network_data import network_data
from metadata_server.paths import read_path, resolve
from metadata_server.reference import page
from metadata_server.secret import Secret
from metadata_server.tree import Directory, Leaf, listing

from .guest_side import BARE, DATA, FULL, GuestSide, listening


def words(text: str) -> list[str]:
    return text.split()


NOVA_VERSIONS = words(
    "1.0 2007-01-19 2007-03-01 2007-08-29 2007-10-10 2007-12-15 2008-02-01 2008-09-01 2009-04-04"
)

OPENSTACK_VERSIONS = words(
    "2012-08-10 2013-04-04 2013-10-17 2015-10-15 2016-06-30 2016-10-06 2017-02-22 2018-08-27 "
    "2020-10-14 2025-04-04 latest"
)


@pytest.fixture
async def full() -> AsyncIterator[GuestSide]:
    async with listening(FULL) as side:
        yield side


@pytest.fixture
async def bare() -> AsyncIterator[GuestSide]:
    async with listening(BARE) as side:
        yield side


async def crawl(side: GuestSide, root: str) -> dict[str, bytes]:
    """Return every leaf that listings lead to from *root*, as cloud-init follows them."""
    leaves: dict[str, bytes] = {}
    ahead = [root]
    while ahead:
        path = ahead.pop()
        answer = await side.ask(path)
        assert answer.status == 200, path
        if not path.endswith("/"):
            leaves[path] = answer.body
            continue
        for name in answer.text.splitlines():
            number, labelled, _ = name.partition("=")
            ahead.append(path + (f"{number}/" if labelled else quote(name, safe="/")))
    return leaves


@pytest.mark.parametrize("instance", [FULL, BARE], ids=lambda instance: instance.name)
async def test_everything_listed_is_served_and_the_reverse(instance: Instance) -> None:
    async with listening(instance) as side:
        paths = {
            path.removeprefix("/latest/")
            for path in await crawl(side, "/latest/")
            if "rack" not in path
        }
        for version in (*ec2.VERSIONS, ec2.LATEST):
            listed = await crawl(side, f"/{version}/")
            for path in paths:
                status = (await side.ask(f"/{version}/{path}")).status
                assert status == (200 if f"/{version}/{path}" in listed else 404), path


@pytest.mark.parametrize("instance", [FULL, BARE], ids=lambda instance: instance.name)
async def test_every_file_of_openstack_is_listed_where_it_is_served(instance: Instance) -> None:
    names = [entry.path for entry in openstack.ENTRIES]
    async with listening(instance) as side:
        for version in OPENSTACK_VERSIONS:
            listed = (await side.ask(f"/openstack/{version}/")).text.splitlines()
            for name in names:
                status = (await side.ask(f"/openstack/{version}/{name}")).status
                assert (status == 200) == (name in listed), (version, name)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1)
INSTANCES = st.builds(
    Instance,
    id=st.uuids().map(str),
    name=WORDS,
    hostname=WORDS,
    project_id=st.uuids().map(lambda uuid: uuid.hex),
    keys=st.lists(st.builds(Key, WORDS, WORDS), max_size=3).map(tuple),
    user_data=st.none() | st.binary(max_size=50).map(Secret),
    tags=st.dictionaries(WORDS, WORDS, max_size=5),
    agency=st.none() | st.builds(Agency, st.from_regex(r"\A[a-zA-Z0-9_-]{1,64}\Z")),
    security_groups=st.lists(WORDS, max_size=3).map(tuple),
    meta=st.dictionaries(WORDS, WORDS, max_size=3),
    nics=st.lists(
        st.builds(
            Nic,
            mac=st.from_regex(r"\A([0-9a-f]{2}:){5}[0-9a-f]{2}\Z"),
            id=WORDS,
            vif_id=st.uuids().map(str),
            network_id=st.uuids().map(str),
            ipv4=st.none() | st.ip_addresses(v=4),
            ipv6=st.none() | st.ip_addresses(v=6),
            public_ipv4=st.none() | st.ip_addresses(v=4),
            prefix=st.integers(1, 32),
            dhcp=st.booleans(),
        ),
        max_size=3,
        unique_by=lambda nic: nic.mac,
    ).map(tuple),
    extra=st.dictionaries(
        st.sampled_from(["latest/", "latest/meta-data/", "openstack/", "x/", ""]).flatmap(
            lambda start: st.from_regex(r"\A[a-z]{3,9}(/[a-z]{3,9})?\Z").map(
                lambda end: start + end
            )
        ),
        WORDS,
        max_size=3,
    ),
)


@given(INSTANCES, st.sampled_from(list(ec2.SHAPES)), st.sampled_from(list(openstack.SHAPES)))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_listings_of_any_instance_lead_to_leaves_and_to_all_of_them(
    instance: Instance, ec2_version: str, openstack_version: str
) -> None:
    check_below(instance, (ec2_version,))
    check_below(instance, ("openstack", openstack_version))
    for root in ((), ("openstack",)):
        assert isinstance(resolve(instance, root), Directory)


def check_below(instance: Instance, names: tuple[str, ...]) -> None:
    node = resolve(instance, names)
    if not isinstance(node, Directory):
        assert node is not None, names
        assert resolve(instance, (*names, "below")) is None
        return
    lines = listing(node).splitlines()
    assert len(lines) == len(node.children), names
    for name, child in node.children.items():
        if child != Directory({}, label=name):
            check_below(instance, (*names, name))


@pytest.mark.parametrize(
    ("first", "paths"),
    [
        (
            "1.0",
            "ami-id ami-launch-index ami-manifest-path hostname instance-id local-ipv4 "
            "public-keys/0/openssh-key reservation-id security-groups",
        ),
        ("2007-01-19", "local-hostname public-hostname public-ipv4"),
        ("2007-08-29", "instance-type"),
        (
            "2007-12-15",
            "block-device-mapping/ami block-device-mapping/root block-device-mapping/ebs0 "
            "kernel-id",
        ),
        ("2008-02-01", "placement/availability-zone"),
        ("2008-09-01", "instance-action"),
        ("2011-01-01", "mac network/interfaces/macs/fa:16:3e:f7:c1:47/local-ipv4s"),
        ("2012-01-12", "iam/info iam/security-credentials/my-agency"),
        ("2020-10-27", "placement/region"),
        ("2021-01-03", "ipv6"),
        ("2021-03-23", "tags/instance/Name"),
    ],
)
async def test_each_ec2_path_is_there_from_its_version_on(
    full: GuestSide, first: str, paths: str
) -> None:
    for path in paths.split():
        for version in ec2.SHAPES:
            status = (await full.ask(f"/{version}/meta-data/{path}")).status
            assert status == (200 if version >= first else 404), (version, path)


async def test_ec2_versions_are_listed_at_the_root(bare: GuestSide) -> None:
    answers = [await bare.ask(path) for path in ("/", "//", "/ec2", "/ec2/")]

    assert len({answer.body for answer in answers}) == 1
    versions = answers[0].text.split("\n")
    assert versions[: len(NOVA_VERSIONS)] == NOVA_VERSIONS
    assert versions[-1] == "latest"
    assert {"2016-09-02", "2018-09-24", "2021-01-03", "2021-03-23"} < set(versions)
    assert answers[0].headers["content-type"] == "text/plain; charset=UTF-8"


async def test_ec2_listings_are_novas(full: GuestSide) -> None:
    async def lines(path: str) -> list[str]:
        return (await full.ask(path)).text.split("\n")

    assert await lines("/2007-01-19/") == ["meta-data/", "user-data"]
    assert await lines("/1.0/meta-data/") == words(
        "ami-id ami-launch-index ami-manifest-path hostname instance-id local-ipv4 public-keys/ "
        "reservation-id security-groups"
    )
    assert await lines("/latest/meta-data/public-keys/") == ["0=mykey", "1=a second one"]
    assert await lines("/latest/meta-data/public-keys/0") == ["openssh-key"]
    assert await lines("/latest/meta-data/iam/security-credentials/") == ["my-agency"]
    assert await lines("/latest/meta-data/security-groups") == ["default", "web"]
    assert await lines("/latest/meta-data/tags/instance") == ["Name", "owner@team"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("hostname", b"ecs-ddd4.novalocal"),
        ("local-hostname", b"ecs-ddd4.novalocal"),
        ("public-hostname", b"ecs-ddd4.novalocal"),
        ("instance-type", b"s3.medium.2"),
        ("local-ipv4", b"192.168.1.10"),
        ("public-ipv4", b"100.100.1.2"),
        ("placement/availability-zone", b"cn-north-4a"),
        ("placement/availability-zone/", b"cn-north-4a"),
        ("public-keys/0/openssh-key", b"ssh-rsa AAAA me"),
        ("instance-id", b"i-ca9e8b7cf2be4b6da"),
        ("instance-life-cycle", b"spot"),
        ("rack", b"r12"),
    ],
)
async def test_values_of_the_guides_table(full: GuestSide, path: str, body: bytes) -> None:
    assert (await full.ask(f"/latest/meta-data/{path}")).body == body


@pytest.mark.parametrize(
    "path",
    [
        "/latest/meta-data/instance-id/x",
        "/latest/meta-data/security-groups/default",
        "/latest/meta-data/public-keys/0=mykey",
        "/latest/meta-data/public-keys/2",
        "/latest/meta-data/nope",
        "/latest/meta-data/tags/instance/not",
        "/2009-04-05/",
        "/openstack/2012-08-11/meta_data.json",
        "/openstack/content",
        "/openstack/content/0001",
        "/openstack/content/0000/x",
        "/openstack/latest/spot/instance-action",
        "/linklocal/v1/reset-password/challenge",
    ],
)
async def test_there_is_nothing_else(full: GuestSide, path: str) -> None:
    assert (await full.ask(path)).status == 404


async def test_without_public_address_its_leaf_is_empty(bare: GuestSide) -> None:
    answer = await bare.ask("/latest/meta-data/public-ipv4")

    assert (answer.status, answer.body) == (200, b"")


async def test_user_data_is_served_as_it_is_or_not_at_all(full: GuestSide, bare: GuestSide) -> None:
    for path in ("/latest/user-data", "/latest/user-data/", "/openstack/latest/user_data"):
        answer = await full.ask(path)
        assert answer.body == b"#!/bin/sh\n\xff\x00"
        assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
        assert (await bare.ask(path)).status == 404


async def test_the_identity_document_says_who_it_is(full: GuestSide) -> None:
    found = json.loads((await full.ask("/latest/dynamic/instance-identity/document")).body)

    assert found["instanceId"] == "i-ca9e8b7cf2be4b6da"
    assert found["region"] == "cn-north-4"
    assert found["privateIp"] == "192.168.1.10"
    assert set(found) == {
        *("accountId", "architecture", "availabilityZone", "billingProducts"),
        *("devpayProductCodes", "marketplaceProductCodes", "imageId", "instanceId"),
        *("instanceType", "kernelId", "pendingTime", "privateIp", "ramdiskId", "region"),
        "version",
    }


# OpenStack


async def test_openstack_versions_and_files_are_listed_in_novas_order(full: GuestSide) -> None:
    versions = (await full.ask("/openstack")).text.split("\n")
    files = (await full.ask("/openstack/latest")).text.split("\n")
    old = (await full.ask("/openstack/2013-04-04/")).text.split("\n")

    assert versions == OPENSTACK_VERSIONS
    assert files == words(
        "meta_data.json user_data password vendor_data.json network_data.json vendor_data2.json "
        "securitykey site"
    )
    assert old[:3] == ["meta_data.json", "user_data", "password"]
    assert "vendor_data.json" not in old


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("meta_data.json", "2012-08-10"),
        ("user_data", "2012-08-10"),
        ("network_data.json", "2012-08-10"),
        ("password", "2013-04-04"),
        ("vendor_data.json", "2013-10-17"),
        ("vendor_data2.json", "2016-10-06"),
    ],
)
async def test_each_openstack_file_is_there_from_its_version_on(
    full: GuestSide, name: str, first: str
) -> None:
    for version in OPENSTACK_VERSIONS:
        for path in (f"/openstack/{version}/{name}", f"/openstack/{version}/{name}/"):
            assert (await full.ask(path)).status == (200 if version >= first else 404), path


@pytest.mark.parametrize(
    ("field", "first"),
    [
        ("uuid", "2012-08-10"),
        ("keys", "2012-08-10"),
        ("files", "2012-08-10"),
        ("enterprise_project_id", "2012-08-10"),
        ("random_seed", "2013-04-04"),
        ("project_id", "2015-10-15"),
        ("devices", "2016-06-30"),
        ("dedicated_cpus", "2020-10-14"),
    ],
)
async def test_each_field_of_meta_data_is_there_from_its_version_on(
    full: GuestSide, field: str, first: str
) -> None:
    for version in OPENSTACK_VERSIONS:
        found = json.loads((await full.ask(f"/openstack/{version}/meta_data.json")).body)
        assert (field in found) == (version >= first), version


async def test_devices_show_what_their_version_knows() -> None:
    devices = (
        {"type": "nic", "bus": "pci", "tags": ["a"], "vlan": 7, "vf_trusted": True},
        {"type": "share", "share_id": "s", "tag": "t"},
    )
    async with listening(replace(BARE, devices=devices)) as side:

        async def at(version: str) -> list[dict[str, object]]:
            answer = await side.ask(f"/openstack/{version}/meta_data.json")
            return list(json.loads(answer.body)["devices"])

        plain = {"type": "nic", "bus": "pci", "tags": ["a"]}
        assert await at("2016-06-30") == [plain]
        assert await at("2017-02-22") == [{**plain, "vlan": 7}]
        assert await at("2018-08-27") == [devices[0]]
        assert await at("2025-04-04") == list(devices)


async def test_random_seed_is_fresh_at_every_reading(full: GuestSide) -> None:
    seeds = [
        json.loads((await full.ask("/openstack/latest/meta_data.json")).body)["random_seed"]
        for _ in range(3)
    ]

    assert len(set(seeds)) == 3
    assert {len(base64.b64decode(seed, validate=True)) for seed in seeds} == {512}


async def test_keys_and_files_of_meta_data(full: GuestSide) -> None:
    found = json.loads((await full.ask("/openstack/latest/meta_data.json")).body)

    assert found["public_keys"] == {
        "mykey": "ssh-rsa AAAA me",
        "a second one": "ssh-ed25519 AAAA me",
    }
    assert found["keys"][0] == {"name": "mykey", "type": "ssh", "data": "ssh-rsa AAAA me"}
    (file,) = found["files"]
    assert file == {"path": "/etc/motd", "content_path": "/content/0000"}
    assert (await full.ask(f"/openstack{file['content_path']}")).body == b"Welcome\n"


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/openstack/latest/meta_data.json", "application/json"),
        ("/openstack/2012-08-10/meta_data.json", "application/json"),
        ("/openstack/latest/vendor_data.json", "application/json"),
        ("/openstack/latest/vendor_data2.json", "application/json"),
        ("/openstack/latest/securitykey", "application/json"),
        ("/openstack/latest/network_data.json", "text/plain; charset=UTF-8"),
        ("/openstack/latest/user_data", "text/plain; charset=UTF-8"),
        ("/openstack/latest/password", "text/plain; charset=UTF-8"),
        ("/latest/meta-data/iam/security-credentials/my-agency", "text/plain; charset=UTF-8"),
    ],
)
async def test_content_types(full: GuestSide, path: str, content_type: str) -> None:
    assert (await full.ask(path)).headers["content-type"] == content_type


async def test_vendor_data(full: GuestSide, bare: GuestSide) -> None:
    async def read(side: GuestSide, name: str) -> object:
        return json.loads((await side.ask(f"/openstack/latest/{name}")).body)

    assert await read(full, "vendor_data.json") == {"cloud-init": "#cloud-config\n"}
    assert await read(full, "vendor_data2.json") == {
        "static": {"cloud-init": "#cloud-config\n"},
        "dynamic": {"a": 1},
    }
    assert await read(bare, "vendor_data.json") == {}
    assert await read(bare, "vendor_data2.json") == {"static": {}}


# The guide


def guide_instance() -> Instance:
    text = (DATA / "guide-instance.yaml").read_bytes() + b"identify: {default: true}\n"
    (instance,) = read_instances(text, Path("guide-instance.yaml"))
    return instance


async def test_an_instance_is_served_as_the_guide_shows_it() -> None:
    async with listening(guide_instance()) as side:
        meta_data = json.loads((await side.ask("/openstack/latest/meta_data.json")).body)
        network = json.loads((await side.ask("/openstack/latest/network_data.json")).body)

    shown = json.loads((DATA / "guide-meta_data.json").read_text())
    assert {key: meta_data[key] for key in shown} == shown
    assert set(meta_data) - set(shown) == {"random_seed", "devices", "dedicated_cpus"}
    assert network == json.loads((DATA / "guide-network_data.json").read_text())


@pytest.mark.parametrize(
    ("accept", "file"),
    [
        (None, "not-found.html"),
        ("*/*", "not-found.html"),
        ("text/html", "not-found.html"),
        ("text/html, application/json;q=0.9", "not-found.html"),
        ("application/json, text/html;q=0.5", "not-found.json"),
        ("application/json", "not-found.json"),
        ("application/*", "not-found.json"),
        ("text/html;q=0, */*", "not-found.json"),
        ("text/plain", "not-found.txt"),
        ("image/png", "not-found.txt"),
        ("nonsense", "not-found.txt"),
    ],
)
async def test_not_found_is_what_the_guide_shows(
    bare: GuestSide, accept: str | None, file: str
) -> None:
    answer = await bare.ask(
        "/openstack/latest/user_data", headers=[("Accept", accept)] if accept is not None else []
    )

    assert answer.status == 404
    assert answer.body == (DATA / file).read_bytes()


# Network data

ANY = str(IPv4Address(0))


def nic(**values: Any) -> Nic:
    return replace(FULL.nics[1], **values)


def test_static_networks_have_addresses_routes_and_services() -> None:
    instance = replace(
        FULL,
        nics=(
            nic(
                mtu=1450,
                gateway=IPv4Address("192.168.2.1"),
                ipv6=IPv6Address("fd00::20"),
                gateway6=IPv6Address("fd00::1"),
                routes=(Route("10.0.0.0/8", "192.168.2.2"), Route("fd01::/16", "fd00::2")),
                addresses=("192.168.2.11/24",),
            ),
        ),
    )

    found = network_data(instance)

    services = [{"type": "dns", "address": "100.125.21.250"}]
    base = {"network_id": instance.nics[0].network_id, "link": "tap78a9272d-71"}
    assert found["links"][0]["mtu"] == 1450
    assert found["networks"] == [
        {
            **base,
            "id": "network0",
            "type": "ipv4",
            "ip_address": "192.168.2.10",
            "netmask": "255.255.255.0",
            "routes": [
                {"network": ANY, "netmask": ANY, "gateway": "192.168.2.1"},
                {"network": "10.0.0.0", "netmask": "255.0.0.0", "gateway": "192.168.2.2"},
            ],
            "services": services,
        },
        {
            **base,
            "id": "network1",
            "type": "ipv6",
            "ip_address": "fd00::20",
            "netmask": "ffff:ffff:ffff:ffff::",
            "routes": [
                {"network": "::", "netmask": "::", "gateway": "fd00::1"},
                {"network": "fd01::", "netmask": "ffff::", "gateway": "fd00::2"},
            ],
            "services": services,
        },
        {
            **base,
            "id": "network2",
            "type": "ipv4",
            "ip_address": "192.168.2.11",
            "netmask": "255.255.255.0",
            "routes": [],
            "services": [],
        },
    ]


def test_bonds_and_vlans_are_links_of_their_kind() -> None:
    instance = replace(
        FULL,
        nics=(
            nic(id="eth0", dhcp=True),
            nic(id="eth1", dhcp=True),
            nic(id="bond0", bond={"mode": "active-backup", "links": ["eth0", "eth1"]}),
            nic(id="vlan7", vlan={"id": 7, "link": "bond0"}),
        ),
    )

    found = network_data(instance)

    *_, bond, vlan = found["links"]
    assert (bond["type"], bond["bond_mode"], bond["bond_links"]) == (
        "bond",
        "active-backup",
        ["eth0", "eth1"],
    )
    assert (vlan["type"], vlan["vlan_id"], vlan["vlan_link"]) == ("vlan", 7, "bond0")
    assert vlan["vlan_mac_address"] == instance.nics[3].mac
    assert [network["link"] for network in found["networks"]] == ["bond0", "vlan7"]


def test_without_nics_there_is_no_network_data() -> None:
    assert network_data(BARE) == {}


# Paths


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ("/", ()),
        ("//latest///meta-data//", ("latest", "meta-data")),
        ("/latest/./x/../user-data?query#fragment", ("latest", "user-data")),
        ("/../../etc/passwd", ("etc", "passwd")),
        ("/latest/%6deta-data%2Fhostname", ("latest", "meta-data", "hostname")),
        ("/%2e%2e/latest", ("latest",)),
        ("/%zz", ("%zz",)),
        ("http://169.254.169.254/latest", ("latest",)),
        ("HTTP://169.254.169.254", ()),
        ("http://[::1/latest", None),
        ("ftp://host/latest", None),
        ("*", None),
        ("host:443", None),
        ("/%00", None),
        ("/%ff", None),
        ("/\udcff", None),
    ],
)
def test_paths_are_read_as_clients_mean_them(raw: str, names: tuple[str, ...] | None) -> None:
    assert read_path(raw) == names


def test_an_extra_path_stands_in_the_place_of_what_was_there() -> None:
    instance = replace(
        FULL,
        extra={
            "latest/meta-data/instance-action": "stop",
            "latest/meta-data/network/interfaces/macs/fa:16:3e:f7:c1:47/ipv6-prefix": "::/80",
        },
    )
    names = ("latest", "meta-data", "network", "interfaces", "macs", "fa:16:3e:f7:c1:47")

    action = resolve(instance, ("latest", "meta-data", "instance-action"))
    interface = resolve(instance, names)

    assert action == Leaf(b"stop")
    assert isinstance(interface, Directory)
    assert {"ipv6-prefix", "device-number"} < set(interface.children)


def test_the_reference_page_is_what_the_tables_say() -> None:
    written = (DATA.parents[2] / "docs" / "metadata-paths.md").read_text()

    assert written == page(), "make it anew: python -m metadata_server.reference"
