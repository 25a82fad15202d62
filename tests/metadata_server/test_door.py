"""The operators' listener is reached by every user of the machine: strangers take nothing away."""

from __future__ import annotations

import http.client
import re
import resource
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

FILES = 512
CHECKOUT = Path(__file__).resolve().parents[2]
API = "/linklocal/v1/instances"


def test_strangers_at_the_control_plane_keep_neither_guests_nor_operators_out(
    tmp_path: Path,
) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "metadata_server"),
            *("--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"),
        ],
        cwd=CHECKOUT,
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
        text=True,
    )
    strangers: list[socket.socket] = []
    try:
        assert process.stdout is not None
        ready = [re.search(r"http://\S+", process.stdout.readline()) for _ in range(2)]
        guests, control = (urlsplit(each[0]).netloc for each in ready if each)
        token = (tmp_path / "linklocal/control-token").read_text().strip()
        links = [
            http.client.HTTPConnection(each, timeout=20) for each in (control, control, guests)
        ]
        early, late, guest = links
        asked = {"Authorization": f"Bearer {token}"}

        def listed(link: http.client.HTTPConnection) -> int:
            link.request("GET", API, headers=asked)
            answer = link.getresponse()
            answer.read()
            return answer.status

        statuses = [listed(early)]
        first = early.sock
        host, _, port = control.rpartition(":")
        for _ in range(FILES + 100):
            stranger = socket.create_connection((host, int(port)), timeout=20)
            strangers.append(stranger)
            stranger.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        statuses += [listed(early), listed(late)]
        kept = early.sock is first
        guest.request("GET", "/latest/meta-data/")
        statuses.append(guest.getresponse().status)
        for each in links:
            each.close()
    finally:
        for stranger in strangers:
            stranger.close()
        process.terminate()
        process.communicate(timeout=20)

    assert statuses == [200, 200, 200, 200]
    assert kept, "whose token was good has lost the connection"
