"""User data and vendor data to what a boot works on: scripts, boothooks, one cloud-config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..report import Report
from ..secret import Secret
from .parts import BOOTHOOK, CLOUD_CONFIG, SCRIPT, Part, decode


class Source(NamedTuple):
    """A document of user data, of any format; the user's own has no *origin*."""

    origin: str
    content: Secret


class Placed(NamedTuple):
    """A part with its place in the status, which is unique, as is its *name* among files."""

    place: str
    name: str
    part: Part


class Gathered(NamedTuple):
    """What all sources ask for, and what became of each part."""

    parts: tuple[Placed, ...]
    config: Mapping[str, Any]

    def of_type(self, kind: str) -> tuple[Placed, ...]:
        """Return the parts of *kind* that are taken, in order."""
        return tuple(p for p in self.parts if p.part.type == kind and p.part.result == "done")

    @property
    def scripts(self) -> tuple[Placed, ...]:
        """The scripts."""
        return self.of_type(SCRIPT)

    @property
    def boothooks(self) -> tuple[Placed, ...]:
        """The boothooks."""
        return self.of_type(BOOTHOOK)


def gather(
    sources: Sequence[Source],
    base: Mapping[str, Any],
    report: Report,
    *,
    launch_index: int = 0,
    base64: bool = False,
) -> Gathered:
    """Return what *sources* ask for, the first above the others and all above *base*.

    The user, who is the first, may switch the others off with `vendor_data: {enabled: false}`.
    """
    parts: list[Placed] = []
    layers: list[Mapping[str, Any]] = []
    for number, (origin, content) in enumerate(sources):
        if number == 1 and not _enabled(layers[0] if layers else {}, report):
            break
        placed, config = _take(origin, number, content, report, launch_index, base64)
        parts += placed
        layers.append(config)
    whole: Mapping[str, Any] = base
    if any(layers):
        from .merge import over

        for config in reversed(layers):
            whole = over(config, whole)
    return Gathered(tuple(parts), whole)


def _take(
    origin: str, number: int, content: Secret, report: Report, launch_index: int, base64: bool
) -> tuple[list[Placed], Mapping[str, Any]]:
    """Return the parts of one source, and the cloud-config they make together."""
    placed, configs = [], []
    for part in decode(content.reveal(), launch_index=launch_index, base64=base64):
        place = f"{origin} {part.name}" if origin else part.name
        if part.type == CLOUD_CONFIG and part.result == "done":
            part, config = _read(part, place, report, launch_index)
            configs.append(config)
        for words in part.notices:
            report.notice(place, words)
        # Scripts run in the order of their names, and those of the vendor before the user's.
        name = f"000-vendor{number}-{part.name}" if origin else part.name
        placed.append(Placed(place, name, part))
    if not configs:
        return placed, {}
    from .merge import joined

    return placed, joined(configs)


def _read(
    part: Part, place: str, report: Report, launch_index: int
) -> tuple[Part, Mapping[str, Any]]:
    from .merge import read

    try:
        config = read(part, place, report)
    except ConfigError as error:
        return part._replace(result="refused", detail=str(error)[len(place) + 2 :]), {}
    wanted = config.get("launch-index")
    # The header, which was looked at before, wins over the key.
    if part.launch_index is None and wanted is not None and wanted != launch_index:
        return part._replace(result="notice", detail=f"for launch index {wanted!r} only"), {}
    return part, config


def _enabled(config: Mapping[str, Any], report: Report) -> bool:
    switch = config.get("vendor_data")
    if switch is None:
        return True
    enabled = switch.get("enabled", True) if isinstance(switch, dict) else switch
    if isinstance(enabled, bool):
        return enabled
    report.refused("vendor_data.enabled", "expected true or false")
    return True
