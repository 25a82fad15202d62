"""Instances that are removed by the clock, which is the test's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from metadata_server import mailbox, overlay
from metadata_server.catalog import Catalog
from metadata_server.day.clock import Clock
from metadata_server.endings import Endings, seconds_of
from metadata_server.instance import Instance
from metadata_server.overlay import Overlay
from metadata_server.server import Server
from metadata_server.store import Store

from ..conftest import Serve
from .dialects import ONE, OTHER, as_guest, call

END = "2030-01-19T03:30:52Z"
NEVER = Instance(id="never", name="never", hostname="n.novalocal", project_id="p")
SOON = Instance(
    id="soon", name="soon", hostname="s.novalocal", project_id="p", auto_terminate_time=END
)
ALL = "/linklocal/v1/instances"


class Cloud:
    """A state with two instances and a clock that stands until it is set."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock(seconds_of(END) - 60)
        self.store = Store(directory / "state", [mailbox.SCHEMA, overlay.SCHEMA])
        self.catalog = Catalog()
        self.overlay = Overlay(self.store, self.catalog, [NEVER, SOON])
        Endings(self.catalog, self.overlay, self.clock)

    def ids(self) -> list[str]:
        return [each.id for each in self.catalog.all()]


@pytest.fixture
async def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path)


async def test_an_instance_goes_at_its_time_and_stays_away(cloud: Cloud, tmp_path: Path) -> None:
    await cloud.clock.step(59)
    assert cloud.ids() == ["never", "soon"]

    await cloud.clock.step(1)
    assert cloud.ids() == ["never"]

    cloud.store.close()
    assert Cloud(tmp_path).ids() == ["never"]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda c: c.overlay.set("soon", {"auto_terminate_time": None}), ["never", "soon"]),
        (
            lambda c: c.overlay.set("soon", {"auto_terminate_time": "2031-01-01T00:00:00Z"}),
            ["never", "soon"],
        ),
        (lambda c: c.overlay.set("never", {"auto_terminate_time": END}), []),
        (lambda c: c.overlay.delete(["soon"]), ["never"]),
    ],
)
async def test_what_was_changed_last_counts(
    cloud: Cloud, change: Callable[[Cloud], Awaitable[object]], left: list[str]
) -> None:
    await change(cloud)

    await cloud.clock.step(60)

    assert cloud.ids() == left


def test_a_guest_whose_end_has_come_is_served_no_more(serve: Serve) -> None:
    server: Server = serve(ONE, OTHER)
    assert as_guest(server, "/latest/meta-data/")[0] == 200

    status, _, _ = call(
        server, "PATCH", f"{ALL}/{ONE['id']}", {"auto_terminate_time": "2020-01-01T00:00:00Z"}
    )

    assert status == 200
    while as_guest(server, "/latest/meta-data/")[0] == 200:
        pass
    assert [each["id"] for each in call(server, "GET", ALL)[1]["instances"]] == ["other"]
