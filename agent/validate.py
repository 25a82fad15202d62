"""User data checked without a machine: every part, every section, place and rule, no value."""

from __future__ import annotations

from contextlib import suppress

from . import module_lists
from .errors import AgentError
from .host import Host
from .instance import InstanceData
from .modules import NAMES, load_module
from .modules.base import Context, Module
from .modules.write_files import ODD
from .plan import Plan
from .report import Entry, Report
from .secret import Secret
from .sections import load_section, unknown_keys, wanted
from .state import State
from .user_data.gather import Gathered, Source, gather

NOWHERE = "/dev/null/linklocal"
"""A root without a file: nothing can ever be below what is no directory."""
OS_RELEASE = b"ID=debian\n"
PASSWD = b"root:x:0:0:root:/root:/bin/sh\n"
DEFAULT_USER = "debian"
INSTANCE_ID = "i-0"
_OF_THE_DOCUMENT = ("unknown key", "deprecated", ODD)
"""Beginnings of what else than a refusal is about the document, not the machine."""


def validate(content: bytes) -> tuple[Entry, ...]:
    """Return what there is to say of the user data in *content*, of any format."""
    report = Report()
    gathered = gather([Source("", Secret(content))], {}, report, base64=True)
    if not gathered.parts:
        report.notice("user data", "empty")
    for place, _, part, *_ in gathered.parts:
        if part.result != "done":
            report.add(place, part.result, part.detail)
    for key, words in unknown_keys(gathered.config):
        report.warning(key, words)
    module_lists.read(gathered.config, report)
    machine = _Machine()
    # Some modules leave work to others.
    marks = State(machine)
    marks.enter(INSTANCE_ID)
    for name in NAMES:
        if name.always or wanted(name, gathered.config):
            _check(load_module(name.name), gathered, machine, marks, report)
    # Two modules may read the same keys.
    return tuple(dict.fromkeys(report.entries))


class _Machine(Plan):
    """A Debian in memory with next to nothing on it, which knows no other machine.

    What it would run is only recorded, so it may run anything.
    """

    def __init__(self) -> None:
        super().__init__(Host(NOWHERE))
        self.runs = True
        self.write("/etc/os-release", OS_RELEASE)
        self.write("/etc/passwd", PASSWD)

    def resolves(self, name: str) -> bool:
        """Say no: a check asks no network."""
        return False

    def has_console(self) -> bool:
        """Say no: nobody is to see anything."""
        return False


def _check(module: Module, gathered: Gathered, machine: Plan, marks: State, report: Report) -> None:
    """Have *module* read its section as a boot would, and say what is wrong with the document."""
    try:
        section = load_section(module, gathered.config, report)
    except AgentError as error:
        report.refused(module.name, str(error))
        return
    own = Report()
    context = Context(
        host=machine,
        instance=InstanceData("file", INSTANCE_ID, None, (), Secret(b"")),
        report=own,
        config=gathered.config,
        default_user=DEFAULT_USER,
        scripts=marks.scripts,
        marks=marks,
    )
    # What this machine lacks says nothing of the document.
    with suppress(AgentError):
        module.apply(section, context)
    for entry in own.entries:
        if entry.result == "refused" or entry.detail.startswith(_OF_THE_DOCUMENT):
            report.entries.append(entry)
