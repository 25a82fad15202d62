"""A peer that answers in the server's place and has not its key: it harms nothing that lasts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from .test_reset_end_to_end import Machine, Start, ask, ended
from .test_reset_end_to_end import machine as machine
from .test_reset_end_to_end import pytestmark as pytestmark
from .test_reset_end_to_end import server as server

Answers = Callable[[str], web.Response]

RESET = "/linklocal/v1/reset-password/"


@asynccontextmanager
async def peer(answers: Answers) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve *answers* by path inside the block; give its URL and what it was asked."""
    asked: list[str] = []

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        asked.append(request.path)
        response = answers(request.path)
        response.force_close()
        return response

    runner = web.ServerRunner(web.Server(serve))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def until(asked: list[str], enough: Callable[[list[str]], bool]) -> None:
    for _ in range(1500):
        if enough(asked):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(asked)


def as_json(message: Mapping[str, str]) -> web.Response:
    return web.json_response({"v": 1, **message})


async def test_a_peer_without_the_servers_key_takes_neither_identity_nor_results(
    machine: Machine, server: Start
) -> None:
    async with server() as at:
        async with machine.daemon(at.guest_url):
            asked, _ = await ask(at)
            await ended(at, asked)
            key = at.engine.server_key
        kept = (machine.state / "identity.json").read_bytes()
        before = at.engine.enrolment(asked.instance)
        # As if it had been killed before the server's word was there.
        path = machine.state / "resets.json"
        resets = json.loads(path.read_text())
        resets["resets"][0]["acknowledged"] = False
        path.write_text(json.dumps(resets))

        def impostor(path: str) -> web.Response:
            if path.endswith("meta_data.json"):
                return web.json_response({"uuid": f"invented-{len(asked_of_peer)}"})
            if path == RESET + "challenge":
                return as_json({"nonce": "00" * 32, "server": key})
            return as_json({"identity": "sha256:", "mac": "00" * 32, "result": "unknown"})

        async with (
            peer(impostor) as (url, asked_of_peer),
            machine.daemon(url, wait_ready=False),
        ):
            await until(asked_of_peer, lambda paths: paths.count(RESET + "key") >= 3)
        left = json.loads(path.read_text())["resets"][0]
        taken = (machine.state / "identity.json").read_bytes()
        async with machine.daemon(at.guest_url):
            again = at.engine.enrolment(asked.instance)
        settled = json.loads(path.read_text())["resets"][0]

    assert b"the answer is not by the server" in machine.log
    assert taken == kept
    assert not left["acknowledged"]
    assert settled["acknowledged"]
    assert before is not None
    assert again is not None
    assert (again.identity, again.candidate) == (before.identity, None)
