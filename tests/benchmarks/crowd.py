"""A thousand guests that boot within seconds of each other: requests of our agent, of cloud-init.

What our agent sends is written down from one fetch of its own; cloud-init's crawl follows every
listing, with a new connection for each request. `python -m tests.benchmarks.crowd` alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from agent.datasources.client import Client
from agent.datasources.openstack import OpenStack
from agent.report import Report

from . import load
from .many import Running, address, fill, processor_time, serving

GUESTS = 1000
ARRIVALS = 8.0
"""Seconds over which guests that are started one after the other begin to boot."""
CLOUD_INIT = (
    "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Cloud-Init/22.4.2\r\n"
    "Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n"
)


class Crowd(NamedTuple):
    """How it went for all guests; times in seconds."""

    name: str
    requests: int
    seconds: float
    """From the first guest's first request to the last one's last answer."""
    median: float
    p99: float
    worst: float
    errors: int
    processor: float
    """Of the server."""


def recorded(server: Running, fetch: Callable[[str], object]) -> list[bytes]:
    """Return the requests that *fetch* sends to the URL it is given, which leads to *server*."""
    sent: list[bytes] = []
    with socket.create_server((address(0), 0)) as listener:
        url = f"http://{address(0)}:{listener.getsockname()[1]}"

        def forward() -> None:
            link, _ = listener.accept()
            with link, socket.socket() as onward:
                onward.bind((address(0), 0))
                onward.connect(("127.0.0.1", server.port))
                # Each request is small, and written at once.
                while data := link.recv(65536):
                    sent.append(data)
                    onward.sendall(data)
                    link.sendall(whole(onward))

        thread = threading.Thread(target=forward)
        thread.start()
        fetch(url)
        thread.join()
    return sent


def whole(link: socket.socket) -> bytes:
    answer = b""
    while not load.is_complete(answer):
        answer += link.recv(65536)
    return answer


def agent_fetch(url: str) -> None:
    datasource = OpenStack()
    client = Client(url)
    try:
        if datasource.fetch(datasource.open(client), Report()) is None:
            raise RuntimeError("the agent found nothing")
    finally:
        client.close()


def crawl(server: Running) -> list[bytes]:
    """Return the requests by which cloud-init learns all there is of EC2's tree."""
    found = []
    ahead = ["/2021-03-23/user-data", "/2021-03-23/meta-data/"]
    while ahead:
        path = ahead.pop()
        found.append(CLOUD_INIT.format(path).encode())
        with socket.socket() as link:
            link.bind((address(0), 0))
            link.connect(("127.0.0.1", server.port))
            link.sendall(found[-1])
            text = whole(link).partition(b"\r\n\r\n")[2].decode()
        if path.endswith("/"):
            for line in text.splitlines():
                number, is_key, _ = line.partition("=")
                ahead.append(path + (f"{number}/openssh-key" if is_key else line))
    return found


class Guest:
    """One that asks the same as the others, from an address of its own."""

    def __init__(self, number: int, server: Running, requests: Sequence[bytes]) -> None:
        self._number = number
        self._server = server
        self._requests = requests
        self.waits: list[float] = []
        self.errors = 0

    async def boot(self, after: float, *, keep: bool) -> None:
        await asyncio.sleep(after)
        link = None
        for request in self._requests:
            began = time.perf_counter()
            if link is None:
                link = await asyncio.open_connection(
                    "127.0.0.1", self._server.port, local_addr=(address(self._number), 0)
                )
            link[1].write(request)
            answer = b""
            while not load.is_complete(answer):
                part = await link[0].read(65536)
                if not part:
                    break
                answer += part
            self.waits.append(time.perf_counter() - began)
            self.errors += not answer.startswith(b"HTTP/1.1 200") and b" 404 " not in answer[:16]
            if not keep:
                link[1].close()
                link = None
        if link is not None:
            link[1].close()


def crowd(
    name: str,
    server: Running,
    requests: Sequence[bytes],
    guests: int,
    arrivals: float,
    *,
    keep: bool,
) -> Crowd:
    everybody = [Guest(number, server, requests) for number in range(guests)]

    async def run() -> None:
        await asyncio.gather(
            *(
                each.boot(arrivals * number / guests, keep=keep)
                for number, each in enumerate(everybody)
            )
        )

    spent = processor_time(server.pid)
    began = time.perf_counter()
    asyncio.run(run())
    waits = sorted(wait for each in everybody for wait in each.waits)
    return Crowd(
        name,
        len(waits),
        time.perf_counter() - began,
        statistics.median(waits),
        waits[len(waits) * 99 // 100],
        waits[-1],
        sum(each.errors for each in everybody),
        processor_time(server.pid) - spent,
    )


def measure(report: Callable[[str], None], guests: int = GUESTS) -> list[Crowd]:
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        asyncio.run(fill(directory / "state", guests))
        with serving(directory / "state", directory, {cores[0]}) as server:
            report("measuring: a thousand boots")
            ours = recorded(server, agent_fetch)
            os.sched_setaffinity(0, {cores[-1]})
            try:
                name = f"{guests} boots of our agent, {len(ours)} requests each"
                theirs = crawl(server)
                crawls = f"{guests} crawls of cloud-init, {len(theirs)} requests each"
                return [
                    crowd(
                        f"{name}, over {ARRIVALS:.0f} s", server, ours, guests, ARRIVALS, keep=True
                    ),
                    crowd(f"{name}, all at once", server, ours, guests, 0.0, keep=True),
                    crowd(
                        f"{crawls}, over {ARRIVALS:.0f} s",
                        server,
                        theirs,
                        guests,
                        ARRIVALS,
                        keep=False,
                    ),
                ]
            finally:
                os.sched_setaffinity(0, cores)


def show(found: Crowd) -> str:
    return (
        f"{found.name}: {found.seconds:.1f} s, {found.errors} errors, median"
        f" {1000 * found.median:.1f} ms, p99 {1000 * found.p99:.0f} ms, worst"
        f" {1000 * found.worst:.0f} ms; {found.processor:.1f} s of the server's processor"
    )


if __name__ == "__main__":
    for each in measure(lambda text: print(text, file=sys.stderr)):
        sys.stdout.write(show(each) + "\n")
