"""A boot on a directory root: what is done, what is done twice, and what the status says of it."""

from __future__ import annotations

import json
import socket
import stat
import time
from typing import Any

import pytest

from agent.boot import Wishes, boot
from agent.host import Host
from agent.modules.base import Stage
from agent.plan import Plan
from agent.secret import Secret
from agent.status import Status, troubles

from ..conftest import Serve
from ..guests.directory import DirectoryGuest
from .loopback import ok, replies, request, serving, status
from .test_openstack import ID, INSTANCE
from .test_parts import message

OTHER_ID = "72a270de-665a-4f46-8d64-24ad6edccdd1"
MOTD = """#cloud-config
write_files:
- {path: /etc/motd, content: "served\\n"}
"""
NOTHING = Wishes()


def start(guest: DirectoryGuest, wishes: Wishes) -> Status:
    return boot(Host(guest.root), wishes)


def given(user_data: str | bytes, **more: Any) -> Wishes:
    content = user_data.encode() if isinstance(user_data, str) else user_data
    return Wishes(user_data=Secret(content), **more)


def told(guest: DirectoryGuest) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(guest.read("/run/linklocal/status.json"))
    return record


def modules(record: dict[str, Any]) -> dict[str, str]:
    return {row["name"]: row["result"] for row in record["modules"]}


@pytest.mark.parametrize("datasource", ["openstack", "ec2", None])
def test_a_guest_is_made_what_its_user_data_asks_for(
    serve: Serve, guest_root: DirectoryGuest, datasource: str | None
) -> None:
    url = serve({**INSTANCE, "vendor_data": {}, "user_data": MOTD}).guest_url

    start(guest_root, Wishes(metadata_url=url, datasource=datasource))

    record = told(guest_root)
    assert guest_root.text("/etc/motd") == "served\n"
    assert (record["status"], record["detail"]) == ("done", "")
    assert record["datasource"] == (datasource or "openstack")
    assert [row["name"] for row in record["stages"]] == ["local", "network", "config", "final"]
    assert {row["status"] for row in record["stages"]} == {"done"}
    assert record["parts"] == [{"place": "part-001", "type": "text/cloud-config", "result": "done"}]
    assert record["stage"] is None
    assert record["finished"] >= record["started"]


def test_files_of_the_agent_are_as_private_as_they_must_be(guest_root: DirectoryGuest) -> None:
    start(guest_root, given("#!/bin/sh\necho hunter2\n"))

    assert guest_root.stat("/run/linklocal/status.json").mode == 0o644
    assert guest_root.stat("/var/lib/linklocal/agent").mode == 0o700
    for path in guest_root.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert b"hunter2" not in path.read_bytes(), path


def test_a_second_boot_does_nothing_twice(guest_root: DirectoryGuest) -> None:
    start(guest_root, given(MOTD))
    guest_root.write("/etc/motd", b"changed by its owner\n")

    start(guest_root, given(MOTD))

    assert guest_root.text("/etc/motd") == "changed by its owner\n"
    assert modules(told(guest_root))["write_files"] == "ran before"
    assert told(guest_root)["status"] == "done"


OWNED = """#cloud-config
users: [alice]
write_files:
- {path: /etc/hers, owner: 'alice:alice', permissions: '0600', content: hers}
- {path: /etc/nobodys, owner: bob, content: x}
- {path: /etc/debian_version, owner: alice, content: x}
"""


def test_a_file_waits_for_its_owner_until_users_are_made(guest_root: DirectoryGuest) -> None:
    before = guest_root.read("/etc/debian_version")

    start(guest_root, given(OWNED))

    entries = [
        (entry["result"], entry["place"])
        for row in told(guest_root)["modules"]
        for entry in row["entries"]
    ]
    assert guest_root.text("/etc/hers") == "hers"
    assert str(guest_root.stat("/etc/hers").uid) == guest_root.field("/etc/passwd", "alice", 2)
    assert ("notice", "write_files /etc/hers") in entries
    assert ("failed", "write_files /etc/hers") not in entries
    # Nobody knows whether what is there already is another's to wait for.
    assert ("failed", "write_files /etc/debian_version") in entries
    assert guest_root.read("/etc/debian_version") == before
    assert ("failed", "write_files /etc/nobodys") in entries
    assert not guest_root.exists("/etc/nobodys")


def test_a_file_that_was_written_and_removed_does_not_come_again(
    guest_root: DirectoryGuest,
) -> None:
    text = "#cloud-config\nwrite_files: [{path: /etc/gone, owner: 'daemon:daemon'}]\n"
    start(guest_root, given(text, stages=(Stage.NETWORK,)))
    guest_root.path("/etc/gone").unlink()

    start(guest_root, given(text, stages=(Stage.FINAL,)))

    assert not guest_root.exists("/etc/gone")


