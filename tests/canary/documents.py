"""User data with a secret in each place that may hold one, and in many that may not."""

from __future__ import annotations

import base64
import json
import secrets
import textwrap
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .search import Canary

INSTANCE = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"

# Where secrets may be, each for its reason.
SHADOW = r"^good file /etc/shadow-?$"  # What a hash is for; the dash is the tools' own copy.
OPERATORS = r"^cloud file /etc/linklocal/"  # The operator's own files: 0600, written by the test.
# What a user's own program prints, kept for root: 0600 in directories of 0700.
OUTPUT = rf"^good file /var/lib/linklocal/agent/instances/{INSTANCE}/scripts/[^/]+\.output$"
# Only between stages that are processes of their own: 0600 below 0700, in memory.
HANDOVER = r"^good between stages file /run/linklocal/agent/instance\.json$"


class Secrets:
    """Makes canaries and remembers them."""

    def __init__(self) -> None:
        self.all: list[Canary] = []

    def text(self, name: str, *allowed: str) -> str:
        """Return a secret that every password rule takes and that nothing has by chance."""
        value = f"CnQ{secrets.token_hex(6)}-7z"
        self.add(name, value.encode(), *allowed)
        return value

    def hash(self, name: str, *allowed: str) -> str:
        """Return what looks like a hash; its digest alone would be as bad."""
        value = f"$6$rounds=5000${secrets.token_hex(8)}${secrets.token_hex(43)}"
        self.add(name, value.encode(), *allowed)
        self.add(f"{name}'s digest", value.rpartition("$")[2].encode(), *allowed)
        return value

    def add(self, name: str, value: bytes, *allowed: str) -> None:
        self.all.append(Canary(name, value, allowed))


def multipart(*parts: tuple[str, str]) -> bytes:
    lines = ['Content-Type: multipart/mixed; boundary="=="', "MIME-Version: 1.0", ""]
    for kind, text in parts:
        lines += ["--==", f"Content-Type: {kind}", "", text]
    return "\n".join([*lines, "--==--", ""]).encode()


def cloud_config(config: object) -> bytes:
    return b"#cloud-config\n" + json.dumps(config).encode()


