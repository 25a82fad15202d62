"""Signatures of identity documents: one key per state, and the certificate to verify them with.

The forms are EC2's: `signature` is over the document alone, the others are PKCS #7 messages that
hold the document too, without the lines that frame PEM.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from .errors import ServerError
from .store import Store

Form = Literal["signature", "pkcs7", "rsa2048"]

KEY_BITS: Final = 2048
YEARS: Final = 30
LINE: Final = 64

NAME: Final = "identity.pem"
"""Key and certificate in one file, so that there is never one without the other."""


class Identity:
    """Signs with the key in the state, which is made when it is first asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def certificate(self) -> str:
        """The certificate as PEM text."""
        return self._pair[1].public_bytes(serialization.Encoding.PEM).decode()

    def prepare(self) -> None:
        """Make the key now, when there is none yet. Raises ServerError when it is damaged."""
        _ = self._pair

    def sign(self, form: Form, document: bytes) -> bytes:
        """Return the signature of *document* in one of EC2's forms, as lines of base64."""
        key, certificate = self._pair
        if form == "signature":
            return _lines(key.sign(document, padding.PKCS1v15(), hashes.SHA256()))
        signer = pkcs7.PKCS7SignatureBuilder().set_data(document)
        signer = signer.add_signer(certificate, key, hashes.SHA256())
        # As it is, without S/MIME's own line ends and wishes; who verifies has the certificate.
        plain = [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoCapabilities]
        plain.append(pkcs7.PKCS7Options.NoCerts)
        return _lines(signer.sign(serialization.Encoding.DER, plain))

    @cached_property
    def _pair(self) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
        content = self._store.kept(NAME, _made)
        path = self._store.directory / NAME
        try:
            key = serialization.load_pem_private_key(content, None)
            certificate = x509.load_pem_x509_certificate(content)
        except ValueError:
            raise ServerError(f"state {path}: expected a key and its certificate") from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ServerError(f"state {path}: expected an RSA key")
        return key, certificate


def _made() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Linklocal instance identity")])
    # A guest's clock may be behind at its first boot.
    begins = datetime.now(timezone.utc) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=365 * YEARS))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(pem)


def _lines(value: bytes) -> bytes:
    text = b64encode(value)
    return b"\n".join(text[at : at + LINE] for at in range(0, len(text), LINE))
