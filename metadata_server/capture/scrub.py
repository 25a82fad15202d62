"""What of a capture may be a secret, and is left out unless it is asked for. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

KINDS: Final = ("user-data", "vendor-data", "files", "signatures", "values")
"""What `--keep` may name: each may hold secrets, or be one."""

SCRUBBED: Final = "scrubbed"

_NAME: Final = re.compile(
    r"pass(wd|word|phrase)?|secret|token|credential|private|api_?key|access_?key", re.I
)
_PUBLIC: Final = re.compile(r"public|http_tokens", re.I)
_VALUE: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----"
    r"|\b(AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\$(1|2[aby]|5|6|y|gy)\$[./A-Za-z0-9$=]{20,}"
    r"|://[^/\s:@]+:[^/\s@]+@"
    r"|(pass(wd|word|phrase)?|secret|token)\"?\s*[=:]\s*\"?[^\s\"]",
    re.I,
)
SIGNATURES: Final = re.compile(r"/[^/]+/dynamic/instance-identity/(signature|pkcs7|rsa2048)")
"""They prove to others who the machine is, as long as its document is the same."""


def scrubbed(value: Any, place: str, found: list[str]) -> Any:
    """Return *value* without what looks like a secret; the places of those are added to *found*."""
    if isinstance(value, Mapping):
        return {
            key: _hidden(f"{place}.{key}", found)
            if _NAME.search(key) and not _PUBLIC.search(key) and each not in ("", None, {}, [])
            else scrubbed(each, f"{place}.{key}", found)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [scrubbed(each, f"{place}[{n}]", found) for n, each in enumerate(value)]
    if isinstance(value, str) and _VALUE.search(value):
        return _hidden(place, found)
    return value


def _hidden(place: str, found: list[str]) -> str:
    found.append(place)
    return SCRUBBED
