"""hosts: the machine's own name in /etc/hosts, kept at every boot."""

import re
from typing import Annotated, Any, NamedTuple, Union

from ..report import Report
from ..schema import keys, load
from .base import Context, Frequency, Module, Stage
from .families import Family, family
from .hostname import Hostname, Names, names
from .readers import kind

FILE = "/etc/hosts"
TEMPLATE = "/etc/linklocal/templates/hosts"


def read_manage(raw: object) -> Union[bool, str]:
    """Return True for the template, 'localhost' for the machine's own line, False for neither."""
    word = raw.lower() if isinstance(raw, str) else raw
    if word in (True, "true", "yes", "on", "template"):
        return True
    if word in (False, "false", "no", "off"):
        return False
    if word == "localhost":
        return "localhost"
    raise ValueError(f"expected true, false or localhost, got {kind(raw)}")


class Hosts(NamedTuple):
    """Who keeps /etc/hosts."""

    manage_etc_hosts: Annotated[Union[bool, str], read_manage] = False
    """true: write the whole file from the family's template (or /etc/linklocal/templates/hosts) at
    every boot; localhost: only see to the line with the machine's own name; false: leave it."""


def whole(template: str, wanted: Names) -> str:
    """Return /etc/hosts from *template*; `{{fqdn}}` and `{{hostname}}` are filled in."""
    values = {"fqdn": wanted.full, "hostname": wanted.short}
    return re.sub(r"\{\{\s*(fqdn|hostname)\s*\}\}", lambda found: values[found[1]], template)


def with_own_line(text: str, address: str, wanted: Names) -> str:
    """Return *text* with a line of *address* that holds the names, before those it has."""
    lines = text.splitlines()
    own = [n for n, line in enumerate(lines) if line.split()[:1] == [address]]
    for n in own:
        words = lines[n].partition("#")[0].split()
        if words[1:2] == [wanted.full] and (wanted.short in words[1:]):
            return text
    # The first line of an address is the one that resolves back to a name: ours goes there.
    lines.insert(own[0] if own else len(lines), f"{address} {_line(wanted)}")
    return "\n".join(lines) + "\n"


def _line(wanted: Names) -> str:
    return wanted.full if wanted.full == wanted.short else f"{wanted.full} {wanted.short}"


def _template(context: Context, facts: Family) -> str:
    own = context.host.read(TEMPLATE)
    if own is not None:
        return own.decode("utf-8", "replace")
    return facts.hosts


def apply(section: Hosts, context: Context) -> None:
    """Write /etc/hosts as asked."""
    wanted = _names(context)
    if section.manage_etc_hosts is False or wanted is None:
        return
    facts = family(context.host)
    if section.manage_etc_hosts == "localhost":
        before = (context.host.read(FILE) or b"").decode("utf-8", "surrogateescape")
        after = with_own_line(before, facts.own_address, wanted)
    else:
        after = whole(_template(context, facts).replace("{names}", _line(wanted)), wanted)
    context.host.write(FILE, after.encode("utf-8", "surrogateescape"))


def _names(context: Context) -> Union[Names, None]:
    section: dict[str, Any] = {
        key: context.config[key] for key in keys(Hostname) if key in context.config
    }
    # What is wrong with those keys is the report of the module `hostname`.
    return names(load(Hostname, section, Report()), context.instance.hostname)


MODULE = Module("hosts", Hosts, Stage.NETWORK, Frequency.ALWAYS, apply)
