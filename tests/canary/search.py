"""Looking for secrets in everything that processes leave: files, their names, argv, environments.

A secret is looked for as it is, in base64 at any offset, in hexadecimal and as a URL spells it.
"""

from __future__ import annotations

import base64
import os
import re
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import quote

from ..guests.light import LightGuest, host_layers

SHORTEST = 12
"""Bytes below which a find might be chance."""


class Canary(NamedTuple):
    """A secret that was planted, and the places (regular expressions) that may have it."""

    name: str
    value: bytes
    allowed: tuple[str, ...] = ()


class Trace(NamedTuple):
    """Something that was left, and where, in words."""

    where: str
    content: bytes


def forms(value: bytes) -> Iterator[bytes]:
    """Yield the spellings in which *value* may have been written down."""
    yield value
    yield value.hex().encode()
    yield value.hex().upper().encode()
    yield quote(value, safe="").encode()
    for skip, cut in ((0, 0), (1, 2), (2, 3)):
        text = base64.b64encode(bytes(skip) + value)[cut:]
        if (skip + len(value)) % 3:
            text = text[:-4]
        yield text
        yield text.translate(bytes.maketrans(b"+/", b"-_"))


def leaks(canaries: Sequence[Canary], traces: Sequence[Trace]) -> list[str]:
    """Return, one line each, every canary found where it may not be."""
    # One look through everything first: hardly any form is anywhere.
    everything = b"\0".join({trace.content for trace in traces})
    found = set()
    for canary in canaries:
        for form in _distinct_forms(canary):
            if form in everything:
                found |= {
                    f"{canary.name}: {trace.where}"
                    for trace in traces
                    if form in trace.content and not _may_have(trace, canary)
                }
    return sorted(found)


def places(canary: Canary, traces: Sequence[Trace]) -> list[str]:
    """Return where *canary* is, allowed or not."""
    spelled = _distinct_forms(canary)
    return sorted({t.where for t in traces if any(form in t.content for form in spelled)})


def _distinct_forms(canary: Canary) -> set[bytes]:
    assert len(canary.value) >= SHORTEST, canary.name
    return {form for form in forms(canary.value) if len(form) >= SHORTEST}


def _may_have(trace: Trace, canary: Canary) -> bool:
    return any(re.search(allowed, trace.where) for allowed in canary.allowed)


# --- files ----------------------------------------------------------------------------------------


def files_of(machine: LightGuest) -> Iterator[tuple[str, Path]]:
    """Yield path in *machine* and path here of all that it has beyond its lower trees."""
    keeper = _parent(_parent(machine.pid))
    stage = Path(f"/proc/{keeper}/root/tmp")
    tops = [Path("/"), *host_layers()]
    for number, top in enumerate(tops):
        upper = stage / f"upper{number}"
        if upper.is_dir():
            yield from _below(upper, top)
    for private in ("run", "tmp", "var/tmp", "dev", "dev/shm"):
        yield from _below(Path(f"/proc/{machine.pid}/root/{private}"), Path("/") / private)


def traces_of(machine: LightGuest) -> list[Trace]:
    """Return the content, the name and the target of every file of `files_of`."""
    found = []
    for inside, path in files_of(machine):
        where = f"{machine.name} file {inside}"
        status = path.lstat()
        content = b""
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.fsencode(os.readlink(path))
        found.append(Trace(where, os.fsencode(inside) + b"\n" + content))
    return found


def traces_below(directory: Path) -> list[Trace]:
    """Return the content and the name of every file below *directory*, by its path there."""
    found = []
    for path in sorted(directory.rglob("*")):
        where = str(path.relative_to(directory))
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found.append(Trace(where, where.encode() + b"\n" + content))
    return found


def _below(here: Path, top: Path) -> Iterator[tuple[str, Path]]:
    """Yield all below *here*; what is mounted there, such as the checkout, is not the machine's."""
    with os.scandir(here) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    device = here.stat().st_dev
    for entry in found:
        inside, path = top / entry.name, here / entry.name
        if entry.is_dir(follow_symlinks=False):
            if path.stat().st_dev != device:
                continue
            yield str(inside), path
            yield from _below(path, inside)
        else:
            yield str(inside), path


def _parent(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text.rpartition(")")[2].split()[1])


# --- processes ------------------------------------------------------------------------------------


class Watch:
    """Looks at argv and environment of every process of the machines while they run."""

    def __init__(self, *machines: LightGuest) -> None:
        self.machines = list(machines)
        self._seen: dict[Trace, None] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join(10)

    def traces(self) -> list[Trace]:
        return list(self._seen)

    def _look(self) -> None:
        while not self._end.wait(0.001):
            for machine in list(self.machines):
                if machine.pid:
                    self._look_at(machine)

    def _look_at(self, machine: LightGuest) -> None:
        proc = f"/proc/{machine.pid}/root/proc"
        try:
            numbers = [name for name in os.listdir(proc) if name.isdigit()]
        except OSError:
            return
        for number in numbers:
            argv = _read(f"{proc}/{number}/cmdline")
            words = argv.replace(b"\0", b" ").decode(errors="replace").strip()[:120]
            for kind, content in (
                ("argv", argv),
                ("environment", _read(f"{proc}/{number}/environ")),
            ):
                if content:
                    self._seen[Trace(f"{machine.name} {kind} of {words}", content)] = None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""  # It has ended meanwhile.
