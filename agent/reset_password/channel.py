"""The local control channel: what root asks the daemon, by a socket (PIPE) or a port (AUTO).

One line of JSON each way. Nothing here waits for a caller: the daemon serves the channel while it
waits for the network or for time, with one poll(2) for everything.
"""

import json
import math
import os
import select
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Callable, NamedTuple, Optional

from ..errors import AgentError, HostError
from .private import PrivateDirectory

PIPE, AUTO = "pipe", "auto"
SOCKET, COOKIE, PORT = "resetd.sock", "resetd.cookie", "resetd.port"
LOWEST, HIGHEST = 31000, 32999

MOST_CALLERS = 16
CALLER_SECONDS = 5.0
_LONGEST = 8 * 1024
_ANSWER_LIMIT = 256 * 1024
_NONCE_SIZE = 16
_PROOF = b"linklocal daemon"
"""What the daemon's proof is of, before the nonces of both sides."""
_OPEN = ("status",)
"""What anybody on the machine may ask through a port, without the cookie."""

Answer = Callable[[str, Mapping[str, Any], bool], Mapping[str, Any]]


class NoDaemon(AgentError):
    """No daemon answers on the channel."""


class _Caller:
    def __init__(self, link: socket.socket, nonce: bytes) -> None:
        self.link = link
        self.nonce = nonce
        self.asked = bytearray()
        self.out = b""
        self.answered = False
        self.end = time.monotonic() + CALLER_SECONDS


