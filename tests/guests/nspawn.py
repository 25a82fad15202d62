"""An nspawn guest: a light guest in which systemd is the init, with a console to log in on.

For units and their order, services, the console, reboots; about half a second to its login prompt.
It has the host's kernel, and neither disks, udev nor a clock of its own: those are for `vm`.

    def test_a_service_is_up(nspawn_guest, cloud):             # fixtures of tests/conftest.py
        with cloud.serve([INSTANCE]):
            guest = nspawn_guest(cloud=cloud, nic=NIC, layers=[DIRECTORY])
            guest.sh("systemctl is-active ssh")                # and run, start, read, write, stat
            assert guest.console.log_in("root", "secret")      # as at its keyboard
            guest.reboot()                                     # `systemctl reboot`; files are kept
            guest.halt()                                       # `systemctl poweroff`
            guest.boot(wait=False)                             # returns as PID 1 is started
            guest.wait_ready()                                 # as its default target is reached
            guest.cut()                                        # the power, without warning

Every file below a *layer* is there at the first boot: units and their links in `…target.wants/`
are the simplest way to have a service started. `Nic(configured=False)` leaves the link's addresses
to the guest. *nspawn* are further arguments to systemd-nspawn, such as `--bind=/dev/loop0`.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .console import Console
from .guest import GuestError, answer, send
from .light import LightGuest

REBOOT = 133
"""The status with which systemd-nspawn ends when the guest asked to be started again."""


class NspawnGuest(LightGuest):
    """A machine of its own with systemd over *lower*, such as `roots.machine12()`.

    The other arguments are those of a light guest.
    """

    PROGRAM = ("-S", "-m", "tests.guests.inside_nspawn")

    def __init__(self, lower: Path, *, nspawn: Sequence[str] = (), **options: Any) -> None:
        if shutil.which("systemd-nspawn") is None:
            raise GuestError("systemd-nspawn is not installed")
        super().__init__(lower, **options)
        product = [f"--setenv={name}={value}" for name, value in self._environment.items()]
        self._settings["nspawn"] = [*product, *nspawn]
        self._events: socket.socket | None = None
        self._ready = False
        self._console: Console | None = None

    @property
    def console(self) -> Console:
        """The console of this boot; each boot has a new one."""
        if self._console is None:
            raise GuestError(f"{self.name} was never booted")
        return self._console

    # --- up and down ------------------------------------------------------------------------------

    def boot(self, *, wait: bool = True) -> None:
        """Start systemd over the files as they are; return when it says that it is up.

        Without *wait*, return as soon as files can be read and programs run.
        """
        assert self._control is not None
        self._forget_boot()
        master, slave = os.openpty()
        self._console = Console(master)
        self._link, link = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._events, events = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with link, events:
            send(self._control, {"do": "boot"}, [link.fileno(), events.fileno(), slave])
        os.close(slave)
        answer(self._control)
        holder = int(self._event("pid"))
        if self._cloud is not None:
            self._port = self._cloud.attach(holder, self.nic)
        send(self._events, {"do": "start"})
        self.pid = int(self._event("leader"))
        answer(self._link)
        self._ready = False
        if wait:
            self.wait_ready()

    def _event(self, name: str, timeout: float = 60) -> Any:
        """Return the value of the event *name*, those before it left out."""
        assert self._events is not None
        end = time.monotonic() + timeout
        while True:
            ready, _, _ = select.select([self._events], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise GuestError(f"{self.name}: no {name} after {timeout:.0f} s:\n{self._tail()}")
            event, _ = answer(self._events)
            if name in event:
                return event[name]
            if "exit" in event:
                raise GuestError(f"{self.name}: ended before {name}:\n{self._tail()}")

    def _tail(self) -> str:
        return self.console.text[-2000:]

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until systemd has started all of its default target, failed units included."""
        if not self._ready:
            self._event("ready", timeout)
            self._ready = True

    def wait_down(self, timeout: float = 60) -> int:
        """Return the status with which it ended: 0 for a power-off, REBOOT for a reboot."""
        status = int(self._event("exit", timeout))
        self._forget_boot()
        return status

    def reboot(self) -> None:
        """Ask systemd for a reboot, and boot again over the same files."""
        self.run(["systemctl", "--no-block", "reboot"], check=True)
        status = self.wait_down()
        if status != REBOOT:
            raise GuestError(f"{self.name}: ended with status {status}, not for a reboot")
        self.boot()

    def halt(self, grace: float = 60) -> None:
        """Ask systemd to power off, and wait at most *grace* seconds; without grace cut the power.

        The files stay for the next boot.
        """
        if self._events is None:
            return
        if not grace:
            self.cut()
            return
        self.run(["systemctl", "--no-block", "poweroff"], check=True)
        self.wait_down(grace)

    def cut(self) -> None:
        """End everything in it at once, as a power cut does; the files stay for the next boot."""
        if self._events is None:
            return
        with contextlib.suppress(GuestError):
            send(self._events, {"do": "kill"})
            self._event("exit")
        self._forget_boot()

    def _forget_boot(self) -> None:
        """Let go of what belongs to a boot that ended; what its console said can still be read."""
        if self._events is None:
            return
        self._events.close()
        if self._link is not None:
            self._link.close()
        self._events, self._link, self.pid = None, None, 0
        if self._cloud is not None and self._port is not None:
            self._cloud.detach(self._port)
            self._port = None
        if self._control is not None:
            send(self._control, {"do": "wait"})
            answer(self._control)
        self.console.close()
