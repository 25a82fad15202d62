"""Options of linklocal-server that mocks have: sugar over the configuration and the day.

They are for all instances that are served, and for those only that are configured when it starts.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from .config import ServerConfig
from .day.actions import Action as DayAction
from .day.actions import AddFault, Announce, Step, Target, When
from .day.day import Day
from .day.forms import FAULT_ASKED, Scenario, read_scenario
from .day.times import SECONDS, read_seconds
from .document import read_section
from .errors import ConfigError, InvalidDocument, ServerError
from .instance import Instance, Spot
from .notices import ACTIONS
from .notices import Action as SpotAction

EVERYONE = Target(all=True)
FAULT_HELP = "such as path=/latest/user-data,status=503,first=2; repeatable"


def add(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "a day in the cloud, for every instance from the start; `linklocal` does more, and later"
    )
    option = group.add_argument
    option("--imdsv2", action="store_true", help="serve nothing without a session token")
    option("--hop-limit", type=int, choices=range(1, 65), metavar="HOPS", help="of session tokens")
    option("--spot-in", type=_length, metavar="SECONDS", help="a spot instance ends then; also 5m")
    option("--spot-action", choices=ACTIONS, help="what happens to it; default: terminate")
    option("--rebalance-in", type=_length, metavar="SECONDS", help="recommend to rebalance then")
    option("--maintenance-in", type=_length, metavar="SECONDS", help="a maintenance begins then")
    option("--tell-in", type=_length, metavar="SECONDS", help="tell of these then; default: now")
    option("--fault", action="append", default=[], metavar="KEY=VALUE,…", help=FAULT_HELP)
    option("--scenario", type=Path, metavar="FILE", help="run this one")
    option("--speed", type=float, default=1.0, metavar="FACTOR", help="of the scenario; default: 1")


def applied(config: ServerConfig, arguments: argparse.Namespace) -> ServerConfig:
    """Return *config* with what the options say of the instances; ConfigError when they cannot."""
    if arguments.spot_action and arguments.spot_in is None:
        raise ConfigError("--spot-action: expected --spot-in beside it")
    if not 0 < arguments.speed <= 100_000:
        raise ConfigError("--speed: expected a factor above 0, at most 100000")
    steps(arguments)
    scenario(arguments)
    return replace(config, instances=tuple(_changed(each, arguments) for each in config.instances))


def _changed(instance: Instance, arguments: argparse.Namespace) -> Instance:
    options = instance.metadata_options
    if arguments.imdsv2:
        options = replace(options, http_tokens="required")
    if arguments.hop_limit is not None:
        options = replace(options, hop_limit=arguments.hop_limit)
    spot = instance.spot
    if arguments.spot_in is not None and spot is None:
        spot = Spot()
    return replace(instance, metadata_options=options, spot=spot)


async def begin(day: Day, arguments: argparse.Namespace) -> None:
    """Do what the options say is to happen; raises ServerError."""
    for step in steps(arguments):
        await day.do(step, 1.0, {"by": "option"})
    found = scenario(arguments)
    if found is not None:
        day.run(found, arguments.speed)
    await day.clock.settle()


def steps(arguments: argparse.Namespace) -> list[Step]:
    """Return what is to be done at once; raises ConfigError."""
    told = When(after=arguments.tell_in)
    actions: list[DayAction] = []
    if arguments.spot_in is not None:
        action: SpotAction = arguments.spot_action or "terminate"
        actions.append(Announce("spot", When(after=arguments.spot_in), told, action=action))
    if arguments.rebalance_in is not None:
        actions.append(Announce("rebalance", When(after=arguments.rebalance_in), told))
    if arguments.maintenance_in is not None:
        actions.append(Announce("maintenance", When(after=arguments.maintenance_in), told))
    actions += [_fault(text) for text in arguments.fault]
    return [Step(EVERYONE, each) for each in actions]


def scenario(arguments: argparse.Namespace) -> Scenario | None:
    """Return the scenario that is to run, if any; raises ConfigError."""
    path: Path | None = arguments.scenario
    if path is None:
        return None
    try:
        return read_scenario(path.read_bytes(), path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def _fault(text: str) -> AddFault:
    given: dict[str, object] = {}
    for word in text.split(","):
        key, equals, value = word.partition("=")
        # As the API has it: numbers are numbers there.
        given[key] = int(value) if value.isdecimal() else value if equals else True
    try:
        step = read_section(FAULT_ASKED, {"all": True, "fault": given})
    except (InvalidDocument, ServerError) as error:
        raise ConfigError(f"--fault {text}: {error}") from error
    if not isinstance(step.action, AddFault):
        raise ConfigError(f"--fault {text}: expected a fault")
    return step.action


def _length(text: str) -> float:
    try:
        return read_seconds(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {SECONDS}, got {text!r}") from None
