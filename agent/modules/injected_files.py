"""injected_files: the files that whoever made the instance injects, as OpenStack calls it."""

from typing import NamedTuple

from ..errors import HostError
from .base import Context, Frequency, Module, Stage


class InjectedFiles(NamedTuple):
    """Nothing of the cloud-config: the datasource has the files."""


def apply(section: InjectedFiles, context: Context) -> None:
    """Put each file in place, for root's eyes: nobody says who else may read it."""
    for file in context.instance.files:
        try:
            context.host.write(file.path, file.content, mode=0o600)
        except HostError as error:
            context.report.failed(f"injected file {file.path}", str(error))


MODULE = Module("injected_files", InjectedFiles, Stage.NETWORK, Frequency.INSTANCE, apply)
