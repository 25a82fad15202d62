"""A boot, told in order: datasource, parts, cloud-config, modules by stage, and the status."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from . import asked, config, datasources, finding, instance_data, networking
from .errors import DatasourceError
from .guard import guarded
from .host import Host
from .instance import InstanceData
from .journal import log
from .kept import Kept
from .modules import MODULE_LISTS, NAMES
from .modules.base import Context, Lists, Stage
from .report import BAD, Report
from .sections import unknown_keys
from .state import State
from .status import Status
from .turns import Turns
from .user_data.gather import Gathered, Placed
from .user_data.parts import Part
from .user_scripts import file_name, user_script
from .wishes import Wishes as Wishes

if TYPE_CHECKING:
    from .gates import Gates
    from .output import Outputs


USUAL_URL = "http://169.254.169.254"
LATER = 1.0
"""Seconds after which a service that did not answer is asked once more, by the next stage."""


def boot(host: Host, wishes: Wishes, gates: Gates | None = None) -> Status:
    """Make *host* what its instance data asks for, in the stages wished for; return the truth.

    With *gates*, each stage waits for its own.
    """
    status = Status(host, wishes.stages[0])
    journey = Journey(host, wishes, status)
    for stage in wishes.stages:
        if gates:
            gates.enter(stage)
        status.begin(stage)
        failure = guarded(partial(journey.run, stage))
        if failure:
            log.error("%s: %s", stage.value, failure)
        status.end(stage, failure, last=stage is wishes.stages[-1])
        failed = guarded(partial(journey.tell, stage))
        if failed:
            log.error("%s", failed)
        if gates:
            gates.leave(stage)
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


def look(host: Host, wishes: Wishes) -> InstanceData:
    """Return the instance's data from its datasource, asked now; nothing is kept of it."""
    found = Journey(host, wishes, Status(host, Stage.NETWORK)).look()
    if found is None:
        raise DatasourceError("this machine has no datasource")
    return found


