"""User data and vendor data to what a boot works on: scripts, boothooks, one cloud-config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple

from ..errors import ConfigError
from ..report import Report
from ..secret import Secret
from .parts import (
    BOOTHOOK,
    CLOUD_CONFIG,
    HANDLER,
    JSON_PATCH,
    RENDERED,
    SCRIPTS,
    TEMPLATE,
    Includes,
    Part,
    Refused,
    checked,
    decode,
    first_line_type,
)

Config = Mapping[str, Any]
NOTHING: Config = {}


class Source(NamedTuple):
    """A document of user data, of any format; the user's own has no *origin*."""

    origin: str
    content: Secret
    switch: str = ""
    """The key of cloud-config by which the user switches it off."""
    parts: tuple[Part, ...] | None = None
    """What became of *content* in an earlier stage of this boot."""


class Tools(NamedTuple):
    """What some formats need of the world; without, their parts are named and left alone."""

    includes: Includes | None = None
    values: Callable[[], Config] | None = None
    """What templates are filled in with."""
    handle: Callable[[str, tuple[Part, ...]], tuple[Part, ...]] | None = None
    """Runs the part handlers of one source, by its origin; returns what became of each part."""


class Placed(NamedTuple):
    """A part with its place in the status, which is unique, as is its *name* among files."""

    place: str
    name: str
    part: Part
    origin: str = ""
    prefix: tuple[str, ...] = ()
    """The words before the script's path where it is run."""


class Gathered(NamedTuple):
    """What all sources ask for, and what became of each part."""

    parts: tuple[Placed, ...]
    config: Config
    asked: Config = NOTHING
    """The same without what the image itself asks for."""

    def of_type(self, *kinds: str) -> tuple[Placed, ...]:
        """Return the parts of *kinds* that are taken, in order."""
        return tuple(
            each
            for each in self.parts
            if each.part.type in kinds and each.part.result == "done" and not each.part.handler
        )

    @property
    def scripts(self) -> tuple[Placed, ...]:
        """The scripts, for whatever frequency."""
        return self.of_type(*SCRIPTS)

    @property
    def boothooks(self) -> tuple[Placed, ...]:
        """The boothooks."""
        return self.of_type(BOOTHOOK)


def gather(
    sources: Sequence[Source],
    base: Config,
    report: Report,
    *,
    top: Config = NOTHING,
    launch_index: int = 0,
    base64: bool = False,
    tools: Tools = Tools(),  # noqa: B008 - a constant
) -> Gathered:
    """Return what *sources* ask for, the first above the others and all above *base*.

    The first may switch the others off with `vendor_data: {enabled: false}`. *top* is above all.
    """
    work = _Gathering(report, launch_index, base64, tools)
    parts: list[Placed] = []
    whole: Config = top
    for number, source in enumerate(sources):
        switch = _read_switch(source.switch, whole, base, report)
        if not switch.enabled:
            continue
        placed, config = work.take(source, number, switch)
        parts += placed
        if config:
            whole = _over(whole, config)
    return Gathered(tuple(parts), _over(whole, base), whole)


class _Switch(NamedTuple):
    enabled: bool = True
    prefix: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()


