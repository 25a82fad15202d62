"""What became of each thing that was asked for: the truth that ends in status.json."""

from typing import NamedTuple, Optional


class Entry(NamedTuple):
    """One thing that was asked for, by its place in the user's document, and what became of it."""

    place: str
    """Such as `runcmd[2]`, `write_files[0].permissions`, `part-001`."""
    result: str
    """One of RESULTS."""
    detail: str = ""
    """What is wrong, lower case, without secrets; empty when there is nothing to say."""
    status: Optional[int] = None
    """Exit status of a command; negative for a signal."""
    seconds: Optional[float] = None
    output: Optional[str] = None
    """Path of the captured output, readable by root alone."""


# refused: the document is wrong there; failed: the machine could not; warning: done, but look here.
RESULTS = ("done", "failed", "refused", "not run", "warning", "notice")
BAD = frozenset({"failed", "refused", "not run", "warning"})
"""Results that make a boot degraded."""
EARLIER = "earlier: "
"""How the detail begins of what became so at an earlier boot, and was not tried again."""
INTERRUPTED = "interrupted at an earlier boot, not run again"


def earlier(entry: Entry) -> Entry:
    """Return *entry*, of an earlier boot, as this one tells of it."""
    return entry._replace(detail=EARLIER + (entry.detail or entry.result))


class Report:
    """Collects entries while a module, part or command is at work."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(
        self,
        place: str,
        result: str,
        detail: str = "",
        *,
        status: Optional[int] = None,
        seconds: Optional[float] = None,
        output: Optional[str] = None,
    ) -> None:
        """Record one entry; *result* is one of RESULTS."""
        self.entries.append(Entry(place, result, detail, status, seconds, output))

    def refused(self, place: str, why: str) -> None:
        """Record that the item at *place* is malformed and was left out; the others go on."""
        self.add(place, "refused", why)

    def failed(self, place: str, why: str) -> None:
        """Record that the machine could not do what *place* asks for."""
        self.add(place, "failed", why)

    def warning(self, place: str, what: str) -> None:
        """Record what was done otherwise than asked, or not understood (an unknown key)."""
        self.add(place, "warning", what)

    def notice(self, place: str, what: str) -> None:
        """Record what the user should know and need not act on (a deprecated spelling)."""
        self.add(place, "notice", what)
