"""The application of the operators' listener: who may come in, what errors look like, the routes.

Default deny: no route but /healthz answers before its caller is known, and neither does a path
that does not exist.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence

from aiohttp import web

from ..boot_reports import BootReports
from ..catalog import Catalog
from ..day.day import Day
from ..errors import RequestError, Unauthorized
from ..mailbox import Mailbox
from ..overlay import Overlay
from ..reset.engine import ResetEngine
from . import audit
from .auth import REALM, Authenticator, Tokens
from .boot_reports import boot_report_calls
from .clock import clock_calls
from .door import Callers
from .happenings import Happenings
from .huawei import Huawei
from .instances import Instances
from .journal import journal_calls
from .native import Native
from .new_passwords import ManyResets
from .nova import OPEN as OPEN_IN_NOVA
from .nova import Nova
from .openapi import with_document
from .problem import http_text
from .replays import Replays
from .routes import Answer, Call, routes
from .scheduled_events import ScheduledEvents
from .servers import Servers
from .shapes import shape_of
from .signature import AccessKeys
from .state import State

log = logging.getLogger(__name__)

OPEN = frozenset({"/healthz"}) | OPEN_IN_NOVA
"""The only routes that ask for nothing; they say nothing of any instance."""

BODY_LIMIT = 1 << 20

CHALLENGE = f'Bearer realm="{REALM}"'

REQUEST_ID_HEADERS = ("X-Request-Id", "X-OpenStack-Request-Id", "X-Compute-Request-Id")
"""What SDKs show with an error."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_control_app(
    catalog: Catalog,
    mailbox: Mailbox,
    engine: ResetEngine,
    tokens: Collection[str] | Tokens,
    *,
    overlay: Overlay,
    replays: Replays,
    reports: BootReports,
    access_keys: AccessKeys | None = None,
    day: Day | None = None,
    more: Sequence[Call] = (),
    callers: Callers | None = None,
) -> web.Application:
    """Return the control plane over these, with *more* calls; pass Tokens to change them later.

    Without a *day* it has no events, faults, scenarios and journal. *callers* is told whose
    connections are an operator's.
    """
    known = tokens if isinstance(tokens, Tokens) else Tokens(tokens)
    ways = (known, access_keys or AccessKeys())
    servers = Servers(catalog, overlay, mailbox, engine)
    native = Native(catalog, mailbox, engine)
    app = web.Application(
        middlewares=[audited, errors_answered, authenticated(ways, callers or Callers())],
        client_max_size=BODY_LIMIT,
    )
    happening: tuple[Call, ...] = ()
    if day is not None:
        happening = (
            *clock_calls(day.clock),
            *Happenings(day, catalog).calls(),
            *journal_calls(day, catalog),
        )
    calls = (
        HEALTH,
        *Instances(catalog, overlay, mailbox, engine, replays, day).calls(),
        *native.calls(),
        *ManyResets(catalog, engine).calls(),
        *boot_report_calls(catalog, reports),
        *State(catalog, overlay, mailbox, replays, reports, day).calls(),
        *happening,
        *more,
    )
    app.add_routes(routes(with_document(calls)))
    app.add_routes([*Nova(servers).routes(), *Huawei(servers).routes()])
    app.add_routes(ScheduledEvents(servers, day).routes())
    app.on_shutdown.append(native.drain)
    return app


async def healthz(_: web.Request) -> web.Response:
    """Say that the server answers, and nothing else."""
    return web.Response(text="ok\n")


HEALTH = Call(
    "GET",
    "/healthz",
    "healthz",
    "Say that the server answers, and nothing else.",
    healthz,
    {200: Answer("It does.", {"type": "string"}, media="text/plain")},
    needs_token=False,
    group="server",
)


@web.middleware
async def audited(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Record every write with its result, also one that never came to an answer."""
    entry = audit.begin()
    request_id = f"req-{uuid.uuid4()}"
    status = 499
    try:
        response = await handler(request)
        status = response.status
    finally:
        audit.record(entry, request, status)
    response.headers.setdefault("Cache-Control", "no-store")
    for name in REQUEST_ID_HEADERS:
        response.headers[name] = request_id
    return response


@web.middleware
async def errors_answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error as its dialect has it; what nobody expected is logged and not told."""
    shape = shape_of(request.path)
    try:
        return await handler(request)
    except RequestError as error:
        headers = {"WWW-Authenticate": CHALLENGE} if isinstance(error, Unauthorized) else None
        return shape(error.status, str(error), error, headers)
    except web.HTTPException as error:
        text, headers = http_text(error, request, BODY_LIMIT)
        return shape(error.status, text, None, headers)
    except (web.RequestPayloadError, ConnectionError):
        return shape(400, "body: could not be read as its headers say", None, None)
    except Exception:
        # The outermost place of the control plane: an operator gets no traceback.
        log.exception("%s %s failed", request.method, request.rel_url.raw_path[:256])
        return shape(500, "the server failed; its log says why", None, None)


def authenticated(
    ways: Sequence[Authenticator], callers: Callers
) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Return the middleware that lets only known callers past, to whatever route."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        if resource is None or resource.canonical not in OPEN:
            for way in ways:
                if caller := await way.caller(request):
                    audit.admit(caller)
                    callers.admit(request.protocol)
                    break
            else:
                raise Unauthorized(
                    "a token is needed: Authorization: Bearer, or X-Auth-Token; or a request signed"
                    " with an access key"
                )
        return await handler(request)

    return middleware
