"""Scenarios that run: step after step by the server's clock, whoever started them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Final, Literal

from ..errors import Conflict, NotFound, ServerError
from .actions import Step
from .clock import Clock, Timer
from .forms import Scenario
from .journal import Journal
from .times import moment

State = Literal["running", "done", "failed", "stopped"]
KEPT: Final = 100
"""Scenarios that have ended and are still known."""

Do = Callable[[Step, float, dict[str, Any]], Awaitable[None]]
"""What does a step at a speed; the facts are for the journal."""


@dataclass(slots=True)
class Run:
    id: str
    scenario: Scenario
    speed: float
    began: float
    state: State = "running"
    done: int = 0
    """Steps that had their time."""
    failures: list[str] = field(default_factory=list)
    ended: float | None = None
    timer: Timer | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def view(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.scenario.name,
            "state": self.state,
            "speed": self.speed,
            "steps": len(self.scenario.steps),
            "done": self.done,
            "began": moment(self.began),
            "ended": None if self.ended is None else moment(self.ended),
            "failures": list(self.failures),
        }


class Scenarios:
    def __init__(self, clock: Clock, journal: Journal, do: Do) -> None:
        self._clock = clock
        self._journal = journal
        self._do = do
        self._runs: dict[str, Run] = {}
        self._names = count(1)
        self._draining = False
        self._stepping = asyncio.Lock()

    def run(self, scenario: Scenario, speed: float = 1.0) -> Run:
        """Begin *scenario* now, with all its times divided by *speed*."""
        run = Run(f"run-{next(self._names)}", scenario, speed, self._clock())
        self._runs[run.id] = run
        ended = [each.id for each in self._runs.values() if each.state != "running"]
        for old in ended[: max(0, len(ended) - KEPT)]:
            del self._runs[old]
        self._tell(run, "begun", 0.0)
        self._next(run)
        return run

    def get(self, name: str) -> Run:
        """Return a scenario that runs or has run; raises NotFound."""
        found = self._runs.get(name)
        if found is None:
            raise NotFound(f"no such scenario: {name[:64]!r}")
        return found

    def all(self) -> tuple[Run, ...]:
        return tuple(self._runs.values())

    async def wait(self, name: str, seconds: float) -> Run:
        """Return the scenario when it has ended, or as it is after *seconds* of the machine's."""
        run = self.get(name)
        if not self._draining:
            try:
                await asyncio.wait_for(run.over.wait(), seconds)
            except asyncio.TimeoutError:
                return run
        return run

    def stop(self, name: str) -> Run:
        """End a scenario before its time; what it did stays. Raises Conflict when it is over."""
        run = self.get(name)
        if run.state != "running":
            raise Conflict(f"scenario {run.id} is {run.state}")
        self._end(run, "stopped")
        return run

    async def clear(self) -> None:
        """Stop all scenarios and forget them, once the step under way is done."""
        for run in self._runs.values():
            if run.state == "running":
                self._end(run, "stopped")
        async with self._stepping:
            self._runs.clear()

    def drain(self) -> None:
        """Answer those who wait at once, from now on."""
        self._draining = True
        for run in self._runs.values():
            run.over.set()

    def _next(self, run: Run) -> None:
        step = run.scenario.steps[run.done]
        when = run.began + step.at / run.speed
        run.timer = self._clock.at(when, partial(self._step, run))

    async def _step(self, run: Run) -> None:
        async with self._stepping:
            if run.state == "running":
                await self._do_step(run)

    async def _do_step(self, run: Run) -> None:
        step = run.scenario.steps[run.done]
        facts = {"scenario": run.scenario.name, "offset": step.at}
        try:
            await self._do(step, run.speed, facts)
        except ServerError as error:
            text = f"{run.scenario.file}:{step.line}: {error}"
            run.failures.append(text)
            self._tell(run, "step failed", step.at, reason=text)
        run.done += 1
        # It may have been stopped while the disk was at work.
        if run.state == "running":
            if run.done < len(run.scenario.steps):
                self._next(run)
            else:
                self._end(run, "failed" if run.failures else "done")

    def _end(self, run: Run, state: State) -> None:
        run.state = state
        run.ended = self._clock()
        if run.timer is not None:
            run.timer.cancel()
        at = run.scenario.steps[run.done - 1].at if run.done else 0.0
        self._tell(run, state, at)
        run.over.set()

    def _tell(self, run: Run, what: str, offset: float, **facts: Any) -> None:
        told = {"scenario": run.scenario.name, "offset": offset, **facts}
        self._journal.tell("scenario", None, f"{run.id} {what}", told)
