"""Lines of an authorized_keys file: checked, merged, written as the user they belong to."""

import re
from binascii import a2b_base64
from collections.abc import Sequence
from typing import NamedTuple, Optional

from ..errors import HostError
from .base import Context

FILE = ".ssh/authorized_keys"
REDIRECT = (
    "no-port-forwarding,no-agent-forwarding,no-X11-forwarding,"
    'command="echo \'This key is for the user \\"$USER\\", not for \\"$DISABLE_USER\\".\'; '
    'echo; sleep 10; exit 142"'
)
"""Options of a key that only tells which account it opens."""
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_TYPE = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[A-Za-z0-9@.-]+")


class Key(NamedTuple):
    """One public key with its options, as sshd reads it."""

    options: str
    kind: str
    body: str
    comment: str

    def line(self) -> str:
        """Return the line of an authorized_keys file."""
        return " ".join(word for word in self if word)


def parse(text: str) -> Optional[Key]:
    """Return the key of a line, None when there is none that sshd would take."""
    if "\n" in text or "\r" in text or "\0" in text:
        return None
    options, rest = "", text.strip()
    if not _TYPE.fullmatch(rest.partition(" ")[0]):
        options, rest = _split_options(rest)
    words = rest.split(None, 2)
    if len(words) < 2 or not _TYPE.fullmatch(words[0]):
        return None
    if not _is_body(words[1], words[0]):
        return None
    return Key(options, words[0], words[1], words[2] if len(words) > 2 else "")


def _split_options(text: str) -> tuple[str, str]:
    # Options end at the first blank outside quotes; a quote is escaped by a backslash.
    quoted = False
    for n, char in enumerate(text):
        if char == '"' and text[n - 1 : n] != "\\":
            quoted = not quoted
        elif char in " \t" and not quoted:
            return text[:n], text[n:].strip()
    return text, ""


def _is_body(body: str, kind: str) -> bool:
    if len(body) % 4 or not _BASE64.fullmatch(body):
        return False
    blob = a2b_base64(body)
    # The body says its own type first, as a string with a length of four bytes.
    length = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + length] == kind.encode() and len(blob) > 4 + length


def read_keys(raw: object) -> tuple[str, ...]:
    """Return lines of keys given as a list or as text; what they hold is checked when applied."""
    texts = [raw] if isinstance(raw, str) else raw
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise ValueError("expected a list of public keys, each on one line")
    return tuple(
        line for text in texts for line in (line.strip() for line in text.splitlines()) if line
    )


def checked(lines: Sequence[str], place: str, context: Context) -> list[Key]:
    """Return the keys of *lines*; those that are none are refused by their place."""
    keys: list[Key] = []
    for n, line in enumerate(lines):
        key = parse(line)
        if key is None:
            context.report.refused(
                f"{place}[{n}]", "expected a public key such as 'ssh-ed25519 AAAA… name'"
            )
        elif key not in keys:
            keys.append(key)
    return keys


def merged(text: str, keys: Sequence[Key]) -> str:
    """Return *text* with *keys*; a key that is there gets the new options, in its place."""
    lines = text.splitlines()
    wanted = {(key.kind, key.body): key for key in keys}
    for n, line in enumerate(lines):
        found = None if line.lstrip().startswith("#") else parse(line)
        key = wanted.pop((found.kind, found.body), None) if found is not None else None
        if found is not None and key is not None and found.options != key.options:
            lines[n] = key.line()
    lines += [key.line() for key in wanted.values()]
    return "".join(f"{line}\n" for line in lines)


def authorize(user: str, keys: Sequence[Key], place: str, context: Context) -> None:
    """Let *keys* into the account of *user*, beside those that are let in."""
    if not keys:
        return
    host = context.host
    try:
        before = (host.read_in_home(user, FILE) or b"").decode("utf-8", "surrogateescape")
        after = merged(before, keys)
        host.write_in_home(user, FILE, after.encode("utf-8", "surrogateescape"), mode=0o600)
    except HostError as error:
        context.report.failed(place, str(error))


def redirected(keys: Sequence[Key], user: str, disabled: str, options: str = REDIRECT) -> list[Key]:
    """Return *keys* that only tell who comes as *disabled* to come as *user*."""
    options = options.replace("$DISABLE_USER", disabled).replace("$USER", user)
    return [key._replace(options=options) for key in keys]
