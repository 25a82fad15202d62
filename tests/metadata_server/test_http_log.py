"""What strangers send in place of HTTP, or cut off, does not fill the log."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import aiohttp
import pytest

from metadata_server.config import load
from metadata_server.server import running

FIRST_LINES = (
    b"GET * HTTP/1.1",
    b"GET http://[ HTTP/1.1",
    b"GET http://a:b:c/ HTTP/1.1",
    b"CONNECT a:99999 HTTP/1.1",
    b"GET / HTTP/9.9",
    b"GET x HTTP/1.1",
    b"\x16\x03\x01",
)
OLD = tuple(map(int, aiohttp.__version__.split(".")[:2])) < (3, 9)


def first_lines(side: str) -> tuple[bytes, ...]:
    """Return what is sent to *side*.

    Before 3.9, aiohttp itself fails at an address that is none. Guests are shielded from that, with
    operators it ends their connection.
    """
    return FIRST_LINES[:1] + FIRST_LINES[4:] if OLD and side == "operators" else FIRST_LINES


@pytest.mark.parametrize("side", ["guests", "operators"])
async def test_what_is_no_http_is_a_short_line_for_debugging(
    tmp_path: Path, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "metadata_server")
    path = tmp_path / "server.yaml"
    path.touch(0o600)
    one = {"id": "i", "identify": {"addresses": ["127.0.0.1"]}}
    listen = {"listen": ["127.0.0.1:0"], "control": {"listen": "127.0.0.1:0"}}
    path.write_text(json.dumps({**listen, "state": str(tmp_path / "state"), "instances": [one]}))
    async with running(load(path)) as server:
        url = server.guest_url if side == "guests" else server.control_url
        answers = []
        for first in first_lines(side):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
            writer.write(first + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            answers.append(int((await reader.read()).split()[1]))
            writer.close()
            await writer.wait_closed()

    said = [record for record in caplog.records if "not HTTP" in record.message]
    # The older aiohttp takes some of these for requests, which are answered as any other.
    assert set(answers) == {400} if not OLD else max(answers) < 500
    assert len(said) == answers.count(400) >= 2
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
