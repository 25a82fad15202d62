"""Running what users wrote: a script of their own, and the entries of runcmd and bootcmd.

Everything lies in the instance's private directory; the script itself only while it runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Union

from .errors import HostError
from .host import Host
from .report import Report
from .secret import Secret

if TYPE_CHECKING:
    from .modules.base import Sink

Entry = Union[str, Sequence[str]]

OUTPUT = ".output"
"""How the names end of files with what scripts printed."""
SHELL = "/bin/sh"
LONGEST_COMMAND = 50
"""Most entries that may form one command together, as an `if` in one and its `fi` in another do."""

MOST_TRIES = 1000
"""How often the shell is asked about entries that do not parse all together."""

# Descriptor 9 takes the results. It is closed within each entry, so that no child of an entry has
# it and an entry may use the number itself; shells put the saved one out of reach. `$?` of one
# entry is still there in the next. The uptime is read by the shell, without a process.
HEAD = """\
exec 9>>{results} || exit
ll_=0
ll_mark() {{
ll_=$?
{{ read -r ll_up ll_idle </proc/uptime; }} 2>/dev/null || ll_up=
printf '%s %s %s\\n' "$1" "$ll_" "$ll_up" >&9
}}
ll_keep() {{ case $- in *e*) return 0 ;; esac; return "$ll_"; }}
ll_mark start
"""
COMMAND = """\
{{ ll_keep
{text}
}} 9>&-
ll_mark {number}
"""


class Command(NamedTuple):
    """What one shell command is made of: an entry, or several that only parse together."""

    number: int
    last: int
    text: str


class Mark(NamedTuple):
    """What the shell said after a command: its status, and the uptime in seconds."""

    status: int
    uptime: float | None


def run_script(
    host: Host,
    report: Report,
    *,
    place: str,
    content: Secret,
    name: str,
    directory: str,
    env: Mapping[str, str],
    timeout: float | None = None,
    prefix: Sequence[str] = (),
    program: str = "",
    sink: Sink | None = None,
) -> int:
    """Run *content*, kept in *directory*, as a program; return its exit status, -1 if none.

    *program* is the path of one that is there, instead of content. It starts in `/`, as scripts
    rely on, after the words of *prefix*. Its result is an entry of *report*, its output a file in
    *directory* that root alone may read, and *sink* is given as it comes.
    """
    if not host.runs:
        report.add(place, "not run", "programs cannot be run here")
        return -1
    path, output = program or f"{directory}/{name}", f"{directory}/{name}{OUTPUT}"
    began = time.monotonic()
    try:
        if not program:
            host.write(path, content, mode=0o700)
        try:
            completed = host.run(
                [*prefix, path],
                env=env,
                timeout=timeout,
                output=output,
                watch=None if sink is None else sink.take,
                what=f"script {place}",
            )
        finally:
            if not program:
                host.remove(path)
            if sink is not None:
                sink.close()
    except HostError as error:
        seconds = round(time.monotonic() - began, 3)
        report.add(place, "failed", _reason(host, content, error), seconds=seconds, output=output)
        return -1
    seconds = time.monotonic() - began
    result = "failed" if completed.status else "done"
    report.add(
        place,
        result,
        status_text(completed.status),
        status=completed.status,
        seconds=round(seconds, 3),
        output=output,
    )
    return completed.status


def run_entries(
    host: Host,
    report: Report,
    *,
    place: str = "runcmd",
    entries: Sequence[Entry],
    directory: str,
    env: Mapping[str, str],
    timeout: float | None = None,
    sink: Sink | None = None,
) -> None:
    """Run *entries* as one /bin/sh script; each one's result is an entry of *report*.

    What one entry sets (directory, variables, options) holds for the next. After an entry that
    ends the shell the others are `not run`; one that the shell cannot parse is refused alone.
    """
    if not entries:
        return
    if not host.runs:
        report.add(place, "not run", "programs cannot be run here")
        return
    results, output = f"{directory}/{place}.results", f"{directory}/{place}{OUTPUT}"
    path = f"{directory}/{place}"
    commands = _commands(host, report, place, entries)
    if not commands:
        return
    text = HEAD.format(results=quoted(results)) + "".join(map(_command_text, commands))
    script = Secret(text.encode("utf-8", "surrogateescape"))
    failure, status = "", -1
    try:
        host.write(results, b"", mode=0o600)
        host.write(path, script, mode=0o600)
        completed = host.run(
            [SHELL, path],
            env=env,
            timeout=timeout,
            output=output,
            watch=None if sink is None else sink.take,
            what=place,
        )
        status = completed.status
    except HostError as error:
        failure = str(error)
    marks = _marks(host.read(results) or b"")
    host.remove(results)
    host.remove(path)
    if sink is not None:
        sink.close()
    if host.records:
        return
    if "start" not in marks:
        report.add(place, "failed", failure or "the shell did not start", output=output)
        return
    _report(report, place, commands, marks, status, failure, output)


def status_text(status: int) -> str:
    """Return an exit status in words, empty for success."""
    if status < 0:
        return f"ended by signal {-status}"
    return f"exit status {status}" if status else ""


def quoted(word: str) -> str:
    """Return *word* as /bin/sh reads it back."""
    return "'" + word.replace("'", "'\\''") + "'"


def _commands(
    host: Host, report: Report, place: str, entries: Sequence[Entry]
) -> tuple[Command, ...]:
    """Return the commands that the shell can parse; the others are refused in *report*."""
    alone = []
    for number, entry in enumerate(entries):
        text = entry if isinstance(entry, str) else " ".join(quoted(word) for word in entry)
        if "\0" in text:
            report.refused(f"{place}[{number}]", "a NUL character in a command")
        else:
            alone.append(Command(number, number, text))
    if host.records or _parses(host, alone):
        return tuple(alone)
    found: list[Command] = []
    tries = 0
    while alone:
        for count in range(1, min(len(alone), LONGEST_COMMAND) + 1):
            tries += 1
            if tries > MOST_TRIES:
                words = "left out: too much before it is no command to /bin/sh"
                for command in alone:
                    report.refused(f"{place}[{command.number}]", words)
                return tuple(found)
            together = alone[:count]
            text = "\n".join(command.text for command in together)
            command = Command(alone[0].number, together[-1].number, text)
            if _parses(host, [command]):
                found.append(command)
                del alone[:count]
                break
        else:
            report.refused(f"{place}[{alone[0].number}]", "a syntax error to /bin/sh; left out")
            del alone[0]
    return tuple(found)


def _parses(host: Host, commands: Sequence[Command]) -> bool:
    text = "".join(map(_command_text, commands)).encode("utf-8", "surrogateescape")
    return host.run([SHELL, "-n"], stdin=Secret(text), what="sh -n").status == 0


def _command_text(command: Command) -> str:
    return COMMAND.format(text=command.text, number=command.number)


def _marks(text: bytes) -> dict[str, Mark]:
    marks = {}
    for line in text.decode("ascii", "replace").splitlines():
        words = line.split()
        try:
            uptime = float(words[2]) if len(words) > 2 else None
            marks[words[0]] = Mark(int(words[1]), uptime)
        except (ValueError, IndexError):
            continue
    return marks


def _report(
    report: Report,
    place: str,
    commands: Sequence[Command],
    marks: Mapping[str, Mark],
    status: int,
    failure: str,
    output: str,
) -> None:
    ended_by = ""
    before = marks["start"].uptime
    for command in commands:
        name = f"{place}[{command.number}]"
        if command.last > command.number:
            name = f"{place}[{command.number}..{command.last}]"
        mark = marks.get(str(command.number))
        if ended_by:
            report.add(name, "not run", f"{ended_by} ended the script")
        elif mark is None:
            ended_by = name
            words = failure or status_text(status)
            detail = f"{words}, and it ended the script" if words else "it ended the script"
            result = "failed" if words else "done"
            report.add(name, result, detail, status=status, output=output)
        else:
            seconds = None
            if mark.uptime is not None and before is not None:
                seconds = round(mark.uptime - before, 2)
            before = mark.uptime
            result = "failed" if mark.status else "done"
            detail = status_text(mark.status)
            report.add(name, result, detail, status=mark.status, seconds=seconds, output=output)


def _reason(host: Host, content: Secret, error: HostError) -> str:
    """Return why a script could not be started; a missing interpreter is the usual reason."""
    first = content.reveal()[:256].partition(b"\n")[0]
    words = first[2:].decode("utf-8", "replace").split()
    if first.startswith(b"#!") and words and host.kind(words[0], follow=True) is None:
        return f"its interpreter {words[0]!r} is not there"
    return str(error)
