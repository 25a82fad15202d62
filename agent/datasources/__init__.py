"""Where a machine learns who it is: detection without a socket, and one reader per cloud."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ConfigError, DatasourceError
from ..host import Host
from ..instance import InstanceData
from ..report import Report

if TYPE_CHECKING:
    from .client import Patience

SERVICES = ("openstack", "ec2")
"""Those that are a service on the network, in the order an explicit address is asked as."""
NAMES = (*SERVICES, "configdrive", "nocloud")
"""The datasources that are built."""


class Search(NamedTuple):
    """Where to look for the instance's data."""

    names: Sequence[str]
    """Of the datasources, in the order they are tried."""
    patience: Patience
    urls: Sequence[str] = ()
    """Asked in turn, in place of the usual address of each service."""
    seed: str | None = None
    """The directory or URL of a NoCloud seed."""
    further: Sequence[str] = ()
    """Addresses at which OpenStack is asked besides."""
    first: float | None = None
    """Seconds to the first answer of any service, when that is less than for a document."""


def check(names: Sequence[str], said_by: str) -> None:
    """Raise ConfigError for a name that is none of NAMES."""
    for name in names:
        if name not in NAMES:
            raise ConfigError(f"{said_by}: expected one of {', '.join(NAMES)}, got {name!r}")


def usual_urls(names: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses at which the services among *names* are, each once."""
    from .ec2 import Ec2
    from .openstack import OpenStack

    urls = {"openstack": OpenStack.urls, "ec2": Ec2.urls}
    return tuple(dict.fromkeys(url for name in names for url in urls.get(name, ())))


def discover(host: Host, search: Search, report: Report) -> InstanceData:
    """Return what the first datasource that is here says; DatasourceError when none is."""
    troubles: list[str] = []
    for found in _tries(host, search, report, troubles):
        if found is not None:
            return found
    local = all(name not in SERVICES for name in search.names)
    what = "no seed or config drive found" if local else "no metadata service found"
    raise DatasourceError("; ".join([f"{what}; tried {', '.join(search.names)}", *troubles]))


def _tries(
    host: Host, search: Search, report: Report, troubles: list[str]
) -> Iterator[InstanceData | None]:
    """Yield what each datasource says; what is wrong with one is added to *troubles*."""
    services = [name for name in search.names if name in SERVICES]
    for name in search.names:
        try:
            if name == "configdrive":
                from . import configdrive

                yield configdrive.fetch(host, report)
            elif name == "nocloud":
                from . import nocloud

                seed = search.seed or next(iter(search.urls), None)
                yield nocloud.fetch(host, report, seed, search.patience)
            elif services:
                # All services together have one deadline for the first answer.
                from .services import ask

                yield from ask(services, search, report, troubles)
                services = []
        except DatasourceError as error:
            troubles.append(str(error))
