"""The cloud's side of light guests: a network with 169.254.169.254 in it, and the service there.

The address exists only in a network namespace of its own without a way out: the machine's own
169.254.169.254, which may be a real one, is never asked.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .light import GuestError, LightGuest, Nic, Running, host_layers

CHECKOUT = Path(__file__).resolve().parents[2]
ADDRESS = "169.254.169.254"
ADDRESS6 = "fd00:ec2::254"
CONTROL = "127.0.0.1:8774"
TOKEN = "for-tests-only-0123456789abcdef"


def python_binds() -> list[Path]:
    """Return what a guest over the host's root must see for this interpreter and the checkout.

    They may be on file systems of their own, or below a directory that the guest has empty.
    """
    found: list[Path] = []
    for path in (CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)):
        path = path.resolve()
        if path in (Path("/"), Path("/usr")) or any(path.is_relative_to(other) for other in found):
            continue
        found.append(path)
    return found


class Cloud:
    """A network of guests, and a place where the metadata server runs."""

    def __init__(self, addresses: Sequence[str] = (f"{ADDRESS}/32", f"{ADDRESS6}/64")) -> None:
        self.machine = LightGuest(
            Path("/"), name="cloud", lowers=host_layers(), binds=python_binds()
        )
        self.addresses: tuple[str, ...] = tuple(addresses)
        """After entering: those the bridge has; IPv6 may be off."""
        self._wires: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()

    def __enter__(self) -> Cloud:
        self.machine.__enter__()
        try:
            self._wires = subprocess.Popen(
                [sys.executable, "-m", "tests.guests.wires", str(self.machine.pid)],
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self.addresses = tuple(self._wire("bridge", addresses=self.addresses))
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

    def close(self) -> None:
        if self._wires is not None:
            self._wires.communicate()
            self._wires = None
        self.machine.close()

    def _wire(self, do: str, **arguments: Any) -> Any:
        with self._turn:
            assert self._wires is not None
            assert self._wires.stdin is not None
            assert self._wires.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                self._wires.stdin.write(json.dumps({"do": do, "with": arguments}) + "\n")
                self._wires.stdin.flush()
            line = self._wires.stdout.readline()
        if not line:
            raise GuestError("the network helper ended; its error is above")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise GuestError(answer["error"])
        return answer["value"]

    def attach(self, pid: int, nic: Nic) -> str:
        """Plug in the guest whose init is *pid*; return the name of its port."""
        port = self._wire("attach", pid=pid, **nic._asdict())
        return str(port)

    def tap(self, nic: Nic) -> str:
        """Make a port for a virtual machine; return its name in the cloud's network."""
        return str(self._wire("tap", address=nic.address))

    def detach(self, port: str) -> None:
        """Unplug a guest; its wire is gone already when the cloud ended first."""
        if self._wires is not None:
            self._wire("detach", port=port)

    def serve(self, instances: Sequence[dict[str, Any]], **settings: Any) -> Service:
        """Start the real metadata server for *instances*, in the configuration file's words."""
        return Service(self, instances, settings)


class Service:
    """The metadata server at 169.254.169.254, and the operator's command beside it."""

    def __init__(
        self, cloud: Cloud, instances: Sequence[dict[str, Any]], settings: dict[str, Any]
    ) -> None:
        machine = cloud.machine
        listen = [f"{ADDRESS}:80"]
        if any(":" in address for address in cloud.addresses):
            listen.append(f"[{ADDRESS6}]:80")
        machine.write("/etc/linklocal/control-tokens", f"{TOKEN}\n".encode(), mode=0o600)
        config = {
            "listen": listen,
            "control": {"listen": CONTROL, "tokens_file": "/etc/linklocal/control-tokens"},
            "state": "/var/lib/linklocal",
            "instances": list(instances),
            **settings,
        }
        # JSON is YAML.
        machine.write("/etc/linklocal/server.yaml", json.dumps(config).encode(), mode=0o600)
        self._machine = machine
        self.process = self._start()

    def _start(self) -> Running:
        process = self._machine.start(
            [sys.executable, "-m", "metadata_server", "--config", "/etc/linklocal/server.yaml"],
            cwd=str(CHECKOUT),
        )
        process.wait_for("ready: control at")
        return process

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.__exit__(*exception)

    def ctl(
        self, *arguments: str, input: bytes = b"", timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the operator's `linklocal` command beside the server."""
        argv = [sys.executable, "-m", "metadata_server.ctl", *arguments]
        env = {
            "LINKLOCAL_URL": f"http://{CONTROL}",
            "LINKLOCAL_TOKEN_FILE": "/etc/linklocal/control-tokens",
        }
        return self._machine.run(argv, input=input, env=env, cwd=str(CHECKOUT), timeout=timeout)

    def restart(self) -> None:
        """Kill the server without warning and start it on the same state."""
        self.process.kill(9)
        self.process.wait(10)
        self.process.__exit__()
        self.process = self._start()
