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
from collections import ChainMap
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from .catalog import Catalog
from .changes import (
    SCHEMA,
    Change,
    applied,
    check_claims,
    check_id,
    keys_of,
    read_changes,
    taken_by,
    within,
    write,
    write_all,
)
from .document import Document, check, command_of, composed, described, patched, read, text_of
from .errors import ConfigError, Conflict, InvalidDocument, NotFound, PreconditionFailed
from .instance import Instance
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
        self._limit = user_data_limit
        self.forgetting = forgetting
        self.now = clock
        self._began = clock()
        self._lock = asyncio.Lock()
        self._base: dict[str, Instance] = {}
        self._taken: dict[tuple[str, object], str] = {}
        self._pending: dict[str, Change] = {}
        self._changes = read_changes(store)
        self._take_base(base, strict=False)

    def get(self, instance_id: str) -> Change | None:
        """Return what was changed by API of an instance, None when nothing was."""
        return self._changes.get(instance_id)

    def all(self) -> Mapping[str, Change]:
        return dict(self._changes)

    def document(self, instance_id: str) -> Document:
        """Return the instance as it is now, in the words of the configuration; NotFound."""
        return described(self._known(instance_id))

    def tag(self, instance_id: str) -> str:
        """Return what is the same as long as the instance is, also after a restart."""
        text = text_of(self.document(instance_id))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def state_tag(self) -> str:
        """Return what is the same as long as all changes are, also after a restart."""
        known = {key: [each.kind, each.document] for key, each in self._changes.items()}
        return hashlib.sha256(text_of(known).encode()).hexdigest()[:32]

    def is_configured(self, instance_id: str) -> bool:
        """Say whether the configuration has the instance, whatever was changed by API."""
        return instance_id in self._base

    def times(self, instance_id: str) -> tuple[float, float]:
        """Return when an instance was created and changed, in seconds since 1970.

        What the configuration says is as old as this server.
        """
        change = self._changes.get(instance_id)
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
            earlier = self._changes.get(instance_id)
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

            await self._keep({instance.id: each for instance, each in made}, add)
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

            await self._keep(made, forget)
            for forgets in self.forgetting:
                for each in instance_ids:
                    await forgets.forgotten(each)

        await self._alone(change())

    async def reset(self, instance_id: str) -> Instance | None:
        """Drop what was changed by API and return the configured instance, if there is one."""

        async def change() -> Instance | None:
            if instance_id not in self._changes and instance_id not in self._base:
                raise NotFound(f"no such instance: {instance_id[:64]!r}")
            if base := self._base.get(instance_id):
                self._check(base, self._taken)
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
            _, _, wrong = self._composed(self._base, changes, outside=True)
            if wrong:
                raise InvalidDocument(
                    *(
                        (f"/{key}/document{where}", f"{key}.document: {text}")
                        for key, error in wrong.items()
                        for where, text in error.problems
                    )
                )
            self._pending = dict(changes)
            try:
                await self._store.write(lambda state: write_all(state, changes, also))
                self._changes = dict(changes)
            finally:
                self._pending = {}
                self._take_base(tuple(self._base.values()), strict=False)

        await self._alone(change())

    def replace_base(self, base: Sequence[Instance]) -> None:
        """Take *base* in the place of the old one, with the same changes over it.

        Raises ConfigError, and changes nothing, when the two do not fit.
        """
        self._take_base(base, strict=True)

    def _take_base(self, base: Sequence[Instance], *, strict: bool) -> None:
        known = {instance.id: instance for instance in base}
        if len(known) < len(base):
            raise ConfigError("instances: expected each id once")
        found, taken, wrong = self._composed(known, {**self._changes, **self._pending})
        problems = [
            f"instance {instance_id}, as changed by API: {text}; `linklocal instance reset"
            f" {instance_id}` drops the change"
            for instance_id, error in wrong.items()
            for _, text in error.problems
        ]
        if problems and strict:
            raise ConfigError(*problems)
        for problem in problems:
            log.error("%s", problem)
        order = [*known, *(each for each in found if each not in known)]
        self._catalog.replace_base([found[each] for each in order if each in found])
        self._base, self._taken = known, taken

    def _composed(
        self, known: Mapping[str, Instance], changes: Mapping[str, Change], *, outside: bool = False
    ) -> tuple[dict[str, Instance], dict[tuple[str, object], str], dict[str, InvalidDocument]]:
        """Return instances by id, what they claim, and the changes that are wrong.

        Changes from *outside* have to be such as may come from there.
        """
        found = {each: known[each] for each in known if each not in changes}
        taken = taken_by(found.values())
        wrong: dict[str, InvalidDocument] = {}
        for instance_id, change in changes.items():
            base = known.get(instance_id)
            try:
                if outside:
                    check(change.document, command_of(base) if base else ())
                instance = applied(base, change)
                if instance is not None:
                    check_id(instance, instance_id)
                    if outside:
                        self._check(instance, taken)
                    check_claims(instance, taken)
            except InvalidDocument as error:
                wrong[instance_id] = error
                # Served without the change, if that can be: the operator needs a server to undo it.
                instance = known.get(instance_id)
                if instance is None or any(key in taken for key in keys_of(instance)):
                    continue
            if instance is not None:
                found[instance_id] = instance
                taken.update(dict.fromkeys(keys_of(instance), instance_id))
        return found, taken, wrong

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
        if instance.user_data != current.user_data and not force:
            raise Conflict("user_data: fixed once the instance exists; expected force to change it")
        self._check(instance, self._taken)
        await self._keep({current.id: made})
        return self._known(current.id)

    def _made(self, documents: Sequence[Mapping[str, Any]]) -> list[tuple[Instance, Change]]:
        now = self.now()
        made: list[tuple[Instance, Change]] = []
        fresh: dict[tuple[str, object], str] = {}
        ids = set()
        for number, each in enumerate(documents):
            with within(number if len(documents) > 1 else None):
                check(each)
                document = {"id": str(uuid.uuid4()), **each}
                instance = read(document)
                if instance.id in ids or self._catalog.by_id(instance.id):
                    raise Conflict(f"id: there is an instance {instance.id} already")
                self._check(instance, ChainMap(fresh, self._taken))
            ids.add(instance.id)
            made.append((instance, Change("whole", document, now, now)))
            fresh.update(dict.fromkeys(keys_of(instance), instance.id))
        return made

    def _check(self, instance: Instance, taken: Mapping[tuple[str, object], str]) -> None:
        """Raise InvalidDocument when *instance* does not fit the limits, or what others have."""
        size = len(instance.user_data or b"")
        if size > self._limit:
            text = f"expected at most {self._limit} bytes (limits.user_data), got {size}"
            raise InvalidDocument(("/user_data", f"user_data: {text}"))
        check_claims(instance, taken)

    async def _keep(
        self,
        made: Mapping[str, Change | None],
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        """Write these changes to the disk at once, None is no change, and then serve them.

        What *also* writes is in the same transaction.
        """
        # A configuration that is read while the disk is at work has to fit these too.
        self._pending = {each: change for each, change in made.items() if change is not None}
        try:
            await self._store.write(lambda state: write(state, made, also))
            for instance_id, change in made.items():
                if change is None:
                    self._changes.pop(instance_id, None)
                else:
                    self._changes[instance_id] = change
        finally:
            self._pending = {}
            self._serve(made)

    def _serve(self, instance_ids: Collection[str]) -> None:
        """Put into the catalog what base and changes make of these instances."""
        put, drop = [], []
        for instance_id in instance_ids:
            base, change = self._base.get(instance_id), self._changes.get(instance_id)
            instance = applied(base, change) if change else base
            if old := self._catalog.by_id(instance_id):
                for key in keys_of(old):
                    if self._taken.get(key) == instance_id:
                        del self._taken[key]
            if instance is None:
                drop.append(instance_id)
            else:
                put.append(instance)
        self._catalog.change(put, drop)
        for instance in put:
            self._taken.update(dict.fromkeys(keys_of(instance), instance.id))
