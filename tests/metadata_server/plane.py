"""A control plane on a free port or a Unix socket, over a real state, for tests that talk to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from metadata_server import boot_reports, events, mailbox, overlay
from metadata_server.boot_reports import BootReports
from metadata_server.catalog import Catalog
from metadata_server.control.app import make_control_app
from metadata_server.control.auth import Tokens
from metadata_server.control.replays import SCHEMA as REPLAYS_SCHEMA
from metadata_server.control.replays import Replays
from metadata_server.control.signature import AccessKeys
from metadata_server.day.clock import Clock
from metadata_server.day.day import SCHEMAS, Day
from metadata_server.events import Events
from metadata_server.instance import Instance
from metadata_server.made import reader
from metadata_server.mailbox import Mailbox
from metadata_server.overlay import Overlay
from metadata_server.reset.engine import SCHEMA, ResetEngine
from metadata_server.store import Store

TOKEN = "correct-horse-battery-staple"
OTHER_TOKEN = "a-second-operator-of-this-server"


@dataclass
class Plane:
    """A running control plane, and what is below it."""

    url: str
    directory: Path
    app: web.Application
    runner: web.AppRunner
    store: Store
    mailbox: Mailbox
    engine: ResetEngine
    tokens: Tokens

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        data: object = None,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Return status, JSON document (or text) and headers of one call with the token."""
        if headers is None:
            headers = {"Authorization": f"Bearer {TOKEN}"}
        connector = (
            aiohttp.UnixConnector(self.url.removeprefix("unix://"))
            if self.url.startswith("unix:")
            else None
        )
        url = "http://localhost" if connector else self.url
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, url + path, json=body, data=data, headers=headers) as answer,
        ):
            text = await answer.text()
            document = json.loads(text) if "json" in answer.content_type and text else text
            return answer.status, document, answer.headers


@asynccontextmanager
async def plane(
    directory: Path,
    instances: Sequence[Instance],
    *,
    unix: bool = False,
    access_keys: AccessKeys | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Plane]:
    """Run a control plane for *instances* with its state in *directory*."""
    schemas = [mailbox.SCHEMA, overlay.SCHEMA, events.SCHEMA, REPLAYS_SCHEMA, SCHEMA, *SCHEMAS]
    store = Store(directory / "state", [*schemas, boot_reports.SCHEMA])
    reports = BootReports(store)
    catalog, box = Catalog(read=reader(store)), Mailbox(store)
    changes = Overlay(store, catalog, instances)
    engine = ResetEngine(store, store.directory, catalog)
    clock = clock or Clock()
    notices = Events(store, now=clock.now)
    day = Day(store, catalog, changes, notices, clock=clock)
    changes.forgetting = (box, engine, notices, reports, day)
    tokens = Tokens([TOKEN, OTHER_TOKEN])
    app = make_control_app(
        catalog,
        box,
        engine,
        tokens,
        overlay=changes,
        replays=Replays(store),
        reports=reports,
        access_keys=access_keys,
        day=day,
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    if unix:
        path = directory / "control.sock"
        await web.UnixSite(runner, path).start()
        url = f"unix://{path}"
    else:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        url = f"http://127.0.0.1:{port}"
    try:
        yield Plane(url, directory, app, runner, store, box, engine, tokens)
    finally:
        engine.drain()
        reports.drain()
        day.drain()
        await runner.cleanup()
        await day.close()
        await clock.close()
        store.close()
