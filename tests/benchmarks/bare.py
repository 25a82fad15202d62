"""The yardstick: a bare aiohttp application with one handler that returns one short text.

Run as a program: prints its port, then serves until it is ended.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web


async def leaf(request: web.Request) -> web.Response:
    return web.Response(text="s3.medium.2")


async def serve() -> None:
    app = web.Application()
    app.router.add_get("/latest/meta-data/instance-type", leaf)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
