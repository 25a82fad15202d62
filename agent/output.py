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
"""Bytes of one output that are passed on, the last."""
TIMEOUT = 30.0
_TEE = re.compile(r"tee\s+(-a\s+)?(/[\w./@+-]+)")


class Outputs:
    """Passes on captured output, and reports once what cannot be understood."""

    def __init__(self, host: Host, config: Mapping[str, Any], report: Report) -> None:
        self._host = host
        self._report = report
        self._targets: dict[Stage, str] = {}
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

    def forward(self, stage: Stage, path: str) -> None:
        """Show the output captured in *path* where the stage's is shown."""
        target = self._targets.get(stage)
        if target is None or self._host.records:
            return
        try:
            content = self._host.read_end(path, LONGEST) or b""
            if content:
                self._pass_on(target, content)
        except HostError as error:
            self._report.failed("output", str(error))

    def _pass_on(self, target: str, content: bytes) -> None:
        tee = _TEE.fullmatch(target[1:].strip()) if target.startswith("|") else None
        if tee is not None:
            self._write(tee[2], content, append=bool(tee[1]))
            self._host.console(content)
        elif target.startswith("|"):
            argv = ["/bin/sh", "-c", target[1:].strip()]
            done = self._host.run(argv, stdin=content, timeout=TIMEOUT, what="output")
            if done.status:
                self._report.failed("output", f"its command ended with status {done.status}")
        else:
            append = target.startswith(">>")
            self._write(target.lstrip(">").strip(), content, append=append)

    def _write(self, path: str, content: bytes, *, append: bool) -> None:
        if path == "/dev/console":
            self._host.console(content)
            return
        owner = "root:root" if self._host.group("adm") is None else "root:adm"
        self._host.write(path, content, mode=0o640, owner=owner, append=append)


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
