"""A process may have so many files; who uses them up harms others for that long, and no longer."""

from __future__ import annotations

import json
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).parents[2]
FILES = 512
IDLE = 900
SHORT = "no more connections until files are closed"


class Running(NamedTuple):
    guest: int
    """Port of the guests' listener."""
    control: int
    process: subprocess.Popen[str]
    log: list[str]
    """Lines of it that were not read while it ran."""


@contextmanager
def server(directory: Path, *, uvloop: bool = True) -> Iterator[Running]:
    """Run the server with FILES files, for the guests loud, 127.0.0.1, and quiet, 127.0.0.2."""
    config = directory / "server.yaml"
    config.touch(0o600)
    guests = [
        {"id": name, "identify": {"addresses": [address]}}
        for name, address in (("loud", "127.0.0.1"), ("quiet", "127.0.0.2"))
    ]
    listen = {"listen": ["127.0.0.1:0"], "control": {"listen": "127.0.0.1:0"}}
    state = str(directory / "state")
    config.write_text(json.dumps({**listen, "state": state, "instances": guests}))
    limited = (
        "import resource, sys;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}));"
        # None in its place is an ImportError.
        f"sys.modules.update({ {} if uvloop else {'uvloop': None} });"
        "from metadata_server.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", limited, "--config", str(config)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = Running(0, 0, process, [])
    try:
        assert process.stdout is not None
        ports: list[int] = []
        while len(ports) < 2 and (line := process.stdout.readline()):
            ports += [int(found) for found in re.findall(r"127\.0\.0\.1:(\d+)", line)]
        yield found._replace(guest=ports[0], control=ports[1])
    finally:
        process.terminate()
        found.log.extend(process.communicate(timeout=20)[1].splitlines())


def idle(port: int, number: int) -> list[socket.socket]:
    """Return connections that are being made, and on which nothing is said."""
    links = []
    for _ in range(number):
        link = socket.socket()
        link.setblocking(False)
        link.connect_ex(("127.0.0.1", port))
        links.append(link)
    return links


def asked(port: int, source: str, path: str) -> int:
    link = HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
    try:
        link.request("GET", path)
        return link.getresponse().status
    finally:
        link.close()


def asked_again(port: int, source: str, path: str, *, within: float) -> int:
    """Ask until there is an answer; uvloop hangs up as long as the closed ones are not seen."""
    end = time.monotonic() + within
    while True:
        try:
            return asked(port, source, path)
        except ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def test_idle_connections_of_one_guest_leave_files_for_others_and_operators(
    tmp_path: Path,
) -> None:
    links: list[socket.socket] = []
    with server(tmp_path) as found:
        try:
            links += idle(found.guest, IDLE)
            said = [
                asked(found.guest, "127.0.0.2", "/latest/meta-data/instance-id"),
                asked(found.control, "127.0.0.1", "/healthz"),
            ]
        finally:
            for link in links:
                link.close()

    assert said == [200, 200]
    assert not any(SHORT in line for line in found.log)


@pytest.mark.parametrize("uvloop", [True, False])
def test_a_server_without_files_says_so_once_and_goes_on_when_there_are_some(
    tmp_path: Path, uvloop: bool
) -> None:
    with server(tmp_path, uvloop=uvloop) as found:
        used = len(list(Path(f"/proc/{found.process.pid}/fd").iterdir()))
        resource.prlimit(found.process.pid, resource.RLIMIT_NOFILE, (used + 24, FILES))
        links = idle(found.guest, 40)
        assert found.process.stderr is not None
        while SHORT not in (line := found.process.stderr.readline()):
            assert line, "the server has ended"
        for each in links:
            each.close()
        status = asked_again(found.guest, "127.0.0.2", "/latest/meta-data/instance-id", within=10)

    assert status == 200
    assert not any(" WARNING " in line or " ERROR " in line for line in found.log), found.log
