"""Numbers for Prometheus, in its text format 0.0.4.

Counters live in cells of fixed places, so that workers count in memory they share with who prints
them. Labels are the configured listeners and known statuses: guests cannot make up more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

MEDIA: Final = "text/plain; version=0.0.4; charset=utf-8"

STATUSES: Final = (200, 400, 401, 403, 404, 405, 408, 409, 429, 500, 503, 0)
"""Each with a cell of its own; 0 is any other."""
_PLACES: Final = {status: place for place, status in enumerate(STATUSES)}
_OTHER: Final = _PLACES[0]

_OPENED: Final = len(STATUSES)
_CLOSED: Final = _OPENED + 1
_TOKENS: Final = _CLOSED + 1
_WIDTH: Final = _TOKENS + 1
CELL: Final = 8


class Counters:
    """What one process counts, for each listener."""

    def __init__(self, listeners: Sequence[str], memory: memoryview | None = None) -> None:
        """Count in *memory*, which has `size` bytes and is zero at first."""
        self.listeners = tuple(listeners)
        memory = memory if memory is not None else memoryview(bytearray(self.size(listeners)))
        self._cells = memory.cast("Q")

    @staticmethod
    def size(listeners: Sequence[str]) -> int:
        return len(listeners) * _WIDTH * CELL

    def answered(self, listener: int, status: int) -> None:
        self._cells[listener * _WIDTH + _PLACES.get(status, _OTHER)] += 1

    def opened(self, listener: int) -> None:
        self._cells[listener * _WIDTH + _OPENED] += 1

    def closed(self, listener: int) -> None:
        self._cells[listener * _WIDTH + _CLOSED] += 1

    def token_given(self, listener: int) -> None:
        self._cells[listener * _WIDTH + _TOKENS] += 1

    def row(self, listener: int) -> list[int]:
        return self._cells[listener * _WIDTH : (listener + 1) * _WIDTH].tolist()


class Metrics:
    """All counters of all processes, and numbers that are looked up when they are asked for."""

    def __init__(
        self,
        counters: Sequence[Counters],
        instances: Callable[[], int],
        resets: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """*resets* says how often each thing happened to password resets, by its code."""
        self._counters = counters
        self._instances = instances
        self._resets = resets
        self._began = time.time()

    def page(self) -> str:
        """Return what /metrics answers."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        listeners = self._counters[0].listeners
        rows = {
            name: [sum(cells) for cells in zip(*(each.row(number) for each in self._counters))]
            for number, name in enumerate(listeners)
        }
        yield from _head("requests_total", "counter", "Requests of guests that were answered.")
        for name, row in rows.items():
            for status, number in zip(STATUSES, row):
                if number:
                    label = status or "other"
                    yield f'linklocal_requests_total{{{_listener(name)},status="{label}"}} {number}'
        yield from _head("connections", "gauge", "Connections of guests that are open.")
        for name, row in rows.items():
            open_now = row[_OPENED] - row[_CLOSED]
            yield f"linklocal_connections{{{_listener(name)}}} {open_now}"
        yield from _head("connections_total", "counter", "Connections of guests there were.")
        for name, row in rows.items():
            yield f"linklocal_connections_total{{{_listener(name)}}} {row[_OPENED]}"
        yield from _head("tokens_total", "counter", "Session tokens that were given.")
        for name, row in rows.items():
            yield f"linklocal_tokens_total{{{_listener(name)}}} {row[_TOKENS]}"
        yield from _head("instances", "gauge", "Instances that are served.")
        yield f"linklocal_instances {self._instances()}"
        yield from _head(
            "resets_total", "counter", "What happened to password resets and who asked for them."
        )
        for code, number in sorted(self._resets().items()):
            yield f'linklocal_resets_total{{event="{code}"}} {number}'
        yield from _head("start_time_seconds", "gauge", "When the server was started.")
        yield f"linklocal_start_time_seconds {self._began:.3f}"
        yield from _head("cpu_seconds_total", "counter", "Processor time of this process.")
        used = os.times()
        yield f"linklocal_cpu_seconds_total {used.user + used.system:.2f}"


def _head(name: str, kind: str, summary: str) -> Iterator[str]:
    yield f"# HELP linklocal_{name} {summary}"
    yield f"# TYPE linklocal_{name} {kind}"


def _listener(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'listener="{escaped}"'
