"""linklocal-server as a process: how it starts, reloads and stops, and what it refuses."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from metadata_server.config import Control, ServerConfig
from metadata_server.config_values import Listen
from metadata_server.example import EXAMPLE_ID
from metadata_server.instance import Identify, Instance
from metadata_server.server import running

CHECKOUT = Path(__file__).resolve().parents[2]
ANY_PORT = ("--listen", "127.0.0.1:0", "--control", "127.0.0.1:0")
TOKEN = "0123456789abcdef0123"
SECONDS = 30


class Process:
    """A server as systemd would run it: it is told where to say that it is ready."""

    def __init__(self, home: Path, *arguments: str, umask: int = 0o077) -> None:
        self.home = home
        for name in ("run", "tmp"):
            (home / name).mkdir(mode=0o700, exist_ok=True)
        notify = home / "notify"
        notify.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(notify))
        self._notify.settimeout(SECONDS)
        self._log = (home / "log").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "metadata_server", *arguments],
            cwd=CHECKOUT,
            env=environment(home) | {"NOTIFY_SOCKET": str(notify)},
            stdout=subprocess.PIPE,
            stderr=self._log,
            umask=umask,
            text=True,
        )
        self.lines: list[str] = []
        self.guest_urls: list[str] = []
        self.control_url = ""

    def __enter__(self) -> Process:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("ready: guests at "):
                self.guest_urls.append(line.split()[-1])
            if line.startswith("ready: control at "):
                self.control_url = line.split()[-1]
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()
        self._notify.close()
        self._log.close()

    def wait_for(self, state: str) -> None:
        """Wait until the server tells its service manager *state*."""
        while state not in self._notify.recv(4096).decode().split("\n"):
            pass

    def stop(self, *signals: int) -> int:
        for number in signals or (signal.SIGTERM,):
            self.process.send_signal(number)
        assert self.process.stdout is not None
        self.lines += self.process.stdout.read().splitlines()
        return self.process.wait(SECONDS)

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    def get(self, path: str, host: int = 0) -> str:
        return fetch(self.guest_urls[host] + path)


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "STATE_DIRECTORY"}
    return kept | {"XDG_RUNTIME_DIR": str(home / "run"), "TMPDIR": str(home / "tmp")}


def fetch(url: str, token: str | None = None, context: ssl.SSLContext | None = None) -> str:
    headers = {"X-Auth-Token": token} if token else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  # our own server
    with urllib.request.urlopen(request, timeout=SECONDS, context=context) as answer:  # noqa: S310
        body: bytes = answer.read()
        return body.decode()


def status_of(url: str) -> int:
    try:
        fetch(url)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    return 200


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "metadata_server", *arguments],
        cwd=CHECKOUT,
        env=environment(home) | {"TMPDIR": str(home)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """A configuration with one instance that answers anyone, on free ports."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o600)
    path = tmp_path / "server.yaml"
    path.write_text(
        "listen: ['127.0.0.1:0']\n"
        "control: {listen: '127.0.0.1:0', tokens_file: tokens}\n"
        "state: state\n"
        "instances: [{id: one, flavor: small, identify: {default: true}}]\n"
    )
    return path


def test_without_a_configuration_the_example_is_served_and_nothing_stays(tmp_path: Path) -> None:
    with Process(tmp_path, *ANY_PORT) as server:
        server.wait_for("READY=1")
        meta_data = json.loads(server.get("/openstack/latest/meta_data.json"))
        runtime = tmp_path / "run/linklocal"
        url = (runtime / "control-url").read_text().strip()
        token = (runtime / "control-token").read_text().strip()
        listed = json.loads(fetch(f"{url}/linklocal/v1/instances", token))
        status = server.stop()

    assert meta_data["uuid"] == EXAMPLE_ID
    assert url == server.control_url
    assert EXAMPLE_ID in json.dumps(listed)
    assert status == 0
    assert f"try: curl {server.guest_urls[0]}/openstack/latest/meta_data.json" in server.lines
    assert list((tmp_path / "run").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_whatever_the_umask_is_only_its_user_can_read_what_it_writes(tmp_path: Path) -> None:
    with Process(tmp_path, *ANY_PORT, umask=0) as server:
        server.wait_for("READY=1")
        written = [*(tmp_path / "run").rglob("*"), *(tmp_path / "tmp").rglob("*")]
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in written}

    assert modes["linklocal"] == 0o700
    assert modes["control-token"] == modes["control-url"] == 0o600
    assert {mode for mode in modes.values() if mode & 0o077} == set(), modes


