"""The daemon: who am I, enrol, poll, apply, acknowledge; one step after another, for ever."""

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Optional

from .. import notify
from ..errors import AgentError, HostError
from ..secret import Secret
from . import PREFIX, protocol
from .apply import APPLIED, apply
from .by_hand import set_by_hand
from .channel import Channel
from .client import Client, Reply, Unanswered, wait_for
from .instance_id import find_instance
from .kept import STATUS, Resets, pin_server, pinned_server, read_server_key
from .keys import keep_identity, load_boot, load_identity
from .machine import Machine
from .private import PrivateDirectory
from .programs import run
from .protocol import Identity, Link, ProtocolError
from .settings import Settings
from .steps import resume

if TYPE_CHECKING:
    from .platform import Platform

WAIT = 60
"""Seconds a poll waits at the server."""
PATIENCE = 5.0
"""Seconds that the start of logins waits for a service that does not answer."""
NOT_NOW = (403, 429)
"""With those of 500 and more, the statuses that may be others half a second later."""

# The first pause after a refusal, in seconds, by its code; a pause doubles up to LONGEST_PAUSE.
FIRST_PAUSE = {
    "identity-conflict": 15.0,
    "server-changed": 15.0,
    "no-such-path": 60.0,
    "legacy": 15.0,
}
LONGEST_PAUSE = 60.0
ANNOUNCE = 15.0
"""Seconds after which the identity is shown again to whoever has to accept it."""
HISTORY = 100
"""Resets that `history` shows."""


class Stop(BaseException):
    """SIGTERM while nothing is under way that must not be torn."""


class Refused(AgentError):
    """The server's refusal, or ours of the server; *code* is its word."""

    def __init__(self, what: str, code: str, status: Optional[int] = None) -> None:
        super().__init__(f"{what}: {code}")
        self.code = code
        self.status = status


class Places(NamedTuple):
    """The directories and the machine that a daemon works on."""

    state: PrivateDirectory
    run: PrivateDirectory
    machine: Machine
    console: Optional[str] = None
    """Where the fingerprint of a new identity is shown to whoever watches the machine."""


