"""What was changed by API of one instance: what it makes of the configured one, how it is kept."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from . import made as ready
from .claims import claims
from .document import described, patched, read, text_of
from .errors import InvalidDocument
from .instance import Instance
from .store import Store

SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS overlay (
    instance_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    document TEXT NOT NULL,
    created REAL NOT NULL,
    changed REAL NOT NULL
) WITHOUT ROWID;
{ready.SCHEMA}"""

Kind = Literal["patch", "whole", "gone"]
Claimed = tuple[str, object]
"""What can be one instance's only: of what kind it is, and which."""
Owner = Callable[[Claimed], "str | None"]
"""What tells the id of the instance that claims a thing."""


@dataclass(frozen=True, slots=True)
class Change:
    """What the state holds for an instance id.

    A *patch* is over the configured instance, *whole* is an instance by itself, and *gone* is a
    configured instance that was deleted.
    """

    kind: Kind
    document: Mapping[str, Any]
    created: float
    changed: float


def applied(base: Instance | None, change: Change) -> Instance | None:
    """Return what *change* makes of *base*, None when there is no instance then."""
    if change.kind == "whole":
        return read(change.document)
    if change.kind == "gone" or base is None:
        return None
    document = patched(described(base), change.document)
    if "reset_password" in change.document:
        return read(document)
    # The built-in instance may have what a document may not say: no proof on loopback.
    document.pop("reset_password", None)
    return replace(read(document), reset_password=base.reset_password)


@contextmanager
def within(number: int | None) -> Iterator[None]:
    """Add the *number* of a document to the places of the mistakes in it."""
    try:
        yield
    except InvalidDocument as error:
        if number is None:
            raise
        raise InvalidDocument(
            *((f"/{number}{where}", f"[{number}].{text}") for where, text in error.problems)
        ) from None


def read_changes(store: Store) -> dict[str, Change]:
    """Return what is kept, in the order in which it was made."""
    rows = store.read("SELECT * FROM overlay ORDER BY created, instance_id")
    return {row["instance_id"]: _change(row) for row in rows}


def read_change(store: Store, instance_id: str) -> Change | None:
    """Return what is kept of one instance, None when nothing is."""
    rows = store.read("SELECT * FROM overlay WHERE instance_id = ?", instance_id)
    return _change(rows[0]) if rows else None


def read_over_base(store: Store) -> dict[str, Change]:
    """Return what is kept that is no instance by itself."""
    query = "SELECT * FROM overlay WHERE kind != 'whole' ORDER BY created, instance_id"
    return {row["instance_id"]: _change(row) for row in store.read(query)}


def read_unmade(store: Store) -> dict[str, Change]:
    """Return what is kept of whole instances that are not ready to be served."""
    query = (
        "SELECT * FROM overlay WHERE kind = 'whole'"
        " AND instance_id NOT IN (SELECT instance_id FROM made) ORDER BY created, instance_id"
    )
    return {row["instance_id"]: _change(row) for row in store.read(query)}


def tag_of_all(store: Store) -> str:
    """Return what is the same as long as all that is kept is."""
    found = hashlib.sha256()
    for row in store.read("SELECT instance_id, kind, document FROM overlay ORDER BY instance_id"):
        found.update(json.dumps([row["instance_id"], row["kind"], row["document"]]).encode())
    return found.hexdigest()[:32]


def _change(row: sqlite3.Row) -> Change:
    return Change(row["kind"], json.loads(row["document"]), row["created"], row["changed"])


def check_id(instance: Instance, instance_id: str) -> None:
    """Raise InvalidDocument when *instance* has another id than it should."""
    if instance.id != instance_id:
        raise InvalidDocument(("/id", f"id: expected {instance_id}, which never changes"))


def check_claims(instance: Instance, owner: Owner) -> None:
    """Raise InvalidDocument when *instance* claims what has another *owner*."""
    problems = []
    for claim in claims(instance):
        by = owner((claim.what, claim.value))
        if by is not None and by != instance.id:
            text = f"expected {claim.what} of its own, {claim.value} is taken by instance {by}"
            problems.append((f"/{claim.key}", f"{claim.key}: {text}"))
    if problems:
        raise InvalidDocument(*problems)


def problems_of(instance_id: str, error: InvalidDocument) -> list[str]:
    """Return in words what is wrong with the change of an instance, and what drops it."""
    return [
        f"instance {instance_id}, as changed by API: {text}; `linklocal instance reset"
        f" {instance_id}` drops the change"
        for _, text in error.problems
    ]


def taken_by(instances: Iterable[Instance]) -> dict[Claimed, str]:
    """Return the id of the instance that claims a thing, for all they claim."""
    return {key: instance.id for instance in instances for key in keys_of(instance)}


def keys_of(instance: Instance) -> list[Claimed]:
    return [(claim.what, claim.value) for claim in claims(instance)]


def write(
    state: sqlite3.Connection,
    made: Mapping[str, Change | None],
    instances: Mapping[str, Instance],
    also: Callable[[sqlite3.Connection], None] | None,
) -> None:
    """Write the changes *made*, None is none, and do *also* in the same transaction.

    *instances* are those that whole ones make.
    """
    ready.forget(state, made)
    _insert(state, made, instances)
    none = [(instance_id,) for instance_id, change in made.items() if change is None]
    state.executemany("DELETE FROM overlay WHERE instance_id = ?", none)
    if also is not None:
        also(state)


def write_all(
    state: sqlite3.Connection,
    changes: Mapping[str, Change],
    instances: Mapping[str, Instance],
    also: Callable[[sqlite3.Connection], None] | None,
) -> None:
    """Write *changes* in the place of all there are."""
    state.execute("DELETE FROM overlay")
    ready.begin_anew(state)
    _insert(state, changes, instances)
    if also is not None:
        also(state)


def _insert(
    state: sqlite3.Connection,
    changes: Mapping[str, Change | None],
    instances: Mapping[str, Instance],
) -> None:
    known = {key: each for key, each in changes.items() if each is not None}
    state.executemany(
        "INSERT OR REPLACE INTO overlay VALUES (?, ?, ?, ?, ?)",
        (
            (key, each.kind, text_of(each.document), each.created, each.changed)
            for key, each in known.items()
        ),
    )
    whole = [instances[key] for key, each in known.items() if each.kind == "whole"]
    ready.keep(state, whole, {key: each.created for key, each in known.items()})
