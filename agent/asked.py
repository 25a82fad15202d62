"""What all sources ask of this machine: user and vendor data, with the help some formats need."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from .config import AgentConfig
from .host import Host
from .instance import InstanceData
from .journal import log
from .report import Report
from .secret import Secret
from .state import RUN, State
from .status import Status
from .user_data.gather import Gathered, Source, Tools
from .user_data.gather import gather as gather_from
from .user_data.parts import Part, Refused

PATIENCE = 300.0
"""Seconds after which no further include is fetched."""
KERNEL_URLS = ("cloud-config-url=",)


class Machine(NamedTuple):
    """What a boot works with."""

    host: Host
    config: AgentConfig
    state: State
    status: Status


def gather(
    machine: Machine,
    instance: InstanceData,
    base: Mapping[str, Any],
    report: Report,
    *,
    top: Mapping[str, Any],
    kept: Mapping[str, tuple[Part, ...]],
) -> Gathered:
    """Return what all sources ask for: *top*, the user, the vendor, the kernel's line, *base*.

    *kept* are the parts that an earlier stage of this boot found, or an earlier boot.
    """
    sources = []
    if base.get("allow_userdata") is False:
        report.notice("user data", "switched off by allow_userdata of the image")
    else:
        sources.append(Source("", instance.user_data))
    if machine.config.vendor_data:
        # The second lies above the first.
        vendors = (
            Source("vendor data 2", instance.vendor_data2 or Secret(b""), "vendor_data2"),
            Source("vendor data", instance.vendor_data or Secret(b""), "vendor_data"),
        )
        sources += [source for source in vendors if source.content or source.origin in kept]
    url = _kernel_url(machine.host)
    if url:
        sources.append(Source("kernel command line", Secret(b"#include\n" + url.encode())))
    if kept:
        sources = [source._replace(parts=kept.get(source.origin, ())) for source in sources]
    # What only some user data needs is made when it is asked for.
    tools = Tools(
        includes=_Includes(machine),
        values=partial(_values, machine.host, instance),
        handle=partial(_handle, machine, report),
    )
    return gather_from(
        sources,
        base,
        report,
        top=top,
        launch_index=instance.launch_index,
        base64=instance.datasource == "ec2",
        tools=tools,
    )


class _Includes:
    """Fetches includes; urllib is imported by the first."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._until = time.monotonic() + PATIENCE

    def get(self, url: str, *, once: bool, limit: int) -> bytes:
        """Return what is at *url*."""
        from .user_data.fetch import Fetcher
        from .user_data.include import shown

        if time.monotonic() > self._until:
            raise Refused(f"{shown(url)}: not fetched: all before took {PATIENCE:g} seconds")
        state, status = self._machine.state, self._machine.status
        content = Fetcher(state, tell=status.wait).get(url, once=once, limit=limit)
        log.info("included %s, %d bytes", shown(url), len(content))
        return content


def _values(host: Host, instance: InstanceData) -> Mapping[str, Any]:
    from .instance_data import template_values

    return template_values(host, instance)


def _handle(
    machine: Machine, report: Report, origin: str, parts: tuple[Part, ...]
) -> tuple[Part, ...]:
    from .part_handlers import Place, handle

    name = "-".join(["part-handlers", *origin.split()])
    timeout = machine.config.script_timeout
    place = Place(machine.state.scripts, f"{RUN}/agent", name, timeout, origin)
    return handle(machine.host, report, machine.state, place, parts)


def _kernel_url(host: Host) -> str:
    """Return the URL of a cloud-config that the kernel's command line names, empty without."""
    for word in (host.read("/proc/cmdline") or b"").decode("utf-8", "replace").split():
        for key in KERNEL_URLS:
            if word.startswith(key):
                return word[len(key) :]
    return ""
