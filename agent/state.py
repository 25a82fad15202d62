"""What the agent remembers: marks by instance id, and what one stage hands to the next.

Everything lies in directories that root alone may enter. User data is kept only below /run, only
while a boot in separate stages is under way; see `known` for the little that later boots need.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from .errors import HostError
from .files import draft_of
from .host import Host
from .instance import InstanceData
from .kept import Kept, dumped, loaded
from .modules.base import STATE, Frequency, Past
from .report import BAD, Entry
from .scripts import OUTPUT
from .secret import Secret
from .user_data.parts import Part

RUN = "/run/linklocal"
HANDOVER = f"{RUN}/agent/instance.json"
LARGEST = 512 * 1024 * 1024
"""Bytes of what is handed over, or told by a part handler: user data several times over."""
CURRENT = f"{STATE}/instance-id"
ENDED = "ended"
ADOPTED = "adopted"
"""Its name in the directory of an instance that another agent has set up; in it what that left."""
MOST_TROUBLES = 50
"""What is kept of one thing, for later boots; the first."""
"""A file that was being written, as `Files` names it."""
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class State:
    """The marks of one instance on one machine."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._id = ""
        self._instance = ""
        self._adopted = False
        self._left: frozenset[str] = frozenset()

    @property
    def adopted(self) -> bool:
        """Whether another agent has set up this instance."""
        return self._adopted

    @property
    def scripts(self) -> str:
        """Private directory of this instance's scripts and their output."""
        return f"{self._instance}/scripts"

    def enter(self, instance_id: str) -> bool:
        """Go to the instance *instance_id*; say whether it is another than was settled before."""
        self._id = instance_id
        self._instance = f"{STATE}/instances/{directory_name(instance_id)}"
        for path in (
            STATE,
            f"{STATE}/instances",
            self._instance,
            f"{self._instance}/marks",
            self.scripts,
        ):
            self._host.make_directory(path, mode=0o700)
        self._sweep()
        left = self._host.read(f"{self._instance}/{ADOPTED}")
        self._adopted = left is not None
        self._left = frozenset((left or b"").decode("utf-8", "replace").split())
        return self._host.read(CURRENT) != self._line()

    def is_new(self) -> bool:
        """Say whether no instance was ever settled here."""
        return self._host.read(CURRENT) is None

    def settle(self) -> None:
        """Make the instance the current one, when all is known that another agent has done.

        Were it so before, a boot that is cut off in between would have its next one know nothing.
        """
        self._host.write(CURRENT, self._line(), mode=0o600)

    def _line(self) -> bytes:
        return self._id.encode() + b"\n"

    def adopt(self, left: Sequence[str] = ()) -> None:
        """Take all that is once for this instance for done but what another agent has *left*."""
        text = "".join(f"{name}\n" for name in left)
        path = f"{self._instance}/{ADOPTED}"
        self._host.write(path, text.encode(), mode=0o600, durable=True)
        self._adopted, self._left = True, frozenset(left)

    def take_for_done(self, name: str) -> None:
        """Take *name* for done once and for all, unless it has its mark."""
        if self.past(Frequency.ONCE, name) is None:
            self.ended(Frequency.ONCE, name)

    def past(self, frequency: Frequency, name: str) -> Past | None:
        """Return what is known of *name*; None when it has no mark, so that it is to run."""
        path = self._mark(frequency, name)
        content = self._host.read(path) if path else None
        if content is None and path and self._adopted and name.partition(".")[0] not in self._left:
            content = ENDED.encode()
        return None if content is None else _past(content)

    def claim(self, frequency: Frequency, name: str) -> Past | None:
        """Mark *name* as started, on the disk, and return None: it is to run now.

        When it has its mark, return what is known of it.
        """
        known = self.past(frequency, name)
        if known is None and (path := self._mark(frequency, name)):
            self._host.write(path, b"", mode=0o600, durable=True)
        return known

    def ended(self, frequency: Frequency, name: str, entries: Sequence[Entry] = ()) -> None:
        """Note that *name* ended, and what of *entries* later boots are to know."""
        path = self._mark(frequency, name)
        if not path:
            return
        bad = [entry for entry in entries if entry.result in BAD]
        kept = bad[:MOST_TROUBLES]
        if len(bad) > len(kept):
            kept.append(Entry(name, "failed", f"and {len(bad) - len(kept)} more"))
        lines = [ENDED, *(json.dumps(entry._replace(seconds=None)) for entry in kept)]
        self._host.write(path, "".join(f"{line}\n" for line in lines).encode(), mode=0o600)

    def _sweep(self) -> None:
        """Remove what a boot that was cut off has left: texts of scripts, and files half written.

        What scripts printed stays.
        """
        for path in self._private():
            scripts = path.endswith("/scripts")
            for name in self._host.names(path):
                if draft_of(name) or (scripts and not name.endswith(OUTPUT)):
                    self._host.remove(f"{path}/{name}")

    def _private(self) -> Iterator[str]:
        """Give the directories of all instances that files are written in."""
        yield STATE
        for once in (f"{STATE}/once", f"{STATE}/instances"):
            if self._host.kind(once) == "directory":
                yield once
        for name in self._host.names(f"{STATE}/instances"):
            for below in ("marks", "scripts", "fetched"):
                path = f"{STATE}/instances/{name}/{below}"
                if self._host.kind(path) == "directory":
                    yield path

    # --- what was fetched once for an instance

    def read(self, url: str) -> bytes | None:
        """Return what was kept for *url*, None when there is nothing."""
        return self._host.read(self._kept(url))

    def keep(self, url: str, content: bytes) -> None:
        """Keep *content* for *url*."""
        self._host.make_directory(f"{self._instance}/fetched", mode=0o700)
        self._host.write(self._kept(url), Secret(content), mode=0o600)

    def _kept(self, url: str) -> str:
        from hashlib import sha256

        return f"{self._instance}/fetched/{sha256(url.encode()).hexdigest()}"

    def _mark(self, frequency: Frequency, name: str) -> str:
        if frequency is Frequency.ALWAYS:
            return ""
        where = f"{STATE}/once" if frequency is Frequency.ONCE else f"{self._instance}/marks"
        return f"{where}/{name}"

    # --- between stages that are processes of their own

    def hand_over(self, instance: InstanceData, parts: Mapping[str, tuple[Part, ...]]) -> None:
        """Keep *instance* and the *parts* of its sources in memory-backed /run, for what follows.

        What was fetched, filled in or taken by a part handler is so once in a boot.
        """
        self._host.make_directory(f"{RUN}/agent", mode=0o700)
        self._host.write(HANDOVER, dumped(Kept(instance, parts)), mode=0o600)

    def handed_over(self) -> Kept | None:
        """Return what an earlier stage of this boot kept, None when there is nothing."""
        content = self._host.read(HANDOVER, limit=LARGEST)
        if content is None:
            return None
        try:
            return loaded(content)
        except ValueError as error:
            raise HostError(f"{HANDOVER}: not what an earlier stage writes") from error

    def forget(self) -> None:
        """Remove what was kept for the stages of this boot."""
        self._host.remove(HANDOVER)


def _past(content: bytes) -> Past:
    """Return what a mark says; one that a power cut has emptied says that nothing ended."""
    first, *lines = content.decode("utf-8", "replace").splitlines() or [""]
    troubles = []
    for line in lines:
        try:
            place, result, detail, status, _, output = json.loads(line)
        except (ValueError, TypeError):
            continue
        troubles.append(Entry(str(place), str(result), str(detail), status, None, output))
    return Past(first == ENDED, tuple(troubles))


def directory_name(instance_id: str) -> str:
    """Return *instance_id* as a file name; different ids have different ones."""
    name = "".join(c if c in _PLAIN else f"%{ord(c):x}." for c in instance_id)
    if len(name) <= 150:
        return name
    from hashlib import sha256

    return f"{name[:80]}%{sha256(instance_id.encode()).hexdigest()}"
