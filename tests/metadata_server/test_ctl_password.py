"""The password that a guest encrypts to its key pair, from its mailbox to the operator's eyes."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from metadata_server.instance import Instance, Key

from .commands import Served, at_terminal, linklocal, served

PASSWORD = "Win.Passw0rd-é"
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def openssh(key: rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )


INSTANCE = Instance(
    id="ca9e8b7c-f2be-4b6d-a639-f10b4d994d04",
    name="ecs-ddd4",
    hostname="ecs-ddd4.novalocal",
    project_id="p",
    keys=(
        Key("edkey", "ssh-ed25519 AAAAC3Nza me"),
        Key("mykey", openssh(PRIVATE) + " Generated-by-Nova"),
    ),
)
BARE = Instance(id="bare", name="bare", hostname="bare", project_id="p")


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, INSTANCE, BARE) as running:
        yield running


async def post(control: Served, password: bytes, key: rsa.RSAPrivateKey = PRIVATE) -> int:
    """Post *password* as a guest does: encrypted to the public key it was given."""
    sealed = key.public_key().encrypt(password, padding.PKCS1v15())
    return await post_raw(control, base64.b64encode(sealed))


async def post_raw(control: Served, body: bytes) -> int:
    status, _ = await control.guest("POST", "/openstack/latest/password", data=body)
    return status


def private_key(
    directory: Path,
    form: serialization.PrivateFormat = serialization.PrivateFormat.TraditionalOpenSSL,
    passphrase: bytes | None = None,
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = PRIVATE,
) -> str:
    """Write the operator's key as *form* and return the file's name."""
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        protection = serialization.BestAvailableEncryption(passphrase)
    path = directory / "key.pem"
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, protection))
    return str(path)


@pytest.mark.parametrize(
    "form",
    [
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.PrivateFormat.PKCS8,
        serialization.PrivateFormat.OpenSSH,
    ],
)
async def test_get_password_prints_what_the_guest_posted(
    control: Served, tmp_path: Path, form: serialization.PrivateFormat
) -> None:
    await post(control, PASSWORD.encode())

    ran = await linklocal(
        "get-password", INSTANCE.id, "--private-key", private_key(tmp_path, form), at=control
    )

    assert (ran.status, ran.out, ran.err) == (0, PASSWORD + "\n", "")


async def test_get_password_reads_what_openssl_encrypted(control: Served, tmp_path: Path) -> None:
    public = tmp_path / "public.pem"
    public.write_bytes(
        PRIVATE.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    sealed = subprocess.run(
        ["openssl", "pkeyutl", "-encrypt", "-pubin", "-inkey", str(public)],
        input=PASSWORD.encode(),
        capture_output=True,
        check=True,
    ).stdout
    # Some clients break the lines of their base64.
    await post_raw(control, base64.encodebytes(sealed))

    ran = await linklocal(
        "get-password", INSTANCE.id, "--private-key", private_key(tmp_path), "--json", at=control
    )

    assert ran.document == {"password": PASSWORD}


@pytest.mark.parametrize(
    "form", [serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8]
)
async def test_a_pass_phrase_is_asked_for(
    control: Served, tmp_path: Path, form: serialization.PrivateFormat
) -> None:
    await post(control, PASSWORD.encode())
    name = private_key(tmp_path, form, b"open sesame")
    get = ("get-password", INSTANCE.id, "--private-key", name)

    right = await linklocal(*get, "--passphrase-stdin", stdin=b"open sesame\n", at=control)
    wrong = await linklocal(*get, "--passphrase-stdin", stdin=b"open says me\n", at=control)
    nobody = await linklocal(*get, at=control)
    typed = await at_terminal(control, *get, answers=["open sesame"])

    assert (right.status, right.out) == (0, PASSWORD + "\n")
    assert (wrong.status, wrong.out) == (1, "")
    assert wrong.err == f"linklocal: {name}: the pass phrase is wrong\n"
    assert nobody.status == 64
    assert typed == (0, PASSWORD + "\n")


async def test_the_wrong_key_is_noticed_before_anything_is_decrypted(
    control: Served, tmp_path: Path
) -> None:
    await post(control, PASSWORD.encode())
    name = private_key(tmp_path, key=OTHER)

    wrong = await linklocal("get-password", INSTANCE.id, "--private-key", name, at=control)
    none = await linklocal("get-password", "bare", "--private-key", name, at=control)

    assert (wrong.status, wrong.out) == (1, "")
    assert wrong.err == (
        f"linklocal: {name}: not a key of instance {INSTANCE.id}; its RSA keys are mykey\n"
    )
    assert "it has no RSA key" in none.err


async def test_get_password_when_there_is_none_or_nonsense(control: Served, tmp_path: Path) -> None:
    get = ("get-password", INSTANCE.id, "--private-key", private_key(tmp_path))

    none = await linklocal(*get, at=control)
    await post_raw(control, b"not base64!")
    nonsense = await linklocal(*get, at=control)
    await linklocal("delete-password", INSTANCE.id, at=control)
    await post(control, b"\x1b]0;steered\x07")
    steering = await linklocal(*get, at=control)

    assert (none.status, none.out) == (1, "")
    assert "has not posted a password" in none.err
    assert (nonsense.status, nonsense.out) == (1, "")
    assert "cannot be decrypted" in nonsense.err
    assert (steering.status, steering.out) == (1, "")
    assert "\x1b" not in steering.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "expected an RSA private key as PEM, PKCS #8 or OpenSSH"),
        (b"-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----\n", "expected an RSA"),
        (openssh(PRIVATE).encode(), "expected an RSA private key"),
        (b"PuTTY-User-Key-File-3: ssh-rsa\n", "export it in puttygen"),
    ],
)
async def test_a_file_that_is_no_private_key_is_said_in_words(
    control: Served, tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)

    ran = await linklocal("get-password", INSTANCE.id, "--private-key", str(path), at=control)

    assert (ran.status, ran.out) == (1, "")
    assert words in ran.err
    assert "Traceback" not in ran.err


async def test_a_key_that_is_not_rsa_is_refused(control: Served, tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = private_key(tmp_path, serialization.PrivateFormat.OpenSSH, key=key)

    ran = await linklocal("get-password", INSTANCE.id, "--private-key", name, at=control)

    assert ran.status == 1
    assert "expected an RSA key" in ran.err


async def test_delete_password_lets_the_guest_post_another(control: Served, tmp_path: Path) -> None:
    await post(control, PASSWORD.encode())

    ran = await linklocal("delete-password", INSTANCE.id, at=control)
    await post(control, b"Another.1")

    assert ran.status == 0
    got = await linklocal(
        "get-password", INSTANCE.id, "--private-key", private_key(tmp_path), at=control
    )
    assert got.out == "Another.1\n"
