"""Changes by API over the configured instances: kept in the state, one for each instance id.

The one place where instances change while the server runs. A change is on the disk before anybody
sees it, and it is there again after a restart and over whatever the configuration says then.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from . import made as ready
from .catalog import Catalog, Stored, origins
from .changes import (
    SCHEMA,
    Change,
    Claimed,
    Owner,
    applied,
    check_claims,
    check_id,
    keys_of,
    problems_of,
    read_change,
    read_changes,
    read_over_base,
    read_unmade,
    tag_of_all,
    taken_by,
    within,
    write,
    write_all,
)
from .document import Document, check, command_of, composed, described, patched, read, text_of
from .errors import ConfigError, Conflict, InvalidDocument, NotFound, PreconditionFailed
from .instance import Instance
from .login import served_user_data
from .store import Store

__all__ = ["SCHEMA", "Change", "Forgets", "Overlay"]

T = TypeVar("T")

log = logging.getLogger(__name__)

USER_DATA_LIMIT: Final = 32 * 1024


class Forgets(Protocol):
    """Something that knows more of an instance, and has to forget it when that is deleted."""

    def forget(self, state: sqlite3.Connection, instance_id: str) -> None:
        """Do so within the transaction that deletes the instance."""
        ...

    async def forgotten(self, instance_id: str) -> None:
        """Do what is left to do when that is on the disk."""
        ...


Also = Callable[[sqlite3.Connection, tuple[Instance, ...]], None]
"""What else is written in a transaction that makes these instances."""


class Overlay:
    """The changes by API, over *base*, in *catalog*."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        base: Sequence[Instance],
        *,
        user_data_limit: int = USER_DATA_LIMIT,
        forgetting: Sequence[Forgets] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Work on *store*, whose schemas include SCHEMA; *catalog* is this overlay's from now on.

        A change that does not fit *base* any more is left out, said in the log, and kept.
        """
        self._store = store
        self._catalog = catalog
        self._read = ready.reader(store)
        self._limit = user_data_limit
        self.forgetting = forgetting
        self.now = clock
        self._began = clock()
        self._lock = asyncio.Lock()
        self._base: dict[str, Instance] = {}
        self._taken: dict[Claimed, str] = {}
        """What configured instances claim; the state knows what others do."""
        self._make_ready()
        self._take_base(base, strict=False)

    def get(self, instance_id: str) -> Change | None:
        """Return what was changed by API of an instance, None when nothing was."""
        return read_change(self._store, instance_id)

    def all(self) -> Mapping[str, Change]:
        return read_changes(self._store)

    def document(self, instance_id: str) -> Document:
        """Return the instance as it is now, in the words of the configuration; NotFound."""
        return described(self._known(instance_id))

    def tag(self, instance_id: str) -> str:
        """Return what is the same as long as the instance is, also after a restart."""
        text = text_of(self.document(instance_id))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def state_tag(self) -> str:
        """Return what is the same as long as all changes are, also after a restart."""
        return tag_of_all(self._store)

    def is_configured(self, instance_id: str) -> bool:
        """Say whether the configuration has the instance, whatever was changed by API."""
        return instance_id in self._base

    def times(self, instance_id: str) -> tuple[float, float]:
        """Return when an instance was created and changed, in seconds since 1970.

        What the configuration says is as old as this server.
        """
        change = self.get(instance_id)
        if change is None or change.kind == "gone":
            return self._began, self._began
        if change.kind == "patch":
            return min(self._began, change.changed), change.changed
        return change.created, change.changed

    async def set(
        self,
        instance_id: str,
        patch: Mapping[str, Any] | Callable[[Instance], Mapping[str, Any]],
        *,
        force: bool = False,
        tag: str | None = None,
    ) -> Instance:
        """Change an instance by an RFC 7386 *patch* and return it as it is then.

        A function makes the patch of the instance as it is, with no other change between. Raises
        InvalidDocument with the place of each mistake, Conflict when user data would change
        without *force*, and PreconditionFailed when *tag* is not the instance's any more.
        """

        async def change() -> Instance:
            current = self._current(instance_id, tag)
            asked = patch(current) if callable(patch) else patch
            check(asked, command_of(current))
            earlier = self.get(instance_id)
            now = self.now()
            if earlier is not None and earlier.kind == "whole":
                made = Change("whole", patched(earlier.document, asked), earlier.created, now)
            else:
                base = described(self._base[instance_id])
                document = composed(base, earlier.document if earlier else {}, asked)
                made = Change("patch", document, now, now)
            return await self._alter(current, made, force=force)

        return await self._alone(change())

    async def replace(
        self,
        instance_id: str,
        document: Mapping[str, Any],
        *,
        force: bool = False,
        tag: str | None = None,
    ) -> Instance:
        """Put *document* in the place of an instance, whatever the configuration says of it."""

        async def change() -> Instance:
            current = self._current(instance_id, tag)
            check(document, command_of(current))
            created = self.times(instance_id)[0]
            made = Change("whole", {"id": instance_id, **document}, created, self.now())
            return await self._alter(current, made, force=force)

        return await self._alone(change())

    async def create(
        self, documents: Sequence[Mapping[str, Any]], *, also: Also | None = None
    ) -> tuple[Instance, ...]:
        """Add the instances of all *documents* or, when one is wrong, none.

        An instance without id gets one. Places of mistakes begin with the number of the document
        when there are several.
        """

        async def change() -> tuple[Instance, ...]:
            made = self._made(documents)
            instances = tuple(instance for instance, _ in made)

            def add(state: sqlite3.Connection) -> None:
                if also is not None:
                    also(state, instances)

            await self._keep({instance.id: each for instance, each in made}, instances, add)
            return instances

        return await self._alone(change())

    def check(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Raise what `create` would, and do nothing."""
        self._made(documents)

    async def delete(self, instance_ids: Collection[str], *, tag: str | None = None) -> None:
        """Remove all of these instances, or none; configured ones are back after `reset`."""

        async def change() -> None:
            for instance_id in instance_ids:
                self._current(instance_id, tag)
            now = self.now()
            gone = Change("gone", {}, now, now)
            made = {each: gone if each in self._base else None for each in instance_ids}

            def forget(state: sqlite3.Connection) -> None:
                for forgets in self.forgetting:
                    for each in instance_ids:
                        forgets.forget(state, each)

            await self._keep(made, also=forget)
            for forgets in self.forgetting:
                for each in instance_ids:
                    await forgets.forgotten(each)

        await self._alone(change())

    async def reset(self, instance_id: str) -> Instance | None:
        """Drop what was changed by API and return the configured instance, if there is one."""

        async def change() -> Instance | None:
            if self.get(instance_id) is None and instance_id not in self._base:
                raise NotFound(f"no such instance: {instance_id[:64]!r}")
            if base := self._base.get(instance_id):
                self._check(base, self._owner)
            await self._keep({instance_id: None})
            return self._catalog.by_id(instance_id)

        return await self._alone(change())

    async def load(
        self,
        changes: Mapping[str, Change],
        *,
        tag: str | None = None,
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        """Take *changes* in the place of all there are, or none of them when one is wrong.

        *also* is done in the same transaction. Places of mistakes begin with the instance's id.
        Raises PreconditionFailed when *tag* is not that of the state any more.
        """

        async def change() -> None:
            if tag is not None and tag != self.state_tag():
                raise PreconditionFailed("the state was changed by somebody else")
            # Of many instances this takes seconds, which guests do not have to wait.
            made, wrong = await asyncio.to_thread(self._composed, changes)
            if wrong:
                raise InvalidDocument(
                    *(
                        (f"/{key}/document{where}", f"{key}.document: {text}")
                        for key, error in wrong.items()
                        for where, text in error.problems
                    )
                )
            await self._store.write(lambda state: write_all(state, changes, made, also))
            self._take_base(tuple(self._base.values()), strict=False, afresh=True)

        await self._alone(change())

    async def replace_base(self, base: Sequence[Instance]) -> None:
        """Take *base* in the place of the old one, with the same changes over it.

        Raises ConfigError, and changes nothing, when the two do not fit.
        """

        async def change() -> None:
            self._take_base(base, strict=True)

        await self._alone(change())

    def _make_ready(self) -> None:
        """Make the instances that are in the state by their changes only, as far as they fit."""
        if not ready.is_current(self._store):
            self._store.write_now(ready.begin_anew)
        unmade = read_unmade(self._store)
        if not unmade:
            return
        found: dict[str, Instance] = {}
        taken: dict[Claimed, str] = {}
        for instance_id, change in unmade.items():
            try:
                instance = read(change.document)
                check_id(instance, instance_id)
                check_claims(instance, lambda key: taken.get(key) or self._owner(key))
            except InvalidDocument as error:
                for problem in problems_of(instance_id, error):
                    log.error("%s", problem)
                continue
            found[instance_id] = instance
            taken.update(dict.fromkeys(keys_of(instance), instance_id))
        times = {instance_id: unmade[instance_id].created for instance_id in found}
        self._store.write_now(lambda state: ready.keep(state, found.values(), times))

    def _take_base(self, base: Sequence[Instance], *, strict: bool, afresh: bool = False) -> None:
        known = {instance.id: instance for instance in base}
        if len(known) < len(base):
            raise ConfigError("instances: expected each id once")
        stored = {each.id: each for each in ready.stored(self._store)}
        over = read_over_base(self._store)
        found = {each: known[each] for each in known if each not in stored and each not in over}
        taken = taken_by(found.values())
        problems: list[str] = []

        def serve(instance: Instance) -> None:
            found[instance.id] = instance
            taken.update(dict.fromkeys(keys_of(instance), instance.id))

        def refuse(instance_id: str, error: InvalidDocument) -> None:
            problems.extend(problems_of(instance_id, error))
            # Served without the change, if that can be: the operator needs a server to undo it.
            configured = known.get(instance_id)
            if configured and not any(key in taken for key in keys_of(configured)):
                serve(configured)

        for instance_id, change in over.items():
            try:
                instance = applied(known.get(instance_id), change)
                if instance is not None:
                    check_id(instance, instance_id)
                    check_claims(instance, taken.get)
                    serve(instance)
            except InvalidDocument as error:
                refuse(instance_id, error)
        # One that is refused may let a configured one in, which may meet others.
        while met := self._met(taken, stored):
            for instance_id in met:
                del stored[instance_id]
                try:
                    if made := self._read(instance_id):
                        check_claims(made, taken.get)
                except InvalidDocument as error:
                    refuse(instance_id, error)
        if problems and strict:
            raise ConfigError(*problems)
        for problem in problems:
            log.error("%s", problem)
        in_order = [found[each] for each in known if each in found]
        self._catalog.replace_base(in_order, stored.values(), afresh=afresh)
        self._base, self._taken = known, taken

    def _met(self, taken: Collection[Claimed], stored: Collection[str]) -> list[str]:
        """Return the ids of those *stored* that claim what is *taken*."""
        if not stored:
            return []
        owners = {ready.owner(self._store, key) for key in taken}
        return [each for each in stored if each in owners]

    def _composed(
        self, changes: Mapping[str, Change]
    ) -> tuple[dict[str, Instance], dict[str, InvalidDocument]]:
        """Return the instances that *changes* from outside make, and those that are wrong."""
        found: dict[str, Instance] = {}
        wrong: dict[str, InvalidDocument] = {}
        taken = taken_by(each for key, each in self._base.items() if key not in changes)
        for instance_id, change in changes.items():
            base = self._base.get(instance_id)
            try:
                check(change.document, command_of(base) if base else ())
                instance = applied(base, change)
                if instance is not None:
                    check_id(instance, instance_id)
                    self._check(instance, taken.get)
            except InvalidDocument as error:
                wrong[instance_id] = error
                continue
            if instance is not None:
                found[instance_id] = instance
                taken.update(dict.fromkeys(keys_of(instance), instance_id))
        return found, wrong

    def _owner(self, key: Claimed) -> str | None:
        return self._taken.get(key) or ready.owner(self._store, key)

    async def _alone(self, change: Coroutine[Any, Any, T]) -> T:
        """Do *change* with no other at the same time, to its end even when nobody waits for it."""

        async def locked() -> T:
            async with self._lock:
                return await change

        return await asyncio.shield(asyncio.ensure_future(locked()))

    def _current(self, instance_id: str, tag: str | None) -> Instance:
        found = self._known(instance_id)
        if tag is not None and tag != self.tag(instance_id):
            raise PreconditionFailed(f"instance {instance_id} was changed by somebody else")
        return found

    def _known(self, instance_id: str) -> Instance:
        found = self._catalog.by_id(instance_id)
        if found is None:
            raise NotFound(f"no such instance: {instance_id[:64]!r}")
        return found

    async def _alter(self, current: Instance, made: Change, *, force: bool) -> Instance:
        instance = applied(self._base.get(current.id), made)
        if instance is None:
            raise NotFound(f"no such instance: {current.id!r}")
        check_id(instance, current.id)
        if served_user_data(instance) != served_user_data(current) and not force:
            raise Conflict("user_data: fixed once the instance exists; expected force to change it")
        self._check(instance, self._owner)
        await self._keep({current.id: made}, [instance])
        return self._known(current.id)

    def _made(self, documents: Sequence[Mapping[str, Any]]) -> list[tuple[Instance, Change]]:
        now = self.now()
        made: list[tuple[Instance, Change]] = []
        fresh: dict[Claimed, str] = {}
        ids = set()
        for number, each in enumerate(documents):
            with within(number if len(documents) > 1 else None):
                check(each)
                document = {"id": str(uuid.uuid4()), **each}
                instance = read(document)
                if instance.id in ids or instance.id in self._catalog:
                    raise Conflict(f"id: there is an instance {instance.id} already")
                self._check(instance, lambda key: fresh.get(key) or self._owner(key))
            ids.add(instance.id)
            made.append((instance, Change("whole", document, now, now)))
            fresh.update(dict.fromkeys(keys_of(instance), instance.id))
        return made

    def _check(self, instance: Instance, owner: Owner) -> None:
        """Raise InvalidDocument when *instance* does not fit the limits, or what others have."""
        size = len(instance.user_data or b"")
        if size > self._limit:
            text = f"expected at most {self._limit} bytes (limits.user_data), got {size}"
            raise InvalidDocument(("/user_data", f"user_data: {text}"))
        check_claims(instance, owner)

    async def _keep(
        self,
        made: Mapping[str, Change | None],
        instances: Collection[Instance] = (),
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        """Write these changes to the disk at once, None is no change, and then serve them.

        *instances* are what they make. What *also* writes is in the same transaction.
        """
        by_id = {instance.id: instance for instance in instances}
        await self._store.write(lambda state: write(state, made, by_id, also))
        self._serve(made, by_id)

    def _serve(self, made: Mapping[str, Change | None], instances: Mapping[str, Instance]) -> None:
        """Put into the catalog what base and changes make of these instances."""
        put: list[Instance | Stored] = []
        drop = []
        for instance_id, change in made.items():
            base = self._base.get(instance_id)
            instance = base if change is None else instances.get(instance_id)
            old = self._catalog.by_id(instance_id) if base else None
            for key in keys_of(old) if old else ():
                if self._taken.get(key) == instance_id:
                    del self._taken[key]
            if instance is None:
                drop.append(instance_id)
            elif change is not None and change.kind == "whole":
                put.append(Stored(instance_id, origins(instance), instance.auto_terminate_time))
            else:
                put.append(instance)
                self._taken.update(dict.fromkeys(keys_of(instance), instance_id))
        self._catalog.change(put, drop)
