"""timezone: the zone of the machine's clock."""

import re
from typing import Annotated, NamedTuple, Optional

from ..errors import ConfigError
from .base import Context, Frequency, Module, Stage
from .families import family
from .readers import kind

ZONES = "/usr/share/zoneinfo"
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


def read_zone(raw: object) -> str:
    """Return the name of a zone, such as Europe/Berlin."""
    if isinstance(raw, str) and _ZONE.fullmatch(raw):
        return raw
    raise ValueError(f"expected a time zone such as 'Europe/Berlin', got {kind(raw)}")


class Timezone(NamedTuple):
    """The zone of the machine's clock."""

    timezone: Annotated[Optional[str], read_zone] = None
    """Name of a zone below /usr/share/zoneinfo, such as `Europe/Berlin`."""


def apply(section: Timezone, context: Context) -> None:
    """Point /etc/localtime at the zone, and name it where the family does."""
    host = context.host
    if section.timezone is None:
        return
    zone = f"{ZONES}/{section.timezone}"
    if host.kind(zone, follow=True) != "file":
        if host.kind(ZONES, follow=True) is None:
            raise ConfigError(f"timezone: {ZONES} is missing; the package tzdata is not installed")
        raise ConfigError(f"timezone: no such zone: {section.timezone!r}")
    host.link("/etc/localtime", zone)
    named = family(host).timezone_file
    if named is not None:
        host.write(named, f"{section.timezone}\n".encode())


MODULE = Module("timezone", Timezone, Stage.CONFIG, Frequency.INSTANCE, apply)
