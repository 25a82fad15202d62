"""Events: told to guests now or later, called off, over when their time has come.

What is planned is in the state before it is answered, like what is told, and outlives the process.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final, NamedTuple

from ..catalog import Catalog
from ..events import Events
from ..notices import NONE, Interruption, Maintenance, Notices
from ..store import Store
from .actions import Announce, Cancel, EventKind
from .clock import Clock, Timer
from .journal import Journal
from .times import moment

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS plans (
    id TEXT PRIMARY KEY,
    instance_id TEXT NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;
"""


class Plan(NamedTuple):
    """An event of an instance, with all its times known."""

    id: str
    instance: str
    kind: EventKind
    told: float
    happens: float
    facts: Mapping[str, Any]
    """What else the notice says."""

    def put(self, notices: Notices) -> Notices:
        """Return *notices* with this event among them."""
        if self.kind == "spot":
            return replace(notices, interruption=Interruption(self.happens, **self.facts))
        if self.kind == "rebalance":
            return replace(notices, rebalance=self.happens)
        if self.kind == "life_cycle":
            return replace(notices, life_cycle=self.facts["state"])
        event = Maintenance(self.id, not_before=self.happens, **self.facts)
        others = [each for each in notices.maintenance if each.id != self.id]
        return replace(notices, maintenance=(*others, event))


def plan(asked: Announce, instance_id: str, now: float, speed: float = 1.0) -> Plan:
    """Return what *asked* means for an instance at the time *now*."""
    happens, told = asked.times(now, speed)
    facts: dict[str, Any] = {}
    if asked.kind == "spot":
        facts = {"action": asked.action}
    elif asked.kind == "life_cycle":
        facts = {"state": asked.state}
    elif asked.kind == "maintenance":
        facts = {
            "code": asked.code,
            "description": asked.description,
            "not_after": happens + asked.length / speed,
            "deadline": None if asked.deadline is None else now + asked.deadline / speed,
        }
    return Plan(
        f"instance-event-{secrets.token_hex(8)}", instance_id, asked.kind, told, happens, facts
    )


