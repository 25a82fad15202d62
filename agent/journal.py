"""The log: each line to stderr at once, and all of them to /var/log/linklocal/agent.log."""

from __future__ import annotations

import logging
import sys
import time

from .errors import HostError
from .host import Host

PATH = "/var/log/linklocal/agent.log"
LONGEST = 1024 * 1024
"""Bytes of the log that are kept, the newest."""


class Journal(logging.Handler):
    """Keeps the lines until `flush_to`, so that a boot writes its log in few steps."""

    def __init__(self, *, verbose: bool = False, stderr: bool = True) -> None:
        super().__init__(logging.DEBUG if verbose else logging.INFO)
        self._lines: list[str] = []
        self._stderr = stderr

    def emit(self, record: logging.LogRecord) -> None:
        """Take one line."""
        text = record.getMessage().replace("\n", " ")
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        self._lines.append(f"{stamp} {record.levelname} {text}\n")
        if self._stderr:
            print(text, file=sys.stderr, flush=True)

    def flush_to(self, host: Host) -> None:
        """Write the lines to *host*'s log, the oldest of which go when it is long."""
        if not self._lines:
            return
        content = (host.read(PATH) or b"") + "".join(self._lines).encode("utf-8", "replace")
        if len(content) > LONGEST:
            content = content[-LONGEST // 2 :].partition(b"\n")[2]
        owner = "root:root" if host.group("adm") is None else "root:adm"
        host.make_directory(PATH.rpartition("/")[0])
        host.write(PATH, content, mode=0o640, owner=owner)
        self._lines.clear()


def open_journal(*, verbose: bool = False, stderr: bool = True) -> Journal:
    """Return a journal that takes the lines of the whole program from now on."""
    journal = Journal(verbose=verbose, stderr=stderr)
    root = logging.getLogger()
    root.handlers[:] = [journal]
    root.setLevel(journal.level)
    return journal


def close_journal(host: Host, journal: Journal) -> None:
    """Write what is left; a machine that cannot keep a log still boots."""
    try:
        journal.flush_to(host)
    except HostError as error:
        print(error, file=sys.stderr)
