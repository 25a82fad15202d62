"""What the command prints: tables and lists for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager


def document(value: object) -> None:
    """Print *value* as JSON, in ASCII: a guest's text cannot steer a terminal that way either."""
    print(json.dumps(value, indent=2))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in columns under *head*; an absent value is `-`."""
    lines = [tuple(head), *(tuple(map(cell, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        )


def facts(values: Mapping[str, object]) -> None:
    """Print names and values, one a line; what is absent or empty is left out."""
    shown = dict(_flat(values))
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print(f"{cell(name).ljust(width)}  {cell(value)}")


def _flat(values: Mapping[str, object], at: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{at}{name}.")
        elif value not in (None, "", []):
            yield at + name, value


def aside(text: str) -> None:
    """Print a line for people that is no part of the result."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def patience(after: float = 1.0) -> Iterator[None]:
    """Show for how long the block has been waiting, at a terminal and from *after* seconds on."""
    if not sys.stderr.isatty():
        yield
        return
    from threading import Event, Thread

    done = Event()

    def count() -> None:
        waited = 0.0
        while not done.wait(after):
            waited += after
            print(f"\rwaiting for the server, {waited:.0f} s", end="", file=sys.stderr, flush=True)
        if waited:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    counter = Thread(target=count, daemon=True)
    counter.start()
    try:
        yield
    finally:
        done.set()
        counter.join()


def cell(value: object) -> str:
    """Return *value* in one line that cannot steer a terminal."""
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={cell(item)}" for name, item in value.items()) or "-"
    text = str(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
