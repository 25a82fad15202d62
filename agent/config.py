"""The agent's own configuration, /etc/linklocal/agent.yaml, read once and handed on."""

# No `from __future__ import annotations`: `schema.load` reads these annotations.
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional, Union

from . import schema
from .host import Host
from .report import Report

PATH = "/etc/linklocal/agent.yaml"
PACKAGED = "/usr/lib/linklocal/agent.yaml"
"""What a package sets; each key of PATH lies over it."""
DROP_INS = "/etc/linklocal/cloud-config.d"
CMDLINE = "/proc/cmdline"
CC = "cc:"


class AgentConfig(NamedTuple):
    """The keys of agent.yaml. Times are in seconds."""

    datasource: Union[str, tuple[str, ...]] = ()
    """Names of datasources in the order they are tried; none leaves it to detection."""
    metadata_urls: tuple[str, ...] = ()
    """Addresses to ask instead of the usual ones, tried in order."""
    seed: Optional[str] = None
    """Directory or URL of the documents of the datasource nocloud."""
    timeout: float = 2.0
    """Longest silence of the metadata service within an answer."""
    deadline: float = 5.0
    """Longest time to the first answer of any service, and for each document over all attempts."""
    retry_pause: float = 0.1
    """Pause before the second attempt; it doubles each time."""
    ask_always: bool = False
    """Ask the datasource at every boot, also when the instance is known from an earlier one."""
    early_network: bool = True
    """Whether DHCP is asked for when a service is to be asked before the network is up."""
    dhcp_timeout: float = 3.0
    """Longest time DHCP may take then."""
    default_user: Optional[str] = None
    """The image's default user; by os-release when absent."""
    vendor_data: bool = True
    """Whether vendor data is taken."""
    script_timeout: Optional[float] = None
    """Longest time a user's script, or all of runcmd or bootcmd, may take; for ever when absent."""
    cloud_init_compat: bool = False
    """Also leave the marks in /run/cloud-init and /var/lib/cloud that other programs look for."""
    network_back_end: Optional[str] = None
    """netplan, networkd, ifupdown, networkmanager or sysconfig; what is installed when absent."""
    report_boot: bool = False
    """Tell the metadata service at the end how the boot went; for servers that listen to it."""
    strict: bool = False
    """Refuse a section with unknown keys or malformed items instead of applying the rest."""
    cloud_config: Mapping[str, Any] = {}
    """Cloud-config that lies under that of vendor and user."""
    reset_password: Mapping[str, Any] = {}
    """The reset daemon's own keys, which it reads itself."""


# By ID of os-release; `ID_LIKE` is asked after it.
DEFAULT_USERS = {
    "debian": "debian",
    "ubuntu": "ubuntu",
    "amzn": "ec2-user",
    "rhel": "cloud-user",
    "centos": "centos",
    "fedora": "fedora",
    "rocky": "rocky",
    "almalinux": "almalinux",
    "openeuler": "openeuler",
    "hce": "root",
    "euleros": "root",
    "alpine": "alpine",
    "sles": "ec2-user",
    "opensuse-leap": "opensuse",
    "opensuse-tumbleweed": "opensuse",
    "suse": "opensuse",
    "arch": "arch",
}


def read(host: Host, report: Report) -> AgentConfig:
    """Return the configuration of *host*; what is wrong in it is in *report*.

    Raises ConfigError when the file is not YAML at all: nothing of it can be trusted then.
    """
    raw: dict[str, Any] = {}
    for path in (PACKAGED, PATH):
        content = host.read(path)
        if content is None:
            continue
        from .user_data.document import parse_mapping

        said, odd = parse_mapping(content, path)
        raw.update(said)
        for words in odd:
            report.warning(path, words)
    if not raw:
        return AgentConfig()
    config: AgentConfig = schema.load(AgentConfig, raw, report, PATH)
    return config


def base(host: Host, config: AgentConfig, report: Report) -> Mapping[str, Any]:
    """Return the cloud-config of the image: agent.yaml's, the drop-ins by name, the kernel's line.

    Each lies over those before it.
    """
    whole = config.cloud_config
    for name in host.names(DROP_INS):
        if not name.endswith((".yaml", ".yml", ".cfg")):
            continue
        from .errors import ConfigError
        from .user_data.document import parse_mapping
        from .user_data.merge import over

        place = f"{DROP_INS}/{name}"
        try:
            drop_in, odd = parse_mapping(host.read(place) or b"", place)
        except ConfigError as error:
            report.refused(place, str(error)[len(place) + 2 :])
            continue
        for words in odd:
            report.warning(place, words)
        whole = over(drop_in, whole)
    line = (host.read(CMDLINE) or b"").decode("utf-8", "replace")
    return _with_line(whole, line, report) if CC in line else whole


def _with_line(whole: Mapping[str, Any], line: str, report: Report) -> Mapping[str, Any]:
    """Return *whole* under the cloud-config between `cc:` and `end_cc` of the kernel's *line*."""
    from urllib.parse import unquote

    from .errors import ConfigError
    from .user_data.document import parse_mapping
    from .user_data.merge import over

    _, *pieces = f" {line}".split(f" {CC}")
    for piece in pieces:
        text = unquote(piece.partition("end_cc")[0].strip()).replace("\\n", "\n")
        place = "kernel command line"
        try:
            said, odd = parse_mapping(text.encode(), place)
        except ConfigError as error:
            report.refused(place, str(error)[len(place) + 2 :])
            continue
        for words in odd:
            report.warning(place, words)
        whole = over(said, whole)
    return whole


def default_user(host: Host, config: AgentConfig) -> str:
    """Return the image's default user, by configuration or distribution."""
    if config.default_user:
        return config.default_user
    text = host.read("/etc/os-release") or host.read("/usr/lib/os-release") or b""
    said = {}
    for line in text.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition("=")
        said[key] = value.strip().strip("\"'").lower()
    for word in (said.get("ID", ""), *said.get("ID_LIKE", "").split()):
        if word in DEFAULT_USERS:
            return DEFAULT_USERS[word]
    return "cloud-user"
