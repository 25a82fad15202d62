"""What one core serves: the metadata server and nova's metadata application, in turn.

Nova is installed into an environment of its own in the cache of built trees, once.
`python -m tests.benchmarks.against_nova` alone.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.guests.roots import cache

from . import load
from .many import processor_time
from .server import CONNECTIONS, ROUNDS, SECONDS, Started, linklocal, started, token

VERSION = "34.0.0"
APPLICATION = Path(__file__).with_name("nova_app.py")
Run = Callable[[int, list[tuple[str, str]]], load.Load]
PATH = "/latest/meta-data/instance-id"


class Row(NamedTuple):
    """One workload: requests for a second of the processor time of each side."""

    name: str
    ours: float
    nova: float

    @property
    def ratio(self) -> float:
        return self.ours / self.nova


def installed() -> Path:
    """Return a Python that has nova; takes a minute or two the first time."""
    directory = cache() / f"nova-{VERSION}"
    python = directory / "bin/python"
    mark = directory / ".made"
    if not mark.exists():
        venv.create(directory, with_pip=True)
        argv = [str(python), "-m", "pip", "install", "--quiet", f"nova=={VERSION}", "eventlet"]
        subprocess.run(argv, check=True)
        mark.touch()
    return python


def measure(report: Callable[[str], None]) -> list[Row]:
    """Run the workloads on both sides in turn; the medians of ROUNDS rounds."""
    report("installing nova, unless it is there")
    python = installed()
    cores = sorted(os.sched_getaffinity(0))
    nova_argv = [str(python), "-W", "ignore", str(APPLICATION)]
    with linklocal(cores[0]) as ours, started(nova_argv, cores[0]) as theirs:
        os.sched_setaffinity(0, {cores[-1]})
        try:
            return _rows(ours, theirs, report)
        finally:
            os.sched_setaffinity(0, cores)


def _rows(ours: Started, theirs: Started, report: Callable[[str], None]) -> list[Row]:
    shown = [("X-aws-ec2-metadata-token", token(ours.port))]

    def kept(port: int, headers: list[tuple[str, str]]) -> load.Load:
        request = load.request_bytes(PATH, headers)
        return load.kept_alive(port, request, connections=CONNECTIONS, seconds=SECONDS)

    def fresh(port: int, headers: list[tuple[str, str]]) -> load.Load:
        request = load.request_bytes(PATH, headers, keep=False)
        return load.new_connections(port, request, seconds=SECONDS)

    def rate(run: Run, side: Started, headers: list[tuple[str, str]]) -> float:
        # Of the wall's seconds one client in Python would take too many.
        before = processor_time(side.pid)
        return run(side.port, headers).requests / (processor_time(side.pid) - before)

    rows = []
    for name, run in (
        ("leaf with a session token, kept-alive", kept),
        ("the same, a new connection each", fresh),
    ):
        report(f"measuring: {name}")
        sides: tuple[list[float], list[float]] = ([], [])
        for _ in range(ROUNDS):
            # Nova knows no tokens: it has less to do.
            sides[0].append(rate(run, ours, shown))
            sides[1].append(rate(run, theirs, []))
        rows.append(Row(name, statistics.median(sides[0]), statistics.median(sides[1])))
    return rows


def show(rows: list[Row]) -> str:
    lines = [
        f"Server against nova {VERSION}'s metadata application",
        "(requests for a second of the server's processor time, medians)",
        "",
        f"{'workload':40} {'ours':>8} {'nova':>8} {'ratio':>6}",
    ]
    lines += [f"{row.name:40} {row.ours:8.0f} {row.nova:8.0f} {row.ratio:6.2f}" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(show(measure(lambda text: print(text, file=sys.stderr))) + "\n")
