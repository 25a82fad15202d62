"""Scenarios: read with the place of each mistake, run by the clock, gone after a reset."""

from __future__ import annotations

import json
import random
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from metadata_server.day.actions import AddFault, Announce
from metadata_server.day.forms import read_scenario
from metadata_server.errors import ConfigError
from metadata_server.server import Server

from ..conftest import Serve
from .commands import REPOSITORY, linklocal
from .test_faults import get
from .test_workers import ask, control

META = "/latest/meta-data/"
SCENARIOS = "/linklocal/v1/scenarios"
FAULTS = "/linklocal/v1/faults"
ONE: dict[str, Any] = {"id": "one", "name": "one", "tags": {"role": "web"}, "user_data": "x" * 50}
TWO: dict[str, Any] = {"id": "two", "name": "two", "nics": [{"ipv4": "127.0.0.2"}]}
DAY = """\
name: half an hour
instances: [one]
steps:
  - at: 0
    set: {tags: {phase: begun}}
  - at: 5m
    fault: {path: /latest/user-data, status: 503, first: 2, for: 4m}
  - at: 10m
    spot: {in: 2m}
  - at: 15m
    tag: role=web
    rebalance: {}
  - at: 20m
    fault: {path: "/latest/meta-data/*", status: 500, every: 2}
  - at: 25m
    cancel: [rebalance]
  - at: 25m
    clear_faults: "*"
  - at: 30m
    reset: true
"""


def run(server: Server, text: str, **more: object) -> dict[str, Any]:
    body = {"file": "day.yaml", "text": text, **more}
    begun: dict[str, Any] = json.loads(control(server, "POST", SCENARIOS, body))
    return begun


