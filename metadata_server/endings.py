"""Instances with an end by the clock: removed when their auto_terminate_time has come."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from typing import Final

from .catalog import Catalog, Stored
from .day.clock import Clock, Timer
from .errors import NotFound, PreconditionFailed
from .instance import Instance
from .overlay import Overlay

log = logging.getLogger(__name__)

AGAIN: Final = 60.0
"""Seconds after which what the disk refused is tried again."""


def seconds_of(moment: str) -> float:
    """Return a time such as 2030-01-19T03:30:52Z in seconds since 1970."""
    parsed = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ")
    return parsed.replace(tzinfo=timezone.utc).timestamp()


class Endings:
    """Has *overlay* remove each instance of *catalog* at its time on *clock*."""

    def __init__(self, catalog: Catalog, overlay: Overlay, clock: Clock) -> None:
        self._overlay = overlay
        self._clock = clock
        self._timers: dict[str, Timer] = {}
        catalog.watch(self._take)
        self._take(catalog.known(), ())

    def _take(self, put: Sequence[Instance | Stored], drop: Collection[str]) -> None:
        for instance_id in (*drop, *(each.id for each in put)):
            if timer := self._timers.pop(instance_id, None):
                timer.cancel()
        for each in put:
            ends = each.ends if isinstance(each, Stored) else each.auto_terminate_time
            if ends is not None:
                self._arm(each.id, seconds_of(ends))

    def _arm(self, instance_id: str, when: float) -> None:
        self._timers[instance_id] = self._clock.at(when, partial(self._end, instance_id))

    async def _end(self, instance_id: str) -> None:
        # Who moves the end at this very moment keeps the instance.
        with suppress(NotFound, PreconditionFailed):
            try:
                await self._overlay.delete([instance_id], tag=self._overlay.tag(instance_id))
            except sqlite3.Error as error:
                log.error("instance %s: not removed at its time: %s", instance_id, error)
                self._arm(instance_id, self._clock.now() + AGAIN)
            else:
                log.info("instance %s: removed at its auto_terminate_time", instance_id)
