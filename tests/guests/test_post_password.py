"""A key pair's password in a guest: made up there, read by the key's owner, opens the account."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ..conftest import StartGuest
from . import installed
from .cases import lines_of
from .cloud import Cloud
from .passwords import opens
from .test_reset import ID, INSTANCE, NIC

pytestmark = pytest.mark.guest

CONFIG = "#cloud-config\npost_password: {user: root}\n"


def test_only_the_owner_of_the_key_learns_the_password(
    light_guest: StartGuest, cloud: Cloud, installed_agent: Path
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    one = {
        **INSTANCE,
        "keys": [{"name": "mine", "public_key": public.decode()}],
        "user_data": CONFIG,
    }
    with cloud.serve([one]) as service:
        guest = light_guest(
            cloud=cloud, nic=NIC, layers=[installed_agent], product="OpenStack Nova"
        )
        boot = ["python3", "-m", "agent", "run"]
        first = guest.run(boot, cwd=installed.HOME)
        field = lines_of(guest, "shadow")["root"][1]
        cloud.machine.write("/run/key.pem", pem, mode=0o600)
        shown = service.ctl("get-password", ID, "--private-key", "/run/key.pem")
        guest.reboot()
        guest.run(boot, cwd=installed.HOME)
        later = lines_of(guest, "shadow")["root"][1]
        log = guest.read("/var/log/linklocal/agent.log") + first.stdout + first.stderr

    password = shown.stdout.decode().strip()
    assert shown.returncode == 0, shown.stderr
    assert len(password) == 24
    assert opens(field, password)
    # Once for an instance: a later boot leaves it as it is.
    assert later == field
    assert password.encode() not in log