class Daemon:
    """One daemon for one guest; `run` returns at SIGTERM."""

    def __init__(
        self,
        settings: Settings,
        places: Places,
        schemes: Sequence[str],
        say: Callable[[str], None],
        reached: Callable[[str], None] = lambda point: None,
    ) -> None:
        """Work in *places*; *schemes* are what the machine can check a login against.

        *reached* is told each of POINTS.
        """
        self._settings = settings
        self._places = places
        self._say = say
        self._reached = reached
        self._channel = self._listening()
        wait = wait_for if self._channel is None else self._channel.wait
        self._client = Client(settings.metadata_url, wait)
        self._boot = load_boot(places.run)
        self._resets = Resets(places.state)
        self._schemes = tuple(schemes)
        self._instance = ""
        self._identity: Optional[Identity] = None
        self._link: Optional[Link] = None
        self._platform: Optional[Platform] = None
        self._ready = False
        self._hasty = 0.5
        self._announced = -ANNOUNCE
        self._started = time.monotonic()
        self._stopping = False
        self._interruptible = False
        self._shown: Mapping[str, object] = {}
        self._answers: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "history": self._history,
            "trust": self._trust,
            "set": self._set,
        }
        self._steps: Mapping[str, Callable[[], str]] = {
            "enrol": self._enrol,
            "acknowledge": self._acknowledge,
            "poll": self._poll,
        }

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGINT, self._terminate)
        if self._settings.legacy:
            self._say(
                "reset_password.legacy: where the service has no sealed resets, a new password is "
                "taken that every process of this machine can read"
            )
        step, pause, last = "enrol", 0.0, ""
        try:
            while True:
                # The longest a step takes is a poll and a pause, well below the unit's WatchdogSec.
                notify.alive()
                try:
                    done, step = step, self._steps[step]()
                    if done == "poll" and not self._resets.unacknowledged(self._instance):
                        pause, last = 0.0, ""
                except (Unanswered, ProtocolError, Refused) as error:
                    status = error.status if isinstance(error, Refused) else None
                    code = error.code if isinstance(error, Refused) else ""
                    if str(error) != last:
                        last = str(error)
                        self._say(last)
                    self._show(state=code or "unreachable", problem=last)
                    if not self._ready and _stays(error):
                        self._be_ready()
                    pause = self._next_pause(pause, code)
                    step = resume(step, status)
                    if self._sleep(pause):
                        # A caller may have changed what was in the way.
                        pause = 0.0
        except Stop:
            if self._channel is not None:
                self._channel.close()
            self._say("stopped")

    def _next_pause(self, pause: float, code: str) -> float:
        if not self._ready:
            # Logins wait for the first look at the service, but not long.
            if time.monotonic() - self._started < PATIENCE:
                return 0.5
            self._be_ready()
        pause = max(2 * pause, FIRST_PAUSE.get(code, 1.0))
        # Spread, so that a host's guests do not come back all at once.
        return min(pause, LONGEST_PAUSE) * (0.75 + os.urandom(1)[0] / 512)

    # Steps

    def _enrol(self) -> str:
        """Put this boot's key on record under this guest's identity."""
        # Asked each time: whoever answered before may not have been the service.
        instance = find_instance(self._exchange, self._places.machine.root)
        body = json.dumps(protocol.challenge_request()).encode()
        try:
            challenge = protocol.read_challenge(self._ask("challenge", "POST", body))
        except Refused as error:
            if error.status == 404 and self._settings.legacy:
                self._take_platforms_turn(instance)
            raise
        self._check_server(challenge.server)
        self._reached("challenged")
        identity = self._identity_of(instance)
        link = Link(instance, self._boot, challenge.server)
        message = protocol.enrol(identity, self._instance, self._boot, challenge, self._schemes)
        enrolled = self._ask(
            "key", "PUT", json.dumps(message).encode(), self._proof(challenge), low_port=True
        )
        link.check_enrolled(enrolled, identity.public, challenge.nonce)
        self._reached("enrolled")
        keep_identity(self._places.state, instance)
        if pinned_server(self._places.state) is None:
            pin_server(self._places.state, challenge.server)
            self._reached("pinned")
        self._link = link
        self._say(f"enrolled instance {self._instance}")
        self._show(state="enrolled")
        return "acknowledge"

    def _take_platforms_turn(self, instance: str) -> None:
        """Do as the platform's own daemon does; always raises Refused, to ask again later."""
        if pinned_server(self._places.state) or self._settings.server_key:
            # Whoever can answer in the service's place must not bring the plain way back.
            raise Refused(
                "challenge: the platform's own way is not taken: this guest has enrolled before",
                "no-such-path",
                404,
            )
        if self._platform is None:
            from .platform import Platform

            machine, users = self._places.machine, self._settings.users
            self._platform = Platform(self._exchange, machine, self._resets, users, self._say)
        self._platform.turn(instance)
        if not self._ready:
            self._be_ready()
        raise Refused("challenge: the service has the platform's own way alone", "legacy", 404)

    def _acknowledge(self) -> str:
        """Tell the server what became of resets until it proves that it knows."""
        link = self._linked()
        for entry in self._resets.unacknowledged(link.instance):
            message = json.dumps(link.result(entry.id, entry.result, entry.code)).encode()
            recorded = link.read_recorded(self._ask("result", "POST", message), entry.id)
            self._reached("told")
            self._resets.put(entry._replace(acknowledged=True))
            self._reached("settled")
            self._say(f"reset {entry.id}: {entry.result} {entry.code}".rstrip())
            if recorded.result != entry.result:
                self._say(f"reset {entry.id}: the server has it as {recorded.result}")
            if entry.restart and entry.result == APPLIED:
                self._restart()
        newest = self._resets.newest()
        if newest is not None:
            self._show(reset=newest.id, result=newest.result, code=newest.code)
        return "poll"

    def _poll(self) -> str:
        """Ask for a request and apply what comes."""
        link = self._linked()
        nonce = os.urandom(protocol.NONCE_SIZE)
        # At the start of a boot what waits is applied before anybody can log in.
        waits = self._ready and not self._resets.unacknowledged(link.instance)
        wait = WAIT if waits else 0
        began, sent = time.monotonic(), _boot_clock()
        reply = self._exchange("GET", link.poll(nonce, wait), seconds=wait + 10.0)
        if reply.status == 204:
            if not waits:
                if not self._ready:
                    self._be_ready()
                return "acknowledge"
            if time.monotonic() - began < 1.0:
                # A server that is about to stop answers at once; do not hammer it.
                self._hasty = min(2 * self._hasty, LONGEST_PAUSE)
                self._sleep(self._hasty)
            else:
                self._hasty = 0.5
            return "poll"
        if reply.status != 200:
            raise _refusal("poll", reply)
        order = link.open(protocol.read_envelope(reply.body), nonce)
        self._reached("received")
        apply(
            order,
            self._places.machine,
            self._resets,
            self._settings.users,
            lambda: _boot_clock() - sent,
            self._reached,
            link.instance,
        )
        return "acknowledge"

    # The control channel

    def _listening(self) -> Optional[Channel]:
        try:
            return Channel(self._places.run, self._settings.channel, self._answer)
        except HostError as error:
            # Resets matter more than questions about them.
            self._say(str(error))
            return None

    def _answer(self, what: str, asked: Mapping[str, Any], is_root: bool) -> Mapping[str, Any]:
        if what == "status":
            return self._shown if is_root else {"state": self._shown.get("state", "starting")}
        if what not in self._answers:
            raise HostError(f"{what[:32]}: the daemon cannot be asked that")
        # SIGTERM waits: an account must not be left half changed.
        self.interruptible(False)
        try:
            return self._answers[what](asked)
        finally:
            self.interruptible(True)

    def _history(self, _asked: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"resets": [entry._asdict() for entry in self._resets.last(HISTORY)]}

    def _trust(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            server = read_server_key(str(asked.get("key")))
        except ValueError as error:
            raise HostError(f"trust: {error}") from None
        pin_server(self._places.state, server)
        self._say(f"server key {server.hex()} is trusted now")
        return {}

    def _set(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        user, given = asked.get("user"), asked.get("hash")
        if not isinstance(user, str) or not isinstance(given, str) or not given.isascii():
            raise HostError("set: expected a user and a hash")
        set_by_hand(self._places.machine, user, Secret(given.encode()))
        self._say(f"the password of {user} was set by root of this machine")
        return {}

    # What the steps need

    def _identity_of(self, instance: str) -> Identity:
        if self._identity is None or self._instance != instance:
            self._instance = instance
            self._identity, made = load_identity(self._places.state, instance)
            if made:
                self._reached("identity-kept")
                self._announce()
        return self._identity

    def _check_server(self, server: bytes) -> None:
        pinned = pinned_server(self._places.state)
        expected = self._settings.server_key or (pinned.hex() if pinned else None)
        if expected is not None and server.hex() != expected:
            self._show(offered=server.hex())
            raise Refused(
                f"server key {server.hex()} is not the one this guest knows; "
                "`linklocal-resetd trust KEY` accepts another",
                "server-changed",
            )

    def _proof(self, challenge: protocol.Challenge) -> Mapping[str, str]:
        """Return the header that proves root by the token; without a token the port does it."""
        name = self._settings.token_file
        if name is None:
            return {}
        directory = PrivateDirectory(os.path.dirname(os.path.abspath(name)), mode=0o700)
        token = directory.read(os.path.basename(name))
        os.close(directory.handle)
        if token is None:
            return {}
        message = protocol.enrol_message(
            self._instance, self._boot, challenge.server, challenge.nonce, self._schemes
        )
        return {protocol.PROOF_HEADER: protocol.token_proof(Secret(token.strip()), message)}

    def _linked(self) -> Link:
        if self._link is None:
            raise HostError("not enrolled")
        return self._link

    def _ask(
        self,
        what: str,
        method: str,
        body: bytes,
        headers: Optional[Mapping[str, str]] = None,
        *,
        low_port: bool = False,
    ) -> bytes:
        """Return the body of a good answer; Refused otherwise."""
        reply = self._exchange(method, PREFIX + what, body, headers, low_port=low_port)
        if reply.status == 200:
            return reply.body
        refusal = _refusal(what, reply)
        if refusal.code == "identity-conflict":
            self._announce()
        raise refusal

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Optional[Mapping[str, str]] = None,
        *,
        seconds: float = 10.0,
        limit: int = 64 * 1024,
        low_port: bool = False,
    ) -> Reply:
        with _Interruptible(self):
            return self._client.exchange(
                method, path, body, headers, seconds=seconds, limit=limit, low_port=low_port
            )

    def _announce(self) -> None:
        now = time.monotonic()
        if self._identity is None or now - self._announced < ANNOUNCE:
            return
        self._announced = now
        text = f"this guest's identity is {protocol.fingerprint(self._identity.public)}"
        self._say(text)
        if self._places.console is not None:
            # A console that nobody reads must not hold up the daemon, nor become its terminal.
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
            try:
                with open(os.open(self._places.console, flags), "wb", buffering=0) as console:
                    console.write(f"linklocal-resetd: {text}\r\n".encode())
            except OSError as error:
                self._say(f"{self._places.console}: {error.strerror}")

    def _restart(self) -> None:
        self._say("restarting the machine, as the reset asks")
        command = self._settings.restart_command
        try:
            if not run(command):
                self._say(f"{command[0]}: failed")
        except HostError as error:
            self._say(str(error))

    def _be_ready(self) -> None:
        self._ready = True
        notify.notify("READY=1")

    def _show(self, **facts: object) -> None:
        """Keep what `status` prints, for root alone."""
        shown = {**self._shown, **facts}
        if facts.get("state") == "enrolled":
            shown.pop("problem", None)
            shown.pop("offered", None)
        shown["instance"] = self._instance
        shown["url"] = self._client.url
        if self._identity is not None:
            shown["fingerprint"] = protocol.fingerprint(self._identity.public)
        if self._link is not None:
            shown["server"] = self._link.server.hex()
        if shown != self._shown:
            self._shown = shown
            self._places.run.write(STATUS, json.dumps(shown).encode())

    # Being stopped

    def _terminate(self, _number: int, _frame: Optional[FrameType]) -> None:
        self._stopping = True
        if self._interruptible:
            raise Stop

    def _sleep(self, seconds: float) -> bool:
        """Say whether a caller was served, which also ends the sleep."""
        with _Interruptible(self):
            if self._channel is not None:
                return self._channel.wait(-1, 0, seconds)
            time.sleep(seconds)
            return False

    def interruptible(self, now: bool) -> None:
        """Say whether SIGTERM may end the daemon at once, or after what it is doing."""
        self._interruptible = now
        if now and self._stopping:
            raise Stop


class _Interruptible:
    """The block in which SIGTERM is taken at once: waiting for the network, or for time."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def __enter__(self) -> None:
        self._daemon.interruptible(True)

    def __exit__(self, *_: object) -> None:
        self._daemon.interruptible(False)


def _refusal(what: str, reply: Reply) -> Refused:
    return Refused(
        f"{what}: refused with status {reply.status}",
        protocol.read_refusal(reply.body),
        reply.status,
    )


def _stays(error: AgentError) -> bool:
    """Say whether *error* is a refusal that no login needs to wait out: it is an answer."""
    if not isinstance(error, Refused):
        return False
    return error.status is None or (error.status < 500 and error.status not in NOT_NOW)


def _boot_clock() -> float:
    """Return seconds since the machine started, those asleep too; nobody can set this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
