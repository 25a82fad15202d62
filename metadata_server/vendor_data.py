"""Dynamic vendor data: asked of the configured targets as nova asks them, never a guest's trouble.

Each target gets a POST about the instance and answers with a JSON document. What it cannot say in
time is `{}` for the guest, a line in the log, and asked for again a little later.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from aiohttp import ClientError, ClientSession, ClientTimeout

from .instance import Instance

log = logging.getLogger(__name__)

PATIENCE: Final = 3.0
"""Seconds for all of one answer: a guest that boots waits for it."""
FRESH_SECONDS: Final = 60.0
FAILED_SECONDS: Final = 10.0
"""How long an answer, or none, is good for."""
LARGEST: Final = 1 << 20
REMEMBERED: Final = 4096
AGENT: Final = "linklocal-vendordata"


class _Known(NamedTuple):
    revision: int
    until: float
    document: object


class DynamicData:
    """What *targets*, URLs by name, say of instances."""

    def __init__(
        self,
        targets: Mapping[str, str],
        *,
        patience: float = PATIENCE,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._targets = targets
        self._patience = patience
        self._now = now
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._asked: dict[tuple[str, str, int], asyncio.Future[object]] = {}

    async def merged(self, static: bytes, instance: Instance, revision: int) -> bytes:
        """Return the document *static* with what each target says of *instance* under its name.

        What is known of another *revision* of the instance does not count.
        """
        if not self._targets:
            return static
        said = await asyncio.gather(
            *(self._said(name, instance, revision) for name in self._targets)
        )
        return json.dumps({**json.loads(static), **dict(zip(self._targets, said))}).encode()

    async def _said(self, name: str, instance: Instance, revision: int) -> object:
        known = self._known.get((name, instance.id))
        if known is not None and known.revision == revision and self._now() < known.until:
            return known.document
        key = (name, instance.id, revision)
        task = self._asked.get(key)
        if task is None:
            task = asyncio.ensure_future(self._ask(name, instance, revision))
            self._asked[key] = task
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        return await asyncio.shield(task)

    async def _ask(self, name: str, instance: Instance, revision: int) -> object:
        document: object = {}
        seconds = FRESH_SECONDS
        try:
            document = await asyncio.wait_for(
                _post(self._targets[name], _question(instance)), self._patience
            )
        except asyncio.TimeoutError:
            seconds = FAILED_SECONDS
            log.warning(
                "vendordata_dynamic.%s: no answer within %g seconds for instance %s",
                name,
                self._patience,
                instance.id,
            )
        except (ClientError, OSError, ValueError) as error:
            seconds = FAILED_SECONDS
            reason = str(error) or type(error).__name__
            log.warning("vendordata_dynamic.%s: %s, for instance %s", name, reason, instance.id)
        self._known[name, instance.id] = _Known(revision, self._now() + seconds, document)
        self._known.move_to_end((name, instance.id))
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return document


def _question(instance: Instance) -> dict[str, object]:
    """Return what nova tells a target of an instance, by nova's names."""
    user_data = instance.user_data
    return {
        "project-id": instance.project_id,
        "instance-id": instance.id,
        "image-id": instance.image.id if instance.image else None,
        "user-data": base64.b64encode(user_data.reveal()).decode() if user_data else None,
        "hostname": instance.hostname,
        "metadata": dict(instance.meta),
        "boot-roles": None,
    }


async def _post(url: str, question: Mapping[str, object]) -> object:
    """Return the JSON document that *url* answers; raises ClientError, OSError or ValueError."""
    headers = {"User-Agent": AGENT, "Accept": "application/json"}
    # Its time is bounded as a whole by the caller.
    async with (
        ClientSession(timeout=ClientTimeout(total=None), headers=headers) as session,
        session.post(url, json=question, allow_redirects=False) as answer,
    ):
        if answer.status not in (200, 201):
            raise ValueError(f"expected status 200, got {answer.status}")
        body = b""
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > LARGEST:
                raise ValueError(f"expected at most {LARGEST} bytes")
    try:
        document: Any = json.loads(body)
    except ValueError:
        raise ValueError("expected a JSON document") from None
    return document
