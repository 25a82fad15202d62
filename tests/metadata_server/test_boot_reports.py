"""What guests say of their boots: taken, bounded, kept, and waited for by operators."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from metadata_server.boot_reports import LIMIT
from metadata_server.instance import Instance, MetadataOptions

from ..agent.test_cli import agent
from ..conftest import Serve
from ..guests.directory import DirectoryGuest
from .commands import REPOSITORY, TOKEN, Served, linklocal, served, start
from .test_workers import ask

PATH = "/linklocal/v1/boot-report"
ONE = Instance(id="one", name="one", hostname="one.novalocal", project_id="p")
TWO = replace(ONE, id="two", name="two")
GOOD: dict[str, Any] = {
    "schema": 1,
    "instance_id": "one",
    "status": "done",
    "degraded": True,
    "detail": "runcmd[2]: failed: exit status 3",
    "seconds": 1.5,
    "troubles": [
        {"place": "runcmd[2]", "result": "failed", "detail": "exit status 3", "status": 3}
    ],
    "more_troubles": 0,
}
EMPTY = {"instance": "one", "number": 0, "received": None, "report": None}


def told(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


async def put(control: Served, body: bytes, method: str = "PUT") -> tuple[int, str]:
    status, answer = await control.guest(method, PATH, data=body)
    return status, answer.decode()


async def report_of(control: Served, name: str = "one", query: str = "") -> Any:
    path = f"/linklocal/v1/instances/{name}/boot-report{query}"
    return (await linklocal("api", "GET", path, at=control)).document


async def test_a_report_is_kept_over_a_restart_until_there_is_another(tmp_path: Path) -> None:
    async with served(tmp_path, ONE, TWO) as control:
        assert await report_of(control) == EMPTY
        assert await put(control, told()) == (200, "")
        first = await report_of(control)
        described = (await linklocal("api", "GET", "/openapi.json", at=control)).document
    async with served(tmp_path, ONE, TWO) as control:
        kept = await report_of(control)
        await put(control, told(degraded=False, troubles=[], unheard_of="x"))
        second = await report_of(control)
        other = await report_of(control, "two")

    schema = {"$ref": "#/components/schemas/BootReport", "components": described["components"]}
    for answer in (EMPTY, first, second):
        jsonschema_rs.validate(schema, answer)
    assert first == kept
    assert (first["number"], first["report"]) == (1, GOOD)
    assert (second["number"], second["report"]["troubles"]) == (2, [])
    assert "unheard_of" not in second["report"]
    assert other == {**EMPTY, "instance": "two"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"[" * 50_000, 400),
        (b"\xff", 400),
        (b"{}", 400),
        (told(schema=2), 400),
        (told(status="running"), 400),
        (told(degraded="no"), 400),
        (told(seconds=None), 400),
        (told(seconds=-1), 400),
        (told(seconds=10**400), 400),
        (told(seconds=float("nan")), 400),
        (told(detail="x" * 1001), 400),
        (told(detail=7), 400),
        (told(troubles="none"), 400),
        (told(troubles=["none"]), 400),
        (told(troubles=[{"status": "3"}]), 400),
        (told(troubles=[{"status": 1 << 40}]), 400),
        (told(more_troubles=True), 400),
        (told(detail="\ud800"), 200),
        (told(troubles=[{}] * 400), 200),
        (told() + b" " * (LIMIT - len(told())), 200),
        (told() + b" " * LIMIT, 413),
    ],
)
async def test_what_is_no_report_changes_nothing(tmp_path: Path, body: bytes, status: int) -> None:
    async with served(tmp_path, ONE) as control:
        got, _ = await put(control, body)
        found = await report_of(control)

    assert got == status
    assert (found != EMPTY) == (status == 200)
    if status == 200:
        assert len(found["report"]["troubles"]) <= 50
        assert len(json.dumps(found)) < 2 * LIMIT


async def test_it_is_put_and_nothing_else_with_a_token_where_one_is_required(
    tmp_path: Path,
) -> None:
    strict = replace(ONE, metadata_options=MetadataOptions(http_tokens="required"))
    async with served(tmp_path, ONE) as control:
        assert {(await put(control, told(), way))[0] for way in ("GET", "POST", "DELETE")} == {405}
    async with served(tmp_path, strict) as control:
        assert (await put(control, told()))[0] == 401
        assert await report_of(control) == EMPTY


async def test_removing_the_instance_and_resetting_the_state_forget_it(tmp_path: Path) -> None:
    async with served(tmp_path, ONE, TWO) as control:
        await put(control, told())
        await linklocal("state", "reset", at=control)
        assert await report_of(control) == EMPTY
        await put(control, told())
        await linklocal("instance", "remove", "one", at=control)
        await linklocal("instance", "reset", "one", at=control)
        assert await report_of(control) == EMPTY


# --- wait-ready


async def test_several_guests_are_waited_for_and_shown(tmp_path: Path) -> None:
    async with served(tmp_path, ONE) as control:
        await linklocal("instance", "add", "-", stdin=b"[{id: two}]", at=control)
        early = await linklocal("wait-ready", "one", "two", "--timeout", "0", at=control)
        waiting = await start("wait-ready", "one", at=control, stdin=asyncio.subprocess.DEVNULL)
        await put(control, told())
        out, _ = await waiting.communicate()
        strict = await linklocal("wait-ready", "one", "--strict", "--json", at=control)
        both = await linklocal("wait-ready", "two", "one", "--timeout", "0", at=control)
        following = await linklocal("wait-ready", "one", "--next", "--timeout", "0", at=control)
        await put(control, told(status="failed", detail="datasource: \x1b[2J", more_troubles=4))
        failed = await linklocal("wait-ready", "one", at=control)
        unknown = await linklocal("wait-ready", "one", "nope", at=control)

    assert (early.status, early.err) == (3, "linklocal: no report within 0 s from one, two\n")
    assert waiting.returncode == 0
    assert out.decode().splitlines() == [
        "ID   BOOT      SECONDS  TROUBLES",
        "one  degraded  1.5      1",
        "one: runcmd[2]: failed: exit status 3",
    ]
    assert (strict.status, strict.document["missing"]) == (2, [])
    assert strict.document["ready"][0]["report"] == GOOD
    assert both.status == 3
    assert both.out.splitlines()[1].split() == ["two", "no", "report", "-", "-"]
    assert both.err.endswith("no report within 0 s from two\n")
    assert following.status == 3
    assert failed.status == 1
    assert "one: and 4 more" in failed.out
    assert "\x1b" not in failed.out + failed.err
    assert unknown.status == 1
    assert "no such instance: 'nope'" in unknown.err


def test_an_agent_reports_to_any_of_several_processes(
    serve: Serve, guest_root: DirectoryGuest, tmp_path: Path
) -> None:
    user_data = "#cloud-config\nruncmd: [exit 3]\nunknown: 1\n"
    options = {"http_tokens": "required"}
    known = {"id": ONE.id, "user_data": user_data, "metadata_options": options}
    server = serve(known, workers=2)
    guest_root.write("/etc/linklocal/agent.yaml", b"report_boot: true\n")
    token_file = tmp_path / "token"
    token_file.touch(0o600)
    token_file.write_text(server.token)
    words = ("run", "-q", "--root", guest_root.root, "--metadata-url", server.guest_url)

    done = agent(*words, "--datasource", "openstack")
    ready = subprocess.run(
        [*(sys.executable, "-m", "metadata_server.ctl", "wait-ready", "one", "--json")],
        cwd=REPOSITORY,
        env={"LINKLOCAL_URL": server.control_url, "LINKLOCAL_TOKEN_FILE": str(token_file)},
        capture_output=True,
        timeout=60,
    )

    assert done.returncode == 0
    assert ready.returncode == 0, ready.stderr
    report: Mapping[str, Any] = json.loads(ready.stdout)["ready"][0]["report"]
    assert (report["status"], report["degraded"], report["instance_id"]) == ("done", True, "one")
    assert [each["place"] for each in report["troubles"]][:1] == ["unknown"]
    assert ask(server, PATH).status == 401
    assert TOKEN not in json.dumps(report)
