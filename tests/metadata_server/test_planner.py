"""Events by API and from the shell: told now, later or never, to one guest or many, called off."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from metadata_server.server import Server

from ..conftest import Serve, serving
from .test_workers import ask, control

META = "/latest/meta-data/"
EVENTS = "/linklocal/v1/events"
CLOCK = "/linklocal/v1/clock"
TIME = "2100-01-01T12:00:00Z"
ONE: dict[str, Any] = {"id": "one", "tags": {"role": "web"}}
TWO: dict[str, Any] = {"id": "two", "tags": {"role": "db"}, "nics": [{"ipv4": "127.0.0.2"}]}


@pytest.fixture
def server(serve: Serve) -> Server:
    found = serve(ONE, TWO, clock="stepped")
    control(found, "POST", CLOCK, {"to": TIME})
    return found


def announce(server: Server, **body: object) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = json.loads(control(server, "POST", EVENTS, body))["events"]
    return made


def events(server: Server) -> list[tuple[str, str, bool]]:
    found = json.loads(control(server, "GET", EVENTS))["events"]
    return [(each["instance"], each["kind"], each["told"]) for each in found]


def served(server: Server, path: str) -> Any:
    answer = ask(server, META + path)
    return answer.text if answer.status == 200 else answer.status


def step(server: Server, seconds: object) -> None:
    control(server, "POST", CLOCK, {"step": seconds})


def happened(server: Server) -> list[tuple[str, str]]:
    entries = json.loads(control(server, "GET", "/linklocal/v1/journal?kind=event"))["entries"]
    return [(each["instance"], each["what"]) for each in entries]


def test_an_interruption_is_told_in_both_shapes_and_is_over_at_its_time(server: Server) -> None:
    (made,) = announce(server, instances=["one"], spot={"in": 120, "action": "stop"})

    assert made == {
        "id": "spot",
        "instance": "one",
        "kind": "spot",
        "told": True,
        "action": "stop",
        "at": "2100-01-01T12:02:00Z",
    }
    shown = {"action": "stop", "time": "2100-01-01T12:02:00Z"}
    assert json.loads(served(server, "spot/instance-action")) == shown
    guide = json.loads(ask(server, "/openstack/latest/spot/instance-action").text)
    assert guide == {"action": "stop", "timestamp": "2100-01-01 12:02:00"}
    step(server, 120)
    assert served(server, "spot/instance-action") == 404
    assert events(server) == []
    assert happened(server) == [("one", "spot told"), ("one", "spot over")]


def test_the_guide_reclaims_in_five_minutes(server: Server) -> None:
    announce(server, tag="role=web", spot={})
    announce(server, instances=["two"], spot={"tell_in": 60})

    assert json.loads(served(server, "spot/instance-action"))["time"] == "2100-01-01T12:05:00Z"
    assert events(server) == [("one", "spot", True), ("two", "spot", False)]
    step(server, 60)
    assert events(server) == [("one", "spot", True), ("two", "spot", True)]
    step(server, 240)
    assert events(server) == [("two", "spot", True)]
    step(server, 60)
    assert events(server) == []


def test_all_kinds_now_later_and_at_a_time(server: Server) -> None:
    announce(server, all=True, rebalance={"in": 10})
    announce(server, instances=["one"], life_cycle={"state": "Terminated", "at": TIME})
    announce(
        server,
        instances=["one"],
        maintenance={"in": "1h", "tell_in": "5m", "length": "30m", "code": "system-reboot"},
    )

    assert served(server, "autoscaling/target-lifecycle-state") == "Terminated"
    assert served(server, "events/recommendations/rebalance") == 404
    step(server, 10)
    rebalance = json.loads(served(server, "events/recommendations/rebalance"))
    assert rebalance == {"noticeTime": "2100-01-01T12:00:10Z"}
    assert served(server, "events/maintenance/scheduled") == 404
    step(server, 290)
    (scheduled,) = json.loads(served(server, "events/maintenance/scheduled"))
    assert (scheduled["Code"], scheduled["NotBefore"], scheduled["NotAfter"]) == (
        "system-reboot",
        "01 Jan 2100 13:00:00 GMT",
        "01 Jan 2100 13:30:00 GMT",
    )
    step(server, "2h")
    (past,) = json.loads(served(server, "events/maintenance/history"))
    assert past["State"] == "completed"


def test_what_is_called_off_is_told_no_more(server: Server) -> None:
    announce(server, all=True, spot={"in": 300})
    announce(server, all=True, rebalance={"in": 60})
    made = announce(server, instances=["one"], maintenance={"in": 600})

    def cancel(**body: object) -> int:
        number: int = json.loads(control(server, "POST", EVENTS + "/cancel", body))["cancelled"]
        return number

    assert cancel(tag="role", kinds=["spot"]) == 2
    assert served(server, "spot/instance-action") == 404
    assert cancel(instances=["two"]) == 1
    assert events(server) == [("one", "rebalance", False), ("one", "maintenance", True)]
    assert cancel(all=True, event=made[0]["id"]) == 1
    (past,) = json.loads(served(server, "events/maintenance/history"))
    assert past["State"] == "canceled"
    assert cancel(all=True) == 1
    step(server, "1h")
    assert events(server) == []
    assert served(server, "events/recommendations/rebalance") == 404


def test_plans_outlive_the_process_and_go_with_their_instance(tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.touch(0o600)
    first = {**ONE, "identify": {"default": True}}
    settings = {"listen": ["127.0.0.1:0"], "control": {"listen": "127.0.0.1:0"}}
    written = {**settings, "state": str(tmp_path / "state"), "instances": [first, TWO]}
    path.write_text(json.dumps(written))
    with serving(path) as server:
        announce(server, all=True, spot={"in": 300, "tell_in": 100})
    with serving(path) as server:
        kept = events(server)
        control(server, "DELETE", "/linklocal/v1/instances/two")
        left = events(server)
        control(server, "DELETE", "/linklocal/v1/instances/one/overlay")
        reset = events(server)

    assert kept == [("one", "spot", False), ("two", "spot", False)]
    assert left == [("one", "spot", False)]
    assert reset == []


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"spot": {}}, 400, "expected one of instances, tag, all"),
        ({"all": True, "tag": "role", "spot": {}}, 400, "expected one of instances, tag, all"),
        ({"all": True}, 400, "expected one of spot, rebalance"),
        ({"all": True, "spot": {}, "rebalance": {}}, 400, "expected one of spot, rebalance"),
        ({"all": True, "spot": {"in": 1, "at": TIME}}, 400, "expected either 'in' or 'at'"),
        ({"all": True, "spot": {"at": "2020-01-01T00:00:00Z"}}, 400, "still to come"),
        ({"all": True, "spot": {"in": 10, "tell_in": 10}}, 400, "still to come"),
        ({"all": True, "spot": {"action": "explode"}}, 400, "terminate or stop or hibernate"),
        ({"all": True, "life_cycle": {}}, 400, "missing key 'state'"),
        ({"instances": ["nope"], "spot": {}}, 404, "no such instance: 'nope'"),
        ({"tag": "role=none", "spot": {}}, 404, "no instance has the tag 'role=none'"),
    ],
    ids=str,
)
def test_an_event_that_cannot_be_is_refused(
    body: dict[str, Any], status: int, detail: str, server: Server
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        announce(server, **body)

    assert refused.value.code == status
    assert detail in json.loads(refused.value.read())["detail"]
    assert events(server) == []