def test_a_plan_has_the_file_that_waits_for_its_owner(guest_root: DirectoryGuest) -> None:
    plan = Plan(Host(guest_root.root))

    boot(plan, given(OWNED))

    (effect,) = (effect for effect in plan.effects if effect.target == "/etc/hers")
    assert effect.cause == "write_files_deferred"


def test_a_new_instance_id_does_everything_again(guest_root: DirectoryGuest) -> None:
    start(guest_root, given(MOTD, instance_id="one"))
    guest_root.write("/etc/motd", b"of the image\n")

    start(guest_root, given(MOTD, instance_id="two"))

    assert guest_root.text("/etc/motd") == "served\n"
    assert told(guest_root)["instance_id"] == "two"


@pytest.mark.parametrize("name", ["../../../etc", ".", "a/b", "i" * 5000, "ümläut", " "])
def test_an_instance_id_is_never_a_path(guest_root: DirectoryGuest, name: str) -> None:
    start(guest_root, given(MOTD, instance_id=name))

    (directory,) = guest_root.names("/var/lib/linklocal/agent/instances")
    below = guest_root.names(f"/var/lib/linklocal/agent/instances/{directory}")
    assert below == ["marks", "scripts"]
    assert told(guest_root)["instance_id"] == name


def test_a_bad_part_stands_among_good_ones(guest_root: DirectoryGuest) -> None:
    content = message(
        ('Content-Type: text/cloud-config; name="bad"', b"write_files: [hunter2"),
        ('X: y; name="good"', MOTD.encode()),
        ("X: y", b"a letter"),
        ("X: y", b"#include file:///etc/shadow\n"),
        ("X: y", b"rem cmd\n"),
    )

    start(guest_root, given(content))

    record = told(guest_root)
    assert guest_root.text("/etc/motd") == "served\n"
    assert (record["status"], record["degraded"]) == ("done", True)
    assert [part["result"] for part in record["parts"]] == [
        "refused", "done", "refused", "refused", "not run",
    ]  # fmt: skip
    assert record["parts"][0]["detail"].startswith("line ")
    assert "expected a URL of http or https" in record["parts"][3]["detail"]
    assert "hunter2" not in json.dumps(record)


def test_a_failed_module_does_not_stop_the_boot(guest_root: DirectoryGuest) -> None:
    guest_root.write("/opt/below", b"so that /opt is no file")
    files = "- {path: /opt, content: x}\n- {path: /etc/other, content: x}\n"
    user_data = f"#cloud-config\ntimezone: No/Where\nfqdn: a.example.org\nwrite_files:\n{files}"

    start(guest_root, given(user_data))

    record = told(guest_root)
    assert guest_root.text("/etc/hostname") == "a\n"
    assert guest_root.text("/etc/other") == "x"
    assert (record["status"], record["degraded"]) == ("done", True)
    assert any("/opt" in line for line in troubles(record))
    assert any("timezone" in line for line in troubles(record))


def test_a_failed_module_is_tried_again_at_the_next_boot(guest_root: DirectoryGuest) -> None:
    user_data = given("#cloud-config\ntimezone: Mars/Olympus\n")
    start(guest_root, user_data)
    assert modules(told(guest_root))["timezone"] == "failed"
    assert told(guest_root)["degraded"]

    guest_root.write("/usr/share/zoneinfo/Mars/Olympus", b"TZif2")
    start(guest_root, user_data)

    assert modules(told(guest_root))["timezone"] == "done"


def test_scripts_have_their_turn_once_even_where_they_cannot_run(
    guest_root: DirectoryGuest,
) -> None:
    start(guest_root, given("#!/bin/sh\nexit\n"))
    first = told(guest_root)
    start(guest_root, given("#!/bin/sh\nexit\n"))

    # A directory without /bin/sh: what was not run is said, and is not run later by surprise.
    assert first["parts"][0]["result"] == "not run"
    assert first["detail"] == "part-001: not run: programs cannot be run here"
    assert modules(told(guest_root))["scripts"] == "ran before"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("write_file: []", "unknown key, nearest is 'write_files'"),
        ("lxd: {}", "not applied by this version"),
        ("chef: {}", "not applied by this version"),
        ("qqqq: 1", "unknown key"),
    ],
)
def test_a_key_nobody_reads_is_a_warning(guest_root: DirectoryGuest, key: str, words: str) -> None:
    start(guest_root, given(f"#cloud-config\n{key}\n"))

    assert told(guest_root)["entries"] == [
        {"place": key.partition(":")[0], "result": "warning", "detail": words}
    ]
    assert told(guest_root)["degraded"]


