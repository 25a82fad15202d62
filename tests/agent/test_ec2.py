"""The EC2 datasource over our own server, versions 1 and 2, and documents that are wrong."""

from __future__ import annotations

from typing import Any

import pytest

from agent.datasources.client import Client
from agent.datasources.ec2 import Ec2
from agent.errors import DatasourceError
from agent.instance import InstanceData
from agent.report import Report

from ..conftest import Serve
from .test_openstack import INSTANCE, KEY


def fetch(url: str, report: Report | None = None) -> tuple[InstanceData | None, Client]:
    client = Client(url, timeout=2, deadline=5)
    source = Ec2()
    try:
        return source.fetch(source.open(client), report or Report()), client
    finally:
        client.close()


@pytest.mark.parametrize("tokens", ["optional", "required"])
def test_an_instance_is_read_in_nine_requests_on_one_connection(serve: Serve, tokens: str) -> None:
    report = Report()
    server = serve({**INSTANCE, "metadata_options": {"http_tokens": tokens}})

    found, client = fetch(server.guest_url, report)

    assert found is not None
    assert found.datasource == "ec2"
    assert found.instance_id.startswith("i-")
    assert found.hostname == "ecs-ddd4.novalocal"
    assert found.public_keys == (KEY,)
    assert found.user_data.reveal() == b"#cloud-config\nhostname: x\n"
    assert found.availability_zone == "cn-north-4a"
    assert (found.launch_index, found.local_ipv4) == (3, "192.168.1.10")
    assert report.entries == []
    assert (client.requests, client.connections) == (9, 1)


def test_an_instance_without_user_data_and_keys_is_read(serve: Serve) -> None:
    report = Report()

    found, _ = fetch(serve({"id": INSTANCE["id"]}).guest_url, report)

    assert found is not None
    assert not found.user_data
    assert found.public_keys == ()
    assert report.entries == []


def test_another_service_is_not_taken_for_it(serve: Serve) -> None:
    assert fetch(f"{serve(INSTANCE).guest_url}/elsewhere")[0] is None


class Leaves:
    """The meta-data tree in memory."""

    def __init__(self, **leaves: bytes) -> None:
        self.leaves = {name.replace("_", "-"): content for name, content in leaves.items()}

    def get(self, path: str) -> bytes | None:
        name = path.partition("meta-data/")[2] or path.partition("/")[2]
        return self.leaves.get(name.replace("_", "-"))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", b"x" * 5000, b"\x1b[31m"])
def test_what_is_no_text_is_an_error(content: bytes) -> None:
    with pytest.raises(DatasourceError, match="meta-data/instance-id: expected a line of text"):
        Ec2().fetch(Leaves(instance_id=content), Report())


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html>",
        b"<html><body>It works!</body></html>",
        b"OK",
        b"/",
        b"..",
        b"../../etc",
        b"i-1/../../x",
        b"i-1\nwelcome",
        b"i-1 2",
        b"-rf",
        b"i-" + b"1" * 200,
    ],
)
def test_what_is_no_instance_id_comes_from_no_metadata_service(content: bytes) -> None:
    with pytest.raises(DatasourceError, match="instance-id: is not a metadata service: expected"):
        Ec2().fetch(Leaves(instance_id=content), Report())


@pytest.mark.parametrize(
    "known",
    [
        "i-0123456789abcdef0",
        "i-0000002a",
        "srv-abcde",
        "4e97d73d-7f87-43ae-a72d-9c2d5c8ba8b5",
        "6d1c2b3a4f5e4d3c2b1a0f9e8d7c6b5a",
    ],
)
def test_each_clouds_instance_ids_are_taken(known: str) -> None:
    found = Ec2().fetch(Leaves(instance_id=known.encode()), Report())

    assert found is not None
    assert found.instance_id == known


@pytest.mark.parametrize(
    ("leaves", "keys", "place"),
    [
        ({"public-keys/": b"0=a\n1=b", "public-keys/0/openssh-key": b"A\n",
          "public-keys/1/openssh-key": b"B\nC\n"}, ("A", "B", "C"), None),
        ({"public-keys/": b"0=a", "public-keys/0/openssh-key": b""}, (), None),
        ({"public-keys/": b"0=a"}, (), "public-keys/0"),
        ({"public-keys/": b"../../user-data=x"}, (), "public-keys"),
        ({"public-keys/": "²=x".encode()}, (), "public-keys"),
        ({"public-keys/": b""}, (), None),
    ],
)  # fmt: skip
def test_keys_are_where_the_listing_says(
    leaves: Any, keys: tuple[str, ...], place: str | None
) -> None:
    report = Report()

    found = Ec2().fetch(Leaves(instance_id=b"i-1", **leaves), report)

    assert found is not None
    assert found.public_keys == keys
    assert [entry.place for entry in report.entries] == ([place] if place else [])


def test_a_launch_index_that_is_no_number_is_refused() -> None:
    report = Report()

    found = Ec2().fetch(Leaves(instance_id=b"i-1", ami_launch_index=b"first"), report)

    assert found is not None
    assert [entry.place for entry in report.entries] == ["ami-launch-index"]
