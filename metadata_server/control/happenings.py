"""The native API of events, faults and scenarios."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final, TypeVar

from aiohttp import web

from ..catalog import Catalog
from ..config_forms import Section
from ..day.actions import EVENTS, AddFault, Announce, Cancel, EventKind, Step, Target
from ..day.day import Day
from ..day.faults import as_matched
from ..day.forms import EVENT_ASKED, FAULT_ASKED, read_scenario
from ..document import read_section
from ..errors import ConfigError, InvalidDocument
from .audit import note
from .body import Body, InvalidBody, read_body, read_json
from .native import WAIT, read_wait
from .openapi import refused
from .parameters import BASE, GONE
from .routes import Accepts, Answer, Call, Parameter
from .schemas import NAMES, TEXT, TRUTH, WHOLE, many, optional, reference, table

EVENTS_PATH: Final = BASE + "/events"
FAULTS: Final = BASE + "/faults"
SCENARIOS: Final = BASE + "/scenarios"
FASTEST: Final = 100_000.0
LARGEST: Final = 512 * 1024
"""Characters of a scenario."""

INSTANCE: Final = Parameter("instance", "Only of the instance with this id.")
FAULT: Final = Parameter("fault", "Id of the fault.", "path")
RUN: Final = Parameter("run", "Id of the scenario that runs.", "path")

_TARGET: Final[dict[str, Any]] = {
    "instances": optional(NAMES),
    "tag": optional(TEXT),
    "all": optional(TRUTH),
}

T = TypeVar("T")


def _asked(**more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": "One of `instances`, `tag`, `all` says which instances.",
        "properties": {**_TARGET, **more},
        "additionalProperties": False,
    }


class Happenings:
    """The handlers."""

    def __init__(self, day: Day, catalog: Catalog) -> None:
        self._day = day
        self._catalog = catalog

    def calls(self) -> tuple[Call, ...]:
        return (*self._event_calls(), *self._fault_calls(), *self._scenario_calls())

    def _event_calls(self) -> tuple[Call, ...]:
        events = Answer("The events.", table(events=many(reference("Event"))))
        kinds = {"type": "array", "items": {"enum": list(EVENTS)}}
        return (
            Call(
                "GET",
                EVENTS_PATH,
                "listEvents",
                "List the events that are told to guests, or planned.",
                self.list_events,
                {200: events} | GONE,
                (INSTANCE,),
                group="events",
            ),
            Call(
                "POST",
                EVENTS_PATH,
                "announce",
                "Tell instances of an event, now or later.",
                self.announce,
                {201: events} | GONE,
                accepts=Accepts(reference("EventAsked")),
                group="events",
            ),
            Call(
                "POST",
                EVENTS_PATH + "/cancel",
                "cancelEvents",
                "Call events off, told or planned: of some kinds, or one by its id.",
                self.cancel,
                {200: Answer("How many there were.", table(cancelled=WHOLE))} | GONE,
                accepts=Accepts(_asked(kinds=optional(kinds), event=optional(TEXT))),
                group="events",
            ),
        )

    def _fault_calls(self) -> tuple[Call, ...]:
        faults = Answer("The faults.", table(faults=many(reference("Fault"))))
        return (
            Call(
                "GET",
                FAULTS,
                "listFaults",
                "List faults, with how many requests they have met.",
                self.list_faults,
                {200: faults} | GONE,
                (INSTANCE,),
                group="faults",
            ),
            Call(
                "POST",
                FAULTS,
                "addFault",
                "Add a fault to each of some instances.",
                self.add_fault,
                {201: faults} | GONE | refused(409, "There are too many."),
                accepts=Accepts(reference("FaultAsked")),
                group="faults",
            ),
            Call(
                "POST",
                FAULTS + "/clear",
                "clearFaults",
                "Remove the faults of some instances, or those whose path a pattern matches.",
                self.clear_faults,
                {200: Answer("How many there were.", table(removed=WHOLE))} | GONE,
                accepts=Accepts(_asked(path=optional(TEXT))),
                group="faults",
            ),
            Call(
                "DELETE",
                FAULTS + "/{fault}",
                "removeFault",
                "Remove one fault.",
                self.remove_fault,
                {204: Answer("It is gone.")} | refused(404, "There is no such fault."),
                (FAULT,),
                group="faults",
            ),
        )

    def _scenario_calls(self) -> tuple[Call, ...]:
        one = {200: Answer("The scenario.", reference("Run"))}
        unknown = refused(404, "There is no such scenario.")
        asked = table(file=TEXT, text=TEXT)
        asked["properties"]["speed"] = optional(
            {"type": "number", "exclusiveMinimum": 0, "maximum": FASTEST}
        )
        return (
            Call(
                "GET",
                SCENARIOS,
                "listScenarios",
                "List the scenarios that run, and the last that have ended.",
                self.list_runs,
                {200: Answer("The scenarios.", table(scenarios=many(reference("Run"))))},
                group="scenarios",
            ),
            Call(
                "POST",
                SCENARIOS,
                "runScenario",
                "Run a scenario, the text of a file in YAML or JSON; it goes on by itself.",
                self.run,
                {201: Answer("It has begun.", reference("Run"), ("Location",))} | GONE,
                accepts=Accepts(asked),
                group="scenarios",
            ),
            Call(
                "GET",
                SCENARIOS + "/{run}",
                "showScenario",
                "Show a scenario, now or when it has ended.",
                self.show_run,
                one | unknown,
                (RUN, WAIT),
                group="scenarios",
            ),
            Call(
                "DELETE",
                SCENARIOS + "/{run}",
                "stopScenario",
                "Stop a scenario; what it has done stays.",
                self.stop_run,
                one | unknown | refused(409, "It has ended."),
                (RUN,),
                group="scenarios",
            ),
        )

    async def list_events(self, request: web.Request) -> web.Response:
        return web.json_response({"events": [*self._day.planner.views(self._ids(request))]})

    async def announce(self, request: web.Request) -> web.Response:
        step = await _read(request, EVENT_ASKED)
        ids = step.target.of(self._catalog)
        if not isinstance(step.action, Announce):
            raise InvalidBody(("", "expected an event"))
        note(kind=step.action.kind, instances=",".join(ids))
        made = await self._day.planner.announce(step.action, ids)
        await self._day.clock.settle()
        return web.json_response({"events": made}, status=201)

    async def cancel(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        target = _target(body)
        kinds = tuple(_kinds(body)) or EVENTS
        event = body.text("event")
        body.finish()
        ids = target.of(self._catalog)
        note(kinds=",".join(kinds), event=event, instances=",".join(ids))
        number = await self._day.planner.cancel(Cancel(kinds), ids, event=event)
        return web.json_response({"cancelled": number})

    async def list_faults(self, request: web.Request) -> web.Response:
        return web.json_response({"faults": [*self._day.faults.views(self._ids(request))]})

    async def add_fault(self, request: web.Request) -> web.Response:
        step = await _read(request, FAULT_ASKED)
        ids = step.target.of(self._catalog)
        if not isinstance(step.action, AddFault):
            raise InvalidBody(("", "expected a fault"))
        note(kind=step.action.like.kind, path=step.action.like.path, instances=",".join(ids))
        return web.json_response({"faults": self._day.faults.add(step.action, ids)}, status=201)

    async def clear_faults(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        target = _target(body)
        path = as_matched(body.text("path", "*") or "*")
        body.finish()
        ids = target.of(self._catalog)
        note(path=path, instances=",".join(ids))
        return web.json_response({"removed": self._day.faults.clear(ids, path)})

    async def remove_fault(self, request: web.Request) -> web.Response:
        self._day.faults.remove(request.match_info["fault"])
        return web.Response(status=204)

    async def list_runs(self, _: web.Request) -> web.Response:
        return web.json_response({"scenarios": [each.view() for each in self._day.scenarios.all()]})

    async def run(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        name = body.text("file") or "scenario"
        text = body.text("text", longest=LARGEST, printable=False) or ""
        if not body.has("file") or not body.has("text"):
            body.refuse("text", "expected the text of a scenario, and the name of its file")
        speed = body.figure("speed", 1.0, most=FASTEST)
        body.finish()
        try:
            scenario = await asyncio.to_thread(read_scenario, text.encode(), Path(name))
        except ConfigError as error:
            raise InvalidBody(*(("/text", problem) for problem in error.problems)) from None
        except UnicodeEncodeError:
            raise InvalidBody(("/text", "text: expected Unicode without lone surrogates")) from None
        begun = self._day.run(scenario, speed)
        note(scenario=scenario.name, run=begun.id, speed=speed)
        await self._day.clock.settle()
        location = {"Location": f"{SCENARIOS}/{begun.id}"}
        return web.json_response(begun.view(), status=201, headers=location)

    async def show_run(self, request: web.Request) -> web.Response:
        name = request.match_info["run"]
        return web.json_response((await self._day.scenarios.wait(name, read_wait(request))).view())

    async def stop_run(self, request: web.Request) -> web.Response:
        return web.json_response(self._day.scenarios.stop(request.match_info["run"]).view())

    def _ids(self, request: web.Request) -> tuple[str, ...]:
        """Return the id in the query, or all; raises NotFound."""
        wanted = INSTANCE.of(request)
        if wanted is None:
            return self._catalog.ids()
        return Target((wanted,)).of(self._catalog)


async def _read(request: web.Request, section: Section[Step]) -> Step:
    given = await read_json(request)
    if not isinstance(given, dict):
        raise InvalidBody(("", "body: expected a JSON object"))
    return read_section(section, given)


def _target(body: Body) -> Target:
    """Return which instances are meant; there has to be exactly one word for it."""
    ids, tag, every = tuple(body.names("instances")), body.text("tag"), body.flag("all")
    if sum((bool(ids), tag is not None, every)) != 1:
        raise InvalidDocument(("", "expected one of instances, tag, all"))
    return Target(ids, tag, every)


def _kinds(body: Body) -> list[EventKind]:
    known: dict[str, EventKind] = {each: each for each in EVENTS}
    given = body.names("kinds")
    for each in given:
        if each not in known:
            body.refuse("kinds", f"expected some of {', '.join(EVENTS)}, got {each[:64]!r}")
    return [known[each] for each in given if each in known]
