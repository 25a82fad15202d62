"""What is announced to a guest: interruption, rebalance, maintenance, life cycle. Pure.

Times are seconds since 1970. What is not announced is not served, and not listed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from math import inf
from typing import Any, Final, Literal, get_args

from .instance import Instance

Action = Literal["terminate", "stop", "hibernate"]
LifeCycle = Literal[
    "Detached",
    "InService",
    "Standby",
    "Terminated",
    "Warmed:Hibernated",
    "Warmed:Running",
    "Warmed:Stopped",
    "Warmed:Terminated",
]
MaintenanceState = Literal["active", "completed", "canceled"]

ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
LIFE_CYCLES: Final[tuple[LifeCycle, ...]] = get_args(LifeCycle)


@dataclass(frozen=True, slots=True)
class Interruption:
    """The end of a spot instance, told until it has come. Guests see whole seconds."""

    time: float
    action: Action = "terminate"


@dataclass(frozen=True, slots=True)
class Maintenance:
    """An event that is scheduled as long as it is active, and history then."""

    id: str
    code: str
    not_before: float
    description: str = ""
    not_after: float | None = None
    deadline: float | None = None
    """The last moment that *not_before* may be moved to."""
    state: MaintenanceState = "active"


@dataclass(frozen=True, slots=True)
class Notices:
    interruption: Interruption | None = None
    rebalance: float | None = None
    maintenance: tuple[Maintenance, ...] = ()
    life_cycle: LifeCycle | None = None

    def at(self, now: float) -> Notices:
        """Return what is still told at the time *now*."""
        over = self.interruption is not None and self.interruption.time <= now
        return replace(
            self,
            interruption=None if over else self.interruption,
            maintenance=tuple(
                replace(each, state="completed") if _end(each) <= now else each
                for each in self.maintenance
            ),
        )

    def good_until(self) -> float:
        """Return the time from which `at` returns something else."""
        ends = [_end(each) for each in self.maintenance]
        if self.interruption is not None:
            ends.append(self.interruption.time)
        return min(ends, default=inf)


NONE: Final = Notices()


def _end(event: Maintenance) -> float:
    return event.not_after if event.state == "active" and event.not_after is not None else inf


@dataclass(frozen=True, slots=True)
class Served(Instance):
    """An instance together with what happens to it: all that its answers are made of."""

    notices: Notices = NONE
    launched: int | None = None


def served(instance: Instance, notices: Notices, launched: int | None) -> Served:
    known: dict[str, Any] = {each.name: getattr(instance, each.name) for each in fields(Instance)}
    return Served(**known, notices=notices, launched=launched)


def notices_of(instance: Instance) -> Notices:
    return instance.notices if isinstance(instance, Served) else NONE


def launched_at(instance: Instance) -> int | None:
    return instance.launched if isinstance(instance, Served) else None


def utc(seconds: float, form: str) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime(form)


def dump(notices: Notices) -> str:
    return json.dumps(asdict(notices))


def load(text: str) -> Notices:
    """Return what `dump` made *text* of."""
    raw: Mapping[str, Any] = json.loads(text)
    interruption = raw["interruption"]
    return Notices(
        interruption=Interruption(**interruption) if interruption else None,
        rebalance=raw["rebalance"],
        maintenance=tuple(Maintenance(**each) for each in raw["maintenance"]),
        life_cycle=raw["life_cycle"],
    )
