"""The network documents of tests/data/network, each with its machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from agent.network import ifupdown, keyfile, netplan, networkd, openstack, sysconfig, v1, v2
from agent.network.model import File, Network
from agent.network.resolve import Nic, resolve
from agent.network.source_routing import source_routed
from agent.report import Report

DATA = Path(__file__).resolve().parents[2] / "data/network"
NAMES = sorted(path.name for path in DATA.iterdir() if path.is_dir())
PARSERS = {"openstack.json": openstack.parse, "v1.yaml": v1.parse, "v2.yaml": v2.parse}
RENDERERS = {
    "netplan": netplan.render,
    "networkd": networkd.render,
    "ifupdown": ifupdown.render,
    "keyfile": keyfile.render,
    "sysconfig": sysconfig.render,
}


def read(text: str) -> Any:
    """Return the YAML, of which JSON is a part, in *text*."""
    return yaml.safe_load(text)


def nics(name: str) -> tuple[Nic, ...] | None:
    path = DATA / name / "nics.yaml"
    return tuple(Nic(**nic) for nic in read(path.read_text())) if path.exists() else None


def parsed(name: str, report: Report) -> Network:
    for file, parse in PARSERS.items():
        path = DATA / name / file
        if path.exists():
            text = path.read_text()
            return parse(json.loads(text) if file.endswith("json") else read(text), report)
    raise FileNotFoundError(name)


def resolved(name: str, report: Report) -> Network:
    """Return the network of the document *name* on its machine, as a boot would have it."""
    network = resolve(parsed(name, report), nics(name), report)
    return network if name.startswith("v2") else source_routed(network)


def shown(files: tuple[File, ...]) -> str:
    """Return all *files* in one text."""
    return "\n".join(f"==> {file.path} {file.mode:04o}\n{file.text}" for file in files)
