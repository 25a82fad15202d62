"""The `linklocal` command as a process of its own, and a whole server for it to talk to."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import aiohttp

from metadata_server.config import Control, ServerConfig, Tls
from metadata_server.config_values import Listen, UnixListen
from metadata_server.instance import Instance
from metadata_server.reset.engine import ResetEngine
from metadata_server.server import running

TOKEN = "correct-horse-battery-staple"
REPOSITORY = Path(__file__).parents[2]
ANY_PORT = Listen(IPv4Address("127.0.0.1"), 0)


@dataclass(frozen=True)
class Served:
    """A running server as its operator sees it, and as its guests do."""

    url: str
    guest_url: str
    token_file: Path
    engine: ResetEngine

    async def guest(
        self, method: str, path: str, *, json: object = None, data: bytes | None = None
    ) -> tuple[int, bytes]:
        """Return status and body of a request as the guest behind this machine's loopback."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.guest_url + path, json=json, data=data) as answer,
        ):
            return answer.status, await answer.read()


@dataclass
class Ran:
    """What a command left behind."""

    status: int | None
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@asynccontextmanager
async def served(
    directory: Path, *instances: Instance, unix: bool = False, tls: Tls | None = None
) -> AsyncIterator[Served]:
    """Run a server for *instances*, the first of which answers this machine's loopback."""
    first, *others = instances
    first = replace(first, identify=replace(first.identify, default=True))
    config = ServerConfig(
        listen=(ANY_PORT,),
        control=Control(listen=UnixListen(str(directory / "control.sock")) if unix else ANY_PORT),
        state=directory / "state",
        instances=(first, *others),
        tls=tls,
    )
    token_file = directory / "control-token"
    token_file.touch(0o600)
    token_file.write_text(TOKEN + "\n")
    async with running(config, token=TOKEN) as server:
        yield Served(
            server.control_url.replace("https://127.0.0.1", "https://localhost"),
            server.guest_url,
            token_file,
            server.engine,
        )


async def linklocal(
    *arguments: str,
    stdin: bytes = b"",
    environ: Mapping[str, str] | None = None,
    at: Served | None = None,
) -> Ran:
    """Run the command for *at*, found through the environment, without a terminal."""
    process = await start(*arguments, environ=environ, at=at, stdin=asyncio.subprocess.PIPE)
    out, err = await process.communicate(stdin)
    return Ran(process.returncode, out.decode(), err.decode())


async def start(
    *arguments: str,
    stdin: int,
    environ: Mapping[str, str] | None = None,
    at: Served | None = None,
    stderr: int = asyncio.subprocess.PIPE,
) -> asyncio.subprocess.Process:
    """Start the command in a session of its own."""
    found = {"LINKLOCAL_URL": at.url, "LINKLOCAL_TOKEN_FILE": str(at.token_file)} if at else {}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "metadata_server.ctl",
        *arguments,
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], **found, **(environ or {})},
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )


async def at_terminal(at: Served, *arguments: str, answers: Sequence[str]) -> tuple[int, str]:
    """Run the command at a terminal where *answers* are typed; return its status and stdout."""
    ours, theirs = pty.openpty()
    try:
        process = await start(*arguments, at=at, stdin=theirs)
        assert process.stderr is not None
        for answer in answers:
            # The prompt comes after the echo was switched off and what was typed thrown away.
            await process.stderr.readuntil(b": ")
            os.write(ours, answer.encode() + b"\n")
        out, err = await process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    for answer in answers:
        assert answer.encode() not in err
    assert process.returncode is not None
    return process.returncode, out.decode()
