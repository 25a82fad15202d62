"""Files that a configuration names: contents for guests, and secrets that others must not read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from .config_forms import Schema, Text, Wrong, shown
from .config_reader import Node, Problems, Scalar
from .secret import Secret

T = TypeVar("T")

MAX_CONTENT: Final = 16 * 1024 * 1024
MAX_SECRETS: Final = 1024 * 1024
SHORTEST_TOKEN: Final = 16


def read_path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError(text)
    return Path(text)


@dataclass(frozen=True)
class PathForm:
    """A path, relative to the file that names it."""

    def read(self, node: Node, where: str, problems: Problems) -> Path:
        return node.file.parent / Text(read_path, "a path").read(node, where, problems)

    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True)
class Content:
    """The path of a file whose bytes are the value."""

    def read(self, node: Node, where: str, problems: Problems) -> Secret:
        path = PathForm().read(node, where, problems)
        return Secret(_bounded(path, MAX_CONTENT, private=False))

    def schema(self) -> Schema:
        return PathForm().schema()


@dataclass(frozen=True)
class SecretFile(Generic[T]):
    """The path of a file that only its owner and group may read; *reader* gets its content."""

    reader: Callable[[bytes, Path], T]

    def read(self, node: Node, where: str, problems: Problems) -> T:
        path = PathForm().read(node, where, problems)
        return self.reader(_bounded(path, MAX_SECRETS, private=True), path)

    def schema(self) -> Schema:
        return PathForm().schema()


def check_private(path: Path) -> None:
    """Raise Wrong when others than owner and group can read the file at *path*."""
    _bounded(path, MAX_SECRETS, private=True)


def _open(path: str, flags: int) -> int:
    # Not blocking: a named pipe would keep the server from starting.
    return os.open(path, flags | os.O_NONBLOCK)


def _bounded(path: Path, most: int, *, private: bool) -> bytes:
    try:
        with open(path, "rb", opener=_open) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise Wrong(f"{path}: expected a file")
            if private and found.st_mode & 0o007:
                raise Wrong(
                    f"{path}: others can read it (mode {stat.S_IMODE(found.st_mode):04o}),"
                    f" expected 0600; chmod 0600 {path}"
                )
            data = file.read(most + 1)
    except OSError as error:
        raise Wrong(f"{path}: {error.strerror}") from error
    if len(data) > most:
        raise Wrong(f"{path}: expected at most {most} bytes")
    return data


def _lines(data: bytes, path: Path) -> list[tuple[int, str]]:
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise Wrong(f"{path}: expected ASCII text") from error
    stripped = ((number, line.strip()) for number, line in enumerate(lines, 1))
    return [(number, line) for number, line in stripped if line and not line.startswith("#")]


def read_tokens(data: bytes, path: Path) -> tuple[Secret, ...]:
    """Read one token a line; empty lines and those that begin with # are left out."""
    tokens = []
    for number, line in _lines(data, path):
        if len(line) < SHORTEST_TOKEN or any(c.isspace() for c in line):
            raise Wrong(
                f"{path}:{number}: expected a token of at least {SHORTEST_TOKEN} characters"
                " without spaces"
            )
        tokens.append(Secret(line.encode()))
    if not tokens:
        raise Wrong(f"{path}: expected one token a line, found none")
    return tuple(tokens)


def read_access_keys(data: bytes, path: Path) -> dict[str, Secret]:
    """Read one ACCESS:SECRET a line."""
    keys: dict[str, Secret] = {}
    for number, line in _lines(data, path):
        access, colon, secret = line.partition(":")
        if not colon or not access or not secret or access in keys:
            raise Wrong(f"{path}:{number}: expected ACCESS:SECRET, each ACCESS once")
        keys[access] = Secret(secret.encode())
    return keys


def read_shared_secret(data: bytes, path: Path) -> Secret:
    secret = data.strip()
    if not secret:
        raise Wrong(f"{path}: expected a secret, found an empty file")
    return Secret(secret)


@dataclass(frozen=True)
class PlainContent:
    """Text that is the value itself; *ascii_only* as the platform takes user data."""

    ascii_only: bool = False

    def read(self, node: Node, where: str, problems: Problems) -> Secret:
        if not isinstance(node, Scalar):
            raise Wrong(f"expected text, got {shown(node)}")
        if node.tag.endswith(":binary"):
            raise Wrong("expected text; use the key that ends with _base64 for binary data")
        if self.ascii_only and not node.text.isascii():
            raise Wrong("expected ASCII text only; give other bytes as a file or as base64")
        return Secret(node.text.encode())

    def schema(self) -> Schema:
        return {"type": "string"}
