"""The `linklocal` command as operators run it: a process of its own against a running server."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from metadata_server.config import Tls
from metadata_server.ctl.cli import GROUPS, make_parser
from metadata_server.ctl.discover import discover
from metadata_server.ctl.errors import UsageError
from metadata_server.ctl.parser import Parser
from metadata_server.instance import Instance, Key, Nic

from .commands import REPOSITORY, TOKEN, Served, linklocal, served, start

INSTANCE = Instance(
    id="ca9e8b7c-f2be-4b6d-a639-f10b4d994d04",
    name="ecs-ddd4",
    hostname="ecs-ddd4.novalocal",
    project_id="p",
    keys=(Key("edkey", "ssh-ed25519 AAAAC3Nza me"), Key("mykey", "ssh-rsa AAAAB3Nza me")),
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
async def control(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, INSTANCE, BARE) as running:
        yield running


async def test_instances_as_a_table_and_as_json(control: Served) -> None:
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


async def test_one_instance_for_people_and_for_programs(control: Served) -> None:
    text = await linklocal("instance", "show", INSTANCE.id, at=control)
    document = await linklocal("--json", "instance", "show", INSTANCE.id, at=control)

    assert (text.status, text.err) == (0, "")
    assert "nics  " in text.out
    assert "fa:16:3e:f7:c1:47 192.168.1.10" in text.out
    assert "edkey (ssh-ed25519), mykey (ssh-rsa)" in text.out
    assert document.document["name"] == "ecs-ddd4"


async def test_an_unknown_instance_is_said_in_words(control: Served) -> None:
    ran = await linklocal("instance", "show", "nope", at=control)

    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "linklocal: no such instance: 'nope'\n"


async def test_a_unix_socket_is_as_good_as_a_port(tmp_path: Path) -> None:
    async with served(tmp_path, INSTANCE, unix=True) as control:
        ran = await linklocal("instance", "list", at=control)

    assert control.url.startswith("unix:/")
    assert (ran.status, ran.err) == (0, "")
    assert INSTANCE.id in ran.out


# Python 3.10 leaves the transport of a refused handshake to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_tls_is_checked(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    async with served(tmp_path, INSTANCE, tls=Tls(certificate, key)) as control:
        trusted = await linklocal("--ca-file", str(certificate), "instance", "list", at=control)
        strange = await linklocal("instance", "list", at=control)
        missing = await linklocal("instance", "list", "--ca-file", "/nope", at=control)

    assert (trusted.status, trusted.err) == (0, "")
    assert strange.status == 1
    assert "--ca-file" in strange.err
    assert missing.status == 64


async def test_the_server_is_found_in_this_users_session(control: Served, tmp_path: Path) -> None:
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
    control: Served, tmp_path: Path, content: str | None, mode: int, words: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.touch(0o600)
        path.write_text(content)
        path.chmod(mode)

    ran = await linklocal("instance", "list", "--token-file", str(path), at=control)

    assert (ran.status, ran.out) == (64, "")
    assert words in ran.err


async def test_a_refused_token_is_named_by_its_file(control: Served) -> None:
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
    control: Served, url: str, status: int, words: str
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
    control: Served, answer: bytes, words: str
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


async def test_a_server_that_is_gone_is_said_in_words(tmp_path: Path) -> None:
    async with served(tmp_path, INSTANCE) as control:
        pass

    ran = await linklocal("instance", "list", at=control)

    assert ran.status == 1
    assert control.url in ran.err
    assert "is linklocal-server running?" in ran.err


async def test_a_reader_that_goes_away_is_no_traceback(control: Served) -> None:
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


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Write a certificate for localhost and its key; return their paths."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    private = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    path, key = directory / "tls.pem", directory / "tls.key"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    key.chmod(0o600)
    return path, key


async def test_the_guests_address_is_not_taken_for_the_control_plane(control: Served) -> None:
    ran = await linklocal(
        "--url", control.guest_url, "--token-file", str(control.token_file), "instance", "list"
    )

    assert ran.status == 1
    assert "is this the control address, or the guests'?" in ran.err


def test_output_that_cannot_be_written_is_a_failure() -> None:
    argv = [sys.executable, "-m", "metadata_server.ctl", "completion", "bash"]
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            argv, cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )

    assert (ran.returncode, ran.stderr) == (1, b"linklocal: [Errno 28] No space left on device\n")


def test_each_command_comes_with_its_group_alone() -> None:
    whole = _commands(make_parser())

    assert [name for names in GROUPS.values() for name in names] == [*whole][:-1]
    assert [*whole][-1] == "completion"
    for names in GROUPS.values():
        for name in names:
            assert _commands(make_parser(name)) == {each: whole[each] for each in names}


def _commands(parser: Parser) -> dict[str, str]:
    """Return the help of each command."""
    return {
        name: command.format_help()
        for action in parser._actions  # argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction)
        for name, command in action.choices.items()
    }


@pytest.mark.parametrize("words", ["instance list", "reset-status one", "journal", "state --help"])
def test_what_is_not_needed_is_not_imported(tmp_path: Path, words: str) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    # Without site, for an editable installation imports things of its own at every start.
    argv = [sys.executable, "-S", "-v", "-m", "metadata_server.ctl", *words.split()]
    with socket.socket() as closed:
        # Bound and not listening: whoever connects is refused.
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = subprocess.run(
            argv,
            cwd=REPOSITORY,
            env={"LINKLOCAL_URL": url, "LINKLOCAL_TOKEN_FILE": str(token)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    imported = set(re.findall(r"^import '([^']+)'", done.stderr, re.MULTILINE))
    group = {"state": "state", "journal": "journal", "reset-status": "reset"}
    at = f"metadata_server.ctl.{group.get(words.split()[0], 'instance')}"
    assert at in imported
    never = {"subprocess", "yaml", "aiohttp", "cryptography", "dataclasses", "logging", "uuid"}
    assert imported.isdisjoint({*never, "metadata_server.ctl.net", "metadata_server.config"})
    if "--help" in words:
        assert imported.isdisjoint({"socket", "ssl", "http.client"})
    else:
        assert "is linklocal-server running?" in done.stderr
