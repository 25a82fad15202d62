"""A password that root of this machine sets, now or in an image: without a server."""

from ..errors import HostError
from ..secret import Secret
from .apply import scheme_of
from .machine import CODES, Machine


def set_by_hand(machine: Machine, user: str, given: Secret) -> None:
    """Set a password as root of this machine wants it; HostError with the reason it is not."""
    if scheme_of(given.reveal()) is None:
        raise HostError("set: expected one complete crypt(3) hash on standard input")
    found = machine.find(user)
    if found.field is None:
        raise HostError(f"set: {user!r} below {machine.root}: {CODES[found.code]}")
    code = machine.obstacle()
    if not code and not machine.set_hash(user, given):
        code = "busy" if machine.is_busy() else "chpasswd"
    if not code and machine.find(user).field != given:
        code = "not-kept"
    if code:
        raise HostError(f"set: {user!r}: {CODES[code]}")