class Planner:
    """The events of all instances, in a store made with SCHEMA."""

    def __init__(
        self, store: Store, catalog: Catalog, events: Events, clock: Clock, journal: Journal
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._events = events
        self._clock = clock
        self._journal = journal
        self._plans: dict[str, Plan] = {}
        self._timers: dict[str, Timer] = {}
        """By the id of a plan, or by that of an instance: when what is told to it changes."""
        self._lasting: dict[str, Notices] = {}
        """By instance id: what was told last and may be over by itself."""

    def start(self) -> None:
        """Take up what was planned and told before the process began; needs the event loop."""
        for row in self._store.read("SELECT document FROM plans ORDER BY id"):
            self._arm(Plan(*json.loads(row["document"])))
        for instance_id, notices in self._events.all():
            self._watch(instance_id, notices)

    async def announce(
        self, asked: Announce, instance_ids: Collection[str], *, speed: float = 1.0, **facts: Any
    ) -> list[dict[str, Any]]:
        """Tell the instances, or plan to, and return the events; *facts* are for the journal."""
        now = self._clock()
        plans = [plan(asked, each, now, speed) for each in instance_ids]
        late = [each for each in plans if each.told > now]
        if late:
            await self._store.write(partial(_write, plans=late))
            for each in late:
                self._arm(each)
                self._tell(each, "planned", facts)
        for each in plans:
            if each.told <= now:
                await self._put(each, facts)
        return [_view(each, "planned" if each in late else "told") for each in plans]

    async def cancel(
        self,
        asked: Cancel,
        instance_ids: Collection[str],
        *,
        event: str | None = None,
        **facts: Any,
    ) -> int:
        """Call events of the kinds *asked* off, or one of them; return how many there were."""
        number = 0
        for instance_id in instance_ids:
            plans = [
                each
                for each in self._plans.values()
                if each.instance == instance_id
                and each.kind in asked.kinds
                and event in (None, each.id)
            ]
            if plans:
                await self._drop(plans)
            before = self._events.of(instance_id)
            after = _without(before, asked.kinds, event)
            if after != before:
                after = await self._events.change(
                    instance_id, lambda told: _without(told, asked.kinds, event)
                )
                self._watch(instance_id, after)
            told = [kind for kind, _ in _told(before, after)]
            for kind in [*(each.kind for each in plans), *told]:
                number += 1
                self._journal.tell("event", instance_id, f"{kind} cancelled", facts)
        return number

    async def move(self, instance_id: str, event: str, happens: float) -> None:
        """Have a maintenance that is told begin at another time, and last as long."""

        def moved(each: Maintenance) -> Maintenance:
            if each.id != event or each.state != "active":
                return each
            length = None if each.not_after is None else each.not_after - each.not_before
            after = None if length is None else happens + length
            return replace(each, not_before=happens, not_after=after)

        notices = await self._events.change(
            instance_id,
            lambda told: replace(told, maintenance=tuple(map(moved, told.maintenance))),
        )
        self._journal.tell("event", instance_id, "maintenance moved", {"to": moment(happens)})
        self._watch(instance_id, notices)

    def views(self, instance_ids: Collection[str]) -> Iterator[dict[str, Any]]:
        """Yield the events of these instances: planned ones, and what is told."""
        for instance_id in instance_ids:
            for each in self._plans.values():
                if each.instance == instance_id:
                    yield _view(each, "planned")
            yield from _views(instance_id, self._events.of(instance_id))

    async def clear(self, instance_ids: Collection[str] | None = None) -> None:
        """Drop all events, or all of these instances, as if there had never been any."""
        wanted = {each.instance for each in self._plans.values()}
        wanted |= {instance_id for instance_id, told in self._events.all() if told != NONE}
        if instance_ids is not None:
            wanted &= set(instance_ids)
        await self._drop([each for each in self._plans.values() if each.instance in wanted])
        for instance_id in sorted(wanted):
            self._watch(instance_id, await self._events.change(instance_id, lambda _: NONE))

    def forget(self, state: sqlite3.Connection, instance_id: str) -> None:
        """Forget all about an instance within the transaction that removes it."""
        state.execute("DELETE FROM plans WHERE instance_id = ?", (instance_id,))

    async def forgotten(self, instance_id: str) -> None:
        """Do nothing more for an instance that was removed."""
        for each in [*self._plans.values()]:
            if each.instance == instance_id:
                self._disarm(each)
        self._watch(instance_id, NONE)

    def _arm(self, planned: Plan) -> None:
        self._plans[planned.id] = planned
        self._timers[planned.id] = self._clock.at(planned.told, partial(self._due, planned))

    def _disarm(self, planned: Plan) -> None:
        self._plans.pop(planned.id, None)
        timer = self._timers.pop(planned.id, None)
        if timer is not None:
            timer.cancel()

    async def _due(self, planned: Plan) -> None:
        if planned.id in self._plans:
            self._disarm(planned)
            await self._put(planned, {})

    async def _put(self, planned: Plan, facts: Mapping[str, Any]) -> None:
        notices = await self._events.change(
            planned.instance, planned.put, also=partial(_erase, plans=[planned])
        )
        self._tell(planned, "told", facts)
        self._watch(planned.instance, notices)

    async def _drop(self, plans: Sequence[Plan]) -> None:
        for each in plans:
            self._disarm(each)
        if plans:
            await self._store.write(partial(_erase, plans=plans))

    def _watch(self, instance_id: str, notices: Notices) -> None:
        """See to it that what is over is told no more, also when nobody asks."""
        key = f"instance {instance_id}"
        if timer := self._timers.pop(key, None):
            timer.cancel()
        self._lasting.pop(instance_id, None)
        until = notices.good_until()
        if until != float("inf"):
            self._lasting[instance_id] = notices
            self._timers[key] = self._clock.at(until, partial(self._over, instance_id))

    async def _over(self, instance_id: str) -> None:
        # Whoever asked at that moment may have been told already.
        before = self._lasting.get(instance_id, NONE)
        after = await self._events.change(instance_id, lambda told: told)
        for kind, _ in _told(before, after):
            self._journal.tell("event", instance_id, f"{kind} over")
        self._watch(instance_id, after)

    def _tell(self, planned: Plan, what: str, facts: Mapping[str, Any]) -> None:
        self._journal.tell("event", planned.instance, f"{planned.kind} {what}", facts)


def _write(state: sqlite3.Connection, plans: Sequence[Plan]) -> None:
    for each in plans:
        state.execute(
            "INSERT OR REPLACE INTO plans VALUES (?, ?, ?)",
            (each.id, each.instance, json.dumps(each)),
        )


def _erase(state: sqlite3.Connection, plans: Sequence[Plan]) -> None:
    for each in plans:
        state.execute("DELETE FROM plans WHERE id = ?", (each.id,))


def _without(notices: Notices, kinds: Collection[EventKind], event: str | None) -> Notices:
    """Return *notices* when those of *kinds* are off, or the one maintenance *event* is."""
    changed: dict[str, Any] = {}
    if "maintenance" in kinds:
        changed["maintenance"] = tuple(
            replace(each, state="canceled")
            if each.state == "active" and event in (None, each.id)
            else each
            for each in notices.maintenance
        )
    if event is None:
        fields = {"spot": "interruption", "rebalance": "rebalance", "life_cycle": "life_cycle"}
        changed |= {field: None for kind, field in fields.items() if kind in kinds}
    return replace(notices, **changed)


def _told(before: Notices, after: Notices) -> Iterator[tuple[EventKind, str]]:
    """Yield kind and id of what was told before and is not any more."""
    left = {(each["kind"], each["id"]) for each in _views("", after)}
    for each in _views("", before):
        if (each["kind"], each["id"]) not in left:
            yield each["kind"], each["id"]


def _views(instance_id: str, notices: Notices) -> Iterator[dict[str, Any]]:
    def told(kind: EventKind, name: str, happens: float | None, **facts: Any) -> dict[str, Any]:
        return _shown(name, instance_id, kind, "told", happens, None, facts)

    if notices.interruption is not None:
        found = notices.interruption
        yield told("spot", "spot", found.time, action=found.action)
    if notices.rebalance is not None:
        yield told("rebalance", "rebalance", notices.rebalance)
    for each in notices.maintenance:
        if each.state == "active":
            facts = asdict(each)
            del facts["id"], facts["state"]
            yield told("maintenance", each.id, facts.pop("not_before"), **facts)
    if notices.life_cycle is not None:
        yield told("life_cycle", "life_cycle", None, state=notices.life_cycle)


def _view(planned: Plan, state: str) -> dict[str, Any]:
    name = planned.id if state == "planned" or planned.kind == "maintenance" else planned.kind
    tells = planned.told if state == "planned" else None
    happens = None if planned.kind == "life_cycle" and state == "told" else planned.happens
    return _shown(name, planned.instance, planned.kind, state, happens, tells, planned.facts)


def _shown(
    name: str,
    instance_id: str,
    kind: EventKind,
    state: str,
    happens: float | None,
    tells: float | None,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    times = {"at": happens, "tell_at": tells}
    times |= {key: facts[key] for key in ("not_after", "deadline") if key in facts}
    return {
        "id": name,
        "instance": instance_id,
        "kind": kind,
        "told": state == "told",
        **{key: value for key, value in facts.items() if key not in times},
        **{key: moment(value) for key, value in times.items() if value is not None},
    }
