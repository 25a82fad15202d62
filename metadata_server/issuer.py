"""Access keys from an issuer: the command of an agency, run when the last pair nears its end.

The command gets the instance in its environment and prints JSON, in the form of `securitykey`:
access, secret, securitytoken, expires_at, with or without `credential` around them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, Final

from .errors import ServerError, ServiceUnavailable
from .huawei import OVERLAP_SECONDS, VALID_SECONDS, Credentials
from .instance import Instance
from .secret import Secret

log = logging.getLogger(__name__)

PATIENCE: Final = 10.0
PAUSE: Final = 5.0
"""Seconds after a failure in which the command is not run again."""
ANSWER_LIMIT: Final = 64 * 1024

UNAVAILABLE: Final = "The issuer of this instance's credentials gives none at the moment."


class Issuer:
    """Keeps the last pair of each instance, and runs one command for it at a time."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._pairs: dict[str, tuple[tuple[str, ...], Credentials]] = {}
        self._running: dict[str, asyncio.Future[Credentials]] = {}
        self._failed: dict[str, float] = {}

    async def credentials(self, instance: Instance, command: tuple[str, ...]) -> Credentials:
        """Return a pair that is good for ten minutes at least, or else for as long as it can be.

        Raises ServiceUnavailable when there is none and the command gives none.
        """
        known = self._pairs.get(instance.id)
        pair = known[1] if known and known[0] == command else None
        if pair and self._now() < pair.expires - OVERLAP_SECONDS:
            return pair
        try:
            return await self._renewed(instance, command)
        except ServerError as error:
            if pair and self._now() < pair.expires:
                return pair
            raise ServiceUnavailable(UNAVAILABLE) from error

    async def _renewed(self, instance: Instance, command: tuple[str, ...]) -> Credentials:
        if self._now() < self._failed.get(instance.id, 0) + PAUSE:
            raise ServerError("it failed a moment ago")
        task = self._running.get(instance.id)
        if task is None:
            task = asyncio.ensure_future(self._run(instance, command))
            self._running[instance.id] = task
            task.add_done_callback(lambda _: self._running.pop(instance.id, None))
        return await asyncio.shield(task)

    async def _run(self, instance: Instance, command: tuple[str, ...]) -> Credentials:
        try:
            pair = _read(await _output(command, _environment(instance)), self._now())
        except (OSError, ServerError) as error:
            self._failed[instance.id] = self._now()
            log.warning("credentials_command of instance %s: %s", instance.id, error)
            raise ServerError("the command failed") from error
        self._failed.pop(instance.id, None)
        self._pairs[instance.id] = (command, pair)
        return pair


def _environment(instance: Instance) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ},
        "LINKLOCAL_AGENCY": instance.agency.name if instance.agency else "",
        "LINKLOCAL_INSTANCE_ID": instance.id,
        "LINKLOCAL_PROJECT_ID": instance.project_id,
    }


async def _output(command: tuple[str, ...], environment: Mapping[str, str]) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        if process.stdout is None:
            raise ServerError("its output cannot be read")
        found = await asyncio.wait_for(_whole(process.stdout), PATIENCE)
        status = await asyncio.wait_for(process.wait(), PATIENCE)
    except asyncio.TimeoutError as error:
        raise ServerError(f"took longer than {PATIENCE:.0f} seconds") from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if status != 0:
        raise ServerError(f"exit status {status}")
    return found


async def _whole(stream: asyncio.StreamReader) -> bytes:
    found = b""
    while chunk := await stream.read(ANSWER_LIMIT):
        found += chunk
        if len(found) > ANSWER_LIMIT:
            raise ServerError(f"printed more than {ANSWER_LIMIT} bytes")
    return found


def _read(output: bytes, now: float) -> Credentials:
    """Return the pair that the command printed; what it printed is never told."""
    try:
        found: Any = json.loads(output)
        found = found.get("credential", found)
        texts = [found[name] for name in ("access", "secret", "securitytoken", "expires_at")]
        if not all(isinstance(text, str) and text for text in texts):
            raise ServerError("expected access, secret, securitytoken and expires_at as texts")
        access, secret, token, ends = texts
        expires = datetime.fromisoformat(ends.removesuffix("Z")).replace(tzinfo=timezone.utc)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ServerError("expected JSON in the form of securitykey") from None
    if expires.timestamp() <= now:
        raise ServerError("gave a pair that has expired already")
    return Credentials(
        access,
        Secret(secret.encode()),
        Secret(token.encode()),
        begins=int(expires.timestamp()) - VALID_SECONDS,
        expires=int(expires.timestamp()),
    )
