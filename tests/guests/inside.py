"""The inside of a light guest: makes its namespaces, then is its PID 1. A program for `light`.

Standard library only, and nothing of the project. Three processes, each of which ends when the one
before it does, by a closed socket and by the death signal, so that nothing outlives the test:

    keeper   holds the overlay (upper on a tmpfs) in a mount namespace of its own
    boot     one for each boot: a new PID namespace, and the user map, which init may not write
    init     PID 1: private mounts, pivot_root, then a user namespace: its root is nobody outside
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import json
import os
import platform
import select
import shutil
import signal
import socket
import stat
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

STAGE = "/tmp"  # Any directory that always exists: a tmpfs goes over it, in the keeper's namespace.
ROOT = f"{STAGE}/root"

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x00020000,
    0x04000000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
DETACH = 2
PIVOT_ROOT = {
    "x86_64": 155,
    "aarch64": 41,
    "riscv64": 41,
    "ppc64le": 203,
    "s390x": 217,
    "armv7l": 218,
    "i686": 217,
}
SET_PDEATHSIG, CAPBSET_DROP = 1, 24

# Toothless in the user namespace anyway; without them the guest also sees that it may not.
DROPPED_CAPABILITIES = {
    "LINUX_IMMUTABLE": 9,
    "SYS_MODULE": 16,
    "SYS_RAWIO": 17,
    "SYS_PTRACE": 19,
    "SYS_PACCT": 20,
    "SYS_BOOT": 22,
    "SYS_TIME": 25,
    "MKNOD": 27,
    "AUDIT_CONTROL": 30,
    "MAC_OVERRIDE": 32,
    "MAC_ADMIN": 33,
    "SYSLOG": 34,
    "WAKE_ALARM": 35,
    "BLOCK_SUSPEND": 36,
    "AUDIT_READ": 37,
    "PERFMON": 38,
    "BPF": 39,
    "CHECKPOINT_RESTORE": 40,
}
DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
CALLS: dict[str, Callable[..., Any]] = {
    "lstat": lambda path: list(os.lstat(path))[:10],
    "stat": lambda path: list(os.stat(path))[:10],
    "listdir": lambda path: sorted(os.listdir(path)),
    "readlink": os.readlink,
    "unlink": os.unlink,
    "makedirs": lambda path: os.makedirs(path, exist_ok=True),
    "chmod": os.chmod,
    "chown": os.chown,
    "kill": os.kill,
    "umask": os.umask,  # That of every program started from then on.
}

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    check(
        libc.mount(
            source.encode(),
            target.encode(),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            options.encode() or None,
        ),
        f"mount {kind or source} on {target}",
    )


def unshare(flags: int, what: str) -> None:
    check(libc.unshare(flags), f"unshare {what}")


def die_with_parent() -> None:
    check(libc.prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl PR_SET_PDEATHSIG")


def pivot_root(root: str) -> None:
    """Make *root* the root of this mount namespace and let go of the old one."""
    number = PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(0, f"pivot_root is not known on {platform.machine()}")
    os.chdir(root)
    check(libc.syscall(number, b".", b"."), "pivot_root")
    check(libc.umount2(b".", DETACH), "umount the old root")
    os.chdir("/")


def drop_capabilities(dropped: Iterable[int]) -> None:
    """Take capabilities, by number, from this process and from all it will ever start."""
    mask = sum(1 << number for number in dropped)
    for number in range(64):
        if not mask >> number & 1:
            continue
        libc.prctl(CAPBSET_DROP, number, 0, 0, 0)  # A kernel may not know the newest.
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    sets = ctypes.create_string_buffer(24)
    check(libc.capget(header, sets), "capget")
    effective_low, permitted_low, _, effective_high, permitted_high, _ = struct.unpack(
        "=6I", sets.raw
    )
    low, high = ~mask & 0xFFFFFFFF, ~(mask >> 32) & 0xFFFFFFFF
    sets.raw = struct.pack(
        "=6I",
        effective_low & low,
        permitted_low & low,
        0,
        effective_high & high,
        permitted_high & high,
        0,
    )
    check(libc.capset(header, sets), "capset")


def tell_traceback() -> None:
    """Print what went wrong, before a process that must not return ends."""
    if sys.exc_info()[0] is not None:
        traceback.print_exc()


# --- messages -------------------------------------------------------------------------------------


def send(where: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    where.sendmsg([json.dumps(message).encode()], rights)


def receive(where: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Return the next message and its descriptors; None when the other end is closed."""
    data, ancillary, _, _ = where.recvmsg(
        1 << 18, socket.CMSG_SPACE(16 * 4), socket.MSG_CMSG_CLOEXEC
    )
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return (json.loads(data) if data else None), list(fds)


