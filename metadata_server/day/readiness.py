"""Whether all clients of an instance would be answered if its metadata needed tokens. Pure.

Counted as requests pass, so that the verdict remembers more than the journal's ring has room for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from .times import moment

if TYPE_CHECKING:
    from .journal import Noted

MOST: Final = 64
"""User agents told apart of one instance; guests can make up any number."""
OTHERS: Final = "(others)"

_KEY: Final = itemgetter(1, 6, 5)


class Client:
    """How often one user agent has shown a token, and how often not."""

    __slots__ = ("last_without", "with_token", "without_token")

    def __init__(
        self, with_token: int = 0, without_token: int = 0, last_without: float | None = None
    ) -> None:
        self.with_token = with_token
        self.without_token = without_token
        self.last_without = last_without


class Readiness:
    """The clients of all instances."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Client]] = {}
        self._changed: set[str] = set()

    def count(self, batch: Sequence[Noted], now: float) -> None:
        for (instance_id, agent, token), number in Counter(map(_KEY, batch)).items():
            if instance_id is None or not token:
                continue
            clients = self._known.setdefault(instance_id, {})
            if agent not in clients and len(clients) >= MOST:
                agent = OTHERS
            client = clients.setdefault(agent, Client())
            if token == "none":
                client.without_token += number
                client.last_without = now
            else:
                client.with_token += number
            self._changed.add(instance_id)

    def verdict(self, instance_id: str) -> dict[str, Any]:
        """Return whether the instance is ready, None when nothing has asked, and its clients."""
        clients = self._known.get(instance_id, {})
        return {
            "instance": instance_id,
            "ready": not any(each.without_token for each in clients.values()) if clients else None,
            "clients": [
                {
                    "agent": agent,
                    "ready": not each.without_token,
                    "with_token": each.with_token,
                    "without_token": each.without_token,
                    "last_without": None
                    if each.last_without is None
                    else moment(each.last_without),
                }
                for agent, each in sorted(clients.items())
            ],
        }

    def forget(self, instance_id: str) -> None:
        if self._known.pop(instance_id, None) is not None:
            self._changed.add(instance_id)

    def forget_all(self) -> None:
        self._known.clear()
        self._changed.clear()

    def changed(self) -> Mapping[str, str | None]:
        """Return what there is of instances that have changed since the last call, None is gone."""
        changed, self._changed = self._changed, set()
        return {each: self._text(each) for each in changed}

    def all(self) -> Mapping[str, str | None]:
        self._changed.clear()
        return {each: self._text(each) for each in self._known}

    def load(self, instance_id: str, text: str) -> None:
        """Take what `changed` gave."""
        self._known[instance_id] = {
            agent: Client(*each) for agent, each in json.loads(text).items()
        }

    def _text(self, instance_id: str) -> str | None:
        clients = self._known.get(instance_id)
        if clients is None:
            return None
        return json.dumps(
            {
                agent: (each.with_token, each.without_token, each.last_without)
                for agent, each in clients.items()
            }
        )
