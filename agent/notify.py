"""Telling the service manager, where there is one."""

import os
import socket


def notify(state: str) -> None:
    """Send *state*, such as READY=1, to systemd; nothing when it does not listen."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name.startswith(("/", "@")):
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        try:
            link.sendto(state.encode(), address)
        except OSError:
            # The manager went away; that is its affair.
            return


def alive() -> None:
    """Tell systemd's watchdog that we are at work; nothing where it does not ask."""
    if "WATCHDOG_USEC" in os.environ:
        notify("WATCHDOG=1")