# --- keeper ---------------------------------------------------------------------------------------


def below(root: str, path: str) -> str:
    return root + "/" + path.strip("/")


def make_mountpoint(path: str, *, directory: bool = True) -> None:
    if directory:
        os.makedirs(path, exist_ok=True)
    elif not os.path.lexists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


def build_root(settings: dict[str, Any]) -> None:
    """Mount the guest's root at ROOT: overlays, without what is to be forgotten; hold the binds."""
    unshare(NEWNS, "mount namespace")
    mount("none", "/", flags=REC | PRIVATE)
    # Opened in the new namespace, which must own them, and before the tmpfs may hide them.
    lowers = [(path, os.open(path, os.O_PATH | os.O_DIRECTORY)) for path in settings["lowers"]]
    layers = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in settings["layers"]]
    binds = [(path, os.open(path, os.O_PATH)) for path in settings["binds"]]
    mount("guest", STAGE, "tmpfs", NODEV, "mode=0755")
    os.mkdir(ROOT)
    for number, (path, fd) in enumerate(lowers):
        at = ROOT if number == 0 else below(ROOT, path)
        upper, work = f"{STAGE}/upper{number}", f"{STAGE}/work{number}"
        os.mkdir(upper)
        os.mkdir(work)
        # The overlay's root directory has the mode and owner of the upper one.
        status = os.stat(f"/proc/self/fd/{fd}")
        os.chmod(upper, stat.S_IMODE(status.st_mode))
        os.chown(upper, status.st_uid, status.st_gid)
        # Through /proc, so that no comma or colon of a path can be taken for an option.
        stack = [*layers, fd] if number == 0 else [fd]
        lower = ":".join(f"/proc/self/fd/{each}" for each in stack)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        mount("overlay", at, "overlay", NODEV, options)
    for path in settings["forget"]:
        target = below(ROOT, path)
        if os.path.isdir(target) and not os.path.islink(target):
            shutil.rmtree(target)
        elif os.path.lexists(target):
            os.unlink(target)
    for number, (_, fd) in enumerate(binds):
        held = f"{STAGE}/bind{number}"
        make_mountpoint(held, directory=stat.S_ISDIR(os.stat(f"/proc/self/fd/{fd}").st_mode))
        mount(f"/proc/self/fd/{fd}", held, flags=BIND)
        mount("none", held, flags=BIND | REMOUNT | RDONLY)
    for fd in (*layers, *(fd for _, fd in (*lowers, *binds))):
        os.close(fd)


def keep(control: socket.socket, boot: Callable[[list[int], dict[str, Any]], NoReturn]) -> None:
    """Hold the root for as long as *control* is open, and boot it when told to."""
    settings, _ = receive(control)
    if settings is None:
        return
    try:
        build_root(settings)
    except OSError as error:
        send(control, {"error": f"{error.filename or 'root'}: {error.strerror}"})
        return
    send(control, {})
    booted = 0
    while True:
        message, fds = receive(control)
        if booted and (message is None or message["do"] in ("boot", "wait")):
            if message is None:
                os.kill(booted, signal.SIGTERM)  # Its init has the death signal.
            os.waitpid(booted, 0)
            booted = 0
        if message is None:
            return
        if message["do"] == "boot":
            booted = os.fork()
            if booted == 0:
                control.close()
                boot(fds, settings)
            for fd in fds:
                os.close(fd)
        send(control, {})


