"""Who this machine is: which datasource it has, and what that says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import config, datasources
from .config import AgentConfig
from .host import Host
from .instance import InstanceData
from .journal import log
from .secret import Secret
from .status import Status
from .wishes import Wishes


class Choice(NamedTuple):
    """The datasources to try, none when this machine has none, and what said so."""

    names: tuple[str, ...]
    reason: str


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
    datasources.check(names, f"datasource by {reason}")
    return Choice(names, reason)


def find(
    host: Host, wishes: Wishes, settings: AgentConfig, base: Mapping[str, Any], status: Status
) -> InstanceData | None:
    """Return the instance's data; None when this machine has no datasource and needs none.

    DatasourceError when it has one that cannot be used.
    """
    choice = choose(host, wishes, settings)
    instance: InstanceData
    if choice.names:
        instance = _asked(host, wishes, settings, choice, status)
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


def _asked(
    host: Host, wishes: Wishes, settings: AgentConfig, choice: Choice, status: Status
) -> InstanceData:
    from .datasources.client import Patience

    began = time.monotonic()
    search = datasources.Search(
        names=choice.names,
        patience=Patience(settings.timeout, settings.deadline, settings.retry_pause),
        urls=(wishes.metadata_url,) if wishes.metadata_url else settings.metadata_urls,
        seed=settings.seed,
    )
    instance = datasources.discover(host, search, status.report)
    status.wait(f"datasource {instance.datasource}", began, time.monotonic() - began)
    return instance


def _machine_id(host: Host) -> str:
    return (host.read("/etc/machine-id") or b"none").decode("ascii", "replace").strip()
