"""How a new instance lets its owner in: password, key pair, or later; keys in all their forms."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from metadata_server.config import load
from metadata_server.errors import ConfigError

from ..conftest import Serve
from .commands import linklocal, served
from .dialects import GOOD, ID, ONE, as_guest, call
from .guest_side import BARE

HASH = "$6$linklocalsalt01$" + "Aa./" * 21 + "zz"
SCRIPT = f"#!/bin/sh\necho 'root:{HASH}' | chpasswd -e\n"
PATHS = ("/openstack/latest/user_data", "/latest/user-data")


@pytest.mark.parametrize(
    ("settings", "user_data"),
    [
        ({"login_mode": "password", "password_hash": HASH}, SCRIPT),
        ({"login_mode": "password", "password_hash": HASH, "os_type": "Windows"}, None),
        ({"login_mode": "later"}, None),
        ({}, None),
        ({"login_mode": "later", "user_data": "#!/bin/sh\n"}, "#!/bin/sh\n"),
    ],
)
def test_what_a_login_mode_serves(
    serve: Serve, settings: dict[str, Any], user_data: str | None
) -> None:
    server = serve({**ONE, **settings})

    for path in PATHS:
        status, body = as_guest(server, path)
        assert (status, body.decode() if status == 200 else None) == (
            200 if user_data else 404,
            user_data,
        )
    # Operators are told neither the hash nor the script.
    shown = json.dumps(call(server, "GET", f"/linklocal/v1/instances/{ID}")[1])
    assert HASH not in shown


def test_a_server_created_with_a_password_gets_the_script(serve: Serve) -> None:
    server = serve(ONE, hashing={"sha512": 1000})
    nic = [{"fixed_ip": "127.0.0.1"}]
    body = {"name": "new", "adminPass": GOOD, "networks": nic}

    _, made, _ = call(server, "POST", "/v2.1/p/servers", {"server": body})

    found = as_guest(server, PATHS[0])[1].decode()
    assert made["server"]["id"]
    assert found.startswith("#!/bin/sh\necho 'root:$6$rounds=1000$")
    assert GOOD not in found


def test_the_password_of_a_login_mode_is_fixed_as_user_data_is(serve: Serve) -> None:
    server = serve({**ONE, "login_mode": "password", "password_hash": HASH})
    other = {"password_hash": HASH.replace("salt01", "salt02")}
    path = f"/linklocal/v1/instances/{ID}"

    refused = call(server, "PATCH", path, other)
    forced = call(server, "PATCH", path + "?force=true", other)

    assert (refused[0], forced[0]) == (409, 200)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"login_mode": "password", "user_data": "#!/bin/sh"}, "no user data on Linux"),
        ({"login_mode": "keypair"}, "expected a key in keys"),
        ({"password_hash": HASH}, "expected login_mode: password"),
        ({"login_mode": "password", "password_hash": "$6$x"}, "a complete crypt(3) hash"),
    ],
)
def test_what_does_not_fit_a_login_mode_is_refused(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    path = tmp_path / "server.yaml"
    path.touch(0o600)
    path.write_text(json.dumps({"instances": [{"id": "a", **settings}]}))

    with pytest.raises(ConfigError) as refused:
        load(path)

    assert words in str(refused.value)
    assert HASH not in str(refused.value)


def line(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return text.decode()


def rsa_line(bits: int) -> str:
    return line(rsa.generate_private_key(public_exponent=65537, key_size=bits))


SSH2 = """\
---- BEGIN SSH2 PUBLIC KEY ----
Comment: "rsa-key-20240411"
AAAAB3NzaC1yc2EAAAADAQABAAABAQC
---- END SSH2 PUBLIC KEY ----
"""


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (rsa_line(1024), None),
        (rsa_line(2048), None),
        (rsa_line(4096), None),
        (line(ec.generate_private_key(ec.SECP256R1())), None),
        (line(ec.generate_private_key(ec.SECP521R1())), None),
        (line(ed25519.Ed25519PrivateKey.generate()), None),
        (SSH2, "Public key for pasting"),
        ("PuTTY-User-Key-File-3: ssh-rsa\n", "a private key, which stays with you, in PuTTY's"),
        ("-----BEGIN PUBLIC KEY-----\nMIIB\n", "ssh-keygen -i -m PKCS8"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n", "a private key, which stays with you"),
        (rsa_line(2048)[:-40], "got one that is cut off"),
        ("no key at all", "expected an OpenSSH public key"),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_a_key_is_imported_or_refused_with_the_way_out(
    tmp_path: Path, key: str, words: str | None
) -> None:
    file = tmp_path / "key"
    file.write_text(key + " me@here\n" if words is None else key)

    done = await linklocal("keypair", "import", "mine", str(file), "--json")

    if words is None:
        assert done.document["public_key"] == f"{key} me@here"
    else:
        assert done.status == 1
        assert words in done.err


async def put_on(tmp_path: Path, *words: str) -> tuple[Any, Any]:
    async with served(tmp_path, BARE) as control:
        done = await linklocal("keypair", *words, "--instance", BARE.id, at=control)
        again = await linklocal("keypair", *words, "--instance", BARE.id, at=control)
        shown = await linklocal("instance", "show", BARE.id, "--json", at=control)
        assert again.status != 0
        return done, shown.document["keys"]


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
async def test_a_made_private_key_is_handed_out_once(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "mine.pem"
    words = ("create", "mine", "--type", kind, "--private-key", str(file))

    done, keys = await put_on(tmp_path, *words)

    assert (done.status, done.out) == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    public = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(file)], capture_output=True, text=True, check=True
    ).stdout.split()
    (key,) = keys
    assert key["name"] == "mine"
    assert key["public_key"].split() == [*public[:2], "mine"]
    secret = file.read_bytes().splitlines()[1]
    for path in (tmp_path / "state").iterdir():
        assert secret not in path.read_bytes()


async def test_without_a_file_the_private_key_is_alone_on_stdout(tmp_path: Path) -> None:
    done, _ = await put_on(tmp_path, "create", "mine")

    assert done.out.startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    assert done.out.endswith("-----END RSA PRIVATE KEY-----\n")


async def test_no_key_is_made_when_one_instance_is_not_known(tmp_path: Path) -> None:
    file = tmp_path / "mine.pem"

    done, keys = await put_on(
        tmp_path, "create", "mine", "--private-key", str(file), "--instance", "nobody"
    )

    assert (done.status, done.out, keys) == (1, "", [])
    assert "no such instance: 'nobody'" in done.err
    assert not file.exists()
