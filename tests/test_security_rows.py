"""Mistakes that others have made in public: each row of docs/security.md names tests that exist.

Those that belong to no single part are here.
"""

from __future__ import annotations

import ast
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .agent.loopback import ok, replies, serving
from .conftest import Serve
from .guests.cases import status_of
from .guests.directory import DirectoryGuest

CHECKOUT = Path(__file__).resolve().parents[1]
PAGE = CHECKOUT / "docs/security.md"
INSTANCE = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"
NODE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
SOURCES = [
    path
    for package in ("agent", "metadata_server")
    for path in sorted((CHECKOUT / package).rglob("*.py"))
]


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((CHECKOUT / file).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_mistake_has_its_tests(row: list[str]) -> None:
    assert len(row) == 4, row
    named = NODE.findall(row[3])

    assert named or row[3] == "later"
    for file, name in named:
        assert name in functions_of(file), f"{file}::{name}"


def test_no_mistake_is_dropped() -> None:
    assert len(rows()) >= 29


# --- in the source --------------------------------------------------------------------------------

FORBIDDEN_IMPORTS = {"random", "pickle", "marshal", "shelve", "telnetlib", "commands"}
FORBIDDEN_CALLS = {
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("eval", "exec", "yaml.unsafe_load", "yaml.full_load", "tempfile.mktemp"),
    *("asyncio.create_subprocess_shell", "uuid.uuid1"),
}
# A user's own Python, which is what a part handler is, in a process of its own.
ALLOWED_CALLS = {("agent/handler_child.py", "exec")}


def misuses(source: str, file: str = "") -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name.partition(".")[0]
                if name in FORBIDDEN_IMPORTS:
                    yield f"line {node.lineno}: import {alias.name}"
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            if (node.module or "").partition(".")[0] in FORBIDDEN_IMPORTS:
                yield f"line {node.lineno}: from {node.module}"
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in FORBIDDEN_CALLS and (file, called) not in ALLOWED_CALLS:
                yield f"line {node.lineno}: {called}"
            for keyword in node.keywords:
                asked = keyword.arg == "shell" and called.startswith(("subprocess.", "Popen"))
                if asked and ast.unparse(keyword.value) != "False":
                    yield f"line {node.lineno}: shell={ast.unparse(keyword.value)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_no_module_uses_what_has_gone_wrong_elsewhere(path: Path) -> None:
    assert list(misuses(path.read_text(), str(path.relative_to(CHECKOUT)))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import random",
        "from random import choice",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import os\nos.system('ls')",
        "eval('1')",
    ],
)
def test_what_has_gone_wrong_elsewhere_is_recognised(source: str) -> None:
    assert list(misuses(source))


# --- what the agent does on the network -----------------------------------------------------------

# Tells, on stderr, of each use of the network before it happens.
TELLTALE = """\
import runpy, sys
def hook(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        sys.stderr.write(f"AUDIT {event} {arguments[1:]!r}\\n")
sys.addaudithook(hook)
sys.argv = ["linklocal-agent", *sys.argv[1:]]
runpy.run_module("agent", run_name="__main__", alter_sys=True)
"""


