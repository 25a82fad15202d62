"""The native API of boot reports: what a guest said of its last boot, now or when it says it."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from ..boot_reports import BootReport, BootReports
from ..catalog import Catalog
from .native import LONGEST_WAIT, find_instance, read_wait
from .openapi import refused
from .parameters import ID, ONE
from .routes import Answer, Call, Parameter
from .schemas import reference
from .view import time

AFTER: Final = Parameter(
    "after",
    "Wait for a report of a higher number than this; default: 0, so that any will do.",
    schema={"type": "integer", "minimum": 0, "maximum": 999_999_999},
)
WAIT: Final = Parameter(
    "wait",
    "Seconds to wait for such a report.",
    schema={"type": "number", "minimum": 0, "maximum": LONGEST_WAIT},
)


def boot_report_calls(catalog: Catalog, reports: BootReports) -> tuple[Call, ...]:
    async def show(request: web.Request) -> web.StreamResponse:
        instance = find_instance(catalog, request)
        found = await reports.wait(instance.id, AFTER.number(request, 0), read_wait(request))
        return web.json_response(view(instance.id, found))

    return (
        Call(
            "GET",
            ONE + "/boot-report",
            "showBootReport",
            "Show what the guest's agent said of its last boot.",
            show,
            {200: Answer("The report; null when there is none.", reference("BootReport"))}
            | refused(404, "There is no such instance."),
            (ID, AFTER, WAIT),
        ),
    )


def view(instance_id: str, found: BootReport | None) -> dict[str, Any]:
    if found is None:
        return {"instance": instance_id, "number": 0, "received": None, "report": None}
    return {
        "instance": instance_id,
        "number": found.number,
        "received": time(found.received),
        "report": found.document,
    }
