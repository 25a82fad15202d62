"""Where plain text ends: a new password becomes a hash, or what the guest can take instead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ..errors import Conflict, RequestError
from ..instance import Instance
from ..secret import Secret
from .engine import ResetEngine
from .envelope import SCHEME, check_taken
from .hashing import Scheme, Work, check_hash, hash_password
from .requests import Apply, ResetRequest


class NewPassword:
    """A password in plain text, for as long as one call lasts; hashed once for each scheme."""

    def __init__(self, text: Secret, work: Work) -> None:
        self.text = text
        self._work = work
        self._hashes: dict[Scheme, asyncio.Task[Secret]] = {}

    async def hashed(self, scheme: Scheme) -> Secret:
        if scheme not in self._hashes:
            self._hashes[scheme] = asyncio.ensure_future(
                hash_password(self.text, scheme, work=self._work)
            )
        return await asyncio.shield(self._hashes[scheme])


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked for beside the password."""

    scheme: Scheme | None = None
    """None is the configured one, or another that the guest can check."""
    apply: Apply = "both"
    unlock: bool = False
    expire: bool = False
    restart: bool = False
    replace: bool = False
    dry_run: bool = False
    """Refuse what would be refused, and ask nothing."""


async def ask_password(
    engine: ResetEngine, instance: Instance, user: str, password: NewPassword, demand: Demand
) -> ResetRequest | None:
    """Record that *user*'s password is to become *password*, which meets the policy already.

    None is the end of a dry run. Raises Conflict when the guest takes the platform's envelope
    alone and there is more to ask.
    """
    if engine.takes_envelope(instance):
        return await _ask_envelope(engine, instance, user, password, demand)
    scheme = demand.scheme
    if scheme is None:
        known = engine.enrolment(instance.id)
        scheme = engine.work.scheme_for(known.schemes if known and known.boot else None)
    engine.examine(instance, user, scheme, apply=demand.apply, replace=demand.replace)
    if demand.dry_run:
        return None
    return await _ask_hash(engine, instance, user, await password.hashed(scheme), demand)


async def ask_given(
    engine: ResetEngine, instance: Instance, user: str, hash: Secret, demand: Demand
) -> ResetRequest | None:
    """Record that *user*'s password is to become the one of *hash*; None after a dry run."""
    if demand.dry_run:
        scheme = check_hash(hash)
        engine.examine(instance, user, scheme, apply=demand.apply, replace=demand.replace)
        return None
    return await _ask_hash(engine, instance, user, hash, demand)


async def _ask_hash(
    engine: ResetEngine, instance: Instance, user: str, hash: Secret, demand: Demand
) -> ResetRequest:
    return await engine.ask(
        instance,
        user,
        hash,
        apply=demand.apply,
        unlock=demand.unlock,
        expire=demand.expire,
        restart=demand.restart,
        replace=demand.replace,
    )


async def _ask_envelope(
    engine: ResetEngine, instance: Instance, user: str, password: NewPassword, demand: Demand
) -> ResetRequest | None:
    beyond = {
        "unlock": demand.unlock,
        "expire": demand.expire,
        "restart": demand.restart,
        "apply": demand.apply == "live",
    }
    if more := [name for name, is_asked in beyond.items() if is_asked]:
        raise Conflict(f"{more[0]}: the platform's own daemon cannot do that")
    if demand.dry_run:
        engine.examine(instance, user, SCHEME, apply="both", replace=demand.replace)
        check_taken(password.text, instance.os_type)
        return None
    return await engine.ask_envelope(instance, user, password.text, replace=demand.replace)


Outcome = ResetRequest | RequestError | None
"""What became of one of many: the request, a refusal, or nothing after a dry run."""


async def ask_many(
    instances: Sequence[Instance | RequestError],
    ask: Callable[[Instance], Awaitable[ResetRequest | None]],
) -> list[Outcome]:
    """Return what became of each of *instances*, in their order; one that is refused stops none.

    What stands in the place of an instance because it is not known stays there.
    """

    async def one(instance: Instance | RequestError) -> Outcome:
        if isinstance(instance, RequestError):
            return instance
        try:
            return await ask(instance)
        except RequestError as error:
            return error

    return list(await asyncio.gather(*(one(each) for each in instances)))
