"""The truth about a boot: /run/linklocal/status.json, whole at every moment, readable by all.

Schema 1. Keys with nothing to say are left out of the inner records.

    schema       1
    status       running | done | failed
    degraded     true when something asked for was refused, failed, or left out
    detail       the same in words
    datasource, instance_id        null until known
    adopted      true when another agent, cloud-init, has set up this instance
    stage        the boot stage at work, null between stages and at the end
    pid          the process at work
    started, finished              seconds since 1970; finished is null while running
    stages       [{name, status: running | done | failed, at, seconds}]
    parts        [{place, type, result, detail}]            each piece of user and vendor data
    modules      [{name, stage, result, detail, at, seconds, entries}]
    entries      what belongs to no module: configuration, datasource, unknown keys
    not_run      in words, what could not be done on this machine (no root, no service manager)
    waits        [{what, at, seconds}]                      where others were waited for

`at` is in seconds from the start. An entry is {place, result, detail, status, seconds, output}:
where in the user's document, one of report.RESULTS, what is wrong, a command's exit status, its
time, the file with its output. A module's result is done, failed, or `ran before` for this
instance.

A boot is degraded when part of what was asked for was refused or not done: a part, a module, an
item, a script. It failed when it could not go on, because a stage failed (a broken datasource,
state that cannot be written, an error of the agent's own), or when nothing of the user data could
be used, because every part of it was refused.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from .host import Host
from .modules.base import Stage
from .report import BAD, Entry, Report

PATH = "/run/linklocal/status.json"
SCHEMA = 1
OTHERS = ("vendor data", "kernel command line")
"""How the places of parts begin that are not the user's."""
ORDER = tuple(stage.value for stage in Stage)

Record = dict[str, Any]


