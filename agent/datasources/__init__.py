"""Where a machine learns who it is: detection without a socket, and one reader per cloud."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ConfigError, DatasourceError
from ..instance import InstanceData
from ..report import Report

NAMES = ("openstack", "ec2")
"""The datasources that are built, in the order an explicit address is asked as."""


def check(names: Sequence[str], said_by: str) -> None:
    """Raise ConfigError for a name that is none of NAMES."""
    for name in names:
        if name not in NAMES:
            raise ConfigError(f"{said_by}: expected one of {', '.join(NAMES)}, got {name!r}")


def discover(
    names: Sequence[str],
    urls: Sequence[str],
    report: Report,
    *,
    timeout: float,
    deadline: float,
    pause: float,
) -> InstanceData:
    """Return what the first datasource that is here says; DatasourceError when none is.

    *urls* are asked in turn; none means the usual address of each datasource.
    """
    from .client import Client
    from .ec2 import Ec2
    from .openstack import OpenStack

    troubles: list[str] = []
    for name in names:
        datasource = OpenStack() if name == OpenStack.name else Ec2()
        for url in urls or (datasource.url,):
            client = Client(url, timeout=timeout, deadline=deadline, pause=pause)
            try:
                found = datasource.fetch(datasource.open(client), report)
            except DatasourceError as error:
                troubles.append(str(error))
                continue
            finally:
                client.close()
            if found is not None:
                return found
    tried = f"no metadata service found; tried {', '.join(names)}"
    raise DatasourceError("; ".join([tried, *troubles]))
