"""The attack suite: each attack, what refuses it, and the test that tries it.

Most are beside the half they attack; the rest are here. The table is the index a reviewer reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from .metadata_server.reset_bench import HASH, Bench, Guest, bench
from .test_reset_crashes import until
from .test_reset_end_to_end import Machine, pytestmark
from .test_reset_end_to_end import machine as machine

TESTS = Path(__file__).parent
needs_root = pytestmark
YEAR = 365 * 86400.0

ENGINE = "metadata_server/test_reset_engine.py"
GUEST = "agent/test_reset_protocol.py"
ATTACKS = [
    # attack, expected refusal, where it is tried
    ("enrolment by an unprivileged process", "403 proof", ENGINE, "low_port_proves_root"),
    ("enrolment from a container behind NAT", "no answer", "test_reset_container.py", "no_answer"),
    ("answers beyond the first router", "IP TTL", ENGINE, "no_answer_goes_farther"),
    ("enrolment through a proxy", "403 proof", ENGINE, "low_port_proves_root"),
    ("enrolment without the token", "403 proof", ENGINE, "a_token_enrols_once"),
    ("a second identity", "409 identity-conflict", ENGINE, "another_identity_is_a_conflict"),
    ("another identity than the pinned", "403 identity-pinned", ENGINE, "a_pinned_identity"),
    ("a challenge stolen, replayed, late", "403 nonce", ENGINE, "a_challenge_is_good_once"),
    ("a bent enrolment", "403 signature", ENGINE, "a_wrong_enrolment_is_refused"),
    ("unknown version", "400 version", ENGINE, "a_wrong_enrolment_is_refused"),
    ("unknown suite", "400 suite", ENGINE, "a_wrong_enrolment_is_refused"),
    ("a key of low order", "400 bad-request", ENGINE, "of_low_order_is_refused"),
    ("a poll without proof", "403 not-authenticated", ENGINE, "poll_without_proof_learns_nothing"),
    ("a replayed poll", "403 replayed", ENGINE, "a_replayed_poll_is_refused"),
    ("a stolen envelope", "does not open", ENGINE, "opens_for_its_own_poll_only"),
    ("an envelope bent or cut, each byte", "does not open", GUEST, "no_bent_seal_opens"),
    ("another instance's or boot's envelope", "does not open", GUEST, "for_something_else"),
    ("an acknowledgement bent, each byte", "403 not-authenticated", ENGINE, "no_bent_acknowledg"),
    ("an acknowledgement that is early", "409 not-delivered", ENGINE, "what_was_never_delivered"),
    ("an acknowledgement of another guest", "unknown", ENGINE, "another_identity_is_neither"),
    ("a forged answer to one, each byte", "not believed", GUEST, "believed_with_its_mac_only"),
    ("an expired request", "not delivered", ENGINE, "an_expired_request_is_not_delivered"),
    ("an order that comes late", "rejected expired", "agent/test_reset_state.py", "with_its_word"),
    ("an order that comes again", "not applied", "agent/test_reset_state.py", "comes_again"),
    ("oversized messages", "413 too-large", ENGINE, "what_is_no_message_is_refused"),
    ("malicious names", "rejected", "agent/test_reset_state.py", "rejected_with_its_word"),
    ("malicious hashes", "rejected bad-hash", "agent/test_reset_state.py", "rejected_with_its"),
    ("the same, asked by an operator", "400", ENGINE, "a_malformed_wish_is_refused"),
    (
        "a state directory that is a link",
        "ends",
        "test_reset_asking.py",
        "directory_that_is_a_link",
    ),
    ("links where keys are written", "not followed", "agent/test_reset_state.py", "link_planted"),
    ("a re-imaged guest", "needs-confirm", "test_reset_asking.py", "a_reimaged_guest"),
    ("another server's key", "server-changed", "test_reset_end_to_end.py", "another_server_key"),
    ("a slow or endless server", "given up", "agent/test_reset_client.py", "exchange_has_an_end"),
    ("answers that are no HTTP", "given up", "agent/test_reset_client.py", "no_whole_answer"),
    (
        "questions to the daemon by others",
        "refused",
        "agent/test_reset_channel.py",
        "without_the_c",
    ),
    ("a control call without credential", "401", "test_reset_attacks.py", "without_credential"),
    ("a server's clock years off", "no longer life", "test_reset_attacks.py", "clock_years_off"),
    ("downgrade to the vendor's envelope", "not spoken", "test_reset_attacks.py", "downgrade"),
    ("the same, where it is on", "not taken", "test_reset_platform.py", "takes_it_after_it_enr"),
    ("a service that seems broken", "not taken", "test_reset_platform.py", "does_not_set_it"),
    ("a token that was replaced", "403 proof", ENGINE, "a_token_enrols_once"),
    ("a hostile server to a whole daemon", "stays up", "test_reset_attacks.py", "hostile_server"),
]


@pytest.mark.parametrize(("attack", "where", "name"), [(a, w, n) for a, _, w, n in ATTACKS])
def test_every_attack_is_tried(attack: str, where: str, name: str) -> None:
    source = (TESTS / where).read_text()

    assert re.search(rf"(?m)^(async )?def test_\w*{name}", source), attack


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[tuple[Bench, int]]:
    async with bench(tmp_path / "state") as made:
        yield made


@pytest.mark.parametrize("years", [-40, -1, 1, 40])
async def test_a_servers_clock_years_off_gives_a_request_no_longer_life(
    table: tuple[Bench, int], years: float
) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    old = guest.enrolment(await guest.challenge())
    asked = await at.engine.ask(at.instance, "root", HASH, apply="live")

    at.clock.now += years * YEAR
    challenge = await guest.send("PUT", "/linklocal/v1/reset-password/key", old)
    order = await guest.fetch()

    assert (challenge.status, challenge.body["error"]) == (403, "nonce")
    if years > 0:
        assert order is None
        assert at.engine.request(asked.id).state == "expired"  # type: ignore[union-attr]
    else:
        assert order is not None
        assert order.ttl == 15 * 60


def test_a_control_call_without_credential_is_refused(tmp_path: Path, serve: object) -> None:
    import urllib.error
    import urllib.request

    server = serve({"id": "one"})  # type: ignore[operator]
    base = f"{server.control_url.rstrip('/')}/linklocal/v1/instances/one/reset-password"
    for method, path in (("POST", ""), ("GET", ""), ("GET", "/x"), ("DELETE", "/x")):
        for token in ("", "Bearer ", "Bearer wrong"):
            request = urllib.request.Request(base + path, method=method, data=b"{}")  # noqa: S310
            request.add_header("Authorization", token)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=10)  # noqa: S310
            assert refused.value.code == 401
            refused.value.close()


class Hostile:
    """A server that answers every connection with what it is given, and keeps what it was asked."""

    def __init__(self, answer: bytes, *, endless: bytes = b"", pause: float = 0.0) -> None:
        self.asked: list[str] = []
        self._answer, self._endless, self._pause = answer, endless, pause
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            with link, contextlib.suppress(OSError):
                link.settimeout(5)
                self.asked.append(link.recv(65536).split(b"\r\n")[0].decode())
                link.sendall(self._reply())
                while self._endless and not self._over.wait(self._pause):
                    link.sendall(self._endless)

    def _reply(self) -> bytes:
        if "meta_data.json" in self.asked[-1] and not self._endless:
            body = b'{"uuid": "the-id"}'
            return b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        return self._answer


@pytest.fixture
def hostile(request: pytest.FixtureRequest) -> Iterator[Hostile]:
    made: Hostile = request.param()
    yield made
    made.close()


@needs_root
@pytest.mark.parametrize(
    "hostile",
    [lambda: Hostile(b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n")],
    indirect=True,
)
async def test_a_downgrade_to_the_vendors_envelope_finds_nobody(
    machine: Machine, hostile: Hostile
) -> None:
    before = machine.shadow
    async with machine.daemon(hostile.url, wait_ready=False):
        await until(lambda: any("challenge" in line for line in hostile.asked))
        await asyncio.sleep(1.5)

    paths = {line.split()[1] for line in hostile.asked}
    assert paths == {
        "/openstack/latest/meta_data.json",
        "/linklocal/v1/reset-password/challenge",
    }
    assert machine.shadow == before


@needs_root
@pytest.mark.parametrize(
    "hostile",
    [
        lambda: Hostile(b"HTTP/1.0 200 OK\r\n\r\n", endless=b"x" * 65536),
        lambda: Hostile(b"HTTP/1.0 200 OK\r\n", endless=b"X: y\r\n", pause=0.01),
        lambda: Hostile(b"HTTP/1.0 200 OK\r\nContent-Length: 999999999999\r\n\r\n"),
        lambda: Hostile(b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n"),
        lambda: Hostile(b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 60_000),
        lambda: Hostile(b'HTTP/1.0 200 OK\r\n\r\n{"v": 1, "nonce": "00", "server": []}'),
    ],
    ids=["endless", "slow", "too long", "redirect", "deep", "bent"],
    indirect=True,
)
async def test_a_hostile_server_neither_ends_nor_fills_the_daemon(
    machine: Machine, hostile: Hostile
) -> None:
    before = machine.shadow
    async with machine.daemon(hostile.url, wait_ready=False):
        await until(lambda: bool(hostile.asked))
        began = time.monotonic()
        status, words = await machine.command(
            *("status", "--json", "--root", str(machine.root)),
            *("--state-dir", str(machine.state), "--run-dir", str(machine.run)),
        )
        took = time.monotonic() - began
        small = machine.resident()
        assert machine.process is not None
        alive = machine.process.returncode is None

    assert alive
    assert status == 0
    assert json.loads(words)["running"] is True
    assert took < 5
    assert small < 60
    assert machine.shadow == before
