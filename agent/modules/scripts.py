"""scripts: the scripts of the user data, each at most once for its frequency.

Those of the vendor come first, then those once ever, for every boot and for every instance, then
the user's own; within each, the order is that of their names. What the image has as executable
files in `/etc/linklocal/scripts` and `/var/lib/cloud/scripts`, below `per-once`, `per-boot` and
`per-instance`, is run among them. `runcmd` has its place in the order of the user's own as if it
were a script of that name; those after it are run by the module `scripts_late`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import HostError
from ..report import INTERRUPTED, earlier
from ..scripts import run_script
from ..secret import Secret
from .base import (
    OWN_SCRIPT,
    SCRIPT,
    VENDOR_SCRIPT,
    Context,
    Frequency,
    Module,
    Stage,
    Turn,
    UserScript,
)

RUNCMD = "runcmd"
DIRECTORIES = ("/etc/linklocal/scripts", "/var/lib/cloud/scripts")
"""Where an image may have scripts of its own, below the names of OWN."""
OWN = {
    "per-once": Turn.PER_ONCE,
    "per-boot": Turn.PER_BOOT,
    "per-instance": Turn.PER_INSTANCE,
}
FREQUENCIES = {Turn.PER_ONCE: Frequency.ONCE, Turn.PER_BOOT: Frequency.ALWAYS}


class Scripts(NamedTuple):
    """The scripts come from the parts of the user data; there are no keys."""


def run(scripts: Sequence[UserScript], context: Context) -> None:
    """Run the scripts that have not had their turn, whatever becomes of each."""
    entries = context.report.entries
    lists = context.lists
    for script in sorted(scripts, key=lambda each: (each.turn.value, each.name)):
        module = script.turn.module
        if module in lists.left_out:
            context.report.notice(script.place, f"not run: left out of {lists.left_out[module]}")
            continue
        usual = FREQUENCIES.get(script.turn, Frequency.INSTANCE)
        frequency = lists.frequencies.get(module, usual)
        mark = _mark(script, frequency)
        try:
            past = context.marks.claim(frequency, mark)
            if past is None:
                told = len(entries)
                _run(script, context)
                context.marks.ended(frequency, mark, entries[told:])
            elif not past.ended:
                context.report.failed(script.place, INTERRUPTED)
            else:
                # It may stand elsewhere by now; what became of it is the same.
                entries += [earlier(each)._replace(place=script.place) for each in past.troubles]
        except HostError as error:
            context.report.failed(script.place, str(error))


def _run(script: UserScript, context: Context) -> None:
    run_script(
        context.host,
        context.report,
        place=script.place,
        content=script.content,
        name=_output_name(script),
        directory=context.scripts,
        env={"INSTANCE_ID": context.instance.instance_id},
        timeout=context.timeout,
        prefix=script.prefix,
        program=script.program,
        sink=context.sink(),
    )


def _output_name(script: UserScript) -> str:
    """Return the name of the script's file, by which that of its output goes."""
    return script.program[1:].replace("/", "..") if script.program else script.name


def own_scripts(context: Context) -> list[UserScript]:
    """Return the image's own scripts; what is there and cannot be run is in the report."""
    host = context.host
    found = []
    for directory in DIRECTORIES:
        for below, turn in OWN.items():
            path = f"{directory}/{below}"
            if host.kind(path, follow=True) != "directory":
                continue
            for name in host.names(path):
                program = f"{path}/{name}"
                obstacle = host.why_not_run(program)
                if obstacle is None:
                    found.append(UserScript(name, program, Secret(b""), turn, program=program))
                elif host.kind(program) != "directory":
                    # A text that explains the others may well lie there.
                    tell = context.report.notice if "not executable" in obstacle else None
                    (tell or context.report.refused)(program, obstacle)
    return found


def own_mark(program: str) -> str:
    """Return the mark of a script of the image."""
    return OWN_SCRIPT + program.replace("/", "..")


def _mark(script: UserScript, frequency: Frequency) -> str:
    if script.program:
        return own_mark(script.program)
    name = f"{VENDOR_SCRIPT if script.turn is Turn.VENDOR else SCRIPT}.{script.name}"
    if frequency is not Frequency.ONCE:
        return name
    # Other instances may well have another script of that name.
    from hashlib import sha256

    return f"{name}.{sha256(script.content.reveal()).hexdigest()[:32]}"


def apply(section: Scripts, context: Context) -> None:
    """Run the scripts that come before `runcmd`."""
    own = own_scripts(context)
    run([*own, *(each for each in context.user_scripts if not is_late(each))], context)


def is_late(script: UserScript) -> bool:
    """Say whether *script* comes after `runcmd`."""
    return script.turn is Turn.USER and script.name >= RUNCMD


MODULE = Module(
    "scripts", Scripts, Stage.FINAL, Frequency.ALWAYS, apply, needs_section=False, at_most_once=True
)
