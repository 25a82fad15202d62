"""Errors as application/problem+json (RFC 9457): what is wrong and where, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from ..errors import RequestError, Unauthorized
from .auth import REALM
from .body import InvalidBody

PROBLEM_JSON = "application/problem+json"


def problem(
    status: int,
    detail: str,
    *,
    errors: tuple[tuple[str, str], ...] = (),
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return the answer for an error; *errors* is (JSON pointer, text) for each mistake."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = [{"pointer": pointer, "detail": text} for pointer, text in errors]
    return web.Response(
        status=status, text=json.dumps(body), content_type=PROBLEM_JSON, headers=headers
    )


def refusal(error: RequestError) -> web.Response:
    """Return the answer for a request that is refused."""
    headers = None
    if isinstance(error, Unauthorized):
        headers = {"WWW-Authenticate": f'Bearer realm="{REALM}"'}
    errors = error.problems if isinstance(error, InvalidBody) else ()
    return problem(error.status, str(error), errors=errors, headers=headers)


def http_error(error: web.HTTPException, request: web.Request, body_limit: int) -> web.Response:
    """Return the answer for what aiohttp itself refuses: routing, methods, sizes."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"{request.method} is not known here; expected {allowed}"
        return problem(error.status, detail, headers={"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return problem(error.status, f"no such path: {request.rel_url.raw_path[:256]}")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return problem(error.status, f"body: expected at most {body_limit} bytes")
    return problem(error.status, error.reason or HTTPStatus(error.status).phrase)
