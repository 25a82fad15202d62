"""linklocal capture: the metadata service around this guest, as an instance to be served again."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any, Final

from .errors import DEGRADED, DONE, CtlError, UsageError
from .output import aside, cell
from .parser import Parser, wants_json
from .state import write_private

DEFAULT: Final = "http://169.254.169.254"

DESCRIPTION: Final = f"""\
Walk a metadata service from inside its guest ({DEFAULT} unless a URL is given)
and print an instance that linklocal-server serves with the same answers:
  linklocal capture --output vm.yaml && linklocal-server --instance vm.yaml
Credentials, mailboxes and password resets are never asked for. What may hold secrets is left out,
and named: user data, vendor data, injected files, signatures, and values that look like secrets.
--keep takes them in.
Exit status: 0 all of it is in the document, 2 some paths will answer otherwise and are named."""


def add(commands: Any) -> None:
    made: Parser = commands.add_parser(
        "capture", help="a real metadata service, as an instance file", description=DESCRIPTION
    )
    made.add_argument("service", metavar="URL", nargs="?", default=DEFAULT)
    made.add_argument("--output", metavar="FILE", help="write it here, for this user alone to read")
    made.add_argument(
        "--keep",
        action="append",
        default=[],
        choices=("user-data", "vendor-data", "files", "signatures", "values", "all"),
        help="take this in too, with the secrets that are in it; repeatable",
    )
    made.add_argument("--json", action="store_true", help="JSON instead of YAML")
    made.set_defaults(run=run)


def run(options: Namespace) -> int:
    from ..capture.describe import describe
    from ..capture.scrub import KINDS
    from ..capture.walk import CaptureError, walk

    keep = KINDS if "all" in options.keep else tuple(options.keep)
    try:
        found = describe(walk(options.service), keep)
    except CaptureError as error:
        raise CtlError(str(error)) from error
    text = _text(found.document, as_json=wants_json(options))
    if options.output is None:
        print(text, end="")
    else:
        try:
            write_private(Path(options.output), text)
        except OSError as error:
            raise UsageError(f"{options.output}: {error.strerror}") from error
    for place in found.scrubbed:
        aside(f"left out: {cell(place.lstrip('.'))}")
    for path in found.different:
        aside(f"will answer otherwise: {cell(path)}")
    return DEGRADED if found.different else DONE


def _text(document: dict[str, Any], *, as_json: bool) -> str:
    if as_json:
        return json.dumps(document, indent=2) + "\n"
    # PyYAML is not for the commands that write none.
    import yaml

    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100))
