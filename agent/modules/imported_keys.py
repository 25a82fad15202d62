"""Public keys by the name of an account elsewhere: gh:NAME or lp:NAME."""

import re
from collections.abc import Sequence

from ..errors import HostError
from .authorized_keys import authorize, checked
from .base import Context

PLACES = {
    "gh": "https://github.com/{name}.keys",
    "lp": "https://launchpad.net/~{name}/+sshkeys",
}
_NAME = re.compile(r"(?:(gh|lp):)?([A-Za-z0-9][A-Za-z0-9.+_-]*)(/\d+)?")


def import_keys(user: str, ids: Sequence[str], place: str, context: Context) -> None:
    """Let the keys of those accounts in as *user*; by ssh-import-id where it is installed."""
    host = context.host
    program = host.which("ssh-import-id")
    account = host.user(user)
    if not ids or account is None:
        return
    if program is not None and host.runs:
        # As the user, so that nothing in the home is written by root.
        command = ["runuser", "-u", user, "--", program, *ids]
        status = host.run(command, env={"HOME": account.home}, timeout=120).status
        if status != 0:
            context.report.failed(place, f"ssh-import-id: exit status {status}")
        return
    for each in ids:
        found = _NAME.fullmatch(each)
        if found is None:
            context.report.refused(place, f"expected an account such as 'gh:name', got {each!r}")
            continue
        url = PLACES[found[1] or "lp"].format(name=found[2])
        try:
            text = host.fetch(url, attempts=3).decode("utf-8", "replace")
        except HostError as error:
            context.report.failed(place, str(error))
            continue
        lines = [line for line in text.splitlines() if line.strip() and line[0] != "#"]
        keys = checked(lines, f"{place} {each}", context)
        if not keys and not host.records:
            context.report.failed(place, f"{each} has no public keys")
        marked = [key._replace(comment=f"{key.comment} # ssh-import-id {each}") for key in keys]
        authorize(user, marked, place, context)