class _Gathering:
    def __init__(self, report: Report, launch_index: int, base64: bool, tools: Tools) -> None:
        self._report = report
        self._launch_index = launch_index
        self._base64 = base64
        self._tools = tools

    def take(self, source: Source, number: int, switch: _Switch) -> tuple[list[Placed], Config]:
        """Return the parts of one source, and the cloud-config they make together."""
        parts = self._open(source, switch) if source.parts is None else source.parts
        placed = []
        whole: Config = {}
        for part in parts:
            place = f"{source.origin} {part.name}" if source.origin else part.name
            taken = part.result == "done" and not part.handler
            if taken and part.type in (CLOUD_CONFIG, JSON_PATCH):
                part, whole = self._config(part, whole, place)
            for words in part.notices:
                self._report.notice(place, words)
            # Two sources may well have a part of the same name.
            name = f"000-vendor{number}-{part.name}" if source.origin else part.name
            placed.append(Placed(place, name, part, source.origin, switch.prefix))
        return placed, whole

    def _open(self, source: Source, switch: _Switch) -> tuple[Part, ...]:
        parts = decode(
            source.content.reveal(),
            launch_index=self._launch_index,
            base64=self._base64,
            includes=self._tools.includes,
        )
        if switch.disabled:
            off = f"switched off by {source.switch}.disabled_handlers"
            parts = tuple(
                part._replace(result="notice", detail=off)
                if part.result == "done" and part.type in switch.disabled
                else part
                for part in parts
            )
        if self._tools.handle and any(part.type == HANDLER for part in parts):
            parts = self._tools.handle(source.origin, parts)
        return tuple(self._filled(part, source.origin) for part in parts)

    def _filled(self, part: Part, origin: str) -> Part:
        """Return *part*, filled in when it is a template."""
        if part.type != TEMPLATE or part.result != "done" or part.handler:
            return part
        from .template import MISSING, check, render

        content, values = part.content.reveal(), self._tools.values
        try:
            if values is None:
                check(content)
                return part._replace(result="notice", detail="a template, not filled in here")
            rendered = render(content, values())
            content = rendered.content.lstrip()
            kind = first_line_type(content)
            notices = list(part.notices)
            content = checked(content, kind, notices, only=RENDERED)
        except Refused as refused:
            return part._replace(result="refused", detail=str(refused))
        place = f"{origin} {part.name}" if origin else part.name
        for name in rendered.missing:
            words = f"no variable {name!r}: {MISSING}{name} stands in its place"
            self._report.warning(place, words)
        return part._replace(type=kind, content=Secret(content), notices=tuple(notices))

    def _config(self, part: Part, whole: Config, place: str) -> tuple[Part, Config]:
        """Return what becomes of *part*, and *whole* with it."""
        from . import merge

        try:
            if part.type == JSON_PATCH:
                return part, merge.patched(whole, part, place)
            config = merge.read(part, place, self._report)
            wanted = config.get("launch-index")
            # The header, which was looked at before, wins over the key.
            if part.launch_index is None and wanted not in (None, self._launch_index):
                detail = f"for launch index {str(wanted)[:40]!r} only"
                return part._replace(result="notice", detail=detail), whole
            return part, merge.added(whole, config, part, place)
        except ConfigError as error:
            return part._replace(result="refused", detail=str(error)[len(place) + 2 :]), whole


def _over(upper: Config, lower: Config) -> Config:
    if not upper or not lower:
        return upper or lower
    from .merge import over

    return over(upper, lower)


def _read_switch(key: str, whole: Config, base: Config, report: Report) -> _Switch:
    """Return what the user, or else the image, says of a source below the key."""
    if not key or (key not in whole and key not in base):
        return _Switch()
    said = _over(whole, base)[key]
    if isinstance(said, bool):
        return _Switch(said)
    if not isinstance(said, dict):
        report.refused(key, "expected a mapping with 'enabled', 'prefix' and 'disabled_handlers'")
        return _Switch()
    enabled, prefix = said.get("enabled", True), said.get("prefix") or ()
    disabled = said.get("disabled_handlers") or ()
    if not isinstance(enabled, bool):
        report.refused(f"{key}.enabled", "expected true or false")
        enabled = True
    if isinstance(prefix, str):
        prefix = (prefix,)
    if not isinstance(prefix, (list, tuple)) or not all(isinstance(each, str) for each in prefix):
        report.refused(f"{key}.prefix", "expected a program, or a list of words")
        prefix = ()
    if isinstance(disabled, str):
        disabled = (disabled,)
    if not isinstance(disabled, (list, tuple)):
        report.refused(f"{key}.disabled_handlers", "expected a list of types")
        disabled = ()
    return _Switch(enabled, tuple(prefix), tuple(map(str, disabled)))
