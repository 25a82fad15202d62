"""The daemon's control channel: who may ask what, and that no caller holds anything up."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.errors import HostError
from agent.reset_password.channel import AUTO, HIGHEST, LOWEST, PIPE, Channel, NoDaemon, ask
from agent.reset_password.private import PrivateDirectory


class Served:
    """A channel that is served by a thread, as the daemon serves it while it waits."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.path = directory / "run"
        self.run = PrivateDirectory(str(self.path), mode=0o755)
        self.asked: list[tuple[str, Mapping[str, Any], bool]] = []
        self.channel = Channel(self.run, kind, self._answer)
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _answer(self, what: str, asked: Mapping[str, Any], is_root: bool) -> Mapping[str, Any]:
        self.asked.append((what, asked, is_root))
        if what == "refuse":
            raise HostError("refused in words")
        return {"did": what}

    def _serve(self) -> None:
        while not self.channel.wait(self._ended.fileno(), select.POLLIN, 60):
            pass

    def close(self) -> None:
        self._end.close()
        self._thread.join(10)
        self._ended.close()
        self.channel.close()

    @property
    def port(self) -> int:
        return int((self.path / "resetd.port").read_text())


@pytest.fixture(params=[PIPE, AUTO])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path, request.param)
    yield made
    made.close()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path, AUTO)
    yield made
    made.close()


def test_root_is_answered(served: Served) -> None:
    assert ask(served.run, "status") == {"did": "status"}
    assert ask(served.run, "set", user="root") == {"did": "set"}
    assert served.asked == [("status", {}, True), ("set", {"user": "root"}, True)]


def test_a_refusal_comes_in_words(served: Served) -> None:
    with pytest.raises(HostError, match="refused in words"):
        ask(served.run, "refuse")


def test_what_the_channel_keeps_is_for_root_alone(served: Served) -> None:
    found = {path.name: path.stat().st_mode for path in served.path.iterdir()}

    assert set(found) in ({"resetd.sock"}, {"resetd.cookie", "resetd.port"})
    assert {stat.S_IMODE(mode) for mode in found.values()} == {0o600}


def test_pipe_takes_no_port(tmp_path: Path) -> None:
    before = listening()
    made = Served(tmp_path, PIPE)
    during = listening()
    made.close()

    assert during <= before


def listening() -> set[str]:
    """Return the inodes of this process's sockets that listen on a port."""
    tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    lines = [line.split() for line in tables.splitlines() if ":" in line]
    inodes = {f"socket:[{fields[9]}]" for fields in lines if fields[3] == "0A"}
    own = {os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    return inodes & own


def test_auto_takes_the_lowest_idle_port_of_loopback(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = Served(tmp_path / "one", AUTO)
    second = Served(tmp_path / "two", AUTO)
    ports = first.port, second.port
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", first.port))
    first.close()
    second.close()

    assert LOWEST <= ports[0] < ports[1] <= HIGHEST


class Raw:
    """A caller that writes what it likes."""

    def __init__(self, port: int) -> None:
        self.link = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.lines = self.link.makefile("rb")
        self.nonce = bytes.fromhex(json.loads(self.lines.readline())["nonce"])

    def say(self, line: bytes) -> bytes:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.link.sendall(line)
        try:
            return self.lines.readline()
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self.lines.close()
        self.link.close()


def whole(do: str, mac: str | None = None) -> bytes:
    asked = {"question": json.dumps({"do": do})}
    return json.dumps(asked if mac is None else {**asked, "mac": mac}).encode() + b"\n"


@pytest.mark.parametrize("mac", [None, "", "00" * 32, "é", "x" * 64])
@pytest.mark.parametrize("do", ["history", "trust", "set"])
def test_without_the_cookie_a_port_tells_the_status_and_no_more(
    port: Served, do: str, mac: str | None
) -> None:
    caller = Raw(port.port)
    refused = caller.say(whole(do, mac))
    caller.close()
    other = Raw(port.port)
    told = other.say(whole("status", mac))
    other.close()

    assert json.loads(refused) == {"error": "only root may ask that"}
    assert json.loads(told) == {"did": "status"}
    assert port.asked == [("status", {}, False)]


def test_a_recorded_question_is_not_taken_again(port: Served) -> None:
    """The proof is for one connection: its nonce is fresh, and the cookie never travels."""
    import hmac

    cookie = bytes.fromhex((port.path / "resetd.cookie").read_text())
    question = json.dumps({"do": "history"}).encode()
    first = Raw(port.port)
    mac = hmac.digest(cookie, first.nonce + question, "sha256").hex()
    taken = first.say(whole("history", mac))
    first.close()
    second = Raw(port.port)
    replayed = second.say(whole("history", mac))
    bent = Raw(port.port)
    mac = hmac.digest(cookie, bent.nonce + question, "sha256").hex()
    changed = bent.say(whole("set", mac))
    for caller in (second, bent):
        caller.close()

    assert json.loads(taken) == {"did": "history"}
    assert "error" in json.loads(replayed)
    assert "error" in json.loads(changed)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b'{"question": 7}\n',
        b'{"question": "x"}\n',
        b'{"question": "[]"}\n',
        b'{"question": "{}"}\n',
        b'{"question": "{\\"do\\": 7}"}\n',
        b"\xff\xfe\n",
        b"[" * 4000 + b"\n",
    ],
)
def test_what_is_no_question_is_said_to_be_none(port: Served, line: bytes) -> None:
    caller = Raw(port.port)
    answer = caller.say(line)
    caller.close()

    assert "error" in json.loads(answer)
    assert ask(port.run, "status") == {"did": "status"}