def show(server: Server, run_id: str, wait: float = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(control(server, "GET", f"{SCENARIOS}/{run_id}?wait={wait}"))
    return found


def step(server: Server, seconds: object) -> None:
    control(server, "POST", "/linklocal/v1/clock", {"step": seconds})


def visit(server: Server) -> None:
    """Ask what a guest would."""
    for path in ("/latest/user-data", META + "spot/instance-action", META + "hostname"):
        ask(server, path, "GET", "User-Agent: guest")
    ask(server, META + "tags/instance/phase", "GET", "User-Agent: guest")


def entries(server: Server, **query: object) -> list[dict[str, Any]]:
    words = "&".join(f"{name}={value}" for name, value in query.items())
    answer = json.loads(control(server, "GET", f"/linklocal/v1/journal?{words}"))
    found: list[dict[str, Any]] = answer["entries"]
    return found


def story(server: Server) -> list[tuple[Any, ...]]:
    """Return the journal without its times."""
    names = ("kind", "instance", "path", "status", "token", "agent", "fault", "what", "facts")
    return [tuple(each.get(name) for name in names) for each in entries(server, after=0)]


def stepped_story(serve: Serve) -> list[tuple[Any, ...]]:
    server = serve(ONE, TWO, clock="stepped")
    begun = run(server, DAY)
    visit(server)
    for _ in range(6):
        step(server, "5m")
        visit(server)
    assert show(server, begun["id"])["state"] == "done"
    return story(server)


def test_half_an_hour_passes_step_by_step(serve: Serve) -> None:
    told = stepped_story(serve)

    happened = [(each[7], each[8].get("offset")) for each in told if each[0] != "request"]
    assert happened == [
        ("run-1 begun", 0),
        ("set tags", 0),
        ("status added", 300),
        ("status over", None),
        ("spot told", 600),
        ("spot over", None),
        ("rebalance told", 900),
        ("status added", 1200),
        ("rebalance cancelled", 1500),
        ("status removed", 1500),
        ("reset", 1800),
        ("run-1 done", 1800),
    ]
    statuses = [each[3] for each in told if each[0] == "request"]
    assert [statuses[place : place + 4] for place in range(0, 28, 4)] == [
        [200, 404, 200, 200],
        [503, 404, 200, 200],
        [200, 200, 200, 200],
        [200, 404, 200, 200],
        [200, 404, 500, 200],
        [200, 404, 200, 200],
        [200, 404, 200, 404],
    ]


@pytest.mark.slow
def test_half_an_hour_in_a_few_seconds_has_the_same_journal(serve: Serve) -> None:
    expected = stepped_story(serve)
    server = serve(ONE, TWO)

    begun = run(server, DAY, speed=150)
    last = 0
    for offset in (0, 300, 600, 900, 1200, 1500, 1800):
        while True:
            found = entries(server, after=last, wait=20, limit=1)
            last = found[0]["number"]
            told = found[0].get("facts", {})
            # The last thing of each time: at 25 minutes there are two.
            if told.get("offset") == offset and found[0]["what"] not in (
                "run-1 begun",
                "rebalance cancelled",
                "reset",
            ):
                break
        visit(server)

    assert show(server, begun["id"], wait=20)["state"] == "done"
    assert story(server) == expected


def test_it_goes_on_by_itself_and_says_what_failed(serve: Serve) -> None:
    server = serve(ONE, TWO)
    text = (
        "steps:\n"
        "  - {at: 0, instances: [one], set: {nics: nonsense}}\n"
        "  - {at: 1, tag: nobody, rebalance: {}}\n"
        "  - {at: 2, instances: [two], rebalance: {}}\n"
    )

    begun = run(server, text, speed=100)
    ended = show(server, begun["id"], wait=20)

    assert (ended["state"], ended["done"], ended["name"]) == ("failed", 3, "day")
    assert [each.partition(": ")[0] for each in ended["failures"]] == ["day.yaml:2", "day.yaml:3"]
    assert "nics: expected a list" in ended["failures"][0]
    events = json.loads(control(server, "GET", "/linklocal/v1/events"))["events"]
    assert [(each["instance"], each["kind"]) for each in events] == [("two", "rebalance")]


def test_one_that_is_stopped_does_nothing_more(serve: Serve) -> None:
    server = serve(ONE, clock="stepped")
    begun = run(server, DAY)
    step(server, "6m")
    control(server, "DELETE", f"{SCENARIOS}/{begun['id']}")
    step(server, "1h")

    shown = show(server, begun["id"])
    assert (shown["state"], shown["done"]) == ("stopped", 2)
    assert entries(server, kind="event") == []
    assert ask(server, META + "tags/instance/phase").text == "begun"


async def test_the_command_runs_follows_and_checks(tmp_path: Path, serve: Serve) -> None:
    server = serve(ONE, TWO)
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(server.token)
    at = {"LINKLOCAL_URL": server.control_url, "LINKLOCAL_TOKEN_FILE": str(token)}
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("steps:\n- {at: 5m, all: true, fault: {status: 503, first: 1}}\n")
    bad.write_text("steps:\n- {at: 5m}\n- {at: 1, all: true, fault: {frist: 1}}\n")

    ran = await linklocal("scenario", "run", str(good), "--speed", "3000", environ=at)
    checked = await linklocal("scenario", "check", str(bad))
    refused = await linklocal("scenario", "run", str(bad), environ=at)
    fewer = await linklocal("fault", "remove", "--instance", "two", environ=at)
    faults = await linklocal("fault", "list", "--json", environ=at)

    assert ran.status == 0, ran.err
    assert [line.split("  ")[1:3] for line in ran.out.splitlines()] == [
        ["-", "* run-1 begun"],
        ["one", "* status added"],
        ["two", "* status added"],
        ["-", "* run-1 done"],
    ]
    assert (checked.status, refused.status) == (1, 1)
    assert checked.err == refused.err
    assert f"{bad}:2: steps[0]: expected one of spot, rebalance" in checked.err
    assert f"{bad}:3: steps[1].fault: unknown key 'frist', nearest is 'first'" in checked.err
    assert fewer.err == "1 removed\n"
    assert [each["instance"] for each in faults.document["faults"]] == ["one"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ": expected a scenario, found nothing"),
        ("- 1", ":1: expected a table, got a list"),
        ("steps: []", ":1: steps: expected one step at least"),
        ("name: x", ":1: missing key 'steps'"),
        ("steps:\n- {all: true, rebalance: {}}", ":2: steps[0]: missing key 'at'"),
        ("steps:\n- {at: soon, all: true, reset: true}", ":2: steps[0].at: expected seconds"),
        ("steps:\n\n- {at: 1, reset: true}", ":3: step: expected one of instances, tag, all"),
        ("steps:\n- {at: 1, all: true, tag: x, reset: true}", ":2: steps[0]: expected one of inst"),
        ("steps:\n- {at: 1, all: true, reset: false}", ":2: steps[0]: expected one of spot"),
        ("steps:\n- {at: 1, all: true, cancel: [all]}", ":2: steps[0].cancel[0]: expected spot"),
        ("steps:\n- at: 1\n  all: true\n  spot: {in: x}", ":4: steps[0].spot.in: expected seconds"),
        ("steps:\n- {at: 1, al: true}", ":2: steps[0]: unknown key 'al', nearest is 'all'"),
        ("steps: [", ":2: not YAML: "),
    ],
)
def test_a_mistake_has_its_file_and_line(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        read_scenario(text.encode(), Path("day.yaml"))

    assert any(f"day.yaml{problem}" in each for each in wrong.value.problems), wrong.value.problems


def test_an_instance_nobody_knows_is_refused_at_once(serve: Serve) -> None:
    import urllib.error

    server = serve(ONE)
    with pytest.raises(urllib.error.HTTPError) as refused:
        run(server, "steps:\n- {at: 1h, instances: [one, three], reset: true}\n")

    assert refused.value.code == 404
    assert json.loads(refused.value.read())["detail"] == "day.yaml:2: no such instance: 'three'"
    assert json.loads(control(server, "GET", SCENARIOS))["scenarios"] == []


def test_steps_are_done_in_the_order_of_their_times() -> None:
    found = read_scenario(
        b"all: true\nsteps:\n- {at: 9, spot: {}}\n- {at: 1m, reset: true}\n"
        b"- {at: 9s, fault: {hang: true}}\n- {at: 1, rebalance: {}}",
        Path("a/day.yaml"),
    )

    assert [(each.at, each.line) for each in found.steps] == [(1, 6), (9, 3), (9, 5), (60, 4)]
    assert isinstance(found.steps[1].action, Announce)
    assert isinstance(found.steps[2].action, AddFault)
    assert (found.name, found.length) == ("day", 60)


def random_step(dice: random.Random) -> dict[str, Any]:
    target: dict[str, Any] = dice.choice(
        [{"all": True}, {"instances": ["one"]}, {"instances": ["two", "one"]}]
    )
    rule: dict[str, Any] = dice.choice(
        [{}, {"first": 2}, {"every": 2}, {"probability": 0.5}, {"for": "10m"}]
    )
    tell: dict[str, Any] = dice.choice([{}, {"tell_in": dice.randrange(0, 900)}])
    actions: list[dict[str, Any]] = [
        {"spot": {"in": dice.randrange(901, 4000), **tell}},
        {"rebalance": dice.choice([{}, {"in": dice.randrange(4000)}])},
        {"maintenance": {"in": dice.randrange(901, 4000), "length": "5m", **tell}},
        {"life_cycle": {"state": dice.choice(["Terminated", "Standby"])}},
        {"cancel": dice.sample(["spot", "rebalance", "maintenance", "life_cycle"], 2)},
        {"fault": {"status": 503, "path": "/latest/*", **rule}},
        {"fault": {"truncate": 5, **rule}},
        {"fault": {"reset": True, "path": "*/hostname", **rule}},
        {"fault": {"token_expired": True, **rule}},
        {"clear_faults": "/latest/*"},
        {"set": {"tags": {"n": str(dice.randrange(9))}}},
        {"set": {"flavor": f"s{dice.randrange(9)}"}},
        {"reset": True},
    ]
    return {"at": dice.randrange(1800), **target, **dice.choice(actions)}


@pytest.mark.parametrize("number", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_random_scenarios_leave_nothing_behind_after_a_reset(
    number: int, serve: Serve, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    server = serve(ONE, TWO, clock="stepped", state=str(state))
    paths = ("/latest/user-data", META + "hostname", META, "/openstack/latest/meta_data.json")
    names = ("notices", "plans", "overlay", "journal", "journal_clients")
    tables = [f"SELECT * FROM {name}" for name in names]  # noqa: S608  # five constants

    def left() -> Any:
        lists = [
            json.loads(control(server, "GET", f"/linklocal/v1/{name}"))
            for name in ("events", "faults", "scenarios", "journal?limit=1", "token-readiness")
        ]
        lists[3] = lists[3]["entries"]
        with sqlite3.connect(state / "state.sqlite") as database:
            rows = [database.execute(query).fetchall() for query in tables]
        served = []
        for source in ("127.0.0.1", "127.0.0.2"):
            served += [get(server, path, source=source) for path in paths]
        served.append(ask(server, META).body)
        control(server, "DELETE", "/linklocal/v1/journal")
        return lists, rows, served

    before = left()
    busy = 0
    for seed in range(number):
        dice = random.Random(seed)  # noqa: S311  # the same scenarios each time
        steps = [random_step(dice) for _ in range(dice.randrange(1, 12))]
        run(server, json.dumps({"steps": steps}), speed=dice.choice([1, 2.5]))
        for _ in range(dice.randrange(4)):
            step(server, dice.randrange(700))
            get(server, META + "hostname", source=dice.choice(["127.0.0.1", "127.0.0.2"]))
        busy += bool(entries(server, kind="event"))
        control(server, "DELETE", "/linklocal/v1/state")
        assert left() == before, seed
        step(server, "2h")
        assert left() == before, seed
    assert busy > number // 4


def test_the_scenario_of_the_page_is_one() -> None:
    text = (REPOSITORY / "docs/events-and-faults.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)

    assert len(read_scenario(example.encode(), Path("day.yaml")).steps) == 6
