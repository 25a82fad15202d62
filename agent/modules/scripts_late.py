"""scripts_late: the user data's scripts whose names come after `runcmd`."""

from .base import Context, Frequency, Module, Stage
from .scripts import Scripts, is_late, run


def apply(section: Scripts, context: Context) -> None:
    """Run the scripts whose names come after `runcmd`."""
    run([each for each in context.user_scripts if is_late(each)], context)


MODULE = Module(
    "scripts_late",
    Scripts,
    Stage.FINAL,
    Frequency.ALWAYS,
    apply,
    needs_section=False,
    at_most_once=True,
)
