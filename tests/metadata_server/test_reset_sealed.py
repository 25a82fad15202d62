"""The server's half of sealed reset against the same vectors as the guest's, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from metadata_server.errors import BadRequest
from metadata_server.reset import sealed
from metadata_server.reset.hashing import check_hash, hash_password, scheme_of
from metadata_server.reset.sealed import ServerKey
from metadata_server.secret import Secret

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data/reset-v1.json").read_text(encoding="ascii")
)
KEYS, SEAL, RESULT = VECTORS["keys"], VECTORS["seal"], VECTORS["result"]
CHALLENGE, ENROL, POLL = VECTORS["challenge"], VECTORS["enrol"], VECTORS["poll"]
INSTANCE: str = VECTORS["instance"]


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


KEY = ServerKey(Secret(raw(KEYS["server_private"])))
LINK = KEY.link(raw(KEYS["key"]))


def test_the_keys_are_those_of_the_vectors() -> None:
    assert KEY.public == raw(KEYS["server"])
    assert LINK.auth == raw(KEYS["auth"])
    assert LINK.ack == raw(KEYS["ack"])
    assert sealed.fingerprint(raw(KEYS["identity"])) == KEYS["fingerprint"]


def test_the_enrolment_of_the_vectors_is_signed_by_its_identity() -> None:
    message = sealed.enrol_message(
        instance=INSTANCE,
        boot=raw(KEYS["boot"]),
        guest=raw(KEYS["key"]),
        server=KEY.public,
        nonce=raw(CHALLENGE["nonce"]),
        suites=[VECTORS["suite"]],
        schemes=ENROL["schemes"],
    )

    assert message == raw(ENROL["signed"])
    assert sealed.signed(message, raw(ENROL["sig"]), raw(KEYS["identity"]))
    assert sealed.token_proof(ENROL["token"].encode(), message) == raw(ENROL["proof"])
    for place in range(len(message)):
        bent = bytearray(message)
        bent[place] ^= 1
        assert not sealed.signed(bytes(bent), raw(ENROL["sig"]), raw(KEYS["identity"]))
    proof = sealed.enrolled_mac(
        LINK,
        instance=INSTANCE,
        boot=raw(KEYS["boot"]),
        identity=raw(KEYS["identity"]),
        nonce=raw(CHALLENGE["nonce"]),
    )
    assert proof == raw(ENROL["enrolled_mac"])
    other = Ed25519PrivateKey.generate()
    assert not sealed.signed(message, other.sign(message), raw(KEYS["identity"]))


def test_macs_and_seal_are_those_of_the_vectors() -> None:
    boot, nonce = raw(KEYS["boot"]), raw(POLL["nonce"])
    said = {
        "instance": INSTANCE,
        "request_id": RESULT["id"],
        "result": RESULT["result"],
        "code": RESULT["code"],
    }
    associated = sealed.seal_associated(INSTANCE, boot, SEAL["id"], nonce)
    ephemeral, text = KEY.seal(
        SEAL["inside"].encode(),
        guest=raw(KEYS["key"]),
        associated=associated,
        ephemeral=Secret(raw(SEAL["ephemeral_private"])),
    )

    assert sealed.poll_mac(LINK, boot, nonce) == raw(POLL["mac"])
    assert sealed.result_mac(LINK, boot=boot, **said) == raw(RESULT["mac"])
    assert sealed.recorded_mac(LINK, boot=boot, **said) == raw(RESULT["recorded_mac"])
    assert associated == raw(SEAL["associated"])
    assert (ephemeral, text) == (raw(SEAL["e"]), raw(SEAL["sealed"]))


def test_every_delivery_has_a_key_of_its_own() -> None:
    one, other = (KEY.seal(b"text", guest=raw(KEYS["key"]), associated=b"") for _ in range(2))

    assert one[0] != other[0]
    assert one[1] != other[1]


@pytest.mark.parametrize(
    ("instance", "address", "after", "good"),
    [
        (INSTANCE, CHALLENGE["address"], 0, True),
        (INSTANCE, CHALLENGE["address"], 29, True),
        (INSTANCE, CHALLENGE["address"], 30, False),
        (INSTANCE, CHALLENGE["address"], 10**9, False),
        (INSTANCE, CHALLENGE["address"], -1, False),
        ("another", CHALLENGE["address"], 0, False),
        (INSTANCE, "192.168.1.11", 0, False),
    ],
)
def test_a_challenge_is_for_one_guest_at_one_address_for_30_seconds(
    instance: str, address: str, after: int, good: bool
) -> None:
    now = CHALLENGE["issued"] + after

    assert KEY.accepts(raw(CHALLENGE["nonce"]), instance, address, now) is good


def test_no_bent_challenge_is_ours() -> None:
    nonce = raw(CHALLENGE["nonce"])
    for place in range(len(nonce)):
        bent = bytearray(nonce)
        bent[place] ^= 1
        assert not KEY.accepts(bytes(bent), INSTANCE, CHALLENGE["address"], CHALLENGE["issued"])


def test_another_server_does_not_know_the_challenge() -> None:
    other = ServerKey(Secret(bytes(31) + b"\x09"))
    nonce = raw(CHALLENGE["nonce"])

    assert not other.accepts(nonce, INSTANCE, CHALLENGE["address"], CHALLENGE["issued"])


@pytest.mark.parametrize("guest", [bytes(32), b"\x01" + bytes(31)])
def test_a_key_of_low_order_agrees_on_nothing(guest: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the library's own words)
        KEY.link(guest)


def test_lists_and_words_do_not_run_into_each_other() -> None:
    assert sealed.pack(b"ab", b"c") != sealed.pack(b"a", b"bc")
    assert sealed.pack_words(["a", "b"]) != sealed.pack_words(["ab"])
    assert sealed.pack() == b""


SALT = "abcdefgh./ABCD12"
GOOD = (
    ("sha512", f"$6${SALT}${'a' * 86}"),
    ("sha512", f"$6$s${'Z' * 86}"),
    ("sha512", f"$6$rounds=656000${SALT}${'.' * 86}"),
    ("sha256", f"$5${SALT}${'/' * 43}"),
    ("yescrypt", f"$y$j9T${SALT}${'0' * 43}"),
    ("bcrypt", f"$2b$12${'e' * 53}"),
)
BAD = (
    "",
    "x",
    "!",
    "*",
    "secret",
    f"$6${SALT}${'a' * 85}",
    f"$6${SALT}${'a' * 87}",
    f"$6${SALT}${'a' * 86}\n",
    f"$6${SALT}${'a' * 86}:0:0:99999:7:::",
    f"\n$6${SALT}${'a' * 86}",
    f"$6${SALT}a${'a' * 86}",
    f"$6$${'a' * 86}",
    f"$6${SALT}${'a' * 85}\0",
    f"$6${SALT}${'a' * 85}ä",
    f"$6${SALT}${'a' * 85}+",
    f"$6$sa:t${'a' * 86}",
    f"$6$rounds=999${SALT}${'a' * 86}",
    f"$6$rounds=0005000${SALT}${'a' * 86}",
    f"$6$rounds=1000000000${SALT}${'a' * 86}",
    f"$6$rounds=5000$rounds=5000${SALT}${'a' * 86}",
    f"$5${SALT}${'a' * 86}",
    f"$1${SALT[:8]}${'a' * 22}",
    f"$y$j9T${SALT}${'a' * 42}",
    f"$y$${SALT}${'a' * 43}",
    f"$y$j9T${'a' * 43}",
    f"$2b$12${'e' * 52}",
    f"$2b$03${'e' * 53}",
    f"$2b$32${'e' * 53}",
    f"$2a$12${'e' * 53}",
    f"$2y$12${'e' * 53}",
    f"!$6${SALT}${'a' * 86}",
    f"$6${SALT}${'a' * 86} ",
)


@pytest.mark.parametrize(("scheme", "text"), GOOD)
def test_a_whole_crypt_hash_is_taken(scheme: str, text: str) -> None:
    assert check_hash(Secret(text.encode())) == scheme


@pytest.mark.parametrize("text", BAD)
def test_anything_else_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        check_hash(Secret(text.encode()))

    assert len(text) < 8 or text not in str(refusal.value)


@pytest.mark.parametrize(
    ("scheme", "rounds"), [("sha512", 1000), ("sha256", 1000), ("bcrypt", 4), ("yescrypt", 1)]
)
async def test_a_hash_made_here_is_one_that_is_taken(scheme: str, rounds: int) -> None:

    one = await hash_password(Secret("Grüße".encode()), scheme, rounds=rounds)
    other = await hash_password(Secret("Grüße".encode()), scheme, rounds=rounds)

    assert scheme_of(one.reveal()) == scheme
    assert one != other


@pytest.mark.parametrize("scheme", ["md5", ""])
async def test_a_scheme_that_cannot_be_made_is_named(scheme: str) -> None:
    with pytest.raises(BadRequest, match="expected one of sha512, sha256, yescrypt, bcrypt"):
        await hash_password(Secret(b"secret"), scheme)


async def test_a_password_with_nul_is_refused() -> None:
    with pytest.raises(BadRequest, match="NUL"):
        await hash_password(Secret(b"a\0b"))


def test_the_grammar_is_that_of_the_vectors() -> None:
    vectors = json.loads((Path(__file__).parents[1] / "data/reset-hashes.json").read_text())

    hashes = vectors["hashes"]
    assert [[text, scheme_of(text.encode())] for text, _ in hashes] == hashes
