"""A guest that opens more connections than the process may have files takes none from others."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
FILES = 512
IDLE = 900


def test_idle_connections_of_one_guest_leave_files_for_others_and_operators(
    tmp_path: Path,
) -> None:
    config = tmp_path / "server.yaml"
    config.touch(0o600)
    guests = [
        {"id": name, "identify": {"addresses": [address]}}
        for name, address in (("loud", "127.0.0.1"), ("quiet", "127.0.0.2"))
    ]
    listen = {"listen": ["127.0.0.1:0"], "control": {"listen": "127.0.0.1:0"}}
    state = str(tmp_path / "state")
    config.write_text(json.dumps({**listen, "state": state, "instances": guests}))
    log = tmp_path / "log"
    limited = (
        "import resource, sys;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}));"
        "from metadata_server.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", limited, "--config", str(config)],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    links: list[socket.socket] = []
    try:
        assert process.stdout is not None
        ports: list[int] = []
        while len(ports) < 2 and (line := process.stdout.readline()):
            ports += [int(found) for found in re.findall(r"127\.0\.0\.1:(\d+)", line)]
        guest, control = ports
        for _ in range(IDLE):
            link = socket.socket()
            link.setblocking(False)
            link.connect_ex(("127.0.0.1", guest))
            links.append(link)
        said = [
            asked(guest, "127.0.0.2", "/latest/meta-data/instance-id"),
            asked(control, "127.0.0.1", "/healthz"),
        ]
    finally:
        for link in links:
            link.close()
        process.terminate()
        process.communicate(timeout=20)

    assert said == [200, 200]
    assert "out of system resource" not in log.read_text()


def asked(port: int, source: str, path: str) -> int:
    link = HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
    try:
        link.request("GET", path)
        return link.getresponse().status
    finally:
        link.close()
