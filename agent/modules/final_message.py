"""final_message: the last words of a boot, to the log and the console."""

import re
import time
from typing import NamedTuple

from ..journal import log
from ..version import VERSION
from .base import Context, Frequency, Module, Stage

DEFAULT = (
    "Linklocal $version finished at $timestamp, $uptime seconds after the start; "
    "datasource $datasource"
)
# $name, ${name} and {{ name }}, in small or capital letters.
_NAME = re.compile(r"\$\{(\w+)\}|\$(\w+)|\{\{\s*(\w+)\s*\}\}")


class FinalMessage(NamedTuple):
    """The last words of a boot."""

    final_message: str = DEFAULT
    """Text; $version, $timestamp, $datasource and $uptime (or {{version}}, …) are filled in."""


def filled(template: str, values: dict[str, str]) -> str:
    """Return *template* with the names it knows filled in; others stay as they are."""

    def value(found: "re.Match[str]") -> str:
        name = (found[1] or found[2] or found[3]).lower()
        return values.get(name, found[0])

    if template.startswith("## template:"):
        template = template.partition("\n")[2]
    return _NAME.sub(value, template)


def apply(section: FinalMessage, context: Context) -> None:
    """Say the message in the log and, on a running machine, on the console."""
    uptime = (context.host.read("/proc/uptime") or b"").split()
    text = filled(
        section.final_message,
        {
            "version": VERSION,
            "timestamp": time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime()),
            "datasource": context.instance.datasource,
            "uptime": uptime[0].decode() if uptime else "unknown",
        },
    )
    log.info("%s", text)
    context.host.console(text.rstrip("\n").encode() + b"\n")


MODULE = Module(
    "final_message",
    FinalMessage,
    Stage.FINAL,
    Frequency.ALWAYS,
    apply,
    needs_section=False,
)
