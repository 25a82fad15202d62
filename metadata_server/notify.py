"""Telling systemd how the service is, without libsystemd: one datagram to $NOTIFY_SOCKET."""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger(__name__)


def ready(status: str) -> None:
    _send("READY=1", f"STATUS={status}")


def reloading() -> None:
    # systemd compares this with its own clock, so that a late READY=1 of before does not count.
    _send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def stopping() -> None:
    _send("STOPPING=1", "STATUS=Finishing requests under way")


def watchdog_seconds() -> float | None:
    """Return how often systemd is to be told that the service lives; None when it does not ask."""
    given = os.environ.get("WATCHDOG_USEC", "")
    asked = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    # Twice in the time it waits, as sd_watchdog_enabled(3) advises.
    return int(given) / 2e6 if asked and given.isdigit() and int(given) else None


def alive() -> None:
    _send("WATCHDOG=1")


def _send(*lines: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            # @ stands for the NUL byte of an abstract name.
            sock.sendto("\n".join(lines).encode(), address.replace("@", "\0", 1))
    except OSError as error:
        log.warning("notify %s: %s", address, error.strerror)