def audited(
    *argv: str, env: Mapping[str, str] | None = None
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", TELLTALE, *argv],
        cwd=CHECKOUT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done, re.findall("^AUDIT (.*)$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    "facts",
    [
        {},
        # Machines that are none of the clouds that are known.
        {"/sys/class/dmi/id/product_name": "KVM", "/sys/class/dmi/id/sys_vendor": "QEMU"},
        {"/sys/class/dmi/id/chassis_asset_tag": "openstack"},
        {"/proc/cmdline": "root=/dev/vda1 datasource=openstack"},
        {"/proc/device-tree/compatible": "qemu,pseries"},
    ],
)
def test_without_an_identity_no_socket_is_opened(
    guest_root: DirectoryGuest, command: str, facts: dict[str, str]
) -> None:
    for path, text in facts.items():
        guest_root.write(path, text.encode())

    done, uses = audited(command, "--root", str(guest_root.root))

    assert uses == []
    assert done.returncode == 0
    assert "no datasource" in done.stdout


class Proxy(BaseHTTPRequestHandler):
    """Takes every request, and notes it."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(502)

    def do_PUT(self) -> None:
        self.do_GET()

    def do_CONNECT(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *values: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Noting", (Proxy,), {"asked": asked})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("datasource", ["openstack", "ec2"])
def test_the_service_is_asked_without_dns_and_proxies(
    serve: Serve, guest_root: DirectoryGuest, proxy: tuple[str, list[str]], datasource: str
) -> None:
    url = serve({"id": INSTANCE, "user_data": "#cloud-config\nhostname: x\n"}).guest_url
    proxy_url, asked = proxy
    names = ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")

    done, uses = audited(
        *("run", "--root", str(guest_root.root)),
        *("--metadata-url", url, "--datasource", datasource),
        env={**dict.fromkeys(names, proxy_url), "no_proxy": ""},
    )

    port = urlsplit(url).port
    assert done.returncode == 0, done
    assert status_of(guest_root)["datasource"] == datasource
    assert asked == []
    kinds = {use.split()[0] for use in uses}
    assert "socket.connect" in kinds
    assert kinds <= {"socket.__new__", "socket.connect"}, uses
    for use in uses:
        if use.startswith("socket.connect"):
            assert f"('127.0.0.1', {port})" in use


def test_a_redirect_leads_nowhere(guest_root: DirectoryGuest) -> None:
    moved = b"HTTP/1.1 301 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
    meta_data = ok(json.dumps({"uuid": INSTANCE}).encode())
    with (
        serving(replies(*[meta_data] * 9)) as elsewhere,
        serving(replies(*[moved % f"{elsewhere}/".encode()] * 9)) as url,
    ):
        done, uses = audited("run", "--root", str(guest_root.root), "--metadata-url", url)

    assert done.returncode == 1
    assert "which is not followed" in done.stdout
    assert not [use for use in uses if f", {urlsplit(elsewhere).port})" in use]


# --- the server -----------------------------------------------------------------------------------


def test_the_access_log_has_neither_query_nor_headers(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    url = urlsplit(serve({"id": INSTANCE}, log={"access": True}).guest_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port)
    secret = dict.fromkeys(("X-aws-ec2-metadata-token", "Referer", "User-Agent"), "CANARY")

    with caplog.at_level("INFO"):
        for path, headers in (
            ("/latest/meta-data/?token=CANARY", {}),
            ("/latest/meta-data/instance-id", secret),
            ("/latest/%0aforged%1b[31m", {}),
            # The line of a request is there when the next one is answered.
            ("/", {}),
        ):
            connection.request("GET", path, headers=headers)
            connection.getresponse().read()
        connection.close()

    lines = [each.getMessage() for each in caplog.records if each.name == "linklocal.access"]
    assert len(lines) >= 3
    first, second = (json.loads(line) for line in lines[:2])
    assert (first["address"], first["instance"]) == ("127.0.0.1", INSTANCE)
    assert (first["method"], first["path"], first["status"]) == ("GET", "/latest/meta-data/", 200)
    assert first["bytes"] > 0 < first["seconds"]
    assert second["status"] == 401
    assert not any("CANARY" in line for line in lines)
    assert all(line.isprintable() for line in lines)


# --- no shell -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["x;touch {0}", "x`touch {0}`", "$(touch {0})", "x\ntouch {0}", "x:0:0::/:/bin/sh", "|{0}"],
)
def test_what_a_shell_would_run_is_text_here(
    serve: Serve, guest_root: DirectoryGuest, tmp_path: Path, text: str
) -> None:
    mark = tmp_path / "ran"
    text = text.format(mark)
    config = {
        "hostname": text,
        "timezone": text,
        "users": [{"name": text}, {"name": "alice", "gecos": text, "shell": text}],
        "groups": [text],
        "chpasswd": {"users": [{"name": text, "password": "$6$a$b"}], "expire": False},
        "ssh_authorized_keys": [text],
        "write_files": [{"path": text, "owner": text, "content": text}],
    }
    url = serve({"id": INSTANCE, "user_data": f"#cloud-config\n{json.dumps(config)}"}).guest_url

    audited("run", "--root", str(guest_root.root), "--metadata-url", url)

    assert not mark.exists()
    assert status_of(guest_root)["degraded"]
    assert all(line.count(":") == 6 for line in guest_root.text("/etc/passwd").splitlines())
    assert all(line.count(":") == 8 for line in guest_root.text("/etc/shadow").splitlines())
    assert guest_root.field("/etc/passwd", "x", 2) is None


@pytest.mark.parametrize("name", ["linklocal-resetd", "linklocal-server"])
def test_the_daemons_memory_is_dumped_nowhere(name: str) -> None:
    unit = (CHECKOUT / f"systemd/{name}.service").read_text().splitlines()

    assert "LimitCORE=0" in unit
    assert name != "linklocal-resetd" or "MemorySwapMax=0" in unit


def test_no_unit_opens_a_socket_that_others_may_write_to() -> None:
    for path in (CHECKOUT / "systemd").glob("*.socket"):
        lines = path.read_text().splitlines()
        files = [line for line in lines if re.match(r"Listen\w+=[/@]", line)]
        assert not files or "SocketMode=0600" in lines, path.name
