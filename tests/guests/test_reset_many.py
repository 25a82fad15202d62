"""One command, many real guests: a line for each, the right totals, and passwords that open."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..conftest import StartGuest
from . import installed
from .cases import lines_of
from .cloud import Cloud
from .light import LightGuest, Nic
from .passwords import opens

pytestmark = pytest.mark.guest

PASSWORD = "Admin.Reset-24"
"""Good for root; on Windows it has three characters of `Administrator`."""
HASHING = {"sha512": 1000}


def nic(number: int) -> Nic:
    return Nic(f"192.168.1.{number + 10}/24", f"fa:16:3e:00:01:{number:02x}")


def instance(number: int) -> dict[str, Any]:
    address = nic(number).address.partition("/")[0]
    return {
        "id": f"guest-{number}",
        "tags": {"role": "web"},
        "nics": [{"mac": nic(number).mac, "ipv4": address, "prefix": 24}],
    }


@pytest.mark.parametrize(
    "count",
    [2, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(400)])],
)
def test_many_guests_one_bad_instance_and_one_refusal(
    light_guest: StartGuest, cloud: Cloud, installed_agent: Path, count: int
) -> None:
    windows = {"id": "windows", "name": "windows", "os_type": "Windows", "tags": {"role": "web"}}
    instances = [*(instance(number) for number in range(count)), windows]

    def start(number: int) -> LightGuest:
        return light_guest(
            cloud=cloud, nic=nic(number), layers=[installed_agent], product="OpenStack Nova"
        )

    with cloud.serve(instances, hashing=HASHING) as service, ExitStack() as stack:
        with ThreadPoolExecutor(4) as pool:
            guests = list(pool.map(start, range(count)))
        daemons = [
            stack.enter_context(
                guest.start(["python3", "-m", "agent.reset_password", "run"], cwd=installed.HOME)
            )
            for guest in guests
        ]
        for each in daemons:
            each.wait_for("enrolled")
        done = service.ctl(
            *("reset-password", "--tag", "role=web", "nobody", "--password-stdin"),
            *("--wait", "120"),
            input=PASSWORD.encode() + b"\n",
            timeout=200,
        )
        fields = [lines_of(guest, "shadow")["root"][1] for guest in guests]
        listed = service.ctl("instance", "list").stdout.decode()

    head, *lines, totals = done.stdout.decode().splitlines()
    assert (head, done.returncode) == ("status id msg", 1), done.stderr
    refusal = "password: must not contain more than two consecutive characters of the user name"
    assert set(lines) == {
        "[FAILED] nobody no such instance: 'nobody'",
        f"[FAILED] windows {refusal}",
        *(f"[SUCCESS] guest-{number} applied" for number in range(count)),
    }
    assert totals == f"Total: {count + 2} Success: {count} Failed: 2"
    assert all(opens(field, PASSWORD) for field in fields)
    # Of two guests with one salt each would know that the other has its password.
    assert len(set(fields)) == count
    assert listed.count(" enrolled") == count


VENDOR = """\
import hashlib, base64, json, subprocess, urllib.request
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

def ask(method, name, body=None):
    url = "http://169.254.169.254/openstack/latest/" + name
    with urllib.request.urlopen(urllib.request.Request(url, body, method=method)) as answer:
        return json.loads(answer.read())

if ask("GET", "resetpwd_flag")["resetpwd_flag"] != "True":
    ask("POST", "resetpwd_flag", b"True")
envelope = ask("GET", "reset_password")["reset_password"]
if envelope:
    salt, text = base64.b64decode(envelope[:12]), base64.b64decode(envelope[12:])
    uuid = ask("GET", "meta_data.json")["uuid"].encode()
    key = hashlib.pbkdf2_hmac("sha1", uuid, salt, 5000, 16)
    opened = Cipher(algorithms.AES(key), modes.CBC(key)).decryptor().update(text)
    password = opened[:-opened[-1]].decode()
    subprocess.run(["sh", "-c", "echo root:" + password + "|chpasswd"])
    ask("DELETE", "reset_password")
    print("left:", repr(ask("GET", "reset_password")["reset_password"]))
"""
"""What the platform's own daemon does at a boot, its shell line included."""


def test_a_guest_with_the_platforms_own_daemon_is_reset_too(
    light_guest: StartGuest, cloud: Cloud, installed_agent: Path
) -> None:
    one = {**instance(1), "reset_password": {"legacy": True}}
    with cloud.serve([one]) as service:
        guest = light_guest(cloud=cloud, nic=nic(1), layers=[installed_agent])
        first = guest.run(["python3", "-c", VENDOR])
        shown = service.ctl("instance", "show", "guest-1").stdout.decode()
        asked = service.ctl("reset-password", "guest-1", "--generate")
        password = asked.stdout.decode().strip()
        second = guest.run(["python3", "-c", VENDOR])
        field = lines_of(guest, "shadow")["root"][1]
        listed = service.ctl("reset-status", "guest-1").stdout.decode()
    # By now the server has ended, and all that it said has been read.
    warned = service.process.stderr.decode()

    assert (first.returncode, second.stdout) == (0, b"left: ''\n"), first.stderr + second.stderr
    assert "legacy" in shown
    assert b"every process of the guest can read the password" in asked.stderr
    assert opens(field, password)
    assert "unproved" in listed
    assert "instance guest-1: reset_password.legacy" in warned
