"""One turn of the platform's own reset, as its daemon takes it at each boot.

Nothing in it proves who asks, and every process of the guest can read the password: it is for
platforms that know nothing better, and only where the configuration says so.
"""

import hashlib
import json
import time
from collections.abc import Collection
from typing import Callable, Optional

from ..errors import HostError
from .apply import APPLIED, Outcome, apply
from .client import Unanswered
from .envelope import hashed, open_envelope
from .instance_id import Exchange
from .kept import Resets
from .machine import Machine
from .protocol import Order, ProtocolError

FLAG = "/openstack/latest/resetpwd_flag"
PASSWORD = "/openstack/latest/reset_password"
USER = "root"
SECONDS = 900
"""How long what was fetched is good for."""
DELETE_TRIES = 3


class Platform:
    """The platform's two paths, and what is done with what they say."""

    def __init__(
        self,
        exchange: Exchange,
        machine: Machine,
        resets: Resets,
        users: Collection[str],
        say: Callable[[str], None],
    ) -> None:
        self._exchange = exchange
        self._machine = machine
        self._resets = resets
        self._users = users
        self._say = say
        self._said = ""

    def turn(self, instance: str) -> None:
        """Raise the flag, and set the password that waits; it is deleted there once it is set."""
        flag = self._value(FLAG, "resetpwd_flag")
        if flag is None:
            return
        if flag != "True":
            self._exchange(
                "POST", FLAG, b"True", {"Content-Type": "application/x-www-form-urlencoded"}
            )
        fetched = time.monotonic()
        envelope = self._waiting()
        if envelope is None:
            return
        outcome = self._applied(envelope, instance, fetched)
        if outcome is not None and outcome.result == APPLIED:
            self._delete()

    def _applied(self, envelope: str, instance: str, fetched: float) -> Optional[Outcome]:
        """Return what became of *envelope*, which is applied once however often it is fetched."""
        try:
            password = open_envelope(envelope, instance)
        except ProtocolError as error:
            self._say_once(str(error))
            return None
        made = hashed(password, envelope)
        if made is None:
            self._say_once("this machine's crypt(3) makes no SHA-512 hash")
            return None
        name = "legacy-" + hashlib.sha256(envelope.encode()).hexdigest()[:32]
        outcome = apply(
            Order(name, USER, made, unlock=False, expire=False, restart=False, ttl=SECONDS),
            self._machine,
            self._resets,
            self._users,
            lambda: time.monotonic() - fetched,
            instance=instance,
        )
        entry = self._resets.get(name)
        if entry is None:
            raise HostError(f"reset {name}: was not kept")
        # There is nobody to whom the result could be told.
        self._resets.put(entry._replace(acknowledged=True))
        self._say_once(f"reset {name} by the platform: {outcome.result} {outcome.code}".rstrip())
        return outcome

    def _delete(self) -> None:
        for _ in range(DELETE_TRIES):
            self._exchange("DELETE", PASSWORD)
            if self._waiting() is None:
                return
        raise Unanswered(f"DELETE {PASSWORD}: the password is there still")

    def _waiting(self) -> Optional[str]:
        """Return the envelope that waits; platforms say in several ways that there is none."""
        found = self._value(PASSWORD, "reset_password")
        return None if found in (None, "", "None", "null") else found

    def _value(self, path: str, name: str) -> Optional[str]:
        """Return the text called *name* at *path*; None when the platform has no such path."""
        reply = self._exchange("GET", path)
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise Unanswered(f"{path}: status {reply.status}")
        if not reply.body:
            return ""
        try:
            found = json.loads(reply.body).get(name)
        except (ValueError, AttributeError, RecursionError):
            raise Unanswered(f"{path}: expected JSON with {name}") from None
        return found if isinstance(found, str) else ""

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)
