"""linklocal-server: arguments to a configuration, the configuration to a running server."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import resource
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from . import notify, shortcuts
from .config import ServerConfig, exposed, json_schema, load, unheard
from .config_values import CONTROL_LISTEN, LISTEN, read_control_listen, read_listen
from .errors import ConfigError, ServerError
from .example import example_instance
from .files import Shortage
from .listeners import inherited
from .runtime import publish, runtime_directory, withdraw
from .secret import Secret
from .server import Server, running

log = logging.getLogger(__name__)

T = TypeVar("T")

FAILED: Final = 1
BAD_USAGE: Final = 64

EPILOG: Final = """\
Without --config it serves --instance files, or else a built-in example, at 127.0.0.1:8254, keeps
its state in a temporary directory, and leaves its control URL and a fresh token for the linklocal
command. SIGHUP reads the configuration again; SIGTERM finishes what is under way and stops.
Exit status: 0 stopped when asked, 1 failed, 64 bad usage.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(BAD_USAGE, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    if arguments.print_schema:
        return _print_schema()
    try:
        given = inherited(os.environ)
        config = _load(arguments)
        if arguments.check_config:
            for line in (*unheard(config), *exposed(config)):
                print(f"warning: {line}", file=sys.stderr)
            print(f"no mistakes, {_count(len(config.instances), 'instance')}")
            return 0
        _start_logging(config)
        return _run(config, arguments, given)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
    except ServerError as error:
        print(error, file=sys.stderr)
    return FAILED


def _print_schema() -> int:
    try:
        print(json.dumps(json_schema(), indent=2, ensure_ascii=False), flush=True)
    except BrokenPipeError:
        # The reader has had enough; Python would complain once more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="linklocal-server",
        description="Serve instance metadata to guests and a control plane to operators.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", help="configuration, YAML or JSON")
    add(
        "--listen",
        action="append",
        type=_argument(read_listen, LISTEN.expected),
        metavar="ADDRESS:PORT",
        help="serve guests here instead; also [IPV6]:PORT and ADDRESS%%INTERFACE:PORT; repeatable",
    )
    add(
        "--control",
        type=_argument(read_control_listen, CONTROL_LISTEN.expected),
        metavar="ADDRESS:PORT",
        help="serve operators here instead; also unix:PATH",
    )
    add(
        "--instance",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="serve the instance, or the list of instances, in FILE too; repeatable",
    )
    add("--state", type=Path, metavar="DIR", help="keep the state here instead")
    shortcuts.add(parser)
    add("--check-config", action="store_true", help="read everything, say what is wrong, stop")
    add("--print-schema", action="store_true", help="print the JSON schema of FILE, stop")
    add("--version", action="version", version=f"%(prog)s {_version()}")
    return parser


def _argument(reader: Callable[[str], T], expected: str) -> Callable[[str], T]:
    def read(text: str) -> T:
        try:
            return reader(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}") from None

    return read


def _load(arguments: argparse.Namespace) -> ServerConfig:
    """Return the configuration with what the command line says over it."""
    config = load(arguments.config, arguments.instance)
    if arguments.listen:
        config = replace(config, listen=tuple(arguments.listen))
    if arguments.control:
        config = replace(config, control=replace(config.control, listen=arguments.control))
    state = arguments.state or config.state or os.environ.get("STATE_DIRECTORY")
    if state:
        config = replace(config, state=Path(state))
    if arguments.config is None and not arguments.instance:
        loopback = all(listen.host.is_loopback for listen in config.listen)
        config = replace(config, instances=(example_instance(loopback=loopback),))
    return shortcuts.applied(config, arguments)


def _run(
    config: ServerConfig, arguments: argparse.Namespace, given: Sequence[socket.socket]
) -> int:
    # Nothing that this process writes is for others, whoever writes it.
    os.umask(0o077)
    raise_file_limit()
    # With many instances, to look for garbage among them takes longer than to know them.
    gc.disable()
    loop = new_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_serve(config, arguments, given))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    return 0


async def _serve(
    config: ServerConfig, arguments: argparse.Namespace, given: Sequence[socket.socket]
) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stop)
    loop.add_signal_handler(signal.SIGHUP, changed.set)
    token = None if config.control.tokens_file else secrets.token_urlsafe(32)
    directory = runtime_directory(os.environ, os.geteuid())
    async with running(config, token=token, given=given) as server:
        try:
            if token is not None:
                publish(directory, server.control_url, Secret(token.encode()))
            await shortcuts.begin(server.day, arguments)
            # What is known now stays: no collection of garbage has to look at it again and again.
            gc.freeze()
            gc.enable()
            _announce(server, directory if token is not None else None, arguments)
            tasks = [
                asyncio.create_task(_reload(server, changed, arguments)),
                asyncio.create_task(_tell_alive()),
            ]
            await stop.wait()
            for task in tasks:
                task.cancel()
            notify.stopping()
            log.info("stopping")
        finally:
            if token is not None:
                withdraw(directory, Secret(token.encode()))


async def _tell_alive() -> None:
    """Tell systemd's watchdog that this loop turns; a stuck one is started again."""
    seconds = notify.watchdog_seconds()
    while seconds is not None:
        notify.alive()
        await asyncio.sleep(seconds)


def _stop(stop: asyncio.Event) -> None:
    if stop.is_set():
        log.warning("stopped at once by a second signal")
        logging.shutdown()
        # Acknowledged writes are on disk already; nothing else is worth another second.
        os._exit(FAILED)
    stop.set()


async def _reload(server: Server, changed: asyncio.Event, arguments: argparse.Namespace) -> None:
    """At each SIGHUP serve the new configuration, or say why the old one stays."""
    while True:
        await changed.wait()
        changed.clear()
        notify.reloading()
        try:
            config = await asyncio.to_thread(_load, arguments)
            await server.reload(config)
        except ConfigError as error:
            for problem in error.problems:
                log.error("%s", problem)
            log.error("not reloaded: the configuration of before is still served")
        else:
            _warn(config)
            log.info("reloaded, %s", _count(len(config.instances), "instance"))
        notify.ready(_status(server))


def _announce(server: Server, directory: Path | None, arguments: argparse.Namespace) -> None:
    """Print one line for each address, and what to try when nothing was configured."""
    lines = [f"ready: guests at {url}" for url in server.guest_urls]
    lines.append(f"ready: control at {server.control_url}")
    if arguments.config is None:
        lines.append(f"try: curl {server.guest_url}/openstack/latest/meta_data.json")
        lines.append(f"try: curl {server.guest_url}/latest/meta-data/")
        lines.append("try: linklocal instance list")
    if directory is not None:
        lines.append(f"the control URL and its token are in {directory}")
    if server.config.state is None:
        lines.append("the state is temporary and goes with this process")
    print("\n".join(lines), flush=True)
    if not server.config.instances:
        log.warning("no instance is configured: every guest gets 404")
    _warn(server.config)
    notify.ready(_status(server))


def _warn(config: ServerConfig) -> None:
    for line in (*unheard(config), *exposed(config)):
        log.warning("%s", line)


def _status(server: Server) -> str:
    return f"Serving {_count(len(server.catalog), 'instance')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _start_logging(config: ServerConfig) -> None:
    # The journal has its own clock.
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        level=config.log.level.upper(),
        format=f"{stamp}%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def new_loop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop
    try:
        import uvloop
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    Shortage(loop).watch()
    return loop


def raise_file_limit() -> None:
    """Allow as many connections as the host lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _version() -> str:
    try:
        return metadata.version("linklocal")
    except metadata.PackageNotFoundError:
        return "from a checkout"
