"""console_keys: the machine's public host keys on its console, and who may come in.

What reads the console of a cloud knows the host by it: the lines that begin and end the keys are
those that cloud-init prints.
"""

from collections.abc import Iterator
from typing import Annotated, NamedTuple, Optional

from ..errors import HostError
from .authorized_keys import FILE, Key, parse
from .base import Context, Frequency, Module, Stage
from .readers import kind, read_words
from .ssh import DIRECTORY, SshPrinting
from .user_list import DEFAULT, default_user, entries

FINGERPRINTS = "SSH HOST KEY FINGERPRINTS"
KEYS = "SSH HOST KEY KEYS"
_SHORT = {"ssh-rsa": "RSA", "ssh-ed25519": "ED25519", "ssh-dss": "DSA"}


def read_hash_name(raw: object) -> str:
    """Return the name of a hash."""
    if raw in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512"):
        return str(raw)
    raise ValueError(f"expected a hash such as 'sha256', got {kind(raw)}")


class ConsoleKeys(NamedTuple):
    """What is shown of keys on the console."""

    no_ssh_fingerprints: bool = False
    """Do not show who may come in."""
    authkey_hash: Annotated[str, read_hash_name] = "sha256"
    """Hash of the fingerprints of those who may."""
    ssh_key_console_blacklist: Annotated[tuple[str, ...], read_words] = ("ssh-dss",)
    """Types of host keys that are not shown."""
    ssh_fp_console_blacklist: Annotated[tuple[str, ...], read_words] = ()
    """Types of host keys, or fingerprints, that are not shown as fingerprints."""
    ssh: Optional[SshPrinting] = None
    """What is shown of the host keys."""


def apply(section: ConsoleKeys, context: Context) -> None:
    """Show them, where there is a console."""
    host = context.host
    if not host.has_console():
        return
    lines = told(section, context)
    if not lines:
        return
    try:
        host.console("".join(f"{line}\n" for line in lines))
    except HostError as error:
        context.report.notice("ssh", str(error))


def told(section: ConsoleKeys, context: Context) -> list[str]:
    """Return what is shown, line by line."""
    lines: list[str] = []
    if not section.no_ssh_fingerprints:
        lines += _authorized(section.authkey_hash, context)
    if section.ssh is None or section.ssh.emit_keys_to_console:
        keys = _host_keys(context)
        hidden = set(section.ssh_fp_console_blacklist)
        prints = [
            line
            for key in keys
            for name, line in (_fingerprint(key),)
            if not hidden & {key.kind, name, name.partition(":")[2]}
        ]
        shown = [key.line() for key in keys if key.kind not in section.ssh_key_console_blacklist]
        lines += _framed(FINGERPRINTS, prints) + _framed(KEYS, shown)
    return lines


def _framed(title: str, lines: list[str]) -> list[str]:
    return [f"-----BEGIN {title}-----", *lines, f"-----END {title}-----"] if lines else []


def _host_keys(context: Context) -> list[Key]:
    host = context.host
    names = [name for name in host.names(DIRECTORY) if name.startswith("ssh_host_")]
    texts = [
        (host.read(f"{DIRECTORY}/{name}") or b"").decode("utf-8", "replace").strip()
        for name in names
        if name.endswith("_key.pub")
    ]
    return [key for key in map(parse, texts) if key is not None]


def _fingerprint(key: Key) -> tuple[str, str]:
    """Return the fingerprint of a host key, and its line as ssh-keygen has it."""
    from binascii import a2b_base64, b2a_base64
    from hashlib import sha256

    blob = a2b_base64(key.body)
    name = "SHA256:" + b2a_base64(sha256(blob).digest()).decode().strip().rstrip("=")
    kind = _SHORT.get(key.kind, "ECDSA" if key.kind.startswith("ecdsa") else key.kind)
    return name, f"{_bits(key.kind, blob)} {name} {key.comment or 'no comment'} ({kind})"


def _bits(kind: str, blob: bytes) -> int:
    digits = kind.rpartition("nistp")[2]
    if digits.isdigit():
        return int(digits)
    fields = list(_fields(blob))
    # Of RSA the last field is the modulus, of DSA the second the prime.
    wanted = {"ssh-rsa": -1, "ssh-dss": 1}.get(kind)
    if wanted is None or len(fields) < 3:
        return 256
    return int.from_bytes(fields[wanted], "big").bit_length()


def _fields(blob: bytes) -> Iterator[bytes]:
    while len(blob) >= 4:
        length = int.from_bytes(blob[:4], "big")
        yield blob[4 : 4 + length]
        blob = blob[4 + length :]


def _authorized(hash_name: str, context: Context) -> list[str]:
    """Return who may come in as each user that has a home here."""
    host = context.host
    lines: list[str] = []
    found, _ = entries(context.config)
    names = [each.settings["name"] for each in found]
    for name in dict.fromkeys(default_user(context) if n == DEFAULT else n for n in names):
        if not isinstance(name, str) or host.user(name) is None:
            continue
        try:
            text = (host.read_in_home(name, FILE) or b"").decode("utf-8", "replace")
        except HostError:
            continue
        keys = [key for key in map(parse, text.splitlines()) if key is not None]
        if keys:
            lines.append(f"ci-info: Authorized keys of user {name} ({hash_name}):")
        lines += [
            f"ci-info: {key.kind} {_hash(hash_name, key.body)} {key.options or '-'}"
            f" {key.comment or '-'}"
            for key in keys
        ]
    return lines


def _hash(name: str, body: str) -> str:
    from binascii import a2b_base64
    from hashlib import new

    return new(name, a2b_base64(body)).digest().hex(":")


MODULE = Module(
    "console_keys", ConsoleKeys, Stage.FINAL, Frequency.INSTANCE, apply, needs_section=False
)
