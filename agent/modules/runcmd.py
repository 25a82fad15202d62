"""runcmd: commands once for an instance, when everything else is set up."""

from typing import Any, NamedTuple

from .base import Context, Frequency, Module, Stage
from .command_list import run


class Runcmd(NamedTuple):
    """Commands once for an instance."""

    runcmd: Any = ()
    """Lines for /bin/sh, or lists of words; one script. A failed one does not stop the others."""


def apply(section: Runcmd, context: Context) -> None:
    """Run the commands, one after the other, whatever becomes of each."""
    run(section.runcmd, "runcmd", context)


MODULE = Module("runcmd", Runcmd, Stage.FINAL, Frequency.INSTANCE, apply, at_most_once=True)
