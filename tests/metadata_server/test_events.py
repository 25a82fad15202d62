"""Notices: served where clients look for them, listed while they last, kept across restarts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from metadata_server import events
from metadata_server.events import Events
from metadata_server.notices import NONE, Interruption, Maintenance, Notices
from metadata_server.store import Store

from .guest_side import FULL, GuestSide, listening

META = "/latest/meta-data/"
EC2 = META + "spot/instance-action"
HUAWEI = "/openstack/latest/spot/instance-action"

TIME = 1_685_610_900
"""2023-06-01 09:15:00 UTC, the guide's example."""

EVENT = Maintenance(
    "instance-event-1", "system-reboot", TIME, "a new host", TIME + 7200, TIME + 86400
)


def told(**changed: Any) -> Callable[[Notices], Notices]:
    return lambda notices: replace(notices, **changed)


async def get(side: GuestSide, path: str) -> Any:
    answer = await side.ask(path)
    return json.loads(answer.body) if answer.status == 200 else answer.status


async def listed(side: GuestSide, path: str) -> list[str]:
    return (await side.ask(path)).text.splitlines()


async def test_an_interruption_is_told_until_its_time_has_come() -> None:
    clock = [TIME - 300.0]
    async with listening(FULL, now=lambda: clock[0]) as side:
        before = [await get(side, path) for path in (EC2, HUAWEI, META + "spot/termination-time")]
        await side.events.change(FULL.id, told(interruption=Interruption(TIME)))

        assert before == [404, 404, 404]
        assert await get(side, EC2) == {"action": "terminate", "time": "2023-06-01T09:15:00Z"}
        assert await get(side, HUAWEI) == {
            "action": "terminate",
            "timestamp": "2023-06-01 09:15:00",
        }
        assert (await side.ask(META + "spot/termination-time")).text == "2023-06-01T09:15:00Z"
        assert "spot/" in await listed(side, META)
        assert "spot/" in await listed(side, "/openstack/latest")

        clock[0] = TIME
        assert (await side.ask(EC2)).status == 404
        assert (await side.ask(HUAWEI)).status == 404
        assert "spot/" not in await listed(side, META)
        assert "spot/" not in await listed(side, "/openstack/latest")


async def test_a_notice_is_withdrawn_at_once() -> None:
    async with listening(FULL, now=lambda: TIME - 300.0) as side:
        for action in ("stop", "hibernate"):
            notice = Interruption(TIME, action)
            await side.events.change(FULL.id, told(interruption=notice))
            found = await get(side, EC2)
            assert found == {"action": action, "time": "2023-06-01T09:15:00Z"}
            assert (await side.ask(META + "spot/termination-time")).status == 404
        await side.events.change(FULL.id, lambda _: NONE)

        assert (await side.ask(EC2)).status == 404
        assert side.store.read("SELECT * FROM notices") == []


async def test_rebalance_and_life_cycle() -> None:
    async with listening(FULL) as side:
        rebalance = META + "events/recommendations/rebalance"
        life_cycle = META + "autoscaling/target-lifecycle-state"
        assert (await side.ask(rebalance)).status == (await side.ask(life_cycle)).status == 404
        await side.events.change(FULL.id, told(rebalance=TIME, life_cycle="Warmed:Stopped"))

        assert await get(side, rebalance) == {"noticeTime": "2023-06-01T09:15:00Z"}
        assert (await side.ask(life_cycle)).text == "Warmed:Stopped"
        assert "autoscaling/" in await listed(side, META)
        assert await listed(side, META + "events/") == ["recommendations/"]


async def test_maintenance_is_history_when_it_is_over() -> None:
    clock = [TIME - 300.0]
    async with listening(FULL, now=lambda: clock[0]) as side:
        scheduled, history = (
            META + "events/maintenance/scheduled",
            META + "events/maintenance/history",
        )
        await side.events.change(FULL.id, told(maintenance=(EVENT,)))

        assert await get(side, scheduled) == [
            {
                "Code": "system-reboot",
                "Description": "a new host",
                "EventId": "instance-event-1",
                "NotBefore": "01 Jun 2023 09:15:00 GMT",
                "NotAfter": "01 Jun 2023 11:15:00 GMT",
                "NotBeforeDeadline": "02 Jun 2023 09:15:00 GMT",
                "State": "active",
            }
        ]
        assert (await side.ask(history)).status == 404
        clock[0] = TIME + 7200
        assert (await side.ask(scheduled)).status == 404
        (past,) = await get(side, history)
        assert past["State"] == "completed"
        assert await listed(side, META + "events/maintenance") == ["history"]


async def test_of_another_instance_nothing_is_told() -> None:
    async with listening(FULL, now=lambda: TIME - 300.0) as side:
        await side.events.change("another", told(interruption=Interruption(TIME)))

        assert (await side.ask(EC2)).status == 404


async def test_notices_outlive_the_process_and_go_with_their_instance(tmp_path: Path) -> None:
    whole = Notices(Interruption(TIME, "stop"), TIME, (EVENT,), "InService")
    first = Store(tmp_path / "state", [events.SCHEMA])
    before = Events(first, now=lambda: TIME - 300.0)
    await before.change("one", lambda _: whole)
    first.close()

    second = Store(tmp_path / "state", [events.SCHEMA])
    after = Events(second, now=lambda: TIME - 300.0)
    kept = after.of("one")
    await second.write(lambda state: after.forget(state, "one"))
    await after.forgotten("one")

    assert kept == whole
    assert after.of("one") == NONE
    assert after.born == before.born
    assert second.read("SELECT * FROM notices") == []
    second.close()
