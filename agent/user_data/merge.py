"""Cloud-config from all its sources to one mapping. The order of precedence is that of the call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..report import Report
from .document import parse_mapping
from .parts import Part

Config = Mapping[str, Any]
HOW = ("merge_how", "merge_type")


def read(part: Part, place: str, report: Report) -> Config:
    """Return the mapping in *part*; what is odd about it is a warning in *report*."""
    config, odd = parse_mapping(part.content.reveal(), place)
    for words in odd:
        report.warning(place, words)
    for key in HOW:
        if key in config:
            report.warning(
                f"{place} {key}",
                "not supported by this version; its keys replaced those of parts before it",
            )
    return config


def joined(configs: Iterable[Config]) -> Config:
    """Return the parts of one document as one; a later part's keys replace those before it."""
    whole: dict[str, Any] = {}
    for config in configs:
        whole.update(config)
    return whole


def over(upper: Config, lower: Config) -> Config:
    """Return *upper* laid over *lower*: mappings are joined key by key, all else is replaced."""
    whole = dict(lower)
    for key, value in upper.items():
        below = whole.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        whole[key] = over(value, below) if both else value  # type: ignore[arg-type]  # see both
    return whole
