"""Telling the system that runs: each command in order, and what it says when it fails.

A system that has not begun yet is told nothing: it finds its files when it does.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import HostError
from ..host import Host
from ..report import Report
from .backends import BackEnd
from .model import Network
from .places import PROFILE
from .resolve import Nic

SYSTEMD = "/run/systemd/system"
NETWORKD_RUNS = "/run/systemd/netif/state"
NETWORK_MANAGER_RUNS = "/run/NetworkManager"
IFSTATE = "/run/network/ifstate"
GENERATORS = ("/usr/libexec/netplan/generate", "/usr/lib/netplan/generate", "/lib/netplan/generate")
PATIENCE = 60.0
"""Seconds that one command may take: DHCP with nobody there ends by itself before."""
NETWORKD_UNIT = "systemd-networkd.service"


class Live:
    """A running machine that is told of its new network."""

    def __init__(self, host: Host, report: Report) -> None:
        self._host = host
        self._report = report

    def rename(self, steps: Sequence[tuple[str, str]], nics: Sequence[Nic]) -> None:
        """Call devices otherwise; one that is up is down for a moment."""
        up = {nic.name for nic in nics if nic.up}
        for now, new in steps:
            commands = [["ip", "link", "set", "dev", now, "name", new]]
            if now in up:
                up = (up - {now}) | {new}
                commands.insert(0, ["ip", "link", "set", "dev", now, "down"])
                commands.append(["ip", "link", "set", "dev", new, "up"])
            for command in commands:
                self._run(command)

    def apply(self, back_end: BackEnd, network: Network) -> None:
        """Have *back_end* do what its files now say."""
        {
            "netplan": self._netplan,
            "networkd": self._networkd,
            "ifupdown": self._ifupdown,
            "networkmanager": self._network_manager,
            "sysconfig": self._sysconfig,
        }[back_end.name](network)

    def _netplan(self, network: Network) -> None:
        if not self._has_systemd("netplan"):
            return
        by_manager = network.renderer == "NetworkManager"
        if by_manager and self._is(NETWORK_MANAGER_RUNS):
            self._run(["netplan", "apply"])
            return
        # The program itself: `netplan` is a script that takes ten times as long to find it, and
        # its `apply` takes every link down, and wants udev, which no container has.
        generator = next(filter(self._host.which, GENERATORS), None)
        self._run([generator] if generator else ["netplan", "generate"])
        if by_manager:
            return
        if self._is(NETWORKD_RUNS):
            self._run(["networkctl", "reload"])
        else:
            self._run(["systemctl", "daemon-reload"])
            self._run(["systemctl", "--no-block", "start", NETWORKD_UNIT])

    def _networkd(self, network: Network) -> None:
        if not self._has_systemd("systemd-networkd"):
            return
        if self._is(NETWORKD_RUNS):
            self._run(["networkctl", "reload"])
        else:
            self._run(["systemctl", "--no-block", "enable", "--now", NETWORKD_UNIT])

    def _ifupdown(self, network: Network) -> None:
        state = (self._host.read(IFSTATE) or b"").decode("utf-8", "replace")
        up = {line.partition("=")[0] for line in state.splitlines()}
        if self._is(SYSTEMD) and not up:
            # networking.service is still to come.
            return
        names = [link.name for link in network.links]
        for name in reversed([name for name in names if name in up]):
            self._run(["ifdown", "--force", name])
        for link in network.links:
            if link.physical and link.name not in up:
                # What others have left there would be in the way of what is to come.
                self._run(["ip", "address", "flush", "dev", link.name, "scope", "global"])
        wanted = [link.name for link in network.links if link.auto]
        if wanted:
            self._run(["ifup", "--force", *wanted])

    def _network_manager(self, network: Network) -> None:
        if not self._is(NETWORK_MANAGER_RUNS):
            return
        self._run(["nmcli", "connection", "reload"])
        for link in network.links:
            if link.auto:
                profile = f"{PROFILE}{link.name}"
                self._run(["nmcli", "--wait", "30", "connection", "up", "id", profile])

    def _sysconfig(self, network: Network) -> None:
        if self._has_systemd("network.service"):
            self._run(["systemctl", "--no-block", "try-restart", "network.service"])

    def _has_systemd(self, what: str) -> bool:
        if self._is(SYSTEMD):
            return True
        self._report.notice("network", f"written and not applied: {what} needs systemd to run")
        return False

    def _is(self, path: str) -> bool:
        return self._host.kind(path, follow=True) is not None

    def _run(self, argv: Sequence[str]) -> None:
        try:
            done = self._host.run(argv, timeout=PATIENCE)
        except HostError as error:
            self._report.failed("network", str(error))
            return
        if done.status != 0:
            words = done.output.decode("utf-8", "replace").strip().rpartition("\n")[2]
            said = f": {words}" if words else ""
            command = " ".join(argv[:3])
            self._report.failed("network", f"{command} ended with status {done.status}{said}")
