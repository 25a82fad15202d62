"""The inside of an nspawn guest: keeps the overlay, starts systemd-nspawn. A program for `nspawn`.

Its processes end with the test as those of `inside` do:

    keeper   holds the overlay in a mount namespace of its own, as for a light guest
    boot     one for each boot: owns the network namespace and the control groups, hears of progress
    nspawn   systemd-nspawn, and in it the guest's own PID 1
    hand     a process in the guest's namespaces that does what the test asks (`inside.Init`)
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from .inside import (
    NEWNET,
    NEWNS,
    NODEV,
    NOSUID,
    ROOT,
    STAGE,
    check,
    die_with_parent,
    drop_capabilities,
    keep,
    libc,
    mount,
    raise_loopback,
    receive,
    send,
    serve,
    tell_traceback,
    unshare,
)

NOTIFY = f"{STAGE}/notify"
GROUPS = "linklocal-guest-"
# Joined last: afterwards /proc is the guest's.
NAMESPACES = ("cgroup", "ipc", "net", "pid", "uts", "mnt")


def group_roots() -> list[Path]:
    """Return where control groups of a guest are made: version 2, or both trees of a hybrid."""
    tree = Path("/sys/fs/cgroup")
    if (tree / "cgroup.procs").exists():
        return [tree]
    return [path for path in (tree / "systemd", tree / "unified") if path.is_dir()]


def make_groups() -> list[Path]:
    """Make the guest's own control groups, and remove what a killed boot left."""
    made = []
    for root in group_roots():
        for old in root.glob(f"{GROUPS}*"):
            if not Path("/proc", old.name[len(GROUPS) :]).exists():
                remove_group(old)
        made.append(root / f"{GROUPS}{os.getpid()}")
        made[-1].mkdir()
    return made


def remove_group(group: Path) -> None:
    for path, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):  # Some process in it ends only now: the next boot's.
            os.rmdir(path)


def boot(fds: list[int], settings: dict[str, Any]) -> NoReturn:
    """Run systemd-nspawn to its end, telling of each step over the second descriptor."""
    link, events, console = socket.socket(fileno=fds[0]), socket.socket(fileno=fds[1]), fds[2]
    groups: list[Path] = []
    try:
        die_with_parent()
        # It ends when its events have no reader any more, and clears up first.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        unshare(NEWNET | NEWNS, "namespaces")
        # nspawn writes there what it would share with the host's systemd.
        mount("run", "/run", "tmpfs", NOSUID | NODEV, "mode=0755")
        raise_loopback()
        groups = make_groups()
        send(events, {"pid": os.getpid()})
        if receive(events)[0] is not None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(NOTIFY)  # That of the boot before.
                notify.bind(NOTIFY)
                follow(link, events, notify, start(groups, console, settings))
    except OSError as error:
        with contextlib.suppress(OSError):
            send(events, {"error": f"{error.filename or 'boot'}: {error.strerror}"})
    finally:
        for group in groups:
            remove_group(group)
        tell_traceback()
        os._exit(0)


def start(groups: list[Path], console: int, settings: dict[str, Any]) -> int:
    """Start systemd-nspawn with *console* as its terminal; return its process id."""
    network = f"/proc/{os.getpid()}/ns/net"
    pid = os.fork()
    if pid:
        os.close(console)
        return pid
    try:
        die_with_parent()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        for group in groups:
            (group / "cgroup.procs").write_text("0")
        for number in range(3):
            os.dup2(console, number)
        argv = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"]
        argv += ["--notify-ready=yes", "--console=interactive", "--link-journal=no"]
        argv += ["--resolv-conf=off", "--timezone=off", "--capability=CAP_NET_ADMIN"]
        argv += [f"--directory={ROOT}", f"--machine={settings['hostname']}"]
        argv += [f"--network-namespace-path={network}"]
        for held, path in enumerate(settings["binds"]):
            argv.append(f"--bind-ro={STAGE}/bind{held}:{path}")
        argv += settings["nspawn"]
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": NOTIFY,
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            "TERM": "vt220",
        }
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - a shell is what we avoid
    finally:
        tell_traceback()
        os._exit(127)


def follow(link: socket.socket, events: socket.socket, notify: socket.socket, nspawn: int) -> None:
    """Tell of the guest's PID 1, of its being up, and of its end; kill it when told to."""
    ended = os.pidfd_open(nspawn)
    leader = 0
    while True:
        sources: list[socket.socket | int] = [notify, events, ended]
        ready, _, _ = select.select(sources, [], [])
        if notify in ready:
            lines = notify.recv(4096).decode().splitlines()
            said = dict(line.partition("=")[::2] for line in lines)
            if "X_NSPAWN_LEADER_PID" in said:
                leader = int(said["X_NSPAWN_LEADER_PID"])
                lend_a_hand(link, leader)
                link.close()
                send(events, {"leader": leader})
            if said.get("READY") == "1":
                send(events, {"ready": True})
        elif events in ready:
            events.recv(4096)  # Whatever it says, or that the test is gone.
            os.kill(leader or nspawn, signal.SIGKILL)
            break
        else:
            break
    _, status = os.waitpid(nspawn, 0)
    with contextlib.suppress(OSError):
        send(events, {"exit": os.waitstatus_to_exitcode(status)})


def lend_a_hand(link: socket.socket, leader: int) -> None:
    """Start a process in the guest of PID 1 *leader*, no mightier, that does what *link* asks."""
    joining = os.fork()
    if joining:
        os.waitpid(joining, 0)
        return
    try:
        fds = [os.open(f"/proc/{leader}/ns/{name}", os.O_RDONLY) for name in NAMESPACES]
        capabilities = Path(f"/proc/{leader}/status").read_text().partition("CapBnd:")[2].split()[0]
        for fd in fds:
            check(libc.setns(fd, 0), "setns")
        # What is forked now is in the guest, and what that forks is adopted by the guest's PID 1:
        # a shutdown waits for processes that are not its children longer than for its own.
        within = os.fork()
        if within:
            os.waitpid(within, 0)
        elif os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            kept = int(capabilities, 16)
            drop_capabilities(number for number in range(64) if not kept >> number & 1)
            serve(link)
    finally:
        tell_traceback()
        os._exit(0)


if __name__ == "__main__":
    keep(socket.socket(fileno=int(sys.argv[1])), boot)
