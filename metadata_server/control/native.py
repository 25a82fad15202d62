"""The native API of passwords: those that guests post, and resets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from ..catalog import Catalog
from ..errors import BadRequest, NotFound
from ..instance import Instance
from ..mailbox import Mailbox
from ..reset.asking import NewPassword
from ..reset.engine import ResetEngine
from ..reset.requests import ResetRequest
from ..secret import Secret
from .audit import note
from .body import InvalidBody, read_body
from .new_passwords import ask, read_demand, read_user
from .openapi import refused
from .parameters import GONE, ID, ONE
from .routes import Accepts, Answer, Call, Handler, Parameter
from .schemas import TEXT, many, reference, table
from .view import enrolment_view, request_view

LONGEST_WAIT: Final = 60.0
"""Seconds; a client that wants to wait longer asks again."""

REQUEST: Final = Parameter("request", "Id of the reset.", "path")
WAIT: Final = Parameter(
    "wait",
    "Seconds to wait for the end of the reset.",
    schema={"type": "number", "minimum": 0, "maximum": LONGEST_WAIT},
)


class Native:
    """The handlers; the engine and the mailbox below them are every dialect's."""

    def __init__(self, catalog: Catalog, mailbox: Mailbox, engine: ResetEngine) -> None:
        self._catalog = catalog
        self._mailbox = mailbox
        self._engine = engine
        self._draining = asyncio.Event()

    def calls(self) -> tuple[Call, ...]:
        resets = ONE + "/reset-password"
        reset = resets + "/{request}"
        one, asked = (ID,), (ID, REQUEST)
        shown = {200: Answer("The reset.", reference("ResetRequest"))} | GONE
        late = refused(409, "It is too late, or the guest does not allow it.")

        def call(
            method: str,
            path: str,
            name: str,
            summary: str,
            handler: Handler,
            answers: Mapping[int, Answer],
            parameters: tuple[Parameter, ...],
            accepts: Accepts | None = None,
        ) -> Call:
            return Call(
                method,
                path,
                name,
                summary,
                handler,
                answers,
                parameters,
                accepts,
                group="passwords",
            )

        return (
            call(
                "GET",
                ONE + "/password",
                "showPassword",
                "Show what the guest has posted as its password.",
                self.posted_password,
                {200: Answer("Empty when there is none.", table(password=TEXT))} | GONE,
                one,
            ),
            call(
                "DELETE",
                ONE + "/password",
                "forgetPassword",
                "Forget what the guest has posted, so that it may post another.",
                self.forget_password,
                {204: Answer("It is forgotten.")} | GONE,
                one,
            ),
            call(
                "POST",
                resets,
                "askReset",
                "Give an account a new password.",
                self.ask_reset,
                {
                    202: Answer("It is asked for.", reference("ResetRequest"), ("Location",)),
                    204: Answer("It was a dry run, and it could be asked for."),
                }
                | GONE
                | late,
                one,
                Accepts(reference("ResetAsked")),
            ),
            call(
                "GET",
                resets,
                "listResets",
                "List an instance's resets, the newest first.",
                self.list_resets,
                {200: Answer("The resets.", table(requests=many(reference("ResetRequest"))))}
                | GONE,
                one,
            ),
            call(
                "GET",
                reset,
                "showReset",
                "Show a reset, now or when it has ended.",
                self.show_reset,
                shown,
                (*asked, WAIT),
            ),
            call(
                "DELETE",
                reset,
                "cancelReset",
                "Take a reset back.",
                self.cancel_reset,
                shown | late,
                asked,
            ),
            call(
                "POST",
                reset + "/confirm",
                "confirmReset",
                "Let the guest on record have a reset that was asked for its predecessor.",
                self.confirm_reset,
                shown | late,
                asked,
            ),
            call(
                "POST",
                ONE + "/reset-key",
                "acceptKey",
                "Take the new identity of an instance's reset daemon.",
                self.accept_key,
                {200: Answer("Who is on record.", reference("Enrolment"))} | GONE | late,
                one,
                Accepts(table(fingerprint=TEXT)),
            ),
            call(
                "POST",
                ONE + "/reset-key/token",
                "makeEnrolToken",
                "Make a one-time token with which the first reset daemon may enrol.",
                self.make_token,
                {200: Answer("The token, shown once.", table(token=TEXT))} | GONE | late,
                one,
            ),
        )

    async def drain(self, _: web.Application) -> None:
        """Answer at once whoever waits for the end of a reset."""
        self._draining.set()

    async def posted_password(self, request: web.Request) -> web.Response:
        instance = self._instance(request)
        posted = self._mailbox.get(instance.id)
        # What a guest posts is base64 by custom only.
        return web.json_response({"password": posted.decode("utf-8", "replace")})

    async def forget_password(self, request: web.Request) -> web.Response:
        await self._mailbox.clear(self._instance(request).id)
        return web.Response(status=204)

    async def ask_reset(self, request: web.Request) -> web.Response:
        instance = self._instance(request)
        body = await read_body(request)
        user = read_user(body)
        password, given = body.secret("password"), body.secret("hash")
        demand = read_demand(body)
        body.finish()
        if password is not None and given is None:
            new: NewPassword | Secret = NewPassword(password, self._engine.work)
        elif given is not None and password is None:
            new = given
        else:
            raise InvalidBody(("", "expected either 'password' or 'hash'"))
        asked = await ask(self._engine, instance, user, new, demand)
        if asked is None:
            return web.Response(status=204)
        note(reset=asked.id, state=asked.state)
        return self._answer(
            asked,
            status=202,
            location=f"{ONE}/reset-password/{asked.id}".replace("{id}", instance.id),
        )

    async def list_resets(self, request: web.Request) -> web.Response:
        instance = self._instance(request)
        guest = self._engine.guest(instance)
        asked = self._engine.requests(instance.id)
        return web.json_response({"requests": [request_view(one, guest) for one in asked]})

    async def show_reset(self, request: web.Request) -> web.Response:
        asked = self._request(request)
        seconds = read_wait(request)
        if seconds and not asked.is_final:
            asked = await self._end_of(asked, seconds)
        return self._answer(asked)

    async def cancel_reset(self, request: web.Request) -> web.Response:
        return await self._change(request, self._engine.cancel)

    async def confirm_reset(self, request: web.Request) -> web.Response:
        """Let the guest on record have a reset that was asked for its predecessor."""
        return await self._change(request, self._engine.confirm)

    async def accept_key(self, request: web.Request) -> web.Response:
        instance = self._instance(request)
        body = await read_body(request)
        fingerprint = body.text("fingerprint") or ""
        if not fingerprint:
            body.refuse("fingerprint", "expected the fingerprint on the guest's console")
        body.finish()
        note(fingerprint=fingerprint)
        return web.json_response(
            enrolment_view(await self._engine.accept(instance.id, fingerprint))
        )

    async def make_token(self, request: web.Request) -> web.Response:
        """Answer a one-time token with which the instance's first reset daemon may enrol."""
        token = await self._engine.enrol_token(self._instance(request).id)
        return web.json_response({"token": token.reveal().decode()})

    def _instance(self, request: web.Request) -> Instance:
        return find_instance(self._catalog, request)

    def _request(self, request: web.Request) -> ResetRequest:
        """Return the reset at the path, which must be of the instance at the path."""
        instance = self._instance(request)
        asked = self._engine.request(request.match_info["request"])
        if asked is None or asked.instance != instance.id:
            raise NotFound(f"no such reset request: {request.match_info['request'][:64]!r}")
        return asked

    async def _change(
        self, request: web.Request, change: Callable[[str], Awaitable[ResetRequest]]
    ) -> web.Response:
        asked = self._request(request)
        note(reset=asked.id)
        changed = await change(asked.id)
        note(state=changed.state)
        return self._answer(changed)

    async def _end_of(self, asked: ResetRequest, seconds: float) -> ResetRequest:
        """Return *asked* at its end, or as it is after *seconds*, or when the server stops."""
        end = asyncio.ensure_future(self._engine.wait(asked.id, seconds))
        stop = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait((end, stop), return_when=asyncio.FIRST_COMPLETED)
            return end.result() if end.done() else self._engine.request(asked.id) or asked
        finally:
            for task in (end, stop):
                task.cancel()

    def _answer(
        self, asked: ResetRequest, *, status: int = 200, location: str | None = None
    ) -> web.Response:
        instance = self._catalog.by_id(asked.instance)
        view = request_view(asked, self._engine.guest(instance) if instance else None)
        headers = {"Location": location} if location else None
        return web.json_response(view, status=status, headers=headers)


def find_instance(catalog: Catalog, request: web.Request) -> Instance:
    """Return the instance at the path; raises NotFound."""
    instance = catalog.by_id(request.match_info["id"])
    if instance is None:
        raise NotFound(f"no such instance: {request.match_info['id'][:64]!r}")
    return instance


def read_wait(request: web.Request) -> float:
    """Return the seconds of `?wait=`, 0 when it is absent."""
    raw = request.query.get("wait", "0")
    try:
        seconds = float(raw)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= LONGEST_WAIT:
        raise BadRequest(f"wait: expected seconds from 0 to {LONGEST_WAIT:g}")
    return seconds