def test_a_runtime_directory_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/linklocal").mkdir()
    (tmp_path / "run/linklocal").chmod(0o777)

    ended = run(tmp_path, *ANY_PORT)

    assert ended.returncode == 1
    assert "others may enter it, expected mode 0700" in ended.stderr


def test_a_configuration_is_served_with_its_own_tokens(configured: Path, tmp_path: Path) -> None:
    with Process(tmp_path, "--config", str(configured)) as server:
        listed = fetch(f"{server.control_url}/linklocal/v1/instances", TOKEN)
        refused = status_of(f"{server.control_url}/linklocal/v1/instances")
        flavor = server.get("/latest/meta-data/instance-type")
        status = server.stop()

    assert '"one"' in listed
    assert (refused, flavor, status) == (401, "small", 0)
    assert not (tmp_path / "run/linklocal").exists()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert "try:" not in "\n".join(server.lines)


def test_a_reload_serves_the_new_file(configured: Path, tmp_path: Path) -> None:
    with Process(tmp_path, "--config", str(configured)) as server:
        server.wait_for("READY=1")
        before = server.get("/latest/meta-data/instance-type")
        configured.write_text(configured.read_text().replace("small", "large"))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("READY=1")
        after = server.get("/latest/meta-data/instance-type")

    assert (before, after) == ("small", "large")


def test_a_broken_file_leaves_the_old_one_serving_and_says_why(
    configured: Path, tmp_path: Path
) -> None:
    good = configured.read_text()
    with Process(tmp_path, "--config", str(configured)) as server:
        server.wait_for("READY=1")
        configured.write_text(good.replace("small", "large").replace("default: true", "defualt: 1"))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("READY=1")
        flavor = server.get("/latest/meta-data/instance-type")
        status = server.stop()

    assert (flavor, status) == ("small", 0)
    assert (
        f"{configured}:4: instances[0].identify: unknown key 'defualt', nearest is 'default'"
        in server.log
    )


def test_a_reload_names_what_only_a_new_start_changes(configured: Path, tmp_path: Path) -> None:
    with Process(tmp_path, "--config", str(configured)) as server:
        server.wait_for("READY=1")
        configured.write_text(configured.read_text() + "hosts: [metadata.example]\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("READY=1")
        server.stop()

    assert "hosts changed: that takes effect when the server is started again" in server.log


def test_a_change_that_was_taken_back_needs_no_new_start(configured: Path, tmp_path: Path) -> None:
    good = configured.read_text()
    with Process(tmp_path, "--config", str(configured)) as server:
        server.wait_for("READY=1")
        for text in (good + "hosts: [metadata.example]\n", good):
            configured.write_text(text)
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("READY=1")
        server.stop()

    assert server.log.count("hosts changed: that takes effect") == 1


def test_a_reader_may_close_the_schema_early() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "metadata_server", "--print-schema"], stdout=-1, stderr=-1
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()

    assert (process.returncode, said) == (1, b"")


