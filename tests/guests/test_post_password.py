"""A key pair's password in a guest: made up there, read by the key's owner, opens the account."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ..conftest import StartGuest
from . import installed
from .cases import lines_of
from .cloud import CHECKOUT, CONTROL, TOKEN, Cloud
from .passwords import opens
from .test_reset import ID, INSTANCE, NIC

pytestmark = pytest.mark.guest

NOVA = f"""\
from keystoneauth1 import session, token_endpoint
from novaclient import client
auth = token_endpoint.Token("http://{CONTROL}/v2.1", "{TOKEN}")
print(client.Client("2.1", session=session.Session(auth=auth)).servers.get_password(
    "{ID}", "/run/key.pem"))
"""
SERVED = "http://169.254.169.254/openstack/2013-04-04/password"
CONFIG = f"""\
#cloud-config
post_password:
  user: root
  url: "{SERVED}"
"""


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
        # nova's own client, unmodified, and openssl below it.
        nova = cloud.machine.run([sys.executable, "-c", NOVA], cwd=str(CHECKOUT))
        guest.reboot()
        guest.run(boot, cwd=installed.HOME)
        later = lines_of(guest, "shadow")["root"][1]
        log = guest.read("/var/log/linklocal/agent.log") + first.stdout + first.stderr

    password = shown.stdout.decode().strip()
    assert shown.returncode == 0, shown.stderr
    assert len(password) == 24
    assert nova.stdout.decode().strip() == password, nova.stderr
    assert opens(field, password)
    # Once for an instance: a later boot leaves it as it is.
    assert later == field
    assert password.encode() not in log


TAKEN = """\
from http.server import BaseHTTPRequestHandler, HTTPServer

class Taken(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200)
    def do_POST(self):
        self.answer(409)
    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

server = HTTPServer(("127.0.0.1", 8099), Taken)
print("listening", flush=True)
server.serve_forever()
"""
"""A mailbox into which somebody else posts between the look at it and the post."""


def test_a_password_that_nobody_can_learn_is_taken_back(
    light_guest: StartGuest, cloud: Cloud, installed_agent: Path
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    one = {
        **INSTANCE,
        "keys": [{"name": "mine", "public_key": public.decode()}],
        "user_data": CONFIG.replace(SERVED, "http://127.0.0.1:8099/password"),
    }
    with cloud.serve([one]):
        guest = light_guest(
            cloud=cloud, nic=NIC, layers=[installed_agent], product="OpenStack Nova"
        )
        guest.sh("ip link set lo up; echo root:Own-choice.1357 | chpasswd")
        before = lines_of(guest, "shadow")["root"][1]
        with guest.start(["python3", "-c", TAKEN]) as mailbox:
            mailbox.wait_for("listening")
            done = guest.run(["python3", "-m", "agent", "run"], cwd=installed.HOME)

    assert b"another was posted meanwhile" in done.stdout + done.stderr
    assert lines_of(guest, "shadow")["root"][1] == before
