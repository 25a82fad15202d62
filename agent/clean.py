"""Forgetting: as if no boot had been, or as an image that is to be the disk of many machines."""

from __future__ import annotations

from collections.abc import Iterator

from .host import Host
from .instance_data import PATH as INSTANCE_DATA
from .modules.base import STATE
from .state import RUN
from .status import PATH as STATUS

LOGS = "/var/log/linklocal"
COMPAT = (
    "/run/cloud-init/status.json",
    "/run/cloud-init/result.json",
    "/run/cloud-init/cloud-id",
    "/run/cloud-init/.instance-id",
    "/var/lib/cloud/instance/boot-finished",
)
RESETD = (
    "/var/lib/linklocal/resetd",
    "/run/linklocal/resetd",
    "/run/linklocal/resetd.sock",
    "/run/linklocal/resetd.cookie",
)
MACHINE_ID = "/etc/machine-id"
DBUS_ID = "/var/lib/dbus/machine-id"
SSH = "/etc/ssh"
RANDOM = "/var/lib/systemd/random-seed"


def clean(host: Host, *, logs: bool = False, seal: bool = False) -> list[str]:
    """Remove what boots have left behind; return the paths.

    *logs*: the logs, too. *seal*: everything that makes this machine itself, too, the keys of the
    reset daemon, the host keys of ssh, our network files and the machine id: an image is left.
    """
    paths = [STATE, STATUS, INSTANCE_DATA, f"{RUN}/agent", *COMPAT]
    if logs or seal:
        paths.append(LOGS)
    if seal:
        from .network.backends import ours

        # Addresses and names of NICs are those of the machine that the image was made on.
        paths += [*RESETD, RANDOM, DBUS_ID, *host_keys(host), *ours(host)]
    gone = [path for path in paths if remove_all(host, path)]
    if seal and host.read(MACHINE_ID):
        # systemd makes a new one. At the word `uninitialized` it would also enable every service of
        # the vendor's presets, which on Debian is all of them, networkd and its waiting included.
        host.write(MACHINE_ID, b"", mode=0o444)
        gone.append(MACHINE_ID)
    return gone


def host_keys(host: Host) -> Iterator[str]:
    """Give the host keys of ssh, both halves."""
    for name in host.names(SSH) if host.kind(SSH) == "directory" else ():
        if name.startswith("ssh_host_") and "key" in name:
            yield f"{SSH}/{name}"


def remove_all(host: Host, path: str) -> bool:
    """Remove what is at *path* and below, no link followed; say whether there was anything."""
    kind = host.kind(path)
    if kind is None:
        return False
    if kind == "directory":
        for name in host.names(path):
            remove_all(host, f"{path}/{name}")
    host.remove(path)
    return True
