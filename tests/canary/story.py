"""A guest's life with every secret in it: what is done to the machines, and what they then hold."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ..guests import installed
from ..guests.cloud import ADDRESS, CONTROL, TOKEN, Cloud, Service
from ..guests.light import LightGuest, Running
from . import documents
from .documents import INSTANCE, OPERATORS, SHADOW, Secrets
from .search import Trace, traces_of

BROKEN = "72a270de-665a-4f46-8d64-24ad6edccdd1"
AMAZON = "0f3b0c52-7d5c-4f51-bd34-2d6d1c0ad8a5"

# In place of the account tools, which end too soon to be seen for sure while they run.
INJECTED = r" file /etc/x$"
RECORDER = """\
#!/bin/sh
{ tr '\\0' ' ' </proc/$$/cmdline; echo; cat /proc/$$/environ; echo; } >>/dev/shm/tools
exec %s.real "$@"
"""
TOOLS = (
    *("/usr/sbin/chpasswd", "/usr/sbin/useradd", "/usr/sbin/usermod", "/usr/sbin/groupadd"),
    *("/usr/bin/chage", "/usr/bin/ssh-keygen"),
)

# A console that is a terminal, as a machine's is; the light guest's own is a file.
TERMINAL = """\
import os, pty, termios
ours, theirs = pty.openpty()
settings = termios.tcgetattr(theirs)
settings[3] &= ~termios.ECHO
termios.tcsetattr(theirs, termios.TCSANOW, settings)
os.unlink("/dev/console")
os.symlink(os.ttyname(theirs), "/dev/console")
print("console ready", flush=True)
while True:
    os.write(1, os.read(ours, 4096))
"""

# Sends what comes on stdin, so that no argv of the test's own has a secret.
HTTP = """\
import json, sys, urllib.error, urllib.request
answers = []
for wanted in json.loads(sys.stdin.readline()):
    data = wanted.get("data")
    asked = urllib.request.Request(
        wanted["url"], None if data is None else data.encode(), wanted.get("headers", {}),
        method=wanted.get("method", "GET"))
    try:
        answers.append(urllib.request.urlopen(asked, timeout=20).read().decode())
    except urllib.error.HTTPError as error:
        answers.append(f"{error.code} " + error.read().decode())
print(json.dumps(answers))
"""


def recorders(directory: Path, lower: Path) -> Path:
    """Make a layer in which the account tools write down how they are called."""
    for path in TOOLS:
        here = directory / path.lstrip("/")
        here.parent.mkdir(parents=True, exist_ok=True)
        real = Path(f"{here}.real")
        real.write_bytes((lower / path.lstrip("/")).read_bytes())
        here.write_text(RECORDER % path)
        for each in (here, real):
            each.chmod(0o755)
    return directory


def start_console(guest: LightGuest) -> Running:
    console = guest.start(["python3", "-c", TERMINAL])
    console.wait_for("console ready")
    return console


def instances(made: Secrets, key: rsa.RSAPrivateKey) -> list[dict[str, Any]]:
    """Return the instances, in the words of the server's configuration."""
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    kept = (OPERATORS, documents.HANDOVER)
    vendor = documents.cloud_config(
        {"write_files": [{"path": "relative", "content": made.text("vendor data", *kept)}]}
    )
    script = f"#!/bin/sh\n: {made.text('vendor script', *kept)}\nexit 5\n"
    over_ec2 = f"#!/bin/sh\n: {made.text('script over EC2', OPERATORS)}\nexit 4\n"
    return [
        {
            "id": INSTANCE,
            "keys": [{"name": "operator", "public_key": public.decode()}],
            "user_data_base64": base64.b64encode(documents.good(made)).decode(),
            "vendor_data": {"cloud-init": vendor.decode()},
            "vendor_data2": {"cloud-init": script},
            "files": [{"path": "/etc/x", "content": made.text("injected file", *kept, INJECTED)}],
            "nics": [{"ipv4": "192.168.1.10"}],
        },
        {
            "id": BROKEN,
            "login_mode": "password",
            "password_hash": made.hash("hash of the configuration", OPERATORS),
            "nics": [{"ipv4": "192.168.1.11"}],
        },
        {
            "id": AMAZON,
            "user_data": over_ec2,
            "agency": {"name": "my-agency"},
            "metadata_options": {"http_tokens": "required"},
            "nics": [{"ipv4": "192.168.1.12"}],
        },
    ]


