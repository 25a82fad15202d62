"""linklocal state: all that was changed here, saved as one document, loaded, reset."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from .documents import read_json
from .errors import DONE, UsageError
from .output import aside, document, facts
from .parser import Parser, client, wants_json

SAVE = """\
Save what was changed by API, and the passwords that guests have posted, as one JSON document. It
holds user data and hashes of first passwords: the file is readable by you alone."""


def add(commands: Any) -> None:
    group: Parser = commands.add_parser("state", help="what was changed here, as a whole")
    parts = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    save: Parser = parts.add_parser("save", help="save it", description=SAVE)
    save.add_argument("file", metavar="FILE", nargs="?", default="-", help="default: stdout")
    save.add_common()
    save.set_defaults(run=save_state)
    load: Parser = parts.add_parser(
        "load", help="put a saved one in its place, whole or not at all"
    )
    load.add_argument("file", metavar="FILE", help="- is stdin")
    load.add_common()
    load.set_defaults(run=load_state)
    reset: Parser = parts.add_parser("reset", help="drop it: everything is as configured")
    reset.add_common()
    reset.set_defaults(run=reset_state)


def save_state(options: Namespace) -> int:
    from .client import LONG

    found = client(options).get("state", timeout=LONG)
    if options.file == "-":
        print(json.dumps(found, indent=2))
        return DONE
    try:
        write_private(Path(options.file), json.dumps(found, indent=2) + "\n")
    except OSError as error:
        raise UsageError(f"{options.file}: {error.strerror}") from error
    known = {"file": options.file, "overlay": len(found["overlay"])}
    if wants_json(options):
        document({**known, "mailbox": len(found["mailbox"])})
    else:
        aside(f"{options.file}: {_changes(len(found['overlay']))}")
    return DONE


def load_state(options: Namespace) -> int:
    from .client import LONG

    given = read_json(options.file)
    return _done(options, client(options).call("PUT", "state", body=given, timeout=LONG))


def reset_state(options: Namespace) -> int:
    return _done(options, client(options).call("DELETE", "state"))


def _done(options: Namespace, answer: dict[str, Any]) -> int:
    if wants_json(options):
        document(answer)
        return DONE
    unused = answer.pop("unused")
    facts(answer)
    if unused:
        aside(f"not configured here, so nothing is changed for: {', '.join(unused)}")
    return DONE


def _changes(number: int) -> str:
    return f"{number} changed instance{'' if number == 1 else 's'}"


def write_private(path: Path, text: str) -> None:
    """Replace *path* in one step by a file that this user alone can read."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
    sys.stdout.flush()
