"""Resets end to end: the real server on a socket, the real daemon on a root of its own.

The daemon's chpasswd and chage are the machine's, confined to that root. Nothing here touches the
accounts of the machine that runs the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from metadata_server.config import load
from metadata_server.reset.hashing import hash_password
from metadata_server.reset.requests import ResetRequest
from metadata_server.secret import Secret
from metadata_server.server import Server, running

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("chpasswd") is None,
    reason="needs root and chpasswd",
)

REPOSITORY = Path(__file__).parents[1]
ID = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"
OLD = "$6$oldsalt$" + "a" * 86
PASSWD = """\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
debian:x:1000:1000::/home/debian:/bin/bash
locked:x:1001:1001::/home/locked:/bin/bash
other:x:1002:1002::/home/other:/bin/bash
"""
SHADOW = f"""\
root:*:19000:0:99999:7:::
daemon:*:19000:0:99999:7:::
debian:{OLD}:19000:0:99999:7:::
locked:!{OLD}:19000:0:99999:7:::
other:{OLD}:19000:0:99999:7:::
"""
AGENT = {"reset_password": {"users": ["root", "debian", "locked", "nobody-here"]}}

LOOK = """
import os, sys
from agent.errors import HostError
from agent.reset_password.private import PrivateDirectory
# The directories of a test are closed to others; only the owner is looked at here.
os.chdir(sys.argv[1]), os.seteuid(65534)
try:
    PrivateDirectory(".")
except HostError as error:
    print(str(error).replace(".:", sys.argv[1] + ":", 1))
