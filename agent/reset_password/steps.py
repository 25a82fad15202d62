"""The daemon's states, as one table, and the named points at which it may be killed."""

from typing import NamedTuple, Optional


class Step(NamedTuple):
    """What the daemon is at, and where it goes on after a pause when that was refused."""

    does: str
    then: str
    refused: str
    when: tuple[tuple[Optional[int], str], ...] = ()
    """By the status of the refusal, instead of *refused*."""


STEPS = {
    "enrol": Step("instance id, challenge, key", "acknowledge", "enrol"),
    "acknowledge": Step("send every result not yet confirmed", "poll", "poll", ((403, "enrol"),)),
    "poll": Step(
        "ask once, and apply what comes",
        "poll; acknowledge after an order",
        "poll",
        ((403, "enrol"), (404, "enrol")),
    ),
}

POINTS = {
    "challenged": "the server's challenge is here, its key is the one that is known",
    "identity-kept": "the identity is on the disk, and nobody else knows it yet",
    "enrolled": "the server has the boot key and proved its own, which is not pinned yet",
    "pinned": "the server's key is on the disk",
    "received": "the order is open; nothing is written",
    "marked": "the mark with the digest of the old field is on the disk",
    "set": "the password is changed; that is known to nobody",
    "checked": "the field was read again",
    "kept": "the result is on the disk",
    "told": "the server confirmed the result; the disk does not know yet",
    "settled": "the confirmation is on the disk",
}
"""Killed at any of them, the next daemon ends the reset: applied once, acknowledged once."""


def resume(step: str, status: Optional[int]) -> str:
    """Return the step to go on with when *step* was refused with *status*."""
    found = STEPS[step]
    return dict(found.when).get(status, found.refused)
