"""hostname: the machine's name, by the user's keys or else by the instance's own data.

A name that somebody changed after us is theirs: it stays until the instance is another one.
"""

import re
from typing import Annotated, NamedTuple, Optional

from .base import Context, Frequency, Module, Stage
from .families import family
from .memory import recall, remember
from .readers import kind

FILE = "/etc/hostname"
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_ADDRESS = re.compile(r"\d+(\.\d+){3}")


def read_hostname(raw: object) -> str:
    """Return a host name, short or full."""
    text = str(raw) if type(raw) is int else raw
    if isinstance(text, str) and len(text) <= 253 and _NAME.fullmatch(text) and ".." not in text:
        return text
    raise ValueError(f"expected a host name such as 'web-1', got {kind(raw)}")


class Hostname(NamedTuple):
    """The machine's name."""

    hostname: Annotated[Optional[str], read_hostname] = None
    """Short name; from a full one the first label is taken, and the rest is the domain."""
    fqdn: Annotated[Optional[str], read_hostname] = None
    """Full name; its first label is the short name when there is no `hostname`."""
    prefer_fqdn_over_hostname: Optional[bool] = None
    """Set the full name as the machine's name; by default as the distribution has it."""
    preserve_hostname: bool = False
    """Leave the machine's name alone."""
    create_hostname_file: bool = True
    """Make /etc/hostname when it is missing; without it only the running name is set."""


class Names(NamedTuple):
    """What the machine is called. *full* is the same as *short* when no domain is known."""

    short: str
    full: str


def names(section: Hostname, served: Optional[str]) -> Optional[Names]:
    """Return the names asked for, else those of the name *served* by the datasource."""
    if section.fqdn is not None:
        return Names(section.hostname or section.fqdn.partition(".")[0], section.fqdn)
    instance = _served(served)
    if section.hostname is None:
        return instance
    if "." in section.hostname:
        return Names(section.hostname.partition(".")[0], section.hostname)
    # The served domain goes with the name that was asked for; the served name does not.
    domain = instance.full[len(instance.short) :] if instance is not None else ""
    return Names(section.hostname, section.hostname + domain)


def _served(name: Optional[str]) -> Optional[Names]:
    if not name or not _NAME.fullmatch(name):
        return None
    if _ADDRESS.fullmatch(name):
        name = "ip-" + name.replace(".", "-")
    return Names(name.partition(".")[0], name)


def apply(section: Hostname, context: Context) -> None:
    """Set the name in /etc/hostname and in the kernel, unless somebody changed it after us."""
    wanted = names(section, context.instance.hostname)
    if section.preserve_hostname or wanted is None:
        return
    host = context.host
    prefers_fqdn = section.prefer_fqdn_over_hostname
    if prefers_fqdn is None:
        prefers_fqdn = family(host).prefers_fqdn
    name = wanted.full if prefers_fqdn else wanted.short

    found = (host.read(FILE) or b"").decode("utf-8", "replace")
    current = _without_comments(found)
    ours = recall(context, "hostname")
    if ours and current and current not in ours:
        return
    if current != name and (section.create_hostname_file or host.kind(FILE) is not None):
        host.write(FILE, f"{name}\n".encode())
    if (host.read("/proc/sys/kernel/hostname") or b"").decode().strip() != name:
        host.set_hostname(name)
    remember(context, "hostname", name)


def _without_comments(text: str) -> str:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return next((line for line in lines if line), "")


MODULE = Module("hostname", Hostname, Stage.NETWORK, Frequency.ALWAYS, apply, needs_section=False)