# --- boot -----------------------------------------------------------------------------------------


def boot(fds: list[int], settings: dict[str, Any]) -> NoReturn:
    """Start one init in a new PID namespace, give it its user map, and end when it ends."""
    link = socket.socket(fileno=fds[0])
    status = 1
    try:
        die_with_parent()
        unshare(NEWPID, "PID namespace")
        here, there = socket.socketpair()
        child = os.fork()
        if child == 0:
            here.close()
            init(link, there, settings)
        there.close()
        if here.recv(1):
            for name in ("uid_map", "gid_map"):
                with open(f"/proc/{child}/{name}", "w") as file:
                    file.write("0 0 4294967295")
            send(link, {"pid": child})
            here.send(b"m")
        link.close()
        here.close()
        os.waitpid(child, 0)
        status = 0
    except OSError as error:
        with contextlib.suppress(OSError):
            send(link, {"error": f"{error.filename or 'boot'}: {error.strerror}"})
    finally:
        tell_traceback()
        os._exit(status)


# --- init -----------------------------------------------------------------------------------------


def mount_private(root: str, settings: dict[str, Any]) -> None:
    """Mount what is this boot's own: /proc, /sys, /dev, /run, /tmp and whatever is hidden."""
    for path in ("proc", "sys", "dev", "run", "tmp"):
        os.makedirs(below(root, path), exist_ok=True)
    mount("proc", below(root, "proc"), "proc", NOSUID | NODEV | NOEXEC)
    for path in ("sys", "irq", "bus", "fs", "sysrq-trigger"):
        target = below(root, f"proc/{path}")
        if os.path.exists(target):
            mount(target, target, flags=BIND)
            mount("none", target, flags=BIND | REMOUNT | RDONLY | NOSUID | NODEV | NOEXEC)
    mount("sysfs", below(root, "sys"), "sysfs", RDONLY | NOSUID | NODEV | NOEXEC)
    mount("dev", below(root, "dev"), "tmpfs", NOSUID, "mode=0755,size=1m")
    mount("run", below(root, "run"), "tmpfs", NOSUID | NODEV, "mode=0755,size=20%")
    for path in ("/tmp", *settings["hide"]):
        target = below(root, path)
        if os.path.isdir(target) and not os.path.islink(target):
            mode = stat.S_IMODE(os.stat(target).st_mode)
            mount("private", target, "tmpfs", NOSUID | NODEV, f"mode={mode:o},size=50%")
    # Last, since a bound checkout may be below /tmp.
    for number, path in enumerate(settings["binds"]):
        held, target = f"{STAGE}/bind{number}", below(root, path)
        make_mountpoint(target, directory=os.path.isdir(held))
        mount(held, target, flags=BIND)
    make_devices(below(root, "dev"))


