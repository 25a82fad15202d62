"""The platform's scheduled events: the maintenance that is announced to guests, for operators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, Final

from aiohttp import web

from ..day.day import Day
from ..errors import BadRequest, Conflict, NotFound
from ..instance import Instance
from ..notices import Maintenance
from .audit import note
from .body import read_body
from .server_view import moment
from .servers import Servers, project_of

PAGE: Final = 50
LONGEST_PAGE: Final = 1000


class ScheduledEvents:
    """The handlers; without a *day* there is never any event."""

    def __init__(self, servers: Servers, day: Day | None) -> None:
        self._servers = servers
        self._day = day

    def routes(self) -> list[web.RouteDef]:
        found = []
        for base in ("/v3", "/v3/{project}"):
            events = base + "/instance-scheduled-events"
            found += [
                web.get(events, self.list_events),
                web.get(events + "/{event}", self.show_event),
                web.put(events + "/{event}", self.move_event),
                web.post(events + "/{event}/actions/accept", self.move_event),
            ]
        return found

    async def list_events(self, request: web.Request) -> web.Response:
        """List the events that are told, and those that are over, the next one first."""
        query = request.query
        found = [self._view(*each) for each in self._events(request)]
        found.sort(key=lambda each: (str(each["not_before"]), str(each["id"])))
        for key in ("id", "instance_id", "type", "state"):
            # As the SDK sends lists: the key again, or commas.
            wanted = {word for text in query.getall(key, []) for word in text.split(",")}
            if wanted:
                found = [each for each in found if each[key] in wanted]
        marker = query.get("marker")
        if marker:
            ids = [each["id"] for each in found]
            found = found[ids.index(marker) + 1 :] if marker in ids else []
        limit = _limit(request)
        more = found[limit - 1]["id"] if len(found) > limit else None
        return web.json_response({"events": found[:limit], "page_info": {"next_marker": more}})

    async def show_event(self, request: web.Request) -> web.Response:
        return web.json_response({"event": self._view(*self._at(request))})

    async def move_event(self, request: web.Request) -> web.Response:
        """Have the event begin at another time; one that is accepted without stays as it is."""
        instance, event = self._at(request)
        body = await read_body(request)
        text = body.text("not_before")
        if text is None and request.method == "PUT":
            body.refuse("not_before", "expected the time at which it is to begin")
        body.check()
        if text is not None and self._day is not None:
            note(event=event.id, not_before=text)
            await self._day.planner.move(instance.id, event.id, self._allowed(event, text))
        return web.Response(status=204)

    def _allowed(self, event: Maintenance, text: str) -> float:
        """Return the time *text* when *event* may be moved to it."""
        begins = _seconds(text)
        now = self._servers.overlay.now()
        if event.state != "active" or event.not_before <= now:
            raise Conflict(f"{event.id}: it has begun already, or is over")
        if begins <= now:
            raise BadRequest(f"not_before: expected a time that is not over, got {text}")
        if event.deadline is not None and begins > event.deadline:
            raise BadRequest(f"not_before: expected no later than {moment(event.deadline)}")
        return begins

    def _events(self, request: web.Request) -> Iterator[tuple[Instance, Maintenance]]:
        if self._day is not None:
            for instance_id, _ in self._day.events.all():
                with suppress(NotFound):
                    instance = self._servers.known(instance_id, project_of(request))
                    for event in self._day.events.of(instance_id).maintenance:
                        yield instance, event

    def _at(self, request: web.Request) -> tuple[Instance, Maintenance]:
        name = request.match_info["event"]
        for instance, event in self._events(request):
            if event.id == name:
                return instance, event
        raise NotFound(f"no such scheduled event: {name[:64]!r}")

    def _view(self, instance: Instance, event: Maintenance) -> dict[str, Any]:
        has_begun = event.not_before <= self._servers.overlay.now()
        state: str = event.state
        if state == "active":
            state = "executing" if has_begun else "scheduled"
        begun = moment(event.not_before) if has_begun and state != "canceled" else None
        return {
            "id": event.id,
            "instance_id": instance.id,
            "type": event.code,
            "state": state,
            "publish_time": None,
            "start_time": begun,
            "finish_time": _moment(event.not_after) if state == "completed" else None,
            "not_before": moment(event.not_before),
            "not_after": _moment(event.not_after),
            "not_before_deadline": _moment(event.deadline),
            "description": event.description,
            "execute_options": {},
            "source": {"type": "platform"},
        }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else moment(seconds)


def _seconds(text: str) -> float:
    try:
        parsed = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        raise BadRequest("not_before: expected a time such as 2030-01-19T03:30:52Z") from None
    return parsed.replace(tzinfo=timezone.utc).timestamp()


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(PAGE))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LONGEST_PAGE:
        raise BadRequest(f"limit: expected a whole number from 1 to {LONGEST_PAGE}")
    return int(text)
