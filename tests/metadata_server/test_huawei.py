"""The platform's calls as huaweicloudsdkecs, unmodified and signing each request, makes them."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions import exceptions as errors
from huaweicloudsdkecs import v2 as ecs

from metadata_server.server import Server

from ..conftest import Serve
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

ACCESS, SECRET = "AKIDEXAMPLE", "sk-canary-0123456789"


@pytest.fixture
def server(serve: Serve, tmp_path: Path) -> Server:
    keys = tmp_path / "access-keys"
    keys.touch(0o600)
    keys.write_text(f"{ACCESS}:{SECRET}\n")
    control = {"listen": "127.0.0.1:0", "access_keys_file": str(keys)}
    return serve(ONE, WINDOWS, OTHER, control=control, state=str(tmp_path / "state"))


def client_of(server: Server, *, secret: str = SECRET, project: str = PROJECT) -> Any:
    credentials = BasicCredentials(ACCESS, secret, project)
    builder = ecs.EcsClient.new_builder().with_credentials(credentials)
    return builder.with_endpoints([server.control_url]).build()


@pytest.fixture
def client(server: Server) -> Any:
    return client_of(server)


def test_servers_are_listed_and_shown(client: Any) -> None:
    listed = client.list_servers_details(ecs.ListServersDetailsRequest())
    assert (listed.count, [each.id for each in listed.servers]) == (2, [ID, "win-1"])
    paged = client.list_servers_details(ecs.ListServersDetailsRequest(limit=1, offset=2))
    assert (paged.count, [each.id for each in paged.servers]) == (2, ["win-1"])
    for words in ({"name": "ddd"}, {"ip": "192.168"}, {"ip_eq": "100.100.1.2"}, {"server_id": ID}):
        found = client.list_servers_details(ecs.ListServersDetailsRequest(**words))
        assert [each.id for each in found.servers] == [ID], words
    none = client.list_servers_details(ecs.ListServersDetailsRequest(name="ü b&c=d+~*%"))
    assert none.servers == []
    newer = client.list_cloud_servers(ecs.ListCloudServersRequest(limit=1))
    assert [each.vm_state for each in newer.servers] == ["active"]
    assert len(newer.servers_links) == 1

    shown = client.show_server(ecs.ShowServerRequest(server_id=ID)).server

    assert (shown.name, shown.status, shown.flavor.id) == ("ecs-ddd4", "ACTIVE", "s3.medium.2")
    assert (shown.image.id, shown.enterprise_project_id) == (IMAGE, "0")
    assert [(each.addr, each.os_ext_ip_stype) for each in shown.addresses[VPC]] == [
        ("192.168.1.10", "fixed"),
        ("100.100.1.2", "floating"),
    ]
    assert shown.metadata["charging_mode"] == "0"


def test_a_password_is_reset_for_the_next_start(
    client: Any, server: Server, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def reset(server_id: str, password: str, *, checked: bool | None = None) -> Any:
        option = ecs.ResetServerPasswordOption(new_password=password, is_check_password=checked)
        body = ecs.ResetServerPasswordRequestBody(reset_password=option)
        return client.reset_server_password(
            ecs.ResetServerPasswordRequest(server_id=server_id, body=body)
        )

    with caplog.at_level("DEBUG", logger="metadata_server"):
        assert reset(ID, GOOD).status_code == 204
        assert reset("win-1", "simple", checked=False).status_code == 204

    (asked,) = resets(server, ID)
    assert [asked[key] for key in ("user", "apply", "state")] == ["root", "boot", "pending"]
    assert [each["user"] for each in resets(server, "win-1")] == ["Administrator"]
    with pytest.raises(errors.ClientRequestException) as refused:
        reset(ID, "simple")
    assert (refused.value.status_code, refused.value.error_code) == (400, "Ecs.0011")
    assert "8 to 26 characters" in refused.value.error_msg
    assert refused.value.request_id.startswith("req-")
    line = next(each for each in caplog.messages if f"instance={ID}" in each)
    assert line.startswith(f"key:{ACCESS} from=127.0.0.1 PUT ")
    assert GOOD not in caplog.text
    for path in (tmp_path / "state").iterdir():
        assert GOOD.encode() not in path.read_bytes(), path


def test_passwords_of_many_are_reset_all_or_none(client: Any, server: Server) -> None:
    def reset(password: str, *ids: str, dry_run: bool = False) -> list[str]:
        servers = [ecs.ServerId(id=each) for each in ids]
        body = ecs.BatchResetServersPasswordRequestBody(
            new_password=password, dry_run=dry_run, servers=servers
        )
        answer = client.batch_reset_servers_password(
            ecs.BatchResetServersPasswordRequest(body=body)
        )
        return [each.id for each in answer.response]

    assert reset(GOOD, ID, "win-1", dry_run=True) == [ID, "win-1"]
    for password, ids, code in (
        (GOOD, (ID, "nope"), "Ecs.0114"),
        (GOOD, (ID, "other"), "Ecs.0114"),
        ("Adm.12345!", (ID, "win-1"), "Ecs.0011"),
        (GOOD, (), "Ecs.0005"),
    ):
        with pytest.raises(errors.ClientRequestException) as refused:
            reset(password, *ids)
        assert refused.value.error_code == code
    assert resets(server, ID) == []
    assert reset(GOOD, ID, "win-1") == [ID, "win-1"]
    assert len(resets(server, ID)) == len(resets(server, "win-1")) == 1


def test_the_flag_says_whether_the_daemon_ever_enrolled(client: Any) -> None:
    flag = client.show_reset_password_flag(ecs.ShowResetPasswordFlagRequest(server_id=ID))

    assert flag.resetpwd_flag == "False"


def test_a_posted_password_is_shown_and_deleted(client: Any, server: Server) -> None:
    as_guest(server, "/openstack/2013-04-04/password", b"c2VhbGVk")

    def shown() -> str:
        answer = client.show_server_password(ecs.ShowServerPasswordRequest(server_id=ID))
        return str(answer.password)

    assert shown() == "c2VhbGVk"
    deleted = client.delete_server_password(ecs.DeleteServerPasswordRequest(server_id=ID))
    assert deleted.status_code == 204
    assert shown() == ""


def test_metadata_is_what_the_guest_reads_and_agency_name_is_its_agency(
    client: Any, server: Server
) -> None:
    def update(**metadata: str) -> dict[str, str]:
        body = ecs.UpdateServerMetadataRequestBody(metadata=metadata)
        request = ecs.UpdateServerMetadataRequest(server_id=ID, body=body)
        found: dict[str, str] = client.update_server_metadata(request).metadata
        return found

    def delete(key: str) -> int:
        request = ecs.DeleteServerMetadataRequest(key=key, server_id=ID)
        return int(client.delete_server_metadata(request).status_code)

    assert as_guest(server, "/openstack/latest/securitykey")[0] == 401
    assert update(role="db", agency_name="my-agency")["role"] == "db"
    assert served_meta(server)["role"] == "db"
    assert "agency_name" not in served_meta(server)
    assert as_guest(server, "/openstack/latest/securitykey")[0] == 200
    shown = client.show_server(ecs.ShowServerRequest(server_id=ID)).server
    assert shown.metadata["agency_name"] == "my-agency"

    assert delete("agency_name") == 204
    assert delete("role") == 204

    assert as_guest(server, "/openstack/latest/securitykey")[0] == 401
    assert "role" not in served_meta(server)
    for key, code in (("nope", "Ecs.0114"), ("os_type", "Ecs.0003")):
        with pytest.raises(errors.ClientRequestException) as refused:
            delete(key)
        assert refused.value.error_code == code


def test_metadata_options_rule_what_the_guest_gets(client: Any, server: Server) -> None:
    def options() -> tuple[str, str]:
        shown = client.show_metadata_options(ecs.ShowMetadataOptionsRequest(server_id=ID))
        return shown.http_endpoint, shown.http_tokens

    def update(**words: str) -> int:
        body = ecs.UpdateServerMetadataOptionsRequestBody(**words)
        request = ecs.UpdateMetadataOptionsRequest(server_id=ID, body=body)
        return int(client.update_metadata_options(request).status_code)

    path = "/openstack/latest/meta_data.json"
    assert options() == ("enabled", "optional")

    assert update(http_tokens="required") == 204
    assert options() == ("enabled", "required")
    assert as_guest(server, path)[0] == 401
    assert update(http_endpoint="disabled", http_tokens="optional") == 204
    assert as_guest(server, path)[0] != 200
    assert update(http_endpoint="enabled") == 204
    assert as_guest(server, path)[0] == 200
    with pytest.raises(errors.ClientRequestException, match="expected one of 'optional'"):
        update(http_tokens="maybe")


def order(**words: Any) -> Any:
    return ecs.CreateServersRequest(
        body=ecs.CreateServersRequestBody(
            dry_run=words.pop("dry_run", None),
            server=ecs.PrePaidServer(
                image_ref=IMAGE,
                flavor_ref="s6.large.2",
                vpcid=VPC,
                nics=words.pop("nics", [ecs.PrePaidServerNic(subnet_id="net-1")]),
                root_volume=ecs.PrePaidServerRootVolume(volumetype="SSD"),
                **words,
            ),
        )
    )


def test_servers_are_created_and_deleted(client: Any, server: Server) -> None:
    made = client.create_servers(
        order(
            name="new",
            count=2,
            user_data=base64.b64encode(b"#cloud-config\n{}").decode(),
            metadata={"agency_name": "my-agency"},
            server_tags=[ecs.PrePaidServerTag(key="team", value="a")],
            extendparam=ecs.PrePaidServerExtendParam(
                charging_mode="0", enterprise_project_id="ep", market_type="spot", spot_price="1"
            ),
            metadata_options=ecs.UpdateServerMetadataOptionsRequestBody(http_tokens="required"),
        )
    )

    assert len(made.server_ids) == 2
    job = client.show_job(ecs.ShowJobRequest(job_id=made.job_id))
    assert (job.status, job.entities.sub_jobs_total) == ("SUCCESS", 2)
    first, second = (server.catalog.by_id(each) for each in made.server_ids)
    assert first is not None
    assert second is not None
    assert [first.name, second.name] == ["new-0001", "new-0002"]
    assert [first.launch_index, second.launch_index] == [0, 1]
    assert (first.project_id, first.enterprise_project_id) == (PROJECT, "ep")
    assert first.agency is not None
    assert first.spot is not None
    assert (first.agency.name, first.spot.price, first.tags) == ("my-agency", "1", {"team": "a"})
    assert first.metadata_options.http_tokens == "required"
    assert first.user_data is not None
    assert first.user_data.reveal() == b"#cloud-config\n{}"
    body = ecs.DeleteServersRequestBody(servers=[ecs.ServerId(id=i) for i in made.server_ids])
    gone = client.delete_servers(ecs.DeleteServersRequest(body=body))
    assert client.show_job(ecs.ShowJobRequest(job_id=gone.job_id)).job_type == "deleteServer"
    assert [each.id for each in server.catalog.all()] == [ID, "win-1", "other"]
    with pytest.raises(errors.ClientRequestException):
        client.delete_servers(ecs.DeleteServersRequest(body=body))


def test_a_created_server_has_its_password_hashed(client: Any, server: Server) -> None:
    request = ecs.CreatePostPaidServersRequest(
        body=ecs.CreatePostPaidServersRequestBody(
            server=ecs.PostPaidServer(
                name="new",
                image_ref=IMAGE,
                flavor_ref="s6.large.2",
                vpcid=VPC,
                admin_pass=GOOD,
                nics=[ecs.PostPaidServerNic(subnet_id="net-1", ip_address="10.0.0.7")],
                root_volume=ecs.PostPaidServerRootVolume(volumetype="SSD"),
            )
        )
    )

    (made,) = client.create_post_paid_servers(request).server_ids

    instance = server.catalog.by_id(made)
    assert instance is not None
    assert instance.password_hash is not None
    assert instance.password_hash.reveal().startswith(b"$6$")
    assert instance.login_mode == "password"
    assert server.catalog.at("10.0.0.7") == instance


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ({"name": "new", "admin_pass": "simple"}, "Ecs.0011", "8 to 26 characters"),
        ({"name": "bad name"}, "Ecs.0005", "name: expected up to 64"),
        ({"name": "new", "key_name": "nope"}, "Ecs.0005", "server.key_name: expected the key"),
        ({"name": "new", "user_data": "!"}, "Ecs.0005", "user_data_base64: expected base64"),
        ({"name": "new", "count": 0}, "Ecs.0005", "server.count: expected a whole number"),
        (
            {"name": "new", "nics": [ecs.PrePaidServerNic("n", ip_address="192.168.1.10")]},
            "Ecs.0005",
            f"192.168.1.10 is taken by instance {ID}",
        ),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_cannot_be_created_is_refused_with_its_place(
    client: Any, server: Server, words: dict[str, Any], code: str, text: str, dry_run: bool
) -> None:
    with pytest.raises(errors.ClientRequestException) as refused:
        client.create_servers(order(dry_run=dry_run, **words))

    assert (refused.value.status_code, refused.value.error_code) == (400, code)
    assert text in refused.value.error_msg
    assert len(server.catalog.all()) == 3


def test_a_dry_run_creates_nothing(client: Any, server: Server) -> None:
    answer = client.create_servers(order(name="new", dry_run=True))

    assert answer.status_code == 202
    assert len(server.catalog.all()) == 3


def test_a_maintenance_is_a_scheduled_event_that_can_be_moved(client: Any, server: Server) -> None:
    def listed(**words: Any) -> list[Any]:
        answer = client.list_scheduled_events(ecs.ListScheduledEventsRequest(**words))
        return list(answer.events)

    def accept(event: str, time: str | None = None) -> int:
        body = ecs.ScheduledEventAcceptBody(not_before=time)
        request = ecs.AcceptScheduledEventRequest(id=event, body=body)
        return int(client.accept_scheduled_event(request).status_code)

    def update(event: str, time: str) -> int:
        body = ecs.ScheduledEventUpdateBody(not_before=time)
        request = ecs.UpdateScheduledEventRequest(id=event, body=body)
        return int(client.update_scheduled_event(request).status_code)

    assert listed() == []
    asked = {"at": "2130-01-01T00:00:00Z", "code": "system-reboot", "deadline": "365d"}
    call(server, "POST", "/linklocal/v1/events", {"instances": [ID, "other"], "maintenance": asked})

    (event,) = listed()
    assert (event.instance_id, event.type, event.state) == (ID, "system-reboot", "scheduled")
    assert event.not_before == "2130-01-01T00:00:00Z"
    assert listed(state=["completed"]) == listed(instance_id=["win-1"]) == []
    assert len(listed(instance_id=[ID], type=["system-reboot"], limit=1)) == 1
    assert accept(event.id) == 204
    soon = (datetime.now(timezone.utc) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert update(event.id, soon) == 204
    assert listed()[0].not_before == soon
    told = json.loads(as_guest(server, "/latest/meta-data/events/maintenance/scheduled")[1])
    assert told[0]["NotBefore"].endswith(f"{soon[11:19]} GMT")
    for event_id, time, reason in (
        ("e", soon, "no such scheduled event"),
        (event.id, "2130-01-01T00:00:00Z", "expected no later than"),
        (event.id, "2020-01-01T00:00:00Z", "expected a time that is not over"),
        (event.id, "soon", "expected a time such as"),
    ):
        with pytest.raises(errors.ClientRequestException, match=reason):
            update(event_id, time)


def test_an_end_by_the_clock_is_set_shown_and_taken_back(client: Any) -> None:
    def set_end(time: str) -> int:
        body = ecs.UpdateServerAutoTerminateTimeRequestBody(auto_terminate_time=time)
        request = ecs.UpdateServerAutoTerminateTimeRequest(server_id=ID, body=body)
        return int(client.update_server_auto_terminate_time(request).status_code)

    def shown() -> str:
        server = client.show_server(ecs.ShowServerRequest(server_id=ID)).server
        return str(server.auto_terminate_time)

    assert set_end("2130-01-19T03:30:52Z") == 204
    assert shown() == "2130-01-19T03:30:52Z"
    for time in ("2020-01-19T03:30:52Z", "2130-02-30T00:00:00Z", "soon"):
        with pytest.raises(errors.ClientRequestException, match="auto_terminate_time: expected"):
            set_end(time)
    assert shown() == "2130-01-19T03:30:52Z"
    assert set_end("") == 204
    assert shown() == ""
    assert set_end("2130-01-19T03:30:52Z") == 204


def test_a_server_is_created_with_its_end(client: Any, server: Server) -> None:
    request = order(name="new", auto_terminate_time="2130-01-19T03:30:52Z")

    (made,) = client.create_servers(request).server_ids

    instance = server.catalog.by_id(made)
    assert instance is not None
    assert instance.auto_terminate_time == "2130-01-19T03:30:52Z"


@pytest.mark.filterwarnings("ignore:Method 'nova_:DeprecationWarning")
def test_novas_calls_of_the_sdk_do_too(client: Any) -> None:
    shown = client.nova_show_server(ecs.NovaShowServerRequest(server_id=ID)).server
    assert shown.name == "ecs-ddd4"
    listed = client.nova_list_servers_details(ecs.NovaListServersDetailsRequest())
    assert [each.id for each in listed.servers] == [ID, "win-1"]
    assert client.nova_list_keypairs(ecs.NovaListKeypairsRequest()).keypairs == []
    versions = client.nova_list_versions(ecs.NovaListVersionsRequest()).versions
    assert [each.id for each in versions] == ["v2.0", "v2.1"]
    with pytest.raises(errors.ClientRequestException) as refused:
        client.nova_show_server(ecs.NovaShowServerRequest(server_id="nope"))
    assert (refused.value.status_code, refused.value.error_code) == (404, 404)


def test_who_does_not_know_the_secret_is_refused(server: Server) -> None:
    with pytest.raises(errors.ClientRequestException) as refused:
        client_of(server, secret="wrong").show_server(ecs.ShowServerRequest(server_id=ID))

    assert (refused.value.status_code, refused.value.error_code) == (401, "APIGW.0301")


def test_another_project_has_other_servers(server: Server) -> None:
    client = client_of(server, project="another-project")

    listed = client.list_servers_details(ecs.ListServersDetailsRequest())

    assert [each.id for each in listed.servers] == ["other"]
    with pytest.raises(errors.ClientRequestException, match=f"it is in {PROJECT}"):
        client.show_server(ecs.ShowServerRequest(server_id=ID))


def test_every_prefix_with_and_without_project_does(server: Server) -> None:
    wrong = {"reset-password": {"new_password": "no"}}
    for prefix in ("/v1", "/v1.1", "/v2", "/v2.1"):
        for base in (prefix, f"{prefix}/{PROJECT}"):
            one = f"{base}/cloudservers/{ID}"
            assert call(server, "GET", one)[1]["server"]["id"] == ID
            assert call(server, "GET", f"{one}/os-resetpwd-flag")[1] == {"resetpwd_flag": "False"}
            assert call(server, "GET", f"{one}/os-server-password")[1] == {"password": ""}
            assert call(server, "PUT", f"{one}/os-reset-password", wrong)[0] == 400
            native = f"{base}/servers/{ID}"
            assert call(server, "PUT", f"{native}/os-reset-password", wrong)[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/cloudservers/nope", None, 404, "Ecs.0114"),
        ("GET", "/cloudservers/os-server-groups", None, 404, "APIGW.0101"),
        ("GET", "/nope", None, 404, "APIGW.0101"),
        ("PATCH", f"/cloudservers/{ID}", {}, 405, "405 Method Not Allowed"),
        ("PUT", f"/cloudservers/{ID}/os-reset-password", {}, 400, "Ecs.0005"),
        ("PUT", f"/cloudservers/{ID}/os-reset-password", [1], 400, "Ecs.0005"),
        ("PUT", f"/cloudservers/{ID}/metadata-options", {"http_tokenz": "x"}, 400, "Ecs.0005"),
        ("POST", "/cloudservers", {"server": {}}, 400, "Ecs.0005"),
        ("POST", "/cloudservers/delete", {"servers": [{"id": "nope"}]}, 404, "Ecs.0114"),
        ("GET", "/cloudservers/detail?limit=-1", None, 400, "Ecs.0005"),
        ("GET", "/jobs/nope", None, 404, "Ecs.0114"),
    ],
)
def test_errors_have_the_platforms_shape(
    server: Server, method: str, path: str, body: object, status: int, code: str
) -> None:
    found, document, headers = call(server, method, f"/v1/{PROJECT}{path}", body)

    assert found == status
    shown = document.get("error", document)
    assert code in (shown.get("code"), shown.get("error_code"))
    assert shown.get("message") or shown.get("error_msg")
    assert headers["X-Request-Id"].startswith("req-")
