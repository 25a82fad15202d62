"""The native API of instances and state from outside: what operators write, and what they lose."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from metadata_server.config import read_instances
from metadata_server.control.replays import SCHEMA as REPLAYS_SCHEMA
from metadata_server.control.replays import Replays, Sent
from metadata_server.store import Store

from .plane import OTHER_TOKEN, TOKEN, Plane, plane

ALL = "/linklocal/v1/instances"
STATE = "/linklocal/v1/state"
CONFIGURED = read_instances(
    b"""
id: configured
name: base
user_data: "#!/bin/sh"
tags: {role: web}
nics: [{ipv4: 192.168.1.10}]
""",
    Path("configured.yaml"),
)[0]
ONE = f"{ALL}/configured"
CANARY = "canary-4d1f0c"
GUEST = {"id": "g", "name": "guest", "nics": [{"ipv4": "10.0.0.10"}]}


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane(tmp_path, [CONFIGURED]) as running:
        yield running


def headers(token: str = TOKEN, **more: str) -> dict[str, str]:
    return {"X-Auth-Token": token, **{key.replace("_", "-"): value for key, value in more.items()}}


async def ids(control: Plane, query: str = "") -> list[str]:
    _, document, _ = await control.call("GET", ALL + query)
    return [each["id"] for each in document["instances"]]


async def test_an_instance_is_made_shown_changed_and_removed(control: Plane) -> None:
    status, made, got = await control.call("POST", ALL, GUEST)
    shown = await control.call("GET", got["Location"])
    changed = await control.call("PATCH", f"{ALL}/g", {"name": "other", "tags": {"a": "1"}})
    again = await control.call("PATCH", f"{ALL}/g", {"tags": {"a": None, "b": "2"}})
    removed = await control.call("DELETE", f"{ALL}/g")

    assert (status, got["Location"]) == (201, f"{ALL}/g")
    assert made["instances"][0]["addresses"] == ["10.0.0.10"]
    assert shown[1]["name"] == "guest"
    assert shown[1]["changed_by_api"] == "created"
    assert changed[0] == 200
    assert changed[1]["name"] == "other"
    assert changed[1]["revision"] > shown[1]["revision"]
    assert again[1]["tags"] == {"b": "2"}
    assert removed[0] == 204
    assert (await control.call("GET", f"{ALL}/g"))[0] == 404
    assert await ids(control) == ["configured"]


async def test_an_instance_without_an_id_gets_one(control: Plane) -> None:
    _, made, got = await control.call("POST", ALL, {})

    made_id = made["instances"][0]["id"]
    assert len(made_id) == 36
    assert got["Location"] == f"{ALL}/{made_id}"
    assert made["instances"][0]["name"] == f"ecs-{made_id[:8]}"


async def test_a_batch_has_names_by_the_rule_and_addresses_that_count_up(control: Plane) -> None:
    described = {
        "name": "ecs[66,3]abc",
        "nics": [{"ipv4": "10.0.0.9", "public_ipv4": "100.0.0.255"}],
    }

    status, made, _ = await control.call("POST", ALL + "?count=3", described)

    assert status == 201
    assert [each["name"] for each in made["instances"]] == ["ecs066abc", "ecs067abc", "ecs068abc"]
    assert [each["addresses"] for each in made["instances"]] == [
        ["10.0.0.9"],
        ["10.0.0.10"],
        ["10.0.0.11"],
    ]
    last = (await control.call("GET", f"{ALL}/{made['instances'][2]['id']}"))[1]
    assert last["nics"][0]["public_ipv4"] == "100.0.1.1"
    assert last["launch_index"] == 2
    same = (await control.call("POST", ALL + "?count=2&same_name=true", {"name": "twin"}))[1]
    assert [each["name"] for each in same["instances"]] == ["twin", "twin"]
    plain = (await control.call("POST", ALL + "?count=2", {"name": "ecs"}))[1]
    assert [each["name"] for each in plain["instances"]] == ["ecs-0001", "ecs-0002"]


@pytest.mark.parametrize(
    ("query", "body", "pointer", "words"),
    [
        ("", [GUEST, {"id": "h", "nics": [{"ipv4": "x"}]}], "/1/nics/0/ipv4", "an IPv4 address"),
        ("", [GUEST, {**GUEST, "id": "h"}], "/1/nics", "an origin of its own"),
        ("", [GUEST, 7], "/1", "expected an instance"),
        ("", [], "", "expected 1 to 1000 instances"),
        ("", "x", "", "expected an instance, or a list of them"),
        ("", {"nmae": "x"}, "", "nearest is 'name'"),
        ("", {"user_data_file": "/etc/shadow"}, "/user_data_file", "own configuration"),
        (
            "",
            {"files": [{"path": "/a", "content_file": "/etc/shadow"}]},
            "/files/0/content_file",
            "own configuration",
        ),
        (
            "",
            {"agency": {"name": "a", "credentials_command": ["id"]}},
            "/agency/credentials_command",
            "own configuration",
        ),
        ("", {"tags": {"a/b~": 1}}, "/tags/a~1b~0", "without a slash"),
        ("", {"nics": [{"ipv4": "192.168.1.10"}]}, "/nics", "taken by instance configured"),
        ("", {"user_data": "x" * 40_000}, "/user_data", "at most 32768 bytes"),
        ("", {"password_hash": CANARY, "login_mode": "password"}, "/password_hash", "got ***"),
        ("?count=2", {"id": "x"}, "/id", "each of 2 instances gets its own"),
        ("?count=2", {"nics": [{"mac": "fa:16:3e:00:00:01"}]}, "/nics/0/mac", "gets its own"),
        ("?count=2", {"name": "a[1"}, "/name", "a naming rule"),
        ("?count=2", {"name": 7}, "/name", "expected text"),
        ("?count=300", {"nics": [{"ipv4": "10.0.0.9"}]}, "/nics/0/ipv4", "room for 300 addresses"),
        (
            "?count=9",
            {"nics": [{"ipv4": "10.0.0.1", "gateway": "10.0.0.5"}]},
            "/nics/0/ipv4",
            "would take the gateway's",
        ),
        ("?count=2", [GUEST], "", "expected one instance in the body"),
        ("?count=0", GUEST, "", "expected a whole number from 1 to 1000, got '0'"),
        ("?count=%D9%A3", GUEST, "", "expected a whole number from 1"),
        ("?same_name=yes", GUEST, "", "expected true or false"),
        ("?cuont=3", GUEST, "", "unknown parameter 'cuont', nearest is 'count'"),
        ("?count=1&count=2", GUEST, "", "count: expected it once"),
    ],
)
async def test_a_create_with_a_mistake_makes_nothing_and_names_its_place(
    control: Plane, query: str, body: object, pointer: str, words: str
) -> None:
    status, document, _ = await control.call("POST", ALL + query, body)

    assert status == 400
    assert document["errors"][0]["pointer"] == pointer
    assert words in document["errors"][0]["detail"]
    assert CANARY not in json.dumps(document)
    assert await ids(control) == ["configured"]


async def test_an_id_that_is_taken_is_a_conflict(control: Plane) -> None:
    status, document, _ = await control.call("POST", ALL, [GUEST, {"id": "configured"}])

    assert status == 409
    assert "configured" in document["detail"]
    assert await ids(control) == ["configured"]


@pytest.mark.parametrize("depth", [40, 900, 200_000])
async def test_a_deep_document_is_refused(control: Plane, depth: int) -> None:
    body = b'{"vendor_data": {"a": ' + b"[" * depth + b"]" * depth + b"}}"

    created = await control.call("POST", ALL, data=body)
    patched = await control.call("PATCH", ONE, data=body)
    loaded = await control.call("PUT", STATE, data=body)

    assert (created[0], patched[0], loaded[0]) == (400, 400, 400)


async def test_a_create_with_a_key_is_done_once(control: Plane) -> None:
    first = await control.call("POST", ALL, {"name": "a"}, headers=headers(Idempotency_Key='"k"'))
    again = await control.call("POST", ALL, {"name": "a"}, headers=headers(Idempotency_Key="k"))
    other = await control.call("POST", ALL, {"name": "b"}, headers=headers(Idempotency_Key="k"))
    query = await control.call(
        "POST", ALL + "?count=2", {"name": "a"}, headers=headers(Idempotency_Key="k")
    )
    someone = await control.call(
        "POST", ALL, {"name": "a"}, headers=headers(OTHER_TOKEN, Idempotency_Key="k")
    )

    assert (first[0], again[0]) == (201, 201)
    assert again[1] == first[1]
    assert again[2]["Location"] == first[2]["Location"]
    assert again[2]["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first[2]
    assert (other[0], query[0]) == (422, 422)
    assert someone[1] != first[1]
    assert len(await ids(control)) == 3


async def test_two_creates_with_one_key_at_once_make_one(control: Plane) -> None:
    sent = [
        control.call("POST", ALL, {"name": "a"}, headers=headers(Idempotency_Key="k"))
        for _ in range(8)
    ]

    answers = await asyncio.gather(*sent)

    assert {status for status, _, _ in answers} == {201}
    assert len({json.dumps(document) for _, document, _ in answers}) == 1
    assert len(await ids(control)) == 2


async def test_a_key_is_known_after_a_restart_and_free_after_a_refusal(tmp_path: Path) -> None:
    async with plane(tmp_path, []) as control:
        refused = await control.call("POST", ALL, {"x": 1}, headers=headers(Idempotency_Key="k"))
        first = await control.call("POST", ALL, {}, headers=headers(Idempotency_Key="k"))
    async with plane(tmp_path, []) as control:
        again = await control.call("POST", ALL, {}, headers=headers(Idempotency_Key="k"))
        assert len(await ids(control)) == 1

    assert refused[0] == 400
    assert again[1] == first[1]


async def test_keys_are_kept_for_a_day_and_not_too_many(tmp_path: Path) -> None:
    now = 1e9
    store = Store(tmp_path, [REPLAYS_SCHEMA])
    replays = Replays(store, clock=lambda: now)

    def sent(number: int) -> Sent:
        return Sent("caller", str(number), b"request")

    for number in range(1010):
        now += 1
        await store.write(partial(replays.keep, sent=sent(number), answer="{}"))
    kept = len(store.read("SELECT key FROM replays"))
    newest = replays.find(sent(1009))
    oldest = replays.find(sent(0))
    now += 86400
    after = replays.find(sent(1009))
    await store.write(partial(replays.keep, sent=sent(0), answer="{}"))
    left = len(store.read("SELECT key FROM replays"))
    store.close()

    assert (kept, newest, oldest) == (1000, "{}", None)
    assert (after, left) == (None, 1)


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "é"])
async def test_a_key_has_a_form(control: Plane, key: str) -> None:
    status, document, _ = await control.call("POST", ALL, {}, headers=headers(Idempotency_Key=key))

    assert status == 400
    assert document["detail"].startswith("Idempotency-Key: expected")
    assert await ids(control) == ["configured"]


async def test_a_reader_is_told_when_nothing_has_changed(control: Plane) -> None:
    _, _, got = await control.call("GET", ONE)
    known = headers(If_None_Match=f'"x", {got["ETag"]}')

    same = await control.call("GET", ONE, headers=known)
    await control.mailbox.post("configured", b"c2VjcmV0")
    posted = await control.call("GET", ONE, headers=known)

    assert (same[0], same[1]) == (304, "")
    assert same[2]["ETag"] == got["ETag"]
    assert posted[0] == 200
    # What the guest does meanwhile is nobody's lost change.
    write = await control.call("PATCH", ONE, {"name": "n"}, headers=headers(If_Match=got["ETag"]))
    assert write[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", ONE, {"name": "late"}),
        ("PUT", ONE, {"name": "late"}),
        ("DELETE", ONE, None),
        ("PATCH", ONE + "/metadata-options", {"hop_limit": 9}),
    ],
)
async def test_a_write_over_what_somebody_else_wrote_is_refused(
    control: Plane, method: str, path: str, body: object
) -> None:
    read = (await control.call("GET", ONE))[2]["ETag"]
    await control.call("PATCH", ONE, {"name": "soon"}, headers=headers(OTHER_TOKEN))

    late = await control.call(method, path, body, headers=headers(If_Match=read))
    weak = await control.call(method, path, body, headers=headers(If_Match=f"W/{read}"))
    bad = await control.call(method, path, body, headers=headers(If_Match="x"))

    assert (late[0], weak[0], bad[0]) == (412, 412, 400)
    shown = (await control.call("GET", ONE))[1]
    assert (shown["name"], shown["metadata_options"]["hop_limit"]) == ("soon", 1)


async def test_of_two_operators_at_once_one_is_told(control: Plane) -> None:
    read = (await control.call("GET", ONE))[2]["ETag"]

    answers = await asyncio.gather(
        *(
            control.call("PATCH", ONE, {"name": f"n{number}"}, headers=headers(If_Match=read))
            for number in range(10)
        )
    )

    done = [document["name"] for status, document, _ in answers if status == 200]
    assert sorted(status for status, _, _ in answers) == [200] + [412] * 9
    assert done == [(await control.call("GET", ONE))[1]["name"]]


async def test_patches_of_two_operators_at_once_are_both_there(control: Plane) -> None:
    async def write(number: int) -> int:
        """Write a key of its own, by one of three APIs and with one of two tokens."""
        token = (TOKEN, OTHER_TOKEN)[number % 2]
        given = {f"k{number}": "v"}
        method, path, body = (
            ("PATCH", ONE, {"meta": given}),
            ("POST", "/v2.1/servers/configured/metadata", {"metadata": given}),
            ("POST", "/v1/cloudservers/configured/metadata", {"metadata": given}),
        )[number % 3]
        return (await control.call(method, path, body, headers=headers(token)))[0]

    answers = await asyncio.gather(*map(write, range(42)))

    shown = (await control.call("GET", ONE))[1]
    assert set(answers) == {200}
    assert {f"k{number}" for number in range(42)} <= set(shown["meta"])


async def test_a_put_replaces_or_makes(control: Plane) -> None:
    described = (await control.call("GET", ONE + "/configuration"))[1]
    replaced = await control.call("PUT", ONE, {**described, "name": "new", "tags": {}})
    made = await control.call("PUT", f"{ALL}/fresh", {"name": "fresh"})
    only_new = await control.call(
        "PUT", f"{ALL}/fresh", {"name": "x"}, headers=headers(If_None_Match="*")
    )
    only_old = await control.call("PUT", f"{ALL}/no", {}, headers=headers(If_Match="*"))
    other_id = await control.call("PUT", f"{ALL}/fresh", {"id": "x"})

    assert replaced[0] == 200
    assert (replaced[1]["name"], replaced[1]["tags"]) == ("new", {})
    assert replaced[1]["user_data"] == {"size": 9}
    assert replaced[1]["changed_by_api"] == "replaced"
    assert (made[0], made[2]["Location"]) == (201, f"{ALL}/fresh")
    assert (only_new[0], only_old[0], other_id[0]) == (412, 412, 400)
    assert other_id[1]["errors"][0]["pointer"] == "/id"


async def test_what_is_read_as_configuration_is_what_a_put_takes(control: Plane) -> None:
    before = (await control.call("GET", ONE))[1]
    described = (await control.call("GET", ONE + "/configuration"))[1]

    put = await control.call("PUT", ONE, described)

    assert put[0] == 200
    changed = {"changed_by_api", "revision"}
    assert {k: v for k, v in put[1].items() if k not in changed} == {
        k: v for k, v in before.items() if k not in changed
    }


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_user_data_is_fixed_without_force(control: Plane, method: str) -> None:
    described = (await control.call("GET", ONE + "/configuration"))[1]
    body: dict[str, Any] = {"user_data": "#cloud-config"}
    if method == "PUT":
        body = {**{k: v for k, v in described.items() if k != "user_data_base64"}, **body}

    refused = await control.call(method, ONE, body)
    forced = await control.call(method, ONE + "?force=true", body)

    assert refused[0] == 409
    assert "user_data: fixed" in refused[1]["detail"]
    assert forced[1]["user_data"] == {"size": 13}


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"nics": [{"ipv4": "x"}]}, "/nics/0/ipv4"),
        ({"id": "other"}, "/id"),
        ({"tgas": None}, ""),
        ({"metadata_options": {"http_tokns": None}}, "/metadata_options"),
        ({"metadata_options": {"hop_limit": 0}}, "/metadata_options/hop_limit"),
        ({"reset_password": {"proof": "none"}}, "/reset_password/proof"),
        ({"tags": {str(n): "" for n in range(11)}}, "/tags"),
        ([], ""),
    ],
)
async def test_a_bad_patch_changes_nothing(control: Plane, patch: object, pointer: str) -> None:
    before = (await control.call("GET", ONE))[1]

    status, document, _ = await control.call("PATCH", ONE, patch)

    assert status == 400
    assert document["errors"][0]["pointer"] == pointer
    assert (await control.call("GET", ONE))[1] == before


async def test_metadata_options_are_read_and_changed(control: Plane) -> None:
    options = ONE + "/metadata-options"

    before = await control.call("GET", options)
    after = await control.call("PATCH", options, {"http_tokens": "required", "hop_limit": 3})
    bad = await control.call("PATCH", options, {"http_tokens": "never"})

    assert before[1] == {"http_endpoint": "enabled", "http_tokens": "optional", "hop_limit": 1}
    assert after[1] == {"http_endpoint": "enabled", "http_tokens": "required", "hop_limit": 3}
    assert after[2]["ETag"] != before[2]["ETag"]
    assert bad[1]["errors"][0]["pointer"] == "/http_tokens"
    assert bad[1]["errors"][0]["detail"].startswith("http_tokens: expected")


async def test_a_reset_brings_the_configuration_back(control: Plane) -> None:
    untouched = await control.call("DELETE", ONE + "/overlay")
    await control.call("PATCH", ONE, {"name": "other"})
    change = await control.call("GET", ONE + "/overlay")
    back = await control.call("DELETE", ONE + "/overlay")
    await control.call("DELETE", ONE)
    gone = await control.call("GET", ONE)
    restored = await control.call("DELETE", ONE + "/overlay")
    await control.call("POST", ALL, GUEST)
    made = await control.call("DELETE", f"{ALL}/g/overlay")

    assert untouched[0] == 404
    assert change[1]["kind"] == "patch"
    assert change[1]["document"] == {"name": "other"}
    assert (back[1]["name"], back[1]["changed_by_api"]) == ("base", None)
    assert gone[0] == 404
    assert restored[1]["name"] == "base"
    assert made[0] == 409
    assert "remove it" in made[1]["detail"]


async def test_what_is_removed_leaves_nothing_to_its_successor(control: Plane) -> None:
    await control.call("POST", ALL, GUEST)
    await control.mailbox.post("g", b"c2VjcmV0")
    await control.call("POST", f"{ALL}/g/reset-password", {"password": "Cloud.1234!"})
    await control.call("POST", f"{ALL}/g/reset-key/token")

    await control.call("DELETE", f"{ALL}/g")
    await control.call("POST", ALL, GUEST)

    assert (await control.call("GET", f"{ALL}/g/password"))[1] == {"password": ""}
    assert (await control.call("GET", f"{ALL}/g/reset-password"))[1] == {"requests": []}
    assert control.store.read("SELECT * FROM reset_tokens") == []


async def test_who_waits_for_a_reset_of_a_removed_instance_is_told(control: Plane) -> None:
    await control.call("POST", ALL, GUEST)
    _, asked, _ = await control.call("POST", f"{ALL}/g/reset-password", {"password": "Cloud.1234!"})
    path = f"{ALL}/g/reset-password/{asked['id']}?wait=60"

    waiting = asyncio.ensure_future(control.call("GET", path))
    await control.call("DELETE", f"{ALL}/g")

    assert (await waiting)[0] == 404


async def test_a_list_has_pages(control: Plane) -> None:
    await control.call("POST", ALL + "?count=6", {"name": "ecs", "tags": {"role": "db"}})
    expected = await ids(control)
    found: list[str] = []
    path, pages = ALL + "?limit=2", 0

    while path:
        _, document, _ = await control.call("GET", path)
        found += [each["id"] for each in document["instances"]]
        path, pages = document["next"], pages + 1

    assert (found, pages) == (expected, 4)
    assert (await control.call("GET", ALL + "?marker=nope"))[0] == 400
    assert (await control.call("GET", ALL + "?limit=1001"))[0] == 400


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["configured", "a", "b"]),
        ("?name=base", ["configured"]),
        ("?name=web-*", ["a", "b"]),
        ("?name=web-?&limit=1", ["a"]),
        ("?name=WEB-*", []),
        ("?tag=role", ["configured", "a"]),
        ("?tag=role=db", ["a"]),
        ("?tag=role&tag=env=x=y", ["a"]),
        ("?tag=nope", []),
    ],
)
async def test_a_list_is_filtered(control: Plane, query: str, found: list[str]) -> None:
    tags = {"role": "db", "env": "x=y"}
    await control.call(
        "POST", ALL, [{"id": "a", "name": "web-1", "tags": tags}, {"id": "b", "name": "web-2"}]
    )

    assert await ids(control, query) == found


async def test_a_state_is_saved_reset_and_loaded(control: Plane) -> None:
    await control.call("POST", ALL, {**GUEST, "user_data": "#!/bin/sh"})
    await control.call("PATCH", ONE, {"name": "other"})
    await control.mailbox.post("g", b"c2VjcmV0")
    before = [(await control.call("GET", path))[1] for path in (ONE, f"{ALL}/g")]
    await control.call("POST", ONE + "/reset-password", {"password": "Cloud.1234!"})

    _, saved, got = await control.call("GET", STATE)
    status, reset, _ = await control.call("DELETE", STATE)
    assert await ids(control) == ["configured"]
    assert (await control.call("GET", ONE))[1]["name"] == "base"
    stale = await control.call("PUT", STATE, saved, headers=headers(If_Match=got["ETag"]))
    loaded = await control.call("PUT", STATE, saved)

    assert (status, reset) == (200, {"instances": 1, "overlay": 0, "mailbox": 0, "unused": []})
    assert stale[0] == 412
    assert loaded[1] == {"instances": 2, "overlay": 2, "mailbox": 1, "unused": []}
    after = [(await control.call("GET", path))[1] for path in (ONE, f"{ALL}/g")]
    assert [replaced(each) for each in after] == [replaced(each) for each in before]
    assert (await control.call("GET", f"{ALL}/g/password"))[1] == {"password": "c2VjcmV0"}
    assert "$6$" not in json.dumps(saved)
    assert (await control.call("GET", STATE))[1] == saved


def replaced(view: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in view.items() if key != "revision"}


async def test_a_state_of_another_configuration_says_what_it_leaves_out(tmp_path: Path) -> None:
    async with plane(tmp_path / "a", [CONFIGURED]) as control:
        await control.call("PATCH", ONE, {"name": "other"})
        _, saved, _ = await control.call("GET", STATE)
    async with plane(tmp_path / "b", [replace(CONFIGURED, id="else")]) as control:
        loaded = await control.call("PUT", STATE, saved)

    assert loaded[1]["unused"] == ["configured"]


def state(**overlay: object) -> dict[str, Any]:
    return {
        "linklocal_state": 1,
        "overlay": {
            key: {"kind": "whole", "document": document, "created": 1, "changed": 2}
            for key, document in overlay.items()
        },
    }


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({}, "/linklocal_state", "expected 1"),
        ({"linklocal_state": 2}, "/linklocal_state", "expected 1"),
        ([], "/linklocal_state", "expected 1"),
        ({"linklocal_state": 1}, "/overlay", "expected an object"),
        ({**state(), "more": 1}, "", "unknown key 'more'"),
        ({**state(), "mailbox": {"a": "*"}}, "/mailbox/a", "expected base64"),
        ({**state(), "mailbox": {"a/b": "YQ=="}}, "/mailbox/a~1b", "the id of an instance"),
        ({**state(), "mailbox": {"a": "A" * 1400}}, "/mailbox/a", "1 to 1020 bytes"),
        ({**state(), "overlay": {"a": {}}}, "/overlay/a", "expected kind"),
        (state(a=7), "/overlay/a", "document an object"),
        (state(a={"id": "a", "nics": [{"ipv4": 1}]}), "/overlay/a/document/nics/0/ipv4", "IPv4"),
        (state(a={"id": "b"}), "/overlay/a/document/id", "expected a"),
        (state(a={}), "/overlay/a/document", "missing key 'id'"),
        (state(a={"id": "a", "user_data_file": "/x"}), "/overlay/a/document/user_data_file", ""),
        (
            state(a={"id": "a", "nics": [{"ipv4": "192.168.1.10"}]}),
            "/overlay/a/document/nics",
            "taken by instance configured",
        ),
    ],
)
async def test_a_bad_state_is_refused_whole(
    control: Plane, body: object, pointer: str, words: str
) -> None:
    await control.call("POST", ALL, GUEST)

    status, document, _ = await control.call("PUT", STATE, body)

    assert status == 400
    assert document["errors"][0]["pointer"] == pointer
    assert words in document["errors"][0]["detail"]
    assert await ids(control) == ["configured", "g"]


async def test_a_state_may_be_larger_than_other_documents(control: Plane) -> None:
    many = [
        {"id": f"i{number}", "user_data_base64": "QUFB" * 8000, "nics": []} for number in range(60)
    ]
    saved = state(**{str(each["id"]): each for each in many})

    assert len(json.dumps(saved)) > 1 << 20
    assert (await control.call("PUT", STATE, data=sent(saved)))[0] == 200
    assert (await control.call("POST", ALL, data=sent(many)))[0] == 413


def sent(document: object) -> io.BytesIO:
    return io.BytesIO(json.dumps(document).encode())


async def test_changes_are_there_after_a_restart(tmp_path: Path) -> None:
    async with plane(tmp_path, [CONFIGURED]) as control:
        await control.call("POST", ALL, GUEST)
        await control.call("PATCH", ONE, {"name": "other"})
        tag = (await control.call("GET", ONE))[2]["ETag"].split("-")[0]
    async with plane(tmp_path, [CONFIGURED]) as control:
        found = await ids(control)
        _, shown, got = await control.call("GET", ONE)

    assert found == ["configured", "g"]
    assert shown["name"] == "other"
    assert got["ETag"].split("-")[0] == tag


async def test_every_write_of_an_instance_leaves_a_line_without_what_was_written(
    control: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    body = {**GUEST, "user_data": CANARY, "meta": {"password": CANARY}}
    await control.call("POST", ALL, body, headers=headers(Idempotency_Key=CANARY))
    await control.call("POST", ALL, body, headers=headers(Idempotency_Key=CANARY))
    await control.call("POST", ALL + "?count=2", {"name": "ecs"})
    await control.call("PATCH", f"{ALL}/g", {"meta": {"admin": CANARY}, "tags": {"a": CANARY}})
    await control.call("PATCH", f"{ALL}/g", {CANARY: CANARY})
    await control.call("PATCH", f"{ALL}/g?force=true", {"user_data": CANARY + "2"})
    await control.call("PATCH", f"{ALL}/g/metadata-options", {"hop_limit": 2})
    _, saved, _ = await control.call("GET", STATE)
    await control.call("PUT", STATE, saved)
    await control.call("DELETE", STATE)
    await control.call("DELETE", f"{ALL}/configured")

    lines = [record.getMessage() for record in caplog.records if "audit" in record.name]
    assert [line.split(" ", 2)[2] for line in lines if "count=2" not in line] == [
        f"POST {ALL} instance=g -> 201",
        f"POST {ALL} instance=g replayed=True -> 201",
        f'PATCH {ALL}/{{id}} instance=g keys="meta,tags" -> 200',
        f"PATCH {ALL}/{{id}} instance=g -> 400",
        f"PATCH {ALL}/{{id}} instance=g keys=user_data force=True -> 200",
        f"PATCH {ALL}/{{id}}/metadata-options instance=g keys=hop_limit -> 200",
        f"PUT {STATE} overlay=3 mailbox=0 -> 200",
        f"DELETE {STATE} overlay=0 mailbox=0 -> 200",
        f"DELETE {ALL}/{{id}} instance=configured -> 204",
    ]
    assert len(lines) == 10
    assert CANARY not in caplog.text
