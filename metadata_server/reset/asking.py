"""Where plain text ends: a new password becomes a hash, or what the guest can take instead."""

from __future__ import annotations

from ..errors import Conflict
from ..instance import Instance
from ..secret import Secret
from .engine import ResetEngine
from .hashing import Scheme, Work, hash_password
from .requests import Apply, ResetRequest


class NewPassword:
    """A password in plain text, for as long as one call lasts; hashed once for each scheme."""

    def __init__(self, text: Secret, work: Work) -> None:
        self.text = text
        self._work = work
        self._hashes: dict[Scheme, Secret] = {}

    async def hashed(self, scheme: Scheme) -> Secret:
        if scheme not in self._hashes:
            self._hashes[scheme] = await hash_password(self.text, scheme, work=self._work)
        return self._hashes[scheme]


async def ask_password(
    engine: ResetEngine,
    instance: Instance,
    user: str,
    password: NewPassword,
    *,
    scheme: Scheme | None = None,
    apply: Apply = "both",
    unlock: bool = False,
    expire: bool = False,
    restart: bool = False,
    replace: bool = False,
) -> ResetRequest:
    """Record that *user*'s password is to become *password*, which meets the policy already.

    Without a *scheme* it is the configured one, or another that the guest can check. Raises
    Conflict when the guest takes the platform's envelope alone and there is more to ask.
    """
    if engine.takes_envelope(instance):
        asked = {"unlock": unlock, "expire": expire, "restart": restart, "apply": apply == "live"}
        if more := [name for name, is_asked in asked.items() if is_asked]:
            raise Conflict(f"{more[0]}: the platform's own daemon cannot do that")
        return await engine.ask_envelope(instance, user, password.text, replace=replace)
    if scheme is None:
        known = engine.enrolment(instance.id)
        scheme = engine.work.scheme_for(known.schemes if known and known.boot else None)
    return await engine.ask(
        instance,
        user,
        await password.hashed(scheme),
        apply=apply,
        unlock=unlock,
        expire=expire,
        restart=restart,
        replace=replace,
    )
