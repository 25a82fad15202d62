"""A MIME message to its leaves. Imported only for user data that is one: email is large."""

from __future__ import annotations

import base64
import re
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from typing import Any

from .parts import MOST_PARTS, Piece, Refused

MOST_MULTIPARTS = 32
MOST_MESSAGES = 2 * MOST_PARTS
"""With the multiparts around them, and what email makes of the insides of message/*."""
MOST_HEADERS = 20 * MOST_PARTS
MOST_LINES = 500_000
LARGEST_HEADER = 16 * 1024
"""Characters of a header that are read at most."""
LONGEST_HEADER = 1000
"""Characters of a header that are kept."""
MOST_PARAMETERS = 100
_MULTIPART = re.compile(rb"(?:\A|[\r\n])content-type:[\s\x1c-\x1f]*multipart/", re.IGNORECASE)
_UNSAFE = re.compile(r"[^A-Za-z0-9._+@=-]")


def split(content: bytes) -> tuple[Piece, ...]:
    """Return the leaves of the message in *content*; Refused when it cannot be read."""
    # Each level is asked about every line below it, so depth is what makes parsing slow.
    if len(_MULTIPART.findall(content)) > MOST_MULTIPARTS:
        raise Refused(f"more than {MOST_MULTIPARTS} multiparts in one MIME message")
    # A line is an object to the parser, and a header several.
    if content.count(b"\n") + content.count(b"\r") > MOST_LINES:
        raise Refused(f"more than {MOST_LINES} lines in one MIME message")
    policy = compat32.clone(message_factory=_Bounds().message)
    try:
        message = BytesParser(policy=policy).parsebytes(content)
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


class _Bounds:
    """Counts what email makes of one document, and stops it while it is at work."""

    def __init__(self) -> None:
        self._messages = self._headers = 0

    def message(self, policy: Any = compat32) -> Message[Any, Any]:
        """Return another message, for a part or what is around parts."""
        self._messages += 1
        if self._messages > MOST_MESSAGES:
            raise Refused(f"more than {MOST_MESSAGES} parts in one MIME message")
        return _Message(self, policy)

    def header(self, text: str) -> None:
        """Take note of a header; its parameters take quadratic time."""
        self._headers += 1
        if self._headers > MOST_HEADERS:
            raise Refused(f"more than {MOST_HEADERS} headers in one MIME message")
        if len(text) > LARGEST_HEADER or text.count(";") > MOST_PARAMETERS:
            raise Refused(
                f"a header of more than {LARGEST_HEADER} characters or {MOST_PARAMETERS} parameters"
            )


class _Message(Message):
    def __init__(self, bounds: _Bounds, policy: Any) -> None:
        super().__init__(policy)
        self._bounds = bounds

    def set_raw(self, name: str, value: Any) -> None:
        self._bounds.header(str(value))
        super().set_raw(name, value)


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
