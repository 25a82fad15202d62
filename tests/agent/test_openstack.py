"""The OpenStack datasource over our own server, and what it makes of documents that are wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.datasources.client import Client
from agent.datasources.openstack import OpenStack
from agent.errors import DatasourceError
from agent.instance import InstanceData
from agent.report import Report

from ..conftest import Serve

ID = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q me@laptop"
INSTANCE: dict[str, Any] = {
    "id": ID,
    "name": "ecs-ddd4",
    "project_id": "6e8b0c94265645f39c5abbe63c4113c6",
    "region": "cn-north-4",
    "availability_zone": "cn-north-4a",
    "launch_index": 3,
    "keys": [{"name": "a", "public_key": KEY}],
    "user_data": "#cloud-config\nhostname: x\n",
    "vendor_data": {"cloud-init": "#!/bin/sh\n"},
    "nics": [{"mac": "fa:16:3e:f7:c1:47", "ipv4": "192.168.1.10"}],
}


def fetch(url: str, report: Report | None = None) -> tuple[InstanceData | None, Client]:
    client = Client(url, timeout=2, deadline=5)
    source = OpenStack()
    try:
        return source.fetch(source.open(client), report or Report()), client
    finally:
        client.close()


def test_an_instance_is_read_in_five_requests_on_one_connection(serve: Serve) -> None:
    report = Report()

    found, client = fetch(serve(INSTANCE).guest_url, report)

    assert found is not None
    assert (found.datasource, found.instance_id) == ("openstack", ID)
    assert found.hostname == "ecs-ddd4.novalocal"
    assert found.public_keys == (KEY,)
    assert found.user_data.reveal() == b"#cloud-config\nhostname: x\n"
    assert found.vendor_data is not None
    assert found.vendor_data.reveal() == b"#!/bin/sh\n"
    assert found.vendor_data2 is None
    assert (found.region, found.availability_zone) == ("cn-north-4", "cn-north-4a")
    assert (found.launch_index, found.local_ipv4) == (3, "192.168.1.10")
    assert found.random_seed is not None
    assert len(found.random_seed) == 512
    assert found.network_config is not None
    assert found.network_kind == "openstack"
    assert report.entries == []
    assert (client.requests, client.connections) == (5, 1)


def test_an_instance_with_next_to_nothing_is_read(serve: Serve) -> None:
    report = Report()

    found, _ = fetch(serve({"id": ID}).guest_url, report)

    assert found is not None
    assert (found.instance_id, found.public_keys) == (ID, ())
    assert not found.user_data
    assert report.entries == []


def test_a_service_that_demands_a_token_gets_one(serve: Serve) -> None:
    server = serve({**INSTANCE, "metadata_options": {"http_tokens": "required"}})

    found, _ = fetch(server.guest_url)

    assert found is not None
    assert found.instance_id == ID


def test_another_service_is_not_taken_for_it(serve: Serve) -> None:
    url = serve(INSTANCE).guest_url

    assert fetch(f"{url}/elsewhere")[0] is None


class Documents:
    """A tree in memory: the form in which a config drive will be read, too."""

    def __init__(self, **documents: Any) -> None:
        self.documents = {
            name: content if isinstance(content, bytes) else json.dumps(content).encode()
            for name, content in documents.items()
        }

    def get(self, path: str) -> bytes | None:
        name = path.rpartition("/")[2].partition(".")[0]
        content = self.documents.get(name)
        if content == b"broken":
            raise DatasourceError(f"{path}: status 500")
        return content


@pytest.mark.parametrize(
    ("meta_data", "words"),
    [
        (b"", "meta_data.json: not JSON at line 1 column 1"),
        (b"{", "meta_data.json: not JSON at line 1"),
        (b"[]", "meta_data.json: expected a JSON object, got list"),
        (b"\xff", "meta_data.json: not JSON"),
        (b"[" * 100_000, "meta_data.json: not JSON that can be read"),
        ({}, "meta_data.json: expected the instance's id as 'uuid'"),
        ({"uuid": 7}, "meta_data.json: expected the instance's id as 'uuid'"),
        ({"uuid": " "}, "meta_data.json: expected the instance's id as 'uuid'"),
        ({"uuid": "../x"}, "meta_data.json uuid: is not a metadata service: expected an instance"),
        ({"uuid": "/"}, "meta_data.json uuid: is not a metadata service: expected an instance"),
        (b"<html></html>", "meta_data.json: is not a metadata service: expected JSON, got a page"),
    ],
)
def test_a_datasource_that_is_there_and_broken_is_an_error(meta_data: Any, words: str) -> None:
    with pytest.raises(DatasourceError) as caught:
        OpenStack().fetch(Documents(meta_data=meta_data), Report())

    assert str(caught.value).startswith(words)


def test_user_data_that_cannot_be_had_is_an_error() -> None:
    # A boot without it would look like one that asked for nothing.
    with pytest.raises(DatasourceError, match="user_data: status 500"):
        OpenStack().fetch(Documents(meta_data={"uuid": "a"}, user_data=b"broken"), Report())


@pytest.mark.parametrize(
    ("more", "place", "result"),
    [
        ({"meta_data": {"uuid": "a", "hostname": 7}}, "meta_data.json hostname", "refused"),
        (
            {"meta_data": {"uuid": "a", "launch_index": "1"}},
            "meta_data.json launch_index",
            "refused",
        ),
        ({"meta_data": {"uuid": "a", "public_keys": [1]}}, "meta_data.json public_keys", "refused"),
        ({"meta_data": {"uuid": "a", "random_seed": "*"}}, "meta_data.json random_seed", "refused"),
        ({"meta_data": {"uuid": "a", "random_seed": 5}}, "meta_data.json random_seed", "refused"),
        ({"vendor_data": b"{"}, "vendor_data.json", "failed"),
        ({"vendor_data": b"broken"}, "vendor_data.json", "failed"),
        ({"vendor_data": {"cloud-init": {"a": 1}}}, "vendor_data.json cloud-init", "refused"),
        ({"vendor_data2": b"[]"}, "vendor_data2.json", "failed"),
        ({"network_data": b"x"}, "network_data.json", "failed"),
    ],
)  # fmt: skip
def test_what_a_boot_can_do_without_is_reported(
    more: dict[str, Any], place: str, result: str
) -> None:
    report = Report()

    found = OpenStack().fetch(Documents(**{"meta_data": {"uuid": "a"}, **more}), report)

    assert found is not None
    assert found.instance_id == "a"
    assert [(entry.place, entry.result) for entry in report.entries] == [(place, result)]


def test_keys_are_taken_from_both_places_once() -> None:
    meta_data = {
        "uuid": "a",
        "public_keys": {"one": "ssh-rsa A one\n", "two": "ssh-rsa B two\nssh-rsa C three\n"},
        "keys": [
            {"name": "one", "type": "ssh", "data": "ssh-rsa A one"},
            {"name": "x", "type": "x509", "data": "----"},
            {"name": "four", "type": "ssh", "data": "ssh-rsa D four"},
        ],
    }

    found = OpenStack().fetch(Documents(meta_data=meta_data), Report())

    assert found is not None
    assert found.public_keys == (
        "ssh-rsa A one", "ssh-rsa B two", "ssh-rsa C three", "ssh-rsa D four",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("vendor_data", "share"),
    [
        ({}, None),
        ({"cloud-init": ""}, None),
        ({"other": "x"}, None),
        ({"cloud-init": "#!/bin/sh\n"}, b"#!/bin/sh\n"),
        ({"static": {"cloud-init": "#!/bin/sh\n"}}, None),
        ({"cloud-init": ["#!/bin/sh\n"]}, b'#cloud-config-archive\n["#!/bin/sh\\n"]'),
    ],
)
def test_the_share_of_vendor_data_that_is_meant_for_guests(
    vendor_data: dict[str, Any], share: bytes | None
) -> None:
    documents = Documents(meta_data={"uuid": "a"}, vendor_data=vendor_data)

    found = OpenStack().fetch(documents, Report())

    assert found is not None
    assert (found.vendor_data and found.vendor_data.reveal()) == share
