"""What an operator, or a scenario, can do to instances: to which of them, what, and when. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Union, get_args

from ..catalog import Catalog
from ..errors import BadRequest, NotFound
from ..instance import Instance
from ..notices import Action as SpotAction
from ..notices import LifeCycle
from .faults import Fault

EventKind = Literal["spot", "rebalance", "maintenance", "life_cycle"]
EVENTS: Final[tuple[EventKind, ...]] = get_args(EventKind)

RECLAIM_SECONDS: Final = 300.0
"""Between the notice of a spot instance and its end, as the platform has it."""
AHEAD_SECONDS: Final = 3600.0
"""The same of a maintenance, unless somebody says otherwise."""
MAINTENANCE_SECONDS: Final = 7200.0


class When(NamedTuple):
    """A time, by itself or so many seconds from the moment that it is asked for; or neither."""

    after: float | None = None
    at: float | None = None

    def moment(self, now: float, default: float, speed: float = 1.0) -> float:
        """Return the time in seconds since 1970; *default* is in seconds from *now*."""
        if self.at is not None:
            return self.at
        return now + (default if self.after is None else self.after) / speed


NO_TIME: Final = When()


@dataclass(frozen=True, slots=True)
class Target:
    """Which instances; exactly one of these says so."""

    instances: tuple[str, ...] = ()
    tag: str | None = None
    """KEY, or KEY=VALUE."""
    all: bool = False

    def of(self, catalog: Catalog) -> tuple[str, ...]:
        """Return their ids; raises NotFound when there is none, or one is not known."""
        if self.instances:
            for each in self.instances:
                if catalog.by_id(each) is None:
                    raise NotFound(f"no such instance: {each[:64]!r}")
            return self.instances
        found = catalog.ids()
        if not self.all:
            found = tuple(each.id for each in catalog.all() if self._is_tagged(each))
        if not found:
            raise NotFound(
                "no instance at all" if self.all else f"no instance has the tag {self.tag!r}"
            )
        return found

    def _is_tagged(self, instance: Instance) -> bool:
        key, equals, value = (self.tag or "").partition("=")
        return key in instance.tags and (not equals or instance.tags[key] == value)


@dataclass(frozen=True, slots=True)
class Announce:
    """An event: *happens* says when it is to be, *told* from when on the guest can know."""

    kind: EventKind
    happens: When = NO_TIME
    told: When = NO_TIME
    action: SpotAction = "terminate"
    state: LifeCycle = "InService"
    code: str = "system-maintenance"
    description: str = ""
    length: float = MAINTENANCE_SECONDS
    deadline: float | None = None
    """Seconds from when it is asked for until the last moment that its time may be moved to."""

    def times(self, now: float, speed: float = 1.0) -> tuple[float, float]:
        """Return when it happens and from when on it is told; raises BadRequest when it is late."""
        told = self.told.moment(now, 0.0, speed)
        if self.kind in ("rebalance", "life_cycle"):
            # What these tell is what is so from then on.
            happens = self.happens.moment(now, 0.0, speed)
            return happens, max(happens, told)
        ahead = RECLAIM_SECONDS if self.kind == "spot" else AHEAD_SECONDS
        happens = self.happens.moment(now, max(0.0, told - now) * speed + ahead, speed)
        if happens <= max(now, told):
            raise BadRequest(f"{self.kind}: expected a time that is still to come when it is told")
        return happens, told


@dataclass(frozen=True, slots=True)
class Cancel:
    """Events of these kinds are off, told or planned."""

    kinds: tuple[EventKind, ...] = EVENTS


@dataclass(frozen=True, slots=True)
class AddFault:
    """A fault like this, for so many seconds by the server's clock; None is until it is removed."""

    like: Fault
    lasts: float | None = None


@dataclass(frozen=True, slots=True)
class ClearFaults:
    """No more faults with a path pattern that this one matches."""

    path: str = "*"


@dataclass(frozen=True, slots=True)
class Set:
    """A change of the instance by a merge patch, as the API takes it."""

    patch: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reset:
    """The instance as configured, without events and faults."""


Action = Union[Announce, Cancel, AddFault, ClearFaults, Set, Reset]


@dataclass(frozen=True, slots=True)
class Step:
    """Something done to some instances; in a scenario so many seconds after its beginning."""

    target: Target
    action: Action
    at: float = 0.0
    line: int = 0
    """Of the file it is in."""
