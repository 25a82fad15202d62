"""Taking a machine over from cloud-init: what that has begun for this instance is not begun again.

cloud-init leaves an empty file for each of its modules as it begins it, and a result and
`boot-finished` as a boot of it ends. Without either it was cut off: what has no file yet is ours to
do, as it would have been cloud-init's at its next boot.
"""

from __future__ import annotations

from collections.abc import Iterator

from .cloud_init_marks import KEPT, LIB, name_of
from .errors import HostError
from .host import Host
from .modules import NAMES
from .modules.base import OWN_SCRIPT, SCRIPT, VENDOR_SCRIPT
from .modules.scripts import own_mark
from .state import State

NETWORK_FILES = (
    ("/etc/netplan", "50-cloud-init."),
    ("/etc/network/interfaces.d", "50-cloud-init"),
    ("/etc/systemd/network", "10-cloud-init-"),
    ("/etc/NetworkManager/system-connections", "cloud-init-"),
)
"""Directories, and how the names begin of what cloud-init has generated in them."""
SYSCONFIG, SYSCONFIG_HEADER = "/etc/sysconfig/network-scripts", b"# Created by cloud-init"
PER_ONCE = f"{LIB}/scripts/per-once"
# Where its modules have other names than ours.
SEMAPHORES = {
    "random_seed": ("seed_random",),
    "apt": ("apt_configure",),
    "yum_repos": ("yum_add_repo",),
    "zypper": ("zypper_add_repo",),
    "apk_repos": ("apk_configure",),
    "packages": ("package_update_upgrade_install",),
    # There it only writes a script, which is one of the user's.
    "runcmd": ("scripts_user",),
    SCRIPT: ("scripts_user",),
    VENDOR_SCRIPT: ("scripts_vendor",),
    OWN_SCRIPT: ("scripts_per_instance",),
    "console_keys": ("ssh_authkey_fingerprints", "keys_to_console"),
    "post_password": ("set_passwords",),
    "power_state": ("power_state_change",),
}
ALWAYS_BEGUN = ("injected_files",)
"""Done by its datasource, before any module."""
CUT_OFF = (
    "cloud-init was cut off while it set this instance up: what it had begun is not begun again,"
    " what it had not is done now"
)
UNREADABLE = (
    "what cloud-init has done cannot be told, so all that is done once is taken for done;"
    " `linklocal-agent clean` has the next boot do it"
)


def begun_by_cloud_init(host: Host, instance_id: str) -> frozenset[str]:
    """Return the modules of cloud-init that had their turn for this instance, by its names."""
    kept = host.read(f"{LIB}/data/instance-id") or b""
    semaphores = f"{LIB}/instances/{name_of(instance_id)}/sem"
    if (
        kept.decode("utf-8", "replace").strip() != instance_id
        or host.kind(semaphores) != "directory"
    ):
        return frozenset()
    names = (name.partition(".")[0] for name in host.names(semaphores))
    return frozenset(name.removeprefix("config_") for name in names)


def adopt(host: Host, state: State, instance_id: str) -> str | None:
    """Take over in *state* what cloud-init has done; None when it never set this instance up.

    Return what is to be said of it, empty when all is well. Where it cannot be read, all is taken
    for done: what is done twice may destroy, what is missing can be done later.
    """
    try:
        return _taken_over(host, state, instance_id)
    except HostError as error:
        state.adopt()
        return f"{error}: {UNREADABLE}"


def _taken_over(host: Host, state: State, instance_id: str) -> str | None:
    for mark in _once(host):
        state.take_for_done(mark)
    begun = begun_by_cloud_init(host, instance_id)
    if not begun:
        return None
    place = f"{LIB}/instances/{name_of(instance_id)}"
    # The module that writes the mark may be none of the image's; the result is of the last boot.
    marks = (f"{place}/boot-finished", f"{place}/{KEPT}", f"{LIB}/data/result.json")
    ended = any(map(host.kind, marks))
    left = () if ended else tuple(_left(begun))
    state.adopt(left)
    return CUT_OFF if left else ""


def _left(begun: frozenset[str]) -> Iterator[str]:
    """Give what of ours cloud-init had not begun."""
    for name in (SCRIPT, VENDOR_SCRIPT, OWN_SCRIPT, *(row.name for row in NAMES)):
        if name not in ALWAYS_BEGUN and begun.isdisjoint(SEMAPHORES.get(name, (name,))):
            yield name


def _once(host: Host) -> Iterator[str]:
    """Give the marks of the image's scripts that cloud-init has run once and for all."""
    ran = f"{LIB}/sem/config_scripts_per_once.once"
    if host.kind(ran) is None or host.kind(PER_ONCE) != "directory":
        return
    for name in host.names(PER_ONCE):
        yield own_mark(f"{PER_ONCE}/{name}")


def network_files(host: Host) -> Iterator[str]:
    """Give the files that cloud-init has generated for whatever applies the network here."""
    for directory, prefix in NETWORK_FILES:
        if host.kind(directory) == "directory":
            for name in host.names(directory):
                if name.startswith(prefix):
                    yield f"{directory}/{name}"
    if host.kind(SYSCONFIG) == "directory":
        for name in host.names(SYSCONFIG):
            path = f"{SYSCONFIG}/{name}"
            if name.startswith("ifcfg-") and (host.read(path) or b"").startswith(SYSCONFIG_HEADER):
                yield path
