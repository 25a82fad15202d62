"""write_files, the files with `defer: true`: written in the final stage, when owners exist.

So are those whose owners did not exist before.
"""

from .base import Context, Frequency, Module, Stage
from .write_files import WriteFiles, write_deferred


def apply(section: WriteFiles, context: Context) -> None:
    """Write every deferred file, and those whose owners were not there before."""
    write_deferred(section, context)


MODULE = Module("write_files_deferred", WriteFiles, Stage.FINAL, Frequency.INSTANCE, apply)
