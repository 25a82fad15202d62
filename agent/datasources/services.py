"""Asking the metadata services: several names and addresses, one deadline for the first answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import DatasourceError
from ..instance import InstanceData
from ..report import Report
from .client import Client, has_route
from .ec2 import Ec2
from .openstack import OpenStack

if TYPE_CHECKING:
    from . import Search


def ask(
    names: Sequence[str], search: Search, report: Report, troubles: list[str]
) -> Iterator[InstanceData | None]:
    """Yield what each service says; what is wrong with one is added to *troubles*.

    An address that gave no answer at all to the first is not asked by the next name.
    """
    until = time.monotonic() + (search.first or search.patience.deadline)
    mute: set[str] = set()
    ahead = [(source, url) for source in map(_made, names) for url in _urls(source, search)]
    while ahead:
        source, url = ahead.pop(0)
        if url in mute:
            continue
        places = {url, *(other for _, other in ahead if other not in mute)}
        share = max(0.05, until - time.monotonic()) / len(places)
        client = Client(url, **search.patience._asdict(), first=share)
        try:
            yield source.fetch(source.open(client), report)
        except DatasourceError as error:
            troubles.append(str(error))
        finally:
            client.close()
        if not client.answered:
            mute.add(url)


def _made(name: str) -> OpenStack | Ec2:
    return OpenStack() if name == "openstack" else Ec2()


def _urls(source: OpenStack | Ec2, search: Search) -> list[str]:
    """Return the addresses of *source*, those first to which the kernel has a route."""
    urls = search.urls or source.urls
    if source.name == "openstack":
        urls = (*urls, *search.further)
    return sorted(urls, key=lambda url: not has_route(url)) if len(urls) > 1 else list(urls)
