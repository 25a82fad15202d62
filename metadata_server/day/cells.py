"""The counters of faults, exact also when several processes count: in memory they share, locked."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from typing import Final, NamedTuple

MOST: Final = 1024
"""Faults there can be at once."""
SIZE: Final = MOST * 2 * 8


class Count(NamedTuple):
    concerned: int
    met: int


class Cells:
    """Two counters for each of MOST faults."""

    def __init__(self, memory: memoryview | None = None, handle: int | None = None) -> None:
        """Count in SIZE bytes of *memory*, which is zero at first.

        *handle* is the file that processes which share it lock; None when nobody does.
        """
        self._cells = (memory if memory is not None else memoryview(bytearray(SIZE))).cast("Q")
        self._handle = handle

    def count(self, slot: int, meets: Callable[[int], bool]) -> int:
        """Count one more request and return its number if the fault *meets* it, else 0."""
        if self._handle is None:
            return self._count(slot, meets)
        # Held for microseconds, and let go by the kernel when its holder dies.
        fcntl.lockf(self._handle, fcntl.LOCK_EX)
        try:
            return self._count(slot, meets)
        finally:
            fcntl.lockf(self._handle, fcntl.LOCK_UN)

    def read(self, slot: int) -> Count:
        return Count(self._cells[2 * slot], self._cells[2 * slot + 1])

    def clear(self, slot: int) -> None:
        self._cells[2 * slot] = self._cells[2 * slot + 1] = 0

    def _count(self, slot: int, meets: Callable[[int], bool]) -> int:
        number = self._cells[2 * slot] + 1
        self._cells[2 * slot] = number
        if not meets(number):
            return 0
        self._cells[2 * slot + 1] += 1
        return number
