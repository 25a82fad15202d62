"""Cloud-config from all its sources to one mapping. The order of precedence is that of the call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ConfigError
from ..report import Report
from .document import parse_mapping
from .parts import Part

Config = Mapping[str, Any]
HOW = ("merge_how", "merge_type")
HEADERS = ("Merge-Type", "X-Merge-Type")
PREFIX = b"#cloud-config-jsonp"


def read(part: Part, place: str, report: Report) -> Config:
    """Return the mapping in *part*; what is odd about it is a warning in *report*."""
    config, odd = parse_mapping(part.content.reveal(), place)
    for words in odd:
        report.warning(place, words)
    return config


def joined(configs: Iterable[Config]) -> Config:
    """Return the parts of one document as one; a later part's keys replace those before it."""
    whole: dict[str, Any] = {}
    for config in configs:
        whole.update(config)
    return whole


def added(whole: Config, config: Config, part: Part, place: str) -> Config:
    """Return *whole*, of the parts so far, with *config* of *part* merged in as it asks for.

    Raises ConfigError when it asks for what cannot be done.
    """
    how = next((key for key in HOW if config.get(key) is not None), "")
    header = next((part.headers[key] for key in HEADERS if part.headers.get(key)), "")
    if not how and not header:
        return joined((whole, config))
    from .mergers import Merger, merge, read, read_text

    mergers: list[Merger] = []
    for where, reader, raw in ((how, read, config.get(how)), ("Merge-Type", read_text, header)):
        try:
            mergers += reader(raw)  # type: ignore[arg-type]  # each has its own
        except ValueError as error:
            raise ConfigError(f"{place}: {where}: {error}") from None
    if not mergers:
        return joined((whole, config))
    if not any(each.kind == "dict" for each in mergers):
        # Without one, nothing of the part would get in: whoever writes that means another thing.
        raise ConfigError(f"{place}: {how or 'Merge-Type'}: expected a dict(…) among the mergers")
    rest = {key: value for key, value in config.items() if key not in HOW}
    found: Config = merge(tuple(mergers), dict(whole), rest)
    return found


def patched(whole: Config, part: Part, place: str) -> Config:
    """Return *whole* with the JSON patch in *part* applied; ConfigError when it cannot be."""
    import json

    from .json_patch import PatchError, apply

    content = part.content.reveal()
    if content[: len(PREFIX)].lower() == PREFIX:
        content = content[len(PREFIX) :]
    try:
        found = apply(json.loads(content), whole)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise ConfigError(f"{place}: not JSON at {where}: {error.msg.lower()}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{place}: not JSON that can be read") from None
    except PatchError as error:
        raise ConfigError(f"{place}: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigError(f"{place}: expected a patch that leaves a mapping of keys to values")
    return found


def over(upper: Config, lower: Config) -> Config:
    """Return *upper* laid over *lower*: mappings are joined key by key, all else is replaced."""
    whole = dict(lower)
    for key, value in upper.items():
        below = whole.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        whole[key] = over(value, below) if both else value  # type: ignore[arg-type]  # see both
    return whole
