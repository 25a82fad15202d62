"""A new password as the native API takes it: for one instance, or for many at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from aiohttp import web

from ..catalog import Catalog
from ..errors import BadRequest, NotFound, RequestError
from ..instance import Instance
from ..reset.asking import Demand, NewPassword, ask_given, ask_many, ask_password
from ..reset.demands import USER
from ..reset.engine import ResetEngine
from ..reset.hashing import SCHEMES, Scheme, check_hash
from ..reset.policy import FIRST_USER, PasswordRefused, check
from ..reset.requests import Apply, ResetRequest
from ..secret import Secret
from .audit import note
from .body import Body, InvalidBody, read_body
from .parameters import BASE
from .routes import Accepts, Answer, Call
from .schemas import WHOLE, many, optional, reference, table
from .view import request_view

MOST: Final = 500
"""Instances of one call; whoever has more makes more calls."""

RESULTS: Final = table(
    results=many(
        table(
            instance={"type": "string"},
            status={**WHOLE, "description": "What the call for this instance alone would answer."},
            detail=optional({"type": "string"}),
            request=optional(reference("ResetRequest")),
        )
    )
)


def read_demand(body: Body) -> Demand:
    """Return all that a body asks for beside user and password."""
    return Demand(
        scheme=_scheme(body),
        apply=_apply(body),
        unlock=body.flag("unlock"),
        expire=body.flag("expire"),
        restart=body.flag("restart"),
        replace=body.flag("replace"),
        dry_run=body.flag("dry_run"),
    )


def read_user(body: Body) -> str | None:
    """Return the user that a body names, None for the first of each instance."""
    user = body.text("user", longest=32)
    if user is not None and not USER.fullmatch(user):
        body.refuse("user", "expected letters, digits, '_', '.' and '-', a letter first")
    return user


async def ask(
    engine: ResetEngine,
    instance: Instance,
    user: str | None,
    given: NewPassword | Secret,
    demand: Demand,
) -> ResetRequest | None:
    """Ask for a password, or a hash, of one instance; raises InvalidBody for each broken rule."""
    name = user or FIRST_USER[instance.os_type]
    if isinstance(given, NewPassword):
        _check_policy(given.text, name, instance)
        note(user=name, apply=demand.apply, replace=demand.replace or None)
        return await ask_password(engine, instance, name, given, demand)
    try:
        check_hash(given)
    except BadRequest as error:
        raise InvalidBody(("/hash", str(error))) from None
    note(user=name, apply=demand.apply, replace=demand.replace or None)
    return await ask_given(engine, instance, name, given, demand)


class ManyResets:
    """New passwords for many instances, each with a result of its own."""

    def __init__(self, catalog: Catalog, engine: ResetEngine) -> None:
        self._catalog = catalog
        self._engine = engine

    def calls(self) -> tuple[Call, ...]:
        return (
            Call(
                "POST",
                BASE + "/reset-passwords",
                "askResets",
                "Give an account of many instances a new password.",
                self.ask,
                {200: Answer("A result for each, in the order of the call.", RESULTS)},
                accepts=Accepts(reference("ResetsAsked")),
                group="passwords",
            ),
        )

    async def ask(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        ids = [*dict.fromkeys(body.words("instances", most=MOST))]
        user = read_user(body)
        password, hash = body.secret("password"), body.secret("hash")
        own = body.secrets("passwords")
        demand = read_demand(body)
        if sum((password is not None, hash is not None, bool(own))) != 1:
            body.refuse("", "expected one of 'password', 'hash' and 'passwords'")
        if own and own.keys() != set(ids):
            body.refuse("passwords", "expected one for each of the instances")
        body.finish()
        note(instances=len(ids), dry_run=demand.dry_run or None)
        work = self._engine.work

        def given_to(instance: Instance) -> NewPassword | Secret:
            if hash is not None:
                return hash
            # Hashed for each anew: of two guests with one salt each would know the other's.
            return NewPassword(own[instance.id] if own else password or Secret(b""), work)

        outcomes = await ask_many(
            [self._catalog.by_id(each) or _unknown(each) for each in ids],
            lambda instance: ask(self._engine, instance, user, given_to(instance), demand),
        )
        asked = [each.id for each in outcomes if isinstance(each, ResetRequest)]
        note(resets=",".join(asked), refused=len(ids) - len(asked) or None)
        results = [self._result(each, found) for each, found in zip(ids, outcomes, strict=True)]
        return web.json_response({"results": results})

    def _result(
        self, instance_id: str, outcome: ResetRequest | RequestError | None
    ) -> Mapping[str, Any]:
        if isinstance(outcome, RequestError):
            return {
                "instance": instance_id,
                "status": int(outcome.status),
                "detail": str(outcome),
                "request": None,
            }
        view = None
        if outcome is not None:
            instance = self._catalog.by_id(instance_id)
            view = request_view(outcome, self._engine.guest(instance) if instance else None)
        status = 202 if outcome is not None else 204
        return {"instance": instance_id, "status": status, "detail": None, "request": view}


def _unknown(instance_id: str) -> NotFound:
    return NotFound(f"no such instance: {instance_id[:64]!r}")


def _scheme(body: Body) -> Scheme | None:
    given = body.text("scheme")
    found = next((scheme for scheme in SCHEMES if scheme == given), None)
    if given is not None and found is None:
        body.refuse("scheme", f"expected one of {', '.join(map(repr, SCHEMES))}, got {given!r}")
    return found


def _apply(body: Body) -> Apply:
    chosen = body.choice("apply", get_args(Apply), "both")
    choices: dict[str, Apply] = {name: name for name in get_args(Apply)}
    return choices[chosen]


def _check_policy(password: Secret, user: str, instance: Instance) -> None:
    try:
        check(password.reveal().decode(), user=user, os_type=instance.os_type)
    except PasswordRefused as refused:
        raise InvalidBody(*(("/password", f"password: {rule}") for rule in refused.rules)) from None
