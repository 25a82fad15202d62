"""write_files_deferred: files with `defer: true`, and those whose owners were not there before.

They are written in the final stage: by then the users are made and the packages installed.
"""

from .base import Context, Frequency, Module, Stage
from .write_files import WriteFiles, write_deferred


def apply(section: WriteFiles, context: Context) -> None:
    """Write every deferred file, and those whose owners were not there before."""
    write_deferred(section, context)


MODULE = Module("write_files_deferred", WriteFiles, Stage.FINAL, Frequency.INSTANCE, apply)
