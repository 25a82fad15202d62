"""Signatures of identity documents: verified as a guest's own tools do it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from metadata_server.errors import ServerError
from metadata_server.identity import NAME, Identity
from metadata_server.store import Store

from .commands import linklocal, served
from .guest_side import BARE, FULL, listening

HERE = "/latest/dynamic/instance-identity/"

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state")
    yield made
    made.close()


def openssl(directory: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *words], cwd=directory, capture_output=True, check=False)


@needs_openssl
async def test_openssl_verifies_every_form(tmp_path: Path) -> None:
    async with listening(FULL) as side:
        document = (await side.ask(HERE + "document")).body
        found = {
            form: (await side.ask(HERE + form)).body for form in ("signature", "pkcs7", "rsa2048")
        }
        (tmp_path / "certificate").write_text(Identity(side.store).certificate)
    (tmp_path / "document").write_bytes(document)
    (tmp_path / "signature").write_bytes(base64.b64decode(found["signature"]))

    key = openssl(tmp_path, "x509", "-pubkey", "-noout", "-in", "certificate")
    (tmp_path / "key").write_bytes(key.stdout)
    check = ("dgst", "-sha256", "-verify", "key", "-signature", "signature", "document")
    assert openssl(tmp_path, *check).stdout == b"Verified OK\n"
    for form in ("pkcs7", "rsa2048"):
        framed = b"-----BEGIN PKCS7-----\n%s\n-----END PKCS7-----\n" % found[form]
        (tmp_path / form).write_bytes(framed)
        words = ("smime", "-verify", "-inform", "PEM", "-in", form, "-certfile", "certificate")
        verified = openssl(tmp_path, *words, "-noverify")
        assert (verified.returncode, verified.stdout) == (0, document), verified.stderr
    (tmp_path / "document").write_bytes(document.replace(b"cn-north-4", b"cn-north-5"))
    assert openssl(tmp_path, *check).returncode != 0


async def test_the_document_says_when_the_instance_was_launched() -> None:
    async with listening(BARE, launched=lambda _: 1_700_000_000) as side:
        document = json.loads((await side.ask(HERE + "document")).body)

    assert document["pendingTime"] == "2023-11-14T22:13:20Z"


async def test_the_key_and_the_launch_time_outlive_the_server(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        async with served(tmp_path, FULL) as running:
            printed = await linklocal("identity", "certificate", at=running)
            _, document = await running.guest("GET", HERE + "document")
            seen.append((printed.out, json.loads(document)["pendingTime"]))

    assert seen[0] == seen[1]
    assert "BEGIN CERTIFICATE" in seen[0][0]
    assert datetime.strptime(seen[0][1], "%Y-%m-%dT%H:%M:%SZ")


def test_the_key_is_nobody_elses(store: Store) -> None:
    certificate = Identity(store).certificate

    assert (store.directory / NAME).stat().st_mode & 0o777 == 0o600
    assert Identity(store).certificate == certificate


@pytest.mark.parametrize("content", [b"", b"not a key", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_damaged_key_is_an_error_that_says_where(store: Store, content: bytes) -> None:
    path = store.directory / NAME
    path.touch(0o600)
    path.write_bytes(content)

    with pytest.raises(ServerError, match=r"identity\.pem: expected a key and its certificate"):
        Identity(store).prepare()
