"""Faults: what goes wrong for the requests of one instance, and for which of them. Pure.

Which requests a fault meets depends on its number among those that it could, and on nothing else:
the same requests in the same order meet the same faults, with any number of workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, get_args

from .times import moment

Kind = Literal["delay", "status", "hang", "reset", "truncate", "drip", "token-expiry", "hop-limit"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

NEEDED: Final[Mapping[Kind, str]] = {
    "delay": "seconds",
    "status": "status",
    "truncate": "bytes",
    "drip": "rate",
}
"""The one argument of each kind that has any; delay has `jitter` besides."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one instance. Lengths of time are the machine's seconds, whatever the clock."""

    id: str
    instance: str
    kind: Kind
    path: str = "*"
    """A pattern of paths without query and last slash: `*` is any text, slashes too."""
    seconds: float = 0.0
    """How long an answer is delayed."""
    jitter: float = 0.0
    """The most that is added to a delay, at random."""
    status: int = 0
    bytes: int = 0
    """Of the body that are sent before the connection breaks off."""
    rate: int = 0
    """Bytes of the body a second."""
    first: int | None = None
    """Only so many requests, then none."""
    every: int | None = None
    """Only each request whose number it divides."""
    probability: float | None = None
    seed: int = 0
    until: float | None = None
    """The time, by the server's clock, from which there is no fault."""
    slot: int = -1
    """The place of its counters."""

    def concerns(self, path: str, *, has_token: bool, for_token: bool) -> bool:
        """Say whether it could meet a request of *path* that shows a token, or asks for one."""
        if self.kind == "token-expiry" and not has_token:
            return False
        if self.kind == "hop-limit" and not for_token:
            return False
        return fnmatchcase(path, self.path)

    def meets(self, number: int) -> bool:
        """Say whether it meets the request with this *number*, from 1, among those it concerns."""
        if self.first is not None and number > self.first:
            return False
        if self.every is not None and number % self.every:
            return False
        return self.probability is None or self.draw("meets", number) < self.probability

    def delay(self, number: int) -> float:
        """Return for how many seconds it holds up that request."""
        return self.seconds + self.jitter * self.draw("jitter", number)

    def draw(self, use: str, number: int) -> float:
        """Return a number from 0 up to 1 that is always the same for the same request."""
        digest = hashlib.sha256(f"{self.seed} {use} {number}".encode()).digest()
        return int.from_bytes(digest[:7], "big") / (1 << 56)


def as_matched(pattern: str) -> str:
    """Return a pattern of paths as paths are matched, without the last slash: it means nothing."""
    return pattern.rstrip("/") or "/"


def view(fault: Fault, met: int, concerned: int) -> dict[str, Any]:
    """Return *fault* as the API shows it: what was given, and how many requests it has met."""
    given = {
        name: value
        for name, value in asdict(fault).items()
        if name not in ("slot", "until", "jitter", "seed") and value not in (None, 0, 0.0)
    }
    if fault.jitter:
        given["jitter"] = fault.jitter
    if fault.probability is not None:
        given["seed"] = fault.seed
    if fault.kind == "truncate":
        given["bytes"] = fault.bytes
    if fault.until is not None:
        given["until"] = moment(fault.until)
    return {**given, "met": met, "concerned": concerned}
