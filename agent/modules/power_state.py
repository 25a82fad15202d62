"""power_state: power off, halt or restart when the boot is over and its status is written."""

import re
from typing import Annotated, Any, Literal, NamedTuple, Optional

from ..errors import ConfigError
from .base import Context, Frequency, Module, Stage
from .command_list import read_command
from .readers import kind

_LETTERS = {"poweroff": "-P", "reboot": "-r", "halt": "-H"}


def read_delay(raw: object) -> int:
    """Return minutes given as a number, as '+5' or as 'now'."""
    if raw == "now":
        return 0
    if type(raw) is int and 0 <= raw < 1_000_000:
        return raw
    if isinstance(raw, str) and re.fullmatch(r"\+?[0-9]{1,6}", raw):
        return int(raw)
    raise ValueError(f"expected 'now' or minutes such as '+5', got {kind(raw)}")


def read_message(raw: object) -> str:
    """Return text that is told to who is logged in."""
    if isinstance(raw, str) and "\0" not in raw:
        return raw
    raise ValueError("expected text")


class Power(NamedTuple):
    """How the boot ends."""

    mode: Literal["poweroff", "reboot", "halt"]
    """What is done: poweroff, reboot or halt."""
    delay: Annotated[int, read_delay] = 0
    """Minutes until then, as a number or '+5'; `now` is none."""
    message: Annotated[str, read_message] = ""
    """Told to who is logged in."""
    timeout: Any = None
    """Taken and needless: the boot is over when this is done."""
    condition: Any = True
    """Whether it is done: true, false, or a command (text for the shell, or a list) that says so by
    ending with status 0."""


class PowerState(NamedTuple):
    """How the boot ends."""

    power_state: Optional[Power] = None
    """How the boot ends."""


def apply(section: PowerState, context: Context) -> None:
    """Have it done at the end, when the condition holds."""
    wanted = section.power_state
    if wanted is None or not _holds(wanted.condition, context):
        return
    context.host.when_done(command(wanted, context))


def command(wanted: Power, context: Context) -> list[str]:
    """Return what does it on this machine."""
    words = [wanted.message] if wanted.message else []
    host = context.host
    if host.which("shutdown") is not None or not host.runs:
        when = f"+{wanted.delay}" if wanted.delay else "now"
        return ["shutdown", _LETTERS[wanted.mode], when, *words]
    # Alpine's programs have no message, and count in seconds.
    if host.which(wanted.mode) is not None:
        return [wanted.mode, "-d", str(wanted.delay * 60)]
    raise ConfigError(f"power_state: there is neither shutdown nor {wanted.mode} here")


def _holds(condition: object, context: Context) -> bool:
    if condition is None or isinstance(condition, bool):
        return condition is not False
    try:
        words = read_command(condition)
    except ValueError as error:
        context.report.refused("power_state.condition", str(error))
        return False
    argv = ["/bin/sh", "-c", words] if isinstance(words, str) else list(words)
    status = context.host.run(argv, what="power_state.condition", timeout=300).status
    if status != 0:
        # 1 is how a condition says no; anything else is no answer.
        result = "notice" if status == 1 else "failed"
        context.report.add("power_state.condition", result, f"exit status {status}", status=status)
    return status == 0


# Its mark comes first, so that a restart never leads to another.
MODULE = Module(
    "power_state", PowerState, Stage.FINAL, Frequency.INSTANCE, apply, at_most_once=True
)
