"""Nova's calls as python-novaclient and openstacksdk, both unmodified, make them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from keystoneauth1 import session, token_endpoint
from novaclient import client as novaclient
from novaclient import exceptions as nova_errors
from openstack import exceptions as sdk_errors

from metadata_server.server import Server

from ..conftest import Serve, serving
from .dialects import (
    GOOD,
    ID,
    IMAGE,
    ONE,
    OTHER,
    PROJECT,
    VPC,
    WINDOWS,
    as_guest,
    call,
    resets,
    served_meta,
)

# What openstacksdk says of its own ways, whatever it is asked.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def server(serve: Serve, key: rsa.RSAPrivateKey, tmp_path: Path) -> Server:
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    keys = [{"name": "mykey", "public_key": public.decode()}]
    return serve({**ONE, "keys": keys}, WINDOWS, OTHER, state=str(tmp_path / "state"))


@pytest.fixture
def nova(server: Server) -> Iterator[Any]:
    auth = token_endpoint.Token(f"{server.control_url}/v2.1/{PROJECT}", server.token)
    with KeystoneSession(auth) as made:
        yield novaclient.Client("2.1", session=made)


@pytest.fixture
def cloud(server: Server) -> Iterator[Any]:
    endpoint = f"{server.control_url}/v2.1/{PROJECT}"
    connection = openstack.connection.Connection(
        auth_type="admin_token",
        auth={"endpoint": endpoint, "token": server.token},
        compute_endpoint_override=endpoint,
    )
    with connection:
        yield connection


class KeystoneSession:
    """A keystone session that leaves no connection open."""

    def __init__(self, auth: Any) -> None:
        self._session = session.Session(auth=auth)

    def __enter__(self) -> Any:
        return self._session

    def __exit__(self, *_: object) -> None:
        self._session.session.close()


def test_servers_are_listed_and_shown(nova: Any) -> None:
    assert [each.name for each in nova.servers.list()] == ["ecs-ddd4", "win-1"]
    assert [each.name for each in nova.servers.list(search_opts={"all_tenants": 1})] == [
        "ecs-ddd4",
        "win-1",
        "other",
    ]
    assert [each.id for each in nova.servers.list(limit=1, detailed=False)] == [ID]
    assert [each.id for each in nova.servers.list(limit=-1)] == [ID, "win-1"]
    shown = nova.servers.get(ID)
    assert shown.status == "ACTIVE"
    assert shown.tenant_id == PROJECT
    assert shown.networks == {VPC: ["192.168.1.10", "100.100.1.2"]}
    assert shown.metadata["charging_mode"] == "0"
    assert shown.metadata["image_name"] == "CentOS 7.6 64bit"
    assert nova.servers.find(name="win-1").id == "win-1"


def test_metadata_that_is_changed_is_what_the_guest_reads(nova: Any, server: Server) -> None:
    nova.servers.set_meta(ID, {"role": "db", "tier": "1"})
    assert served_meta(server)["role"] == "db"

    nova.servers.set_meta_item(ID, "role", "web")
    nova.servers.delete_meta(ID, ["tier"])

    assert served_meta(server)["role"] == "web"
    assert "tier" not in served_meta(server)
    assert nova.servers.get(ID).metadata["role"] == "web"


def test_a_posted_password_is_got_deciphered_and_cleared(
    nova: Any, server: Server, key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    pem = tmp_path / "key.pem"
    pem.touch(0o600)
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    sealed = base64.b64encode(key.public_key().encrypt(b"Win.Passw0rd", padding.PKCS1v15()))
    assert as_guest(server, "/openstack/2013-04-04/password", sealed) == (200, b"")

    assert nova.servers.get_password(ID, str(pem)) == "Win.Passw0rd"
    assert nova.servers.get_password(ID) == sealed.decode()
    nova.servers.clear_password(ID)
    assert nova.servers.get_password(ID) == ""


def test_a_password_is_asked_for_hashed_and_never_kept(
    nova: Any, server: Server, tmp_path: Path
) -> None:
    nova.servers.change_password(ID, GOOD)
    nova.servers.change_password("win-1", GOOD)

    (asked,) = resets(server, ID)
    assert [asked[key] for key in ("user", "scheme", "apply", "state")] == [
        "root",
        "sha512",
        "both",
        "pending",
    ]
    (asked,) = resets(server, "win-1")
    assert asked["user"] == "Administrator"
    for path in (tmp_path / "state").iterdir():
        assert GOOD.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("server_id", "password", "reason"),
    [
        (ID, "short", "8 to 26 characters"),
        (ID, "Root.12345", "user name"),
        ("win-1", "Adm.12345!", "consecutive"),
        (ID, "Cloud 1234!", "special characters"),
        (ID, "", "1 to 1024"),
    ],
)
def test_a_password_that_breaks_a_rule_is_refused_in_words(
    nova: Any, server: Server, server_id: str, password: str, reason: str
) -> None:
    with pytest.raises(nova_errors.BadRequest) as refused:
        nova.servers.change_password(server_id, password)

    assert reason in str(refused.value)
    assert not password or password not in str(refused.value)
    assert refused.value.request_id.startswith("req-")
    assert resets(server, server_id) == []


def test_what_is_not_there_is_not_found(nova: Any) -> None:
    with pytest.raises(nova_errors.NotFound, match="Instance nope could not be found"):
        nova.servers.get("nope")
    with pytest.raises(nova_errors.NotFound, match="it is in another-project"):
        nova.servers.get("other")
    with pytest.raises(nova_errors.NotFound, match="Metadata item was not found"):
        nova.servers.delete_meta(ID, ["nope"])
    with pytest.raises(nova_errors.Forbidden, match="follows from the instance"):
        nova.servers.delete_meta(ID, ["metering.resourcetype"])
    with pytest.raises(nova_errors.BadRequest, match="There is no such action: reboot"):
        nova.servers.reboot(ID)


def test_a_wrong_token_is_refused_as_the_identity_service_does(server: Server) -> None:
    auth = token_endpoint.Token(f"{server.control_url}/v2.1", "wrong")
    with KeystoneSession(auth) as made, pytest.raises(nova_errors.Unauthorized):
        novaclient.Client("2.1", session=made).servers.list()


def test_servers_come_and_go(nova: Any, server: Server) -> None:
    made = nova.servers.create(
        "new",
        image=IMAGE,
        flavor="s6.large.2",
        meta={"role": "db", "agency_name": "my-agency"},
        userdata="#cloud-config\n{}",
        key_name="mykey",
        nics=[{"net-id": "5d0c", "v4-fixed-ip": "192.168.1.77"}],
    )

    shown = nova.servers.get(made.id)
    assert (shown.name, shown.flavor["id"], shown.key_name) == ("new", "s6.large.2", "mykey")
    assert shown.metadata["agency_name"] == "my-agency"
    instance = server.catalog.at("192.168.1.77")
    assert instance is not None
    assert instance.id == made.id
    assert instance.user_data is not None
    assert instance.user_data.reveal() == b"#cloud-config\n{}"
    nova.servers.delete(made.id)
    assert server.catalog.by_id(made.id) is None
    with pytest.raises(nova_errors.BadRequest, match="key_name: expected the key pair"):
        nova.servers.create("x", image="i", flavor="f", key_name="nope")
    with pytest.raises(nova_errors.BadRequest, match=r"192\.168\.1\.10 .*is taken"):
        nova.servers.create("x", image="i", flavor="f", nics=[{"v4-fixed-ip": "192.168.1.10"}])


def test_key_pairs_are_those_of_the_instances(nova: Any) -> None:
    (pair,) = nova.keypairs.list()

    assert (pair.name, pair.type) == ("mykey", "ssh")
    assert len(pair.fingerprint.split(":")) == 16
    assert nova.keypairs.get("mykey").public_key == pair.public_key
    with pytest.raises(nova_errors.NotFound):
        nova.keypairs.get("nope")


def test_openstacksdk_discovers_and_does_the_same(cloud: Any, server: Server) -> None:
    found = cloud.compute.get_server(ID)
    assert (found.name, found.status, found.flavor.name) == ("ecs-ddd4", "ACTIVE", "s3.medium.2")
    assert [each.name for each in cloud.compute.servers()] == ["ecs-ddd4", "win-1"]
    assert [each.name for each in cloud.compute.servers(limit=1)] == ["ecs-ddd4", "win-1"]

    cloud.compute.set_server_metadata(found, role="db")
    assert served_meta(server)["role"] == "db"
    cloud.compute.delete_server_metadata(found, ["role"])
    assert "role" not in cloud.compute.get_server_metadata(found).metadata
    cloud.compute.change_server_password(found, GOOD)
    assert cloud.compute.get_server_password(found) == ""
    cloud.compute.clear_server_password(found)
    assert [pair.name for pair in cloud.compute.keypairs()] == ["mykey"]
    assert len(resets(server, ID)) == 1
    with pytest.raises(sdk_errors.NotFoundException):
        cloud.compute.get_server("nope")
    with pytest.raises(sdk_errors.BadRequestException, match="8 to 26") as refused:
        cloud.compute.change_server_password(found, "short")
    assert refused.value.details


def test_versions_are_told_to_anyone_and_nothing_else_is(server: Server) -> None:
    for path in ("/v2.1", "/v2.1/"):
        status, document, _ = call(server, "GET", path, token="")
        assert status == 200
        version = document["version"]
        assert (version["id"], version["status"], version["min_version"]) == (
            "v2.1",
            "CURRENT",
            "2.1",
        )
        assert version["links"] == [{"rel": "self", "href": f"{server.control_url}/v2.1/"}]
    status, document, _ = call(server, "GET", "/", token="")
    assert status == 200
    assert [each["id"] for each in document["versions"]] == ["v2.0", "v2.1"]
    for path in ("/v2.1/servers", "/v2.1/x", "/v1", "/v2.1//", f"/v2.1/{PROJECT}"):
        assert call(server, "GET", path, token="")[0] == 401
    assert call(server, "POST", "/v2.1", token="")[0] == 401


def test_every_prefix_with_and_without_project_does(server: Server) -> None:
    for prefix in ("/v2.1", "/v2", "/v1"):
        for base in (prefix, f"{prefix}/{PROJECT}"):
            one = f"{base}/servers/{ID}"
            assert call(server, "GET", f"{one}/os-server-password")[:2] == (200, {"password": ""})
            assert call(server, "GET", one)[1]["server"]["id"] == ID
            assert call(server, "DELETE", f"{one}/os-server-password")[0] == 204
            status, _, _ = call(
                server, "POST", f"{one}/action", {"changePassword": {"adminPass": "no"}}
            )
            assert status == 400
        assert len(call(server, "GET", f"{prefix}/servers")[1]["servers"]) == 3
        assert call(server, "GET", f"{prefix}/nope/servers")[1] == {"servers": []}


def test_metadata_is_replaced_but_for_what_the_platform_adds(server: Server) -> None:
    path = f"/v2.1/servers/{ID}/metadata"

    status, document, _ = call(server, "PUT", path, {"metadata": {"only": "this"}})

    assert status == 200
    assert document["metadata"]["only"] == "this"
    assert "charging_mode" not in document["metadata"]
    assert document["metadata"]["os_type"] == "Linux"
    assert call(server, "GET", path)[1] == document
    assert call(server, "GET", path + "/only")[1] == {"meta": {"only": "this"}}
    assert call(server, "PUT", path + "/only", {"meta": {"only": "that"}})[1] == {
        "meta": {"only": "that"}
    }
    assert served_meta(server)["only"] == "that"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "name", "text"),
    [
        ("POST", "/metadata", {"metadata": {"k": 1}}, 400, "badRequest", "metadata.k: expected"),
        ("POST", "/metadata", {"metadata": {"k/": "v"}}, 400, "badRequest", "expected keys of"),
        ("POST", "/metadata", {"metadata": {"k": "v" * 256}}, 400, "badRequest", "at most 255"),
        ("POST", "/metadata", {}, 400, "badRequest", "metadata: expected an object of strings"),
        ("POST", "/metadata", [], 400, "badRequest", "expected a JSON object"),
        (
            "POST",
            "/metadata",
            {"metadata": {f"k{n}": "v" for n in range(129)}},
            403,
            "forbidden",
            "exceeds 128",
        ),
        ("PUT", "/metadata/k", {"meta": {"other": "v"}}, 400, "badRequest", "the one key"),
        ("GET", "/metadata/nope", None, 404, "itemNotFound", "Metadata item was not found"),
        ("PATCH", "", {}, 405, "badMethod", "expected DELETE, GET"),
        ("GET", "/nope", None, 404, "itemNotFound", "no such path"),
        ("POST", "/action", {"changePassword": {}}, 400, "badRequest", "expected the new"),
        ("POST", "/action", {"changePassword": "x"}, 400, "badRequest", "expected an object"),
        ("POST", "/action", {}, 400, "badRequest", "There is no such action"),
    ],
)
def test_errors_have_novas_shape(
    server: Server, method: str, path: str, body: object, status: int, name: str, text: str
) -> None:
    found, document, headers = call(server, method, f"/v2.1/servers/{ID}{path}", body)

    assert found == status
    assert [*document] == [name]
    assert document[name]["code"] == status
    assert text in document[name]["message"]
    assert headers["X-OpenStack-Request-Id"].startswith("req-")


def test_a_microversion_is_answered_in_kind(server: Server) -> None:
    def asked(value: str) -> tuple[int, str | None]:
        headers = {"OpenStack-API-Version": f"compute {value}"}
        status, _, got = call(server, "GET", "/v2.1/servers", headers=headers)
        return status, got.get("OpenStack-API-Version")

    assert asked("2.1") == (200, "compute 2.1")
    assert asked("latest") == (200, "compute 2.96")
    assert asked("2.97")[0] == 406
    assert asked("new")[0] == 400


def test_what_is_changed_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.touch(0o600)
    path.write_text(
        json.dumps(
            {
                "listen": ["127.0.0.1:0"],
                "control": {"listen": "127.0.0.1:0"},
                "state": str(tmp_path / "state"),
                "instances": [{**ONE, "identify": {"default": True}}],
            }
        )
    )
    with serving(path) as server:
        call(server, "POST", f"/v2.1/servers/{ID}/metadata", {"metadata": {"k": "v"}})
        _, made, _ = call(
            server, "POST", "/v2.1/servers", {"server": {"name": "new", "metadata": {"a": "b"}}}
        )

    with serving(path) as server:
        assert served_meta(server)["k"] == "v"
        _, shown, _ = call(server, "GET", f"/v2.1/servers/{made['server']['id']}")
        assert shown["server"]["metadata"]["a"] == "b"
