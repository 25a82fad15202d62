"""bootcmd: commands at every boot, early, before anything else is set up."""

from typing import Any, NamedTuple

from .base import Context, Frequency, Module, Stage
from .command_list import run


class Bootcmd(NamedTuple):
    """Commands at every boot."""

    bootcmd: Any = ()
    """Lines for /bin/sh, or lists of words; one script, with INSTANCE_ID in its environment."""


def apply(section: Bootcmd, context: Context) -> None:
    """Run the commands, one after the other, whatever becomes of each."""
    run(section.bootcmd, "bootcmd", context)


MODULE = Module("bootcmd", Bootcmd, Stage.NETWORK, Frequency.ALWAYS, apply)
