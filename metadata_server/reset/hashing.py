"""crypt(3) hashes: the exact grammar that is accepted, and making one without stalling guests."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from ..errors import BadRequest, ServerError
from ..secret import Secret

Scheme = Literal["sha512", "sha256", "yescrypt", "bcrypt"]
SCHEMES: Final[tuple[Scheme, ...]] = get_args(Scheme)

_ALPHABET = rb"[./0-9A-Za-z]"
# What whoever tries to log in has the guest do is bounded: 5,000,000 rounds, bcrypt's cost 16,
# 128 MiB for yescrypt (2^15 blocks of 32 times 128 bytes), in the parameters that crypt(3) makes.
_ROUNDS = rb"(?:rounds=(?:[1-9][0-9]{3,5}|[1-4][0-9]{6}|5000000)\$)?"
_GRAMMAR: Final[tuple[tuple[Scheme, re.Pattern[bytes]], ...]] = (
    ("sha512", re.compile(rb"\$6\$" + _ROUNDS + _ALPHABET + rb"{1,16}\$" + _ALPHABET + rb"{86}")),
    ("sha256", re.compile(rb"\$5\$" + _ROUNDS + _ALPHABET + rb"{1,16}\$" + _ALPHABET + rb"{43}")),
    (
        "yescrypt",
        re.compile(rb"\$y\$j[7-9A-C][5T]\$" + _ALPHABET + rb"{1,86}\$" + _ALPHABET + rb"{43}"),
    ),
    ("bcrypt", re.compile(rb"\$2b\$(?:0[4-9]|1[0-6])\$" + _ALPHABET + rb"{53}")),
)


@dataclass(frozen=True, slots=True)
class Work:
    """What hashes are made here, and how much work; the guest does it too, at every login."""

    scheme: Scheme = "sha512"
    """The one that is made when nobody asks for another, and the guest can check it."""
    sha512: int = 500_000
    sha256: int = 500_000
    bcrypt: int = 12
    """As crypt(3) counts: 2 to the power of it."""
    yescrypt: int = 5
    """As crypt(3) counts: 1 is 1 MiB, 5 is 16 MiB, 8 is 128 MiB."""

    def rounds(self, scheme: Scheme) -> int:
        return {
            "sha512": self.sha512,
            "sha256": self.sha256,
            "bcrypt": self.bcrypt,
            "yescrypt": self.yescrypt,
        }[scheme]

    def scheme_for(self, known: Collection[str] | None) -> Scheme:
        """Return the scheme for a guest that can check the *known* ones; None is not known yet."""
        if known is None or self.scheme in known:
            return self.scheme
        return next((scheme for scheme in SCHEMES if scheme in known), self.scheme)


_HASHER: Final = Path(__file__).with_name("hasher.py")
_POOL: Final = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="hash")


def scheme_of(text: bytes) -> Scheme | None:
    """Return the scheme whose grammar *text* follows to the last character, or None."""
    for scheme, pattern in _GRAMMAR:
        if pattern.fullmatch(text):
            return scheme
    return None


def check_hash(text: Secret) -> Scheme:
    """Return the scheme of a crypt(3) hash; BadRequest, without the value, when it is none."""
    scheme = scheme_of(text.reveal())
    if scheme is None:
        raise BadRequest(
            "hash: expected a complete crypt(3) hash: $6$ with 86 characters after its salt, "
            "$5$ or $y$ with 43, $2b$ with 53 after its cost; at most 5000000 rounds, cost 16, or "
            "128 MiB of yescrypt ($y$jCT$)"
        )
    return scheme


async def hash_password(
    secret: Secret, scheme: str = "sha512", *, rounds: int | None = None, work: Work | None = None
) -> Secret:
    """Return a crypt(3) hash of *secret* with a fresh salt, made in another process.

    crypt(3) keeps the interpreter lock while it works, so a thread would stall every guest. A
    process for each hash holds one password and is gone with it, or with the server.
    """
    made_with = next((each for each in SCHEMES if each == scheme), None)
    if made_with is None:
        raise BadRequest(
            f"scheme: expected one of {', '.join(SCHEMES)} to make a hash with, got {scheme!r}"
        )
    if rounds is None:
        rounds = (work or Work()).rounds(made_with)
    if b"\0" in secret.reveal():
        raise BadRequest("password: expected text without NUL")
    loop = asyncio.get_running_loop()
    made = await loop.run_in_executor(_POOL, _hash, secret, scheme, rounds)
    if scheme_of(made.reveal()) != scheme:
        raise ServerError(f"scheme {scheme}: the hash could not be made here")
    return made


def _hash(secret: Secret, scheme: str, rounds: int) -> Secret:
    program = [sys.executable, str(_HASHER), scheme, str(rounds)]
    done = subprocess.run(program, input=secret.reveal(), capture_output=True, check=False)
    return Secret(done.stdout)
