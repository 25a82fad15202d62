"""What was changed by API of one instance: what it makes of the configured one, how it is kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from .claims import claims
from .document import described, patched, read, text_of
from .errors import InvalidDocument
from .instance import Instance
from .store import Store

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS overlay (
    instance_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    document TEXT NOT NULL,
    created REAL NOT NULL,
    changed REAL NOT NULL
) WITHOUT ROWID;
"""

Kind = Literal["patch", "whole", "gone"]


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
    return {
        row["instance_id"]: Change(
            row["kind"], json.loads(row["document"]), row["created"], row["changed"]
        )
        for row in store.read("SELECT * FROM overlay ORDER BY created, instance_id")
    }


def check_id(instance: Instance, instance_id: str) -> None:
    """Raise InvalidDocument when *instance* has another id than it should."""
    if instance.id != instance_id:
        raise InvalidDocument(("/id", f"id: expected {instance_id}, which never changes"))


def check_claims(instance: Instance, taken: Mapping[tuple[str, object], str]) -> None:
    """Raise InvalidDocument when *instance* claims what is *taken* by another one's id."""
    problems = []
    for claim in claims(instance):
        by = taken.get((claim.what, claim.value))
        if by is not None and by != instance.id:
            text = f"expected {claim.what} of its own, {claim.value} is taken by instance {by}"
            problems.append((f"/{claim.key}", f"{claim.key}: {text}"))
    if problems:
        raise InvalidDocument(*problems)


def taken_by(instances: Iterable[Instance]) -> dict[tuple[str, object], str]:
    """Return the id of the instance that claims a thing, for all they claim."""
    return {key: instance.id for instance in instances for key in keys_of(instance)}


def keys_of(instance: Instance) -> list[tuple[str, object]]:
    return [(claim.what, claim.value) for claim in claims(instance)]


def write(
    state: sqlite3.Connection,
    made: Mapping[str, Change | None],
    also: Callable[[sqlite3.Connection], None] | None,
) -> None:
    """Write the changes *made*, None is none, and do *also* in the same transaction."""
    for instance_id, change in made.items():
        if change is None:
            state.execute("DELETE FROM overlay WHERE instance_id = ?", (instance_id,))
            continue
        state.execute(
            "INSERT OR REPLACE INTO overlay VALUES (?, ?, ?, ?, ?)",
            (instance_id, change.kind, text_of(change.document), change.created, change.changed),
        )
    if also is not None:
        also(state)


def write_all(
    state: sqlite3.Connection,
    changes: Mapping[str, Change],
    also: Callable[[sqlite3.Connection], None] | None,
) -> None:
    """Write *changes* in the place of all there are."""
    state.execute("DELETE FROM overlay")
    write(state, changes, also)
