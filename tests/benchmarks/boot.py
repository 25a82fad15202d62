"""What a first boot costs: our agent and Debian's cloud-init, in turn, in the same kind of guest.

Both read the same user data from our server: one cloud-config, and MIME of four parts. A third side
runs only the programs that both start (ssh-keygen, useradd …): what is left after taking it away is
the agent's own cost.
"""

from __future__ import annotations

import base64
import compileall
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.guests import roots
from tests.guests.cloud import CHECKOUT, Cloud
from tests.guests.light import LightGuest, Nic

ROUNDS = 7
# Of no password: the body is made up, in the exact grammar.
HASH = "$6$saltsaltsaltsalt$" + "a" * 86
KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()
USER_DATA = f"""\
#cloud-config
hostname: bench
fqdn: bench.example.org
prefer_fqdn_over_hostname: false
manage_etc_hosts: localhost
timezone: Europe/Berlin
locale: C.UTF-8
package_update: false
random_seed: {{data: "aGVsbG8gaGVsbG8gaGVsbG8=", encoding: b64}}
ssh_genkeytypes: [ed25519]
ssh_deletekeys: true
ssh_authorized_keys: ["{KEY} bench"]
ssh_pwauth: false
disable_root: true
groups: [operators]
users:
  - name: ada
    gecos: Ada
    groups: [operators]
    shell: /bin/bash
    sudo: "ALL=(ALL) NOPASSWD:ALL"
    lock_passwd: false
    passwd: "{HASH}"
    ssh_authorized_keys: ["{KEY} ada"]
chpasswd:
  expire: false
  users: [{{name: root, password: "{HASH}", type: hash}}]
write_files:
  - {{path: /etc/motd, content: "Welcome\\n"}}
  - {{path: /etc/app/app.conf, content: "port = 8080\\n", permissions: "0640"}}
  - {{path: /root/blob, encoding: b64, content: aGVsbG8K}}
bootcmd:
  - echo 192.168.1.130 mirror.internal >> /etc/hosts
runcmd:
  - mkdir -p /srv/app
  - [touch, /srv/app/ready]
final_message: "up after $uptime seconds"
"""
# The programs that both sides start for it; neither can do without them.
PROGRAMS = f"""\
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
groupadd operators
useradd --comment Ada --groups operators --shell /bin/bash -m ada
usermod -p '*' ada
printf '%s\\n' 'root:{HASH}' | chpasswd -e
sh -c 'echo 192.168.1.130 mirror.internal >> /etc/hosts'
sh -c 'mkdir -p /srv/app; touch /srv/app/ready'
"""
# Without its `init --local`, which would wait for DHCP: that much is not counted against it.
CLOUD_INIT = "\n".join(
    f"cloud-init {words}" for words in ("init", "modules --mode=config", "modules --mode=final")
)
CLOUD_CFG = """\
datasource_list: [OpenStack]
datasource: {OpenStack: {max_wait: 10, timeout: 5}}
network: {config: disabled}
# What one side alone would do here, or fails at in a guest without a disk.
locale: C.UTF-8
resize_rootfs: false
growpart: {mode: "off"}
"""
SCRIPT = "#!/bin/sh\necho a script >/srv/script\n"
HOOK = "#cloud-boothook\n#!/bin/sh\necho a boothook >/run/boothook\n"
SECOND = """\
#cloud-config
merge_how: list(append)+dict(no_replace,recurse_list)+str()
write_files:
  - {path: /etc/second, content: "another part"}
runcmd:
  - [touch, /srv/app/second]
"""


def _message(*parts: tuple[str, str]) -> str:
    """Return MIME of *parts*, each a type and its text, in base64 as most tools make it."""
    text = 'Content-Type: multipart/mixed; boundary="=====parts====="\nMIME-Version: 1.0\n\n'
    for kind, content in parts:
        body = base64.encodebytes(content.encode()).decode()
        encoding = "Content-Transfer-Encoding: base64"
        text += f"--=====parts=====\nContent-Type: text/{kind}\n{encoding}\n\n{body}\n"
    return f"{text}--=====parts=====--\n"


