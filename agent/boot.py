"""A boot, told in order: datasource, parts, cloud-config, modules by stage, and the status."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Callable, NamedTuple

from . import config, datasources
from .errors import AgentError, ConfigError
from .host import Host
from .instance import InstanceData
from .journal import log
from .modules import NAMES, Name, load_module
from .modules.base import Context, Module, Stage, UserScript
from .report import BAD, Entry, Report
from .secret import Secret
from .sections import load_section, unknown_keys, wanted
from .state import State
from .status import Status
from .user_data.gather import Gathered, Placed, Source, gather


class Wishes(NamedTuple):
    """What the command line asks for, over the configuration."""

    stages: tuple[Stage, ...] = tuple(Stage)
    metadata_url: str | None = None
    datasource: str | None = None
    user_data: Secret | None = None
    """In place of what the datasource serves."""
    instance_id: str | None = None


def boot(host: Host, wishes: Wishes) -> Status:
    """Make *host* what its instance data asks for, in the stages wished for; return the truth."""
    status = Status(host, wishes.stages[0])
    journey = Journey(host, wishes, status)
    for stage in wishes.stages:
        status.begin(stage)
        failure = guarded(partial(journey.run, stage))
        if failure:
            log.error("%s: %s", stage.value, failure)
        status.end(stage, failure)
        if failure:
            break
    return status


def finish(host: Host, status: Status) -> None:
    """End the boot as the user data asks for: nothing of the agent is left to be done."""
    failure = guarded(host.finish)
    if failure:
        log.error("power_state: %s", failure)
        status.report.failed("power_state", failure)
        status.end(Stage.FINAL)


def guarded(work: Callable[[], None]) -> str:
    """Do *work*; return what went wrong in words, empty when nothing did."""
    try:
        work()
    except AgentError as error:
        return str(error)
    # The one such net: whatever a module does, the boot goes on and the status says it. The
    # exception's own text may hold the user's values, so only its kind and place are told.
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "nowhere"
        if trace is not None:
            file = trace.tb_frame.f_code.co_filename.rpartition("/agent/")[2]
            where = f"{file} line {trace.tb_lineno}"
        return f"internal error: {type(error).__name__} in {where}"
    return ""


class Journey:
    """One process on its way through stages of a boot."""

    def __init__(self, host: Host, wishes: Wishes, status: Status) -> None:
        self._host = host
        self._wishes = wishes
        self._status = status
        self._state = State(host)
        self._config = config.AgentConfig()
        self._prepared = False
        self._context: Context | None = None
        self._told: set[Entry] = set()
        self._boothooks: tuple[Placed, ...] = ()

    def run(self, stage: Stage) -> None:
        """Go through *stage*. AgentError: the boot cannot go on."""
        if stage is Stage.LOCAL:
            # Nothing yet is done before the network but to find out what is wrong early.
            self._read_config()
            self._choose()
            return
        if not self._prepared:
            self._prepare(stage)
        context = self._context
        if context is None:
            return
        if stage is Stage.NETWORK:
            self._name_unknown_keys(context)
            self._run_boothooks(context._replace(report=Report()))
        for name in NAMES:
            if name.stage is stage:
                self._module(name, context._replace(report=Report()))
        if stage is Stage.FINAL:
            self._state.forget()

    # --- who this machine is

    def _read_config(self) -> None:
        if not self._prepared:
            self._status.report.entries.clear()
            self._config = config.read(self._host, self._status.report)

    def _choose(self) -> tuple[tuple[str, ...], str]:
        """Return the names of the datasources to try, none when there is none, and why these."""
        chosen: tuple[str, ...]
        if self._wishes.datasource:
            chosen, reason = (self._wishes.datasource,), "--datasource"
        elif self._wishes.metadata_url:
            chosen, reason = datasources.NAMES, "--metadata-url"
        elif self._config.datasource:
            names = self._config.datasource
            chosen = (names,) if isinstance(names, str) else names
            reason = config.PATH
        else:
            from .datasources.detect import detect

            detected = detect(self._host)
            chosen, reason = (detected.name,) if detected.name else (), detected.reason
        datasources.check(chosen, f"datasource by {reason}")
        return chosen, reason

    def _find(self, stage: Stage) -> InstanceData | None:
        """Return the instance's data; None when this machine has no datasource."""
        if stage is not Stage.NETWORK:
            handed_over = self._state.handed_over()
            if handed_over is not None:
                return handed_over
        names, reason = self._choose()
        wishes = self._wishes
        instance = None
        if names:
            urls = (wishes.metadata_url,) if wishes.metadata_url else self._config.metadata_urls
            instance = datasources.discover(
                names,
                urls,
                self._status.report,
                timeout=self._config.timeout,
                deadline=self._config.deadline,
                pause=self._config.retry_pause,
            )
        elif wishes.user_data is not None:
            machine = (self._host.read("/etc/machine-id") or b"none").decode("ascii", "replace")
            instance = InstanceData("file", machine.strip(), None, (), Secret(b""))
        else:
            self._status.record["detail"] = f"no datasource: {reason}"
            log.info("no datasource: %s", reason)
            return None
        if wishes.user_data is not None:
            instance = instance._replace(user_data=wishes.user_data)
        if wishes.instance_id:
            instance = instance._replace(instance_id=wishes.instance_id)
        log.info(
            "datasource %s by %s, instance %s", instance.datasource, reason, instance.instance_id
        )
        return instance

    def _prepare(self, stage: Stage) -> None:
        """Find the instance, read its user data, and make ready what the modules are given."""
        self._read_config()
        self._prepared = True
        instance = self._find(stage)
        if instance is None:
            return
        self._status.record["datasource"] = instance.datasource
        self._status.record["instance_id"] = instance.instance_id
        if self._state.enter(instance.instance_id):
            log.info("first boot of this instance")
        if self._wishes.stages[-1] is not Stage.FINAL:
            self._state.hand_over(instance)
        gathered = self._gather(instance, stage)
        self._boothooks = gathered.boothooks
        self._context = Context(
            host=self._host,
            instance=instance,
            report=Report(),
            config=gathered.config,
            default_user=config.default_user(self._host, self._config),
            scripts=self._state.scripts,
            user_scripts=tuple(
                UserScript(name, place, part.content) for place, name, part in gathered.scripts
            ),
        )

    # --- what it is asked to be

    def _gather(self, instance: InstanceData, stage: Stage) -> Gathered:
        """Return what all sources ask for; what became of each part is in the status."""
        report = self._status.report
        base = config.base(self._host, self._config, report)
        sources = [Source("", instance.user_data)]
        if self._config.vendor_data:
            vendors = (
                ("vendor data 2", instance.vendor_data2),
                ("vendor data", instance.vendor_data),
            )
            sources += [Source(origin, content) for origin, content in vendors if content]
        # A later stage of the same boot reads them again and says the same.
        told = stage is Stage.NETWORK or not self._status.record["parts"]
        gathered = gather(
            sources,
            base,
            report if told else Report(),
            launch_index=instance.launch_index,
            base64=instance.datasource == "ec2",
        )
        if told:
            for place, _, part in gathered.parts:
                self._status.part(place, part.type, part.result, part.detail)
                if part.result in BAD:
                    log.error("%s: %s", place, part.detail)
        return gathered

    def _run_boothooks(self, context: Context) -> None:
        """Run the boothooks, at every boot and before all modules."""
        if not self._boothooks:
            return
        from .scripts import run_script

        began = time.monotonic()
        for place, name, part in self._boothooks:
            run_script(
                self._host,
                context.report,
                place=place,
                content=part.content,
                name=name,
                directory=context.scripts,
                env={"INSTANCE_ID": context.instance.instance_id},
            )
        seconds = time.monotonic() - began
        entries = context.report.entries
        self._status.module("boothooks", Stage.NETWORK, "done", "", seconds, entries)

    def _module(self, name: Name, context: Context) -> None:
        """Run the module when there is anything for it, and it has not run before."""
        served = bool(name.served and getattr(context.instance, name.served))
        if not (name.always or served or wanted(name, context.config)):
            return
        failure = guarded(partial(self._load_and_apply, name, context))
        if failure:
            log.error("%s: %s", name.name, failure)
            self._status.module(
                name.name, name.stage, "failed", failure, 0.0, context.report.entries
            )

    def _load_and_apply(self, name: Name, context: Context) -> None:
        module = load_module(name.name)
        if self._state.ran(module.frequency, module.name):
            self._status.module(module.name, module.stage, "ran before")
            return
        began = time.monotonic()
        section = self._section(module, context)
        # Without a section or a script a module at most marks that it had its turn.
        durable = module.at_most_once and bool(name.keys or context.user_scripts)
        if durable:
            self._state.mark(module.frequency, module.name, durable=True)
            self._status.write()
        module.apply(section, context)
        if not durable:
            self._state.mark(module.frequency, module.name)
        seconds = time.monotonic() - began
        entries = context.report.entries
        for entry in entries:
            if entry.result in BAD:
                log.error("%s: %s: %s", entry.place, entry.result, entry.detail)
        log.info("%s: done in %.3f s", module.name, seconds)
        self._status.module(module.name, module.stage, "done", "", seconds, entries)

    def _section(self, module: Module, context: Context) -> Any:
        """Return what *module* reads of the cloud-config, typed."""
        report = context.report
        section = load_section(module, context.config, report)
        # Two modules may read the same keys; what is wrong there is said once.
        report.entries[:] = [entry for entry in report.entries if entry not in self._told]
        self._told.update(report.entries)
        if self._config.strict and any(entry.result in BAD for entry in report.entries):
            raise ConfigError("not applied: the agent is strict and the section has mistakes")
        return section

    def _name_unknown_keys(self, context: Context) -> None:
        """Warn of keys at the top that no module reads."""
        for key, words in unknown_keys(context.config):
            self._status.report.warning(key, words)
            log.warning("%s: %s", key, words)
