"""write_files, the files with `defer: true`: written in the final stage, when owners exist."""

from .base import Context, Frequency, Module, Stage
from .write_files import WriteFiles, write


def apply(section: WriteFiles, context: Context) -> None:
    """Write every deferred file."""
    write(section, context, deferred=True)


MODULE = Module("write_files_deferred", WriteFiles, Stage.FINAL, Frequency.INSTANCE, apply)
