"""The native API of instance identity: what a signature is verified with."""

from __future__ import annotations

from aiohttp import web

from ..identity import Identity
from .parameters import BASE
from .routes import Answer, Call
from .schemas import TEXT, table


def identity_calls(identity: Identity) -> tuple[Call, ...]:
    async def certificate(_: web.Request) -> web.StreamResponse:
        return web.json_response({"certificate": identity.certificate})

    return (
        Call(
            "GET",
            BASE + "/identity/certificate",
            "showIdentityCertificate",
            "Show the certificate that verifies the signatures of identity documents.",
            certificate,
            {200: Answer("The certificate, as PEM.", table(certificate=TEXT))},
            group="identity",
        ),
    )
