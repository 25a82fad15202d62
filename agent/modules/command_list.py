"""Lists of commands, as bootcmd and runcmd have them: a line for the shell, or a list of words."""

from typing import Union

from ..report import Report
from ..scripts import run_entries
from .base import Context
from .readers import kind

Command = Union[str, tuple[str, ...]]
NOTHING = ":"


def read_command(raw: object) -> Command:
    """Return a line for the shell, or the words of a program and its arguments."""
    if raw is None:
        return NOTHING
    if isinstance(raw, str) and "\0" not in raw:
        return raw
    if isinstance(raw, list) and raw and all(type(word) in (str, int, float) for word in raw):
        words = tuple(str(word) for word in raw)
        if not any("\0" in word for word in words):
            return words
    hint = "; put a line with ': ' in quotes" if isinstance(raw, dict) else ""
    if isinstance(raw, bool):
        hint = "; YAML takes true, false, yes, no, on and off for that: put the command in quotes"
    raise ValueError(f"expected a command line or a list of words, got {kind(raw)}{hint}")


def run(raw: object, place: str, context: Context) -> None:
    """Run the commands of *raw* as one script; what is no command is refused, by its number."""
    if not isinstance(raw, list):
        context.report.refused(place, f"expected a list of commands, got {kind(raw)}")
        return
    commands: list[Command] = []
    skipped: set[str] = set()
    for n, item in enumerate(raw):
        where = f"{place}[{n}]"
        try:
            commands.append(read_command(item))
        except ValueError as error:
            context.report.refused(where, str(error))
            # It keeps its place, so that the numbers of the others stay those of the document.
            commands.append(NOTHING)
            skipped.add(where)
        if item is None:
            skipped.add(where)
    if len(skipped) == len(commands):
        return
    report = Report()
    try:
        run_entries(
            context.host,
            report,
            place=place,
            entries=commands,
            directory=context.scripts,
            env={"INSTANCE_ID": context.instance.instance_id},
            timeout=context.timeout,
            sink=context.sink(),
        )
    finally:
        context.report.entries += [each for each in report.entries if each.place not in skipped]
