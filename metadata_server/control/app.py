"""The application of the operators' listener: who may come in, what errors look like, the routes.

Default deny: no route but /healthz answers before its caller is known, and neither does a path
that does not exist.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from aiohttp import web

from ..catalog import Catalog
from ..errors import RequestError, Unauthorized
from ..mailbox import Mailbox
from ..reset.engine import ResetEngine
from . import audit
from .auth import Authenticator, Tokens
from .native import Native
from .problem import http_error, problem, refusal

log = logging.getLogger(__name__)

OPEN = frozenset({"/healthz"})
"""The only routes that ask for nothing; they answer nothing either."""

BODY_LIMIT = 1 << 20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_control_app(
    catalog: Catalog,
    mailbox: Mailbox,
    engine: ResetEngine,
    tokens: Collection[str] | Tokens,
) -> web.Application:
    """Return the control plane over these; pass Tokens to change them while it runs."""
    known = tokens if isinstance(tokens, Tokens) else Tokens(tokens)
    native = Native(catalog, mailbox, engine)
    app = web.Application(
        middlewares=[audited, errors_answered, authenticated((known,))],
        client_max_size=BODY_LIMIT,
    )
    app.add_routes([web.get("/healthz", healthz), *native.routes()])
    app.on_shutdown.append(native.drain)
    return app


async def healthz(_: web.Request) -> web.Response:
    """Say that the server answers, and nothing else."""
    return web.Response(text="ok\n")


@web.middleware
async def audited(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Record every write with its result, also one that never came to an answer."""
    entry = audit.begin()
    status = 499
    try:
        response = await handler(request)
        status = response.status
    finally:
        audit.record(entry, request, status)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@web.middleware
async def errors_answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error in one form; what nobody expected is logged and not told."""
    try:
        return await handler(request)
    except RequestError as error:
        return refusal(error)
    except web.HTTPException as error:
        return http_error(error, request, BODY_LIMIT)
    except (web.RequestPayloadError, ConnectionError):
        return problem(400, "body: could not be read as its headers say")
    except Exception:
        # The outermost place of the control plane: an operator gets no traceback.
        log.exception("%s %s failed", request.method, request.rel_url.raw_path[:256])
        return problem(500, "the server failed; its log says why")


def authenticated(ways: Sequence[Authenticator]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Return the middleware that lets only known callers past, to whatever route."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        if resource is None or resource.canonical not in OPEN:
            for way in ways:
                if caller := await way.caller(request):
                    audit.admit(caller)
                    break
            else:
                raise Unauthorized("a token is needed: Authorization: Bearer, or X-Auth-Token")
        return await handler(request)

    return middleware
