"""A server of bytes on the loopback: it does with each connection exactly what a test says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Callable

Answer = Callable[[socket.socket, int], None]
"""Gets a connection and its number, from 0; the connection is closed after it."""


def ok(body: bytes, *headers: str) -> bytes:
    """Return a whole answer of status 200."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status(code: int, *headers: str) -> bytes:
    """Return a whole answer without a body."""
    lines = [f"HTTP/1.1 {code} Words", "Content-Length: 0", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def request(connection: socket.socket) -> bytes:
    """Return the head of the next request, empty when there is none."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = connection.recv(1)
        if not data:
            return b""
        head += data
    return head


def replies(*answers: bytes) -> Answer:
    """Give the answers one after the other, over one connection or several."""
    left = iter(answers)

    def answer(connection: socket.socket, number: int) -> None:
        while request(connection):
            connection.sendall(next(left))

    return answer


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Serve for as long as the block lasts; give the URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []

    def talk(connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, StopIteration), connection:
            answer(connection, number)

    def accept() -> None:
        for number in range(1000):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_ones.append(connection)
            threading.Thread(target=talk, args=(connection, number), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for connection in open_ones:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
