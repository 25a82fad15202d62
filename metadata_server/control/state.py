"""The native API of the state: saved as one document, loaded in one step, reset.

The document holds what was changed by API, user data and password hashes of instances included, and
the passwords that guests have posted. It holds no key, no reset request and no enrolment: those are
between this server and its guests, and stay where they are.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from aiohttp import web

from ..boot_reports import BootReports
from ..catalog import Catalog
from ..day.day import Day
from ..errors import InvalidDocument
from ..mailbox import LIMIT, Mailbox
from ..overlay import Change, Overlay
from .audit import note
from .body import printable, read_json
from .openapi import refused
from .parameters import BASE, CHANGED, IF_MATCH, IF_NONE_MATCH, SAME
from .preconditions import entity_tag, is_known, wanted
from .replays import Replays
from .routes import JSON, Accepts, Answer, Call
from .schemas import NAMES, WHOLE, reference, table
from .view import overlay_view

STATE: Final = BASE + "/state"
VERSION: Final = 1
LARGEST: Final = 64 << 20
"""Bytes of a saved state: as many as the command takes for an answer."""

ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

T = TypeVar("T")

_KINDS: Final = ("patch", "whole", "gone")


class State:
    """The handlers."""

    def __init__(
        self,
        catalog: Catalog,
        overlay: Overlay,
        mailbox: Mailbox,
        replays: Replays,
        reports: BootReports,
        day: Day | None = None,
    ) -> None:
        self._catalog = catalog
        self._overlay = overlay
        self._mailbox = mailbox
        self._replays = replays
        self._reports = reports
        self._day = day

    def calls(self) -> tuple[Call, ...]:
        done = Answer(
            "What there is now; `unused` are changes of instances that are not configured.",
            table(instances=WHOLE, overlay=WHOLE, mailbox=WHOLE, unused=NAMES),
        )
        return (
            Call(
                "GET",
                STATE,
                "saveState",
                "Save all that was changed by API, and posted passwords, as one document.",
                self.save,
                {200: Answer("The state.", reference("State"), ("ETag",))} | SAME,
                (IF_NONE_MATCH,),
                group="state",
            ),
            Call(
                "PUT",
                STATE,
                "loadState",
                "Put a saved state in the place of this one, whole or not at all.",
                self.load,
                {200: done} | CHANGED | refused(409, "It does not fit what is configured."),
                (IF_MATCH,),
                Accepts(reference("State")),
                group="state",
            ),
            Call(
                "DELETE",
                STATE,
                "resetState",
                "Drop all that was changed by API, posted passwords, boot reports, events, faults,"
                " scenarios and the journal.",
                self.reset,
                {200: done} | CHANGED,
                (IF_MATCH,),
                group="state",
            ),
        )

    async def save(self, request: web.Request) -> web.Response:
        document = {
            "linklocal_state": VERSION,
            "overlay": {key: overlay_view(each) for key, each in self._overlay.all().items()},
            "mailbox": {
                key: base64.b64encode(body).decode() for key, body in self._mailbox.all().items()
            },
        }
        text = json.dumps(document)
        tag = entity_tag(self._overlay.state_tag(), text)
        if is_known(request, tag):
            return web.Response(status=304, headers={"ETag": tag})
        return web.Response(text=text, content_type=JSON, headers={"ETag": tag})

    async def load(self, request: web.Request) -> web.Response:
        given = await read_json(request, LARGEST)
        tag = wanted(request, self._overlay.state_tag())
        changes, bodies = read_state(given)
        return await self._put(changes, bodies, tag)

    async def reset(self, request: web.Request) -> web.Response:
        tag = wanted(request, self._overlay.state_tag())
        if self._day is not None:
            # First: a step that is due meanwhile would change something again.
            await self._day.scenarios.clear()
        done = await self._put({}, {}, tag)
        if self._day is not None:
            await self._day.clear()
        return done

    async def _put(
        self, changes: Mapping[str, Change], bodies: Mapping[str, bytes], tag: str | None
    ) -> web.Response:
        def also(state: sqlite3.Connection) -> None:
            self._mailbox.load(state, bodies)
            self._replays.forget(state)
            self._reports.forget_all(state)

        try:
            await self._overlay.load(changes, tag=tag, also=also)
        except InvalidDocument as error:
            raise InvalidDocument(
                *((f"/overlay{where}", f"overlay.{text}") for where, text in error.problems)
            ) from None
        unused = [
            key
            for key, each in changes.items()
            if each.kind != "whole" and not self._overlay.is_configured(key)
        ]
        note(overlay=len(changes), mailbox=len(bodies))
        return web.json_response(
            {
                "instances": len(self._catalog),
                "overlay": len(changes),
                "mailbox": len(bodies),
                "unused": unused,
            }
        )


def read_state(given: Any) -> tuple[dict[str, Change], dict[str, bytes]]:
    """Return the changes and the posted passwords of a saved state; raises InvalidDocument."""
    if not isinstance(given, dict) or given.get("linklocal_state") != VERSION:
        raise InvalidDocument(
            ("/linklocal_state", f"linklocal_state: expected {VERSION}, as a saved state has it")
        )
    wrong = [
        ("", f"unknown key {printable(key)!r}")
        for key in given
        if key not in ("linklocal_state", "overlay", "mailbox")
    ]
    changes = _read_all(given, "overlay", _change, wrong)
    bodies = _read_all(given, "mailbox", _body, wrong)
    if wrong:
        raise InvalidDocument(*wrong)
    return changes, bodies


def _read_all(
    given: Mapping[str, Any], name: str, read: Callable[[Any], T], wrong: list[tuple[str, str]]
) -> dict[str, T]:
    """Return what *read* makes of each entry of the object *name*; note what is wrong."""
    entries = given.get(name, {} if name == "mailbox" else None)
    if not isinstance(entries, dict):
        wrong.append((f"/{name}", f"{name}: expected an object"))
        return {}
    found = {}
    for key, each in entries.items():
        try:
            found[_read_id(key)] = read(each)
        except ValueError as error:
            shown = printable(key)
            place = shown.replace("~", "~0").replace("/", "~1")
            wrong.append((f"/{name}/{place}", f"{name}.{shown}: {error}"))
    return found


def _read_id(text: str) -> str:
    if not ID.fullmatch(text):
        raise ValueError("expected the id of an instance")
    return text


def _change(given: Any) -> Change:
    """Return a change; ValueError says what was expected."""
    if not isinstance(given, dict) or set(given) != {"kind", "document", "created", "changed"}:
        raise ValueError("expected kind, document, created and changed")
    kind, document = given["kind"], given["document"]
    times = given["created"], given["changed"]
    if kind not in _KINDS or not isinstance(document, dict):
        raise ValueError(f"expected as kind one of {', '.join(_KINDS)}, as document an object")
    if not all(type(each) in (int, float) and 0 <= each < 1e11 for each in times):
        raise ValueError("created, changed: expected seconds since 1970")
    return Change(kind, document, *map(float, times))


def _body(given: Any) -> bytes:
    try:
        body = base64.b64decode(given.encode("ascii"), validate=True)
    except (AttributeError, UnicodeEncodeError, binascii.Error):
        raise ValueError("expected base64") from None
    if not 0 < len(body) <= LIMIT:
        raise ValueError(f"expected 1 to {LIMIT} bytes")
    return body
