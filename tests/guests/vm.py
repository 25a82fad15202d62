"""A virtual machine with a kernel, disks, clock and firmware of its own, for the slow tier.

For what an nspawn guest cannot show: a true first boot, udev, disks that grow, swap, mounts. The
processor is emulated: a boot takes 11 to 21 s on two idle cores, 70 s on busy ones, and two at once
gain nothing, so such tests are serial, few, and look at much in one boot.

    @pytest.mark.slow
    @pytest.mark.guest
    @pytest.mark.timeout(600)
    def test_a_first_boot(vm, machine12, tmp_path, cloud):     # fixtures of tests/conftest.py
        image = images.make(machine12, tmp_path / "disk.raw", layers=[DIRECTORY])   # 3 s
        with cloud.serve([INSTANCE]):
            guest = vm(image, cloud=cloud, nic=NIC, product="OpenStack Nova", gib=4)
            guest.sh("systemctl is-active ssh")                # and run, read, write, exists
            assert guest.console.log_in("root", "secret")      # on ttyS0
            guest.reboot(); guest.halt(); guest.boot(wait=False); guest.wait_ready(); guest.cut()

The image stays as it is: each machine writes to a copy of its own. Kernel and initial RAM disk are
those of `roots.machine12()`. *disks* are raw images, seen as /dev/vdb and so on, written for real.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import shutil
import socket
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from . import roots
from .cloud import Cloud
from .console import Console
from .guest import ENVIRONMENT, GuestError
from .images import run as run_tool
from .light import Nic

# /dev/kvm may be there and yet not run an ordinary kernel: it is used only where that is known.
ACCELERATOR = os.environ.get("LINKLOCAL_VM_ACCELERATOR", "tcg,thread=multi")
PROCESSOR = "host" if ACCELERATOR.startswith("kvm") else "Nehalem"
BOOT_SECONDS = 240.0
"""An upper bound of a boot, or of a way down, on a busy machine."""


class VirtualMachine:
    """One machine over a copy of *image*, a raw disk as `images.make` makes it."""

    def __init__(
        self,
        image: Path,
        *,
        cloud: Cloud | None = None,
        nic: Nic | None = None,
        name: str = "machine",
        product: str = "Linklocal test",
        gib: int = 4,
        mib_memory: int = 768,
        disks: Sequence[Path] = (),
        append: str = "",
        kernel: Path | None = None,
        identity: str = "",
    ) -> None:
        self.name = name
        self.nic = nic or Nic()
        self.uuid = identity or str(uuid.uuid4())
        """Of the firmware, as DMI tells it: on OpenStack the instance's id."""
        self._cloud = cloud
        self._image, self._gib, self._memory, self._disks = image, gib, mib_memory, disks
        self._product, self._append = product, append
        self._boot_files = kernel or roots.machine12() / "boot"
        self._directory = Path(tempfile.mkdtemp(prefix="linklocal-vm-"))
        self._port: str | None = None
        self._qemu: subprocess.Popen[bytes] | None = None
        self._hand: _Hand | None = None
        self._console: Console | None = None

    def __enter__(self) -> VirtualMachine:
        try:
            base = ["-f", "qcow2", "-b", str(self._image.resolve()), "-F", "raw"]
            run_tool(["qemu-img", "create", "-q", *base, str(self.disk), f"{self._gib}G"])
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

    @property
    def disk(self) -> Path:
        """Its copy of the image, in qcow2 format."""
        return self._directory / "disk.qcow2"

    @property
    def console(self) -> Console:
        """The console of this boot, ttyS0; each boot has a new one."""
        if self._console is None:
            raise GuestError(f"{self.name} was never booted")
        return self._console

    # --- up and down ------------------------------------------------------------------------------

    def boot(self, *, wait: bool = True) -> None:
        """Switch it on; return when systemd has started its default target.

        Without *wait*, return as soon as programs can be run, which is early: not all of its file
        systems may be mounted.
        """
        if self._cloud is not None:
            self._port = self._cloud.tap(self.nic)
        ours, theirs = zip(socket.socketpair(), socket.socketpair())
        with theirs[0], theirs[1]:
            numbers = [end.fileno() for end in theirs]
            self._qemu = subprocess.Popen(
                [*self._launcher(), *self._arguments(*numbers)],
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._console, self._hand = Console(ours[0].detach()), _Hand(ours[1])
        try:
            self._hand.hello(BOOT_SECONDS)
        except GuestError as error:
            raise GuestError(f"{self.name}: {error}:\n{self.console.text[-3000:]}") from error
        if wait:
            self.wait_ready()

    def _launcher(self) -> list[str]:
        """Return what starts a program that ends with this one, in the cloud's network."""
        argv = ["setpriv", "--pdeathsig", "KILL"]
        if self._cloud is not None:
            argv += ["nsenter", f"--net=/proc/{self._cloud.machine.pid}/ns/net"]
        return argv

    def _arguments(self, console: int, hand: int) -> list[str]:
        words = "console=ttyS0 root=/dev/vda1 ro net.ifnames=0 mitigations=off"
        argv = ["qemu-system-x86_64", "-accel", ACCELERATOR, "-cpu", PROCESSOR, "-smp", "2"]
        argv += ["-m", str(self._memory), "-nodefaults", "-display", "none", "-no-reboot"]
        argv += ["-smbios", f"type=1,product={self._product},serial={self.uuid},uuid={self.uuid}"]
        argv += ["-drive", f"file={self.disk},if=virtio,format=qcow2,cache=unsafe,discard=unmap"]
        for path in self._disks:
            argv += ["-drive", f"file={path},if=virtio,format=raw,cache=unsafe"]
        argv += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
        argv += ["-chardev", f"socket,id=console,fd={console}", "-serial", "chardev:console"]
        argv += ["-chardev", f"socket,id=hand,fd={hand}"]
        argv += ["-device", "virtserialport,chardev=hand,name=org.linklocal.test"]
        if self._port is not None:
            argv += ["-netdev", f"tap,id=net,ifname={self._port},script=no,downscript=no"]
            argv += ["-device", f"virtio-net-pci,netdev=net,mac={self.nic.mac},romfile="]
        if self._port is not None and self.nic.configured:
            words += f" linklocal.test.address={self.nic.address}"
        else:  # It would wait for a link that is not there: a minute and a half of each boot.
            words += " systemd.mask=linklocal-test-network.service"
        for option, pattern in (("-kernel", "vmlinuz-*"), ("-initrd", "initrd.img-*")):
            argv += [option, str(max(self._boot_files.glob(pattern)))]
        return [*argv, "-append", f"{words} {self._append}"]

    def wait_ready(self, timeout: float = BOOT_SECONDS) -> None:
        """Wait until systemd has started all of its default target, failed units included."""
        # systemctl cannot ask before the bus is there.
        script = "until systemctl is-system-running --wait; do systemctl is-system-running && break"
        script += "; case $(systemctl is-system-running) in degraded) break;; esac; sleep 0.2; done"
        self.run(["sh", "-c", script], timeout=timeout)

    def wait_down(self, timeout: float = BOOT_SECONDS) -> None:
        """Wait until the machine has ended by itself, by a power-off or a reboot."""
        assert self._qemu is not None
        self._qemu.wait(timeout)
        self._forget_boot()

    def reboot(self) -> None:
        """Ask systemd for a reboot, and switch it on again."""
        self._ask_systemd("reboot")
        self.wait_down()
        self.boot()

    def halt(self) -> None:
        """Ask systemd to power off, and wait for that; the disk stays for the next boot."""
        self._ask_systemd("poweroff")
        self.wait_down()

    def _ask_systemd(self, verb: str) -> None:
        with contextlib.suppress(GuestError):  # It may be gone before it answers.
            self.run(["systemctl", "--no-block", verb], check=True)

    def cut(self) -> None:
        """Cut its power; the disk stays for the next boot."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._forget_boot()

    def _forget_boot(self) -> None:
        self._qemu = None
        if self._hand is not None:
            self._hand.close()
            self._hand = None
        self.console.close()
        if self._cloud is not None and self._port is not None:
            self._cloud.detach(self._port)
            self._port = None

    def close(self) -> None:
        self.cut()
        shutil.rmtree(self._directory, ignore_errors=True)

    # --- files and programs -----------------------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        timeout: float = 60,
        check: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end; after *timeout* seconds kill it and raise TimeoutExpired."""
        if self._hand is None:
            raise GuestError(f"{self.name} is not running")
        request = {
            "argv": list(argv),
            "input": base64.b64encode(input).decode(),
            "env": {**ENVIRONMENT, **(env or {})},
            "cwd": cwd,
            "timeout": timeout,
        }
        done = self._hand.ask(request, timeout + 30)
        out, err = base64.b64decode(done["out"]), base64.b64decode(done["err"])
        if done.get("late"):
            raise subprocess.TimeoutExpired(list(argv), timeout, out, err)
        completed = subprocess.CompletedProcess(list(argv), int(done["status"]), out, err)
        if check:
            completed.check_returncode()
        return completed

    def sh(self, script: str, *, timeout: float = 60) -> str:
        """Return what a shell script prints; its failure is an error with all it said."""
        done = self.run(["/bin/sh", "-ec", script], timeout=timeout)
        said = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode:
            raise AssertionError(f"{script}: status {done.returncode}\n{said}")
        return done.stdout.decode()

    def read(self, path: str) -> bytes:
        """Return the content of *path*, FileNotFoundError when it cannot be read.

        A MiB takes seconds: what is large is better fetched over the network.
        """
        done = self.run(["cat", "--", path])
        if done.returncode:
            raise FileNotFoundError(path)
        return done.stdout

    def text(self, path: str) -> str:
        return self.read(path).decode()

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Write *path*, its parents made."""
        script = 'mkdir -p -- "${1%/*}/"; cat >"$1"; chmod "$2" "$1"'
        self.run(["sh", "-ec", script, "sh", path, f"{mode:o}"], input=content, check=True)

    def exists(self, path: str) -> bool:
        return self.run(["sh", "-c", 'test -e "$1" || test -L "$1"', "sh", path]).returncode == 0


class _Hand:
    """The test's end of the port that `inside_vm` serves; it may be asked by several threads."""

    def __init__(self, port: socket.socket) -> None:
        self._port = port
        self._turn = threading.Lock()
        self._asked = 0
        self._answers: dict[int, queue.Queue[dict[str, Any] | None]] = {0: queue.Queue()}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError), self._port.makefile("rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # The last one of a machine that was cut off.
                    message = json.loads(line)
                    with self._turn:
                        self._answers[message.get("id", 0)].put(message)
        with self._turn:
            for answers in self._answers.values():
                answers.put(None)
            self._answers = {}

    def hello(self, timeout: float) -> None:
        """Wait until the guest's side is there."""
        self._take(self._answers[0], timeout)

    def ask(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        with self._turn:
            if not self._answers:
                raise GuestError("the machine is gone")
            self._asked += 1
            self._answers[self._asked] = answers
            line = json.dumps({**request, "id": self._asked}).encode() + b"\n"
            with contextlib.suppress(OSError):  # Told by the reader as well.
                self._port.sendall(line)
        return self._take(answers, timeout)

    def _take(self, answers: queue.Queue[dict[str, Any] | None], timeout: float) -> dict[str, Any]:
        try:
            message = answers.get(timeout=timeout)
        except queue.Empty:
            raise GuestError(f"no answer within {timeout:.0f} s") from None
        if message is None:
            raise GuestError("the machine is gone")
        return message

    def close(self) -> None:
        self._reader.join(5)
        self._port.close()
