"""The network of a boot: who says what it is to be, what applies it, and that it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import AgentError
from ..host import Host
from ..instance import InstanceData
from ..journal import log
from ..report import Report
from ..secret import Secret
from . import backends, nics
from .backends import BackEnd
from .live import Live
from .model import File, Network
from .places import HEADER
from .places import INTERFACES as OURS
from .resolve import Nic, renames, resolve
from .source_routing import source_routed
from .sources import DISABLED, OF_DATASOURCE, SAYERS, Source, fallback, parse

INTERFACES = "/etc/network/interfaces"
RESOLV_CONF = "/etc/resolv.conf"
RESOLVCONF = "resolvconf"


def set_up(
    host: Host,
    instance: InstanceData,
    base: Mapping[str, Any],
    wished: str | None,
    report: Report,
    theirs: Sequence[str] = (),
) -> str:
    """Make the network of *host* what the first says who says anything; return what was done.

    *base* is the image's own cloud-config, *wished* the back end it names, *theirs* are files that
    ours take the place of. What could not be used or done is in *report*.
    No words when nobody says anything.
    """
    there = nics.look(host) if host.live else None
    found = _first_usable(host, instance, base, there, report, theirs)
    if found is None:
        return "nothing of it could be used" if report.entries else ""
    source, network = found
    if source.kind == DISABLED:
        return f"left alone: disabled by {source.name}"
    back_end = backends.choose(host, wished)
    if back_end is None:
        words = f"none of {', '.join(backends.BACK_ENDS)} is here to apply it"
        if source.name in OF_DATASOURCE:
            # As in a container, whose host sees to its network; a machine of its own has one.
            return f"left alone: {words}"
        if host.live:
            report.failed("network", words)
        else:
            host.not_run.append(f"network: {words}")
        return "there is nothing to configure it with"
    changed = apply(host, network, back_end, there or (), report, theirs)
    word = "written for" if changed else "as it was for"
    return f"{source.name}, {word} {back_end.name}"


def _first_usable(
    host: Host,
    instance: InstanceData,
    base: Mapping[str, Any],
    there: tuple[Nic, ...] | None,
    report: Report,
    theirs: Sequence[str],
) -> tuple[Source, Network] | None:
    """Return the first source of which something can be used, with the network it describes."""
    for sayer in SAYERS:
        try:
            source = sayer(host, base, instance)
        except AgentError as error:
            place, _, words = str(error).partition(": ")
            report.refused(place, words)
            continue
        if source is None:
            continue
        if source.kind == DISABLED:
            return source, Network()
        network = _read(source, there, report)
        if network.links:
            return source, network
    if there is None or backends.has_its_own(host, theirs):
        return None
    last = fallback(host, there)
    return (last, _read(last, there, report)) if last else None


def _read(source: Source, there: tuple[Nic, ...] | None, report: Report) -> Network:
    network = resolve(parse(source, report), there, report)
    # The author of version 2 can say which packets go where, and does when it matters.
    return network if source.kind == "v2" else source_routed(network)


def apply(
    host: Host,
    network: Network,
    back_end: BackEnd,
    there: tuple[Nic, ...],
    report: Report,
    theirs: Sequence[str] = (),
) -> bool:
    """Write the files of *back_end* and have it read them; say whether anything was another."""
    for place, words in back_end.unsaid(network):
        report.failed(place, words)
    files = (*back_end.render(network), *_beside(host, network, back_end))
    names = {file.path for file in files}
    stale = [path for path in (*backends.ours(host), *theirs) if path not in names]
    old = {file.path: host.read(file.path) for file in files}
    changed = bool(stale) or any(old[file.path] != file.text.encode() for file in files)
    for path in stale:
        host.remove(path)
    for file in files:
        host.write(file.path, Secret(file.text.encode()), mode=file.mode)
    if not host.live:
        host.not_run.append(f"{back_end.name} told of its new files")
        return changed
    live = Live(host, report)
    steps = renames(network, there)
    live.rename(steps, there)
    if changed or steps:
        log.info("network: files for %s written, %d links", back_end.name, len(network.links))
        live.apply(back_end, network)
    return changed or bool(steps)


def _beside(host: Host, network: Network, back_end: BackEnd) -> tuple[File, ...]:
    """Return what the back end needs beside its own files."""
    if back_end.name != "ifupdown":
        return ()
    return (*_interfaces(host), *_resolv_conf(host, network))


def _interfaces(host: Host) -> tuple[File, ...]:
    """Return /etc/network/interfaces with a line that has it read ours, when it has none."""
    text = (host.read(INTERFACES) or b"").decode("utf-8", "replace")
    directory = OURS.rpartition("/")[0]
    for line in text.splitlines():
        words = line.split()
        if words[:1] in (["source"], ["source-directory"]) and words[1:]:
            # With any pattern: those in use are `*` and `*.cfg`, and names are often relative.
            name = words[1].rpartition("/*")[0] or words[1]
            if name in (directory, "interfaces.d") and not words[1].endswith(".cfg"):
                return ()
    text = text or "auto lo\niface lo inet loopback\n"
    end = "" if text.endswith("\n") else "\n"
    return (File(INTERFACES, f"{text}{end}\nsource {directory}/*\n"),)


def _resolv_conf(host: Host, network: Network) -> tuple[File, ...]:
    """Return resolv.conf, when nobody else on this machine would write it."""
    servers = dict.fromkeys(each for link in network.links for each in link.nameservers)
    dynamic = any(link.dhcp4 for link in network.links)
    if not servers or dynamic or host.which(RESOLVCONF) or host.kind(RESOLV_CONF) == "link":
        return ()
    search = dict.fromkeys(each for link in network.links for each in link.search)
    lines = [f"nameserver {each}" for each in servers]
    if search:
        lines.append(f"search {' '.join(search)}")
    return (File(RESOLV_CONF, HEADER + "".join(f"{line}\n" for line in lines)),)
