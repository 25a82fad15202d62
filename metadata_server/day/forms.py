"""The forms of actions and scenarios: one reader for files, with lines, and for API bodies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from .. import config_values as v
from ..config_forms import (
    Choice,
    Json,
    Key,
    ListOf,
    Section,
    Text,
    Truth,
    Values,
    Whole,
    Wrong,
    entry,
    note,
)
from ..config_reader import Items, Problems, Table, parse
from ..errors import ConfigError
from ..notices import ACTIONS, LIFE_CYCLES
from . import times
from .actions import (
    EVENTS,
    AddFault,
    Announce,
    Cancel,
    ClearFaults,
    EventKind,
    Reset,
    Set,
    Step,
    Target,
    When,
)
from .faults import Fault, Kind, as_matched

FOREVER: Final = 1_000_000_000
_SENT: Final = [each.value for each in HTTPStatus if each >= 400]

LENGTH: Final = Text(times.read_seconds, times.SECONDS)
TIME: Final = Text(times.read_moment, times.MOMENT)
PATTERN: Final = Text(
    lambda text: _pattern(text), "a path without spaces that begins with / or *, which is any text"
)
STATUS: Final = Text(
    lambda text: _SENT[_SENT.index(int(text))], "an error status of HTTP such as 503"
)
PROBABILITY: Final = Text(lambda text: _probability(text), "a number above 0 and up to 1")


def _pattern(text: str) -> str:
    if not re.fullmatch(r"[/*?\[][!-~]{0,255}", text):
        raise ValueError
    return as_matched(text)


def _probability(text: str) -> float:
    found = float(text)
    if not 0 < found <= 1:
        raise ValueError
    return found


WHEN: Final = (
    Key("in", LENGTH, "in how many seconds it happens"),
    Key("at", TIME, "when it happens, in the place of `in`"),
    Key("tell_in", LENGTH, "in how many seconds the guest is told; default: at once"),
    Key("tell_at", TIME, "when the guest is told, in the place of `tell_in`"),
)


def _when(values: Values, relative: str, absolute: str) -> When:
    found = When(values.pop(relative, None), values.pop(absolute, None))
    if None not in found:
        raise Wrong(f"expected either {relative!r} or {absolute!r}")
    return found


def _announce(kind: EventKind) -> Any:
    def build(values: Values, node: Table, where: str, problems: Problems) -> Announce:
        happens, told = _when(values, "in", "at"), _when(values, "tell_in", "tell_at")
        return Announce(kind, happens, told, **values)

    return build


SPOT_EVENT: Final = Section(
    "spot",
    (*WHEN, Key("action", Choice(ACTIONS), "what happens to it; default: terminate")),
    _announce("spot"),
)
REBALANCE: Final = Section("rebalance", WHEN[:2], _announce("rebalance"))
MAINTENANCE: Final = Section(
    "maintenance",
    (
        *WHEN,
        Key("code", v.LINE, "what kind; default: system-maintenance"),
        Key("description", v.LINE, "in words"),
        Key("length", LENGTH, "for how long; default: two hours"),
        Key("deadline", LENGTH, "in how many seconds it is to have begun at the latest"),
    ),
    _announce("maintenance"),
)
LIFE_CYCLE: Final = Section(
    "life_cycle",
    (*WHEN[:2], Key("state", Choice(LIFE_CYCLES), "the state it is to reach", required=True)),
    _announce("life_cycle"),
)


def _build_fault(values: Values, node: Table, where: str, problems: Problems) -> AddFault:
    kinds = [name for name in _KINDS if values.get(name) is not None and values[name] is not False]
    if len(kinds) != 1:
        raise Wrong(f"expected one of {', '.join(_KINDS)}")
    name = kinds[0]
    value = values[name]
    given: dict[str, Any] = {key: values[key] for key in _RULES if key in values}
    if "jitter" in values:
        if name != "delay":
            raise Wrong("jitter: expected it beside delay only")
        given["jitter"] = values["jitter"]
    kind, argument = _KINDS[name]
    if argument:
        given[argument] = value
    if "seed" in values and not {"probability", "jitter"} & values.keys():
        raise Wrong("seed: expected it beside probability or jitter only")
    return AddFault(Fault("", "", kind, **given), values.get("for"))


_KINDS: Final[dict[str, tuple[Kind, str | None]]] = {
    "delay": ("delay", "seconds"),
    "status": ("status", "status"),
    "hang": ("hang", None),
    "reset": ("reset", None),
    "truncate": ("truncate", "bytes"),
    "drip": ("drip", "rate"),
    "token_expired": ("token-expiry", None),
    "hop_limit": ("hop-limit", None),
}
_RULES: Final = ("path", "first", "every", "probability", "seed")

FAULT: Final = Section(
    "fault",
    (
        Key("path", PATTERN, "which paths; default: all of them"),
        Key("delay", LENGTH, "hold the answer up for so many seconds"),
        Key("jitter", LENGTH, "and for up to so many more, at random"),
        Key("status", STATUS, "answer with this status"),
        Key("hang", Truth(), "never answer"),
        Key("reset", Truth(), "reset the connection"),
        Key("truncate", Whole(0, FOREVER), "break off after so many bytes of the body"),
        Key("drip", Whole(1, FOREVER), "send so many bytes of the body a second"),
        Key("token_expired", Truth(), "refuse a session token as if it had expired"),
        Key("hop_limit", Truth(), "lose session tokens as if the guest were a hop too far away"),
        Key("first", Whole(1, FOREVER), "only the first requests, so many"),
        Key("every", Whole(1, FOREVER), "only every so manieth request"),
        Key("probability", PROBABILITY, "only some requests, at random"),
        Key("seed", Whole(0, FOREVER), "of what is random; default: 0"),
        Key("for", LENGTH, "for so many seconds; default: until it is removed"),
    ),
    _build_fault,
)

TARGET: Final = (
    Key("instances", ListOf(v.ID, unique=True), "the ids of the instances"),
    Key("tag", v.LINE, "instances with the tag KEY, or KEY=VALUE, in the place of `instances`"),
    Key("all", Truth(), "all instances, in the place of `instances`"),
)
ACTIONS_OF_EVENTS: Final = (
    Key("spot", SPOT_EVENT, "announce the end of a spot instance"),
    Key("rebalance", REBALANCE, "recommend to rebalance"),
    Key("maintenance", MAINTENANCE, "schedule a maintenance"),
    Key("life_cycle", LIFE_CYCLE, "name the state that an auto scaling group wants"),
)
ACTIONS_OF_STEPS: Final = (
    *ACTIONS_OF_EVENTS,
    Key("cancel", ListOf(Choice(EVENTS), unique=True), "call events of these kinds off"),
    Key("fault", FAULT, "add a fault"),
    Key("clear_faults", PATTERN, "remove the faults whose path this pattern matches"),
    Key("set", Json(table=True), "change the instance by a merge patch"),
    Key("reset", Truth(), "the instance as configured, without events and faults"),
)


def _target(values: Values, where: str, default: Target | None = None) -> Target:
    given = [values.get("instances"), values.get("tag"), values.get("all") or None]
    if not any(given) and default is not None:
        return default
    if sum(each is not None for each in given) != 1:
        raise Wrong("expected one of instances, tag, all")
    return Target(values.get("instances", ()), values.get("tag"), bool(values.get("all")))


def _step(values: Values, node: Table, where: str, problems: Problems) -> Step:
    names = [key.name for key in ACTIONS_OF_STEPS]
    given = [name for name in names if name in values and values[name] is not False]
    if len(given) != 1:
        raise Wrong(f"expected one of {', '.join(names)}")
    name = given[0]
    value = values[name]
    if name == "cancel":
        value = Cancel(value)
    elif name == "clear_faults":
        value = ClearFaults(value)
    elif name == "set":
        value = Set(value)
    elif name == "reset":
        value = Reset()
    return Step(_target(values, where, _INHERITED), value, values.get("at", 0.0), node.line)


_INHERITED: Final = Target(all=False)
"""What a step without a target has until the scenario gives it its own."""


def _of_api(values: Values, node: Table, where: str, problems: Problems) -> Step:
    found = _step(values, node, where, problems)
    if found.target == _INHERITED:
        raise Wrong("expected one of instances, tag, all")
    return found


EVENT_ASKED: Final = Section("event", (*TARGET, *ACTIONS_OF_EVENTS), _of_api)
FAULT_ASKED: Final = Section(
    "fault", (*TARGET, Key("fault", FAULT, "the fault", required=True)), _of_api
)
STEP: Final = Section(
    "step",
    (Key("at", LENGTH, "seconds from the beginning", required=True), *TARGET, *ACTIONS_OF_STEPS),
    _step,
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A day, or a part of one: steps in the order of their times."""

    name: str
    steps: tuple[Step, ...]
    file: str = ""

    @property
    def length(self) -> float:
        """Seconds from its beginning to its last step."""
        return self.steps[-1].at if self.steps else 0.0


