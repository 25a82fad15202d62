"""ntp: where the clock is set from, and by which program."""

import re
from typing import Annotated, Literal, NamedTuple, Optional

from ..errors import ConfigError
from .base import Context, Frequency, Module, Stage
from .families import family
from .package_tools import Package, Packages, tool
from .readers import kind, read_path, read_words

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_%-]*")
_NETWORK = re.compile(r"[A-Za-z0-9.:]+(/\d{1,3})?")
_BEGIN, _END = "# linklocal-agent: begin", "# linklocal-agent: end"
_SOURCE = re.compile(r"\s*(servers?|pool|peer)\s")


def read_hosts(raw: object) -> tuple[str, ...]:
    """Return names or addresses of hosts."""
    return _matching(raw, _HOST, "names or addresses of hosts")


def read_networks(raw: object) -> tuple[str, ...]:
    """Return networks such as 192.168.0.0/24."""
    return _matching(raw, _NETWORK, "networks such as '192.168.0.0/24'")


def _matching(raw: object, pattern: "re.Pattern[str]", what: str) -> tuple[str, ...]:
    words = read_words(raw)
    if not all(pattern.fullmatch(word) for word in words):
        raise ValueError(f"expected {what}, got {kind(raw)}")
    return words


class Client(NamedTuple):
    """A program that sets the clock."""

    name: str
    program: str
    package: str
    paths: dict[str, str]
    """Configuration by family; that of "" is for all others."""
    services: tuple[str, ...]
    edited: bool
    """The distribution's file is kept and its sources replaced; else the file is ours."""


CLIENTS = (
    Client(
        "chrony",
        "chronyd",
        "chrony",
        {
            "debian": "/etc/chrony/chrony.conf",
            "alpine": "/etc/chrony/chrony.conf",
            "": "/etc/chrony.conf",
        },
        ("chrony", "chronyd"),
        edited=True,
    ),
    Client(
        "systemd-timesyncd",
        "/lib/systemd/systemd-timesyncd",
        "systemd-timesyncd",
        {"": "/etc/systemd/timesyncd.conf.d/50-linklocal.conf"},
        ("systemd-timesyncd",),
        edited=False,
    ),
    Client(
        "ntp",
        "ntpd",
        "ntp",
        {"": "/etc/ntp.conf"},
        ("ntpsec", "ntp", "ntpd"),
        edited=True,
    ),
    Client(
        "openntpd",
        "ntpctl",
        "openntpd",
        {"debian": "/etc/openntpd/ntpd.conf", "": "/etc/ntpd.conf"},
        ("openntpd", "ntpd"),
        edited=True,
    ),
    Client("ntpdate", "ntpdate", "ntpdate", {"": "/etc/ntp.conf"}, ("ntpdate",), edited=True),
)


class NtpConfig(NamedTuple):
    """What differs from what is known of the client."""

    confpath: Annotated[Optional[str], read_path] = None
    """Configuration file."""
    check_exe: Optional[str] = None
    """Program that shows the client is installed."""
    packages: Annotated[tuple[str, ...], read_words] = ()
    """Packages to install when it is not."""
    service_name: Optional[str] = None
    """Service to restart."""
    template: Optional[str] = None
    """Its whole configuration; `## template: jinja` fills in pools, servers, peers and allow."""


class NtpSettings(NamedTuple):
    """Where the clock is set from."""

    enabled: bool = True
    """false: leave the clock alone."""
    servers: Annotated[tuple[str, ...], read_hosts] = ()
    """Servers, in the place of the distribution's."""
    pools: Annotated[tuple[str, ...], read_hosts] = ()
    """Pools of servers, in the place of the distribution's."""
    peers: Annotated[tuple[str, ...], read_hosts] = ()
    """Peers, each setting the other."""
    allow: Annotated[tuple[str, ...], read_networks] = ()
    """Networks whose machines may ask this one."""
    ntp_client: Literal["auto", "chrony", "systemd-timesyncd", "ntp", "openntpd", "ntpdate"] = (
        "auto"
    )
    """The program; auto: the first that is installed, else chrony is."""
    config: Optional[NtpConfig] = None
    """What differs from what is known of the client."""


