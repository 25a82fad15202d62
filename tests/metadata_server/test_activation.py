"""Sockets that the service manager opened: taken as they are, and none left without an answer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

# As systemd does: the sockets from 3 on, and the process id of who is to take them.
MANAGER = """\
import os, sys
number = int(sys.argv[1])
for place, handle in enumerate(map(int, sys.argv[2].split(",")), 3):
    os.dup2(handle, place + 100)
for place in range(3, 3 + number):
    os.dup2(place + 100, place)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(number)}
os.execv(sys.executable, [sys.executable, "-m", "metadata_server", *sys.argv[3:]])
"""


def bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(16)
    return sock


def start(directory: Path, sockets: list[socket.socket], *words: str) -> subprocess.Popen[str]:
    handles = [sock.fileno() for sock in sockets]
    return subprocess.Popen(
        [
            *(sys.executable, "-c", MANAGER, str(len(sockets)), ",".join(map(str, handles))),
            *words,
        ],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=handles,
        text=True,
    )


def address(sock: socket.socket) -> str:
    return "{}:{}".format(*sock.getsockname())


def test_requests_from_before_the_start_are_answered(tmp_path: Path) -> None:
    with bound() as guests, bound() as control:
        where, served_at = address(control), address(guests)
        early = socket.create_connection(guests.getsockname(), timeout=20)
        early.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        words = ("--listen", served_at, "--control", where)
        process = start(tmp_path, [control, guests], *words)
        try:
            answer = early.recv(65536)
            with urllib.request.urlopen(f"http://{where}/healthz", timeout=20) as health:
                assert health.status == 200
        finally:
            early.close()
            process.terminate()
            out, _ = process.communicate(timeout=20)

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert f"ready: guests at http://{served_at}" in out


def test_a_socket_that_nobody_asked_for_is_an_error(tmp_path: Path) -> None:
    with bound() as guests, bound() as other:
        words = ("--listen", address(guests), "--control", "127.0.0.1:0")
        process = start(tmp_path, [guests, other], *words)
        _, err = process.communicate(timeout=20)

        assert process.returncode == 1
        assert f"http://{address(other)}, opened by the service manager, is no configured" in err


@pytest.mark.parametrize(
    "environment", [{"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_FDS": "1"}]
)
def test_what_was_opened_for_another_process_is_not_taken(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    words = ("--listen", "127.0.0.1:0", "--control", "127.0.0.1:0")
    process = subprocess.Popen(
        [sys.executable, "-m", "metadata_server", *words],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready: guests at http://127.0.0.1:")
    finally:
        process.terminate()
        process.communicate(timeout=20)
