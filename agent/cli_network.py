"""The sub-command network: set it up again, as for a NIC that was plugged in, and show it."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, Callable

from .arguments import add_root
from .errors import AgentError, ConfigError

if TYPE_CHECKING:
    from .host import Host
    from .instance import InstanceData

DONE, FAILED = 0, 1


def _add_network(commands: Any) -> None:
    command = commands.add_parser("network", help="set up the network again, or say what does")
    words = command.commands(title="commands")
    apply_ = words.add_parser("apply", help="set it up again; what a hot-plugged NIC needs")
    apply_.add_argument("--metadata-url", metavar="URL", help="where the datasource is asked")
    apply_.add_argument("--datasource", metavar="NAME", help="in place of the boot's")
    add_root(apply_)
    apply_.set_defaults(run=apply)
    show_ = words.add_parser("show", help="what applies it, the NICs, and our files")
    add_root(show_)
    show_.set_defaults(run=show)


COMMANDS: dict[str, Callable[[Any], None]] = {"network": _add_network}


def apply(options: argparse.Namespace) -> int:
    """Set up the network of the instance that this machine is; say what became of it."""
    from . import config
    from .host import Host
    from .journal import log
    from .networking import NAME, Turn
    from .report import BAD, Report

    host = Host(options.root)
    if host.live and os.geteuid() != 0:
        raise ConfigError("network apply: only root may change this machine")
    report = Report()
    settings = config.read(host, report)
    turn = Turn(host, settings, config.base(host, settings, report))
    try:
        words, failure = turn.set_up(_instance(host, options), report)
    finally:
        log.flush_to(host)
    print(f"{NAME}: {failure or words or 'nothing is said of it'}")
    for entry in report.entries:
        if entry.result in BAD:
            print(f"  {entry.place}: {entry.result}: {entry.detail}")
    # A NIC that is not there yet will come with an event of its own.
    broken = any(entry.place == NAME and entry.result == "failed" for entry in report.entries)
    return FAILED if failure or broken else DONE


def show(options: argparse.Namespace) -> int:
    """Print what applies the network here, and to what."""
    from . import config
    from .host import Host
    from .network import backends, nics
    from .report import Report

    host = Host(options.root)
    wished = config.read(host, Report()).network_back_end
    back_end = backends.choose(host, wished)
    print(f"back end: {back_end.name if back_end else 'none'}")
    for nic in nics.look(host) if host.live else ():
        words = [nic.mac or "no address", "up" if nic.up else "down", nic.driver]
        print(f"NIC {nic.name}: {', '.join(filter(None, words))}")
    for path in backends.ours(host):
        print(f"file {path}")
    return DONE


def _instance(host: Host, options: argparse.Namespace) -> InstanceData:
    """Return what the datasource says now; what it said at the boot, when it cannot be asked."""
    from . import status
    from .boot import look
    from .modules.base import STATE
    from .networking import kept
    from .wishes import Wishes

    before = host.read(f"{STATE}/instance-id")
    if before is None:
        raise AgentError("network apply: this machine has not booted as an instance yet")
    known = before.decode("utf-8", "replace").strip()
    name = options.datasource or (status.read(host) or {}).get("datasource")
    wishes = Wishes(metadata_url=options.metadata_url, datasource=name)
    try:
        found = look(host, wishes)
    except AgentError as error:
        last = kept(host)
        if last is None or last.instance_id != known:
            raise
        print(f"linklocal-agent: {error}; what it said at the boot is used", file=sys.stderr)
        return last
    if found.instance_id != known:
        raise AgentError(
            f"network apply: the datasource answers for {found.instance_id}, this is {known}"
        )
    return found
