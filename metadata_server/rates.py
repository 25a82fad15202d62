"""How often one may ask: so many requests a second, and as many at once after a pause. Pure."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Final

REMEMBERED: Final = 65536
"""Guests; whoever has been silent longest is forgotten first, and that does not harm it."""
STRANGERS: Final = 20
"""Requests a second from one place that is no guest's, unless the operator says otherwise."""
STRANGERS_REMEMBERED: Final = 4096
_HOST_BITS: Final = 64


class Rates:
    """A bucket of *rate* requests for each guest, filled again within a second."""

    def __init__(
        self,
        rate: int,
        *,
        remembered: int = REMEMBERED,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._remembered = remembered
        self._now = now
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, guest: str) -> float:
        """Take a request of *guest* into account and return 0, or the seconds until it may ask."""
        now = self._now()
        full_at = max(self._full_at.pop(guest, now), now)
        # A request empties the bucket by 1/rate seconds; a whole second more is an empty bucket.
        after = full_at + 1 / self._rate
        wait = after - now - 1.0
        # Half a nanosecond of float error must not cost anybody the last request of the second.
        allowed = wait < 1e-9
        self._full_at[guest] = after if allowed else full_at
        if len(self._full_at) > self._remembered:
            self._full_at.popitem(last=False)
        return 0.0 if allowed else wait

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._full_at)


def place(address: str) -> str:
    """Return what strangers are told apart by: an IPv4 address, or 64 bits of an IPv6 one.

    Whoever has one IPv6 address has as many as they like.
    """
    if ":" not in address:
        return address
    found = IPv6Address(address.partition("%")[0])
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{int(found) >> _HOST_BITS:x}::/{_HOST_BITS}"
