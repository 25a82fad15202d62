"""ssh_import_id: whose public keys open the default user's account, by their names elsewhere."""

from typing import Annotated, NamedTuple

from .base import Context, Frequency, Module, Stage
from .imported_keys import import_keys
from .readers import read_words
from .user_list import default_user


class SshImportId(NamedTuple):
    """Whose keys are let in."""

    ssh_import_id: Annotated[tuple[str, ...], read_words] = ()
    """Accounts such as gh:NAME or lp:NAME whose public keys may come in as the default user."""


def apply(section: SshImportId, context: Context) -> None:
    """Let them in."""
    user = default_user(context)
    if user is None or context.host.user(user) is None:
        context.report.warning("ssh_import_id", "there is no default user to let in")
        return
    import_keys(user, section.ssh_import_id, "ssh_import_id", context)


MODULE = Module("ssh_import_id", SshImportId, Stage.CONFIG, Frequency.INSTANCE, apply)