class Status:
    """Collects what became of a boot, and writes it."""

    def __init__(
        self,
        host: Host,
        first: Stage,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._clock = clock
        self._timer = timer
        self._began = 0.0
        self.report = Report()
        """Entries that belong to no module."""
        before = read(host)
        self._kept: Sequence[Record] = ()
        if before is not None and _goes_on(before, first):
            self.record = before
            self.record.setdefault("waits", [])
            self.record.setdefault("adopted", False)
            self._kept = before["entries"]
        else:
            self.record = {
                "schema": SCHEMA,
                "status": "running",
                "degraded": False,
                "detail": "",
                "datasource": None,
                "instance_id": None,
                "adopted": False,
                "stage": None,
                "pid": None,
                "started": round(clock(), 3),
                "finished": None,
                "stages": [],
                "parts": [],
                "modules": [],
                "entries": [],
                "not_run": [],
                "waits": [],
            }
        self.record["pid"] = os.getpid()

    def begin(self, stage: Stage) -> None:
        """Say that *stage* is at work."""
        self._began = self._timer()
        self.record["stage"] = stage.value
        row = {"name": stage.value, "status": "running", "at": self._offset(0.0)}
        self.record["stages"].append(row)
        self.write()

    def end(self, stage: Stage, failure: str = "", *, last: bool = False) -> None:
        """Say that *stage* is over, the *last* of this process; *failure*: why no other follows."""
        row = self.record["stages"][-1]
        row["status"] = "failed" if failure else "done"
        row["seconds"] = round(self._timer() - self._began, 3)
        self.record["stage"] = None
        if failure:
            self._finish(failure)
        elif stage is Stage.FINAL:
            self._finish("")
        elif last:
            # Another process goes on with the next stage.
            self.record["pid"] = None
        self.write()

    def part(self, place: str, kind: str, result: str, detail: str) -> None:
        """Say what became of a piece of user data."""
        self.record["parts"].append(
            _without_nothing({"place": place, "type": kind, "result": result, "detail": detail})
        )

    def module(
        self,
        name: str,
        stage: Stage,
        result: str,
        detail: str = "",
        seconds: float | None = None,
        entries: Sequence[Entry] = (),
    ) -> None:
        """Say what became of a module, with its entries."""
        row: Record = {"name": name, "stage": stage.value, "result": result, "detail": detail}
        if seconds is not None:
            row["at"], row["seconds"] = self._offset(seconds), round(seconds, 3)
        self.record["modules"].append(
            {**_without_nothing(row), "entries": [_plain(entry) for entry in entries]}
        )
        # A script is a whole part: what became of it is what became of the part.
        bad = {entry.place: entry for entry in entries if entry.result in BAD}
        for part in self.record["parts"]:
            entry = bad.get(part["place"])
            if entry is not None and part["result"] == "done":
                part.update(result=entry.result, detail=entry.detail or entry.result)

    def wait(self, what: str, began: float, seconds: float) -> None:
        """Say that others were waited for, *seconds* from *began* of the monotonic clock."""
        at = self._offset(self._timer() - began)
        self.record["waits"].append({"what": what, "at": at, "seconds": round(seconds, 3)})

    def _offset(self, ago: float) -> float:
        """Return the seconds from the boot's start to *ago* seconds before now."""
        since = self._clock() - float(self.record["started"]) - ago
        return max(0.0, round(since, 3))

    def write(self) -> None:
        """Put the file in place."""
        self.record["entries"] = self._entries()
        self.record["not_run"] = list(self._host.not_run)
        text = json.dumps(self.record, separators=(",", ":"))
        self._host.write(PATH, text.encode() + b"\n", mode=0o644)

    def _entries(self) -> list[Record]:
        # Each process of a boot in stages reads the configuration, and finds the same in it.
        new = [row for row in map(_plain, self.report.entries) if row not in self._kept]
        return [*self._kept, *new]

    def _finish(self, failure: str) -> None:
        self.record["entries"] = self._entries()
        bad = troubles(self.record)
        self.record["finished"] = round(self._clock(), 3)
        self.record["status"] = "failed" if failure or _nothing_usable(self.record) else "done"
        self.record["degraded"] = bool(bad)
        words = failure
        if not words and bad:
            words = bad[0] if len(bad) == 1 else f"{bad[0]}; and {len(bad) - 1} more"
        self.record["detail"] = words or self.record["detail"]


def trouble_rows(record: Mapping[str, Any]) -> list[Record]:
    """Return all that was asked for in this boot and not done as asked, by place."""
    modules = []
    rows = [*record["parts"]]
    numbers = {part["place"]: number for number, part in enumerate(rows)}
    for module in record["modules"]:
        if module["result"] == "failed":
            modules.append({"place": module["name"], **module})
        for entry in module["entries"]:
            number = numbers.get(entry["place"])
            if number is None:
                rows.append(entry)
            elif "status" in entry:
                # A script is a whole part; its exit status is known here alone.
                rows[number] = {**rows[number], "status": entry["status"]}
    return [row for row in [*modules, *record["entries"], *rows] if row["result"] in BAD]


def troubles(record: Mapping[str, Any]) -> list[str]:
    """Return the same in words, one line each."""
    lines = []
    for row in trouble_rows(record):
        detail = row.get("detail", "")
        if "entries" in row:
            own = detail.startswith(row["place"])
            lines.append(detail if own else f"{row['place']}: {detail or 'failed'}")
        else:
            lines.append(f"{row['place']}: {row['result']}{': ' if detail else ''}{detail}")
    return lines


def _nothing_usable(record: Record) -> bool:
    """Say whether there is user data, and every part of it was refused."""
    own = [part for part in record["parts"] if not part["place"].startswith(OTHERS)]
    return bool(own) and all(part["result"] == "refused" for part in own)


def read(host: Host) -> Record | None:
    """Return what status.json says, None when there is none that can be read."""
    content = host.read(PATH)
    if content is None:
        return None
    try:
        record = json.loads(content)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def stranded(record: Mapping[str, Any]) -> bool:
    """Say whether the process of the boot is gone without having said its end."""
    if record["status"] != "running" or record["pid"] is None:
        return False
    try:
        os.kill(record["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def silent_end(record: Mapping[str, Any]) -> str:
    """Return in words how a boot that is stranded ended."""
    where = f"in stage {record['stage']}" if record["stage"] else "between two stages"
    return f"the agent ended {where} without a word"


def _goes_on(record: Record, first: Stage) -> bool:
    """Say whether *record* is of the same boot, in earlier stages."""
    earlier = ORDER[: ORDER.index(first.value)]
    names = [row["name"] for row in record["stages"]]
    return record["status"] == "running" and bool(names) and all(n in earlier for n in names)


def _plain(entry: Entry) -> Record:
    return _without_nothing(entry._asdict())


def _without_nothing(record: Record) -> Record:
    return {key: value for key, value in record.items() if value is not None and value != ""}
