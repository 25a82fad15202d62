"""Errors as application/problem+json (RFC 9457): what is wrong and where, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

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


def http_text(
    error: web.HTTPException, request: web.Request, body_limit: int
) -> tuple[str, dict[str, str] | None]:
    """Return what to say, and with which headers, when aiohttp itself refuses a request."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return f"{request.method} is not known here; expected {allowed}", {"Allow": allowed}
    if isinstance(error, web.HTTPNotFound):
        return f"no such path: {request.rel_url.raw_path[:256]}", None
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return f"body: expected at most {body_limit} bytes", None
    return error.reason or HTTPStatus(error.status).phrase, None
