"""Which modules a cloud-config asks for, what each reads of it, and what none does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import schema
from .modules import NAMES, NICHE, NOT_MODULES, Name
from .modules.base import Module
from .report import Report

Config = Mapping[str, Any]


def wanted(name: Name, config: Config) -> bool:
    """Say whether *config* has a key of the module *name*."""
    return any(key in config or key.replace("_", "-") in config for key in name.keys)


def load_section(module: Module, config: Config, report: Report) -> Any:
    """Return what *module* reads of *config*, typed; what is wrong is in *report*."""
    known = schema.keys(module.schema)
    raw = {key: value for key, value in config.items() if key.replace("-", "_") in known}
    return schema.load(module.schema, raw, report)


def unknown_keys(config: Config) -> Iterator[tuple[str, str]]:
    """Give each key at the top that no module reads, and what to say of it."""
    known = set(NOT_MODULES).union(*(name.keys for name in NAMES))
    rest = [key for key in config if key not in known and key.replace("-", "_") not in known]
    for key in rest:
        if key in NICHE:
            yield key, "not applied by this version"
            continue
        from difflib import get_close_matches

        near = get_close_matches(key, sorted(known), 1)
        yield key, f"unknown key, nearest is {near[0]!r}" if near else "unknown key"
