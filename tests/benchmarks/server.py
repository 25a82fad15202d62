"""What one core serves: the metadata server and a bare aiohttp application, in turn."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from . import load

ROUNDS = 5
SECONDS = 1.0
CONNECTIONS = 16
CONFIG = """\
listen: ["127.0.0.1:0"]
control: {{listen: "127.0.0.1:0", tokens_file: {tokens}}}
state: {state}
instances:
  - id: ca9e8b7c-f2be-4b6d-a639-f10b4d994d04
    name: ecs-ddd4
    flavor: s3.medium.2
    user_data: "#cloud-config\\nruntime: none\\n"
    identify: {{default: true}}
"""


class Row(NamedTuple):
    """One workload: requests per second of both sides, and the ratio of their medians."""

    name: str
    ours: float
    bare: float

    @property
    def ratio(self) -> float:
        return self.ours / self.bare


class Started(NamedTuple):
    port: int
    pid: int


@contextlib.contextmanager
def started(argv: list[str], core: int) -> Iterator[Started]:
    """Run a server on one core; it says what port it listens on in its first line."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        os.sched_setaffinity(process.pid, {core})
        assert process.stdout is not None
        line = process.stdout.readline()
        port = re.search(r"(\d+)/?\s*$", line)
        if port is None:
            raise RuntimeError(f"no port in {line!r}")
        yield Started(int(port[1]), process.pid)
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def linklocal(core: int) -> Iterator[Started]:
    """Run our server, with everything on that is on by default."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        tokens = directory / "tokens"
        tokens.touch(0o600)
        tokens.write_text("benchmark-token-0123456789abcdef\n")
        config = directory / "server.yaml"
        config.write_text(CONFIG.format(tokens=tokens, state=directory / "state"))
        argv = [sys.executable, "-m", "metadata_server", "--config", str(config)]
        with started(argv, core) as found:
            yield found


def token(port: int) -> str:
    request = (
        b"PUT /latest/api/token HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"X-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Length: 0\r\n\r\n"
    )
    return load.exchange(port, request).partition(b"\r\n\r\n")[2].decode()


def measure(report: Callable[[str], None]) -> list[Row]:
    """Run every workload on both sides in turn; the medians of ROUNDS rounds."""
    cores = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(linklocal(cores[0]))
        bare = stack.enter_context(
            started([sys.executable, "-m", "tests.benchmarks.bare"], cores[0])
        )
        os.sched_setaffinity(0, {cores[-1]})
        try:
            return _rows(ours.port, bare.port, report)
        finally:
            os.sched_setaffinity(0, cores)


def _rows(ours: int, bare: int, report: Callable[[str], None]) -> list[Row]:
    leaf = load.request_bytes("/latest/meta-data/instance-type")
    with_token = load.request_bytes(
        "/latest/meta-data/instance-type", [("X-aws-ec2-metadata-token", token(ours))]
    )
    document = load.request_bytes("/openstack/latest/meta_data.json")
    closing = load.request_bytes("/latest/meta-data/instance-type", keep=False)

    def kept(port: int, request: bytes) -> float:
        return load.kept_alive(port, request, connections=CONNECTIONS, seconds=SECONDS).rate

    def fresh(port: int, request: bytes) -> float:
        return load.new_connections(port, request, seconds=SECONDS).rate

    rows = []
    for name, run, request in (
        ("leaf, kept-alive", kept, leaf),
        ("leaf with a session token, kept-alive", kept, with_token),
        ("meta_data.json, kept-alive", kept, document),
        ("leaf, a new connection each", fresh, closing),
    ):
        report(f"measuring: {name}")
        sides: tuple[list[float], list[float]] = ([], [])
        for _ in range(ROUNDS):
            sides[0].append(run(ours, request))
            sides[1].append(run(bare, closing if request is closing else leaf))
        rows.append(Row(name, statistics.median(sides[0]), statistics.median(sides[1])))
    return rows
