"""One declaration of a call makes its route, the reading of its query, and its part of OpenAPI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiohttp import web

from ..config_forms import nearest
from .body import InvalidBody, printable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Schema = Mapping[str, Any]

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"


@dataclass(frozen=True)
class Parameter:
    """A value in the path, the query or a header."""

    name: str
    doc: str
    place: Literal["path", "query", "header"] = "query"
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    repeated: bool = False

    def of(self, request: web.Request) -> str | None:
        """Return what the query of *request* says, None when it says nothing."""
        given = request.query.get(self.name)
        words = self.schema.get("enum")
        if given is not None and words is not None and given not in words:
            expected = ", ".join(words)
            raise InvalidBody(("", f"{self.name}: expected one of {expected}, got {given[:64]!r}"))
        return given

    def choice(self, request: web.Request) -> str | None:
        """Return the word in *request*'s query, one of the schema's; None when it is absent."""
        given, known = self.of(request), self.schema["enum"]
        if given is not None and given not in known:
            expected = ", ".join(known)
            raise InvalidBody(
                ("", f"{self.name}: expected one of {expected}, got {printable(given)!r}")
            )
        return given

    def flag(self, request: web.Request) -> bool:
        """Return the truth value in the query of *request*, False when it is absent."""
        given = request.query.get(self.name, "false")
        if given not in ("true", "false"):
            raise InvalidBody(("", f"{self.name}: expected true or false, got {given[:64]!r}"))
        return given == "true"

    def number(self, request: web.Request, default: int) -> int:
        """Return the whole number in the query of *request*, in the range of the schema."""
        given = request.query.get(self.name, str(default))
        least, most = self.schema["minimum"], self.schema["maximum"]
        plain = given.isascii() and given.isdigit() and len(given) <= 9
        if not plain or not least <= int(given) <= most:
            raise InvalidBody(
                (
                    "",
                    f"{self.name}: expected a whole number from {least} to {most},"
                    f" got {given[:64]!r}",
                )
            )
        return int(given)


@dataclass(frozen=True)
class Answer:
    """What a status means; without a schema there is no document."""

    doc: str
    schema: Schema | None = None
    headers: tuple[str, ...] = ()
    """Names out of HEADERS of openapi."""
    media: str = JSON


@dataclass(frozen=True)
class Accepts:
    """The document that a call takes."""

    schema: Schema
    media: tuple[str, ...] = (JSON,)
    required: bool = True


@dataclass(frozen=True)
class Call:
    """One method of one path."""

    method: str
    path: str
    name: str
    """One word for programs made of the document: operationId."""
    summary: str
    handler: Handler
    answers: Mapping[int, Answer]
    parameters: tuple[Parameter, ...] = ()
    accepts: Accepts | None = None
    needs_token: bool = True
    group: str = "instances"

    def route(self) -> web.RouteDef:
        """Return the route, which refuses a query that is not declared."""
        known = {each.name: each for each in self.parameters if each.place == "query"}

        async def handler(request: web.Request) -> web.StreamResponse:
            check_query(request, known)
            return await self.handler(request)

        return web.RouteDef(self.method, self.path, handler, {})


def check_query(request: web.Request, known: Mapping[str, Parameter]) -> None:
    """Raise InvalidBody when the query has what nobody reads, such as a misspelt filter."""
    wrong = []
    for name in dict.fromkeys(request.query):
        if name not in known:
            shown = printable(name)
            hint = nearest(name, [*known]) if known else ", expected none"
            wrong.append(("", f"query: unknown parameter {shown!r}{hint}"))
        elif len(request.query.getall(name)) > 1 and not known[name].repeated:
            wrong.append(("", f"{name}: expected it once"))
    if wrong:
        raise InvalidBody(*wrong)


def routes(calls: Iterable[Call]) -> list[web.RouteDef]:
    """Return the routes of *calls*; aiohttp lets whoever may GET use HEAD too."""
    return [call.route() for call in calls]
