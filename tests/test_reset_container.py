"""A container behind the guest: its requests arrive, and no answer about resets comes back.

Three network namespaces in a row, cloud, guest and container, the guest routing for the container.
The container is root, uses a low port, and the server takes its address for the guest's, which is
what address translation in the guest comes to.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"
)

REPOSITORY = Path(__file__).parents[1]
ID = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"
URL = "http://169.254.169.254"
ASK = """
import sys
from agent.reset_password.client import Client, Unanswered
method, path, body = sys.argv[1:]
try:
    reply = Client("http://169.254.169.254").exchange(
        method, path, body.encode(), seconds=3.0, low_port=True)
except Unanswered as error:
    print(error)
else:
    print(reply.status)
"""


class Namespace:
    """A network namespace that lasts as long as the process in it."""

    def __init__(self) -> None:
        self._keeper = subprocess.Popen(
            ["unshare", "--net", "sh", "-ec", "ip link set lo up; echo up; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == b"up\n"

    @property
    def pid(self) -> int:
        return self._keeper.pid

    def close(self) -> None:
        self._keeper.communicate()

    def inside(self, *argv: str) -> list[str]:
        return ["nsenter", "--net", "--target", str(self.pid), *argv]

    def run(self, *argv: str) -> str:
        done = subprocess.run(
            self.inside(*argv), cwd=REPOSITORY, check=True, capture_output=True, text=True
        )
        return done.stdout

    def ip(self, words: str) -> None:
        self.run("ip", *words.split())


@pytest.fixture
def row() -> Iterator[tuple[Namespace, Namespace, Namespace]]:
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(3):
            made.append(Namespace())
            stack.callback(made[-1].close)
        cloud, guest, container = made
        cloud.ip(f"link add c0 type veth peer name g0 netns {guest.pid}")
        container.ip(f"link add k0 type veth peer name b0 netns {guest.pid}")
        for where, link, address in (
            (cloud, "c0", "169.254.169.254/32"),
            (guest, "g0", "192.168.1.10/24"),
            (guest, "b0", "10.88.0.1/24"),
            (container, "k0", "10.88.0.2/24"),
        ):
            where.ip(f"address add {address} dev {link}")
            where.ip(f"link set {link} up")
        cloud.ip("route add 192.168.1.0/24 dev c0")
        cloud.ip("route add 10.88.0.0/24 via 192.168.1.10 dev c0 src 169.254.169.254")
        guest.ip("route add 169.254.169.254/32 dev g0")
        container.ip("route add default via 10.88.0.1")
        guest.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        yield cloud, guest, container


@contextlib.contextmanager
def serving(cloud: Namespace, directory: Path, hop_limit: int) -> Iterator[None]:
    config = {
        "listen": ["169.254.169.254:80"],
        "control": {"listen": "127.0.0.1:8774"},
        "state": str(directory / "state"),
        "instances": [
            {
                "id": ID,
                "identify": {"addresses": ["192.168.1.10", "10.88.0.2"]},
                "reset_password": {"hop_limit": hop_limit},
            }
        ],
    }
    path = directory / "server.yaml"
    path.touch(0o600)
    path.write_text(json.dumps(config))
    argv = cloud.inside(sys.executable, "-m", "metadata_server", "--config", str(path))
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(directory)}
    with subprocess.Popen(
        argv, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()
            process.communicate()


def asked(where: Namespace, method: str, path: str, body: str = "") -> str:
    return where.run(sys.executable, "-c", ASK, method, path, body).strip()


CHALLENGE = ("POST", "/linklocal/v1/reset-password/challenge", '{"v": 1}')


def test_no_answer_about_resets_reaches_a_container_behind_the_guest(
    row: tuple[Namespace, Namespace, Namespace], tmp_path: Path
) -> None:
    cloud, guest, container = row
    with serving(cloud, tmp_path, 1):
        way = asked(container, "GET", "/openstack/latest/meta_data.json")
        got = asked(container, *CHALLENGE)
        refused = asked(container, "GET", "/linklocal/v1/reset-password/request?wait=0")
        own = asked(guest, *CHALLENGE)

    # The road there and back is open: it is the answer that does not last.
    assert way == "200"
    assert "no whole answer within 3 s" in got
    assert "no whole answer within 3 s" in refused
    assert own == "200"


def test_with_a_longer_life_the_answer_would_reach_it(
    row: tuple[Namespace, Namespace, Namespace], tmp_path: Path
) -> None:
    """What the operator chose; and that the test above fails without the defence."""
    cloud, _, container = row
    with serving(cloud, tmp_path, 2):
        got = asked(container, *CHALLENGE)

    assert got == "200"
