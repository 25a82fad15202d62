"""linklocal-resetd: the daemon, and what root asks of it."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

from ..errors import AgentError
from . import kept

if TYPE_CHECKING:
    from ..arguments import Parser
    from .private import PrivateDirectory

NO_SERVICE = 78
"""What a unit is not to restart for: EX_CONFIG, RestartPreventExitStatus=78."""
LOCK_TRIES = 10


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the sub-command; 0 done, 1 failed, 64 not understood, 78 no metadata service known."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        words.insert(0, "run")
    try:
        if words[0] == "run":
            return _run(words)
        options = parser().parse_args(words)
        status: int = options.run(options)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except AgentError as error:
        _say(str(error))
        return 1
    return status


def _run(words: Sequence[str]) -> int:
    """Be the daemon. What is needed but once, at the start, is not kept in its memory."""
    from ..notify import notify
    from .apart import apart

    ended = apart(lambda: _prepared(words))
    if ended.made is None:
        if ended.status == NO_SERVICE:
            # Else systemd would take a machine without a metadata service for one with a fault.
            notify("READY=1\nSTATUS=no metadata service is known here")
        return ended.status
    from .daemon import Daemon, Places
    from .machine import Machine
    from .private import PrivateDirectory
    from .settings import from_json

    made = ended.made
    state = PrivateDirectory(made["state"], mode=0o700)
    run = PrivateDirectory(made["run"], mode=0o755)
    # `status` looks by taking it for an instant.
    for _ in range(LOCK_TRIES):
        lock = run.lock(kept.LOCK)
        if lock is not None:
            break
        time.sleep(0.05)
    else:
        _say(f"{run.path}/{kept.LOCK}: another daemon is running")
        return 1
    places = Places(state, run, Machine(made["root"]), made["console"])
    Daemon(from_json(made["settings"]), places, made["schemes"], _say).run()
    os.close(lock)
    return 0


def _prepared(words: Sequence[str]) -> Mapping[str, Any]:
    from .apply import schemes
    from .service import NoService, located
    from .settings import read

    options = parser().parse_args(words)
    settings = read(options.root, options.config)
    try:
        settings = located(settings, options.root, options.metadata_url)
    except NoService as error:
        _say(str(error))
        raise SystemExit(NO_SERVICE) from None
    state, run = _paths(options)
    return {
        "root": options.root,
        "state": state,
        "run": run,
        "console": options.console or ("/dev/console" if options.root == "/" else None),
        "settings": settings._asdict(),
        "schemes": schemes(),
    }


def _status(options: Any) -> int:
    from . import asking
    from .private import PrivateDirectory

    run = _paths(options)[1]
    return asking.status(PrivateDirectory(run) if os.path.lexists(run) else None, options.json)


def _history(options: Any) -> int:
    from . import asking

    state, _ = _paths(options)
    return asking.history(_run_directory(options), state, options.json)


def _check(options: Any) -> int:
    from contextlib import suppress

    from . import asking
    from .service import NoService, located
    from .settings import read

    settings = read(options.root, options.config)
    # Without one `check` says so among its findings.
    with suppress(NoService):
        settings = located(settings, options.root, None)
    state, _ = _paths(options)
    return asking.check(_run_directory(options), state, options.root, settings, options.json)


def _trust(options: Any) -> int:
    from . import asking

    state, _ = _paths(options)
    return asking.trust(_run_directory(options), state, options.key)


def _set(options: Any) -> int:
    from . import asking

    run = _run_directory(options) if options.root == "/" or options.run_dir else None
    return asking.set_password(run, options.root, options.user)


def _run_directory(options: Any) -> "PrivateDirectory":
    from .private import PrivateDirectory

    return PrivateDirectory(_paths(options)[1], mode=0o755)


def _paths(options: Any) -> tuple[str, str]:
    from .inside import inside

    state = options.state_dir or inside(options.root, kept.STATE_DIRECTORY, follow=False)
    run = options.run_dir or inside(options.root, kept.RUN_DIRECTORY, follow=False)
    return os.path.abspath(state), os.path.abspath(run)


def parser() -> "Parser":
    """Return the parser of all commands."""
    from ..arguments import Parser
    from ..version import VERSION

    places = Parser(add_help=False)
    places.add_argument("--root", default="/", metavar="DIR", help="the machine's root")
    places.add_argument("--state-dir", metavar="DIR", help=f"instead of {kept.STATE_DIRECTORY}")
    places.add_argument("--run-dir", metavar="DIR", help=f"instead of {kept.RUN_DIRECTORY}")
    top = Parser(
        prog="linklocal-resetd", description="Apply the password resets the platform asks for."
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    commands = top.commands()

    run = commands.add_parser("run", parents=[places], help="be the daemon (the default)")
    run.add_argument("--config", metavar="FILE", help="instead of /etc/linklocal/agent.yaml")
    run.add_argument("--metadata-url", metavar="URL", help="the service, by its IP address")
    run.add_argument("--console", metavar="FILE", help="where a new identity is shown")

    status = commands.add_parser("status", parents=[places], help="what the daemon is at")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=_status)

    check = commands.add_parser(
        "check", parents=[places], help="whether a reset would work here, and what is in the way"
    )
    check.add_argument("--config", metavar="FILE", help="instead of /etc/linklocal/agent.yaml")
    check.add_argument("--json", action="store_true")
    check.set_defaults(run=_check)

    history = commands.add_parser("history", parents=[places], help="the resets of this machine")
    history.add_argument("--json", action="store_true")
    history.set_defaults(run=_history)

    trust = commands.add_parser("trust", parents=[places], help="accept another server's key")
    trust.add_argument("key", metavar="KEY")
    trust.set_defaults(run=_trust)

    change = commands.add_parser(
        "set", parents=[places], help="set a password of an image or disk; the hash is on stdin"
    )
    change.add_argument("--user", required=True)
    change.set_defaults(run=_set)
    return top


def _say(text: str) -> None:
    print(f"linklocal-resetd: {text}", file=sys.stderr, flush=True)
