"""A MIME message to its leaves. Imported only for user data that is one: email is large."""

from __future__ import annotations

import base64
import re
from email.message import Message
from email.parser import BytesParser
from typing import Any

from .parts import Piece, Refused

MOST_MULTIPARTS = 32
LONGEST_HEADER = 1000
_MULTIPART = re.compile(rb"^content-type:\s*multipart/", re.IGNORECASE | re.MULTILINE)
_UNSAFE = re.compile(r"[^A-Za-z0-9._+@=-]")


def split(content: bytes) -> tuple[Piece, ...]:
    """Return the leaves of the message in *content*; Refused when it cannot be read."""
    # Each level is asked about every line below it, so depth is what makes parsing slow.
    if len(_MULTIPART.findall(content)) > MOST_MULTIPARTS:
        raise Refused(f"more than {MOST_MULTIPARTS} multiparts in one MIME message")
    try:
        message = BytesParser().parsebytes(content)
        pieces = tuple(_piece(part) for part in message.walk() if not part.is_multipart())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise Refused("MIME that cannot be read") from None
    if pieces and any("Boundary" in type(defect).__name__ for defect in message.defects):
        cut = "the closing boundary is missing: the message may be cut short"
        pieces = (*pieces[:-1], pieces[-1]._replace(notice=cut))
    return pieces


def safe_name(name: str) -> str:
    """Return *name* as a plain file name, empty when nothing is left of it."""
    return _UNSAFE.sub("_", name.replace("\\", "/").rpartition("/")[2])[:100].lstrip(".-")


def _piece(part: Message[Any, Any]) -> Piece:
    kind = part.get_content_type()
    name = safe_name(str(part.get_filename() or ""))
    headers = {key.title(): str(value)[:LONGEST_HEADER] for key, value in part.items()}
    if part.get_content_maintype() == "multipart":
        problem = "a multipart without its boundaries"
        return Piece(b"", kind, name, problem=problem, headers=headers)
    index, problem = _launch_index(part)
    content = part.get_payload(decode=True)
    encoding = str(part.get("Content-Transfer-Encoding", "")).strip().lower()
    if encoding == "base64":
        # email gives back what it cannot decode; here that is a mistake to be told.
        try:
            raw = str(part.get_payload()).encode("ascii", "replace")
            content = base64.b64decode(b"".join(raw.split()), validate=True)
        except ValueError:
            problem = problem or "not base64, though its header says so"
    elif encoding not in ("", "7bit", "8bit", "binary", "quoted-printable"):
        problem = problem or "an unknown Content-Transfer-Encoding"
    if not isinstance(content, bytes):
        problem = problem or "MIME that cannot be read"
        content = b""
    return Piece(content, kind, name, index, problem, headers=headers)


def _launch_index(part: Message[Any, Any]) -> tuple[int | None, str]:
    value = part.get("Launch-Index")
    if value is None:
        return None, ""
    text = str(value).strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return int(text), ""
    return None, "Launch-Index: expected a number"