def test_a_strict_agent_applies_no_section_with_mistakes(guest_root: DirectoryGuest) -> None:
    guest_root.write("/etc/linklocal/agent.yaml", b"strict: true\n")

    start(guest_root, given(MOTD + "- {path: /etc/x, mode: '0600'}\n"))

    assert modules(told(guest_root))["write_files"] == "failed"
    assert not guest_root.exists("/etc/x")


def test_layers_below_the_user_are_taken(guest_root: DirectoryGuest) -> None:
    guest_root.write("/etc/linklocal/agent.yaml", b"cloud_config: {fqdn: a.b, timezone: Etc/UTC}\n")
    guest_root.write("/etc/linklocal/cloud-config.d/10.yaml", b"fqdn: from.drop-in\n")
    guest_root.write("/etc/linklocal/cloud-config.d/20.yaml", b"fqdn: [\n")
    guest_root.write("/etc/linklocal/cloud-config.d/README", b"not read")

    start(guest_root, given("#cloud-config\n{}\n"))

    assert guest_root.text("/etc/hostname") == "from\n"
    assert modules(told(guest_root))["timezone"] in ("done", "failed")
    assert [entry["place"] for entry in told(guest_root)["entries"]] == [
        "/etc/linklocal/cloud-config.d/20.yaml"
    ]


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (b"datasource: vmware\n", "configdrive, nocloud, got 'vmware'"),
        (b"datasource: [openstack, azure]\n", "configdrive, nocloud, got 'azure'"),
        (b"metadata_urls: [\n", "/etc/linklocal/agent.yaml: line"),
        (b"- a\n", "/etc/linklocal/agent.yaml: expected a mapping"),
        (b"datasource: ec2\nmetadata_urls: ['http://metadata.example']\n", "a literal address"),
    ],
)
def test_a_configuration_that_cannot_be_followed_fails_the_boot(
    guest_root: DirectoryGuest, text: bytes, detail: str
) -> None:
    guest_root.write("/etc/linklocal/agent.yaml", text)

    start(guest_root, NOTHING)

    assert told(guest_root)["status"] == "failed"
    assert detail in told(guest_root)["detail"]


def test_a_misspelt_setting_is_a_warning(guest_root: DirectoryGuest) -> None:
    guest_root.write("/etc/linklocal/agent.yaml", b"datasources: openstack\n")

    start(guest_root, NOTHING)

    (entry,) = told(guest_root)["entries"]
    assert entry["result"] == "warning"
    assert "datasource" in entry["detail"]


def test_a_machine_without_a_datasource_says_so_and_asks_nobody(
    guest_root: DirectoryGuest,
) -> None:
    record = start(guest_root, NOTHING).record

    assert (record["status"], record["degraded"]) == ("done", False)
    assert record["detail"].startswith("no datasource: ")
    assert record["modules"] == []
    assert not guest_root.exists("/var/lib/linklocal")


def silent(connection: socket.socket, number: int) -> None:
    request(connection)
    connection.recv(1)


def slow(connection: socket.socket, number: int) -> None:
    request(connection)
    for byte in ok(b"{}"):
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def half(connection: socket.socket, number: int) -> None:
    request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}")


GAVE_UP = "; gave up after "
MISBEHAVIOUR = {
    "silent": (silent, "no answer in time" + GAVE_UP),
    "slow": (slow, "answer in time" + GAVE_UP),
    "half-closed": (half, "closed before the answer was whole" + GAVE_UP),
    "nothing there": (replies(*[status(404)] * 99), "no metadata service found; tried openstack"),
    "broken": (replies(*[status(500)] * 99), "status 500" + GAVE_UP),
    "busy": (replies(*[status(503, "Retry-After: 9")] * 99), "status 503" + GAVE_UP),
    "redirecting": (replies(status(301, "Location: http://10.0.0.1/")), "which is not followed"),
    "a web server": (replies(ok(b"<html>It works!</html>")), "is not a metadata service"),
    "no HTTP": (replies(b"SSH-2.0-OpenSSH_9.2\r\n"), "not an HTTP answer"),
    "no JSON": (replies(ok(b"OK")), "meta_data.json: not JSON"),
}


@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_a_service_that_is_no_use_fails_the_boot_in_bounded_time(
    guest_root: DirectoryGuest, what: str
) -> None:
    answer, words = MISBEHAVIOUR[what]
    settings = b"timeout: 0.1\ndeadline: 0.3\nretry_pause: 0.01\n"
    guest_root.write("/etc/linklocal/agent.yaml", settings)
    with serving(answer) as url:
        start(guest_root, Wishes(metadata_url=url, datasource="openstack"))

    record = told(guest_root)
    assert record["status"] == "failed"
    assert words in record["detail"]
    assert [row["status"] for row in record["stages"]] == ["done", "failed"]
    assert record["finished"] - record["started"] < 10