def make_devices(dev: str) -> None:
    mask = os.umask(0)
    for name, major, minor in DEVICES:
        os.mknod(f"{dev}/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
    os.umask(mask)
    os.mkdir(f"{dev}/pts")
    os.mkdir(f"{dev}/shm")
    mount(
        "devpts",
        f"{dev}/pts",
        "devpts",
        NOSUID | NOEXEC,
        "newinstance,ptmxmode=0666,mode=0620,gid=5",
    )
    mount("shm", f"{dev}/shm", "tmpfs", NOSUID | NODEV, "mode=1777,size=20%")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd"}
    links.update(
        {name: f"/proc/self/fd/{n}" for n, name in enumerate(("stdin", "stdout", "stderr"))}
    )
    for name, target in links.items():
        os.symlink(target, f"{dev}/{name}")
    # What is written to the console can be read there by the test.
    os.close(os.open(f"{dev}/console", os.O_CREAT | os.O_WRONLY, 0o600))


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # SIOCSIFFLAGS with IFF_UP | IFF_RUNNING
        fcntl.ioctl(probe, 0x8914, struct.pack("16sH14x", b"lo", 0x41))


def init(link: socket.socket, parent: socket.socket, settings: dict[str, Any]) -> NoReturn:
    try:
        die_with_parent()
        os.setsid()
        unshare(NEWNS, "mount namespace")
        mount_private(ROOT, settings)
        pivot_root(ROOT)
        unshare(NEWUSER | NEWNS | NEWUTS | NEWIPC | NEWNET, "user namespace")
        parent.send(b"u")
        if not parent.recv(1):
            os._exit(1)
        parent.close()
        die_with_parent()  # Entering a user namespace may clear it.
        # /sys of this network namespace, with the guest's own links in /sys/class/net.
        mount("sysfs", "/sys", "sysfs", RDONLY | NOSUID | NODEV | NOEXEC)
        raise_loopback()
        socket.sethostname(settings["hostname"])
        drop_capabilities(DROPPED_CAPABILITIES.values())
        serve(link)
    except OSError as error:
        with contextlib.suppress(OSError):
            send(link, {"error": f"{error.filename or 'init'}: {error.strerror}"})
    finally:
        tell_traceback()
        os._exit(0)


def serve(link: socket.socket) -> None:
    """Let go of all that is the host's, say that the guest is there, and do what is asked."""
    nothing = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.closerange(3, link.fileno())
    os.closerange(link.fileno() + 1, 1024)
    os.umask(0o022)
    send(link, {})
    Init(link).serve()


class Init:
    """PID 1: starts what it is asked to, reaps everything, ends with everything."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._waiting: dict[int, int] = {}
        self._woken, wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._woken, 4096)
                    self._reap()
                elif not self._answer():
                    return

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            report = self._waiting.pop(pid, None)
            if report is not None:
                with contextlib.suppress(BrokenPipeError):
                    os.write(report, str(os.waitstatus_to_exitcode(status)).encode())
                os.close(report)

    def _answer(self) -> bool:
        """Do one request; False when there will be no more."""
        message, fds = receive(self._link)
        if message is None:
            return False
        try:
            if message["do"] == "start":
                pid = self._start(message, fds)
                send(self._link, {"value": pid})
            elif message["do"] == "open":
                fd = os.open(message["path"], message["flags"], message["mode"])
                send(self._link, {}, [fd])
                os.close(fd)
            elif message["do"] == "halt":
                self._halt(message["grace"])
                return False
            else:
                value = CALLS[message["do"]](*message["args"])
                send(self._link, {"value": value})
        except OSError as error:
            send(
                self._link, {"errno": error.errno, "error": error.strerror, "path": error.filename}
            )
        finally:
            for fd in fds:
                if fd not in self._waiting.values():
                    os.close(fd)
        return True

    def _start(self, message: dict[str, Any], fds: list[int]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                signal.set_wakeup_fd(-1)
                for unheard in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                    signal.signal(unheard, signal.SIG_DFL)
                for number in range(3):
                    os.dup2(fds[number], number)
                os.chdir(message["cwd"])
                argv = message["argv"]
                os.execvpe(argv[0], argv, message["env"])  # noqa: S606 - a shell is what we avoid
            except OSError as error:
                os.write(2, f"{message['argv'][0]}: {error.strerror}\n".encode())
            finally:
                os._exit(127)
        self._waiting[pid] = fds[3]
        return pid

    def _halt(self, grace: float) -> None:
        """Ask every process to end, and wait at most *grace* seconds for it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGTERM)
        end = time.monotonic() + grace
        while True:
            self._reap()
            try:
                os.kill(-1, 0)
            except ProcessLookupError:
                return
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._woken], [], [], left)[0]:
                return
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, 4096)


if __name__ == "__main__":
    keep(socket.socket(fileno=int(sys.argv[1])), boot)