def test_an_endless_question_is_cut_off(port: Served) -> None:
    caller = Raw(port.port)
    answer = caller.say(b"x" * 1_000_000)
    caller.close()

    assert answer == b""
    assert ask(port.run, "status") == {"did": "status"}


def test_callers_that_say_nothing_keep_nobody_out(port: Served) -> None:
    silent = [Raw(port.port) for _ in range(40)]
    began = time.monotonic()
    answer = ask(port.run, "status")
    took = time.monotonic() - began
    for caller in silent:
        caller.close()

    assert answer == {"did": "status"}
    assert took < 2


def test_a_daemon_that_is_gone_is_no_daemon(tmp_path: Path) -> None:
    made = Served(tmp_path, PIPE)
    made.close()
    left = list(made.path.iterdir())

    with pytest.raises(NoDaemon):
        ask(made.run, "status")
    assert left == []


@pytest.mark.parametrize(
    "says", [b"", b'{"error": "x"}\n', b'{"proof": "00"}\n', b'{"proof": 7}\n']
)
def test_who_took_the_port_of_a_dead_daemon_learns_nothing(tmp_path: Path, says: bytes) -> None:
    run = PrivateDirectory(str(tmp_path / "run"), mode=0o755)
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        run.write("resetd.port", str(listener.getsockname()[1]).encode())
        run.write("resetd.cookie", b"5a" * 32)

        def impostor() -> None:
            link, _ = listener.accept()
            with link, contextlib.suppress(OSError):
                link.settimeout(10)
                link.sendall(json.dumps({"nonce": "00" * 16}).encode() + b"\n")
                heard.append(link.recv(65536))
                link.sendall(says)
                heard.append(link.recv(65536) if says else b"")

        thread = threading.Thread(target=impostor)
        thread.start()
        with pytest.raises(NoDaemon):
            ask(run, "set", user="root", hash="$6$secret")
        thread.join(15)

    assert b"secret" not in b"".join(heard)
    assert b'"prove"' in heard[0]


def test_what_a_killed_daemon_left_is_replaced(tmp_path: Path) -> None:
    run = PrivateDirectory(str(tmp_path / "run"), mode=0o755)
    run.write("resetd.port", b"1")
    run.write("resetd.cookie", b"00" * 32)
    (tmp_path / "run/resetd.sock").write_text("")
    with pytest.raises(NoDaemon):
        ask(run, "status")

    served = Served(tmp_path, PIPE)
    answer = ask(served.run, "status")
    served.close()

    assert answer == {"did": "status"}


def test_waiting_goes_on_for_what_was_waited_for(tmp_path: Path) -> None:
    """A poll that waits is not ended by a question, nor the other way round."""
    run = PrivateDirectory(str(tmp_path / "run"), mode=0o755)
    channel = Channel(run, PIPE, lambda what, asked, is_root: {})
    ours, theirs = socket.socketpair()
    ready: list[bool] = []
    thread = threading.Thread(
        target=lambda: ready.append(channel.wait(theirs.fileno(), select.POLLIN, 30))
    )
    thread.start()
    ask(run, "status")
    asked_meanwhile = not ready
    ours.send(b"x")
    thread.join(10)
    nothing = channel.wait(ours.fileno(), select.POLLIN, 0.01)
    ours.close()
    theirs.close()

    channel.close()

    assert asked_meanwhile
    assert ready == [True]
    assert nothing is False
