"""All that can happen to guests while the server runs, in one place, and the end of it."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from ..catalog import Catalog
from ..errors import NotFound
from ..events import Events
from ..overlay import Overlay
from ..store import Store
from . import journal as journal_
from . import planner as planner_
from .actions import AddFault, Announce, Cancel, ClearFaults, Reset, Set, Step
from .cells import Cells
from .clock import Clock
from .fault_book import FaultBook
from .forms import Scenario
from .journal import LIMIT, Journal
from .planner import Planner
from .scenarios import Run, Scenarios

SCHEMAS: Final = (journal_.SCHEMA, planner_.SCHEMA)


class Day:
    """Events, faults, scenarios and the journal, over one clock."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        overlay: Overlay,
        events: Events,
        *,
        clock: Clock,
        cells: Cells | None = None,
        journal_limit: int = LIMIT,
    ) -> None:
        """Work on *store*, whose schemas include SCHEMAS; `start` it on its event loop."""
        self._catalog = catalog
        self._overlay = overlay
        self.events = events
        self.clock = clock
        self.journal = Journal(store, clock.now, journal_limit)
        self.planner = Planner(store, catalog, events, clock, self.journal)
        self.faults = FaultBook(cells or Cells(), clock, self.journal)
        self.scenarios = Scenarios(clock, self.journal, self.do)

    def start(self) -> None:
        self.planner.start()

    def run(self, scenario: Scenario, speed: float = 1.0) -> Run:
        """Begin *scenario*; raises NotFound, with file and line, for an instance nobody knows."""
        for step in scenario.steps:
            for each in step.target.instances:
                if self._catalog.by_id(each) is None:
                    raise NotFound(f"{scenario.file}:{step.line}: no such instance: {each!r}")
        return self.scenarios.run(scenario, speed)

    async def do(self, step: Step, speed: float, facts: dict[str, Any]) -> None:
        """Do a step now; *facts* are for the journal. Raises ServerError."""
        ids, action = step.target.of(self._catalog), step.action
        if isinstance(action, Announce):
            await self.planner.announce(action, ids, speed=speed, **facts)
        elif isinstance(action, Cancel):
            await self.planner.cancel(action, ids, **facts)
        elif isinstance(action, AddFault):
            self.faults.add(action, ids, speed=speed, **facts)
        elif isinstance(action, ClearFaults):
            self.faults.clear(ids, action.path, **facts)
        elif isinstance(action, Set):
            for each in ids:
                await self._overlay.set(each, action.patch)
                self.journal.tell("change", each, f"set {', '.join(action.patch)}", facts)
        elif isinstance(action, Reset):
            for each in ids:
                await self.reset_instance(each)
                self.journal.tell("change", each, "reset", facts)

    async def reset_instance(self, instance_id: str) -> None:
        """Make an instance as configured, without events and faults."""
        if self._overlay.is_configured(instance_id):
            await self._overlay.reset(instance_id)
        await self.planner.clear([instance_id])
        self.faults.clear([instance_id])

    def has_any_of(self, instance_id: str) -> bool:
        """Say whether there is an event or a fault of an instance."""
        return bool(self.faults.of(instance_id)) or any(self.planner.views([instance_id]))

    async def clear(self) -> None:
        """End all scenarios, drop all events and faults, and forget the journal."""
        await self.scenarios.clear()
        await self.planner.clear()
        self.faults.clear()
        await self.journal.clear()

    def drain(self) -> None:
        """Answer those who wait for anything here at once, from now on."""
        self.scenarios.drain()
        self.journal.drain()

    async def close(self) -> None:
        """Leave on the disk what belongs there."""
        await self.journal.close()

    def forget(self, state: sqlite3.Connection, instance_id: str) -> None:
        """Forget all about an instance within the transaction that removes it."""
        self.planner.forget(state, instance_id)

    async def forgotten(self, instance_id: str) -> None:
        """Do nothing more for an instance that was removed; the journal stays."""
        await self.planner.forgotten(instance_id)
        self.faults.clear([instance_id])
        self.journal.readiness.forget(instance_id)
