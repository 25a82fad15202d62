"""A directory guest with what a module needs around it, and how it looks before and after."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Any

import yaml

from agent.host import Host
from agent.instance import InstanceData
from agent.modules import load_module
from agent.modules.base import Context, UserScript
from agent.plan import Plan
from agent.report import BAD, Report
from agent.schema import keys, load
from agent.secret import Secret

from ...guests.directory import DirectoryGuest

SCRIPTS = "/var/lib/linklocal/agent/instances/i-1/scripts"
INSTANCE = InstanceData(
    datasource="openstack",
    instance_id="i-1",
    hostname="ecs-ddd4.novalocal",
    public_keys=(),
    user_data=Secret(b""),
)
# A key nobody has: its body is zeros after its type.
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


class Machine:
    """The guest below *guest*, and a module applied to it as a boot would."""

    def __init__(self, guest: DirectoryGuest, instance: InstanceData = INSTANCE) -> None:
        self.guest = guest
        self.instance = instance
        self.default_user = "debian"
        self.user_scripts: Sequence[UserScript] = ()

    def apply(self, name: str, document: str, host: Host | None = None) -> Report:
        """Apply the module to *document*, a cloud-config; return its report."""
        config: dict[str, Any] = yaml.safe_load(document) or {}
        report = Report()
        module = load_module(name)
        section = {key: config[key] for key in keys(module.schema) if key in config}
        context = Context(
            host=host or Host(self.guest.root),
            instance=self.instance,
            report=report,
            config=config,
            default_user=self.default_user,
            scripts=SCRIPTS,
            user_scripts=tuple(self.user_scripts),
        )
        module.apply(load(module.schema, section, report), context)
        return report

    def plan(self, name: str, document: str) -> list[str]:
        """Return the effects the module would have, in words."""
        plan = Plan(Host(self.guest.root))
        self.apply(name, document, plan)
        return [" ".join(filter(None, effect)) for effect in plan.effects]

    def tree(self) -> dict[str, tuple[object, ...]]:
        """Return every path with its mode, owner and content."""
        found: dict[str, tuple[object, ...]] = {}
        for directory, names, files in os.walk(self.guest.root):
            for name in (*names, *files):
                path = os.path.join(directory, name)
                status = os.lstat(path)
                content: object = None
                if stat.S_ISLNK(status.st_mode):
                    content = os.readlink(path)
                elif stat.S_ISREG(status.st_mode):
                    with open(path, "rb") as file:
                        content = file.read()
                where = os.path.relpath(path, self.guest.root)
                found[where] = (status.st_mode, status.st_uid, status.st_gid, content)
        return found


def said(report: Report) -> list[tuple[str, str]]:
    """Return the results that are not plain success, each with its place."""
    return [(each.result, each.place) for each in report.entries if each.result != "done"]


def bad(report: Report) -> list[tuple[str, str]]:
    """Return the results that degrade a boot, each with its place."""
    return [(result, place) for result, place in said(report) if result in BAD]


def texts(report: Report) -> str:
    return "\n".join(f"{each.place}: {each.detail}" for each in report.entries)
