"""The log: each line to stderr at once, and all of them to /var/log/linklocal/agent.log.

Not `logging`, which with all it imports is a twentieth of a boot; its calls are the same.
"""

from __future__ import annotations

import sys
import time

from .errors import HostError
from .host import Host

PATH = "/var/log/linklocal/agent.log"
LONGEST = 1024 * 1024
"""Bytes of the log that are kept, the newest."""


class Journal:
    """Keeps the lines until `flush_to`, so that a boot writes its log in one step a process."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.stderr = False
        """Whether the lines are shown, too."""

    def info(self, text: str, *values: object) -> None:
        """Tell of one thing done."""
        self._take("INFO", text, values)

    def warning(self, text: str, *values: object) -> None:
        """Tell of what was asked for and is done otherwise or not at all."""
        self._take("WARNING", text, values)

    def error(self, text: str, *values: object) -> None:
        """Tell of a failure, in the words of the status."""
        self._take("ERROR", text, values)

    def _take(self, level: str, text: str, values: tuple[object, ...]) -> None:
        line = (text % values).replace("\n", " ")
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._lines.append(f"{stamp} {level} {line}\n")
        if self.stderr:
            print(line, file=sys.stderr, flush=True)

    def flush_to(self, host: Host) -> None:
        """Write the lines to *host*'s log, the oldest of which go when it is long.

        A machine that cannot keep a log still boots: that is only told.
        """
        try:
            content = (host.read(PATH) or b"") + "".join(self._lines).encode("utf-8", "replace")
            if len(content) > LONGEST:
                content = content[-LONGEST // 2 :].partition(b"\n")[2]
            owner = "root:root" if host.group("adm") is None else "root:adm"
            host.write(PATH, content, mode=0o640, owner=owner)
        except HostError as error:
            print(error, file=sys.stderr)
        self._lines.clear()


log = Journal()
"""The log of this program."""
