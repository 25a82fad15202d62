"""The process of the part handlers: it knows nothing of the agent and is told all by its parent.

Started as `python3 -I -c THIS RESULTS`. On standard input: the parts in order, and whether this is
the instance's first boot. In RESULTS: one JSON object a line, as it goes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import traceback
import types
from typing import Any, Callable

ALWAYS, INSTANCE = "always", "once-per-instance"
HANDLER = "text/part-handler"


class Handler:
    """One part handler, as its author wrote it."""

    def __init__(self, name: str, source: bytes, first: bool) -> None:
        self.name = name
        self._module = types.ModuleType("part_handler")
        # Its author is who wrote the user data, whose every script runs as root, too.
        exec(compile(source, name, "exec"), self._module.__dict__)  # noqa: S102
        self.types = tuple(str(kind) for kind in self._module.list_types())
        self._frequency = getattr(self._module, "frequency", INSTANCE)
        self.active = first or self._frequency == ALWAYS
        """Whether it is given parts in this boot."""
        if self.active:
            self.call("__begin__")

    def call(
        self,
        kind: str,
        name: str | None = None,
        payload: str | bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Hand it one part, with as many arguments as its version has."""
        frequency = ALWAYS if self._frequency == ALWAYS else INSTANCE
        version = int(getattr(self._module, "handler_version", 1))
        more = (frequency, headers or {})[: max(0, min(version, 3) - 1)]
        self._module.handle_part(None, kind, name, payload, *more)


def say(**words: Any) -> None:
    """Add a line to the results."""
    with open(sys.argv[1], "a", encoding="utf-8") as file:
        file.write(json.dumps(words) + "\n")


def attempt(name: str, work: Callable[[], object]) -> Any:
    """Do *work*; return its value, or say that the part *name* failed and return None.

    The text of what went wrong may quote a secret: it is for the private output alone.
    """
    try:
        return work()
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        say(part=name, result="failed", detail=type(error).__name__)
    return None


def main() -> None:
    """Go through the parts in order; a later handler of a type stands in for an earlier one."""
    told = json.load(sys.stdin)
    by_type: dict[str, Handler] = {}
    handlers: list[Handler] = []
    for part in told["parts"]:
        name, payload = part["name"], base64.b64decode(part["content"])
        if part["type"] == HANDLER:
            made = attempt(name, lambda: Handler(name, payload, told["first"]))  # noqa: B023
            if made is not None:
                handlers.append(made)
                by_type.update(dict.fromkeys(made.types, made))
                say(part=name, result="done", types=made.types, called=made.active)
        elif part["type"] in by_type:
            hand(by_type[part["type"]], part, payload)
    for each in handlers:
        if each.active:
            attempt(each.name, lambda: each.call("__end__"))  # noqa: B023 - called at once
    say(finished=True)


def hand(handler: Handler, part: dict[str, Any], payload: bytes) -> None:
    """Hand one part to *handler*, as text where it is text."""
    name, content = part["name"], payload
    text: str | bytes = content
    with contextlib.suppress(UnicodeDecodeError):
        text = content.decode("utf-8")
    say(part=name, by=handler.name)
    if handler.active:
        attempt(name, lambda: handler.call(part["type"], name, text, part["headers"]))
    say(part=name, ended=True, called=handler.active)


if __name__ == "__main__":
    main()