def test_a_reload_takes_new_tokens(configured: Path, tmp_path: Path) -> None:
    with Process(tmp_path, "--config", str(configured)) as server:
        server.wait_for("READY=1")
        (tmp_path / "tokens").write_text("another-token-of-the-operators\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("READY=1")
        listed = fetch(
            f"{server.control_url}/linklocal/v1/instances", "another-token-of-the-operators"
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(f"{server.control_url}/linklocal/v1/instances", TOKEN)
        refused.value.close()

    assert '"one"' in listed
    assert refused.value.code == 401


def slow_request(server: Process) -> http.client.HTTPConnection:
    """Return a connection with a request under way whose body never comes."""
    parts = urlsplit(server.guest_urls[0])
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=SECONDS)
    connection.putrequest("POST", "/openstack/latest/password")
    connection.putheader("Content-Length", "10")
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    return connection


def test_idle_connections_do_not_hold_up_the_end(configured: Path, tmp_path: Path) -> None:
    with Process(tmp_path, "--config", str(configured)) as server:
        parts = urlsplit(server.guest_urls[0])
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/latest/meta-data/instance-id")
            connection.getresponse().read()
            server.process.send_signal(signal.SIGTERM)
            status = server.process.wait(5)

    assert status == 0


def test_a_long_poll_is_answered_when_the_server_stops(configured: Path, tmp_path: Path) -> None:
    headers = {"X-Auth-Token": TOKEN, "Content-Type": "application/json"}
    asked = json.dumps({"user": "root", "hash": "$6$saltsalt$" + "a" * 86})
    path = "/linklocal/v1/instances/one/reset-password"
    with Process(tmp_path, "--config", str(configured)) as server:
        parts = urlsplit(server.control_url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("POST", path, asked, headers)
            request = json.loads(connection.getresponse().read())
            connection.request("GET", f"{path}/{request['id']}?wait=60", headers=headers)
            fetch(f"{server.control_url}/healthz")
            server.process.send_signal(signal.SIGTERM)
            answer = json.loads(connection.getresponse().read())
            status = server.process.wait(5)

    assert answer["state"] == "pending"
    assert status == 0


def test_a_second_signal_stops_at_once(configured: Path, tmp_path: Path) -> None:
    with (
        Process(tmp_path, "--config", str(configured)) as server,
        contextlib.closing(slow_request(server)),
    ):
        server.get("/latest/meta-data/instance-id")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("STOPPING=1")
        server.process.send_signal(signal.SIGTERM)
        status = server.process.wait(5)

    assert status == 1
    assert "stopped at once by a second signal" in server.log


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--listen", "203.0.113.7:0"),
            "listen 203.0.113.7:0: 203.0.113.7 is not an address of this host;"
            " add it with: ip addr add 203.0.113.7/32 dev lo",
        ),
        (
            ("--listen", "[2001:db8::7]:0"),
            "ip addr add 2001:db8::7/128 dev lo",
        ),
        (
            ("--listen", "203.0.113.7%nosuch0:0"),
            "expected an interface of this host, there is no 'nosuch0'",
        ),
        (
            ("--control", "0.0.0.0:0"),
            "control.listen: 0.0.0.0:0 would carry passwords in the clear",
        ),
        (("--control", "[::]:0"), "control.listen: [::]:0 would carry passwords in the clear"),
        (("--config", "/nonexistent.yaml"), "/nonexistent.yaml: No such file or directory"),
        (("--instance", "/nonexistent.yaml"), "/nonexistent.yaml: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_would_help(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    ended = run(tmp_path, *ANY_PORT, *arguments)

    assert ended.returncode == 1
    assert said in ended.stderr
    assert ended.stdout == ""


def test_an_address_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ended = run(tmp_path, "--listen", address, "--control", "127.0.0.1:0")

    assert ended.returncode == 1
    assert ended.stderr == f"listen {address}: another program listens there already\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--listen", "metadata:80"),
        ("--listen", "127.0.0.1"),
        ("--listen", "::1:80"),
        ("--control", "localhost"),
        ("--nonsense",),
        ("extra",),
    ],
)
def test_bad_usage_is_64(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = run(tmp_path, *arguments)

    assert ended.returncode == 64
    assert "linklocal-server: " in ended.stderr


def test_check_config_says_everything_that_is_wrong(configured: Path, tmp_path: Path) -> None:
    good = run(tmp_path, "--config", str(configured), "--check-config")
    configured.write_text("wrokers: 2\nlog: {level: loud}\n")
    bad = run(tmp_path, "--config", str(configured), "--check-config")

    assert (good.returncode, good.stdout) == (0, "no mistakes, 1 instance\n")
    assert bad.returncode == 1
    assert bad.stderr.splitlines() == [
        f"{configured}:1: unknown key 'wrokers', nearest is 'workers'",
        f"{configured}:2: log.level: expected debug or info or warning or error, got 'loud'",
    ]


def test_print_schema_prints_json(tmp_path: Path) -> None:
    ended = run(tmp_path, "--print-schema")

    assert ended.returncode == 0
    assert "instances" in json.loads(ended.stdout)["properties"]


def test_version_is_printed(tmp_path: Path) -> None:
    ended = run(tmp_path, "--version")

    assert ended.returncode == 0
    assert re.match(r"linklocal-server \S", ended.stdout)


def test_an_instance_file_is_served_in_place_of_the_example(tmp_path: Path) -> None:
    path = tmp_path / "vm1.yaml"
    path.write_text("id: vm1\nidentify: {addresses: [127.0.0.1]}\n")

    with Process(tmp_path, *ANY_PORT, "--instance", str(path)) as server:
        meta_data = json.loads(server.get("/openstack/latest/meta_data.json"))

    assert meta_data["uuid"] == "vm1"


def test_the_control_plane_may_be_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    arguments = ("--listen", "127.0.0.1:0", "--control", f"unix:{path}")
    with Process(tmp_path, *arguments) as server:
        mode = stat.S_IMODE(path.stat().st_mode)
        server.process.kill()
        server.process.wait()
    with Process(tmp_path, *arguments) as server, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(str(path))
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer = client.recv(4096)

    assert mode == 0o600
    assert server.control_url == f"unix:{path}"
    assert b" 200 " in answer.split(b"\r\n")[0]


def test_two_servers_do_not_share_a_state(configured: Path, tmp_path: Path) -> None:
    with Process(tmp_path, "--config", str(configured)):
        ended = run(tmp_path, "--config", str(configured))

    assert ended.returncode == 1
    assert ended.stderr == f"state {tmp_path / 'state'}: another server is using it\n"


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[[], ssl.SSLContext]:
    """Write cert.pem and key.pem for 127.0.0.1; give a context that trusts them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "linklocal")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (tmp_path / "key.pem").chmod(0o600)
    return lambda: ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))


def test_with_tls_the_control_plane_may_be_anywhere(
    configured: Path, tmp_path: Path, certificate: Callable[[], ssl.SSLContext]
) -> None:
    text = configured.read_text().replace("listen: '127.0.0.1:0'", "listen: '0.0.0.0:0'")
    configured.write_text(text + "tls: {certificate: cert.pem, key: key.pem}\n")

    with Process(tmp_path, "--config", str(configured)) as server:
        url = f"https://127.0.0.1:{urlsplit(server.control_url).port}"
        listed = fetch(f"{url}/linklocal/v1/instances", TOKEN, certificate())

    assert server.control_url.startswith("https://0.0.0.0:")
    assert '"one"' in listed


async def test_a_listener_on_an_interface_tells_its_guests_apart() -> None:
    loopback = ip_address("127.0.0.1")
    base = Instance(id="plain", name="plain", hostname="plain", project_id="p")
    config = ServerConfig(
        listen=(Listen(loopback, 0, "lo"), Listen(loopback, 0)),
        control=Control(Listen(loopback, 0)),
        instances=(replace(base, id="on-lo", identify=Identify(interface="lo")),),
    )

    async with running(config) as server, ClientSession() as client:
        statuses = []
        for url in server.guest_urls:
            async with client.get(f"{url}/latest/meta-data/instance-id") as answer:
                statuses.append(answer.status)

    assert statuses == [200, 404]


async def test_a_running_server_takes_the_token_that_it_says() -> None:
    loopback = ip_address("127.0.0.1")
    config = ServerConfig(listen=(Listen(loopback, 0),), control=Control(Listen(loopback, 0)))

    async with running(config) as server, ClientSession() as client:
        headers = {"Authorization": f"Bearer {server.token}"}
        url = f"{server.control_url}/linklocal/v1/instances"
        async with client.get(url, headers=headers) as answer:
            assert answer.status == 200
