"""kill -9 at random moments under load: what was acknowledged is there, it starts every time."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .commands import REPOSITORY, TOKEN

TIMES = 100
SEED = 20261123
HEADERS = {"X-Auth-Token": TOKEN, "Content-Type": "application/json"}
ALL = "/linklocal/v1/instances"
HASH = "$6$saltsaltsaltsalt$" + "a" * 86


class Ports(NamedTuple):
    process: int
    guests: int
    control: int


@contextmanager
def serving(directory: Path, workers: int) -> Iterator[Ports]:
    """Serve the state in *directory*; it is killed at the end, if not before."""
    tokens = directory / "tokens"
    if not tokens.exists():
        tokens.touch(0o600)
        tokens.write_text(TOKEN + "\n")
    config = directory / "server.json"
    control = {"listen": "127.0.0.1:0", "tokens_file": str(tokens)}
    settings = {"listen": ["127.0.0.1:0"], "control": control, "state": str(directory / "state")}
    config.write_text(json.dumps({**settings, "workers": workers}))
    process = subprocess.Popen(
        [sys.executable, "-m", "metadata_server", "--config", str(config)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        ports = []
        for _ in range(2):
            found = re.search(r":(\d+)$", process.stdout.readline())
            assert found is not None, "it did not start again"
            ports.append(int(found[1]))
        yield Ports(process.pid, *ports)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def call(
    port: int, method: str, path: str, body: object = None, *, source: str = "127.0.0.1"
) -> tuple[int, Any]:
    """Return status and document of one call; OSError or HTTPException when nobody answers."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
    try:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body)
        link.request(method, path, data, HEADERS if data is None or isinstance(data, str) else {})
        answer = link.getresponse()
        text = answer.read()
        kind = answer.getheader("Content-Type", "")
        return answer.status, json.loads(text) if "json" in kind else text
    finally:
        link.close()


class Writers:
    """Operators and guests that write until nobody answers, and remember what was acknowledged."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.instances: dict[str, str] = {}
        """Acknowledged instances, and the addresses of their guests."""
        self.posted: dict[str, bytes] = {}
        self.asked: dict[str, tuple[str, str]] = {}
        """By instance: an acknowledged reset, and the state that was acknowledged last."""
        self.made = 0

    def number(self) -> int:
        with self.lock:
            self.made += 1
            return self.made

    def write(self, ports: Ports) -> None:
        while True:
            number = self.number()
            instance_id = f"i-{number}"
            source = f"127.1.{number >> 8 & 255}.{number & 255}"
            try:
                self._write(ports, instance_id, source)
            except (OSError, http.client.HTTPException):
                return

    def _write(self, ports: Ports, instance_id: str, source: str) -> None:
        document = {"id": instance_id, "identify": {"addresses": [source]}}
        status, _ = call(ports.control, "POST", ALL, document)
        assert status == 201
        self.instances[instance_id] = source
        password = f"password of {instance_id}".encode()
        path = "/openstack/latest/password"
        assert call(ports.guests, "POST", path, password, source=source)[0] == 200
        self.posted[instance_id] = password
        path = f"{ALL}/{instance_id}/reset-password"
        status, asked = call(ports.control, "POST", path, {"hash": HASH})
        assert status in (200, 201, 202), asked
        self.asked[instance_id] = (asked["id"], "pending")
        if len(self.asked) % 2:
            status, _ = call(ports.control, "DELETE", f"{path}/{asked['id']}")
            assert status in (200, 202, 204)
            self.asked[instance_id] = (asked["id"], "cancelled")

    def check(self, ports: Ports, instance_ids: set[str]) -> None:
        """Find all that was acknowledged of these instances."""
        for instance_id in instance_ids & self.instances.keys():
            source = self.instances[instance_id]
            status, found = call(ports.guests, "GET", "/openstack/latest/password", source=source)
            assert status == 200, instance_id
            wanted = self.posted.get(instance_id)
            assert wanted is None or found == wanted
        for instance_id in instance_ids & self.asked.keys():
            request, state = self.asked[instance_id]
            path = f"{ALL}/{instance_id}/reset-password/{request}"
            status, shown = call(ports.control, "GET", path)
            assert status == 200, instance_id
            # One more step may have been taken whose acknowledgement never came.
            assert shown["state"] == state or (state, shown["state"]) == ("pending", "cancelled")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("workers", "times"), [(1, TIMES), (2, TIMES // 10)])
def test_nothing_acknowledged_is_lost_and_it_starts_every_time(
    workers: int, times: int, tmp_path: Path
) -> None:
    chance = random.Random(SEED + workers)  # noqa: S311  # moments, not secrets
    writers = Writers()
    before: set[str] = set()
    for _ in range(times):
        with serving(tmp_path, workers) as ports:
            fresh = writers.instances.keys() - before
            writers.check(ports, fresh)
            before |= fresh
            threads = [threading.Thread(target=writers.write, args=(ports,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            threads[0].join(chance.uniform(0.01, 0.4))
            os.kill(ports.process, signal.SIGKILL)
            for thread in threads:
                thread.join(60)

    with serving(tmp_path, workers) as ports:
        writers.check(ports, set(writers.instances))
    assert len(writers.posted) > times
    assert {state for _, state in writers.asked.values()} == {"pending", "cancelled"}
