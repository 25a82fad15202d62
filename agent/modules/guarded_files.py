"""Files that can lock everybody out: sudo's and sshd's own programs look at them before they live.

Only what cannot be read at all is refused: a user or key that is named may come later in the boot.
"""

import re
from typing import Optional

from ..secret import Secret
from .base import Context
from .sshd_config import sshd

_SUDOERS = re.compile(r"/etc/sudoers(\.d/[^/.]*[^/.~])?")
_SSHD = re.compile(r"/etc/ssh/sshd_config(\.d/[^/]+\.conf)?")
# sshd goes on after these words, and ends with another status for want of keys alone.
_SSHD_LINE = re.compile(r" line (\d+): (?!Deprecated|Unsupported option)")
_SUDO_LINE = re.compile(r":(\d+):\d+: |near line (\d+)")


def complaint(path: str, content: Secret, context: Context) -> Optional[str]:
    """Say what is wrong with *content* for the file *path*, None when nothing is, or nobody knows.

    No word of the content is in what is said.
    """
    host = context.host
    if not host.runs or host.records:
        return None
    if _SUDOERS.fullmatch(path):
        program = host.which("visudo")
        if program is not None:
            return _said([program, "-c", "-f"], _SUDO_LINE, True, content, context)
    elif _SSHD.fullmatch(path):
        program = sshd(context)
        if program is not None:
            return _said([program, "-t", "-f"], _SSHD_LINE, False, content, context)
    return None


def _said(
    argv: list[str],
    at: "re.Pattern[str]",
    always: bool,
    content: Secret,
    context: Context,
) -> Optional[str]:
    """Return a complaint of the program *argv*; *always*: any other status than 0 is one."""
    host = context.host
    draft = f"{context.scripts}/guarded.draft"
    host.make_directory(context.scripts, mode=0o700)
    host.write(draft, content, mode=0o600)
    try:
        completed = host.run([*argv, draft], timeout=60)
    finally:
        host.remove(draft)
    found = at.search(completed.output.decode("utf-8", "replace"))
    if completed.status == 0 or not (found or always):
        return None
    where = "" if found is None else f" at line {next(filter(None, found.groups()))}"
    return f"{argv[0].rpartition('/')[2]} cannot read it{where}; what was there stays"