class Ntp(NamedTuple):
    """The clock."""

    ntp: Optional[NtpSettings] = None
    """Where the clock is set from; left empty, the distribution's sources stay."""


def apply(section: Ntp, context: Context) -> None:
    """See that a client is there, name its sources, and have it start again."""
    wanted = section.ntp
    if wanted is None or not wanted.enabled:
        return
    host = context.host
    config = wanted.config or NtpConfig()
    client = _client(wanted, context)
    _install(client, config, context)
    facts = family(host)
    path = config.confpath or client.paths.get(facts.name, client.paths[""])
    before = (host.read(path) or b"").decode("utf-8", "replace")
    if config.template is not None:
        after = _filled(config.template, wanted)
    elif client.edited:
        lines = _openntpd(wanted, context) if client.name == "openntpd" else _lines(wanted)
        after = with_sources(before, lines)
    else:
        after = _timesyncd(wanted, context)
    if after and after != before:
        host.write(path, after.encode())
        services = (config.service_name,) if config.service_name else client.services
        host.restart_service(*services)


def with_sources(text: str, lines: list[str]) -> str:
    """Return a configuration of chrony or ntpd whose sources are *lines*; without any, *text*."""
    if not lines:
        return text
    kept: list[str] = []
    ours = False
    for line in text.splitlines():
        ours = (ours or line == _BEGIN) and line != _END
        if not ours and line != _END:
            kept.append(f"# {line}" if _SOURCE.match(line) else line)
    return "".join(f"{line}\n" for line in (*kept, _BEGIN, *lines, _END))


def _lines(wanted: NtpSettings) -> list[str]:
    sources = [f"server {each} iburst" for each in wanted.servers]
    sources += [f"pool {each} iburst" for each in wanted.pools]
    sources += [f"peer {each}" for each in wanted.peers]
    return sources + [f"allow {each}" for each in wanted.allow]


def _openntpd(wanted: NtpSettings, context: Context) -> list[str]:
    for key in ("peers", "allow"):
        if getattr(wanted, key):
            context.report.warning(f"ntp.{key}", "openntpd has no such thing")
    return [
        *[f"server {each}" for each in wanted.servers],
        *[f"servers {each}" for each in wanted.pools],
    ]


def _filled(template: str, wanted: NtpSettings) -> str:
    """Return the user's own configuration, filled in when it says that it is a template."""
    if not template.startswith("## template:"):
        return template
    from ..user_data.parts import Refused
    from ..user_data.template import render

    names = ("pools", "servers", "peers", "allow")
    values = {name: list(getattr(wanted, name)) for name in names}
    try:
        return render(template.encode(), values).content.decode()
    except Refused as error:
        raise ConfigError(f"ntp.config.template: {error}") from error


def _timesyncd(wanted: NtpSettings, context: Context) -> str:
    for key in ("peers", "allow"):
        if getattr(wanted, key):
            context.report.warning(f"ntp.{key}", "systemd-timesyncd has no such thing")
    sources = " ".join((*wanted.servers, *wanted.pools))
    return f"[Time]\nNTP={sources}\n" if sources else ""


def _client(wanted: NtpSettings, context: Context) -> Client:
    for client in CLIENTS:
        if wanted.ntp_client == client.name:
            return client
        if wanted.ntp_client == "auto" and context.host.which(client.program) is not None:
            return client
    return CLIENTS[0]


def _install(client: Client, config: NtpConfig, context: Context) -> None:
    host = context.host
    if host.which(config.check_exe or client.program) is not None:
        return
    using = tool(host)
    if using is None:
        raise ConfigError(f"ntp: {client.name} is not installed, and there is no package tool")
    packages = Packages(using, context)
    packages.update()
    names = config.packages or (client.package,)
    packages.install([("ntp.packages", Package(name)) for name in names])


MODULE = Module("ntp", Ntp, Stage.CONFIG, Frequency.INSTANCE, apply)
