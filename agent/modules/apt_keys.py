"""The keys that sign sources of packages: given, or fetched by their names and checked."""

import re
from typing import Optional, Protocol

from .base import Context
from .readers import kind

KEYSERVER = "keyserver.ubuntu.com"


class Keyed(Protocol):
    """What names a key."""

    @property
    def key(self) -> Optional[str]:
        """The key itself, armored."""

    @property
    def keyid(self) -> Optional[str]:
        """Its fingerprint, or the end of it."""

    @property
    def keyserver(self) -> str:
        """Where it is fetched from."""


def read_keyid(raw: object) -> str:
    """Return the name of a key in capital letters: at least eight hexadecimal digits."""
    text = str(raw) if type(raw) is int else raw
    if isinstance(text, str):
        plain = re.sub(r"\s", "", text).upper()
        plain = plain[2:] if plain.startswith("0X") else plain
        if re.fullmatch(r"[0-9A-F]{8,64}", plain):
            return plain
    raise ValueError(f"expected a key's fingerprint or its last 16 digits, got {kind(raw)}")


def put_key(of: Keyed, stem: str, place: str, directory: str, context: Context) -> Optional[str]:
    """Put the key in place; return its file, None when there is no key."""
    if of.key is None and of.keyid is None:
        return None
    from .openpgp import without_armor

    content = without_armor(of.key) if of.key is not None else _fetched(of, context)
    path = f"{directory}/{stem}.gpg"
    context.host.write(path, content)
    return path


def _fetched(of: Keyed, context: Context) -> bytes:
    """Return the key of that name as the key server has it."""
    from .openpgp import is_named, without_armor

    server = of.keyserver
    scheme, separator, rest = server.partition("://")
    if not separator:
        server = f"https://{server}"
    elif scheme in ("hkp", "hkps"):
        port = ":11371" if scheme == "hkp" and ":" not in rest else ""
        server = f"{'http' if scheme == 'hkp' else 'https'}://{rest.rstrip('/')}{port}"
    keyid = of.keyid or ""
    url = f"{server.rstrip('/')}/pks/lookup?op=get&options=mr&search=0x{keyid}"
    answer = context.host.fetch(url, attempts=5)
    if context.host.records:
        return b""
    content = without_armor(answer.decode("ascii", "replace"))
    if not is_named(content, keyid):
        raise ValueError(f"the key server sent another key than {keyid}")
    return content
