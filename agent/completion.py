"""Telling the metadata service how the boot went, for whoever waits there. Off by default."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .datasources.client import read_address
from .errors import DatasourceError
from .status import troubles

PATH = "/linklocal/v1/boot-report"
TIMEOUT = 2.0
MOST = 50
"""Troubles that are told, the first."""


def body(record: Mapping[str, Any]) -> bytes:
    """Return the report on *record*, a status: how the boot went in words, without a secret."""
    words = troubles(dict(record))
    told = {
        "schema": 1,
        "instance_id": record["instance_id"],
        "status": record["status"],
        "degraded": record["degraded"],
        "detail": record["detail"][:1000],
        "seconds": round(record["finished"] - record["started"], 3),
        "troubles": [line[:1000] for line in words[:MOST]],
        "more_troubles": max(0, len(words) - MOST),
    }
    return json.dumps(told, separators=(",", ":")).encode()


def report(url: str, content: bytes) -> None:
    """PUT *content* to the service at *url*; DatasourceError when it does not take it."""
    from http.client import HTTPConnection, HTTPException

    address = read_address(url)
    what = f"PUT {url.rstrip('/')}{PATH}"
    host = f"{address.host}%{address.scope}" if address.scope else address.host
    connection = HTTPConnection(host, address.port, timeout=TIMEOUT)
    try:
        headers = {"Content-Type": "application/json", "Host": address.authority}
        connection.request("PUT", f"{address.prefix}{PATH}", content, headers)
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        raise DatasourceError(f"{what}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise DatasourceError(f"{what}: status {status}")
