"""Who asked what and when, and what happened to whom: a bounded ring, followed, filtered, kept.

A process that answers guests appends to a list and does nothing more for each request; what there
is of it is taken over a few times a second, or when somebody reads. On the disk it is written in
batches: the last few seconds may be lost with the process.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import count, islice
from typing import Any, Final, Literal, NamedTuple, Union

from ..store import Store
from .readiness import Readiness

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS journal (
    last INTEGER PRIMARY KEY,
    entries TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS journal_clients (
    instance_id TEXT PRIMARY KEY,
    clients TEXT NOT NULL
) WITHOUT ROWID;
"""

LIMIT: Final = 10_000
"""Entries kept, unless the configuration says otherwise."""
PAUSE: Final = 0.1
"""Seconds after a request until it is in the journal by itself."""
KEEP_SECONDS: Final = 15.0
"""Between two writes to the disk."""
LONGEST: Final = 256
"""Characters kept of a path and of a user agent."""

Token = Literal["none", "good", "bad", ""]
"""What a request showed; empty where no token is asked for: resets, and tokens themselves."""
Kind = Literal["event", "fault", "scenario", "change"]

Noted = tuple[float, Union[str, None], str, str, str, Token, str, int, Union[str, None]]
"""The fields of Asked as they are collected: a plain tuple is made in a quarter of the time."""


class Asked(NamedTuple):
    """A request of a guest."""

    time: float
    instance: str | None
    """None when nobody knows whose it is."""
    address: str
    method: str
    path: str
    token: Token
    agent: str
    status: int
    """0 when there was no answer."""
    fault: str | None
    """The id of the fault that had a hand in it."""


class Happened(NamedTuple):
    """What the server did to an instance, or to none in particular."""

    time: float
    kind: Kind
    instance: str | None
    what: str
    facts: Mapping[str, Any]


class Entry(NamedTuple):
    number: int
    """Grows by one with each entry, also over restarts."""
    entry: Asked | Happened


class Wanted(NamedTuple):
    """What of the journal is asked for; None is any."""

    instance: str | None = None
    kind: str | None = None
    path: str | None = None
    """A pattern: `*` is any text."""
    status: str | None = None
    """`503`, or `5xx` for all of its hundred."""
    agent: str | None = None
    """A pattern."""
    token: str | None = None

    def has(self, entry: Asked | Happened) -> bool:
        if self.instance is not None and entry.instance != self.instance:
            return False
        if isinstance(entry, Happened):
            only = (self.path, self.status, self.agent, self.token)
            return self.kind in (None, entry.kind) and only == (None, None, None, None)
        return (
            self.kind in (None, "request")
            and (self.path is None or fnmatchcase(entry.path, self.path))
            and (self.status is None or _is_status(entry.status, self.status))
            and (self.agent is None or fnmatchcase(entry.agent, self.agent))
            and (self.token is None or entry.token == self.token)
        )


class Page(NamedTuple):
    entries: tuple[Entry, ...]
    next: int
    """The number of the last entry that was looked at: what comes after it is new."""
    missed: bool
    """Whether entries that were asked for have made room for later ones."""


class Recorder:
    """Where one process notes requests, until they are taken over."""

    def __init__(self, deliver: Callable[[list[Noted]], None]) -> None:
        self._deliver = deliver
        self.fresh: list[Noted] = []
        """What is to be handed over; who appends to it when it is empty has to `arm` first."""

    def note(self, noted: Noted) -> None:
        if not self.fresh:
            self.arm()
        self.fresh.append(noted)

    def arm(self) -> None:
        """See to it that what is there in a moment is handed over."""
        asyncio.get_running_loop().call_later(PAUSE, self.flush)

    def flush(self) -> None:
        """Hand over what there is."""
        if self.fresh:
            fresh, self.fresh = self.fresh, []
            self._deliver(fresh)