def host_key(made: Secrets, *allowed: str) -> str:
    """Return a private key for sshd, each line of its secret half a canary."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    # The first two lines hold the public half.
    for number, line in enumerate(pem.splitlines()[3:-2]):
        its_file = r"^good file /etc/ssh/ssh_host_ed25519_key$"  # Where sshd reads it.
        made.add(f"host key line {number}", line, its_file, *allowed)
    return pem.decode()


def good(made: Secrets) -> bytes:
    """Return user data that uses every kind of secret; some of it fails on the machine."""
    kept = (OPERATORS, HANDOVER)
    its_file = r"^good file /root/keep(-too)?$"  # What the user asked for.
    encoded = base64.b64encode(made.text("encoded content", *kept, its_file).encode()).decode()
    login = {"lock_passwd": False}
    config = {
        "users": [
            "default",
            {"name": "alice", **login, "passwd": made.hash("passwd", *kept, SHADOW)},
            {"name": "bob", **login, "plain_text_passwd": made.text("plain text", *kept)},
            {"name": "dave", **login, "hashed_passwd": made.hash("hashed_passwd", *kept, SHADOW)},
            *({"name": name} for name in ("carol", "erin", "frank")),
        ],
        "password": made.text("default user's password", *kept),
        "chpasswd": {
            "expire": False,
            "users": [
                {"name": "carol", "type": "RANDOM"},
                {"name": "erin", "type": "text", "password": made.text("chpasswd text", *kept)},
                {"name": "frank", "password": made.hash("chpasswd hash", *kept, SHADOW)},
                {
                    "name": "nobody-here",
                    "type": "text",
                    "password": made.text("password of no user", *kept),
                },
            ],
        },
        "ssh_keys": {"ed25519_private": host_key(made, *kept)},
        "write_files": [
            {
                "path": "/root/keep",
                "permissions": "0600",
                "content": made.text("file's content", *kept, its_file),
            },
            {
                "path": "/root/keep-too",
                "permissions": "0600",
                "encoding": "b64",
                "content": encoded,
            },
            {"path": "/proc/no/such", "content": made.text("content that fails", *kept)},
        ],
        "bootcmd": [f": {made.text('bootcmd', *kept)}"],
        "runcmd": [
            f"false {made.text('failing runcmd', *kept)}",
            ["false", made.text("listed runcmd", *kept)],
            f"if {made.text('runcmd that is no shell', *kept)}",
            f"echo {made.text('said by runcmd', *kept, OUTPUT)}",
        ],
        "a_key_of_no_module": made.text("unknown key", *kept),
    }
    script = textwrap.dedent(
        f"""\
        #!/bin/sh
        # {made.text("script's comment", *kept)}
        echo {made.text("said by a script", *kept, OUTPUT)}
        exit 3
        """
    )
    return multipart(("text/cloud-config", json.dumps(config)), ("text/x-shellscript", script))


def broken_parts(made: Secrets) -> bytes:
    """Return one document of parts, each of which is broken just where its secret is."""

    def text(name: str) -> str:
        return made.text(f"broken part: {name}")

    configs = [
        f"password: {text('mapping in a scalar')}: x",
        f'password: "{text("open quote")}',
        f"password: *{text('alias')}",
        f"password: !{text('tag')} x",
        f"password: @{text('reserved character')}",
        f"password: {text('tab')}\n\tx",
        f"root:{text('a line')}",
        f"- root:{text('a list')}",
        f"%{text('directive')}\n---\nx: 1",
        f"chpasswd:\n  list: |\n root:{text('indentation')}",
        f"password: {{{text('brace')}: [",
        f"password: &{text('anchor')} [*{text('alias in a list')}]",
        f"? [{text('list as key')}]\n: x",
        f"password: !!int {text('no number')}",
        f"password: !!timestamp {text('no time')}",
        f"password: !!binary {text('no base64')}!",
    ]
    parts = [("text/cloud-config", config) for config in configs]
    parts += [
        ("text/x-shellscript", f"echo {text('script without #!')}"),
        ("text/x-shellscript", f"#!/no/such/program\n# {text('no interpreter')}"),
        ("text/x-shellscript", f"#!/bin/sh\nif {text('no shell syntax')}"),
        ("text/plain", f"{text('no known type')}"),
        ("text/cloud-boothook", f"#!/bin/sh\nif {text('no shell syntax in a boothook')}"),
        ("text/jinja2", f"## template: jinja\n#cloud-config\npassword: {{{{ {text('template')}"),
        ("text/cloud-config-archive", f"- content: {text('archive')}\n  type: [1"),
        ("text/x-include-url", f"http://user:{text('password in a URL')}@192.0.2.1/"),
    ]
    return multipart(*parts)


def broken_sections(made: Secrets) -> list[bytes]:
    """Return documents whose sections are wrong just where the secret is."""

    def text(name: str) -> str:
        return made.text(f"broken section: {name}")

    def pair(name: str) -> str:
        return f"root:{text(name)}"

    # A hash that is cut is set as it is given: the guide's own is cut.
    cut = f"$6$salt${secrets.token_hex(8)}"
    made.add("cut hash", cut.encode(), r"^broken file /etc/shadow-?$")
    variants: dict[str, list[Any]] = {
        "users": [
            [
                {"name": "eve1", "passwd": text("text as hash")},
                {"name": "eve2", "passwd": cut},
                {"name": "eve3", "passwd": [text("list as hash")]},
                {"name": "eve4", "hashed_passwd": {"a": text("mapping as hash")}},
                {"name": "eve5", "plain_text_passwd": {text("mapping as text"): 1}},
                {"name": "eve6", "plain_text_passwd": text("line end") + "\nx"},
                {"name": "eve7", "pasword": text("misspelt key")},
                {"plain_text_passwd": text("no name")},
                {"name": pair("line as name")},
                pair("line as user"),
                {"name": "eve8", "lock_passwd": text("text as flag")},
            ],
            {"eve": [text("list as user")]},
        ],
        "password": [[text("list as password")], {"root": text("mapping as password")}],
        "chpasswd": [
            pair("line as chpasswd"),
            [pair("list as chpasswd")],
            {"users": pair("line as users")},
            {
                "users": [
                    pair("line as chpasswd user"),
                    {"name": pair("line as chpasswd name")},
                    {"name": "root", "type": text("password as type")},
                    {"name": "root", "password": text("hash wanted")},
                    {"name": "root", "password": [text("list")], "type": "text"},
                    {"name": "root", "pass": text("misspelt"), "type": "text"},
                ]
            },
            {"list": {"root": text("mapping as list")}},
            {"list": [{"root": text("mapping in list")}, [text("list in list")]]},
            {
                "list": [
                    text("no colon"),
                    f"two words:{text('two words')}",
                    f"no-one:{text('no user')}",
                ]
            },
            {"lst": pair("misspelt list"), "expire": text("text as expire")},
        ],
        "list": [pair("the guide's case 3")],
        "ssh_pwauth": [text("text as pwauth")],
        "ssh_keys": [
            {"ed25519_private": text("no key"), "ed25519_secret": text("no kind of key")},
            [text("list as keys")],
            {"rsa_private": [text("list as key")]},
        ],
        "write_files": [
            text("text as files"),
            [
                text("text as file"),
                {"path": "relative", "content": text("relative path")},
                {"path": "/x", "contents": text("misspelt content")},
                {"path": "/x", "content": [text("list as content")]},
                {"path": "/x", "encoding": "b64", "content": f"!{text('no base64')}!"},
                {"path": "/x", "encoding": "gz", "content": text("no gzip")},
                {"path": "/x", "encoding": "gz+b64", "content": text("no gzip either")},
                {"path": "/x", "owner": "no-one", "content": text("no owner")},
            ],
        ],
        "runcmd": [
            text("text as runcmd"),
            {"a": text("mapping as runcmd")},
            [{"a": text("mapping in runcmd")}, ["echo", {"a": text("mapping in a list")}]],
        ],
        "bootcmd": [[{"a": text("mapping in bootcmd")}]],
    }
    many = max(len(values) for values in variants.values())
    return [
        cloud_config({key: values[n] for key, values in variants.items() if n < len(values)})
        for n in range(many)
    ]
