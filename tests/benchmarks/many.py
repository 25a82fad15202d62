"""A hundred thousand instances in the state: how soon and how fast served, in how much memory.

`python -m tests.benchmarks.many` alone. Guests ask from addresses of their own in 127.0.0.0/8.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from metadata_server import overlay
from metadata_server.catalog import Catalog
from metadata_server.overlay import Overlay
from metadata_server.store import Store

from . import load

MANY = 100_000
AT_ONCE = 1000
ASKED = 2000
"""Guests that ask, each on a connection of its own."""
ROUNDS = 5
SECONDS = 1.0
LEAF = "/latest/meta-data/instance-type"


class Many(NamedTuple):
    """What a server with so many instances is like, beside one with one."""

    instances: int
    workers: int
    start: float
    """Seconds from the program's start to its first line, with one instance and with all."""
    start_of_one: float
    first: float
    """Requests for a second of the server's processor time, each a guest's first."""
    rate: float
    """The same of guests that have asked before, and of one guest as often."""
    rate_of_one: float
    idle_bytes: float
    """Bytes of memory for each instance nobody asked for, and for each of those who did."""
    asked_bytes: float


def address(number: int) -> str:
    """Return the address of the guest *number*."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def document(number: int) -> dict[str, Any]:
    """Return an instance as an operator would make it."""
    mac = f"fa:16:3e:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    return {
        "id": f"{number:08x}-f2be-4b6d-a639-f10b4d994d04",
        "name": f"guest-{number}",
        "flavor": "s3.medium.2",
        "tags": {"number": str(number)},
        "nics": [{"mac": mac, "ipv4": address(number), "prefix": 8, "gateway": "127.255.255.254"}],
        "user_data": f"#cloud-config\nruncmd: [echo {number}]\n",
    }


async def fill(state: Path, instances: int) -> None:
    """Make so many instances in *state*."""
    store = Store(state, [overlay.SCHEMA])
    try:
        made = Overlay(store, Catalog(), ())
        for first in range(0, instances, AT_ONCE):
            last = min(first + AT_ONCE, instances)
            await made.create([document(number) for number in range(first, last)])
    finally:
        store.close()


class Running(NamedTuple):
    port: int
    pid: int
    seconds: float


@contextlib.contextmanager
def serving(state: Path, directory: Path, cores: set[int], workers: int = 1) -> Iterator[Running]:
    """Serve what is in *state* on *cores*."""
    tokens = directory / "tokens"
    tokens.touch(0o600)
    tokens.write_text("benchmark-token-0123456789abcdef\n")
    config = directory / "server.yaml"
    control = {"listen": "127.0.0.1:0", "tokens_file": str(tokens)}
    settings = {"listen": ["127.0.0.1:0"], "control": control, "workers": workers}
    config.write_text(json.dumps({**settings, "state": str(state)}))
    here = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    began = time.perf_counter()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "metadata_server", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    finally:
        os.sched_setaffinity(0, here)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - began
        port = re.search(r"(\d+)/?\s*$", line)
        if port is None:
            raise RuntimeError(f"no port in {line!r}")
        yield Running(int(port[1]), process.pid, seconds)
    finally:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def memory(pid: int) -> int:
    """Return the bytes that a process and those it started have to themselves."""
    found = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += sum(memory(int(each)) for each in (task / "children").read_text().split())
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return found + 1024 * sum(map(int, re.findall(r"Private_\w+:\s+(\d+)", text)))


def processor_time(pid: int) -> float:
    """Return the seconds that a process and those it started have had."""
    found = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        children = (task / "children").read_text().split()
        found += sum(processor_time(int(each)) for each in children)
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return found + (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Guests:
    """Guests that ask in turn, each on a kept connection from an address of its own."""

    def __init__(self, server: Running, numbers: list[int]) -> None:
        self._server = server
        self._request = load.request_bytes(LEAF)
        self._links = []
        for number in numbers:
            link = socket.socket()
            link.bind((address(number), 0))
            link.connect(("127.0.0.1", server.port))
            self._links.append(link)

    def ask(self, seconds: float | None = None) -> float:
        """Let each ask once, or all again and again for so long.

        Return requests for each second of the server's processor time, which does not depend on
        what else the machine does.
        """
        asked = 0
        spent = processor_time(self._server.pid)
        began = time.perf_counter()
        while True:
            for link in self._links:
                link.sendall(self._request)
                if not link.recv(4096).startswith(b"HTTP/1.1 200"):
                    raise RuntimeError("a guest was refused")
                asked += 1
                if seconds and time.perf_counter() - began > seconds:
                    break
            if not seconds or time.perf_counter() - began > seconds:
                return asked / (processor_time(self._server.pid) - spent)

    def close(self) -> None:
        for link in self._links:
            link.close()


def measure(report: Callable[[str], None], instances: int = MANY, workers: int = 1) -> Many:
    cores = sorted(os.sched_getaffinity(0))
    theirs = {cores[0]} if workers == 1 else set(cores)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        report(f"making {instances} instances")
        states = directory / "one", directory / "many"
        for state, number in zip(states, (1, instances), strict=True):
            asyncio.run(fill(state, number))
        report("measuring: starts, memory and lookups")
        with serving(states[1], directory, theirs, workers):
            pass  # The first start finds nothing of the state in memory.
        one, many = (
            stack.enter_context(serving(each, directory, theirs, workers)) for each in states
        )
        idle = (memory(many.pid) - memory(one.pid)) / instances
        chance = random.Random(20261123)  # noqa: S311  # chance, not secrecy
        numbers = chance.sample(range(instances), 2 * min(ASKED, instances // 2))
        strangers, numbers = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
        warm = Guests(many, strangers)
        warm.ask()
        alone = Guests(one, [0] * len(numbers))
        stack.callback(alone.close)
        alone.ask()
        before = memory(many.pid)
        # In the place of these connections, so that what is new are instances.
        warm.close()
        each = Guests(many, numbers)
        stack.callback(each.close)
        first = each.ask()
        asked = (memory(many.pid) - before) / len(numbers)
        rates: tuple[list[float], list[float]] = ([], [])
        for _ in range(ROUNDS):
            rates[0].append(each.ask(SECONDS))
            rates[1].append(alone.ask(SECONDS))
        rate, rate_of_one = map(statistics.median, rates)
        return Many(
            instances, workers, many.seconds, one.seconds, first, rate, rate_of_one, idle, asked
        )


def show(found: Many) -> str:
    return (
        f"{found.instances} instances in the state, {found.workers} worker(s):"
        f" start {found.start:.2f} s (one instance: {found.start_of_one:.2f} s);"
        f" {found.rate:.0f} requests for a second of processor time,"
        f" {found.rate / found.rate_of_one:.2f} of one instance's;"
        f" {found.first:.0f} that are a guest's first;"
        f" {found.idle_bytes:.0f} bytes each, {found.asked_bytes:.0f} more for one that has asked"
    )


if __name__ == "__main__":
    for number in (1, 2):
        sys.stdout.write(
            show(measure(lambda text: print(text, file=sys.stderr), workers=number)) + "\n"
        )
