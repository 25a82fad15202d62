"""make bench-vm: a virtual machine's first boot, with our agent, with cloud-init, with neither.

The same tree in three images, each on a fresh disk in its turn, against one server with one
instance. Seconds are those of the guest's own systemd since its kernel was started. The processor
is emulated, so they compare with each other only.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.guests import images, roots
from tests.guests.cloud import CHECKOUT, Cloud
from tests.guests.light import Nic
from tests.guests.vm import VirtualMachine

ROUNDS = 3
NIC = Nic()
ID = "6d0c3f6a-7a55-4a1d-8f3e-5f1f3ad0c0de"
NEITHER, OURS, THEIRS = "neither", "linklocal-agent", "cloud-init"
INSTANCE = {
    "id": ID,
    "name": "bench",
    "nics": [{"mac": NIC.mac, "ipv4": NIC.address.partition("/")[0], "prefix": 24, "dhcp": False}],
    "user_data": "#cloud-config\nssh_genkeytypes: [ed25519]\n"
    "write_files: [{path: /etc/motd, content: hello}]\nruncmd: [echo ran >>/root/ran]\n",
}
# What each image is made with. Its link has its address from outside, on every side.
OFF = "touch /etc/cloud/cloud-init.disabled"
SCRIPTS = {
    NEITHER: f"{OFF}; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key",
    OURS: f"{OFF}; dpkg --install /mnt/linklocal-agent_*.deb; mkdir /etc/linklocal/cloud-config.d;"
    " echo 'network: {config: disabled}' >/etc/linklocal/cloud-config.d/1.yaml",
    THEIRS: "cp /mnt/bench.cfg /etc/cloud/cloud.cfg.d/99-bench.cfg",
}
CLOUD_CFG = """\
datasource_list: [OpenStack]
datasource: {OpenStack: {max_wait: 10, timeout: 5}}
network: {config: disabled}
"""
STAMPS = {
    "ssh": "systemctl show ssh.service --property=ActiveEnterTimestampMonotonic --value",
    "multi-user": "systemctl show multi-user.target --property=ActiveEnterTimestampMonotonic"
    " --value",
    "all done": "systemctl show --property=FinishTimestampMonotonic --value",
}
Seconds = dict[str, float]


def measure(progress: Callable[[str], None], rounds: int = ROUNDS) -> dict[str, Seconds]:
    """Return medians of the seconds to each of STAMPS, by side."""
    found: dict[str, list[Seconds]] = {side: [] for side in SCRIPTS}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        made = _images(Path(temporary))
        cloud = stack.enter_context(Cloud())
        stack.enter_context(cloud.serve([INSTANCE]))
        for number in range(rounds):
            for side, image in made.items():
                progress(f"round {number + 1} of {rounds}: {side}")
                found[side].append(_boot(side, image, cloud))
    return {
        side: {name: statistics.median(each[name] for each in times) for name in STAMPS}
        for side, times in found.items()
    }


def _images(place: Path) -> dict[str, Path]:
    argv = [sys.executable, "packaging/build.py", "--output", str(place / "packages")]
    subprocess.run(argv, cwd=CHECKOUT, check=True, capture_output=True)
    (package,) = (place / "packages").glob("linklocal-agent_*_all.deb")
    (place / "bench.cfg").write_text(CLOUD_CFG)
    made = {}
    for side, script in SCRIPTS.items():
        layer = place / side
        layer.mkdir()
        images.bake(roots.both12(), layer, script, files=[package, place / "bench.cfg"])
        made[side] = images.make(roots.both12(), place / f"{side}.raw", layers=[layer])
    return made


def _boot(side: str, image: Path, cloud: Cloud) -> Seconds:
    kernel = roots.both12() / "boot"
    machine = VirtualMachine(
        image, cloud=cloud, nic=NIC, product="OpenStack Nova", identity=ID, kernel=kernel
    )
    with machine as guest:
        if side != NEITHER and guest.text("/root/ran") != "ran\n":
            raise RuntimeError(f"{side}: its first boot has not done what was asked for")
        return {name: int(guest.sh(script)) / 1e6 for name, script in STAMPS.items()}


def show(costs: dict[str, Seconds]) -> str:
    """Return the table, in the form of the README's."""
    lines = ["| First boot, seconds to | ssh | multi-user | all done |", "|---|---|---|---|"]
    for side, times in costs.items():
        lines.append(f"| {side} | " + " | ".join(f"{times[name]:.1f}" for name in STAMPS) + " |")
    added = [
        (costs[OURS][name] - costs[NEITHER][name]) / (costs[THEIRS][name] - costs[NEITHER][name])
        for name in STAMPS
    ]
    lines.append("| added, ours to cloud-init's | " + " | ".join(f"{x:.2f}" for x in added) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    costs = measure(lambda text: print(text, file=sys.stderr), *map(int, sys.argv[1:2]))
    print(show(costs))
