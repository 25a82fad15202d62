"""The OpenAPI 3.1 document of the native API, made of the declarations that make its routes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from .problem import PROBLEM_JSON
from .routes import Answer, Call, Parameter
from .schemas import COMPONENTS, reference

PATH: Final = "/openapi.json"
VERSION: Final = "1"
"""Of the API; its paths say the same."""

HEADERS: Final = {
    "ETag": "Names this state of the instance, for If-Match and If-None-Match.",
    "Location": "Path of what was made.",
    "Idempotency-Replayed": "`true` when this is the answer of an earlier call with the same key.",
}

ANYWHERE: Final = {
    400: "The request is malformed; `errors` has the JSON pointer of each mistake.",
    401: "No token, or one that is not known.",
    413: "The body is too large.",
}
"""What any call with a token may be answered."""


def with_document(calls: Iterable[Call]) -> tuple[Call, ...]:
    """Return *calls*, and with them the one that shows the document of all of them."""

    @cache
    def text() -> str:
        return json.dumps(document(known))

    async def show(_: web.Request) -> web.Response:
        return web.json_response(text=text())

    answers = {200: Answer("OpenAPI 3.1.", {"type": "object"})}
    shown = Call("GET", PATH, "openapi", "Show this document.", show, answers, group="server")
    known = (*calls, shown)
    return known


def document(calls: Iterable[Call]) -> dict[str, Any]:
    """Return the whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Linklocal control plane",
            "version": VERSION,
            "description": "Instances of a linklocal-server, their metadata and their passwords.",
        },
        "security": [{"bearer": []}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(COMPONENTS),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            },
        },
    }


def _operation(call: Call) -> dict[str, Any]:
    answers = {status: _answer(answer) for status, answer in call.answers.items()}
    if call.needs_token:
        answers |= {status: _problem(doc) for status, doc in ANYWHERE.items()}
    found: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "tags": [call.group],
        "responses": {str(status): answers[status] for status in sorted(answers)},
    }
    if not call.needs_token:
        found["security"] = []
    if call.parameters:
        found["parameters"] = list(map(_parameter, call.parameters))
    if call.accepts:
        found["requestBody"] = {
            "required": call.accepts.required,
            "content": {media: {"schema": call.accepts.schema} for media in call.accepts.media},
        }
    return found


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema = dict(parameter.schema)
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.doc,
        "required": parameter.place == "path",
        "schema": {"type": "array", "items": schema} if parameter.repeated else schema,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.doc}
    if answer.schema is not None:
        found["content"] = {answer.media: {"schema": dict(answer.schema)}}
    if answer.headers:
        found["headers"] = {
            name: {"description": HEADERS[name], "schema": {"type": "string"}}
            for name in answer.headers
        }
    return found


def _problem(doc: str) -> dict[str, Any]:
    return {"description": doc, "content": {PROBLEM_JSON: {"schema": reference("Problem")}}}


def refused(status: int, doc: str) -> dict[int, Answer]:
    """Return the entry of a Call's answers for a status that says no."""
    return {HTTPStatus(status): Answer(doc, reference("Problem"), media=PROBLEM_JSON)}
