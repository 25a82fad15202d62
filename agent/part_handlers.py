"""Part handlers: Python that a user sends to handle parts of types of his own.

It runs in a process of its own, as root like any script of the user's, in bounded time.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from .errors import HostError
from .host import Host
from .modules.base import Frequency, Marks, Past
from .report import BAD, INTERRUPTED, Entry, Report, earlier
from .scripts import status_text
from .secret import Secret
from .state import LARGEST
from .user_data.parts import HANDLER, Part

TIMEOUT = 300.0


class Place(NamedTuple):
    """Where the handlers of one source work, and what their process is given."""

    directory: str
    """Private, for the output at the first boot, which stays."""
    later: str
    """The same for every other boot."""
    name: str
    """Of the files in it, and of the mark."""
    timeout: float | None
    origin: str


def handle(
    host: Host, report: Report, marks: Marks, place: Place, parts: tuple[Part, ...]
) -> tuple[Part, ...]:
    """Run the part handlers among *parts*; return the parts with what became of each.

    A handler is given the parts that come after it, at the first boot of an instance or, when it
    says so, at every boot. What it takes nobody else does.
    """
    if not host.runs or host.records:
        why = "programs cannot be run here"
        return tuple(
            part._replace(result="not run", detail=why) if _is_handler(part) else part
            for part in parts
        )
    python = sys.executable if host.live else host.which("python3")
    if not python:
        return tuple(_failed(part, "there is no python3") for part in parts)
    past = marks.claim(Frequency.INSTANCE, place.name)
    told = json.dumps({"first": past is None, "parts": [_told(part) for part in parts]})
    results = f"{place.directory}/{place.name}.results"
    output = f"{place.directory if past is None else place.later}/{place.name}.output"
    failure = ""
    try:
        host.make_directory(place.later, mode=0o700)
        host.write(results, b"", mode=0o600)
        done = host.run(
            [python, "-I", "-c", _source(), results],
            stdin=Secret(told.encode()),
            timeout=place.timeout or TIMEOUT,
            output=output,
            what="part handlers",
        )
        failure = status_text(done.status) or "their process ended early"
    except HostError as error:
        failure = str(error)
    lines = _lines(host.read(results, limit=LARGEST) or b"")
    host.remove(results)
    finished = any(line.get("finished") for line in lines)
    settled = _settled(parts, lines, "" if finished else failure)
    what = f"{place.origin} part handlers".strip()
    if past is None:
        marks.ended(Frequency.INSTANCE, place.name, _troubles(settled))
        return settled
    if not past.ended:
        report.failed(what, INTERRUPTED)
    called = {str(line.get("part")) for line in lines if line.get("called")}
    return _with_past(settled, past, called)


def _troubles(settled: Sequence[Part]) -> list[Entry]:
    """Return what was not done as asked; what is for a handler that failed is nobody's then."""
    return [Entry(part.name, part.result, part.detail) for part in settled if part.result in BAD]


def _with_past(parts: Sequence[Part], past: Past, called: Collection[str]) -> tuple[Part, ...]:
    """Return *parts* with what became of them at the first boot, but for those *called* now."""
    known = {entry.place: earlier(entry) for entry in past.troubles}
    return tuple(
        part._replace(result=known[part.name].result, detail=known[part.name].detail)
        if part.name in known and part.name not in called and part.result == "done"
        else part
        for part in parts
    )


def _settled(
    parts: Sequence[Part], lines: Sequence[dict[str, Any]], failure: str
) -> tuple[Part, ...]:
    """Return *parts* with what *lines* say of each; *failure*: why nothing more is said."""
    about: dict[str, dict[str, Any]] = {}
    for line in lines:
        about.setdefault(str(line.get("part")), {}).update(line)
    settled = []
    types: set[str] = set()
    for part in parts:
        said = about.get(part.name, {})
        types.update(said.get("types", ()))
        if said.get("by"):
            part = part._replace(handler=str(said["by"]), result="done", detail="")
        if said.get("result") == "failed":
            where = f"its part handler {said['by']}" if said.get("by") else "the part handler"
            part = part._replace(result="failed", detail=f"{where}: {said.get('detail')}")
        elif said.get("by") and not said.get("ended"):
            detail = f"its part handler {said['by']}: {failure}"
            part = part._replace(result="failed", detail=detail)
        elif _is_handler(part) and not said:
            part = _failed(part, f"the part handler: {failure or 'was not come to'}")
        elif failure and not said and _may_be_taken(part) and part.declared in types:
            detail = f"the part handlers ended before it: {failure}"
            part = part._replace(result="not run", detail=detail, handler="none")
        settled.append(part)
    return tuple(settled)


def _told(part: Part) -> dict[str, Any]:
    """Return what the process is told of *part*: nothing but its name when it is not for it."""
    taken = _is_handler(part) or _may_be_taken(part)
    return {
        "name": part.name,
        "type": part.declared if taken else "",
        "content": base64.b64encode(part.content.reveal() if taken else b"").decode("ascii"),
        "headers": dict(part.headers),
    }


def _is_handler(part: Part) -> bool:
    return part.type == HANDLER and part.result == "done"


def _may_be_taken(part: Part) -> bool:
    # What is refused for its type alone has kept its content.
    return part.type != HANDLER and (
        part.result == "done" or (part.result in ("refused", "not run") and bool(part.content))
    )


def _failed(part: Part, why: str) -> Part:
    return part._replace(result="failed", detail=why) if _is_handler(part) else part


def _lines(content: bytes) -> list[dict[str, Any]]:
    lines = []
    for text in content.decode("utf-8", "replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # The last one, cut off with its writer.
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _source() -> str:
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "handler_child.py")
    with open(path, encoding="utf-8") as file:
        return file.read()