class Journal:
    """The ring of the whole server, in a store made with SCHEMA."""

    def __init__(self, store: Store, now: Callable[[], float], limit: int = LIMIT) -> None:
        self._store = store
        self._now = now
        self._limit = limit
        self._ring: deque[Noted | Happened | None] = deque(maxlen=limit)
        """Without gaps, the last one with the number _last; None is one that was forgotten."""
        self._last = 0
        self._kept = 0
        self._told = asyncio.Event()
        self._draining = False
        self._keeping: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self.readiness = Readiness()
        self.recorder = Recorder(self.take)
        self.gather: Callable[[], Awaitable[None]] = self._flush
        """Take over what all processes have noted so far."""
        self._read()

    def take(self, batch: Sequence[Noted]) -> None:
        """Take over requests that were noted, in their order."""
        self.readiness.count(batch, self._now())
        self._append(batch)

    def tell(
        self, kind: Kind, instance: str | None, what: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Note what was done to an instance."""
        # Requests that were answered before it come before it.
        self.recorder.flush()
        self._append([Happened(self._now(), kind, instance, what, facts or {})])

    def page(self, wanted: Wanted, after: int | None, limit: int) -> Page:
        """Return entries after the one numbered *after*; None asks for the newest."""
        if after is None:
            backwards = zip(range(self._last, 0, -1), reversed(self._ring))
            newest = islice(_having(wanted, backwards), limit)
            return Page(tuple(reversed([*newest])), self._last, False)
        first = self._last - len(self._ring) + 1
        start = max(first, after + 1)
        rest = zip(count(start), islice(self._ring, start - first, None))
        found = [*islice(_having(wanted, rest), limit)]
        upto = found[-1].number if len(found) == limit else max(self._last, after)
        return Page(tuple(found), upto, after + 1 < first)

    async def wait(self, wanted: Wanted, after: int, limit: int, seconds: float) -> Page:
        """Return what `page` does as soon as it has an entry, or what it has after *seconds*."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        seen = after
        while True:
            told = self._told
            await self.gather()
            found = self.page(wanted, seen, limit)
            left = end - loop.time()
            if found.entries or found.missed or left <= 0 or self._draining:
                return found
            seen = found.next
            try:
                await asyncio.wait_for(told.wait(), left)
            except asyncio.TimeoutError:
                continue

    def drain(self) -> None:
        """Answer those who wait at once, from now on."""
        self._draining = True
        self._told.set()

    async def clear(self, instance_id: str | None = None) -> None:
        """Forget all of the journal, or all that is about one instance."""
        await self.gather()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        if instance_id is None:
            self._ring.clear()
            self.readiness.forget_all()
        else:
            left = [None if _is_about(each, instance_id) else each for each in self._ring]
            self._ring = deque(left, maxlen=self._limit)
            self.readiness.forget(instance_id)
        await self._store.write(self._rewrite)
        self._kept = self._last

    async def close(self) -> None:
        """Write what is not on the disk yet."""
        self.recorder.flush()
        if self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None
        if self._writing is not None:
            await asyncio.wait([self._writing])
        await self._keep()

    async def _flush(self) -> None:
        self.recorder.flush()

    def _append(self, batch: Sequence[Noted | Happened]) -> None:
        self._last += len(batch)
        self._ring.extend(batch)
        self._told.set()
        self._told = asyncio.Event()
        if self._draining:
            self._told.set()
        if self._keeping is None and not self._store.is_temporary:
            loop = asyncio.get_running_loop()
            self._keeping = loop.call_later(KEEP_SECONDS, self._start_keeping)

    def _start_keeping(self) -> None:
        self._keeping = None
        self._writing = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        if self._kept == self._last or self._store.is_temporary:
            return
        upto = self._last
        known = max(0, len(self._ring) - (upto - self._kept))
        fresh = [*islice(self._ring, known, None)]
        clients = self.readiness.changed()

        def write(state: sqlite3.Connection) -> None:
            if fresh:
                state.execute(
                    "INSERT OR REPLACE INTO journal VALUES (?, ?)", (upto, json.dumps(fresh))
                )
            state.execute("DELETE FROM journal WHERE last <= ?", (upto - self._limit,))
            for instance_id, text in clients.items():
                _write_clients(state, instance_id, text)

        await self._store.write(write)
        self._kept = upto

    def _rewrite(self, state: sqlite3.Connection) -> None:
        """Write all that is known now in the place of what is on the disk."""
        state.execute("DELETE FROM journal")
        state.execute("DELETE FROM journal_clients")
        if self._ring:
            state.execute(
                "INSERT INTO journal VALUES (?, ?)", (self._last, json.dumps([*self._ring]))
            )
        for instance_id, text in self.readiness.all().items():
            _write_clients(state, instance_id, text)

    def _read(self) -> None:
        for row in self._store.read("SELECT * FROM journal ORDER BY last"):
            found = [_noted(each) for each in json.loads(row["entries"])]
            if row["last"] - len(found) != self._last:
                self._ring.clear()
            self._ring.extend(found)
            self._last = self._kept = row["last"]
        for row in self._store.read("SELECT * FROM journal_clients"):
            self.readiness.load(row["instance_id"], row["clients"])


def _having(
    wanted: Wanted, numbered: Iterable[tuple[int, Noted | Happened | None]]
) -> Iterator[Entry]:
    for number, noted in numbered:
        if noted is not None:
            entry = noted if isinstance(noted, Happened) else Asked._make(noted)
            if wanted.has(entry):
                yield Entry(number, entry)


def _is_about(noted: Noted | Happened | None, instance_id: str) -> bool:
    if isinstance(noted, Happened):
        return noted.instance == instance_id
    return noted is not None and noted[1] == instance_id


def _noted(fields: Sequence[Any] | None) -> Noted | Happened | None:
    """Return what was written as *fields*."""
    if fields is None:
        return None
    if len(fields) == len(Happened._fields):
        return Happened._make(fields)
    time, instance, address, method, path, token, agent, status, fault = fields
    return time, instance, address, method, path, token, agent, status, fault


def _is_status(status: int, wanted: str) -> bool:
    return wanted in (str(status), f"{status // 100}xx")


def _write_clients(state: sqlite3.Connection, instance_id: str, text: str | None) -> None:
    if text is None:
        state.execute("DELETE FROM journal_clients WHERE instance_id = ?", (instance_id,))
    else:
        state.execute("INSERT OR REPLACE INTO journal_clients VALUES (?, ?)", (instance_id, text))


def views(entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """Yield entries as the API shows them."""
    from .times import moment

    for number, entry in entries:
        kind = {"kind": "request"} if isinstance(entry, Asked) else {}
        found = {**kind, **entry._asdict()}
        yield {"number": number, **found, "time": moment(entry.time)}
