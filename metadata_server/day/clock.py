"""The server's clock: the machine's, or one that stands still until it is told to step.

Everything the server dates by it follows a step: notices, tokens, credentials, resets, faults and
scenarios. What the network feels does not: time-outs, delays and rates are the machine's seconds.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Final

from ..errors import BadRequest, Conflict
from .times import LATEST

LOOK: Final = 60.0
"""Most seconds between two looks at the machine's clock, which others may set."""

Due = Callable[[], Awaitable[None]]


class Timer:
    """Something that is due at a time, once, unless it is cancelled before."""

    __slots__ = ("_handle", "call", "cancelled", "when")

    def __init__(self, when: float, call: Due) -> None:
        self.when = when
        self.call = call
        self.cancelled = False
        self._handle: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        self.cancelled = True
        if self._handle is not None:
            self._handle.cancel()

    def arm(self, handle: asyncio.TimerHandle) -> None:
        self._handle = handle


class Clock:
    """Tells seconds since 1970; what is due is done on the event loop that asked for it."""

    def __init__(self, start: float | None = None) -> None:
        """Be the machine's clock; or, from *start* on, one that only `step` and `set` move."""
        self._shown = 0.0 if start is None else start
        self.is_stepped = start is not None
        self.now: Callable[[], float] = time.time if start is None else self._standing
        self._numbers = count()
        self._due: list[tuple[float, int, Timer]] = []
        """Of a stepped clock, the next one first."""
        self._under_way: set[asyncio.Task[None]] = set()
        self._stepping = asyncio.Lock()
        self._watching: list[Due] = []

    def __call__(self) -> float:
        return self.now()

    def at(self, when: float, call: Due) -> Timer:
        """Have *call* done at the time *when*, or at once when that is over.

        Return what cancels it.
        """
        timer = Timer(when, call)
        if self.is_stepped:
            heapq.heappush(self._due, (when, next(self._numbers), timer))
            if when <= self._shown:
                self._start(self._do_what_is_due())
        else:
            self._arm(timer)
        return timer

    def watch(self, moved: Due) -> None:
        """Have *moved* done each time the clock was stepped, by what keeps time by itself."""
        self._watching.append(moved)

    async def step(self, seconds: float) -> float:
        """Move on by *seconds* and return the time then; all that is due on the way is done.

        Raises Conflict when this is the machine's clock.
        """
        self._check_stepped()
        async with self._stepping:
            return await self._move(self._shown + seconds)

    async def set(self, when: float) -> float:
        """Move on to the time *when*, as `step` does; BadRequest when that is in the past."""
        self._check_stepped()
        async with self._stepping:
            return await self._move(when)

    async def settle(self) -> None:
        """Return when all that is due by now on a stepped clock is done."""
        if self.is_stepped:
            await self._do_what_is_due()

    async def close(self) -> None:
        """Do nothing more, not even what is under way."""
        for _, _, timer in self._due:
            timer.cancel()
        for task in tuple(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _standing(self) -> float:
        return self._shown

    def _check_stepped(self) -> None:
        if not self.is_stepped:
            raise Conflict("the clock is the machine's; expected a server with `clock: stepped`")

    async def _move(self, when: float) -> float:
        if not self._shown <= when <= LATEST:
            raise BadRequest("expected a time from now on and before the year 10000")
        await self._catch_up(when)
        self._shown = when
        for moved in self._watching:
            await moved()
        return when

    async def _catch_up(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            when, _, timer = heapq.heappop(self._due)
            self._shown = max(self._shown, when)
            await self._do(timer)

    async def _do_what_is_due(self) -> None:
        async with self._stepping:
            await self._catch_up(self._shown)

    async def _do(self, timer: Timer) -> None:
        if not timer.cancelled:
            await timer.call()

    def _arm(self, timer: Timer) -> None:
        left = timer.when - self.now()
        loop = asyncio.get_running_loop()
        timer.arm(loop.call_later(min(max(left, 0.0), LOOK), self._look, timer))

    def _look(self, timer: Timer) -> None:
        if timer.cancelled:
            return
        if timer.when > self.now():
            self._arm(timer)
        else:
            self._start(self._do(timer))

    def _start(self, doing: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(doing)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