DOCUMENTS = {
    "one cloud-config": USER_DATA,
    "MIME of four parts": _message(
        ("cloud-config", USER_DATA),
        ("x-shellscript", SCRIPT),
        ("cloud-boothook", HOOK),
        ("cloud-config", SECOND),
    ),
}
NICS = {
    name: Nic(f"192.168.1.{number}/24", f"fa:16:3e:f7:c1:{number}")
    for number, name in enumerate(DOCUMENTS, 10)
}
INSTANCES = [
    {
        "id": f"ca9e8b7c-f2be-4b6d-a639-f10b4d994d{number}",
        "name": "bench",
        "nics": [{"mac": NICS[name].mac, "ipv4": f"192.168.1.{number}"}],
        "user_data": text,
    }
    for number, (name, text) in enumerate(DOCUMENTS.items(), 10)
]
# Runs one command line under the guest's own Python; prints seconds, CPU seconds and KiB.
METER = """\
import json, os, resource, sys, time
started = time.perf_counter()
pid = os.posix_spawn("/bin/sh", ["/bin/sh", "-ec", sys.argv[1]], os.environ)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
wall = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_CHILDREN)
sys.stderr.write("\\n" + json.dumps([status, wall, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


class Cost(NamedTuple):
    """Medians over the rounds: seconds, CPU seconds, KiB of the largest process."""

    wall: float
    cpu: float
    memory: float


def _once(cloud: Cloud, root: Path, nic: Nic, command: str, *, reboot: bool) -> Cost:
    cwd = str(CHECKOUT)
    with LightGuest(
        root, cloud=cloud, nic=nic, name="bench", binds=[CHECKOUT], product="OpenStack Nova"
    ) as guest:
        guest.write("/etc/cloud/cloud.cfg.d/99-bench.cfg", CLOUD_CFG.encode())
        cost = _metered(guest, command, cwd)
        if reboot:
            guest.reboot()
            cost = _metered(guest, command, cwd)
        return cost


def _metered(guest: LightGuest, command: str, cwd: str) -> Cost:
    done = guest.run(["python3", "-c", METER, command], cwd=cwd, timeout=120)
    status, wall, cpu, memory = json.loads(done.stderr.rpartition(b"\n")[2])
    if status:
        raise RuntimeError(f"{command}: status {status}\n{done.stderr.decode()[-2000:]}")
    return Cost(wall, cpu, memory)


def measure(report: Callable[[str], None]) -> dict[str, dict[str, Cost]]:
    """Return what each side costs, by its name, for each of DOCUMENTS."""
    root = roots.debian12()
    # As a package does at its installation; cloud-init's modules are compiled in the tree.
    compileall.compile_dir(CHECKOUT / "agent", quiet=1)
    ours = "python3 -m agent run --datasource openstack"
    sides = {
        "linklocal-agent, first boot": (ours, False),
        "cloud-init, first boot": (CLOUD_INIT, False),
        "the programs alone": (PROGRAMS, False),
        "linklocal-agent, second boot": (ours, True),
        "cloud-init, second boot": (CLOUD_INIT, True),
    }
    costs: dict[str, dict[str, list[Cost]]] = {
        document: {name: [] for name in sides} for document in DOCUMENTS
    }
    with Cloud() as cloud, cloud.serve(INSTANCES):
        for number in range(ROUNDS):
            report(f"round {number + 1} of {ROUNDS}: one fresh guest for each side")
            for document, nic in NICS.items():
                for name, (command, reboot) in sides.items():
                    cost = _once(cloud, root, nic, command, reboot=reboot)
                    costs[document][name].append(cost)
    return {
        document: {
            name: Cost(*(statistics.median(column) for column in zip(*rounds)))
            for name, rounds in found.items()
        }
        for document, found in costs.items()
    }
