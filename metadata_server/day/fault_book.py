"""The faults of all instances: added, listed, removed, over. They go with the process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import count
from typing import Any

from ..errors import Conflict, NotFound
from .actions import AddFault
from .cells import MOST, Cells
from .clock import Clock, Timer
from .faults import Fault, view
from .journal import Journal

Told = Callable[[str, tuple[Fault, ...]], None]


class FaultBook:
    def __init__(self, cells: Cells, clock: Clock, journal: Journal) -> None:
        self._cells = cells
        self._clock = clock
        self._journal = journal
        self._faults: dict[str, Fault] = {}
        """By id, the oldest first."""
        self._free = list(reversed(range(MOST)))
        self._names = count(1)
        self._timers: dict[str, Timer] = {}
        self._watching: list[Told] = []

    def watch(self, told: Told) -> None:
        """Call *told* with all the faults of an instance, each time there are others."""
        self._watching.append(told)

    def add(
        self, asked: AddFault, instance_ids: Collection[str], *, speed: float = 1.0, **facts: Any
    ) -> list[dict[str, Any]]:
        """Add a fault to each instance and return their views; raises Conflict at too many."""
        if len(instance_ids) > len(self._free):
            raise Conflict(f"faults: expected at most {MOST} at once")
        until = None if asked.lasts is None else self._clock() + asked.lasts / speed
        made = []
        for instance_id in instance_ids:
            slot = self._free.pop()
            self._cells.clear(slot)
            name = f"fault-{next(self._names)}"
            fault = replace(asked.like, id=name, instance=instance_id, until=until, slot=slot)
            self._faults[name] = fault
            if until is not None:
                self._timers[name] = self._clock.at(until, partial(self._over, name))
            self._tell(instance_id)
            self._journal.tell("fault", instance_id, f"{fault.kind} added", {"id": name, **facts})
            made.append(self._view(fault))
        return made

    def views(self, instance_ids: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the faults of these instances, or of all."""
        for fault in self._faults.values():
            if instance_ids is None or fault.instance in instance_ids:
                yield self._view(fault)

    def remove(self, name: str) -> None:
        """Remove one fault; raises NotFound."""
        if name not in self._faults:
            raise NotFound(f"no such fault: {name[:64]!r}")
        self._drop(self._faults[name], "removed")

    def clear(
        self, instance_ids: Collection[str] | None = None, path: str = "*", **facts: Any
    ) -> int:
        """Remove the faults of these instances whose path *path* matches; return how many."""
        found = [
            fault
            for fault in self._faults.values()
            if (instance_ids is None or fault.instance in instance_ids)
            and fnmatchcase(fault.path, path)
        ]
        for fault in found:
            self._drop(fault, "removed", **facts)
        return len(found)

    def of(self, instance_id: str) -> tuple[Fault, ...]:
        return tuple(each for each in self._faults.values() if each.instance == instance_id)

    def all(self) -> tuple[tuple[str, tuple[Fault, ...]], ...]:
        """Return the faults of each instance that has any."""
        names = dict.fromkeys(each.instance for each in self._faults.values())
        return tuple((name, self.of(name)) for name in names)

    async def _over(self, name: str) -> None:
        if name in self._faults:
            self._drop(self._faults[name], "over")

    def _drop(self, fault: Fault, what: str, **facts: Any) -> None:
        del self._faults[fault.id]
        if timer := self._timers.pop(fault.id, None):
            timer.cancel()
        self._tell(fault.instance)
        met = self._cells.read(fault.slot).met
        self._free.append(fault.slot)
        told = {"id": fault.id, "met": met, **facts}
        self._journal.tell("fault", fault.instance, f"{fault.kind} {what}", told)

    def _tell(self, instance_id: str) -> None:
        for told in self._watching:
            told(instance_id, self.of(instance_id))

    def _view(self, fault: Fault) -> dict[str, Any]:
        counted = self._cells.read(fault.slot)
        return view(fault, counted.met, counted.concerned)
