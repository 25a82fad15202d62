"""A module's turn: whether it has one at this boot, what it is given, and what became of it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from .errors import AgentError, ConfigError
from .guard import guarded
from .host import Host
from .journal import log
from .modules import Name, load_module
from .modules.base import Context, Frequency, Module, Past
from .report import BAD, EARLIER, INTERRUPTED, Entry, earlier
from .sections import load_section, wanted
from .state import State
from .status import Status


class Turns:
    """Gives the modules of one boot their turns."""

    def __init__(self, host: Host, state: State, status: Status, *, strict: bool) -> None:
        self._host = host
        self._state = state
        self._status = status
        self._strict = strict
        self._told: set[Entry] = set()

    def take(self, name: Name, context: Context) -> None:
        """Run the module when there is anything for it, and it has not run before."""
        served = bool(name.served and getattr(context.instance, name.served))
        asked = served or wanted(name, context.config)
        if not (name.always or asked):
            return
        if name.name in context.lists.left_out:
            if asked:
                words = f"not applied: left out of {context.lists.left_out[name.name]}"
                self._status.report.notice(name.name, words)
            return
        failure = guarded(partial(self._load_and_apply, name, context))
        # Errors of a section begin with its key, which often is the module's name.
        failure = failure.removeprefix(f"{name.name}: ")
        if failure:
            log.error("%s: %s", name.name, failure)
            self._status.module(
                name.name, name.stage, "failed", failure, 0.0, context.report.entries
            )

    def _load_and_apply(self, name: Name, context: Context) -> None:
        chosen = context.lists.frequencies.get(name.name)
        past = None if name.again or chosen else self._state.past(Frequency.INSTANCE, name.name)
        if past is not None:
            self._ran_before(name, context, past)
            return
        module = load_module(name.name)
        frequency, entries = chosen or module.frequency, context.report.entries
        once = module.at_most_once and frequency is not Frequency.ALWAYS
        past = self._state.past(frequency, module.name)
        if past is not None:
            # What is at most once and was cut off may have been half done: that is to be known.
            if once and not past.ended:
                context.report.failed(module.name, INTERRUPTED)
            self._ran_before(name, context, past)
            return
        began = time.monotonic()
        section = self._section(module, context)
        if once:
            self._state.claim(frequency, module.name)
        if module.at_most_once and (name.keys or context.user_scripts):
            self._status.write()
        self._host.cause = module.name
        failure = guarded(partial(module.apply, section, context))
        self._host.cause = ""
        if once and failure:
            failed = Entry(module.name, "failed", failure.removeprefix(f"{module.name}: "))
            self._state.ended(frequency, module.name, [failed, *entries])
        elif not failure:
            self._state.ended(frequency, module.name, entries)
        if failure:
            raise AgentError(failure)
        seconds = time.monotonic() - began
        for entry in entries:
            if entry.result in BAD:
                log.error("%s: %s: %s", entry.place, entry.result, entry.detail)
        # Scripts have a mark each.
        scripts = module.at_most_once and not once and context.user_scripts
        past_only = all(entry.detail.startswith((EARLIER, INTERRUPTED)) for entry in entries)
        result = "ran before" if scripts and past_only else "done"
        log.info("%s: %s in %.3f s", module.name, result, seconds)
        self._status.module(module.name, module.stage, result, "", seconds, entries)

    def _ran_before(self, name: Name, context: Context, past: Past) -> None:
        """Say that the module had its turn at an earlier boot, and what was not done then."""
        entries = context.report.entries
        entries += map(earlier, past.troubles)
        self._status.module(name.name, name.stage, "ran before", entries=entries)

    def _section(self, module: Module, context: Context) -> Any:
        """Return what *module* reads of the cloud-config, typed."""
        report = context.report
        section = load_section(module, context.config, report)
        # Two modules may read the same keys; what is wrong there is said once.
        report.entries[:] = [entry for entry in report.entries if entry not in self._told]
        self._told.update(report.entries)
        if self._strict and any(entry.result in BAD for entry in report.entries):
            raise ConfigError("not applied: the agent is strict and the section has mistakes")
        return section
