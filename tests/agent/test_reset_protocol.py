"""The guest's half of sealed reset against the vectors, and everything bent against the guest."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.reset_password.client import Reply, Unanswered
from agent.reset_password.instance_id import find_instance
from agent.reset_password.protocol import (
    Boot,
    Challenge,
    Envelope,
    Identity,
    Link,
    ProtocolError,
    Recorded,
    enrol,
    enrol_message,
    fingerprint,
    read_challenge,
    read_envelope,
    read_refusal,
    token_proof,
)
from agent.secret import Secret

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data/reset-v1.json").read_text(encoding="ascii")
)
KEYS, SEAL, RESULT = VECTORS["keys"], VECTORS["seal"], VECTORS["result"]
POLL, ENROL = VECTORS["poll"], VECTORS["enrol"]
INSTANCE: str = VECTORS["instance"]


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def boot(boot_bytes: str = KEYS["boot"], private: str = KEYS["boot_private"]) -> Boot:
    return Boot(raw(boot_bytes), Secret(raw(private)))


def link(instance: str = INSTANCE, this: Boot | None = None, server: str = KEYS["server"]) -> Link:
    return Link(instance, this or boot(), raw(server))


ENVELOPE = Envelope(SEAL["id"], raw(SEAL["e"]), raw(SEAL["sealed"]))
NONCE = raw(POLL["nonce"])


def test_keys_and_fingerprint_are_those_of_the_vectors() -> None:
    identity = Identity(Secret(raw(KEYS["identity_private"])))

    assert boot().public == raw(KEYS["key"])
    assert identity.public == raw(KEYS["identity"])
    assert fingerprint(identity.public) == KEYS["fingerprint"]


def test_enrolment_signs_the_bytes_of_the_vectors() -> None:
    identity = Identity(Secret(raw(KEYS["identity_private"])))
    nonce, server = raw(VECTORS["challenge"]["nonce"]), raw(KEYS["server"])

    signed = enrol_message(INSTANCE, boot(), server, nonce, ENROL["schemes"])
    message = enrol(identity, INSTANCE, boot(), Challenge(nonce, server), ENROL["schemes"])

    assert signed == raw(ENROL["signed"])
    assert message == {
        "v": 1,
        "suites": [VECTORS["suite"]],
        "instance": INSTANCE,
        "boot": KEYS["boot"],
        "key": KEYS["key"],
        "identity": KEYS["identity"],
        "schemes": ENROL["schemes"],
        "nonce": VECTORS["challenge"]["nonce"],
        "sig": ENROL["sig"],
    }
    assert token_proof(Secret(ENROL["token"].encode()), signed) == ENROL["proof"]


def test_a_poll_proves_the_boot() -> None:
    assert link().poll(NONCE, 60) == (
        "/linklocal/v1/reset-password/request"
        f"?wait=60&boot={KEYS['boot']}&nonce={POLL['nonce']}&mac={POLL['mac']}"
    )


def test_the_seal_opens() -> None:
    order = link().open(ENVELOPE, NONCE)

    inside = json.loads(SEAL["inside"])
    assert order.hash.reveal().decode() == inside["hash"]
    assert (order.id, order.user, order.ttl) == (SEAL["id"], "root", 900)
    assert (order.unlock, order.expire, order.restart) == (False, True, False)


def test_an_acknowledgement_is_that_of_the_vectors() -> None:
    message = link().result(RESULT["id"], RESULT["result"], RESULT["code"])

    assert message["mac"] == RESULT["mac"]
    assert message["boot"] == KEYS["boot"]


def bent(whole: bytes) -> Iterator[bytes]:
    """Every byte with each of two bits flipped, every shorter form, and a longer one."""
    for place in range(len(whole)):
        for bit in (0x01, 0x80):
            yield whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :]
    for length in range(len(whole)):
        yield whole[:length]
    yield whole + b"\0"


def test_no_bent_seal_opens() -> None:
    opener = link()
    for sealed in bent(ENVELOPE.sealed):
        with pytest.raises(ProtocolError):
            opener.open(ENVELOPE._replace(sealed=sealed), NONCE)
    for place in range(len(ENVELOPE.ephemeral)):
        for bit in (0x01, 0x80):
            wrong = bytearray(ENVELOPE.ephemeral)
            wrong[place] ^= bit
            # RFC 7748: the highest bit of a public key means nothing, yet the key is made of it.
            with pytest.raises(ProtocolError):
                opener.open(ENVELOPE._replace(ephemeral=bytes(wrong)), NONCE)


@pytest.mark.parametrize(
    "opened",
    [
        pytest.param(lambda: link().open(ENVELOPE, bytes(16)), id="another poll: a replay"),
        pytest.param(
            lambda: link().open(ENVELOPE._replace(id="0" * 32), NONCE), id="another request"
        ),
        pytest.param(lambda: link("another").open(ENVELOPE, NONCE), id="another instance"),
        pytest.param(
            lambda: link(this=boot("ff" * 16)).open(ENVELOPE, NONCE), id="an earlier boot"
        ),
        pytest.param(
            lambda: link(this=boot(private="07" * 32)).open(ENVELOPE, NONCE), id="another boot key"
        ),
        pytest.param(lambda: link(server=KEYS["key"]).open(ENVELOPE, NONCE), id="another server"),
        pytest.param(
            lambda: link().open(ENVELOPE._replace(ephemeral=bytes(32)), NONCE), id="low order"
        ),
        pytest.param(lambda: link(server="00" * 32), id="server of low order"),
    ],
)
def test_a_seal_for_something_else_does_not_open(opened: Any) -> None:
    with pytest.raises(ProtocolError):
        opened()


def answer(**changes: Any) -> bytes:
    whole = {
        "v": 1,
        "id": RESULT["id"],
        "result": RESULT["result"],
        "code": RESULT["code"],
        "mac": RESULT["recorded_mac"],
    }
    return json.dumps({**whole, **changes}).encode()


def test_the_record_of_an_acknowledgement_is_believed_with_its_mac_only() -> None:
    reader = link()

    assert reader.read_recorded(answer(), RESULT["id"]) == Recorded("rejected", "changed-since")
    for mac in bent(raw(RESULT["recorded_mac"])):
        with pytest.raises(ProtocolError):
            reader.read_recorded(answer(mac=mac.hex()), RESULT["id"])


def test_who_enrolled_this_guest_is_believed_with_its_mac_only() -> None:
    identity, nonce = raw(KEYS["identity"]), raw(VECTORS["challenge"]["nonce"])
    good = {"v": 1, "suite": VECTORS["suite"], "mac": ENROL["enrolled_mac"]}

    link().check_enrolled(json.dumps(good).encode(), identity, nonce)
    for mac in bent(raw(ENROL["enrolled_mac"])):
        with pytest.raises(ProtocolError):
            link().check_enrolled(json.dumps({**good, "mac": mac.hex()}).encode(), identity, nonce)
    for said in ((identity, bytes(32)), (bytes(32), nonce)):
        with pytest.raises(ProtocolError):
            link().check_enrolled(json.dumps(good).encode(), *said)
    with pytest.raises(ProtocolError):
        link("another").check_enrolled(json.dumps(good).encode(), identity, nonce)


@pytest.mark.parametrize(
    "changes",
    [
        {"result": "applied"},
        {"code": ""},
        {"code": None},
        {"code": "\ud800"},
        {"result": "\udfff"},
        {"result": "a" * 41},
        {"mac": RESULT["mac"]},
        {"mac": RESULT["recorded_mac"].upper()},
        {"mac": 7},
        {"v": 2},
        {"v": True},
        {"v": "1"},
    ],
)
def test_a_record_that_says_something_else_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        link().read_recorded(answer(**changes), RESULT["id"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"v":1,"id":"../x","e":"00","sealed":"00"}',
        b'{"v":1,"id":"a","e":"00","sealed":"00"}',
        b'{"v":1,"id":"a","e":"' + b"0G" * 32 + b'","sealed":"00"}',
        b'{"v":1,"id":"a","e":"' + b"00" * 32 + b'","sealed":"0"}',
        b'{"v":1,"id":7,"e":"' + b"00" * 32 + b'","sealed":"00"}',
        b'{"v":1,"nonce":"00","server":"00"}',
    ],
)
def test_what_is_no_message_is_refused_with_words(body: bytes) -> None:
    for read in (read_envelope, read_challenge):
        with pytest.raises(ProtocolError):
            read(body)
    assert read_refusal(body) == "no-code"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"v":1,"error":"identity-conflict"}', "identity-conflict"),
        (b'{"v":1,"error":"\\u001b[2Jroot"}', "no-code"),
        (b'{"v":1,"error":"' + b"a" * 41 + b'"}', "no-code"),
        (b'{"v":1}', "no-code"),
    ],
)
def test_a_refusal_is_known_by_a_plain_code(body: bytes, code: str) -> None:
    assert read_refusal(body) == code


SHAPES = (
    b"",
    b"\xff\xfe{",
    b"[" * 60_000,
    b'{"v":1,"a":' + b'{"a":' * 12_000,
    b'{"v":1,"%s":' + b"9" * 60_000 + b"}",
    b'{"v":1,"%s":"\\ud800"}',
    b'{"v":1,"%s":NaN}',
    b'{"v":1,"%s":1e999}',
    b'{"v":1,"%s":[[],{}]}',
    b'{"v":1,"%s":"' + "\N{FULLWIDTH DIGIT ONE}".encode() * 32 + b'"}',
    b'"%s"',
)
FIELDS = ("v", "nonce", "server", "id", "e", "sealed", "result", "code", "mac", "error", "uuid")


@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_the_answer_it_is_refused_as_the_daemon_expects(shape: bytes) -> None:
    """With every other field as it should be, so that each reader is reached."""
    good = json.loads(answer(nonce="00" * 32, server=KEYS["server"], e="00" * 32, sealed="00"))
    for field in FIELDS:
        body = shape.replace(b"%s", field.encode())
        if body.startswith(b'{"v":1,"' + field.encode()) and body.endswith(b"}"):
            rest = json.dumps({key: value for key, value in good.items() if key != field})
            body = body[:-1] + b"," + rest[1:].encode()
        readers: tuple[Callable[[bytes], object], ...] = (
            read_challenge,
            read_envelope,
            lambda body: link().read_recorded(body, RESULT["id"]),
            lambda body: link().check_enrolled(body, bytes(32), bytes(32)),
            lambda body: find_instance(lambda *_, **__: Reply(200, body), "/nowhere"),
            read_refusal,
        )
        for read in readers:
            with contextlib.suppress(ProtocolError, Unanswered):
                read(body)
