"""The network's turn in a boot, and again when a NIC was plugged in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .config import AgentConfig
from .guard import guarded
from .host import Host
from .instance import InstanceData
from .journal import log
from .modules.base import STATE, Frequency
from .report import BAD, Report, earlier
from .secret import Secret

if TYPE_CHECKING:
    from .modules.base import Stage
    from .state import State
    from .status import Status

NAME = "network"
KEPT = f"{STATE}/network.json"
"""The datasource's document, for when a NIC comes and the datasource cannot be asked."""

UNMET = InstanceData("none", "", None, (), Secret(b""))
"""Before any is found: nothing of it says anything."""


class Turn:
    """Sets up the network of one boot."""

    def __init__(self, host: Host, config: AgentConfig, base: Mapping[str, Any]) -> None:
        self._host = host
        self._config = config
        self._base = base

    def take(self, instance: InstanceData, state: State, status: Status, stage: Stage) -> None:
        """Set it up once for *instance*, or at every boot when the image asks for that."""
        past = state.past(Frequency.INSTANCE, NAME)
        if past is not None and not self._at_every_boot():
            if past.troubles:
                entries = list(map(earlier, past.troubles))
                status.module(NAME, stage, "ran before", entries=entries)
            return
        import time

        began = time.monotonic()
        report = Report()
        words, failure = self.set_up(instance, report)
        seconds = time.monotonic() - began
        if failure:
            log.error("%s: %s", NAME, failure)
            status.module(NAME, stage, "failed", failure, seconds, report.entries)
            return
        state.ended(Frequency.INSTANCE, NAME, report.entries)
        if words:
            status.module(NAME, stage, "done", words, seconds, report.entries)

    def take_unmet(self, status: Status) -> bool:
        """Set up what is asked for by others than a datasource; say whether there is any of it now.

        It is told and done again when an instance is met, as that may say something else.
        """
        from .network.backends import ours

        _, failure = self.set_up(UNMET, Report())
        if failure:
            status.report.warning(NAME, failure)
        return not failure and any(ours(self._host))

    def set_up(self, instance: InstanceData, report: Report) -> tuple[str, str]:
        """Set it up now; return what was done in words, and why it failed, empty when it did not.

        No words when nobody says anything of the network, and there is nothing to tell.
        """
        from .network.stage import set_up

        theirs: tuple[str, ...] = ()
        # On an instance that is not known yet, those of cloud-init may be what it runs by.
        if self._config.cloud_init_compat and instance is not UNMET:
            from .adopting import network_files

            theirs = tuple(network_files(self._host))

        words = ""

        def work() -> None:
            nonlocal words
            wished = self._config.network_back_end
            words = set_up(self._host, instance, self._base, wished, report, theirs)
            if instance.network_config:
                self._keep(instance)

        self._host.cause = NAME
        failure = guarded(work)
        self._host.cause = ""
        for entry in report.entries:
            if entry.result in BAD:
                log.error("%s: %s: %s", entry.place, entry.result, entry.detail)
        if words:
            log.info("%s: %s", NAME, words)
        return words, failure

    def _at_every_boot(self) -> bool:
        """Say whether the image has `updates: {network: {when: [boot]}}`."""
        found: Any = self._base
        for key in ("updates", "network", "when"):
            found = found.get(key) if isinstance(found, Mapping) else None
        return isinstance(found, (list, tuple)) and "boot" in found

    def _keep(self, instance: InstanceData) -> None:
        kept = {
            "instance_id": instance.instance_id,
            "kind": instance.network_kind,
            "document": instance.network_config,
        }
        self._host.write(KEPT, Secret(json.dumps(kept).encode()), mode=0o600)


def kept(host: Host) -> InstanceData | None:
    """Return the instance with the network document of its last boot, None when there is none."""
    content = host.read(KEPT)
    if content is None:
        return None
    try:
        found = json.loads(content)
        return InstanceData(
            "kept",
            found["instance_id"],
            None,
            (),
            Secret(b""),
            network_config=found["document"],
            network_kind=found["kind"],
        )
    except (ValueError, KeyError, TypeError):
        return None
