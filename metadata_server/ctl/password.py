"""linklocal get-password, delete-password: the password an instance encrypted to its key pair."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from .errors import DONE, CtlError
from .output import aside, document
from .parser import Parser, client, wants_json

GET = """\
Print the password that the instance made for itself and encrypted (RSA, PKCS #1 v1.5) to the key
it was created with. The private key stays here. Its public half is compared with the instance's
keys first: deciphering with the wrong key gives nonsense that looks like a password."""


def add(commands: Any) -> None:
    get: Parser = commands.add_parser(
        "get-password", help="decrypt the password an instance has posted", description=GET
    )
    get.add_argument("id", metavar="ID")
    get.add_argument(
        "--private-key",
        required=True,
        metavar="FILE",
        help="RSA private key: PEM, PKCS #8 or OpenSSH; a pass phrase is asked for",
    )
    get.add_argument(
        "--passphrase-stdin", action="store_true", help="read the pass phrase from stdin"
    )
    get.add_common()
    get.set_defaults(run=get_password)
    delete: Parser = commands.add_parser(
        "delete-password",
        help="forget the posted password, so that the instance may post another",
    )
    delete.add_argument("id", metavar="ID")
    delete.add_common()
    delete.set_defaults(run=delete_password)


def get_password(options: Namespace) -> int:
    # cryptography costs more time than all the rest: no other command loads it.
    from .keypair import decrypt, read_private_key, same_key

    server = client(options)
    keys = server.get("instances", options.id)["keys"]
    private_key = read_private_key(options.private_key, options.passphrase_stdin)
    if not same_key(private_key, [key["public_key"] for key in keys]):
        rsa = [key["name"] for key in keys if key["public_key"].startswith("ssh-rsa ")]
        has = f"its RSA keys are {', '.join(rsa)}" if rsa else "it has no RSA key"
        raise CtlError(f"{options.private_key}: not a key of instance {options.id}; {has}")
    posted = server.get("instances", options.id, "password")["password"]
    if not posted:
        raise CtlError(f"instance {options.id} has not posted a password")
    password = decrypt(private_key, posted)
    if wants_json(options):
        document({"password": password})
    elif password.isprintable():
        print(password)
    else:
        raise CtlError("the password has characters that would steer a terminal; see --json")
    return DONE


def delete_password(options: Namespace) -> int:
    client(options).call("DELETE", "instances", options.id, "password")
    if wants_json(options):
        document({})
    else:
        aside("forgotten")
    return DONE
