"""The native API of the journal, and of the verdict that is made of it."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from ..catalog import Catalog
from ..day.day import Day
from ..day.journal import Wanted, views
from ..errors import NotFound
from .native import WAIT, read_wait
from .parameters import BASE, GONE
from .routes import Answer, Call, Parameter
from .schemas import TRUTH, WHOLE, many, reference, table

JOURNAL: Final = BASE + "/journal"
READY: Final = BASE + "/token-readiness"
PAGE: Final = 1000
MOST: Final = 10_000

INSTANCE: Final = Parameter("instance", "Only of the instance with this id.")
KIND: Final = Parameter(
    "kind",
    "Only entries of this kind.",
    schema={"enum": ["request", "event", "fault", "scenario", "change"]},
)
PATH: Final = Parameter("path", "Only requests of paths like this; `*` is any text.")
STATUS: Final = Parameter("status", "Only requests with this status: `503`, or `5xx`.")
AGENT: Final = Parameter("agent", "Only requests of user agents like this; `*` is any text.")
TOKEN: Final = Parameter(
    "token",
    "Only requests with a good token, with a bad one, or with none.",
    schema={"enum": ["none", "good", "bad"]},
)
AFTER: Final = Parameter(
    "after",
    "Only entries after the one with this number; default: the newest entries.",
    schema={"type": "integer", "minimum": 0, "maximum": 999_999_999},
)
LIMIT: Final = Parameter(
    "limit",
    f"Most entries; default: {PAGE}.",
    schema={"type": "integer", "minimum": 1, "maximum": MOST},
)


def journal_calls(day: Day, catalog: Catalog) -> tuple[Call, ...]:
    journal = day.journal

    async def show(request: web.Request) -> web.Response:
        wanted = Wanted(
            INSTANCE.of(request),
            KIND.choice(request),
            PATH.of(request),
            STATUS.of(request),
            AGENT.of(request),
            TOKEN.choice(request),
        )
        limit = LIMIT.number(request, PAGE)
        after = AFTER.number(request, 0) if AFTER.of(request) is not None else None
        seconds = read_wait(request)
        await journal.gather()
        if after is not None and seconds:
            page = await journal.wait(wanted, after, limit, seconds)
        else:
            page = journal.page(wanted, after, limit)
        entries = [*views(page.entries)]
        return web.json_response({"entries": entries, "next": page.next, "missed": page.missed})

    async def clear(request: web.Request) -> web.Response:
        await journal.clear(INSTANCE.of(request))
        return web.Response(status=204)

    async def readiness(request: web.Request) -> web.Response:
        await journal.gather()
        wanted = INSTANCE.of(request)
        if wanted is not None and catalog.by_id(wanted) is None:
            raise NotFound(f"no such instance: {wanted[:64]!r}")
        ids = catalog.ids() if wanted is None else (wanted,)
        return web.json_response({"instances": [*map(journal.readiness.verdict, ids)]})

    shown = table(entries=many(reference("Entry")), next=WHOLE, missed=TRUTH)
    verdicts = table(instances=many(reference("Readiness")))
    return (
        Call(
            "GET",
            JOURNAL,
            "showJournal",
            "Show who asked what and what happened; with `after` and `wait`, as soon as it is new.",
            show,
            {
                200: Answer(
                    "Entries; `next` is what to send as `after` for those that follow.", shown
                )
            },
            (INSTANCE, KIND, PATH, STATUS, AGENT, TOKEN, AFTER, LIMIT, WAIT),
            group="journal",
        ),
        Call(
            "DELETE",
            JOURNAL,
            "clearJournal",
            "Forget the journal, or what is in it about one instance.",
            clear,
            {204: Answer("It is forgotten.")},
            (INSTANCE,),
            group="journal",
        ),
        Call(
            "GET",
            READY,
            "tokenReadiness",
            "Say which instances would be served if tokens were required, and which clients not.",
            readiness,
            {200: Answer("`ready` is null when nothing has asked yet.", verdicts)} | GONE,
            (INSTANCE,),
            group="journal",
        ),
    )
