"""The containers, as far as a machine without a container engine can tell.

What the files copy is laid over a Debian tree, and what they run is run there: the server as its
user and without capabilities, the guest at the other end of a wire.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import StartGuest, need_namespaces
from .guests.cloud import Cloud
from .guests.light import LightGuest, Nic, host_layers

CHECKOUT = Path(__file__).parent.parent
PLACE = CHECKOUT / "packaging/containers"
COMPOSE: dict[str, Any] = yaml.safe_load((PLACE / "compose.yaml").read_text())
SERVER, GUEST = COMPOSE["services"]["server"], COMPOSE["services"]["guest"]
INSTANCE: dict[str, Any] = yaml.safe_load((PLACE / "guest.yaml").read_text())


def stage(name: str) -> list[tuple[str, str]]:
    """Return the instructions of a stage and of those it is made from."""
    text = (PLACE / "Containerfile").read_text().replace("\\\n", " ")
    found: dict[str, list[tuple[str, str]]] = {}
    here: list[tuple[str, str]] = []
    for line in text.splitlines():
        if source := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            here = found[source[2]] = list(found.get(source[1], []))
        elif line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            here.append((word, rest.strip()))
    return found[name]


def layer(name: str, directory: Path) -> Path:
    """Copy into *directory* what the stage copies into its image."""
    for word, rest in stage(name):
        if word == "COPY":
            source, target = (each for each in rest.split() if not each.startswith("--"))
            place = directory / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if (CHECKOUT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(CHECKOUT / source, place, ignore=ignored)
            else:
                shutil.copy(CHECKOUT / source, place)
    return directory


def last(name: str, word: str) -> str:
    return [rest for each, rest in stage(name) if each == word][-1]


def environment(name: str) -> dict[str, str]:
    pairs = [rest.split("=", 1) for word, rest in stage(name) if word == "ENV"]
    # The distribution's Python first: this machine may have another in /usr/local.
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin", **dict(pairs)}


def test_the_guest_has_no_privileges_and_does_not_reach_the_control_plane() -> None:
    limits = {"cap_drop", "security_opt"}
    assert set(GUEST) == {"build", "depends_on", "environment", "hostname", "networks"} | limits
    assert GUEST["hostname"] == INSTANCE["name"]
    assert "cap_add" not in SERVER
    assert not any("control" in word for word in SERVER["command"])
    assert COMPOSE["networks"]["metadata"]["internal"] is True
    assert GUEST["networks"]["metadata"]["ipv4_address"] == INSTANCE["nics"][0]["ipv4"]


@pytest.mark.guest
def test_the_server_serves_as_its_user_without_a_capability(tmp_path: Path) -> None:
    need_namespaces()
    libraries = "import aiohttp, cryptography, passlib, yaml"
    if subprocess.run(["/usr/bin/python3", "-c", libraries], capture_output=True).returncode:
        pytest.skip("python3-aiohttp and python3-passlib of the distribution are not installed")
    files = layer("server", tmp_path)
    (files / "etc/linklocal").mkdir(parents=True)
    shutil.copy(PLACE / "guest.yaml", files / "etc/linklocal")
    user, _, group = last("server", "USER").partition(":")
    limits = [f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
    command = json.loads(last("server", "ENTRYPOINT")) + SERVER["command"]
    env = environment("server")

    with LightGuest(Path("/"), lowers=host_layers(), binds=[files]) as machine:
        machine.sh(f"cp -r {files}/. /")
        machine.sh(
            "ip link set lo up; ip address add 169.254.169.254/24 dev lo;"
            "ip address add 169.254.169.10/24 dev lo"
        )
        # A port below 1024 is this user's by a setting of the container's network.
        command[command.index("169.254.169.254:80")] = "169.254.169.254:8080"
        argv = ["setpriv", *limits, "--bounding-set=-all", "--inh-caps=-all", *command]
        with machine.start(argv, env=env, cwd="/") as server:
            server.wait_for("ready: control at")
            motd = machine.sh(
                "curl -s --interface 169.254.169.10"
                " http://169.254.169.254:8080/openstack/latest/user_data"
            )
            healthy = machine.run(
                ["setpriv", *limits, *SERVER["healthcheck"]["test"][1:]], env=env, cwd="/"
            )

    assert motd == INSTANCE["user_data"]
    assert healthy.returncode == 0, healthy.stderr
    assert b"container-1" in healthy.stdout


@pytest.mark.guest
def test_the_guest_boots(cloud: Cloud, light_guest: StartGuest, tmp_path: Path) -> None:
    files = layer("guest", tmp_path)
    nic = Nic(address=f"{INSTANCE['nics'][0]['ipv4']}/24")
    product = GUEST["environment"]["product_name"]
    *_, script = json.loads(last("guest", "CMD"))

    with cloud.serve([INSTANCE]):
        guest = light_guest(cloud=cloud, nic=nic, layers=[files], product=product)
        said = guest.run(
            ["sh", "-c", script.replace("exec sleep infinity", "")], env=environment("guest")
        )

    assert said.returncode == 0, (said.stdout, said.stderr)
    assert b"done" in said.stdout
    assert guest.text("/etc/motd") == "Welcome to your first boot.\n"
