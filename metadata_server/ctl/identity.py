"""linklocal identity: what the signatures of identity documents are verified with."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from .errors import DONE
from .output import document
from .parser import Parser, client, wants_json

EPILOG = """\
In a guest, with CERTIFICATE what this command prints:
  base=http://169.254.169.254/latest/dynamic/instance-identity
  { echo "-----BEGIN PKCS7-----"; curl -s $base/rsa2048; echo; echo "-----END PKCS7-----"; } |
    openssl smime -verify -inform PEM -certfile CERTIFICATE -noverify
"""


def add(commands: Any) -> None:
    group: Parser = commands.add_parser("identity", help="signatures of identity documents")
    parts = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    certificate: Parser = parts.add_parser(
        "certificate", help="print the certificate to verify them with", epilog=EPILOG
    )
    certificate.add_common()
    certificate.set_defaults(run=show_certificate)


def show_certificate(options: Namespace) -> int:
    answer = client(options).get("identity", "certificate")
    if wants_json(options):
        document(answer)
    else:
        print(answer["certificate"], end="")
    return DONE
