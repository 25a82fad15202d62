"""What the package adds to a boot of systemd: with a datasource, without one, and no package."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.guests import roots
from tests.guests.cloud import CHECKOUT, Cloud
from tests.guests.light import Nic
from tests.guests.nspawn import NspawnGuest

ROUNDS = 5
NIC = Nic()
INSTANCE = {
    "name": "bench",
    "nics": [{"mac": NIC.mac, "ipv4": NIC.address.partition("/")[0], "prefix": 24, "dhcp": False}],
    "user_data": "#cloud-config\nssh_genkeytypes: [ed25519]\n",
}
TIMES = "systemctl show --property=UserspaceTimestampMonotonic,FinishTimestampMonotonic --value"
NONE, WITHOUT, FIRST, SECOND = (
    "no agent",
    "the agent, no datasource",
    "the agent, first boot of an instance",
    "the agent, later boot",
)


class Cost(NamedTuple):
    """Seconds of user space until the boot has finished."""

    median: float
    quickest: float


def measure(progress: Callable[[str], None]) -> dict[str, Cost]:
    """Return what boots cost, by side."""
    found: dict[str, list[float]] = {name: [] for name in (NONE, WITHOUT, FIRST, SECOND)}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        layer = _layer(Path(temporary))
        cloud = stack.enter_context(Cloud())
        for number in range(ROUNDS):
            progress(f"boots of systemd, round {number + 1} of {ROUNDS}")
            # Another instance each time: a known one's daemon would be taken for a stranger.
            with cloud.serve([{**INSTANCE, "id": str(uuid.uuid4())}]):
                for name in (NONE, WITHOUT, FIRST):
                    _round(name, layer, cloud, found)
    return {name: Cost(statistics.median(each), min(each)) for name, each in found.items()}


def _round(name: str, layer: Path, cloud: Cloud, found: dict[str, list[float]]) -> None:
    product = {"product": "OpenStack Nova"} if name == FIRST else {}
    guest = NspawnGuest(roots.machine12(), cloud=cloud, nic=NIC, layers=[layer], **product)
    with guest:
        if name != NONE:
            guest.sh("dpkg --install /root/linklocal-agent_*_all.deb")
        if name == FIRST:
            # Its link has its address from outside.
            directory = "/etc/linklocal/cloud-config.d"
            guest.sh(
                f"mkdir {directory} && echo 'network: {{config: disabled}}' >{directory}/1.yaml"
            )
        else:
            # What the agent would have made at the first boot.
            guest.sh("ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key")
        guest.reboot()
        found[name].append(_seconds(guest))
        if name == FIRST:
            guest.reboot()
            found[SECOND].append(_seconds(guest))


def _seconds(guest: NspawnGuest) -> float:
    guest.sh("systemctl is-system-running --wait || :")
    started, finished = map(int, guest.sh(TIMES).split())
    return (finished - started) / 1e6


def _layer(place: Path) -> Path:
    argv = [sys.executable, "packaging/build.py", "--output", str(place / "packages")]
    subprocess.run(argv, cwd=CHECKOUT, check=True, capture_output=True)
    root = place / "layer/root"
    root.mkdir(parents=True, mode=0o700)
    for package in (place / "packages").glob("*.deb"):
        shutil.copy(package, root)
    return place / "layer"
