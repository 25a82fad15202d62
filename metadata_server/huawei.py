"""What the vendor's platform adds to the OpenStack tree, and its temporary access keys. Pure.

A pair of keys is valid for one hour and a new one is given out ten minutes before its end, so that
both are valid meanwhile. Pairs are derived from a key of the server's: nothing is stored, and every
worker gives the same ones, before and after a restart.
"""

from __future__ import annotations

import base64
import hmac
import json
from datetime import datetime, timezone
from string import ascii_letters, ascii_uppercase, digits
from typing import Final, NamedTuple

from .instance import Agency, Instance
from .notices import notices_of, utc
from .secret import Secret
from .tree import JSON, Entry, Leaf, Live

VALID_SECONDS: Final = 3600
OVERLAP_SECONDS: Final = 600
PERIOD: Final = VALID_SECONDS - OVERLAP_SECONDS

NO_AGENCY: Final = "Please configure Cloud Service Agency first"
"""SDKs look for this sentence to tell a missing agency from a bad token."""


def served_agency(instance: Instance) -> Agency | None:
    """Return the agency whose credentials the instance may have.

    An instance that stands for everybody who asks never has real ones.
    """
    agency = instance.agency
    real = agency is not None and bool(agency.credentials_command)
    return None if real and instance.identify.default else agency


def _security_key(instance: Instance, version: str) -> Live | None:
    return Live("securitykey", JSON) if served_agency(instance) else None


def _spot_action(instance: Instance, version: str) -> Leaf | None:
    found = notices_of(instance).interruption
    if found is None:
        return None
    told = {"action": found.action, "timestamp": utc(found.time, "%Y-%m-%d %H:%M:%S")}
    return Leaf(json.dumps(told).encode(), JSON)


EXTENSIONS: Final = (
    Entry(
        "securitykey",
        "2012-08-10",
        "the agency's temporary access keys; 401 without an agency",
        _security_key,
    ),
    Entry(
        "spot/instance-action",
        "2012-08-10",
        "what happens to the spot instance and when (UTC), once that is announced",
        _spot_action,
    ),
)


IDENTITY: Final = Agency("the instance itself")
"""In whose name a guest has the credentials that say only which instance it is."""


class Credentials(NamedTuple):
    """One pair of access keys and the times, in seconds since 1970, between which it is valid."""

    access: str
    secret: Secret
    token: Secret
    begins: int
    expires: int


def credentials(key: Secret, instance: Instance, agency: Agency, now: float) -> Credentials:
    """Return the pair that *instance* is given in the name of *agency* at the time *now*."""
    identity = _joined(b"linklocal access keys", instance.id.encode(), agency.name.encode())
    # Guests change their keys at different times, so that they do not all come at once.
    offset = int.from_bytes(_derived(key, identity, b"offset")[:4], "big") % PERIOD
    begins = (int(now) - offset) // PERIOD * PERIOD + offset
    source = _joined(identity, str(begins).encode())
    token = _derived(key, source, b"token") + _derived(key, source, b"token, further")
    return Credentials(
        access="ASIA" + _spelled(_derived(key, source, b"access"), ascii_uppercase + digits, 16),
        secret=Secret(
            _spelled(_derived(key, source, b"secret"), ascii_letters + digits, 40).encode()
        ),
        token=Secret(base64.b64encode(token)),
        begins=begins,
        expires=begins + VALID_SECONDS,
    )


def security_key(pair: Credentials) -> bytes:
    """Return *pair* as `securitykey` gives it."""
    # The SDKs read the time with a fraction and no other way.
    expires = datetime.fromtimestamp(pair.expires, timezone.utc)
    return json.dumps(
        {
            "credential": {
                "access": pair.access,
                "secret": pair.secret.reveal().decode(),
                "securitytoken": pair.token.reveal().decode(),
                "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            }
        }
    ).encode()


def role_credentials(pair: Credentials) -> bytes:
    """Return *pair* as EC2's `iam/security-credentials/ROLE` gives it."""
    return json.dumps(
        {
            "Code": "Success",
            "LastUpdated": ec2_time(pair.begins),
            "Type": "AWS-HMAC",
            "AccessKeyId": pair.access,
            "SecretAccessKey": pair.secret.reveal().decode(),
            "Token": pair.token.reveal().decode(),
            "Expiration": ec2_time(pair.expires),
        },
        indent=2,
    ).encode()


def ec2_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _derived(key: Secret, source: bytes, use: bytes) -> bytes:
    return hmac.digest(key.reveal(), _joined(source, use), "sha512")


def _joined(*parts: bytes) -> bytes:
    """Return *parts* with their lengths, so that no two lists of parts look the same."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _spelled(value: bytes, alphabet: str, length: int) -> str:
    number = int.from_bytes(value, "big")
    letters = []
    for _ in range(length):
        number, digit = divmod(number, len(alphabet))
        letters.append(alphabet[digit])
    return "".join(letters)
