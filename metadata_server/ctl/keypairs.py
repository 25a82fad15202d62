"""linklocal keypair: key pairs made here, and public keys of your own, for instances.

The server never has a private key: `create` makes it on this machine and hands it out once.
"""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .errors import DONE, CtlError, Refused, UsageError
from .output import aside, document
from .parser import Parser, client, wants_json

if TYPE_CHECKING:
    from .client import Client

INSTANCES = "/linklocal/v1/instances"
TRIES = 5
LONGEST = 64 * 1024

CREATE = """\
Make a key pair on this machine. The private key is handed out once: into --private-key FILE, which
is new and yours alone, or on stdout. The public key goes to each --instance, or else is printed for
`keys` of one that is to be made. Passwords of Windows guests need an RSA key."""
IMPORT = """\
Take the public key in FILE, as it is in authorized_keys: RSA of 1024 bits or more, ECDSA, Ed25519.
It goes to each --instance, or else is printed as `keys` takes it."""


def add(commands: Any) -> None:
    group: Parser = commands.add_parser("keypair", help="key pairs of instances")
    parts = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    create: Parser = parts.add_parser("create", help="make one", description=CREATE)
    create.add_argument("name", metavar="NAME")
    create.add_argument(
        "--type", choices=("rsa", "ecdsa", "ed25519"), default="rsa", help="default: rsa"
    )
    create.add_argument(
        "--bits",
        type=int,
        choices=(2048, 3072, 4096),
        default=2048,
        help="of an RSA key; default: 2048",
    )
    create.add_argument("--private-key", metavar="FILE", help="where the private key goes")
    _add_instances(create)
    create.add_common()
    create.set_defaults(run=create_pair)
    given: Parser = parts.add_parser("import", help="use one of your own", description=IMPORT)
    given.add_argument("name", metavar="NAME")
    given.add_argument("file", metavar="FILE")
    _add_instances(given)
    given.add_common()
    given.set_defaults(run=import_key)


def create_pair(options: Namespace) -> int:
    # cryptography costs more time than all the rest.
    from .keypair import make_pair

    server = client(options) if options.instance else None
    if server is not None:
        # An id that is mistyped leaves no private key behind, in whose way the next one would be.
        for each in options.instance:
            server.get("instances", each)
    private, public = make_pair(options.type, options.bits, options.name)
    if options.private_key:
        _write_new(options.private_key, private)
    # The private key is safe before anything can fail that would have it made again.
    elif not wants_json(options):
        print(private.decode(), end="", flush=True)
    _give(server, options, public)
    if wants_json(options):
        told = {"name": options.name, "public_key": public, "instances": options.instance or []}
        if not options.private_key:
            told["private_key"] = private.decode()
        document(told)
    else:
        _tell(options, public)
    return DONE


def import_key(options: Namespace) -> int:
    from ..config_forms import Wrong
    from ..config_values import read_public_key

    try:
        text = Path(options.file).read_bytes()[:LONGEST].decode()
    except OSError as error:
        raise UsageError(f"{options.file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{options.file}: expected an OpenSSH public key in text") from None
    try:
        public = read_public_key(text)
    except Wrong as wrong:
        raise CtlError(f"{options.file}: {wrong}") from None
    except ValueError:
        raise CtlError(f"{options.file}: expected an OpenSSH public key") from None
    _give(client(options) if options.instance else None, options, public)
    if wants_json(options):
        document({"name": options.name, "public_key": public, "instances": options.instance or []})
    else:
        _tell(options, public)
    return DONE


def _add_instances(parser: Parser) -> None:
    parser.add_argument(
        "--instance", action="append", metavar="ID", help="one that gets the key; repeatable"
    )


def _tell(options: Namespace, public: str) -> None:
    if options.instance:
        for each in options.instance:
            aside(f"instance {each}: has the key {options.name}; its first boot reads it")
    else:
        aside(public)


def _give(server: Client | None, options: Namespace, public: str) -> None:
    """Put the key beside the other keys of each instance, whoever changes them meanwhile."""
    if server is None:
        return
    for each in options.instance:
        target = f"{INSTANCES}/{quote(each, safe='')}"
        for left in reversed(range(TRIES)):
            read = server.exchange("GET", target + "/configuration")
            keys = [*(read.document.get("keys") or [])]
            if any(key["name"] == options.name for key in keys):
                raise CtlError(f"instance {each}: has a key {options.name!r} already")
            keys.append({"name": options.name, "public_key": public})
            try:
                server.exchange(
                    "PATCH", target, body={"keys": keys}, headers={"If-Match": read.etag or "*"}
                )
            except Refused as error:
                if error.code != 412 or not left:
                    raise
                continue
            break


def _write_new(name: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(name, flags, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise UsageError(f"{name}: is there already; a private key replaces no file") from None
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error
