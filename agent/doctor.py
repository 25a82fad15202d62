"""Whether Linklocal is well on this machine: what was looked at, what is wrong, what to do.

Nothing is changed. The metadata service is asked only where configuration, the kernel line or DMI
names one, as at a boot.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import NamedTuple

from . import config, status
from .boot import USUAL_URL
from .datasources.detect import detect
from .errors import AgentError, HostError
from .host import Host
from .modules.base import STATE
from .report import BAD, Report
from .state import RUN

GENERATOR = f"{RUN}/generator"
BESIDE = "cloud-init is at work here"
"""How the generator's reason ends where it starts the reset daemon alone."""
UNITS = (
    *("linklocal-agent.service", "linklocal-network.service", "linklocal-config.service"),
    *("linklocal-final.service", "linklocal-resetd.service"),
)
MODES = (
    (STATE, 0o700),
    ("/var/lib/linklocal/resetd", 0o700),
    ("/run/linklocal/status.json", 0o644),
    ("/var/log/linklocal/agent.log", 0o640),
    (config.PATH, 0o644),
)
SKEW = 300.0
"""Seconds that this clock may differ from the service's: packages and certificates mind more."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    problem: str = ""
    """Empty when it is as it should be."""
    remedy: str = ""
    fatal: bool = True
    """Whether the machine cannot do its work so."""

    @property
    def mark(self) -> str:
        """Return the word before it: ok, note or problem."""
        return "ok" if not self.problem else "problem" if self.fatal else "note"


def findings(host: Host) -> Iterator[Finding]:
    """Give what is found, in the order in which it is to be mended."""
    report = Report()
    try:
        settings = config.read(host, report)
    except AgentError as error:
        yield Finding("configuration", str(error), f"mend {config.PATH}")
        settings = config.AgentConfig()
    else:
        yield from _configuration(report)
    yield from _files(host)
    if host.live:
        yield from _units(host)
    name, reason = _datasource(host, settings)
    if not name:
        yield Finding(
            "datasource", reason, f"name one in {config.PATH}: `datasource: openstack`", fatal=False
        )
    elif name in ("openstack", "ec2") and host.live:
        yield Finding(f"datasource {name}, by {reason}")
        yield from _service(settings, name)
    else:
        yield Finding(f"datasource {name}, by {reason}")
    if not _reason(host).endswith(BESIDE):
        yield _boot(host)
    # Without a datasource there is no daemon, nor a need for one.
    if host.live and name:
        yield from _resets(host)


def _configuration(report: Report) -> Iterator[Finding]:
    wrong = [f"{entry.place}: {entry.detail}" for entry in report.entries if entry.result in BAD]
    for words in wrong:
        yield Finding("configuration", words, f"mend {config.PATH}")
    if not wrong:
        yield Finding("configuration")


def _files(host: Host) -> Iterator[Finding]:
    bad = False
    for path, expected in MODES:
        found = host.mode(path)
        if found is None:
            continue
        mode, owner = found
        # Stricter is as good: what counts is who gets in that should not.
        if owner != 0 and host.live:
            bad = True
            yield Finding(path, f"belongs to user id {owner}, expected root", f"chown root {path}")
        if mode & ~expected & 0o777:
            bad = True
            yield Finding(
                path,
                f"mode {mode:04o}, expected {expected:04o} or stricter",
                f"chmod {expected:04o} {path}",
            )
    if not bad:
        yield Finding("files and modes")


def _reason(host: Host) -> str:
    """Return what the generator said of this boot."""
    return (host.read(GENERATOR) or b"").decode("utf-8", "replace").strip()


def _units(host: Host) -> Iterator[Finding]:
    if host.kind("/run/systemd/system") != "directory":
        yield Finding("units", "systemd is not running here", "", fatal=False)
        return
    reason = _reason(host)
    if not reason:
        remedy = "install the package, or start the agent by other means"
        yield Finding("units", "the generator has not run", remedy, fatal=False)
        return
    if reason.startswith("off"):
        yield Finding("units", reason, "see FILES in linklocal-agent(8)", fatal=False)
        return
    if reason.endswith(BESIDE):
        remedy = "install linklocal-agent-cloud-init to have boots made by linklocal-agent"
        yield Finding("units", reason, remedy, fatal=False)
    else:
        yield Finding(f"units: {reason}")
    argv = ["systemctl", "show", "--property=Id,ActiveState,Result,LoadState", *UNITS]
    said = host.run(argv).output.decode("utf-8", "replace")
    for block in said.strip().split("\n\n"):
        unit = dict(line.partition("=")[::2] for line in block.splitlines())
        name = unit.get("Id", "?")
        if unit.get("LoadState") == "not-found":
            yield Finding(name, "not installed", "install the package again")
        elif unit.get("ActiveState") == "failed":
            yield Finding(name, f"failed: {unit.get('Result')}", f"journalctl -b -u {name}")


def _datasource(host: Host, settings: config.AgentConfig) -> tuple[str, str]:
    names = settings.datasource
    if names:
        return (names if isinstance(names, str) else names[0]), config.PATH
    if settings.metadata_urls:
        return "openstack", f"metadata_urls in {config.PATH}"
    found = detect(host)
    return found.name, found.reason


def _service(settings: config.AgentConfig, name: str) -> Iterator[Finding]:
    from .datasources.client import Client

    for url in settings.metadata_urls or (USUAL_URL,):
        what = f"metadata service at {url}"
        client = Client(url, timeout=settings.timeout, deadline=settings.deadline)
        try:
            answer = client.request("GET", "openstack" if name == "openstack" else "latest")
        except AgentError as error:
            remedy = "look at the address, the route to it and the firewall"
            yield Finding(what, str(error), remedy)
            continue
        finally:
            client.close()
        # 401 is a service that wants a token first: it is there.
        if answer.status not in (200, 401):
            words = f"status {answer.status}: it does not know this machine"
            yield Finding(what, words, "see that it serves an instance with this address")
            continue
        yield Finding(what)
        yield from _clock(answer.headers.get("date", ""))


def _clock(date: str) -> Iterator[Finding]:
    from email.utils import parsedate_to_datetime

    try:
        away = time.time() - parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return
    if abs(away) > SKEW:
        words = f"{abs(away):.0f} s {'ahead of' if away > 0 else 'behind'} the service's"
        yield Finding("clock", words, "set it, or have ntp do so: resets do not mind", fatal=False)
    else:
        yield Finding("clock")


def _boot(host: Host) -> Finding:
    record = status.read(host)
    if record is None:
        return Finding("boot", "none has begun", "linklocal-agent run", fatal=False)
    stranded = status.stranded(record)
    if record["status"] == "failed" or stranded:
        words = status.silent_end(record) if stranded else record["detail"]
        return Finding("boot", f"failed: {words}", "linklocal-agent status; agent.log")
    if record["degraded"]:
        return Finding("boot", "degraded", "linklocal-agent status says of what", fatal=False)
    return Finding(f"boot: {record['status']}")


def _resets(host: Host) -> Iterator[Finding]:
    """Give what the reset daemon finds about itself."""
    try:
        done = host.run(["linklocal-resetd", "check", "--json"], timeout=30)
    except HostError as error:
        yield Finding("reset daemon", str(error), "install linklocal-agent")
        return
    try:
        found = json.loads(done.output)
    except ValueError:
        said = done.output.decode("utf-8", "replace").strip()
        yield Finding("reset daemon", said[:200], "linklocal-resetd check")
        return
    for each in found:
        remedy = "linklocal-resetd check; docs/reset-protocol.md" if each["problem"] else ""
        yield Finding(f"resets: {each['what']}", each["problem"], remedy, each["fatal"])
