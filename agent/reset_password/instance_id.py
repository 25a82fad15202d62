"""Which instance this is: what the service says, else what the agent found at boot."""

import json
from collections.abc import Mapping
from typing import Optional, Protocol

from .client import Reply, Unanswered
from .inside import read_inside

META_DATA = "/openstack/latest/meta_data.json"
TOKEN = "/latest/api/token"
AGENT = "/var/lib/linklocal/agent/instance-id"
_META_DATA_LIMIT = 1024 * 1024


class Exchange(Protocol):
    def __call__(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Optional[Mapping[str, str]] = None,
        *,
        seconds: float = 10.0,
        limit: int = 64 * 1024,
    ) -> Reply: ...


def find_instance(exchange: Exchange, root: str) -> str:
    """Return the instance id; Unanswered when neither the service nor the agent tells it."""
    reply = exchange("GET", META_DATA, limit=_META_DATA_LIMIT)
    if reply.status == 401:
        token = exchange(
            "PUT", TOKEN, headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        ).body.decode("ascii", "replace")
        if token.isascii() and token.isprintable():
            reply = exchange(
                "GET",
                META_DATA,
                headers={"X-aws-ec2-metadata-token": token},
                limit=_META_DATA_LIMIT,
            )
    if reply.status == 200:
        try:
            found = json.loads(reply.body)["uuid"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Unanswered(f"{META_DATA}: expected JSON with a uuid") from None
        return _checked(found, META_DATA)
    if reply.status not in (403, 404):
        raise Unanswered(f"{META_DATA}: status {reply.status}")
    try:
        return _checked(read_inside(root, AGENT).decode("ascii").strip(), AGENT)
    except (OSError, UnicodeDecodeError):
        raise Unanswered(
            f"{META_DATA}: status {reply.status}, and {AGENT} does not say it either"
        ) from None


def _checked(found: object, where: str) -> str:
    if not isinstance(found, str) or not 0 < len(found) <= 128:
        raise Unanswered(f"{where}: expected an id of 1 to 128 characters")
    if not found.isascii() or not found.isprintable() or " " in found:
        raise Unanswered(f"{where}: expected an id of printable characters")
    return found
