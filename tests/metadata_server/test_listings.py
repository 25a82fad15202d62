"""Listings of very many instances let others work in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from metadata_server.catalog import AT_ONCE

from .guest_side import BARE
from .plane import plane

MANY = 3200


@pytest.mark.parametrize(
    "path",
    [
        "/linklocal/v1/instances?name=*7",
        "/linklocal/v1/instances?tag=odd",
        "/v2.1/servers/detail?name=77",
        "/v2.1/servers?all_tenants=1&name=77",
        "/v2.1/os-keypairs",
        f"/v1/{BARE.project_id}/cloudservers/detail?tags=odd",
    ],
)
async def test_a_filter_over_many_instances_holds_up_nobody(path: str, tmp_path: Path) -> None:
    instances = [
        replace(
            BARE,
            id=f"vm-{number}",
            name=f"vm-{number}",
            identify=replace(BARE.identify, addresses=(), interface=f"tap{number}"),
        )
        for number in range(MANY)
    ]
    turns = 0

    async def work() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with plane(tmp_path, instances) as found:
        status, _, _ = await found.call("GET", path)
        others = asyncio.create_task(work())
        before = turns
        # One without instances to look at says what a call takes anyhow.
        await found.call("GET", "/linklocal/v1/instances?limit=1")
        anyhow, before = turns - before, turns
        await found.call("GET", path)
        taken = turns - before
        others.cancel()

    assert status == 200
    assert taken - anyhow > MANY / AT_ONCE / 2
