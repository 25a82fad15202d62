"""Who this machine is: which datasource it has, and what that says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from . import config, datasources
from .config import AgentConfig
from .errors import DatasourceError
from .host import Host
from .instance import InstanceData
from .journal import log
from .kept import Kept
from .secret import Secret
from .status import Status
from .wishes import Wishes

LEAST = 1.0
"""Seconds for the service to answer, however long DHCP took."""


class Choice(NamedTuple):
    """The datasources to try, none when this machine has none, and what said so."""

    names: tuple[str, ...]
    reason: str


class Search(NamedTuple):
    """What is known before anything is asked."""

    host: Host
    wishes: Wishes
    settings: AgentConfig
    base: Mapping[str, Any]
    """Cloud-config of the image."""
    status: Status


def recalled(host: Host, wishes: Wishes, settings: AgentConfig) -> Kept | None:
    """Return what is kept of an instance that is known, None when its datasource is to be asked."""
    if settings.ask_always or not wishes.plain:
        return None
    from .known import recall

    said = settings.datasource
    kept = recall(host, (said,) if isinstance(said, str) else said)
    if kept is not None:
        log.info("instance %s is known by its UUID; nobody is asked", kept.instance.instance_id)
    return kept


def choose(host: Host, wishes: Wishes, settings: AgentConfig) -> Choice:
    """Return which datasources to try; ConfigError for one that is not built."""
    names: tuple[str, ...]
    if wishes.datasource:
        names, reason = (wishes.datasource,), "--datasource"
    elif wishes.metadata_url:
        names, reason = datasources.SERVICES, "--metadata-url"
    elif settings.datasource:
        said = settings.datasource
        names = (said,) if isinstance(said, str) else said
        reason = config.PATH
    elif settings.seed:
        names, reason = ("nocloud",), f"seed in {config.PATH}"
    else:
        from .datasources.detect import detect

        detected = detect(host)
        names, reason = (detected.name,) if detected.name else (), detected.reason
        if settings.cloud_init_compat and detected.name in datasources.SERVICES:
            from .cloud_init_marks import service_of_cloud_init

            # By another dialect the same instance has another id, and would be set up again.
            before = service_of_cloud_init(host)
            if before in datasources.SERVICES and before != detected.name:
                names, reason = (before,), "what cloud-init has asked here"
    datasources.check(names, f"datasource by {reason}")
    return Choice(names, reason)


def find(search: Search, *, early: bool = False) -> InstanceData | None:
    """Return the instance's data; None when this machine has no datasource and needs none.

    *early*: the network may not be up yet. DatasourceError when there is a datasource that cannot
    be used.
    """
    host, wishes, settings, base, status = search
    choice = choose(host, wishes, settings)
    instance: InstanceData
    if choice.names:
        instance = _asked(search, choice, early)
    elif wishes.user_data is not None:
        instance = InstanceData("file", _machine_id(host), None, (), Secret(b""))
    elif base or wishes.cloud_config:
        # What the image itself asks for is done, as cloud-init does it without a datasource.
        instance = InstanceData("none", f"none-{_machine_id(host)}", None, (), Secret(b""))
    else:
        status.record["detail"] = f"no datasource: {choice.reason}"
        log.info("no datasource: %s", choice.reason)
        return None
    if wishes.user_data is not None:
        instance = instance._replace(user_data=wishes.user_data)
    if wishes.instance_id:
        instance = instance._replace(instance_id=wishes.instance_id)
    said_by = choice.reason
    log.info("datasource %s by %s, instance %s", instance.datasource, said_by, instance.instance_id)
    return instance


class NotYetError(DatasourceError):
    """There is no way to the service before the network is up."""


def _asked(search: Search, choice: Choice, early: bool) -> InstanceData:
    from .datasources.client import Patience, has_route

    host, wishes, settings, _, status = search
    began = time.monotonic()
    where = datasources.Search(
        names=choice.names,
        patience=Patience(settings.timeout, settings.deadline, settings.retry_pause),
        urls=(wishes.metadata_url,) if wishes.metadata_url else settings.metadata_urls,
        seed=settings.seed,
    )
    with ExitStack() as stack:
        services = any(name in datasources.SERVICES for name in choice.names)
        if early and services and not wishes.metadata_url:
            urls = where.urls or datasources.usual_urls(choice.names)
            further: tuple[str, ...] = ()
            if settings.early_network and not any(map(has_route, urls)):
                from .early_network import up

                further = stack.enter_context(up(host, urls, settings.dhcp_timeout))
            if not any(map(has_route, (*urls, *further))):
                raise NotYetError("no way to the metadata service before the network is up")
            left = settings.deadline - (time.monotonic() - began)
            where = where._replace(further=further, first=max(LEAST, left))
        instance = datasources.discover(host, where, status.report)
    status.wait(f"datasource {instance.datasource}", began, time.monotonic() - began)
    _compare(host, instance, status)
    return instance


def _compare(host: Host, instance: InstanceData, status: Status) -> None:
    """Warn when a service of Nova answers for another instance than Nova's firmware names."""
    from .datasources.detect import OPENSTACK_PRODUCTS, dmi, has_uuid

    uuid = dmi(host, "product_uuid")
    if instance.datasource != "openstack" or not uuid or has_uuid(host, instance.instance_id):
        return
    if dmi(host, "product_name") in OPENSTACK_PRODUCTS:
        words = f"the service answered for {instance.instance_id}, the firmware says {uuid.lower()}"
        status.report.warning("meta_data.json uuid", words)
        log.warning("meta_data.json uuid: %s", words)


def _machine_id(host: Host) -> str:
    return (host.read("/etc/machine-id") or b"none").decode("ascii", "replace").strip()
