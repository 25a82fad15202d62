"""What may be asked of an instance's guest: refusals that need no look at other resets."""

from __future__ import annotations

import re
from typing import Final, get_args

from ..errors import BadRequest, Conflict
from ..instance import Instance
from .envelope import SCHEME
from .policy import FIRST_USER
from .requests import Apply, Enrolment

APPLY: Final[tuple[Apply, ...]] = get_args(Apply)
USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")


def takes_envelope(instance: Instance, known: Enrolment | None) -> bool:
    """Say whether a reset of *instance* is for the platform's own daemon, with a password.

    That is never so once any guest of the instance has enrolled.
    """
    return instance.reset_password.legacy and known is None


def check_demand(
    instance: Instance, user: str, scheme: str, apply: Apply, known: Enrolment | None
) -> None:
    """Raise BadRequest or Conflict for what the guest cannot do; *known* is the one on record.

    The *scheme* is a hash's, or that of the platform's envelope.
    """
    if not USER.fullmatch(user):
        raise BadRequest("user: expected a name of letters, digits, '_', '.' and '-', at most 32")
    if apply not in APPLY:
        raise BadRequest(f"apply: expected one of {', '.join(APPLY)}, got {apply!r}")
    if scheme == SCHEME:
        first = FIRST_USER[instance.os_type]
        if user != first:
            raise BadRequest(f"user: the platform's own daemon sets the password of {first} alone")
        return
    if takes_envelope(instance, known):
        raise Conflict(
            "hash: the platform's own daemon, which reset_password.legacy is for, takes no hash but"
            " only a password"
        )
    if known and known.boot and scheme not in known.schemes:
        raise BadRequest(f"hash: the guest cannot check {scheme}, only {', '.join(known.schemes)}")
    if apply == "live" and not (known and known.boot):
        raise Conflict("apply: live needs a guest that has enrolled, and this one never did")
