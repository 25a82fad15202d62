"""The sub-commands for after a boot: query, analyze, doctor, clean, collect-logs, lockdown."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Callable

from .arguments import add_root
from .errors import AgentError, HostError

DONE, FAILED, RUNNING = 0, 1, 3


def _add_query(commands: Any) -> None:
    command = commands.add_parser("query", help="what is known of the instance")
    command.add_argument("key", metavar="KEY", nargs="?", help="such as v1.instance_id, userdata")
    command.add_argument("-l", "--list-keys", action="store_true", help="only the names")
    command.add_argument("--metadata-url", metavar="URL", help="where root asks again")
    command.add_argument("--datasource", metavar="NAME", help="in place of the boot's")
    add_root(command)
    command.set_defaults(run=query)


def _add_analyze(commands: Any) -> None:
    command = commands.add_parser("analyze", help="where the boot's time went")
    command.add_argument("--svg", metavar="FILE", help="also as a picture; - for standard output")
    command.add_argument("--json", action="store_true", help="for programs")
    add_root(command)
    command.set_defaults(run=analyze)


def _add_collect_logs(commands: Any) -> None:
    command = commands.add_parser("collect-logs", help="all a helper needs, without secrets")
    command.add_argument("-t", "--tarfile", metavar="FILE", default="linklocal-logs.tar.gz")
    help_text = "also what scripts printed, whatever is in it"
    command.add_argument("--include-outputs", action="store_true", help=help_text)
    add_root(command)
    command.set_defaults(run=collect_logs)


def _add_clean(commands: Any) -> None:
    command = commands.add_parser("clean", help="forget all boots, as if this were the first")
    command.add_argument("-l", "--logs", action="store_true", help="the logs, too")
    help_text = "make an image: reset keys, ssh host keys and machine id go, too"
    command.add_argument("--seal", action="store_true", help=help_text)
    add_root(command)
    command.set_defaults(run=clean)


def _add_doctor(commands: Any) -> None:
    command = commands.add_parser("doctor", help="whether all is well here, and what to do")
    command.add_argument("--json", action="store_true", help="for programs")
    add_root(command)
    command.set_defaults(run=doctor)


def _add_lockdown(commands: Any) -> None:
    command = commands.add_parser("lockdown", help="let only root reach the metadata service")
    command.add_argument("--undo", action="store_true", help="let everybody reach it again")
    command.add_argument("--status", action="store_true", help="say whether it is in place; 1: no")
    command.add_argument(
        "--allow-forwarded", action="store_true", help="containers may reach it all the same"
    )
    command.set_defaults(run=lockdown)


COMMANDS: dict[str, Callable[[Any], None]] = {
    "query": _add_query,
    "analyze": _add_analyze,
    "collect-logs": _add_collect_logs,
    "clean": _add_clean,
    "doctor": _add_doctor,
    "lockdown": _add_lockdown,
}


def query(options: argparse.Namespace) -> int:
    """Print a value, or everything."""
    from .host import Host
    from .query import document_key, find, is_redacted, known, served

    host = Host(options.root)
    field = document_key(options.key or "")
    if field:
        if os.geteuid() != 0:
            raise HostError(f"{options.key}: only root is shown it")
        sys.stdout.buffer.write(served(_asked_again(host, options), field))
        return DONE
    values: Any = known(host)
    if options.key:
        value = find(values, options.key)
        if is_redacted(value) and os.geteuid() == 0:
            from .instance_data import template_values

            value = find(template_values(host, _asked_again(host, options)), options.key)
        values = value
    if options.list_keys:
        names = values if isinstance(values, dict) else ()
        print("\n".join(sorted(map(str, names))))
    elif isinstance(values, str):
        print(values)
    else:
        _print_json(values)
    return DONE


def analyze(options: argparse.Namespace) -> int:
    """Print the table, and draw the picture where one is asked for."""
    from . import status, timeline
    from .host import Host

    record = status.read(Host(options.root))
    if record is None:
        print("status: not started")
        return RUNNING
    found = timeline.spans(record)
    if options.svg:
        title = f"Boot of {record['instance_id'] or 'this machine'}"
        picture = timeline.svg(found, title)
        if options.svg == "-":
            sys.stdout.write(picture)
            return DONE
        Host().write(os.path.abspath(options.svg), picture.encode(), mode=0o644)
    if options.json:
        whole, waited, worked = timeline.totals(found)
        rows = [span._asdict() for span in found]
        _print_json({"seconds": whole, "waiting": waited, "working": worked, "spans": rows})
    else:
        print(timeline.table(found))
    return DONE


def collect_logs(options: argparse.Namespace) -> int:
    """Write the archive and say where it is."""
    from .collect import archive
    from .host import Host

    content = archive(Host(options.root), outputs=options.include_outputs)
    path = os.path.abspath(options.tarfile)
    Host().write(path, content, mode=0o600, owner=f"{os.geteuid()}:{os.getegid()}")
    print(f"wrote {path}")
    return DONE


def clean(options: argparse.Namespace) -> int:
    """Forget, and say what is gone."""
    from . import clean as cleaning
    from . import config
    from .host import Host
    from .report import Report

    host = Host(options.root)
    # Read first: what cannot be read stops us before anything is stopped or gone.
    stands_in = config.read(host, Report()).cloud_init_compat
    if host.live:
        if os.geteuid() != 0:
            raise HostError("clean: only root may forget the boots of this machine")
        cleaning.refuse_amid_a_boot(host)
        for unit in cleaning.quiesce(host) if options.seal else ():
            print(f"stopped {unit}")
    for path in cleaning.clean(host, logs=options.logs, seal=options.seal, stands_in=stands_in):
        print(f"removed {path}" if path != "/etc/machine-id" else f"emptied {path}")
    if options.seal and host.live and not cleaning.in_chroot(host):
        print("sealed: switch it off now, a boot would make it a machine of its own again")
    return DONE


def doctor(options: argparse.Namespace) -> int:
    """Print what was looked at; 1 when something is in the way of a boot or a reset."""
    from .doctor import findings
    from .host import Host

    found = list(findings(Host(options.root)))
    if options.json:
        _print_json([each._asdict() for each in found])
    else:
        for each in found:
            print(f"{each.mark:8}{each.what}{': ' if each.problem else ''}{each.problem}")
            if each.problem and each.remedy:
                print(f"{'':8}  to do: {each.remedy}")
    return FAILED if any(each.problem and each.fatal for each in found) else DONE


def lockdown(options: argparse.Namespace) -> int:
    """Put the filter in place, or take it away, or say whether it is there."""
    from . import config
    from . import lockdown as rule
    from .host import Host
    from .report import Report

    host = Host()
    if os.geteuid() != 0:
        raise HostError("lockdown: only root may change the packet filter")
    if options.status:
        there = rule.in_place(host)
        print("in place" if there else "not in place")
        return DONE if there else FAILED
    if options.undo:
        print(f"undone with {rule.undo(host)}: everybody may reach the metadata service")
        return DONE
    urls = config.read(host, Report()).metadata_urls
    wish = rule.wanted(urls, forwarded=not options.allow_forwarded)
    print(f"in place with {rule.apply(host, wish)}: only root reaches {', '.join(wish.addresses)}")
    return DONE


def _asked_again(host: Any, options: argparse.Namespace) -> Any:
    """Return the instance's data, from its datasource, now."""
    from . import status
    from .boot import Wishes, look

    record = status.read(host)
    name = options.datasource or (record or {}).get("datasource")
    if name in (None, "file", "none"):
        raise AgentError("this boot had no datasource to ask again")
    return look(host, Wishes(metadata_url=options.metadata_url, datasource=name))


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2))
