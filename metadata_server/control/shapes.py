"""The shapes that errors have: each dialect's clients read their own, and tell people the text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from ..errors import InvalidDocument, RequestError, Unauthorized
from ..reset.policy import PasswordRefused
from .problem import problem

Errors = tuple[tuple[str, str], ...]
Shape = Callable[[int, str, "RequestError | None", "Mapping[str, str] | None"], web.Response]

NOVA_NAMES: Final = {
    400: "badRequest",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    406: "notAcceptable",
    409: "conflictingRequest",
    412: "preconditionFailed",
    413: "overLimit",
    500: "computeFault",
    501: "notImplemented",
}

ECS_CODES: Final = {
    400: "Ecs.0005",
    403: "Ecs.0003",
    404: "Ecs.0114",
    409: "Ecs.0100",
    500: "Ecs.0002",
}
"""Codes of the platform's own table; where it has none the code is the status."""

PASSWORD_CODE: Final = "Ecs.0011"
NO_SUCH_API: Final = "APIGW.0101"
NOT_KNOWN: Final = "APIGW.0301"


def shape_of(path: str) -> Shape:
    """Return the shape of errors that whoever asks for *path* can read."""
    names = path.strip("/").split("/")
    if names[0] in ("v1", "v1.0", "v1.1", "v3") or "cloudservers" in names[:3]:
        return ecs_error
    if names[0] in ("v2", "v2.1"):
        return nova_error
    return problem_error


def problem_error(
    status: int, text: str, error: RequestError | None, headers: Mapping[str, str] | None
) -> web.Response:
    errors: Errors = error.problems if isinstance(error, InvalidDocument) else ()
    return problem(status, text, errors=errors, headers=headers)


def nova_error(
    status: int, text: str, error: RequestError | None, headers: Mapping[str, str] | None
) -> web.Response:
    """Return the error as nova has it; a token that is not known is the identity service's."""
    body: dict[str, Any]
    if status == 401:
        body = {"error": {"code": 401, "title": "Unauthorized", "message": text}}
    else:
        name = NOVA_NAMES.get(status) or ("computeFault" if status >= 500 else "badRequest")
        body = {name: {"code": status, "message": text}}
    return web.json_response(body, status=status, headers=headers)


def ecs_error(
    status: int, text: str, error: RequestError | None, headers: Mapping[str, str] | None
) -> web.Response:
    """Return the error as the platform has it; its gateway knows callers and paths."""
    if isinstance(error, Unauthorized) or (status == 404 and error is None):
        code = NOT_KNOWN if status == 401 else NO_SUCH_API
        return web.json_response(
            {"error_code": code, "error_msg": text}, status=status, headers=headers
        )
    code = PASSWORD_CODE if isinstance(error, PasswordRefused) else ECS_CODES.get(status, "")
    code = code or f"{status} {HTTPStatus(status).phrase}"
    return web.json_response(
        {"error": {"code": code, "message": text}}, status=status, headers=headers
    )
