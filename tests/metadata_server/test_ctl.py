"""The `linklocal` command as operators run it: a process of its own against a running server."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import os
import pty
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from metadata_server.ctl.discover import discover
from metadata_server.ctl.errors import UsageError
from metadata_server.instance import Instance, Key, Nic
from metadata_server.reset.policy import check

from .plane import REPOSITORY, TOKEN, Plane, linklocal, plane, start

PASSWORD = "Win.Passw0rd-é"
HASH = "$6$abcdefgh$" + "x" * 86
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
    nics=(
        Nic(
            mac="fa:16:3e:f7:c1:47",
            id="tap1",
            vif_id="v1",
            network_id="n1",
            ipv4=IPv4Address("192.168.1.10"),
        ),
    ),
)
BARE = Instance(id="bare", name="bare", hostname="bare", project_id="p")


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane(tmp_path, [INSTANCE, BARE]) as running:
        yield running


async def post(control: Plane, password: bytes, key: rsa.RSAPrivateKey = PRIVATE) -> None:
    """Post *password* as a guest does: encrypted to the public key it was given."""
    sealed = key.public_key().encrypt(password, padding.PKCS1v15())
    await control.mailbox.post(INSTANCE.id, base64.b64encode(sealed))


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


async def test_instances_as_a_table_and_as_json(control: Plane) -> None:
    table = await linklocal("instance", "list", at=control)
    document = await linklocal("instance", "list", "--json", at=control)

    assert table.status == 0
    lines = [line.split() for line in table.out.splitlines()]
    assert lines[0] == ["ID", "NAME", "OS", "ADDRESSES", "FLAVOR", "RESET", "DAEMON"]
    assert lines[1] == [
        INSTANCE.id,
        "ecs-ddd4",
        "Linux",
        "192.168.1.10",
        "s3.medium.2",
        "never",
    ]
    assert lines[2][3] == "-"
    assert [one["id"] for one in document.document["instances"]] == [INSTANCE.id, "bare"]


async def test_one_instance_for_people_and_for_programs(control: Plane) -> None:
    text = await linklocal("instance", "show", INSTANCE.id, at=control)
    document = await linklocal("--json", "instance", "show", INSTANCE.id, at=control)

    assert (text.status, text.err) == (0, "")
    assert "nics  " in text.out
    assert "fa:16:3e:f7:c1:47 192.168.1.10" in text.out
    assert "edkey (ssh-ed25519), mykey (ssh-rsa)" in text.out
    assert document.document["name"] == "ecs-ddd4"


async def test_an_unknown_instance_is_said_in_words(control: Plane) -> None:
    ran = await linklocal("instance", "show", "nope", at=control)

    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "linklocal: no such instance: 'nope'\n"


@pytest.mark.parametrize(
    "form",
    [
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.PrivateFormat.PKCS8,
        serialization.PrivateFormat.OpenSSH,
    ],
)
async def test_get_password_prints_what_the_guest_posted(
    control: Plane, tmp_path: Path, form: serialization.PrivateFormat
) -> None:
    await post(control, PASSWORD.encode())

    ran = await linklocal(
        "get-password", INSTANCE.id, "--private-key", private_key(tmp_path, form), at=control
    )

    assert (ran.status, ran.out, ran.err) == (0, PASSWORD + "\n", "")


async def test_get_password_reads_what_openssl_encrypted(control: Plane, tmp_path: Path) -> None:
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
    await control.mailbox.post(INSTANCE.id, base64.encodebytes(sealed))

    ran = await linklocal(
        "get-password", INSTANCE.id, "--private-key", private_key(tmp_path), "--json", at=control
    )

    assert ran.document == {"password": PASSWORD}


@pytest.mark.parametrize(
    "form", [serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8]
)
async def test_a_pass_phrase_is_asked_for(
    control: Plane, tmp_path: Path, form: serialization.PrivateFormat
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
    control: Plane, tmp_path: Path
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


async def test_get_password_when_there_is_none_or_nonsense(control: Plane, tmp_path: Path) -> None:
    get = ("get-password", INSTANCE.id, "--private-key", private_key(tmp_path))

    none = await linklocal(*get, at=control)
    await control.mailbox.post(INSTANCE.id, b"not base64!")
    nonsense = await linklocal(*get, at=control)
    await control.mailbox.clear(INSTANCE.id)
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
    control: Plane, tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)

    ran = await linklocal("get-password", INSTANCE.id, "--private-key", str(path), at=control)

    assert (ran.status, ran.out) == (1, "")
    assert words in ran.err
    assert "Traceback" not in ran.err


async def test_a_key_that_is_not_rsa_is_refused(control: Plane, tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = private_key(tmp_path, serialization.PrivateFormat.OpenSSH, key=key)

    ran = await linklocal("get-password", INSTANCE.id, "--private-key", name, at=control)

    assert ran.status == 1
    assert "expected an RSA key" in ran.err


async def test_delete_password_lets_the_guest_post_another(control: Plane, tmp_path: Path) -> None:
    await post(control, PASSWORD.encode())

    ran = await linklocal("delete-password", INSTANCE.id, at=control)
    await post(control, b"Another.1")

    assert ran.status == 0
    got = await linklocal(
        "get-password", INSTANCE.id, "--private-key", private_key(tmp_path), at=control
    )
    assert got.out == "Another.1\n"


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("--password-stdin",), b"Cloud.1234!\n"),
        (("--password-stdin",), b"Cloud.1234!"),
        (("--hash-stdin",), HASH.encode() + b"\n"),
    ],
)
async def test_a_reset_is_asked_from_stdin(
    control: Plane, arguments: tuple[str, ...], stdin: bytes
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


async def test_every_option_of_a_reset_reaches_the_engine(control: Plane) -> None:
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


async def test_a_generated_password_is_printed_once_and_alone(control: Plane) -> None:
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


async def test_nothing_is_printed_for_a_password_that_was_refused(control: Plane) -> None:
    ran = await linklocal("reset-password", "nope", "--generate", at=control)

    assert (ran.status, ran.out) == (1, "")


async def test_a_password_is_asked_for_twice(control: Plane) -> None:
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
    control: Plane, arguments: tuple[str, ...], stdin: bytes, words: str
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
    control: Plane, arguments: tuple[str, ...]
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
    control: Plane, stdin: bytes, words: str
) -> None:
    ran = await linklocal(
        "reset-password", INSTANCE.id, "--password-stdin", stdin=stdin, at=control
    )

    assert ran.status == 1
    assert words in ran.err
    assert stdin.decode() not in ran.err


async def test_wait_says_3_when_the_guest_has_not_answered(control: Plane) -> None:
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

    assert (ran.status, ran.document["state"]) == (3, "pending")
    assert later.status == 3
    assert at_once.status == 0


async def test_wait_ends_when_the_reset_does(control: Plane) -> None:
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


async def test_resets_are_listed(control: Plane) -> None:
    await linklocal("reset-password", INSTANCE.id, "--hash-stdin", stdin=HASH.encode(), at=control)

    table = await linklocal("reset-status", INSTANCE.id, at=control)
    document = await linklocal("reset-status", INSTANCE.id, "--json", at=control)

    assert table.out.splitlines()[0].split() == [
        *("REQUEST", "USER", "STATE", "CODE", "APPLY", "ASKED", "EXPIRES"),
    ]
    assert table.out.splitlines()[1].split()[1:4] == ["root", "pending", "-"]
    assert [one["state"] for one in document.document["requests"]] == ["pending"]


async def test_keys_of_the_daemon(control: Plane) -> None:
    token = await linklocal("reset-key", "token", INSTANCE.id, at=control)
    accept = await linklocal("reset-key", "accept", INSTANCE.id, "ab:cd", at=control)

    assert token.status == 0
    assert len(token.out.strip()) >= 20
    assert accept.status == 1
    assert "Traceback" not in accept.err


async def test_a_unix_socket_is_as_good_as_a_port(tmp_path: Path) -> None:
    async with plane(tmp_path, [INSTANCE], unix=True) as control:
        ran = await linklocal("instance", "list", at=control)

    assert control.url.startswith("unix:///")
    assert (ran.status, ran.err) == (0, "")
    assert INSTANCE.id in ran.out


async def test_tls_is_checked(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with plane(tmp_path, [INSTANCE], tls=context) as control:
        trusted = await linklocal("--ca-file", str(certificate), "instance", "list", at=control)
        strange = await linklocal("instance", "list", at=control)
        missing = await linklocal("instance", "list", "--ca-file", "/nope", at=control)

    assert (trusted.status, trusted.err) == (0, "")
    assert strange.status == 1
    assert "--ca-file" in strange.err
    assert missing.status == 64


async def test_the_server_is_found_in_this_users_session(control: Plane, tmp_path: Path) -> None:
    session = tmp_path / "run" / "linklocal"
    session.mkdir(parents=True, mode=0o700)
    (session / "control-url").write_text(control.url + "\n")
    (session / "control-token").touch(0o600)
    (session / "control-token").write_text(TOKEN + "\n")

    ran = await linklocal("instance", "list", environ={"XDG_RUNTIME_DIR": str(tmp_path / "run")})
    session.chmod(0o777)
    refused = await linklocal(
        "instance", "list", environ={"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    )

    assert (ran.status, ran.err) == (0, "")
    assert refused.status == 64
    assert "only this user may enter" in refused.err


def test_etc_is_the_last_place(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "none")}
    (tmp_path / "control-tokens").touch(0o600)
    (tmp_path / "control-tokens").write_text("# operators\n\nfirst\nsecond\n")

    found = discover(None, None, environ, etc=tmp_path)
    (tmp_path / "control-url").write_text("unix:///run/linklocal/control.sock\n")
    named = discover(None, None, environ, etc=tmp_path)
    told = discover("http://127.0.0.1:1", None, environ, etc=tmp_path)

    assert (found.url, found.token) == ("http://127.0.0.1:8774", "first")
    assert named.url == "unix:///run/linklocal/control.sock"
    assert told.url == "http://127.0.0.1:1"


def test_no_server_anywhere_says_what_to_do(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "none")}

    with pytest.raises(UsageError, match="start one with linklocal-server"):
        discover(None, None, environ, etc=tmp_path)
    with pytest.raises(UsageError, match="--token-file or LINKLOCAL_TOKEN_FILE"):
        discover("http://127.0.0.1:1", None, environ, etc=tmp_path)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (TOKEN, 0o604, "others can read this token (mode 0604); run: chmod 600"),
        (TOKEN, 0o644, "others can read this token"),
        (TOKEN, 0o602, "others can read this token"),
        ("", 0o600, "expected a token, found none"),
        ("# none\n", 0o600, "expected a token, found none"),
        ("é", 0o600, "not text"),
        (None, 0, "No such file or directory"),
    ],
)
async def test_a_bad_token_file_is_refused(
    control: Plane, tmp_path: Path, content: str | None, mode: int, words: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.touch(0o600)
        path.write_text(content)
        path.chmod(mode)

    ran = await linklocal("instance", "list", "--token-file", str(path), at=control)

    assert (ran.status, ran.out) == (64, "")
    assert words in ran.err


async def test_a_refused_token_is_named_by_its_file(control: Plane) -> None:
    control.token_file.write_text("wrong\n")

    ran = await linklocal("instance", "list", at=control)

    assert ran.status == 1
    assert str(control.token_file) in ran.err
    assert "refused" in ran.err
    assert "wrong" not in ran.err


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("http://10.0.0.5:8774", 64, "in the clear"),
        ("http://example.com", 64, "in the clear"),
        ("ftp://127.0.0.1", 64, "expected http://HOST:PORT"),
        ("127.0.0.1:8774", 64, "expected http://HOST:PORT"),
        ("unix://run/x", 64, "expected unix:///PATH"),
        ("http://me:secret@127.0.0.1:1", 64, "must not carry"),
        ("http://127.0.0.1:99999", 64, "99999"),
        ("unix:///nope/control.sock", 1, "is linklocal-server running?"),
    ],
)
async def test_a_url_that_cannot_be_is_said_in_words(
    control: Plane, url: str, status: int, words: str
) -> None:
    ran = await linklocal("--url", url, "instance", "list", at=control)

    assert (ran.status, ran.out) == (status, "")
    assert words in ran.err
    assert "secret" not in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "Remote end closed connection without response"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer as HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "the answer is not JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", "the answer broke off"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x\r\nContent-Length: 0\r\n\r\n", "status 302"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\n<html", "status 502"),
    ],
)
async def test_something_else_at_the_address_is_said_in_words(
    control: Plane, answer: bytes, words: str
) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        ran = await linklocal("--url", f"http://127.0.0.1:{port}", "instance", "list", at=control)

    assert (ran.status, ran.out) == (1, "")
    assert words in ran.err
    assert "Traceback" not in ran.err


async def test_a_server_that_is_gone_is_said_in_words(control: Plane) -> None:
    await control.runner.cleanup()

    ran = await linklocal("instance", "list", at=control)

    assert ran.status == 1
    assert control.url in ran.err
    assert "is linklocal-server running?" in ran.err


async def test_a_reader_that_goes_away_is_no_traceback(control: Plane) -> None:
    process = await start("instance", "list", at=control, stdin=asyncio.subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout._transport.close()  # type: ignore[attr-defined]  # a pipe closed by its reader
    assert process.stderr is not None
    err = await process.stderr.read()
    await process.wait()

    assert b"Traceback" not in err
    assert b"Exception" not in err


@pytest.mark.parametrize(
    "arguments", [(), ("nope",), ("instance",), ("instance", "nope"), ("get-password", "x")]
)
async def test_usage_is_64(arguments: tuple[str, ...]) -> None:
    ran = await linklocal(*arguments)

    assert (ran.status, ran.out) == (64, "")
    assert "usage: linklocal" in ran.err


def commands(words: tuple[str, ...] = ()) -> list[str]:
    """Return every sub-command as its own help lists them."""
    ran = subprocess.run(
        [sys.executable, "-m", "metadata_server.ctl", *words, "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    )
    _, found, listed = ran.stdout.partition("  COMMAND\n")
    if not found:
        return [" ".join(words)]
    names = [
        line.split()[0]
        for line in listed.partition("\n\n")[0].splitlines()
        if line.startswith("    ") and not line.startswith("     ")
    ]
    return [command for name in names for command in commands((*words, name))]


def test_every_command_is_in_the_documentation() -> None:
    text = (REPOSITORY / "docs" / "linklocal.md").read_text()

    found = commands()
    assert len(found) >= 10
    for command in found:
        assert f"### linklocal {command}" in text, command


def test_the_command_starts_without_the_servers_libraries() -> None:
    program = (
        "import sys; from metadata_server.ctl.cli import main\n"
        "try: main(['instance', 'list'])\n"
        "finally: print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={"LINKLOCAL_URL": "unix:///nope", "LINKLOCAL_TOKEN_FILE": "/dev/null"},
        capture_output=True,
        check=False,
        text=True,
    )

    loaded = set(ran.stdout.split())
    assert "argparse" in loaded
    assert not loaded & {"aiohttp", "asyncio", "cryptography", "yaml", "sqlite3", "passlib"}


async def at_terminal(control: Plane, *arguments: str, answers: list[str]) -> tuple[int, str]:
    """Run the command at a terminal where *answers* are typed; return its status and stdout."""
    ours, theirs = pty.openpty()
    try:
        process = await start(*arguments, at=control, stdin=theirs)
        assert process.stderr is not None
        for answer in answers:
            # The prompt comes after the echo was switched off and what was typed thrown away.
            await process.stderr.readuntil(b": ")
            os.write(ours, answer.encode() + b"\n")
        out, err = await process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    for answer in answers:
        assert answer.encode() not in err
    assert process.returncode is not None
    return process.returncode, out.decode()


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Write a certificate for localhost and its key; return their paths."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(OTHER.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(OTHER, hashes.SHA256())
    )
    path, key = directory / "tls.pem", directory / "tls.key"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        OTHER.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path, key
