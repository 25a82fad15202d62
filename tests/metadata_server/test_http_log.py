"""What strangers send in place of HTTP, or cut off, does not fill the log."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

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
        for first in FIRST_LINES:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
            writer.write(first + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b" 400 " in (await reader.read()).split(b"\r\n")[0]
            writer.close()

    said = [record for record in caplog.records if "not HTTP" in record.message]
    assert len(said) == len(FIRST_LINES)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
