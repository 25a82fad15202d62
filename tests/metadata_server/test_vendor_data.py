"""Dynamic vendor data: what a target is asked, and what a guest gets when the target is ill."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from metadata_server.vendor_data import DynamicData

from .guest_side import FULL, listening

PATH = "/openstack/latest/vendor_data2.json"
STATIC = {"static": {"cloud-init": "#cloud-config\n"}, "dynamic": {"a": 1}}


class Target:
    """A service that answers with *body*, and remembers what it was asked."""

    def __init__(self, body: bytes = b'{"role": "web"}', status: int = 200) -> None:
        self.body, self.status = body, status
        self.delay: asyncio.Event | None = None
        self.asked: list[tuple[str, dict[str, str], object]] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append((request.method, dict(request.headers), await request.json()))
        if self.delay is not None:
            await self.delay.wait()
        headers = {"Location": "/elsewhere"} if self.status == 302 else {}
        return web.Response(body=self.body, status=self.status, headers=headers)


@asynccontextmanager
async def reachable(target: Target) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(target))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        if target.delay is not None:
            target.delay.set()
        await runner.cleanup()


async def test_a_target_is_asked_as_nova_asks_and_its_answer_has_its_name() -> None:
    target = Target()
    async with (
        reachable(target) as url,
        listening(FULL, vendor_data=DynamicData({"roles": url})) as side,
    ):
        found = json.loads((await side.ask(PATH)).body)

    assert found == {**STATIC, "roles": {"role": "web"}}
    ((method, headers, question),) = target.asked
    assert (method, headers["Content-Type"]) == ("POST", "application/json")
    assert question == {
        "project-id": FULL.project_id,
        "instance-id": FULL.id,
        "image-id": "3a64bd37-955e-40cd-ab9e-129db56bc05d",
        "user-data": base64.b64encode(b"#!/bin/sh\n\xff\x00").decode(),
        "hostname": FULL.hostname,
        "metadata": {"os_bit": "64"},
        "boot-roles": None,
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b"not JSON", 200),
        (b"\xff", 200),
        (b'{"a": 1}', 500),
        (b'{"a": 1}', 302),
        (b'{"a": 1}', 404),
        (b'"' + b"x" * (1 << 20) + b'"', 200),
    ],
)
async def test_an_ill_target_says_nothing_and_the_guest_has_the_rest(
    body: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    target = Target(body, status)
    async with (
        reachable(target) as url,
        listening(FULL, vendor_data=DynamicData({"roles": url})) as side,
    ):
        answers = [await side.ask(PATH) for _ in range(2)]

    assert [json.loads(answer.body) for answer in answers] == [{**STATIC, "roles": {}}] * 2
    # Not asked again at once, so that a boot waits for it once.
    assert len(target.asked) == 1
    assert "vendordata_dynamic.roles: expected" in caplog.text


async def test_nobody_there_and_nobody_awake() -> None:
    sleeping = Target()
    sleeping.delay = asyncio.Event()
    async with (
        reachable(sleeping) as url,
        listening(
            FULL,
            vendor_data=DynamicData({"none": "http://127.0.0.1:9/", "late": url}, patience=0.1),
        ) as side,
    ):
        answer = await side.ask(PATH)

    assert json.loads(answer.body) == {**STATIC, "none": {}, "late": {}}


async def test_an_answer_is_kept_for_a_while_and_not_for_a_changed_instance() -> None:
    clock = [0.0]
    target = Target()
    async with (
        reachable(target) as url,
        listening(FULL, vendor_data=DynamicData({"r": url}, now=lambda: clock[0])) as side,
    ):
        together = await asyncio.gather(*(side.ask(PATH) for _ in range(5)))
        await side.ask(PATH)
        once = len(target.asked)
        clock[0] += 60
        await side.ask(PATH)
        twice = len(target.asked)
        side.catalog.replace_base([replace(FULL, hostname="other")])
        await side.ask(PATH)

    assert len({answer.body for answer in together}) == 1
    assert (once, twice, len(target.asked)) == (1, 2, 3)
