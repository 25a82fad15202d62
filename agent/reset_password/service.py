"""Where the metadata service is: an unknown network is never asked, 169.254.169.254 included.

Read once at the start, so it is not in the daemon's memory.
"""

import json
from typing import Optional

from .. import datasources
from ..datasources.detect import detect_service
from ..errors import ConfigError, HostError
from ..host import Host
from .settings import METADATA_URL, PATH, Settings

STATUS = "/run/linklocal/status.json"


class NoService(ConfigError):
    """Nothing names this machine a guest of a cloud."""


def located(settings: Settings, root: str, url: Optional[str]) -> Settings:
    """Return *settings* with the address of the service; NoService when nothing names it.

    That is *url*, else agent.yaml, the kernel's command line, DMI, or what the agent's boot found.
    """
    url = url or settings.metadata_url
    if url:
        return settings._replace(metadata_url=url)
    host = Host(root)
    detected = detect_service(host)
    if (
        settings.datasource in datasources.SERVICES
        or (not settings.datasource and detected.name in datasources.SERVICES)
        or _found_by_agent(host)
    ):
        return settings._replace(metadata_url=METADATA_URL)
    reason = f"{PATH} says {settings.datasource!r}" if settings.datasource else detected.reason
    if detected.name and not settings.datasource:
        reason = f"{detected.reason} says {detected.name!r}"
    raise NoService(
        f"no metadata service is known here: {reason}; --metadata-url or metadata_urls in {PATH} "
        "name one"
    )


def _found_by_agent(host: Host) -> bool:
    """Say whether the agent's boot, the one that runs now, found a service at the usual address."""
    try:
        record = json.loads(host.read(STATUS) or b"{}")
    except (HostError, ValueError):
        return False
    return isinstance(record, dict) and record.get("datasource") in datasources.SERVICES
