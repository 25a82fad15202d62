"""systemd's watchdog hears from a server whose loop turns, and no more from one that is stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from ..guests.cloud import CHECKOUT


def test_the_watchdog_is_told_while_the_loop_turns(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(30)
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "200000",
            "XDG_RUNTIME_DIR": str(tmp_path),
        }
        argv = [sys.executable, "-m", "metadata_server", "--listen", "127.0.0.1:0"]
        argv += ["--control", "127.0.0.1:0"]
        server = subprocess.Popen(
            argv,
            cwd=CHECKOUT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            said = [heard.recv(4096) for _ in range(5)]
            server.send_signal(signal.SIGSTOP)
            heard.settimeout(1)
            silent = False
            # What was on its way when it was stopped may still come.
            for _ in range(5):
                try:
                    heard.recv(4096)
                except TimeoutError:
                    silent = True
                    break
        finally:
            server.send_signal(signal.SIGCONT)
            server.terminate()
            server.wait(30)

    assert any(b"READY=1" in each for each in said)
    assert said.count(b"WATCHDOG=1") >= 3
    assert silent
