"""A load of HTTP requests on a few connections from one process, with as little work per request as
a client can do: what is measured is the server."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple


class Load(NamedTuple):
    requests: int
    seconds: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def request_bytes(
    path: str, headers: Sequence[tuple[str, str]] = (), *, keep: bool = True
) -> bytes:
    """Return a GET of *path* as a client sends it."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "User-Agent: linklocal-bench",
        "Accept: */*",
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    if not keep:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def exchange(port: int, request: bytes) -> bytes:
    """Return the whole answer to one request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while not is_complete(answer):
            received = connection.recv(65536)
            if not received:
                break
            answer += received
    return answer


def is_complete(answer: bytes) -> bool:
    """Say whether *answer* is a whole one."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return True


def kept_alive(port: int, request: bytes, *, connections: int, seconds: float) -> Load:
    """Send *request* again and again on kept-alive connections; answers of one size."""
    first = exchange(port, request)
    if not first.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"unexpected answer: {first[:60]!r}")
    size = len(first)
    poll = select.epoll()
    clients: dict[int, tuple[socket.socket, int]] = {}
    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", port), timeout=10)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        clients[client.fileno()] = (client, 0)
        poll.register(client.fileno(), select.EPOLLIN)
    done = 0
    started = time.perf_counter()
    end = started + seconds
    for client, _ in clients.values():
        client.send(request)
    while time.perf_counter() < end:
        for number, _ in poll.poll(1):
            client, have = clients[number]
            received = client.recv(65536)
            if not received:
                raise RuntimeError("the server closed a kept-alive connection")
            have += len(received)
            if have >= size:
                done += 1
                have = 0
                client.send(request)
            clients[number] = (client, have)
    taken = time.perf_counter() - started
    poll.close()
    for client, _ in clients.values():
        client.close()
    return Load(done, taken)


def new_connections(port: int, request: bytes, *, seconds: float) -> Load:
    """Send *request* on a new connection each time, one after the other."""
    done = 0
    started = time.perf_counter()
    while time.perf_counter() < started + seconds:
        if not exchange(port, request).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("unexpected answer on a new connection")
        done += 1
    return Load(done, time.perf_counter() - started)
