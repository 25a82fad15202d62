"""The native API of the server's clock: shown, and moved when it is a stepped one."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from ..day.clock import Clock
from ..day.times import moment
from .audit import note
from .body import InvalidBody, read_body
from .openapi import refused
from .parameters import BASE
from .routes import Accepts, Answer, Call
from .schemas import reference

CLOCK: Final = BASE + "/clock"


def clock_calls(clock: Clock) -> tuple[Call, ...]:
    def view() -> web.Response:
        now = clock.now()
        return web.json_response({"now": moment(now), "seconds": now, "stepped": clock.is_stepped})

    async def show(_: web.Request) -> web.Response:
        return view()

    async def move(request: web.Request) -> web.Response:
        body = await read_body(request)
        seconds = body.seconds("step")
        to = body.moment("to")
        body.finish()
        if (seconds is None) == (to is None):
            raise InvalidBody(("", "expected either 'step' or 'to'"))
        note(step=seconds, to=to)
        if seconds is not None:
            await clock.step(seconds)
        elif to is not None:
            await clock.set(to)
        return view()

    shown = {200: Answer("The clock.", reference("Clock"))}
    return (
        Call("GET", CLOCK, "showClock", "Show the server's clock.", show, shown, group="clock"),
        Call(
            "POST",
            CLOCK,
            "moveClock",
            "Move a stepped clock on; all that is due on the way is done when this is answered.",
            move,
            shown | refused(409, "The clock is the machine's."),
            accepts=Accepts(reference("ClockMoved")),
            group="clock",
        ),
    )