class Journey:
    """One process on its way through stages of a boot."""

    def __init__(self, host: Host, wishes: Wishes, status: Status) -> None:
        self._host = host
        self._wishes = wishes
        self._status = status
        self._state = State(host)
        self._config = config.AgentConfig()
        self._configured = False
        self._looked = False
        self._met = False
        self._prepared = False
        self._kept: Kept | None = None
        self._failed: tuple[float, DatasourceError] | None = None
        self._base: Mapping[str, Any] = {}
        self._context: Context | None = None
        self._turns: Turns | None = None
        self._boothooks: tuple[Placed, ...] = ()
        self._outputs: Outputs | None = None
        self._gathered: Gathered | None = None

    def run(self, stage: Stage) -> None:
        """Go through *stage*. AgentError: the boot cannot go on."""
        if stage is Stage.LOCAL:
            self._read_config()
            self._look_early()
            return
        if not self._prepared:
            self._prepare(stage)
        context, turns = self._context, self._turns
        if context is None or turns is None:
            return
        if stage is Stage.NETWORK:
            self._name_unknown_keys(context)
            self._run_boothooks(self._in_stage(context, stage))
        for name in NAMES:
            if name.stage is stage:
                turns.take(name, self._in_stage(context, stage))
        if stage is Stage.FINAL:
            self._state.forget()

    def tell(self, stage: Stage) -> None:
        """Tell others how the boot goes, as far as they are to know."""
        record = self._status.record
        if self._config.cloud_init_compat:
            from . import cloud_init_marks

            cloud_init_marks.write(self._host, record)
        if record["finished"] is not None and not record["degraded"]:
            self._remember(record)
        if self._config.report_boot and record["finished"] is not None:
            self._report(record)

    def _remember(self, record: Mapping[str, Any]) -> None:
        """Keep what the next boot needs, when this one was of the machine's own data."""
        if not self._wishes.plain or self._gathered is None or self._context is None:
            return
        if record["status"] == "done" and not (self._kept and self._kept.parts):
            from .known import remember

            remember(self._host, Kept(self._context.instance, {}), self._gathered)

    def _report(self, record: Mapping[str, Any]) -> None:
        if self._host.records or record["datasource"] not in datasources.SERVICES:
            return
        from .completion import body, report

        wished = self._wishes.metadata_url
        urls = (wished,) if wished else self._config.metadata_urls or (USUAL_URL,)
        report(urls, body(record))

    def look(self) -> InstanceData | None:
        """Return the instance's data, None when this machine has no datasource."""
        self._read_config()
        return self._find()

    # --- who this machine is

    def _read_config(self) -> None:
        if not self._configured:
            self._configured = True
            self._config = config.read(self._host, self._status.report)
            self._base = config.base(self._host, self._config, self._status.report)
            if self._config.cloud_init_compat and self._wishes.stages[0] is Stage.LOCAL:
                from .cloud_init_marks import begin

                failure = guarded(partial(begin, self._host))
                if failure:
                    self._status.report.warning("cloud_init_compat", failure)

    def _find(self, *, early: bool = False) -> InstanceData | None:
        work = finding.Search(self._host, self._wishes, self._config, self._base, self._status)
        return finding.find(work, early=early)

    def _look_early(self) -> None:
        """Find the instance before the network is up, where that can be done."""
        self._kept = finding.recalled(self._host, self._wishes, self._config)
        if self._kept is not None:
            self._meet(self._kept.instance, Stage.LOCAL)
            return
        try:
            instance = self._find(early=True)
        except DatasourceError as error:
            log.info("%s", error)
            if not self._reach_out() and not isinstance(error, finding.NotYetError):
                # Said again by the next stage, unless that comes so late that it may do better.
                self._failed = (time.monotonic(), error)
            return
        self._looked = True
        if instance is None:
            return
        self._kept = Kept(instance, {})
        self._meet(instance, Stage.LOCAL)
        if self._wishes.stages[-1] is Stage.LOCAL:
            self._state.hand_over(instance, {})

    def _reach_out(self) -> bool:
        """Set up the network of a machine that no instance was ever met on; say if that was done.

        What the kernel's line, the image or nobody asks for needs no instance, and with that the
        network stage may find it: where no DHCP client is installed, as a rule it does.
        """
        if not self._state.is_new():
            return False
        turn = networking.Turn(self._host, self._config, self._base)
        return turn.take_unmet(self._status)

    def _meet(self, instance: InstanceData, stage: Stage, *, again: bool = False) -> None:
        """Make *instance* the current one, and set its network up; that not *again* in a boot."""
        if self._met:
            return
        self._met = True
        self._status.record["datasource"] = instance.datasource
        self._status.record["instance_id"] = instance.instance_id
        if self._state.enter(instance.instance_id):
            log.info("first boot of this instance")
            self._adopt(instance.instance_id)
            self._state.settle()
        self._status.record["adopted"] = self._state.adopted
        if not again:
            turn = networking.Turn(self._host, self._config, self._base)
            turn.take(instance, self._state, self._status, stage)

    def _instance(self, stage: Stage) -> Kept | None:
        """Return the instance, as an earlier stage found it or as it is found now."""
        if self._kept or self._looked:
            return self._kept
        handed_over = self._state.handed_over()
        if handed_over and (
            stage is not Stage.NETWORK or (self._wishes.plain and not handed_over.parts)
        ):
            return handed_over
        if self._failed and time.monotonic() - self._failed[0] < LATER:
            raise self._failed[1]
        if self._wishes.stages[0] is not Stage.LOCAL:
            self._kept = finding.recalled(self._host, self._wishes, self._config)
        if self._kept is None:
            instance = self._find()
            self._kept = None if instance is None else Kept(instance, {})
        return self._kept

    def _prepare(self, stage: Stage) -> None:
        """Find the instance, read its user data, and make ready what the modules are given."""
        self._read_config()
        self._prepared = True
        kept = self._instance(stage)
        if kept is None:
            return
        instance = kept.instance
        self._meet(instance, stage, again=stage is not Stage.NETWORK and bool(kept.parts))
        self._take(instance, stage, kept.parts)

    def _adopt(self, instance_id: str) -> None:
        """Leave alone what cloud-init has done for this instance, where we stand in for it."""
        if not self._config.cloud_init_compat:
            return
        from .adopting import adopt

        words = adopt(self._host, self._state, instance_id)
        if words:
            self._status.report.warning("instance", words)
        if words is not None:
            log.info("%s", words or "cloud-init has set up this instance: nothing is done again")

    # --- what it is asked to be

    def _take(self, instance: InstanceData, stage: Stage, kept: Mapping[str, Any]) -> None:
        """Read what all sources ask for; what became of each part is in the status."""
        # A later stage of the same boot reads them again and says the same.
        told = stage is Stage.NETWORK or not self._status.record["parts"]
        report = self._status.report if told else Report()
        machine = asked.Machine(self._host, self._config, self._state, self._status)
        gathered = asked.gather(
            machine, instance, self._base, report, top=self._wishes.cloud_config, kept=kept
        )
        if told:
            instance_data.write(self._host, instance)
            for place, _, part, *_ in gathered.parts:
                self._status.part(place, part.type, part.result, part.detail)
                if part.result in BAD:
                    log.error("%s: %s", place, part.detail)
        if self._wishes.stages[-1] is not Stage.FINAL:
            parts: dict[str, tuple[Part, ...]] = {}
            for placed in gathered.parts:
                parts[placed.origin] = (*parts.get(placed.origin, ()), placed.part)
            self._state.hand_over(instance, parts)
        self._gathered = gathered
        self._boothooks = gathered.boothooks
        self._outputs = None
        if "output" in gathered.config:
            from .output import Outputs

            self._outputs = Outputs(self._host, gathered.config, report)
            self._outputs.report = self._status.report
        self._turns = Turns(self._host, self._state, self._status, strict=self._config.strict)
        self._context = Context(
            host=self._host,
            instance=instance,
            report=Report(),
            config=gathered.config,
            default_user=config.default_user(self._host, self._config),
            scripts=self._state.scripts,
            user_scripts=tuple(map(user_script, gathered.scripts)),
            marks=self._state,
            lists=self._lists(gathered.config, report),
            timeout=self._config.script_timeout,
        )

    def _lists(self, asked_for: Mapping[str, Any], report: Report) -> Lists:
        """Return what the cloud-config's lists of modules ask for; few have any."""
        if not any(key in asked_for for key in MODULE_LISTS.values()):
            return Lists()
        from .module_lists import read

        return read(asked_for, report)

    def _in_stage(self, context: Context, stage: Stage) -> Context:
        """Return *context* with a report of its own, for a module of *stage*."""
        context = context._replace(report=Report())
        if self._outputs is None:
            return context
        return context._replace(sink=partial(self._outputs.sink, stage))

    def _run_boothooks(self, context: Context) -> None:
        """Run the boothooks, at every boot and before all modules."""
        if not self._boothooks:
            return
        from .scripts import run_script

        began = time.monotonic()
        for place, name, part, _, prefix in self._boothooks:
            run_script(
                self._host,
                context.report,
                place=place,
                content=part.content,
                name=file_name(name),
                directory=context.scripts,
                env={"INSTANCE_ID": context.instance.instance_id},
                timeout=context.timeout,
                prefix=prefix,
                sink=context.sink(),
            )
        seconds = time.monotonic() - began
        entries = context.report.entries
        self._status.module("boothooks", Stage.NETWORK, "done", "", seconds, entries)

    def _name_unknown_keys(self, context: Context) -> None:
        """Warn of keys at the top that no module reads."""
        for key, words in unknown_keys(context.config):
            self._status.report.warning(key, words)
            log.warning("%s: %s", key, words)
