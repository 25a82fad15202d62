"""The marks that other programs look for to know that cloud-init is done. Written when asked to."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from .errors import HostError
from .host import Host
from .instance_data import CLOUDS
from .state import directory_name
from .status import troubles
from .version import VERSION

RUN = "/run/cloud-init"
LIB = "/var/lib/cloud"
FINISHED = f"{LIB}/instance/boot-finished"
KEPT = "boot-finished.cloud-init"
"""Its name beside it from our first boot on, when cloud-init itself has written it."""
BY_US = "v. linklocal "
STAGES = {
    "local": "init-local",
    "network": "init",
    "config": "modules-config",
    "final": "modules-final",
}
NAMES = {
    "openstack": "DataSourceOpenStack",
    "ec2": "DataSourceEc2",
    "configdrive": "DataSourceConfigDrive",
    "nocloud": "DataSourceNoCloud",
    "none": "DataSourceNone",
}
_PLAIN = re.compile(r"[A-Za-z0-9._:@-]{1,200}")


def write(host: Host, record: Mapping[str, Any]) -> None:
    """Write the marks of *record*, a status; those that say `done` only when it is."""
    content = {"v1": status(record)}
    host.write(f"{RUN}/status.json", _json(content), mode=0o644)
    if record["instance_id"] is not None:
        host.write(f"{RUN}/.instance-id", f"{record['instance_id']}\n".encode(), mode=0o644)
        host.write(f"{RUN}/cloud-id", f"{cloud_id(record)}\n".encode(), mode=0o644)
    if record["finished"] is None:
        return
    result = {"v1": {"datasource": datasource(record), "errors": _errors(record)}}
    host.write(f"{RUN}/result.json", _json(result), mode=0o644)
    name = name_of(record["instance_id"] or "none")
    uptime = (host.read("/proc/uptime") or b"").split()
    seconds = uptime[0].decode() if uptime else "0"
    stamp = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(record["finished"]))
    text = f"{seconds} - {stamp} - {BY_US}{VERSION}\n"
    host.write(f"{LIB}/instances/{name}/boot-finished", text.encode(), mode=0o644)
    if host.kind(f"{LIB}/instance") in (None, "link"):
        host.link(f"{LIB}/instance", f"instances/{name}")


def name_of(instance_id: str) -> str:
    """Return the name of cloud-init's directory of an instance: its id, when it can be one."""
    plain = _PLAIN.fullmatch(instance_id) and instance_id.strip(".")
    return instance_id if plain else directory_name(instance_id)


def service_of_cloud_init(host: Host) -> str:
    """Return by our name which datasource cloud-init has asked here, empty when that is unknown."""
    try:
        told = (host.read(f"{LIB}/data/previous-datasource") or b"").decode("utf-8", "replace")
    except HostError:
        return ""
    return next((ours for ours, theirs in NAMES.items() if told.startswith(theirs)), "")


def result_of_cloud_init(host: Host) -> dict[str, Any] | None:
    """Return how cloud-init's own boot ended, as parts of a status; None when none has.

    It is there from when we are installed on a machine that runs, to its next boot.
    """
    try:
        found = json.loads(host.read(f"{RUN}/result.json") or b"")["v1"]
        named, errors = str(found["datasource"]), [str(each) for each in found["errors"]]
    except (ValueError, KeyError, TypeError):
        return None
    source = next((ours for ours, theirs in NAMES.items() if named.startswith(theirs)), None)
    failed = {"name": "cloud-init", "stage": "final", "result": "failed", "entries": []}
    return {
        "status": "failed" if errors else "done",
        "degraded": False,
        "datasource": source,
        "detail": "; ".join(errors),
        "modules": [{**failed, "detail": each} for each in errors],
    }


def begin(host: Host) -> None:
    """Take away what an earlier boot left: its result is not this one's."""
    host.remove(f"{RUN}/result.json")
    ended = host.read(FINISHED) if host.kind(f"{LIB}/instance") == "link" else None
    if ended is None:
        return
    if BY_US.encode() not in ended:
        host.write(f"{LIB}/instance/{KEPT}", ended, mode=0o644)
    host.remove(FINISHED)


def status(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what cloud-init's own status file would say."""
    found: dict[str, Any] = {
        "datasource": datasource(record),
        "stage": STAGES.get(record["stage"] or ""),
    }
    for name in STAGES.values():
        found[name] = {"errors": [], "recoverable_errors": {}, "start": None, "finished": None}
    for row in record["stages"]:
        stage = found[STAGES[row["name"]]]
        stage["start"] = record["started"] + row.get("at", 0)
        if "seconds" in row:
            stage["finished"] = stage["start"] + row["seconds"]
        stage["errors"] = _errors(record, row["name"])
    warnings = [line for line in troubles(dict(record)) if line not in _errors(record)]
    if warnings:
        found["init"]["recoverable_errors"] = {"WARNING": warnings}
    return found


def datasource(record: Mapping[str, Any]) -> str | None:
    """Return the datasource by cloud-init's name."""
    name = record["datasource"]
    return None if name is None else NAMES.get(name, f"DataSource{name.capitalize()}")


def cloud_id(record: Mapping[str, Any]) -> str:
    """Return the cloud in one word."""
    name = record["datasource"] or "none"
    return CLOUDS.get(name, name)


def _errors(record: Mapping[str, Any], stage: str | None = None) -> list[str]:
    found = []
    for module in record["modules"]:
        if module["result"] == "failed" and stage in (None, module["stage"]):
            found.append(f"{module['name']}: {module.get('detail', 'failed')}")
    for row in record["stages"]:
        if row["status"] == "failed" and stage in (None, row["name"]):
            found.append(record["detail"] or "failed")
    # Nothing of the user data could be used: no stage and no module says that.
    if record["status"] == "failed" and not found and stage in (None, "network"):
        found.append(record["detail"])
    return found


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=1).encode() + b"\n"
