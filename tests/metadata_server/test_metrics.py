"""/metrics: what Prometheus reads, and what guests cannot make of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from .commands import Served, served
from .guest_side import BARE

LINE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="[^"]*",?)+\})? ([0-9.]+)')


async def page(running: Served, token: str | None = None) -> tuple[int, str, str]:
    headers = {"Authorization": f"Bearer {token or running.token_file.read_text().strip()}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(running.url + "/metrics", headers=headers) as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.text()


def numbers(text: str) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        if not line.startswith("#"):
            found = LINE.fullmatch(line)
            assert found, line
            yield found[1] + (found[2] or ""), float(found[3])


async def test_requests_are_counted_by_listener_and_status(tmp_path: Path) -> None:
    async with served(tmp_path, BARE) as running:
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        async with aiohttp.ClientSession(running.guest_url) as guest:
            for path in ("/latest/meta-data/", "/latest/meta-data/", "/nope", '/"\n{a="b"}'):
                async with guest.get(path) as answer:
                    await answer.read()
            async with guest.get("/linklocal/v1/reset-password/request") as answer:
                await answer.read()
            async with guest.put("/latest/api/token", headers=headers) as answer:
                await answer.read()
            status, media, text = await page(running)
        found = dict(numbers(text))

    listener = 'listener="127.0.0.1:0"'
    assert (status, media) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert found[f'linklocal_requests_total{{{listener},status="200"}}'] == 3
    assert found[f'linklocal_requests_total{{{listener},status="404"}}'] == 2
    assert found[f"linklocal_tokens_total{{{listener}}}"] == 1
    assert found[f"linklocal_connections{{{listener}}}"] >= 1
    assert found["linklocal_instances"] == 1
    assert found['linklocal_resets_total{event="bad-request"}'] == 1
    assert all(f"# TYPE {name.partition('{')[0]} " in text for name in found)


async def test_the_numbers_are_not_for_everybody(tmp_path: Path) -> None:
    async with served(tmp_path, BARE) as running:
        assert (await page(running, "wrong-token-0123456789"))[0] == 401
        status, _ = await running.guest("GET", "/metrics")

    assert status == 404