def _scenario(values: Values, node: Table, where: str, problems: Problems) -> Scenario:
    default = None
    if any(values.get(key.name) for key in TARGET):
        default = _target(values, where)
    steps = []
    for step in values["steps"]:
        target = step.target
        if target == _INHERITED:
            if default is None:
                place = next(each for each in _steps(node) if each.line == step.line)
                problems.add(place, "", "step: expected one of instances, tag, all, here or above")
                continue
            target = default
        steps.append(Step(target, step.action, step.at, step.line))
    if not values["steps"]:
        problems.add(entry(node, "steps"), "steps", "expected one step at least")
    # Steps of one time stay in the order of the file.
    return Scenario(values.get("name", ""), tuple(sorted(steps, key=lambda each: each.at)))


def _steps(node: Table) -> tuple[Any, ...]:
    found = entry(node, "steps")
    return found.nodes if isinstance(found, Items) else ()


SCENARIO: Final = Section(
    "scenario",
    (
        Key("name", v.LINE, "what it is called; default: the name of its file"),
        *TARGET,
        Key("steps", ListOf(STEP), "what happens, and when", required=True),
    ),
    _scenario,
)


def read_scenario(text: bytes, path: Path) -> Scenario:
    """Return the scenario in *text*, the content of the file *path*; YAML or JSON.

    Raises ConfigError with file and line of each mistake.
    """
    node = parse(text, path)
    problems = Problems()
    if node is None:
        raise ConfigError(f"{path}: expected a scenario, found nothing")
    found = None
    try:
        found = SCENARIO.read(node, "", problems)
    except Wrong as wrong:
        note(wrong, node, "", problems)
    problems.check()
    if found is None:
        raise ConfigError(f"{path}: expected a scenario")
    return Scenario(found.name or path.stem, found.steps, str(path))
