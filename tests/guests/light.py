"""A light guest: a throw-away machine in namespaces of its own over an overlay.

It has no systemd and the host's kernel. Nothing of it is on the host: no mount, no named namespace,
no file. It ends with the process that made it, even when that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from .guest import Guest, GuestError, Running, Status, answer, send

if TYPE_CHECKING:
    from .cloud import Cloud

__all__ = ["MARK", "Guest", "GuestError", "LightGuest", "Nic", "Running", "Status", "host_layers"]

INSIDE = Path(__file__).with_name("inside.py")
# Set by a test that wants to find every process that came of a run.
MARK = "LINKLOCAL_MARK"
# Of an installation on the host, when the host's own root is the lower tree.
OWN_STATE = (
    "/etc/linklocal",
    "/run/linklocal",
    "/var/lib/linklocal",
    "/var/log/linklocal",
)


class Nic(NamedTuple):
    """A guest's network interface; *address* carries its prefix length.

    It has one by itself; `cloud.attach(guest.pid, Nic(name="eth1", …))` plugs in another one.

    Without *configured* the guest finds a bare link that is down: addresses and routes are its own
    business, and only the cloud's end knows that *address* is there.
    """

    address: str = "192.168.1.10/24"
    mac: str = "fa:16:3e:f7:c1:47"
    address6: str | None = None
    configured: bool = True
    name: str = "eth0"


class LightGuest(Guest):
    """A machine of its own over *lower*, a root tree that stays as it is.

    *layers* are trees of a few more files over *lower*, *lowers* the directories of a lower `/`
    that are file systems of their own. *binds* are files and directories of the host, seen
    read-only at the same place. *hide* are directories that the guest has empty. *forget* is
    removed from the guest before its first boot. *product* is the DMI product name as a host tells
    it to a container: in the environment of PID 1. With a *cloud* it has one link, `eth0`, at whose
    other end is 169.254.169.254.
    """

    PROGRAM: tuple[str, ...] = ("-I", "-S", str(INSIDE))
    """What keeps the files and boots them, as arguments to Python."""

    def __init__(
        self,
        lower: Path,
        *,
        cloud: Cloud | None = None,
        nic: Nic | None = None,
        name: str = "guest",
        binds: Sequence[Path] = (),
        lowers: Sequence[Path] = (),
        layers: Sequence[Path] = (),
        hide: Sequence[str] = ("/var/tmp",),
        forget: Sequence[str] = OWN_STATE,
        product: str | None = None,
    ) -> None:
        super().__init__(name)
        self.nic = nic or Nic()
        self._environment = {} if product is None else {"product_name": product}
        self._cloud = cloud
        self._port: str | None = None
        self._settings = {
            "lowers": [str(lower), *map(str, lowers)],
            "layers": [str(layer) for layer in layers],
            "binds": [str(path) for path in binds],
            "hide": list(hide),
            "forget": list(forget),
            "hostname": name,
        }
        self._keeper: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def __enter__(self) -> LightGuest:
        if os.geteuid() != 0:
            raise GuestError("a real guest needs root")
        try:
            self._keep()
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- up and down ------------------------------------------------------------------------------

    def _keep(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._keeper = subprocess.Popen(
                [sys.executable, *self.PROGRAM, str(theirs.fileno())],
                cwd=INSIDE.parents[2],
                pass_fds=[theirs.fileno()],
                env={**self._environment, MARK: os.environ.get(MARK, "")},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._control.send(json.dumps(self._settings).encode())
        answer(self._control)

    def boot(self) -> None:
        """Start PID 1 in new namespaces over the files as they are, and plug the link in."""
        assert self._control is not None
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            send(self._control, {"do": "boot"}, [theirs.fileno()])
        answer(self._control)
        # The init waits for nobody: its own set-up and the network's go on side by side.
        self.pid = int(answer(self._link)[0]["pid"])
        if self._cloud is not None:
            self._port = self._cloud.attach(self.pid, self.nic)
        answer(self._link)

    def halt(self, grace: float = 2.0) -> None:
        """End every process, after *grace* seconds at most; the files stay for the next boot."""
        if self._link is None:
            return
        with self._link, contextlib.suppress(OSError):
            send(self._link, {"do": "halt", "grace": grace})
        self._link, self.pid = None, 0
        if self._cloud is not None and self._port is not None:
            self._cloud.detach(self._port)
            self._port = None
        if self._control is not None:
            send(self._control, {"do": "wait"})
            answer(self._control)

    def reboot(self) -> None:
        """Boot again: fresh namespaces, /run, /tmp, /dev; the same files everywhere else."""
        self.halt()
        self.boot()

    def close(self) -> None:
        """End the guest and everything in it, at once."""
        with contextlib.suppress(GuestError):
            self.halt(grace=0)
        if self._control is not None:
            self._control.close()
        if self._keeper is not None:
            self._keeper.wait()
        self._control = self._keeper = None


def host_layers() -> list[Path]:
    """Return the directories below `/` that are file systems of their own and hold programs."""
    ahead = ("/usr", "/usr/local", "/var", "/opt", "/home", "/root", "/srv")
    return [Path(path) for path in ahead if os.path.ismount(path)]
