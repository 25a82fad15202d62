"""What a batch did, one line a host, and the totals; all details go to logs/exec_origin.log."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: batch
type: stdout
short_description: One line a host, totals, and a log
description: What each host said last, or what went wrong there first.
"""
LOG = Path("logs/exec_origin.log")
TOLD = ("Copy the package", "Install", "Start the reset daemon", "Remove the package")


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible has no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "batch"

    def __init__(self) -> None:
        super().__init__()
        self._failed: dict[str, str] = {}
        self._said: dict[str, str] = {}
        LOG.parent.mkdir(exist_ok=True)
        # What programs print may be nobody else's business.
        number = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._log = os.fdopen(number, "a", buffering=1, encoding="utf-8")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        name = task.get_name().rpartition(" : ")[2]
        self._log.write(f"{now()} {name}\n")
        if name in TOLD:
            self._display.display(f"{now()} {name}: all hosts")

    def v2_runner_on_ok(self, result: Any) -> None:
        if result._task.action.endswith("debug"):
            self._said[result._host.name] = one_line(result._result.get("msg", ""))
        self._write(result, "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._failed.setdefault(result._host.name, reason(result))
        self._write(result, "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._failed[result._host.name] = f"unreachable: {one_line(result._result.get('msg', ''))}"
        self._write(result, "unreachable")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        hosts = sorted(stats.processed)
        self._display.display(f"{now()} Please check the execution result.\nstatus ip msg")
        for host in hosts:
            failure = self._failed.get(host)
            status = "SUCCESS" if failure is None else "FAILED"
            line = f"[{status}] {host} {self._said.get(host, '') if failure is None else failure}"
            self._display.display(line)
            self._log.write(f"{line}\n")
        failed = sum(host in self._failed for host in hosts)
        line = f"Total: {len(hosts)} Success: {len(hosts) - failed} Failed: {failed}"
        self._display.display(f"{line}\nYou can check {LOG} for details.")
        self._log.write(f"{line}\n")

    def _write(self, result: Any, how: str) -> None:
        # _dump_results leaves out what a task keeps to itself (no_log).
        self._log.write(f"{result._host.name} {how} {self._dump_results(result._result)}\n")


def now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def one_line(text: object) -> str:
    return " ".join(str(text).split())


def reason(result: Any) -> str:
    """Say which task failed and why, in a line: what a program said on stderr, else the message."""
    said = str(result._result.get("stderr", "")).strip().splitlines()[-1:]
    words = said[0] if said else result._result.get("msg", "failed")
    return f"{result._task.get_name().rpartition(' : ')[2]}: {one_line(words)}"