class Channel:
    """The daemon's end. *answer* gets what is asked, its arguments, and whether root asks."""

    def __init__(self, run: PrivateDirectory, kind: str, answer: Answer) -> None:
        """Listen; HostError when there is no place to."""
        self._run = run
        self._answer = answer
        self._cookie: Optional[bytes] = None
        # What is there is of a daemon that is gone: the lock is ours.
        self._clear()
        try:
            self._listener = self._port() if kind == AUTO else self._pipe()
        except OSError as error:
            raise HostError(f"control channel: {error.strerror}") from error
        self._listener.setblocking(False)
        self._callers: dict[int, _Caller] = {}

    def close(self) -> None:
        """Answer nobody any more, and leave nothing behind."""
        for number in tuple(self._callers):
            self._drop(number)
        self._listener.close()
        self._clear()

    def _clear(self) -> None:
        for name in (SOCKET, COOKIE, PORT):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._run.handle)

    def _pipe(self) -> socket.socket:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            link.bind(_address(self._run))
        finally:
            os.umask(before)
        link.listen(MOST_CALLERS)
        return link

    def _port(self) -> socket.socket:
        for port in range(LOWEST, HIGHEST + 1):
            link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                link.bind(("127.0.0.1", port))
                link.listen(MOST_CALLERS)
            except OSError:
                link.close()
                continue
            self._cookie = os.urandom(32)
            self._run.write(COOKIE, self._cookie.hex().encode())
            self._run.write(PORT, str(port).encode())
            return link
        raise HostError(f"control channel: no idle port from {LOWEST} to {HIGHEST}")

    def wait(self, fd: int, events: int, seconds: float) -> bool:
        """Say whether *fd* is ready within *seconds*, serving callers until then.

        Without an fd, which is -1, it is ready when a caller was served: there may be news.
        """
        end = time.monotonic() + seconds
        while True:
            poll = select.poll()
            poll.register(self._listener, select.POLLIN)
            if fd >= 0:
                poll.register(fd, events)
            for number, caller in self._callers.items():
                poll.register(number, select.POLLOUT if caller.out else select.POLLIN)
            now = time.monotonic()
            soonest = min([end, *(caller.end for caller in self._callers.values())])
            ready = [number for number, _ in poll.poll(math.ceil(max(0.0, soonest - now) * 1000))]
            served = False
            for number in ready:
                if number == self._listener.fileno():
                    self._accept()
                elif number != fd:
                    served = self._serve(number) or served
            now = time.monotonic()
            for number in [n for n, caller in self._callers.items() if caller.end <= now]:
                self._drop(number)
            if fd in ready or (fd < 0 and served):
                return True
            if now >= end:
                return False

    def _accept(self) -> None:
        try:
            link, _ = self._listener.accept()
        except OSError:
            return
        link.setblocking(False)
        while len(self._callers) >= MOST_CALLERS:
            # Whoever holds connections open is not to keep root out.
            self._drop(next(iter(self._callers)))
        caller = _Caller(link, os.urandom(_NONCE_SIZE))
        self._callers[link.fileno()] = caller
        if self._cookie is not None:
            with suppress(OSError):
                link.send(json.dumps({"nonce": caller.nonce.hex()}).encode() + b"\n")

    def _serve(self, number: int) -> bool:
        """Say whether a question was answered."""
        caller = self._callers[number]
        try:
            if caller.out:
                caller.out = caller.out[caller.link.send(caller.out) :]
            else:
                chunk = caller.link.recv(_LONGEST)
                caller.asked += chunk
                if not chunk or len(caller.asked) > _LONGEST:
                    self._drop(number)
                    return False
                line, end, rest = bytes(caller.asked).partition(b"\n")
                if not end:
                    return False
                caller.asked = bytearray(rest)
                caller.out = self._proof(caller, line)
                if not caller.out:
                    caller.out = self._answered(caller, line)
                    caller.answered = True
        except BlockingIOError:
            return False
        except OSError:
            self._drop(number)
            return caller.answered
        if caller.answered and not caller.out:
            self._drop(number)
            return True
        return False

    def _proof(self, caller: _Caller, line: bytes) -> bytes:
        """Return the proof that this is the daemon, to who asks for it through a port."""
        try:
            theirs = bytes.fromhex(json.loads(line)["prove"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return b""
        if self._cookie is None or len(theirs) != _NONCE_SIZE:
            return b""
        proof = _mac(self._cookie, _PROOF + caller.nonce + theirs)
        return json.dumps({"proof": proof}).encode() + b"\n"

    def _answered(self, caller: _Caller, line: bytes) -> bytes:
        try:
            whole = json.loads(line)
            question = whole["question"]
            asked = json.loads(question)
            what = asked.pop("do")
            is_root = self._is_root(caller, question.encode(), whole.get("mac", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return b'{"error": "expected a question"}\n'
        if not isinstance(what, str) or not (is_root or what in _OPEN):
            return b'{"error": "only root may ask that"}\n'
        try:
            answer = self._answer(what, asked, is_root)
        except AgentError as error:
            answer = {"error": str(error)}
        return json.dumps(answer).encode() + b"\n"

    def _is_root(self, caller: _Caller, question: bytes, mac: object) -> bool:
        if self._cookie is None:
            said = caller.link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return struct.unpack("iII", said)[1] in (0, os.geteuid())
        return _is_mac(mac, self._cookie, caller.nonce + question)

    def _drop(self, number: int) -> None:
        self._callers.pop(number).link.close()


class _Way(NamedTuple):
    link: socket.socket
    cookie: Optional[bytes]


def ask(run: PrivateDirectory, what: str, **arguments: object) -> Mapping[str, Any]:
    """Return the daemon's answer; NoDaemon when there is none, HostError when it refuses."""
    question = json.dumps({"do": what, **arguments})
    try:
        way = _connected(run)
        with way.link, way.link.makefile("rb") as answers:
            whole = {"question": question}
            if way.cookie is not None:
                nonce = bytes.fromhex(json.loads(answers.readline(200))["nonce"])
                # A port may be anybody's by now: the question may hold a hash.
                mine = os.urandom(_NONCE_SIZE)
                way.link.sendall(json.dumps({"prove": mine.hex()}).encode() + b"\n")
                proof = json.loads(answers.readline(200))["proof"]
                if not _is_mac(proof, way.cookie, _PROOF + nonce + mine):
                    raise NoDaemon("no daemon answers on the control channel")
                whole["mac"] = _mac(way.cookie, nonce + question.encode())
            way.link.sendall(json.dumps(whole).encode() + b"\n")
            answer = json.loads(answers.readline(_ANSWER_LIMIT))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise NoDaemon("no daemon answers on the control channel") from None
    if not isinstance(answer, dict):
        raise NoDaemon("no daemon answers on the control channel")
    if isinstance(answer.get("error"), str):
        raise HostError(answer["error"])
    return answer


def _mac(cookie: bytes, said: bytes) -> str:
    """Return what only who has the cookie can say of *said*."""
    # Imported where a port is used at all: with the digests it takes 10 ms.
    import hmac

    return hmac.digest(cookie, said, "sha256").hex()


def _is_mac(given: object, cookie: bytes, said: bytes) -> bool:
    import hmac

    expected = _mac(cookie, said)
    return isinstance(given, str) and hmac.compare_digest(given.encode(), expected.encode())


def _connected(run: PrivateDirectory) -> _Way:
    port, cookie = run.read(PORT), run.read(COOKIE)
    if port is not None and cookie is not None:
        link = socket.create_connection(("127.0.0.1", int(port)), timeout=30)
        return _Way(link, bytes.fromhex(cookie.decode("ascii")))
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(30)
    try:
        link.connect(_address(run))
    except OSError:
        link.close()
        raise
    return _Way(link, None)


def _address(run: PrivateDirectory) -> str:
    """Return the socket's name through the open directory: short, and no link is followed."""
    return f"/proc/self/fd/{run.handle}/{SOCKET}"
