"""Readers of single configured values: text in, typed value out, ValueError when it is none."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import datetime
from ipaddress import (
    IPv4Address,
    IPv6Address,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from .config_forms import Text, Wrong

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}")
_INTERFACE = re.compile(r"[^\s/%:\[\]]{1,15}")
_DNS_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*")
_KEY_TYPES: Final = (
    "ssh-rsa",
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-dss",
)
_MOMENT = re.compile(r"2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Listen(NamedTuple):
    """A TCP address to listen at; port 0 is any free one."""

    host: IPv4Address | IPv6Address
    port: int
    interface: str | None = None

    def __str__(self) -> str:
        host = str(self.host) + (f"%{self.interface}" if self.interface else "")
        return f"[{host}]:{self.port}" if self.host.version == 6 else f"{host}:{self.port}"


class UnixListen(NamedTuple):
    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


def read_listen(text: str) -> Listen:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(text)
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    host, percent, interface = host.partition("%")
    if percent and not _INTERFACE.fullmatch(interface):
        raise ValueError(text)
    address = ip_address(host)
    if bracketed != (address.version == 6):
        raise ValueError(text)
    return Listen(address, int(port), interface or None)


def read_control_listen(text: str) -> Listen | UnixListen:
    path = text[5:] if text.startswith("unix:") else text
    if path.startswith("/"):
        return UnixListen(path)
    host, colon, port = text.rpartition(":")
    return read_listen(f"127.0.0.1:{port}" if colon and host == "localhost" else text)


def read_line(text: str) -> str:
    if not 1 <= len(text) <= 255 or _CONTROL.search(text) or text != text.strip():
        raise ValueError(text)
    return text


def read_name(text: str) -> str:
    if not 1 <= len(text) <= 64 or not all(c.isalnum() or c in "_-." for c in text):
        raise ValueError(text)
    return text


def read_path_name(text: str) -> str:
    """Read what becomes one name of a served path, or the label of one."""
    if "/" in text:
        raise ValueError(text)
    return read_line(text)


def read_hostname(text: str) -> str:
    if len(text) > 253 or not _HOSTNAME.fullmatch(text):
        raise ValueError(text)
    return text


def read_mac(text: str) -> str:
    mac = text.lower()
    if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1:
        raise ValueError(text)
    return mac.replace("-", ":")


def read_address(text: str) -> IPv4Address | IPv6Address:
    """Read the address of a machine; what stands for none or for many is none."""
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError(text)
    if address.is_unspecified or address.is_multicast:
        raise ValueError(text)
    return address


def read_ipv4(text: str) -> IPv4Address:
    read_address(text)
    return IPv4Address(text)


def read_ipv6(text: str) -> IPv6Address:
    read_address(text)
    address = IPv6Address(text)
    if address.ipv4_mapped is not None:
        raise ValueError(text)
    return address


def read_network(text: str) -> str:
    if "/" not in text:
        raise ValueError(text)
    return str(ip_network(text))


def read_address_with_prefix(text: str) -> str:
    if "/" not in text:
        raise ValueError(text)
    return str(ip_interface(text))


def read_url(text: str) -> str:
    parts = urlsplit(read_line(text))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ValueError(text)
    return text


def read_moment(text: str) -> str:
    """Read a time of UTC to the second, in the one form that the platform's API has."""
    if not _MOMENT.fullmatch(text):
        raise ValueError(text)
    datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    return text


def read_absolute(text: str) -> str:
    if not text.startswith("/") or ".." in text.split("/") or _CONTROL.search(text):
        raise ValueError(text)
    return text


def read_served_path(text: str) -> str:
    names = text.strip("/").split("/")
    if _CONTROL.search(text) or any(name in ("", ".", "..") for name in names):
        raise ValueError("a path such as latest/meta-data/rack")
    return "/".join(names)


SHORTEST_RSA: Final = 1024
"""The least that the platform imports, beside 2048 and 4096 bits."""

_PUTTY: Final = (
    "PuTTY's own form of a key: open it in puttygen and copy the text under 'Public key for pasting"
    " into OpenSSH authorized_keys file', or convert it with `ssh-keygen -i -f FILE`"
)
_NOT_OPENSSH: Final = (
    ("---- BEGIN SSH2 PUBLIC KEY", _PUTTY),
    ("PuTTY-User-Key-File", f"a private key, which stays with you, in {_PUTTY}"),
    ("-----BEGIN PUBLIC KEY", "PEM: `ssh-keygen -i -m PKCS8 -f FILE` converts it"),
    ("-----BEGIN RSA PUBLIC KEY", "PEM: `ssh-keygen -i -m PEM -f FILE` converts it"),
    (
        "-----BEGIN",
        "a private key, which stays with you: `ssh-keygen -y -f FILE` prints its other half",
    ),
)


