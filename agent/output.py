"""Where the output of scripts and commands is shown beside its private file: the key `output`.

As cloud-init has it: for `init`, `config`, `final` or `all`, a text such as `>> /var/log/x` or
`| tee -a /var/log/x`, or one for the output and one for the errors, which come together here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .errors import HostError
from .host import Host
from .modules.base import Stage
from .report import Report

KEYS = {Stage.NETWORK: "init", Stage.CONFIG: "config", Stage.FINAL: "final"}
EXPECTED = "expected such as '>> /var/log/output.log' or '| tee -a /var/log/output.log'"
LONGEST = 16 * 1024 * 1024
"""Bytes of one output that are given to a command, the last."""
TIMEOUT = 30.0
CONSOLE = "/dev/console"
_TEE = re.compile(r"tee\s+(-a\s+)?(/[\w./@+-]+)")


class Sink:
    """Shows the output of one script, as it comes, where its stage's is shown.

    A command of the user's gets it when the script has ended: it may take as long as it likes.
    """

    def __init__(self, outputs: Outputs, stage: Stage, target: str) -> None:
        self._outputs = outputs
        self._stage = stage
        self._target = target
        self._kept = bytearray()

    def take(self, piece: bytes) -> None:
        """Show *piece*, the next of it."""
        target = self._target
        tee = _TEE.fullmatch(target[1:].strip()) if target.startswith("|") else None
        if tee is not None:
            self._add(CONSOLE, piece, append=True)
            self._add(tee[2], piece, append=bool(tee[1]))
        elif target.startswith("|"):
            self._kept += piece
            del self._kept[:-LONGEST]
        else:
            self._add(target.lstrip(">").strip(), piece, append=target.startswith(">>"))

    def _add(self, path: str, piece: bytes, *, append: bool) -> None:
        if path in self._outputs.failed:
            return
        try:
            self._outputs.write(self._stage, path, piece, append=append)
        except HostError as error:
            # Said once: what scripts do is worth more than where it is shown.
            self._outputs.failed.add(path)
            self._outputs.report.failed("output", str(error))

    def close(self) -> None:
        """Know that this was all."""
        if not self._kept:
            return
        argv = ["/bin/sh", "-c", self._target[1:].strip()]
        report, kept = self._outputs.report, bytes(self._kept)
        try:
            done = self._outputs.host.run(argv, stdin=kept, timeout=TIMEOUT, what="output")
        except HostError as error:
            report.failed("output", str(error))
            return
        if done.status:
            report.failed("output", f"its command ended with status {done.status}")


class Outputs:
    """What the cloud-config wants; what cannot be understood of it is reported once."""

    def __init__(self, host: Host, config: Mapping[str, Any], report: Report) -> None:
        self.host = host
        self.report = report
        self._targets: dict[Stage, str] = {}
        self._begun: set[tuple[Stage, str]] = set()
        self.failed: set[str] = set()
        """Where nothing more is shown in this boot."""
        said = config.get("output")
        if said is None:
            return
        if not isinstance(said, dict):
            report.refused("output", "expected a mapping with 'init', 'config', 'final' or 'all'")
            return
        wrong: set[str] = set()
        for stage, key in KEYS.items():
            where = key if said.get(key) is not None else "all"
            target = _target(said.get(where))
            if target:
                self._targets[stage] = target
            elif said.get(where) is not None and where not in wrong:
                wrong.add(where)
                report.refused(f"output.{where}", EXPECTED)

    def sink(self, stage: Stage) -> Sink | None:
        """Return what shows the output of a script of *stage*, None when nobody wants it."""
        target = self._targets.get(stage)
        return None if target is None or self.host.records else Sink(self, stage, target)

    def write(self, stage: Stage, path: str, content: bytes, *, append: bool) -> None:
        """Add *content* to *path*; without *append* the stage begins it anew."""
        if path == CONSOLE:
            self.host.console(content)
            return
        owner = "root:root" if self.host.group("adm") is None else "root:adm"
        if append or (stage, path) in self._begun:
            self.host.add_to(path, content, mode=0o640, owner=owner)
        else:
            self.host.write(path, content, mode=0o640, owner=owner)
        self._begun.add((stage, path))


def _target(raw: Any) -> str:
    """Return where output goes, as `> FILE`, `>> FILE` or `| COMMAND`; empty for what is none."""
    if isinstance(raw, dict):
        raw = raw.get("output")
    elif isinstance(raw, list) and raw:
        raw = raw[0]
    if not isinstance(raw, str) or not raw.strip().isprintable():
        return ""
    text = raw.strip()
    if text.startswith("|"):
        return text if text[1:].strip() else ""
    # A bare name is a file to add to.
    if not text.startswith(">"):
        text = f">> {text}"
    return text if text.lstrip(">").strip().startswith("/") and text.count(">") <= 2 else ""
