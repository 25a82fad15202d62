"""Password resets as an operator asks for them, and as a guest with sealed reset answers."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.reset_password import PREFIX, protocol
from agent.reset_password.machine import CODES
from agent.reset_password.protocol import Boot, Identity, Link, Order
from agent.secret import Secret
from metadata_server.ctl.reasons import REASONS
from metadata_server.instance import Instance, ResetPassword
from metadata_server.reset.policy import check

from .commands import Served, at_terminal, linklocal, served, start

HASH = "$6$abcdefgh$" + "x" * 86
INSTANCE = Instance(
    id="ca9e8b7c-f2be-4b6d-a639-f10b4d994d04",
    name="ecs-ddd4",
    hostname="ecs-ddd4.novalocal",
    project_id="p",
    reset_password=ResetPassword(proof="none"),
)


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, INSTANCE) as running:
        yield running


class Guest:
    """The guest's half of sealed reset, by the agent's own protocol, one message at a time."""

    def __init__(self, control: Served) -> None:
        self._control = control
        self._identity = Identity(Secret(secrets.token_bytes(32)))
        self._boot = Boot(secrets.token_bytes(16), Secret(secrets.token_bytes(32)))
        self._link: Link | None = None

    @property
    def fingerprint(self) -> str:
        return protocol.fingerprint(self._identity.public)

    async def enrol(self) -> int:
        _, body = await self._control.guest(
            "POST", PREFIX + "challenge", json=protocol.challenge_request()
        )
        challenge = protocol.read_challenge(body)
        message = protocol.enrol(self._identity, INSTANCE.id, self._boot, challenge, ["sha512"])
        self._link = Link(INSTANCE.id, self._boot, challenge.server)
        status, _ = await self._control.guest("PUT", PREFIX + "key", json=message)
        return status

    async def fetch(self) -> Order:
        """Wait for a request and open it."""
        assert self._link
        nonce = secrets.token_bytes(16)
        status, body = await self._control.guest("GET", self._link.poll(nonce, 60))
        assert status == 200
        return self._link.open(protocol.read_envelope(body), nonce)

    async def acknowledge(self, order: Order, result: str, code: str = "") -> None:
        assert self._link
        status, body = await self._control.guest(
            "POST", PREFIX + "result", json=self._link.result(order.id, result, code)
        )
        assert status == 200
        assert self._link.read_recorded(body, order.id).result == result


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("--password-stdin",), b"Cloud.1234!\n"),
        (("--password-stdin",), b"Cloud.1234!"),
        (("--hash-stdin",), HASH.encode() + b"\n"),
    ],
)
async def test_a_reset_is_asked_from_stdin(
    control: Served, arguments: tuple[str, ...], stdin: bytes
) -> None:
    ran = await linklocal(
        "reset-password", INSTANCE.id, *arguments, "--user", "rocky", stdin=stdin, at=control
    )

    (asked,) = control.engine.requests(INSTANCE.id)
    assert ran.status == 0
    assert (asked.user, asked.state, asked.apply) == ("rocky", "pending", "both")
    assert asked.id in ran.out
    assert "never enrolled" in ran.err
    assert stdin.strip().decode() not in ran.out + ran.err


async def test_every_option_of_a_reset_reaches_the_engine(control: Served) -> None:
    options = ("--apply", "boot", "--unlock", "--expire", "--restart", "--scheme", "sha256")

    ran = await linklocal(
        "reset-password",
        INSTANCE.id,
        "--password-stdin",
        "--json",
        *options,
        stdin=b"Cloud.1234!\n",
        at=control,
    )

    (asked,) = control.engine.requests(INSTANCE.id)
    assert ran.document["id"] == asked.id
    assert (asked.apply, asked.scheme) == ("boot", "sha256")
    assert asked.unlock
    assert asked.expire
    assert asked.restart


async def test_a_generated_password_is_printed_once_and_alone(control: Served) -> None:
    text = await linklocal("reset-password", INSTANCE.id, "--generate", at=control)
    document = await linklocal("reset-password", INSTANCE.id, "--generate", "--json", at=control)

    password = text.out.removesuffix("\n")
    assert text.status == 0
    assert len(password) >= 20
    assert "\n" not in password
    assert password not in text.err
    check(password, user="root", os_type="Linux")
    assert len(document.document["password"]) >= 20
    assert document.document["password"] != password


async def test_nothing_is_printed_for_a_password_that_was_refused(control: Served) -> None:
    ran = await linklocal("reset-password", "nope", "--generate", at=control)

    assert (ran.status, ran.out) == (1, "")


async def test_a_password_is_asked_for_twice(control: Served) -> None:
    reset = ("reset-password", INSTANCE.id, "--json")

    right = await at_terminal(control, *reset, answers=["Cloud.1234!", "Cloud.1234!"])
    differ = await at_terminal(control, *reset, answers=["Cloud.1234!", "Cloud.1234?"])
    weak = await at_terminal(control, *reset, answers=["cloud", "cloud"])

    assert right[0] == 0
    assert json.loads(right[1])["state"] == "pending"
    assert differ == (1, "")
    assert weak == (1, "")
    assert len(control.engine.requests(INSTANCE.id)) == 1


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        ((), b"", "no terminal to ask"),
        (("--password-stdin",), b"", "expected one line with the password"),
        (("--password-stdin",), b"\n", "expected one line with the password"),
        (("--password-stdin",), b"two\nlines\n", "expected one line with the password"),
        (("--password-stdin",), b"\xff\xfe\n", "expected a password in UTF-8"),
        (("--password-stdin",), b"x" * 5000, "expected one line with the password"),
        (("--password-stdin", "--generate"), b"", "not allowed with"),
        (("--apply", "now"), b"", "invalid choice"),
        (("--wait", "soon"), b"", "expected a number of seconds"),
        (("--wait", "nan"), b"", "expected a number of seconds"),
        (("--gen",), b"", "unknown option --gen"),
    ],
)
async def test_bad_usage_is_64_and_nothing_is_asked(
    control: Served, arguments: tuple[str, ...], stdin: bytes, words: str
) -> None:
    ran = await linklocal("reset-password", INSTANCE.id, *arguments, stdin=stdin, at=control)

    assert (ran.status, ran.out) == (64, "")
    assert words in ran.err
    assert control.engine.requests(INSTANCE.id) == ()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--password", "hunter2"),
        ("--password=hunter2",),
        ("--password-stdin=hunter2",),
        ("hunter2",),
        ("--pass", "hunter2"),
    ],
)
async def test_a_password_in_an_argument_is_refused_and_not_repeated(
    control: Served, arguments: tuple[str, ...]
) -> None:
    ran = await linklocal("reset-password", INSTANCE.id, *arguments, at=control)

    assert ran.status == 64
    assert "hunter2" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        (b"short", "password: expected 8 to 26 characters"),
        (b"root-Secret-1", "must not contain the user name"),
    ],
)
async def test_the_servers_refusal_is_told_and_the_password_is_not(
    control: Served, stdin: bytes, words: str
) -> None:
    ran = await linklocal(
        "reset-password", INSTANCE.id, "--password-stdin", stdin=stdin, at=control
    )

    assert ran.status == 1
    assert words in ran.err
    assert stdin.decode() not in ran.err


async def test_wait_says_3_when_the_guest_has_not_answered(control: Served) -> None:
    ran = await linklocal(
        "reset-password",
        INSTANCE.id,
        "--hash-stdin",
        "--wait",
        "0.1",
        "--json",
        stdin=HASH.encode(),
        at=control,
    )
    later = await linklocal(
        "reset-status", INSTANCE.id, ran.document["id"], "--wait", "0", at=control
    )
    at_once = await linklocal("reset-status", INSTANCE.id, ran.document["id"], at=control)
    all_of_them = await linklocal("reset-status", INSTANCE.id, "--wait", "5", at=control)

    assert (ran.status, ran.document["state"]) == (3, "pending")
    assert later.status == 3
    assert at_once.status == 0
    assert all_of_them.status == 64
    assert "--wait: expected the REQUEST to wait for" in all_of_them.err


async def test_wait_ends_when_the_reset_does(control: Served) -> None:
    process = await start(
        "reset-password",
        INSTANCE.id,
        "--hash-stdin",
        "--wait",
        "60",
        at=control,
        stdin=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(HASH.encode())
    process.stdin.close()
    await process.stderr.readuntil(b"waiting for the guest\n")
    (asked,) = control.engine.requests(INSTANCE.id)

    cancelled = await linklocal("reset-cancel", INSTANCE.id, asked.id, at=control)
    out, _ = await process.communicate()

    assert cancelled.status == 0
    assert "cancelled" in cancelled.out
    assert process.returncode == 1
    assert b"cancelled" in out


async def test_resets_are_listed(control: Served) -> None:
    await linklocal("reset-password", INSTANCE.id, "--hash-stdin", stdin=HASH.encode(), at=control)

    table = await linklocal("reset-status", INSTANCE.id, at=control)
    document = await linklocal("reset-status", INSTANCE.id, "--json", at=control)

    assert table.out.splitlines()[0].split() == [
        *("REQUEST", "USER", "STATE", "CODE", "APPLY", "ASKED", "EXPIRES"),
    ]
    assert table.out.splitlines()[1].split()[1:4] == ["root", "pending", "-"]
    assert [one["state"] for one in document.document["requests"]] == ["pending"]


@pytest.mark.parametrize(
    ("result", "code", "status"),
    [("applied", "", 0), ("rejected", "no-such-user", 1), ("failed", "chpasswd", 1)],
)
async def test_the_guests_answer_is_the_exit_status(
    control: Served, result: str, code: str, status: int
) -> None:
    guest = Guest(control)
    assert await guest.enrol() == 200
    asking = asyncio.ensure_future(
        linklocal(
            *("reset-password", INSTANCE.id, "--hash-stdin", "--unlock", "--json"),
            *("--apply", "live", "--wait", "60"),
            stdin=HASH.encode(),
            at=control,
        )
    )

    order = await guest.fetch()
    await guest.acknowledge(order, result, code)
    ran = await asking

    assert order.user == "root"
    assert order.hash == Secret(HASH.encode())
    assert order.unlock
    assert (ran.status, ran.err) == (status, "")
    assert (ran.document["state"], ran.document["code"]) == (result, code or None)
    assert ran.document["enrolment"] == "enrolled"
    assert ran.document["identity"] == guest.fingerprint


async def test_a_new_identity_is_accepted_by_its_fingerprint_only(control: Served) -> None:
    old, new = Guest(control), Guest(control)
    await old.enrol()
    asked = await linklocal(
        *("reset-password", INSTANCE.id, "--hash-stdin", "--json"), stdin=HASH.encode(), at=control
    )
    assert await new.enrol() == 409

    shown = await linklocal("instance", "show", INSTANCE.id, at=control)
    wrong = await linklocal("reset-key", "accept", INSTANCE.id, "sha256:00", at=control)
    right = await linklocal("reset-key", "accept", INSTANCE.id, new.fingerprint, at=control)
    waiting = await linklocal("reset-status", INSTANCE.id, asked.document["id"], at=control)
    confirmed = await linklocal("reset-confirm", INSTANCE.id, asked.document["id"], at=control)

    facts = dict(line.split(None, 1) for line in shown.out.splitlines())
    assert (facts["reset.identity"], facts["reset.candidate"]) == (old.fingerprint, new.fingerprint)
    assert wrong.status == 1
    assert "Traceback" not in wrong.err
    assert right.status == 0
    assert f"linklocal reset-confirm {INSTANCE.id} {asked.document['id']}" in right.err
    assert new.fingerprint in right.out
    assert "needs-confirm" in waiting.out
    assert "pending" in confirmed.out
    assert await new.enrol() == 200
    assert (await new.fetch()).id == asked.document["id"]


async def test_a_conflict_of_identities_is_shown_where_one_looks(control: Served) -> None:
    old, new = Guest(control), Guest(control)
    await old.enrol()
    assert await new.enrol() == 409

    listed = await linklocal("instance", "list", at=control)
    asked = await linklocal(
        "reset-password", INSTANCE.id, "--hash-stdin", stdin=HASH.encode(), at=control
    )
    await linklocal("reset-key", "accept", INSTANCE.id, new.fingerprint, at=control)
    after = await linklocal("instance", "list", at=control)

    assert listed.out.splitlines()[1].endswith("conflict")
    assert "waits for the one on record" in asked.err
    assert after.out.splitlines()[1].endswith("enrolled")


@pytest.mark.parametrize(
    ("result", "code", "printed", "words"),
    [
        ("applied", "", True, "the password is set"),
        ("applied", "no-shell", True, "no shell to log in to"),
        ("rejected", "no-such-user", False, "rejected: no-such-user: the guest has no such user"),
        ("failed", "chpasswd", False, "the password was not set, and is not printed"),
        ("failed", "expire", True, "the password is set"),
    ],
)
async def test_a_generated_password_is_printed_when_it_is_the_users(
    control: Served, result: str, code: str, printed: bool, words: str
) -> None:
    guest = Guest(control)
    await guest.enrol()
    asking = asyncio.ensure_future(
        linklocal("reset-password", INSTANCE.id, "--generate", "--wait", "60", at=control)
    )

    await guest.acknowledge(await guest.fetch(), result, code)
    ran = await asking

    assert bool(ran.out.strip()) == printed
    assert words in ran.err


async def test_a_password_that_is_not_set_yet_is_printed_with_these_words(control: Served) -> None:
    at_once = await linklocal("reset-password", INSTANCE.id, "--generate", at=control)
    later = await linklocal(
        "reset-password", INSTANCE.id, "--generate", "--wait", "0", "--replace", at=control
    )

    for ran in (at_once, later):
        assert ran.out.strip()
        assert "the password is not set yet" in ran.err
    assert (at_once.status, later.status) == (0, 3)


def test_every_code_of_the_guests_daemon_has_its_words() -> None:
    own = {"enrolled", "unproved"}  # The server's, of guests that have no daemon of ours.
    assert set(REASONS) == set(CODES) - {""} | own


async def test_a_one_time_token_is_printed_alone(control: Served) -> None:
    text = await linklocal("reset-key", "token", INSTANCE.id, at=control)
    document = await linklocal("reset-key", "token", INSTANCE.id, "--json", at=control)

    assert (text.status, text.err) == (0, "")
    assert len(text.out.strip()) >= 20
    assert document.document["token"] != text.out.strip()
