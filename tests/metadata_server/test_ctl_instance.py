"""linklocal instance, state and api as operators run them, and as guests then see it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pty
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metadata_server.config import read_instances

from .commands import Served, linklocal, served, start

INSTANCE = read_instances(
    b"""
id: one
name: ecs-ddd4
user_data: "#!/bin/sh"
tags: {role: web}
nics: [{ipv4: 192.168.1.10, mtu: 1500}, {ipv4: 192.168.2.10}]
""",
    Path("one.yaml"),
)[0]


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, INSTANCE) as running:
        yield running


async def listed(control: Served, *arguments: str) -> list[str]:
    ran = await linklocal("instance", "list", "--json", *arguments, at=control)
    return [each["id"] for each in ran.document["instances"]]


async def test_an_instance_in_yaml_brings_the_files_it_names(
    control: Served, tmp_path: Path
) -> None:
    (tmp_path / "script").write_bytes(b"\x1f\x8b binary")
    (tmp_path / "motd").write_text("hello")
    (tmp_path / "vm.yaml").write_text(
        "id: two\n"
        "name: web\n"
        "user_data_file: script\n"
        "files: [{path: /etc/motd, content_file: motd}]\n"
        "nics: [{ipv4: 10.0.0.9, mac: 12:34:56:00:11:22}]\n"
    )

    ran = await linklocal("instance", "add", str(tmp_path / "vm.yaml"), at=control)
    whole = await linklocal("instance", "show", "two", "--configuration", at=control)

    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[1].split()[:4] == ["two", "web", "Linux", "10.0.0.9"]
    assert base64.b64decode(whole.document["user_data_base64"]) == b"\x1f\x8b binary"
    assert whole.document["nics"][0]["mac"] == "12:34:56:00:11:22"
    assert base64.b64decode(whole.document["files"][0]["content_base64"]) == b"hello"


async def test_several_are_added_at_once_or_none(control: Served) -> None:
    described = {"name": "ecs[66,3]abc", "nics": [{"ipv4": "10.0.0.9"}]}
    batch = await linklocal(
        *("instance", "add", "-", "--count", "3", "--json"),
        stdin=json.dumps(described).encode(),
        at=control,
    )
    wrong = [{"id": "a"}, {"id": "b", "nics": [{"ipv4": "x", "mtu": 1}]}]
    refused = await linklocal("instance", "add", "-", stdin=json.dumps(wrong).encode(), at=control)

    assert [each["name"] for each in batch.document["instances"]] == [
        "ecs066abc",
        "ecs067abc",
        "ecs068abc",
    ]
    assert refused.status == 1
    # A line for each mistake, with its place.
    assert [line.partition(":")[0] for line in refused.err.splitlines()] == ["linklocal"] * 2
    assert "[1].nics[0].ipv4: expected an IPv4 address" in refused.err
    assert "[1].nics[0].mtu: expected a whole number" in refused.err
    assert len(await listed(control)) == 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "found nothing"),
        (b"just text", "expected an instance or a list of them"),
        (b"[a]", "expected an instance or a list of them"),
        (b"a: [", ": not YAML"),
        (b"a: 1\na: 2", "stdin:2: a: expected each key once"),
        (b"user_data_file: /nope/x", "/nope/x: No such file or directory"),
    ],
)
async def test_a_file_that_is_no_instance_is_bad_usage(
    control: Served, content: bytes, words: str
) -> None:
    ran = await linklocal("instance", "add", "-", stdin=content, at=control)

    assert (ran.status, ran.out) == (64, "")
    assert words in ran.err


async def test_a_change_is_seen_by_the_guest_at_once(control: Served) -> None:
    ran = await linklocal(
        *("instance", "set", "one", "hostname=new.local", "tags.Name=web", "launch_index=7"),
        at=control,
    )

    assert (ran.status, ran.err) == (0, "")
    assert await control.guest("GET", "/latest/meta-data/hostname") == (200, b"new.local")
    assert await control.guest("GET", "/latest/meta-data/ami-launch-index") == (200, b"7")


@pytest.mark.parametrize(
    ("words", "place", "value"),
    [
        (["tags.role=null"], ("tags",), {}),
        (["tags.a=b", "tags.c=1"], ("tags",), {"role": "web", "a": "b", "c": "1"}),
        ([r"meta.a\.b=c"], ("meta", "a.b"), "c"),
        (["nics[0].mtu=1400"], ("nics", 0, "mtu"), 1400),
        (["nics[0].mtu=1400"], ("nics", 1, "ipv4"), "192.168.2.10"),
        (["nics[1].mtu=9000", "nics[1].dhcp=false"], ("nics", 1, "mtu"), 9000),
        (["dns[0]=10.0.0.1", "dns[1]=10.0.0.2"], ("dns",), ["10.0.0.1", "10.0.0.2"]),
        (['dns=["10.0.0.3"]'], ("dns",), ["10.0.0.3"]),
        (["name=true.story"], ("name",), "true.story"),
        (['vendor_data={"a": {"b": 1}}'], ("vendor_data", "size"), 15),
    ],
)
async def test_a_value_is_set_by_its_path(
    control: Served, words: list[str], place: tuple[str | int, ...], value: object
) -> None:
    ran = await linklocal("instance", "set", "one", *words, "--json", at=control)

    found = ran.document
    for step in place:
        found = found[step]
    assert found == value


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["name"], 64, "expected KEY=VALUE"),
        (["=x"], 64, "expected KEY=VALUE"),
        (["[0]=x"], 64, "expected KEY=VALUE"),
        (["a..b=x"], 64, "expected KEY=VALUE"),
        (["nics[9].mtu=1"], 64, "nics[9].mtu: the list has 2 entries"),
        (["name=@/nope"], 64, "/nope: No such file"),
        (["nmae=x"], 1, "unknown key 'nmae', nearest is 'name'"),
        (["nics[0].mtu=7"], 1, "nics[0].mtu: expected a whole number"),
        (["user_data=x"], 1, "user_data: fixed once the instance exists"),
    ],
)
async def test_a_change_that_cannot_be_is_said_in_words(
    control: Served, words: list[str], status: int, text: str
) -> None:
    ran = await linklocal("instance", "set", "one", *words, at=control)

    assert (ran.status, ran.out) == (status, "")
    assert text in ran.err


async def test_user_data_comes_from_a_file_with_force(control: Served, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"#cloud-config\n\xff")

    ran = await linklocal(
        *("instance", "set", "one", f"user_data=@{tmp_path / 'data'}", "--force"), at=control
    )

    assert (ran.status, ran.err) == (0, "")
    assert await control.guest("GET", "/latest/user-data") == (200, b"#cloud-config\n\xff")


async def test_two_who_change_one_list_at_once_both_succeed(control: Served) -> None:
    ran = await asyncio.gather(
        *(
            linklocal("instance", "set", "one", f"nics[{number}].mtu=140{number}", at=control)
            for number in (0, 1)
        )
    )

    shown = await linklocal("instance", "show", "one", "--json", at=control)
    assert [each.status for each in ran] == [0, 0]
    assert [nic["mtu"] for nic in shown.document["nics"]] == [1400, 1401]


async def test_metadata_options_are_shown_and_set(control: Served) -> None:
    shown = await linklocal("instance", "options", "one", at=control)
    changed = await linklocal(
        *("instance", "options", "one", "--http-tokens", "required", "--hop-limit", "2", "--json"),
        at=control,
    )

    assert shown.out.split() == ["http_endpoint", "enabled", "http_tokens", "optional", "hop_limit",
                                 "1"]  # fmt: skip
    assert changed.document == {
        "http_endpoint": "enabled",
        "http_tokens": "required",
        "hop_limit": 2,
    }
    assert (await control.guest("GET", "/latest/meta-data/"))[0] == 401


async def test_instances_are_removed_and_reset(control: Served) -> None:
    for name in ("a", "b"):
        await linklocal("instance", "add", "-", stdin=f"id: {name}".encode(), at=control)
    await linklocal("instance", "set", "one", "name=other", at=control)

    reset = await linklocal("instance", "reset", "one", at=control)
    again = await linklocal("instance", "reset", "one", at=control)
    removed = await linklocal("instance", "remove", "a", "b", at=control)

    assert "ecs-ddd4" in reset.out
    assert (again.status, again.err) == (1, "linklocal: nothing was changed by API\n")
    assert removed.err.splitlines() == ["a: removed", "b: removed"]
    assert await listed(control) == ["one"]


async def test_a_list_is_filtered_and_follows_its_pages(control: Served) -> None:
    described = {"name": "ecs", "tags": {"role": "db"}}
    for number in (1, 1000):
        await linklocal(
            *("instance", "add", "-", "--count", str(number)),
            stdin=json.dumps(described).encode(),
            at=control,
        )

    assert len(await listed(control)) == 1002
    assert len(await listed(control, "--tag", "role=db", "--name", "ecs-000?")) == 9
    assert await listed(control, "--tag", "role=web") == ["one"]


async def test_a_state_is_saved_reset_and_loaded(control: Served, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    await linklocal("instance", "set", "one", "name=other", at=control)

    saved = await linklocal("state", "save", str(file), at=control)
    printed = await linklocal("state", "save", at=control)
    reset = await linklocal("state", "reset", at=control)
    before = await linklocal("instance", "show", "one", "--json", at=control)
    loaded = await linklocal("state", "load", str(file), "--json", at=control)
    after = await linklocal("instance", "show", "one", "--json", at=control)

    assert (saved.status, saved.err) == (0, f"{file}: 1 changed instance\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == printed.document
    assert reset.status == 0
    assert before.document["name"] == "ecs-ddd4"
    assert loaded.document == {"instances": 1, "overlay": 1, "mailbox": 0, "unused": []}
    assert after.document["name"] == "other"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("load", "/nope"), 64, "/nope: No such file"),
        (("load", "/dev/null"), 64, "not JSON"),
        (("load", "-"), 1, "linklocal_state: expected 1"),
        (("save", "/nope/state"), 64, "/nope/state: No such file"),
    ],
)
async def test_a_state_that_cannot_be_read_or_written_is_said(
    control: Served, arguments: tuple[str, ...], status: int, words: str
) -> None:
    ran = await linklocal("state", *arguments, stdin=b"{}", at=control)

    assert (ran.status, ran.out) == (status, "")
    assert words in ran.err


async def test_any_call_can_be_made(control: Served) -> None:
    got = await linklocal("api", "get", "/linklocal/v1/instances?limit=1", at=control)
    patched = await linklocal(
        *("api", "PATCH", "/linklocal/v1/instances/one", "--data", "-", "--header", "If-Match: *"),
        stdin=b'{"name": "other"}',
        at=control,
    )
    deleted = await linklocal("api", "DELETE", "/linklocal/v1/instances/one", at=control)
    missing = await linklocal("api", "GET", "/linklocal/v1/instances/one", at=control)

    assert got.document["instances"][0]["id"] == "one"
    assert patched.document["name"] == "other"
    assert (deleted.status, deleted.out) == (0, "")
    assert (missing.status, missing.err) == (1, "linklocal: no such instance: 'one'\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("GET", "linklocal"),
        ("GET", "/a b"),
        ("GET", "/a\r\nX: y"),
        ("G T", "/"),
        ("GET", "/", "--header", "a"),
        ("GET", "/", "--header", "a: b\r\nc: d"),
    ],
)
async def test_a_call_that_is_none_is_bad_usage(
    control: Served, arguments: tuple[str, ...]
) -> None:
    ran = await linklocal("api", *arguments, at=control)

    assert (ran.status, ran.out) == (64, "")


async def test_a_long_wait_is_shown_at_a_terminal_only(tmp_path: Path) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asked.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n")
        writer.write(b'{"instances": [], "next": null}')
        await writer.drain()
        writer.close()

    asked = asyncio.Event()
    (tmp_path / "token").touch(0o600)
    (tmp_path / "token").write_text("x")
    ours, theirs = pty.openpty()
    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        process = await start(
            *("--url", f"http://127.0.0.1:{port}", "--token-file", str(tmp_path / "token")),
            *("instance", "list"),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=theirs,
        )
        shown = await asyncio.to_thread(os.read, ours, 100)
        asked.set()
        out, _ = await process.communicate()
    os.close(ours)
    os.close(theirs)

    assert shown.startswith(b"\rwaiting for the server, 1 s")
    assert process.returncode == 0
    assert out.startswith(b"ID")