def test_a_service_that_is_mute_is_not_asked_by_every_name(guest_root: DirectoryGuest) -> None:
    asked: list[int] = []

    def mute(connection: socket.socket, number: int) -> None:
        asked.append(number)
        silent(connection, number)

    with serving(mute) as url:
        settings = f"datasource: [openstack, ec2]\nmetadata_urls: ['{url}']\n"
        waits = "timeout: 0.3\ndeadline: 0.3\nretry_pause: 1\n"
        guest_root.write("/etc/linklocal/agent.yaml", (settings + waits).encode())

        start(guest_root, NOTHING)

    words = "no metadata service found; tried openstack, ec2; GET "
    assert told(guest_root)["detail"].startswith(words)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("product", "uuid", "warned"),
    [
        ("OpenStack Nova", ID, False),
        ("OpenStack Nova", OTHER_ID, True),
        ("OpenStack Nova", "", False),
        # Its own number is of the hardware.
        ("PowerEdge R640", OTHER_ID, False),
    ],
)
def test_a_service_that_answers_for_another_instance_is_a_warning(
    serve: Serve, guest_root: DirectoryGuest, product: str, uuid: str, warned: bool
) -> None:
    url = serve({**INSTANCE, "vendor_data": {}, "user_data": MOTD}).guest_url
    guest_root.write("/sys/class/dmi/id/product_name", product.encode())
    guest_root.write("/sys/class/dmi/id/product_uuid", uuid.encode())

    start(guest_root, Wishes(metadata_url=url, datasource="openstack"))

    record = told(guest_root)
    assert record["degraded"] is warned
    if warned:
        detail = f"the service answered for {ID}, the firmware says {OTHER_ID}"
        assert [entry["detail"] for entry in record["entries"]] == [detail]


def test_the_second_address_is_asked_when_the_first_is_silent(
    serve: Serve, guest_root: DirectoryGuest
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    url = serve({**INSTANCE, "user_data": MOTD}).guest_url
    guest_root.write(
        "/etc/linklocal/agent.yaml",
        f"datasource: openstack\nmetadata_urls: ['http://127.0.0.1:{nobody}', '{url}']\n"
        "deadline: 0.2\n".encode(),
    )

    start(guest_root, NOTHING)

    assert guest_root.text("/etc/motd") == "served\n"


def test_stages_may_be_processes_of_their_own(serve: Serve, guest_root: DirectoryGuest) -> None:
    user_data = MOTD + "timezone: Etc/UTC\nqqqq: 1\n"
    url = serve({**INSTANCE, "vendor_data": {}, "user_data": user_data}).guest_url
    settings = f"datasource: openstack\nmetadata_urls: ['{url}']\ncolour: red\n".encode()
    guest_root.write("/etc/linklocal/agent.yaml", settings)
    guest_root.write("/usr/share/zoneinfo/Etc/UTC", b"TZif2")

    start(guest_root, Wishes(stages=(Stage.LOCAL,)))
    start(guest_root, Wishes(stages=(Stage.NETWORK,)))
    between = told(guest_root)
    kept = guest_root.stat("/run/linklocal/agent/instance.json").mode
    # From here on nobody needs the service any more.
    guest_root.write("/etc/linklocal/agent.yaml", b"datasource: openstack\ncolour: red\n")
    start(guest_root, Wishes(stages=(Stage.CONFIG,)))
    start(guest_root, Wishes(stages=(Stage.FINAL,)))

    assert (between["status"], between["stage"], between["finished"]) == ("running", None, None)
    assert stat.S_IMODE(kept) == 0o600
    assert not guest_root.exists("/run/linklocal/agent/instance.json")
    record = told(guest_root)
    assert [row["name"] for row in record["stages"]] == ["local", "network", "config", "final"]
    assert (record["status"], record["instance_id"]) == ("done", ID)
    assert len(record["parts"]) == 1
    assert [entry["result"] for entry in record["entries"]] == ["warning", "warning"]
    assert modules(record)["write_files"] == modules(record)["timezone"] == "done"


def test_a_plan_changes_nothing_and_says_what_would_be(guest_root: DirectoryGuest) -> None:
    before = guest_root.snapshot("/")
    host = Plan(Host(guest_root.root))

    record = boot(host, given(MOTD)).record

    assert guest_root.snapshot("/") == before
    assert record["status"] == "done"
    assert ("write", "/etc/motd") in [(each.verb, each.target) for each in host.effects]


def test_boothooks_have_their_turn_at_every_boot(guest_root: DirectoryGuest) -> None:
    for _ in range(2):
        start(guest_root, given("#cloud-boothook\n#!/bin/sh\nexit\n"))

        row = told(guest_root)["modules"][0]
        assert (row["name"], row["stage"]) == ("boothooks", "network")
        assert [entry["place"] for entry in row["entries"]] == ["part-001"]