def operators_files(machine: LightGuest, made: Secrets, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """Write the operator's files beside the server's configuration; return the settings."""
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    for number, line in enumerate(pem.splitlines()[6:9]):
        made.add(f"line {number} of the operator's key", line, OPERATORS)
    made.add("control token", TOKEN.encode(), OPERATORS)
    files = {
        "operator.pem": pem,
        "access-keys": f"ACCESS:{made.text('access key', OPERATORS)}\n".encode(),
        "proxy-secret": made.text("proxy secret", OPERATORS).encode() + b"\n",
        "wrong-token": made.text("wrong token of the command", OPERATORS).encode() + b"\n",
    }
    for name, content in files.items():
        machine.write(f"/etc/linklocal/{name}", content, mode=0o600)
    return {
        "proxy": {"shared_secret_file": "proxy-secret", "trusted": ["192.168.9.9"]},
        "log": {"level": "debug", "access": True},
        "control": {
            "listen": CONTROL,
            "tokens_file": "control-tokens",
            "access_keys_file": "access-keys",
        },
    }


class Story:
    """The machines, and all that was said on the way."""

    def __init__(self, cloud: Cloud, service: Service, made: Secrets) -> None:
        self.cloud = cloud
        self.service = service
        self.made = made
        self.outputs: dict[str, subprocess.CompletedProcess[bytes]] = {}
        self.traces: set[Trace] = set()

    def _said(self, what: str, done: subprocess.CompletedProcess[bytes]) -> bytes:
        self.outputs[what] = done
        self.traces.add(Trace(f"output of {what}", done.stdout + done.stderr))
        return done.stdout

    def agent(self, guest: LightGuest, *words: str, input: bytes = b"") -> None:
        done = guest.run(["python3", "-m", "agent", *words], cwd=installed.HOME, input=input)
        self._said(f"{guest.name}: {' '.join(words)}", done)

    def ctl(self, what: str, *words: str, input: str = "") -> bytes:
        return self._said(what, self.service.ctl(*words, input=input.encode()))

    def http(self, machine: LightGuest, *requests: dict[str, Any]) -> list[str]:
        done = machine.run(
            ["python3", "-c", HTTP], input=json.dumps(requests).encode() + b"\n", check=True
        )
        answers: list[str] = json.loads(done.stdout)
        return answers

    # --- user data

    def broken_user_data(self, guest: LightGuest) -> None:
        """Validate, plan and boot every broken document."""
        found = [
            documents.broken_parts(self.made),
            *documents.broken_sections(self.made),
            self.made.text("user data of no known type").encode(),
        ]
        # The user's own files: gone before anything is searched.
        files = [f"/root/document-{number}" for number in range(len(found))]
        for file, document in zip(files, found):
            guest.write(file, document, mode=0o600)
        self.agent(guest, "validate", *files)
        self.agent(guest, "validate", "--json", *files)
        for number, document in enumerate(found):
            guest.call("unlink", files[number])
            flags = ["--user-data", "-", "--instance-id", f"i-{number}"]
            self.agent(guest, "plan", "--json", *flags, input=document)
            self.agent(guest, "plan", *flags, input=document)
            self.agent(guest, "run", *flags, input=document)
            self.agent(guest, "status")
            self.traces |= {Trace(f"{guest.name} status {number}", status(guest))}

    def good_user_data(self, guest: LightGuest) -> None:
        """Plan it, then boot it in stages that are processes of their own."""
        for words in (["plan"], ["plan", "--json"]):
            self.agent(guest, *words, "--datasource", "openstack")
        for stage in ("local", "network", "config", "final"):
            self.agent(guest, "run", "--stage", stage, "--datasource", "openstack")
            if stage != "final":
                self.traces |= {
                    trace._replace(where=trace.where.replace("good", "good between stages", 1))
                    for trace in traces_of(guest)
                    if trace.where.startswith("good file /run/")
                }
        self.agent(guest, "status", "--json")
        self.agent(guest, "status", "--strict")

    # --- the service

    def tokens(self, guest: LightGuest) -> None:
        """Boot with session tokens; show good and bad ones in every way; get access keys."""
        made, url = self.made, f"http://{ADDRESS}"
        self.agent(guest, "run", "--datasource", "ec2")
        seconds = {
            "X-aws-ec2-metadata-token-ttl-seconds": "60",
            "X-Metadata-Token-Ttl-Seconds": "60",
        }
        tokens = self.http(
            guest,
            {"method": "PUT", "url": f"{url}/latest/api/token", "headers": seconds},
            {"method": "PUT", "url": f"{url}/meta-data/latest/api/token", "headers": seconds},
        )
        for token in tokens:
            made.add("session token", token.encode())
        good = {"X-aws-ec2-metadata-token": tokens[0]}
        wrong = {"X-Metadata-Token": made.text("wrong session token")}
        # The journal names clients by what they call themselves: that is what it is for.
        agent = made.text("user agent", r"^cloud file /var/lib/linklocal/state\.sqlite(-wal)?$")
        told = {**good, "Referer": made.text("referer"), "User-Agent": agent}
        answers = self.http(
            guest,
            {"url": f"{url}/openstack/latest/securitykey", "headers": good},
            {"url": f"{url}/latest/user-data?token={made.text('query')}", "headers": good},
            {"url": f"{url}/latest/user-data", "headers": wrong},
            {"url": f"{url}/latest/meta-data/", "headers": told},
        )
        keys = json.loads(answers[0])["credential"]
        made.add("secret of the access key", keys["secret"].encode())
        made.add("token of the access key", keys["securitytoken"].encode())
        assert "script" not in answers[2], answers[2]

    def mailbox(self, guest: LightGuest, key: rsa.RSAPrivateKey) -> None:
        """Post a password enciphered to the instance's key, read it, forget it."""
        password = self.made.text("posted password", "^output of get-password$")
        posted = base64.b64encode(key.public_key().encrypt(password.encode(), padding.PKCS1v15()))
        url = f"http://{ADDRESS}/openstack/latest/password"
        self.http(guest, {"method": "POST", "url": url, "data": posted.decode()})
        pem = "/etc/linklocal/operator.pem"
        shown = self.ctl("get-password", "get-password", INSTANCE, "--private-key", pem)
        assert shown.decode().strip() == password
        self.ctl("delete-password", "delete-password", INSTANCE)
        self.made.add("posted ciphertext after its deletion", posted)

    # --- resets

    def resets(self) -> tuple[str, str]:
        """Reset passwords with every ending; return root's text and debian's hash."""
        made = self.made
        token = self.ctl("reset-key token", "reset-key", "token", BROKEN)
        made.add("one-time token", token.strip(), "^output of reset-key token$")
        text, given = made.text("reset text"), made.hash("reset hash", SHADOW)
        for what, user, option, secret, wanted in (
            ("reset by text", "root", "--password-stdin", text, "applied"),
            ("reset by hash", "debian", "--hash-stdin", given, "applied"),
            ("reset refused", "alice", "--hash-stdin", made.hash("for nobody"), "rejected"),
        ):
            words = ("reset-password", INSTANCE, "--user", user, option, "--unlock", "--json")
            shown = self.ctl(what, *words, "--wait", "30", input=secret)
            assert json.loads(shown)["state"] == wanted, (what, self.outputs[what])
        for what, option, secret in (
            ("against the policy", "--password-stdin", "x" + secrets.token_hex(9)),
            ("too long", "--password-stdin", made.text("too long") * 3),
            ("with the user's name", "--password-stdin", "root" + made.text("user's name")),
            ("not ASCII", "--password-stdin", "\u00e9" + made.text("not ASCII")),
            ("no hash", "--hash-stdin", made.text("no hash")),
            ("cut hash", "--hash-stdin", made.hash("hash that is cut")[:-1]),
            ("two lines", "--hash-stdin", made.hash("hash of two lines") + "\nx"),
            ("hash as text", "--password-stdin", made.hash("hash as text")),
        ):
            made.add(f"reset {what}", secret.encode()[:24])
            self.ctl(what, "reset-password", INSTANCE, option, "--json", input=secret)
            assert self.outputs[what].returncode != 0, what
        for what in ("never delivered", "cancelled"):
            ask = ("reset-password", BROKEN, "--hash-stdin", "--json")
            asked = json.loads(self.ctl(what, *ask, input=made.hash(what)))
        self.ctl("reset-cancel", "reset-cancel", BROKEN, asked["id"])
        shown = self.ctl("generated", "reset-password", BROKEN, "--generate")
        made.add("generated password", shown.strip(), "^output of generated$")
        return text, given

    def raw_control(self) -> None:
        """Say to the control plane what no command of ours would."""
        url = f"http://{CONTROL}/linklocal/v1/instances/{INSTANCE}/reset-password"
        known = {"X-Auth-Token": TOKEN, "Content-Type": "application/json"}

        def text(name: str) -> str:
            return self.made.text(f"raw request: {name}")

        bodies = [
            f'{{"password": "{text("broken JSON")}',
            json.dumps({"password": {"a": text("mapping")}}),
            json.dumps({"passwort": text("misspelt")}),
            json.dumps({"password": text("both"), "hash": text("and")}),
            json.dumps({"password": text("with NUL") + "\0"}),
            json.dumps([text("list")]),
            json.dumps({"password": "Abc.1234", "user": "root:" + text("user")}),
            f"password={text('form')}",
        ]
        wrong = {"Authorization": f"Bearer {text('wrong control token')}"}
        *answers, _ = self.http(
            self.cloud.machine,
            *({"method": "POST", "url": url, "headers": known, "data": body} for body in bodies),
            {"url": f"{url}?wait={text('wait')}", "headers": wrong},
            {"url": f"{url}?token={text('query')}", "headers": known},
        )
        for number, answer in enumerate(answers):
            assert answer.startswith("4"), (number, answer)
            self.traces.add(Trace(f"answer {number} of the control plane", answer.encode()))
        token_file = "/etc/linklocal/wrong-token"
        self.ctl("wrong token", "--token-file", token_file, "instance", "list")
        assert self.outputs["wrong token"].returncode != 0

    def made_by_the_suite(self, guest: LightGuest, shadow: dict[str, str]) -> None:
        """Take for secret, too, what the suite itself has made."""
        for user in ("bob", "carol", "erin", "debian", "root"):
            self.made.add(f"shadow field of {user}", shadow[user].encode(), SHADOW)
        for path, key in (
            ("/var/lib/linklocal/resetd/identity.json", "identity"),
            ("/run/linklocal/resetd-boot.json", "key"),
        ):
            # 0600, and needed by the next start of the daemon, the second only until a reboot.
            value = bytes.fromhex(json.loads(guest.read(path))[key])
            self.made.add(f"the daemon's {key}", value, f"^good file {path}$")
        machine = self.cloud.machine
        for name in machine.names("/var/lib/linklocal"):
            if name.endswith(".key"):
                # 0600 in the state, 0700.
                path = f"/var/lib/linklocal/{name}"
                self.made.add(f"the server's {name}", machine.read(path), f"^cloud file {path}$")


def status(guest: LightGuest) -> bytes:
    """Return the two files of the agent that others than root may read."""
    return guest.read("/run/linklocal/status.json") + guest.read("/var/log/linklocal/agent.log")


def shadow_of(guest: LightGuest) -> dict[str, str]:
    rows: Sequence[list[str]] = [line.split(":") for line in guest.text("/etc/shadow").splitlines()]
    return {row[0]: row[1] for row in rows}