"""


class Machine:
    """A guest's root, and the daemon that runs on it."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        (directory / "etc/linklocal").mkdir(parents=True)
        (directory / "etc/passwd").write_text(PASSWD)
        (directory / "etc/shadow").touch(0o640)
        (directory / "etc/shadow").write_text(SHADOW)
        self.configure(AGENT)
        (directory / "console").touch()
        self.log = b""
        self.prepare = ":"
        """What a shell does before the live daemon starts in this guest's place."""
        self.python = sys.executable
        self.process: asyncio.subprocess.Process | None = None

    def configure(self, agent: dict[str, Any]) -> None:
        (self.root / "etc/linklocal/agent.yaml").write_text(json.dumps(agent))

    @property
    def state(self) -> Path:
        return self.root / "var/lib/linklocal/resetd"

    @property
    def run(self) -> Path:
        return self.root / "run/linklocal"

    @property
    def shadow(self) -> dict[str, list[str]]:
        lines = (self.root / "etc/shadow").read_text().splitlines()
        return {line.split(":")[0]: line.split(":")[1:] for line in lines}

    def reboot(self) -> None:
        shutil.rmtree(self.root / "run")

    async def command(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str]:
        argv = [sys.executable, "-m", "agent.reset_password", *arguments]
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=REPOSITORY, stdin=-1, stdout=-1, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await asyncio.wait_for(process.communicate(stdin), 30)
        return process.returncode or 0, output.decode()

    @contextlib.asynccontextmanager
    async def daemon(
        self, url: str, *, wait_ready: bool = True, live: bool = False
    ) -> AsyncIterator[None]:
        """Run the daemon inside the block; ready means what systemd would be told."""
        name = self.root / "notify"
        name.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(str(name))
            told.setblocking(False)
            self.process = await asyncio.create_subprocess_exec(
                *(self.in_its_place() if live else ()),
                self.python,
                "-m",
                "agent.reset_password",
                *("--state-dir", str(self.state), "--run-dir", str(self.run)),
                *(() if live else ("--root", str(self.root))),
                "--metadata-url",
                url,
                "--console",
                str(self.root / "console"),
                cwd=REPOSITORY,
                env={**os.environ, "NOTIFY_SOCKET": str(name)},
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            try:
                if wait_ready:
                    loop = asyncio.get_running_loop()
                    assert await asyncio.wait_for(loop.sock_recv(told, 100), 30) == b"READY=1"
                yield
            finally:
                await self.stop()

    def in_its_place(self) -> tuple[str, ...]:
        """Return how a program is run with this guest's /etc in the place of the machine's."""
        etc = self.root / "etc"
        for name in ("login.defs", "nsswitch.conf", "ld.so.cache", "group"):
            if Path("/etc", name).exists():
                shutil.copy(Path("/etc", name), etc / name)
        script = f'mount --bind "{etc}" /etc; {self.prepare}; exec "$@"'
        return ("unshare", "--mount", "--propagation=private", "sh", "-ec", script, "sh")

    def resident(self) -> float:
        """Return the memory that the daemon has, in MiB."""
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(x.split()[1]) for x in text.splitlines() if "VmRSS" in x) / 1024

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            os.killpg(self.process.pid, how)
        _, log = await asyncio.wait_for(self.process.communicate(), 30)
        self.log += log or b""
        return self.process.returncode or 0

    def contents(self) -> bytes:
        """Return all that the daemon left, but the account files."""
        files = [path for path in self.root.rglob("*") if path.is_file()]
        return self.log + b"".join(
            path.read_bytes() for path in files if not path.name.startswith(("shadow", "passwd"))
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


Start = Callable[..., contextlib.AbstractAsyncContextManager[Server]]


@pytest.fixture
def server(tmp_path: Path) -> Start:
    def start(state: str = "state", port: int = 0, **reset: Any) -> Any:
        path = tmp_path / f"{state}.yaml"
        path.touch(0o600)
        one = {
            "id": ID,
            "identify": {"addresses": ["127.0.0.1"]},
            "reset_password": reset,
        }
        written = {
            "listen": [f"127.0.0.1:{port}"],
            "control": {"listen": "127.0.0.1:0"},
            "state": str(tmp_path / state),
            "instances": [one],
        }
        path.write_text(json.dumps(written))
        return running(load(path))

    return start


async def ask(server: Server, user: str = "root", **options: Any) -> tuple[ResetRequest, Secret]:
    made = await hash_password(Secret(b"correct horse"), rounds=1000)
    instance = server.catalog.by_id(ID)
    assert instance is not None
    return await server.engine.ask(instance, user, made, **options), made


async def ended(server: Server, request: ResetRequest) -> ResetRequest:
    found = await server.engine.wait(request.id, 30)
    assert found.is_final, found
    return found


async def test_a_reset_reaches_the_shadow_file_and_nothing_else(
    machine: Machine, server: Start
) -> None:
    async with server() as at, machine.daemon(at.guest_url):
        before = machine.shadow
        groups = sorted(path.name for path in (machine.root / "etc").iterdir())
        asked, made = await ask(at)
        done = await ended(at, asked)
        status = await machine.command("status", "--root", str(machine.root), "--json")
    after = machine.shadow

    assert (done.state, done.code) == ("applied", "")
    assert after["root"][0] == made.reveal().decode()
    assert {user: after[user] for user in after if user != "root"} == {
        user: before[user] for user in before if user != "root"
    }
    new = {path.name for path in (machine.root / "etc").iterdir()} - set(groups)
    assert new <= {"shadow-", ".pwd.lock"}
    shown = json.loads(status[1])
    assert (shown["running"], shown["state"], shown["reset"]) == (True, "enrolled", asked.id)
    assert shown["fingerprint"].encode() in (machine.root / "console").read_bytes()
    # The canary: the hash is where it belongs and nowhere else.
    assert made.reveal() not in machine.contents()


async def test_what_the_daemon_keeps_is_for_root_alone(machine: Machine, server: Start) -> None:
    old = os.umask(0)
    try:
        async with server() as at, machine.daemon(at.guest_url):
            asked, _ = await ask(at)
            await ended(at, asked)
            modes = {
                path.name: stat.S_IMODE(path.stat().st_mode)
                for directory in (machine.state, machine.run)
                for path in directory.iterdir()
            }
    finally:
        os.umask(old)

    assert set(modes) == {
        "identity.json",
        "server.json",
        "resets.json",
        "resetd-boot.json",
        "resetd.json",
        "resetd.lock",
        "resetd.sock",
    }
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(machine.state.stat().st_mode) == 0o700
    assert stat.S_IMODE(machine.run.stat().st_mode) == 0o755


async def test_asked_while_the_guest_is_off_it_is_done_before_the_daemon_is_ready(
    machine: Machine, server: Start
) -> None:
    async with server() as at:
        asked, made = await ask(at, apply="boot")
        async with machine.daemon(at.guest_url):
            assert machine.shadow["root"][0] == made.reveal().decode()
            done = at.engine.request(asked.id)
            assert done is not None
            assert done.state in ("delivered", "applied")
            assert (await ended(at, asked)).state == "applied"


async def test_boot_waits_for_the_next_boot(machine: Machine, server: Start) -> None:
    async with server() as at:
        async with machine.daemon(at.guest_url):
            asked, made = await ask(at, apply="boot")
        async with machine.daemon(at.guest_url):
            assert machine.shadow["root"][0] == "*"
        machine.reboot()
        async with machine.daemon(at.guest_url):
            assert machine.shadow["root"][0] == made.reveal().decode()
            assert (await ended(at, asked)).state == "applied"
        enrolment = at.engine.enrolment(ID)
        assert enrolment is not None
        assert enrolment.candidate is None


@pytest.mark.parametrize(
    ("user", "options", "state", "code"),
    [
        ("debian", {}, "applied", ""),
        ("debian", {"expire": True}, "applied", ""),
        ("locked", {}, "rejected", "locked"),
        ("locked", {"unlock": True}, "applied", ""),
        ("nobody-here", {}, "rejected", "no-such-user"),
        ("other", {}, "rejected", "user-not-allowed"),
        ("daemon", {}, "rejected", "user-not-allowed"),
    ],
)
async def test_every_end_has_its_word(
    machine: Machine, server: Start, user: str, options: dict[str, Any], state: str, code: str
) -> None:
    before = machine.shadow
    async with server() as at, machine.daemon(at.guest_url):
        asked, made = await ask(at, user, **options)
        done = await ended(at, asked)

    assert (done.state, done.code) == (state, code)
    if state == "applied":
        assert machine.shadow[user][0] == made.reveal().decode()
        assert (machine.shadow[user][1] == "0") == options.get("expire", False)
    else:
        assert machine.shadow == before


async def test_without_a_configuration_root_and_the_images_user_may_be_reset(
    machine: Machine, server: Start
) -> None:
    (machine.root / "etc/linklocal/agent.yaml").unlink()
    (machine.root / "etc/os-release").write_text('ID="debian"\n')
    async with server() as at, machine.daemon(at.guest_url):
        for user, state in (("root", "applied"), ("debian", "applied"), ("other", "rejected")):
            asked, _ = await ask(at, user)
            assert (await ended(at, asked)).state == state


async def _marked(machine: Machine) -> None:
    """Return once the daemon has written that it begins a reset."""
    path = machine.state / "resets.json"
    for _ in range(1000):
        if path.exists() and '"result": ""' in path.read_text():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the daemon never began")


@contextlib.contextmanager
def account_lock(machine: Machine) -> Any:
    """Hold the lock that chpasswd needs, as another account program would."""
    with open(machine.root / "etc/.pwd.lock", "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


async def test_killed_between_mark_and_chpasswd_it_is_applied_once_after_all(
    machine: Machine, server: Start
) -> None:
    async with server() as at:
        with account_lock(machine):
            async with machine.daemon(at.guest_url):
                asked, made = await ask(at)
                await _marked(machine)
                await machine.stop(signal.SIGKILL)
            assert machine.shadow["root"][0] == "*"
        async with machine.daemon(at.guest_url):
            done = await ended(at, asked)

    assert done.state == "applied"
    assert machine.shadow["root"][0] == made.reveal().decode()


async def test_killed_and_changed_meanwhile_it_is_not_undone(
    machine: Machine, server: Start
) -> None:
    own = "$6$mine$" + "m" * 86
    async with server() as at:
        with account_lock(machine):
            async with machine.daemon(at.guest_url):
                asked, _ = await ask(at)
                await _marked(machine)
                await machine.stop(signal.SIGKILL)
        path = machine.root / "etc/shadow"
        path.write_text(path.read_text().replace("root:*:", f"root:{own}:"))
        machine.reboot()
        async with machine.daemon(at.guest_url):
            done = await ended(at, asked)

    assert (done.state, done.code) == ("rejected", "changed-since")
    assert machine.shadow["root"][0] == own


async def test_a_server_that_went_away_in_between_gets_its_acknowledgement(
    machine: Machine, server: Start
) -> None:
    async with server() as at:
        port = int(at.guest_url.rpartition(":")[2].rstrip("/"))
        with account_lock(machine):
            async with machine.daemon(at.guest_url):
                asked, made = await ask(at)
                await _marked(machine)
                await machine.stop(signal.SIGKILL)
    async with server(port=port) as at, machine.daemon(at.guest_url):
        done = await ended(at, asked)

    assert done.state == "applied"
    assert machine.shadow["root"][0] == made.reveal().decode()


class ServerProcess:
    """The server as a process of its own, to be killed, and its control plane."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "process.yaml"
        self.log = directory / "process.log"
        self.tokens = directory / "tokens"
        self.tokens.touch(0o600)
        self.tokens.write_text("operator-token-of-the-tests-0123456789\n")
        self.written: dict[str, Any] = {
            "listen": ["127.0.0.1:0"],
            "control": {"listen": "127.0.0.1:0", "tokens_file": str(self.tokens)},
            "state": str(directory / "process-state"),
            "instances": [{"id": ID, "identify": {"addresses": ["127.0.0.1"]}}],
        }

    async def start(self) -> None:
        self.config.touch(0o600)
        self.config.write_text(json.dumps(self.written))
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "metadata_server",
                "--config",
                str(self.config),
                cwd=REPOSITORY,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        lines = [await asyncio.wait_for(self.process.stdout.readline(), 30) for _ in range(2)]
        assert all(lines), self.log.read_text()[-2000:]
        self.guest_url, self.control_url = [line.split()[-1].decode() for line in lines]
        # It comes back where its guests know it.
        self.written["listen"] = [self.guest_url.removeprefix("http://").rstrip("/")]

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # It did not even start.
            self.process.kill()
        await self.process.communicate()

    async def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        headers = {"Authorization": "Bearer operator-token-of-the-tests-0123456789"}
        url = f"{self.control_url.rstrip('/')}/linklocal/v1/instances/{ID}/reset-password{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, json=body, headers=headers) as answer,
        ):
            assert answer.status < 300, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found


async def test_a_killed_server_keeps_what_it_acknowledged(machine: Machine, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    one = (await hash_password(Secret(b"one"), rounds=1000)).reveal().decode()
    two = (await hash_password(Secret(b"two"), rounds=1000)).reveal().decode()
    await server.start()
    try:
        async with machine.daemon(server.guest_url):
            first = await server.call("POST", "", {"user": "root", "hash": one})
            first = await server.call("GET", f"/{first['id']}?wait=30")
        second = await server.call("POST", "", {"user": "root", "hash": two})
        await server.kill()
        await server.start()
        kept = await server.call("GET", f"/{first['id']}")
        waits = await server.call("GET", f"/{second['id']}")
        set_by_first = machine.shadow["root"][0]
        async with machine.daemon(server.guest_url):
            second = await server.call("GET", f"/{second['id']}?wait=30")
    finally:
        await server.kill()

    assert (first["state"], kept["state"], kept["finished"]) == (
        "applied",
        "applied",
        first["finished"],
    )
    assert (waits["state"], second["state"]) == ("pending", "applied")
    assert set_by_first == one
    assert machine.shadow["root"][0] == two
    state = Path(server.written["state"])
    assert not any(two.encode() in path.read_bytes() for path in state.iterdir())


async def test_a_daemon_survives_its_server(machine: Machine, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    made = (await hash_password(Secret(b"one"), rounds=1000)).reveal().decode()
    await server.start()
    try:
        async with machine.daemon(server.guest_url):
            await server.kill()
            await _said(machine, "unreachable")
            await server.start()
            asked = await server.call("POST", "", {"user": "root", "hash": made})
            asked = await server.call("GET", f"/{asked['id']}?wait=30")
    finally:
        await server.kill()

    assert asked["state"] == "applied"
    assert machine.shadow["root"][0] == made


async def test_another_server_key_is_refused_until_it_is_trusted(
    machine: Machine, server: Start
) -> None:
    async with server() as at, machine.daemon(at.guest_url):
        asked, _ = await ask(at)
        await ended(at, asked)
    pinned = json.loads((machine.state / "server.json").read_text())["server"]
    before = machine.shadow
    async with server("another") as at:
        asked, made = await ask(at)
        async with machine.daemon(at.guest_url, wait_ready=False):
            await _said(machine, "server-changed")
        assert at.engine.enrolment(ID) is None
        assert machine.shadow == before

        status, _ = await machine.command(
            "trust", at.engine.server_key, "--root", str(machine.root)
        )
        async with machine.daemon(at.guest_url):
            done = await ended(at, asked)

    assert status == 0
    assert pinned != at.engine.server_key
    assert done.state == "applied"
    assert machine.shadow["root"][0] == made.reveal().decode()


async def _said(machine: Machine, state: str) -> None:
    path = machine.run / "resetd.json"
    for _ in range(1000):
        if path.exists() and json.loads(path.read_text()).get("state") == state:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"the daemon never said {state}")


async def test_a_configured_server_key_is_the_only_one(machine: Machine, server: Start) -> None:
    machine.configure({"reset_password": {"server_key": "07" * 32}})
    async with server() as at:
        async with machine.daemon(at.guest_url, wait_ready=False):
            await _said(machine, "server-changed")
        assert at.engine.enrolment(ID) is None

        machine.configure({"reset_password": {"server_key": at.engine.server_key}})
        async with machine.daemon(at.guest_url):
            asked, _ = await ask(at)
            assert (await ended(at, asked)).state == "applied"


async def test_a_token_from_a_file_of_roots_enrols(machine: Machine, server: Start) -> None:
    name = machine.root / "etc/linklocal/token"
    machine.configure({"reset_password": {"token_file": str(name)}})
    async with server(proof="token") as at:
        token = await at.engine.enrol_token(ID)
        name.touch(0o600)
        name.write_bytes(token.reveal() + b"\n")
        async with machine.daemon(at.guest_url):
            asked, _ = await ask(at)
            assert (await ended(at, asked)).state == "applied"


async def test_a_second_daemon_does_not_start(machine: Machine, server: Start) -> None:
    async with server() as at, machine.daemon(at.guest_url):
        status, words = await machine.command(
            "run", "--root", str(machine.root), "--metadata-url", at.guest_url
        )

    assert status == 1
    assert "another daemon is running" in words


async def test_an_identity_that_waits_for_the_operator_is_not_told_at_every_try(
    machine: Machine, server: Start
) -> None:
    async with server() as at:
        async with machine.daemon(at.guest_url):
            pass
        shutil.rmtree(machine.state)
        (machine.root / "console").write_text("")
        async with machine.daemon(at.guest_url):
            # Whoever asks it has it try again at once.
            for _ in range(3):
                await machine.command("history", "--root", str(machine.root))

    assert "identity-conflict" in machine.log.decode()
    assert (machine.root / "console").read_text().count("this guest's identity is") == 1


@pytest.mark.parametrize(
    ("refusal", "body"),
    [
        ("404 Not Found", b"<html>nothing here</html>"),
        ("401 Unauthorized", b""),
        ("405 Method Not Allowed", b""),
        ("409 Conflict", b'{"error": "identity-conflict"}'),
    ],
)
async def test_logins_do_not_wait_where_the_service_has_no_resets_for_this_guest(
    machine: Machine, refusal: str, body: bytes
) -> None:
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        asked.append(path)
        instance = path == "/openstack/latest/meta_data.json"
        head, content = (
            ("200 OK", json.dumps({"uuid": ID}).encode()) if instance else (refusal, body)
        )
        writer.write(f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n".encode() + content)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as cloud:
        port = cloud.sockets[0].getsockname()[1]
        async with machine.daemon(f"http://127.0.0.1:{port}"):
            tries = asked.count("/linklocal/v1/reset-password/challenge")

    assert tries == 1
    assert f"challenge: refused with status {refusal[:3]}" in machine.log.decode()


async def test_a_look_at_the_status_leaves_nothing_behind(machine: Machine) -> None:
    looked = await machine.command("status", "--root", str(machine.root))
    assert not machine.run.exists()
    machine.run.mkdir(parents=True)
    again = await machine.command("status", "--root", str(machine.root))

    assert looked == again == (1, "running: False\n")
    assert list(machine.run.iterdir()) == []
    assert not machine.state.exists()


async def test_who_is_not_root_is_told_so(machine: Machine) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to be another user")
    machine.run.mkdir(parents=True)
    # The whole way down must be open to the other user, whose directory is not the test's.
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(machine.run)], cwd=REPOSITORY, capture_output=True
    )

    assert done.stdout.decode() == f"{machine.run}: only root may look into it\n"


async def test_sigterm_ends_it_at_once_and_cleanly(machine: Machine, server: Start) -> None:
    async with server() as at, machine.daemon(at.guest_url):
        status = await machine.stop(signal.SIGTERM)
        shown, words = await machine.command("status", "--root", str(machine.root))

    assert status == 0
    assert shown == 1
    assert "running: False" in words


async def test_the_restart_that_was_asked_for_comes_after_the_acknowledgement(
    machine: Machine, server: Start
) -> None:
    mark = machine.root / "restarted"
    machine.configure({"reset_password": {"restart_command": ["touch", str(mark)]}})
    async with server() as at, machine.daemon(at.guest_url):
        asked, _ = await ask(at, restart=True)
        await ended(at, asked)
        for _ in range(1000):
            if mark.exists():
                break
            await asyncio.sleep(0.01)

    assert mark.exists()


async def test_a_service_without_resets_does_not_hold_up_the_boot(
    machine: Machine, server: Start
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        async with machine.daemon(url):
            await _said(machine, "unreachable")
        assert await machine.stop() == 0


async def test_the_live_machine_is_changed_by_its_own_chpasswd(
    machine: Machine, server: Start
) -> None:
    """In a mount namespace in which /etc is the guest's; the machine's own is not to change."""
    machine.python = _distributions_python()
    machines_own = hashlib.sha256(Path("/etc/shadow").read_bytes()).digest()
    before = machine.shadow

    async with server() as at, machine.daemon(at.guest_url, live=True):
        asked, made = await ask(at, expire=True)
        done = await ended(at, asked)
        small = machine.resident()

    assert (done.state, done.code) == ("applied", "")
    assert machine.shadow["root"][:2] == [made.reveal().decode(), "0"]
    assert machine.shadow["debian"] == before["debian"]
    assert hashlib.sha256(Path("/etc/shadow").read_bytes()).digest() == machines_own
    # A wheel of cryptography brings an OpenSSL of its own besides the interpreter's.
    assert small < (26 if machine.python == DISTRIBUTION else 30)


@pytest.mark.parametrize(
    ("user", "text", "status", "words"),
    [
        ("root", OLD, 0, "is set"),
        ("root", "secret", 1, "expected one complete crypt(3) hash"),
        ("root", OLD + "\nevil:" + OLD, 1, "expected one complete crypt(3) hash"),
        ("root:x\nevil", OLD, 1, "no such user"),
        ("absent", OLD, 1, "no such user"),
        ("", OLD, 1, "no such user"),
    ],
)
async def test_an_image_is_given_a_password_by_its_hash(
    machine: Machine, user: str, text: str, status: int, words: str
) -> None:
    got, said = await machine.command(
        "set", "--root", str(machine.root), "--user", user, stdin=text.encode()
    )

    assert got == status
    assert words in said
    assert OLD not in said
    assert (machine.shadow["root"][0] == OLD) == (status == 0)


async def test_without_root_a_directory_is_edited_directly(machine: Machine) -> None:
    nobody = 65534
    for path in [machine.root, *machine.root.rglob("*")]:
        os.chown(path, nobody, nobody)
    for parent in machine.root.parents:
        if str(parent).startswith(tempfile.gettempdir() + "/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    process = await asyncio.create_subprocess_exec(
        _distributions_python(),
        *("-m", "agent.reset_password", "set", "--root", str(machine.root), "--user", "root"),
        cwd=REPOSITORY,
        user=nobody,
        group=nobody,
        stdin=-1,
        stdout=-1,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(OLD.encode())

    assert process.returncode == 0, said
    assert machine.shadow["root"][0] == OLD
    assert machine.shadow["debian"] == SHADOW.splitlines()[2].split(":")[1:]


DISTRIBUTION = "/usr/bin/python3"


def _distributions_python() -> str:
    if Path(DISTRIBUTION).exists():
        probe = subprocess.run([DISTRIBUTION, "-c", "import cryptography, yaml"], check=False)
        if probe.returncode == 0:
            return DISTRIBUTION
    return sys.executable