def read_public_key(text: str) -> str:
    """Read an OpenSSH public key: its type, the key in base64, and maybe a comment."""
    key = text.strip()
    for start, way_out in _NOT_OPENSSH:
        if key.startswith(start):
            raise Wrong(f"expected an OpenSSH public key, got {way_out}")
    words = key.split(None, 2)
    if _CONTROL.search(key) or len(words) < 2 or words[0] not in _KEY_TYPES:
        raise ValueError(text)
    try:
        data = base64.b64decode(words[1], validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error
    kind = words[0].encode()
    if data[: 4 + len(kind)] != len(kind).to_bytes(4, "big") + kind or len(data) < 40:
        raise Wrong(f"expected a whole {words[0]} key, got one whose base64 part is not such a key")
    bits = _modulus_bits(data) if words[0] == "ssh-rsa" else SHORTEST_RSA
    if not bits:
        raise Wrong("expected a whole ssh-rsa key, got one that is cut off")
    if bits < SHORTEST_RSA:
        raise Wrong(f"expected an RSA key of {SHORTEST_RSA} bits or more, got one of {bits}")
    return key


def _modulus_bits(data: bytes) -> int:
    """Return the size of the key in the ssh-rsa blob *data*, 0 when it is cut off."""
    fields = []
    while len(data) >= 4:
        size = int.from_bytes(data[:4], "big")
        fields.append(data[4 : 4 + size])
        data = data[4 + size :]
        if len(fields[-1]) < size:
            return 0
    whole = len(fields) == 3 and not data
    return int.from_bytes(fields[2], "big").bit_length() if whole else 0


def read_base64(text: str) -> bytes:
    """Read base64 with or without line ends."""
    return base64.b64decode("".join(text.split()), validate=True)


def matching(pattern: str) -> Callable[[str], str]:
    """Return a reader of text that *pattern* matches as a whole."""
    compiled = re.compile(pattern)

    def read(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(text)
        return text

    return read


LINE: Final = Text(read_line, "one line of text")
ID: Final = Text(
    matching(_ID.pattern),
    "up to 64 letters, digits, hyphens, underscores and periods",
    pattern=f"^{_ID.pattern}$",
)
NAME: Final = Text(read_name, "up to 64 letters, digits, underscores, hyphens and periods")
PATH_NAME: Final = Text(read_path_name, "one line of text without a slash")
HOSTNAME: Final = Text(read_hostname, "a host name of RFC 1123 such as ecs-ddd4.novalocal")
MAC: Final = Text(read_mac, "the MAC address of one interface such as fa:16:3e:f7:c1:47")
IPV4: Final = Text(read_ipv4, "an IPv4 address such as 192.168.1.10")
IPV6: Final = Text(read_ipv6, "an IPv6 address such as fd00::10")
ADDRESS: Final = Text(read_address, "an IPv4 or IPv6 address such as 192.168.1.10")
NETWORK: Final = Text(
    read_network, "a network with prefix length and no host bits such as 10.0.0.0/8"
)
ADDRESS_WITH_PREFIX: Final = Text(
    read_address_with_prefix, "an address with prefix length such as 192.168.1.11/24"
)
INTERFACE: Final = Text(matching(_INTERFACE.pattern), "the name of a network interface such as br0")
LISTEN: Final = Text(
    read_listen, "ADDRESS:PORT, [IPV6]:PORT or ADDRESS%INTERFACE:PORT with a literal address"
)
CONTROL_LISTEN: Final = Text(read_control_listen, "ADDRESS:PORT, [IPV6]:PORT or unix:PATH")
URL: Final = Text(read_url, "a URL such as https://vendor.example/data")
MOMENT: Final = Text(
    read_moment, "a time of UTC such as 2030-01-19T03:30:52Z", pattern=f"^{_MOMENT.pattern}$"
)
ABSOLUTE: Final = Text(read_absolute, "an absolute path such as /etc/motd")
PUBLIC_KEY: Final = Text(
    read_public_key, "an OpenSSH public key such as 'ssh-ed25519 AAAA… comment'"
)
