"""The life of a reset request: one table, printed in docs/reset-protocol.md."""

from __future__ import annotations

from typing import Final, Literal

State = Literal[
    "pending",
    "needs-confirm",
    "delivered",
    "applied",
    "rejected",
    "failed",
    "expired",
    "cancelled",
    "superseded",
]
Event = Literal[
    "deliver",
    "identity-changed",
    "confirm",
    "applied",
    "rejected",
    "failed",
    "expire",
    "cancel",
    "supersede",
]

ACTIVE: Final[tuple[State, ...]] = ("pending", "needs-confirm", "delivered")
"""States in which the hash is kept."""
FINAL: Final[tuple[State, ...]] = (
    "applied",
    "rejected",
    "failed",
    "expired",
    "cancelled",
    "superseded",
)

TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    ("pending", "deliver"): "delivered",
    ("pending", "identity-changed"): "needs-confirm",
    ("pending", "expire"): "expired",
    ("pending", "cancel"): "cancelled",
    ("pending", "supersede"): "superseded",
    # The key file of the hashes was lost or replaced: `hash-lost`.
    ("pending", "failed"): "failed",
    ("needs-confirm", "confirm"): "pending",
    ("needs-confirm", "identity-changed"): "needs-confirm",
    ("needs-confirm", "expire"): "expired",
    ("needs-confirm", "cancel"): "cancelled",
    ("needs-confirm", "supersede"): "superseded",
    # Sealed again to every poll until it is acknowledged: the answer may have been lost, or the
    # guest may have been restarted in the middle.
    ("delivered", "deliver"): "delivered",
    ("delivered", "identity-changed"): "needs-confirm",
    ("delivered", "applied"): "applied",
    ("delivered", "rejected"): "rejected",
    ("delivered", "failed"): "failed",
    ("delivered", "expire"): "expired",
    ("delivered", "cancel"): "cancelled",
    ("delivered", "supersede"): "superseded",
    # Taken back after it was delivered, and the guest had applied it all the same: its
    # acknowledgement is a fact and outranks what the server had assumed.
    ("expired", "applied"): "applied",
    ("cancelled", "applied"): "applied",
    ("superseded", "applied"): "applied",
}


def after(state: State, event: Event) -> State | None:
    """Return the state that *event* leads to, or None when it has no meaning in *state*."""
    return TRANSITIONS.get((state, event))
