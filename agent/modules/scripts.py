"""scripts: the user data's own scripts, once for an instance, in the order of their names.

`runcmd` has its place in that order as if it were a script of that name; those after it are run
by the module `scripts_late`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import HostError
from ..scripts import run_script
from .base import Context, Frequency, Module, Stage, UserScript

RUNCMD = "runcmd"


class Scripts(NamedTuple):
    """The scripts come from the parts of the user data; there are no keys."""


def run(scripts: Sequence[UserScript], context: Context) -> None:
    """Run the scripts in the order of their names, whatever becomes of each."""
    for script in sorted(scripts, key=lambda each: each.name):
        try:
            run_script(
                context.host,
                context.report,
                place=script.place,
                content=script.content,
                name=script.name,
                directory=context.scripts,
                env={"INSTANCE_ID": context.instance.instance_id},
            )
        except HostError as error:
            context.report.failed(script.place, str(error))


def apply(section: Scripts, context: Context) -> None:
    """Run the scripts whose names come before `runcmd`."""
    run([each for each in context.user_scripts if each.name < RUNCMD], context)


MODULE = Module(
    "scripts",
    Scripts,
    Stage.FINAL,
    Frequency.INSTANCE,
    apply,
    needs_section=False,
    at_most_once=True,
)
