"""Forgetting: as if no boot had been, or as an image that is to be the disk of many machines."""

from __future__ import annotations

from collections.abc import Iterator

from . import status
from .errors import HostError
from .host import Host
from .instance_data import PATH as INSTANCE_DATA
from .modules.base import STATE
from .state import RUN

LOGS = "/var/log/linklocal"
COMPAT = (
    "/run/cloud-init/status.json",
    "/run/cloud-init/result.json",
    "/run/cloud-init/cloud-id",
    "/run/cloud-init/.instance-id",
    *(f"/var/lib/cloud/{name}" for name in ("data", "handlers", "instance", "instances", "sem")),
)
"""Of cloud-init, or in its place: what says that an instance has been set up."""
COMPAT_LOGS = ("/var/log/cloud-init.log", "/var/log/cloud-init-output.log")
RESETD = (
    "/var/lib/linklocal/resetd",
    "/run/linklocal/resetd",
    "/run/linklocal/resetd.sock",
    "/run/linklocal/resetd.cookie",
)
MACHINE_ID = "/etc/machine-id"
DBUS_ID = "/var/lib/dbus/machine-id"
SSH = "/etc/ssh"
SECRETS = (
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    *(f"{place}/loader/random-seed" for place in ("/boot", "/boot/efi", "/efi")),
)
"""What systemd and its boot loader make on each machine, for that machine alone."""
LEASES = {
    "/var/lib/dhcp": (".lease", ".leases"),
    "/var/lib/dhclient": (".lease", ".leases"),
    "/var/lib/NetworkManager": (".lease",),
    # By the same `duid` a server takes two machines for one.
    "/var/lib/dhcpcd": (".lease", ".lease6", "duid", "secret"),
    "/var/lib/wicked": (".xml",),
}
"""Directories of DHCP clients, and how the names end of what is this machine's there."""
WRITERS = ("linklocal-resetd.service", "systemd-random-seed.service")
"""They would write their files again on the way down."""


def clean(
    host: Host, *, logs: bool = False, seal: bool = False, stands_in: bool = False
) -> list[str]:
    """Remove what boots have left behind; return the paths.

    *logs*: the logs, too. *seal*: everything that makes this machine itself, too, the keys of the
    reset daemon, the host keys of ssh, our network files and the machine id: an image is left.
    *stands_in*: what is in cloud-init's place, too, which then is not here itself.
    """
    paths = [STATE, status.PATH, INSTANCE_DATA, f"{RUN}/agent", *(COMPAT if stands_in else ())]
    if logs or seal:
        paths += [LOGS, *(COMPAT_LOGS if stands_in else ())]
    if seal:
        from .adopting import network_files
        from .network.backends import ours

        # Addresses and names of NICs are those of the machine that the image was made on.
        paths += [*RESETD, *SECRETS, DBUS_ID, *host_keys(host), *leases(host), *ours(host)]
        paths += network_files(host) if stands_in else ()
    if in_chroot(host):
        paths = [path for path in paths if not path.startswith("/run/")]
    gone = [path for path in paths if remove_all(host, path)]
    if seal and host.read(MACHINE_ID):
        # systemd makes a new one. At the word `uninitialized` it would also enable every service of
        # the vendor's presets, which on Debian is all of them, networkd and its waiting included.
        host.write(MACHINE_ID, b"", mode=0o444)
        gone.append(MACHINE_ID)
    return gone


def in_chroot(host: Host) -> bool:
    """Say whether this is an image in a chroot: what is in /run is another machine's."""
    asks = "systemd-detect-virt"
    if not host.live or not host.which(asks):
        return False
    try:
        return not host.run([asks, "--chroot"]).status
    except HostError:
        # Without /dev/null, which no machine at work is.
        return True


def quiesce(host: Host) -> list[str]:
    """Make this running machine ready to be sealed; return the units that were stopped.

    HostError when it cannot be, and then nothing has been removed.
    """
    if in_chroot(host) or host.kind("/run/systemd/system") != "directory":
        return []
    stopped = []
    for unit in WRITERS:
        asked = host.run(["systemctl", "show", "--property=ActiveState", "--value", unit])
        if asked.output.strip() != b"active":
            continue
        done = host.run(["systemctl", "stop", unit])
        if done.status:
            said = done.output.decode("utf-8", "replace").strip()
            raise HostError(f"clean: {unit} cannot be stopped, nothing was removed: {said}")
        stopped.append(unit)
    return stopped


def refuse_amid_a_boot(host: Host) -> None:
    """Raise HostError while a boot is under way: it would write its state again as it ends."""
    record = None if in_chroot(host) else status.read(host)
    if record is not None and record["status"] == "running" and not status.stranded(record):
        raise HostError(
            "clean: a boot is under way, whose end writes all this again:"
            " wait for it with `linklocal-agent status --wait`"
        )


def leases(host: Host) -> Iterator[str]:
    """Give the leases of DHCP clients, and who they said this machine is."""
    for directory, endings in LEASES.items():
        for name in host.names(directory) if host.kind(directory) == "directory" else ():
            if name.endswith(endings):
                yield f"{directory}/{name}"


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
