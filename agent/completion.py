"""Telling the metadata service how the boot went, for whoever waits there. Off by default."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .datasources.base import EC2_TOKENS, HUAWEI_TOKENS, Session
from .datasources.client import Client
from .errors import DatasourceError
from .status import trouble_rows

PATH = "linklocal/v1/boot-report"
TIMEOUT = 2.0
DEADLINE = 5.0
MOST = 50
"""Troubles that are told, the first."""
LARGEST = 48 * 1024
"""Bytes of a report; a service takes 64 KiB."""
LONGEST = 500
"""Characters of one text in it."""


def body(record: Mapping[str, Any]) -> bytes:
    """Return the report on *record*, a status: how the boot went in words, without a secret."""
    rows = trouble_rows(record)
    told = [_trouble(row) for row in rows[:MOST]]
    while True:
        report = {
            "schema": 1,
            "instance_id": record["instance_id"] or "",
            "status": record["status"],
            "degraded": record["degraded"],
            "detail": record["detail"][:LONGEST],
            "seconds": max(0.0, round(record["finished"] - record["started"], 3)),
            "troubles": told,
            "more_troubles": len(rows) - len(told),
        }
        content = json.dumps(report, separators=(",", ":")).encode()
        if len(content) <= LARGEST or not told:
            return content
        del told[-1]


def _trouble(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "place": row["place"][:LONGEST],
        "result": row["result"],
        "detail": row.get("detail", "")[:LONGEST],
        "status": row.get("status"),
    }


def report(urls: Sequence[str], content: bytes) -> None:
    """PUT *content* to the first service of *urls* that takes it; DatasourceError: none does."""
    troubles = []
    for url in urls:
        client = Client(url, timeout=TIMEOUT, deadline=DEADLINE)
        try:
            Session(client, (EC2_TOKENS, HUAWEI_TOKENS), eager=False).put(PATH, content)
        except DatasourceError as error:
            troubles.append(str(error))
        else:
            return
        finally:
            client.close()
    raise DatasourceError("; ".join(troubles))
