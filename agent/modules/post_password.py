"""post_password: a made-up password for a user, told to the owner of the instance's RSA key alone.

As on Windows: enciphered to the key the instance was started with, posted once to the metadata
service, read by `linklocal get-password` or nova's client. It is kept nowhere here.
"""

import base64
import re
import secrets
from typing import Annotated, NamedTuple, Optional

from ..errors import HostError
from ..secret import Secret
from .base import Context, Frequency, Module, Stage
from .readers import read_name
from .user_list import without_chpasswd

URL = "http://169.254.169.254/openstack/2013-04-04/password"
LENGTH = 24
# Three of the four types that policies ask for, and nothing that looks alike on a console.
_TYPES = ("abcdefghijkmnpqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "23456789")
_SHORTEST_KEY = 128
"""Bytes of a modulus: RSA 1024, the least that the platform imports."""
_URL = re.compile(r"https?://[^\s/][^\s]*")


def read_url(raw: object) -> str:
    """Return a URL of http or https."""
    if isinstance(raw, str) and raw.isprintable() and _URL.fullmatch(raw):
        return raw
    raise ValueError(f"expected a URL such as {URL!r}")


class Wanted(NamedTuple):
    """Whose password is made up, and where it goes."""

    user: Annotated[str, read_name] = "root"
    """The user who gets it, who exists."""
    url: Annotated[str, read_url] = URL
    """The mailbox that gets it, enciphered."""


class PostPassword(NamedTuple):
    """A made-up password that only the owner of the instance's RSA key can read."""

    post_password: Optional[Wanted] = None
    """Whose password is made up, and where it goes."""


def apply(section: PostPassword, context: Context) -> None:
    """Make the password, set it, encipher it, post it; nothing when one is in the mailbox."""
    wanted = section.post_password
    if wanted is None:
        return
    host = context.host
    key = rsa_key(context.instance.public_keys)
    if key is None:
        context.report.failed("post_password", "the instance has no RSA key to encipher it to")
        return
    if host.user(wanted.user) is None:
        context.report.failed("post_password", f"no such user: {wanted.user!r}")
        return
    obstacle = without_chpasswd(host)
    if obstacle:
        context.report.add("post_password", "not run", obstacle)
        return
    if not host.records and host.fetch(wanted.url).strip():
        context.report.notice("post_password", "one was posted before; the password stays")
        return
    password, before = made_up(), host.shadow_field(wanted.user)
    host.set_password(wanted.user, password)
    try:
        host.fetch(wanted.url, data=enciphered(password, *key))
    except HostError as error:
        if "status 409" not in str(error):
            raise
        # Nobody will ever know the new one, and whoever posted may have set the other.
        if before:
            host.set_password_hash(wanted.user, before)
        raise HostError(
            "post_password: another was posted meanwhile; the password is what it was; `linklocal"
            " delete-password` makes room, and the next boot posts again"
        ) from None


def rsa_key(lines: tuple[str, ...]) -> Optional[tuple[int, int]]:
    """Return exponent and modulus of the first RSA key among authorized_keys *lines*."""
    for line in lines:
        found = re.search(r"(?:^|\s)ssh-rsa\s+([A-Za-z0-9+/=]+)", line)
        if found is None:
            continue
        try:
            kind, exponent, modulus = _fields(base64.b64decode(found.group(1), validate=True))
        except ValueError:
            continue
        if kind == b"ssh-rsa" and len(modulus.lstrip(b"\0")) >= _SHORTEST_KEY:
            return int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")
    return None


def _fields(blob: bytes) -> list[bytes]:
    """Return the parts of a key as RFC 4253 packs them; ValueError when it is cut off."""
    found = []
    while blob:
        length = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + length:
            raise ValueError("cut off")
        found.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return found


def made_up() -> Secret:
    """Return a password with all of the types, about 130 bits."""
    every = "".join(_TYPES)
    while True:
        text = "".join(secrets.choice(every) for _ in range(LENGTH))
        if all(set(text) & set(kind) for kind in _TYPES):
            return Secret(text.encode())


def enciphered(password: Secret, exponent: int, modulus: int) -> bytes:
    """Return *password* by RSAES-PKCS1-v1_5 (RFC 8017), in base64.

    What is raised to a power here is the public half, so that there is nothing to be timed.
    """
    size = (modulus.bit_length() + 7) // 8
    text = password.reveal()
    padding = bytes(secrets.randbelow(255) + 1 for _ in range(size - len(text) - 3))
    block = int.from_bytes(b"\x00\x02" + padding + b"\x00" + text, "big")
    return base64.b64encode(pow(block, exponent, modulus).to_bytes(size, "big"))


MODULE = Module("post_password", PostPassword, Stage.FINAL, Frequency.INSTANCE, apply)
