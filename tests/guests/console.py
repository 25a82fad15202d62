"""A guest's console as a person at its keyboard has it: text comes, text is typed."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import threading
import time

PROMPT = r"(?m)^(?!Last )\S+ login: "


class Console:
    """Reads all that the terminal behind *fd* says, for as long as it lasts; *fd* becomes its own.

    Reading never stops, since a guest whose console nobody reads comes to a halt.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._said = ""
        self._seen = 0
        self._ended = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        chunk = b"-"
        while chunk:
            chunk = b""
            with contextlib.suppress(OSError):  # EIO: nobody has the other end of a terminal.
                chunk = os.read(self._fd, 1 << 16)
            with self._news:
                self._said += decoder.decode(chunk)
                self._ended = not chunk
                self._news.notify_all()

    @property
    def text(self) -> str:
        """All that was said until now."""
        with self._news:
            return self._said

    def wait_for(self, pattern: str, timeout: float = 60) -> re.Match[str]:
        """Return the next match of *pattern* after that of the last call; AssertionError if none.

        *timeout* is in seconds; a console that ended is not waited for.
        """
        sought = re.compile(pattern)
        end = time.monotonic() + timeout
        with self._news:
            while (found := sought.search(self._said, self._seen)) is None:
                left = end - time.monotonic()
                if self._ended or left <= 0:
                    raise AssertionError(f"the console never said {pattern!r}:\n{self._said}")
                self._news.wait(left)
            self._seen = found.end()
            return found

    def type(self, text: str) -> None:
        """Type *text* and the return key."""
        os.write(self._fd, text.encode() + b"\r")

    def log_in(self, user: str, password: str, timeout: float = 60) -> bool:
        """Answer the next login prompt; say whether a shell is there, or the login was refused.

        The account's shell must end its prompt with `# ` or `$ `.
        """
        self.wait_for(PROMPT, timeout)
        self.type(user)
        self.wait_for(r"Password: ", timeout)
        self.type(password)
        return self.wait_for(r"Login incorrect|[#$] $", timeout).group() != "Login incorrect"

    def close(self) -> None:
        """Let go of a terminal whose other end was closed."""
        self._reader.join(5)
        os.close(self._fd)
