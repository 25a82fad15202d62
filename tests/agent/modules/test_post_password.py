"""post_password: what is enciphered opens with the private half alone; the wire is in a guest."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from agent.modules.post_password import LENGTH, enciphered, made_up, rsa_key

from .machine import Machine, bad


def line(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return public.decode()


@pytest.mark.parametrize("bits", [1024, 2048, 4096])
def test_the_owner_of_the_key_reads_it(bits: int) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    password = made_up()

    key = rsa_key((f'from="10.0.0.0/8" {line(private)} me@here',))
    assert key is not None
    posted = enciphered(password, *key)

    # The mailbox takes 1020 bytes.
    assert len(posted) <= 1020
    opened = private.decrypt(base64.b64decode(posted, validate=True), padding.PKCS1v15())
    assert opened == password.reveal()


def test_no_two_are_alike_and_each_has_all_types() -> None:
    made = [made_up().reveal().decode() for _ in range(100)]

    assert len(set(made)) == 100
    for text in made:
        assert len(text) == LENGTH
        assert text.isalnum()
        assert {"a" if each.islower() else "A" if each.isupper() else "0" for each in text} == {
            *"aA0"
        }


WHOLE = line(rsa.generate_private_key(public_exponent=65537, key_size=2048))


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0000",),
        (line(ec.generate_private_key(ec.SECP256R1())),),
        ("ssh-rsa",),
        ("ssh-rsa AAAA",),
        ("ssh-rsa not*base64",),
        (WHOLE[:-20],),
    ],
)
def test_what_is_no_rsa_key_is_none(lines: tuple[str, ...]) -> None:
    assert rsa_key(lines) is None


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ("{user: ''}", "post_password.user"),
        ("{user: 7}", "post_password.user"),
        ("{url: ftp://x/}", "post_password.url"),
        ("{url: [x]}", "post_password.url"),
    ],
)
def test_what_cannot_be_meant_is_refused(machine: Machine, settings: str, place: str) -> None:
    report = machine.apply("post_password", f"post_password: {settings}")

    assert ("refused", place) in bad(report)


def test_without_an_rsa_key_nothing_is_set(machine: Machine) -> None:
    before = machine.tree()

    report = machine.apply("post_password", "post_password: {user: root}")

    assert bad(report) == [("failed", "post_password")]
    assert machine.tree() == before
