"""User data to parts: gzip, base64 and MIME are opened; the first line decides a part's type.

Bounded, and pure but for what `includes` fetches. A part that cannot be taken is in the result with
the reason, beside the others.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from ..secret import Secret

LIMIT = 16 * 1024 * 1024
"""Most bytes of one document with everything in it opened."""
MOST_PARTS = 500
MOST_URLS = 100
DEEPEST = 8

SCRIPT = "text/x-shellscript"
CLOUD_CONFIG = "text/cloud-config"
ARCHIVE = "text/cloud-config-archive"
BOOTHOOK = "text/cloud-boothook"
JSON_PATCH = "text/cloud-config-jsonp"
INCLUDE = "text/x-include-url"
INCLUDE_ONCE = "text/x-include-once-url"
HANDLER = "text/part-handler"
TEMPLATE = "text/jinja2"
PER_BOOT = "text/x-shellscript-per-boot"
PER_INSTANCE = "text/x-shellscript-per-instance"
PER_ONCE = "text/x-shellscript-per-once"
WINDOWS = "windows"
UNKNOWN = "unknown"

# Lower case; a longer prefix stands before its own beginning.
FIRST_LINES = (
    (b"#cloud-config-archive", ARCHIVE),
    (b"#cloud-config-jsonp", JSON_PATCH),
    (b"#cloud-config", CLOUD_CONFIG),
    (b"#cloud-boothook", BOOTHOOK),
    (b"#include-once", INCLUDE_ONCE),
    (b"#include", INCLUDE),
    (b"#part-handler", HANDLER),
    (b"## template:", TEMPLATE),
    (b"#ps1", WINDOWS),
    (b"rem cmd", WINDOWS),
    (b"<powershell>", WINDOWS),
    (b"<script>", WINDOWS),
    (b"#!", SCRIPT),
)
SCRIPTS = frozenset({SCRIPT, PER_BOOT, PER_INSTANCE, PER_ONCE})
TYPES = SCRIPTS | {
    *(CLOUD_CONFIG, ARCHIVE, BOOTHOOK, JSON_PATCH, INCLUDE, INCLUDE_ONCE, HANDLER, TEMPLATE)
}
RENDERED = frozenset({SCRIPT, CLOUD_CONFIG, BOOTHOOK, JSON_PATCH})
"""What a template may turn out to be."""
_SNIFFED = frozenset({"", "text/plain", "text/x-not-multipart", "application/octet-stream", SCRIPT})
_HEADER = re.compile(rb"(From |[A-Za-z][A-Za-z0-9-]*:[ \t])")
_COMMENTS = re.compile(rb"(?:#[^\n]*\n)+")
_MIME = re.compile(rb"^(mime-version:|content-type:\s*multipart/)", re.IGNORECASE | re.MULTILINE)
_JINJA = re.compile(rb"## template:[ \t]*jinja[ \t\r]*\n", re.IGNORECASE)
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]+={0,2}\s*")
EXPECTED = "expected '#!', '#cloud-config' or MIME on the first line"


class Part(NamedTuple):
    """One piece of user data; *result* is one of `report.RESULTS`, `done` for one that is taken."""

    name: str
    """File name of its MIME header, else part-001 and so on; safe as a file name."""
    type: str
    content: Secret
    result: str = "done"
    detail: str = ""
    notices: tuple[str, ...] = ()
    launch_index: int | None = None
    headers: Mapping[str, str] = {}
    """Of its MIME part or archive item."""
    handler: str = ""
    """Name of the part handler that has taken it, so that nobody else does."""

    @property
    def declared(self) -> str:
        """The type that was declared for it, where its first line says nothing."""
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return kind if self.type == UNKNOWN and kind else self.type


class Piece(NamedTuple):
    """A document within a document: what its header declared, and its bytes."""

    content: bytes
    type: str = ""
    name: str = ""
    launch_index: int | None = None
    problem: str = ""
    notice: str = ""
    headers: Mapping[str, str] = {}


class Refused(Exception):
    """A document cannot be opened, in words."""


class Includes(Protocol):
    """Fetches what an include names."""

    def get(self, url: str, *, once: bool, limit: int) -> bytes:
        """Return what is at *url*; *once*: as it was when it was first fetched for this instance.

        Raises Refused when it cannot be had, or is larger than *limit* bytes.
        """
        ...


def decode(
    content: bytes,
    *,
    launch_index: int = 0,
    base64: bool = False,
    limit: int = LIMIT,
    includes: Includes | None = None,
) -> tuple[Part, ...]:
    """Return the parts of *content* in order; none for an empty document.

    With *base64*, text that is base64 of something known is opened, as users of EC2 expect. Parts
    for another *launch_index* have the result `notice`, as has an include without *includes*.
    """
    if not content.strip():
        return ()
    opener = _Opener(limit, base64, includes)
    opener.open(Piece(content), 0)
    return tuple(
        part._replace(result="notice", detail=f"for launch index {part.launch_index} only")
        if part.result == "done" and part.launch_index not in (None, launch_index)
        else part
        for part in opener.parts
    )


def first_line_type(content: bytes) -> str:
    """Return the type that the first line of *content* declares, UNKNOWN when it says nothing."""
    start = content[:40].lower()
    for prefix, kind in FIRST_LINES:
        if start.startswith(prefix):
            return kind
    return UNKNOWN


def gunzip(content: bytes, limit: int) -> bytes:
    """Return *content* unpacked; Refused when it is broken, cut, or larger than *limit*."""
    pieces: list[bytes] = []
    left = limit
    while content:
        unpack = zlib.decompressobj(31)
        try:
            piece = unpack.decompress(content, left + 1)
        except zlib.error:
            # Some tools pad: zeros after the end are no second member.
            if pieces and not content.strip(b"\0"):
                break
            raise Refused("not gzip, though it begins as such") from None
        left -= len(piece)
        if left < 0:
            raise Refused(f"larger than {limit} bytes when unpacked")
        if not unpack.eof:
            raise Refused("gzip that ends too early")
        pieces.append(piece)
        content = unpack.unused_data
    return b"".join(pieces)


class _Opener:
    """Opens one document and all within it, under one budget of bytes and parts."""

    def __init__(self, limit: int, base64: bool, includes: Includes | None) -> None:
        self.parts: list[Part] = []
        self._left = self._limit = limit
        self._base64 = base64
        self._includes = includes
        self._on_the_way: list[str] = []
        self._urls = 0

    def open(self, piece: Piece, depth: int) -> None:
        """Add the parts of *piece*."""
        notices = [piece.notice] if piece.notice else []
        kind, content = piece.type, b""
        try:
            self._admit(piece, depth)
            content = self._text(piece, notices)
            if message := _message(content):
                from .mime import split

                return self._open_all(split(message), depth + 1)
            kind = _type(content, kind)
            if kind == UNKNOWN and self._base64 and (inside := _from_base64(content)):
                self._base64 = False
                return self.open(piece._replace(content=inside), depth + 1)
            if kind == ARCHIVE:
                from .archive import split as split_archive

                return self._open_all(split_archive(content), depth + 1)
            if kind in (INCLUDE, INCLUDE_ONCE):
                return self._include(piece, kind, content, depth, notices)
            content = checked(content, kind, notices)
        except Refused as refused:
            result = "not run" if kind == WINDOWS else "refused"
            # A part handler may know what to do with what we do not know.
            kept = content if kind not in TYPES or kind == WINDOWS else b""
            self._add(piece, kind or UNKNOWN, kept, result, str(refused), notices)
            return None
        return self._add(piece, kind, content, "done", "", notices)

    def _admit(self, piece: Piece, depth: int) -> None:
        if piece.problem:
            raise Refused(piece.problem)
        self._left -= len(piece.content)
        if self._left < 0:
            together = "with all that was opened before " if depth else ""
            raise Refused(f"{together}larger than {self._limit} bytes, the most that is taken")
        if depth > DEEPEST:
            raise Refused(f"nested deeper than {DEEPEST} levels")

    def _open_all(self, pieces: tuple[Piece, ...], depth: int) -> None:
        for piece in pieces:
            if len(self.parts) > MOST_PARTS:
                return
            if len(self.parts) == MOST_PARTS:
                piece = Piece(b"", problem=f"more than {MOST_PARTS} parts: the rest is left out")
            if piece.content.strip() or piece.problem:
                self.open(piece, depth)

    def _include(
        self, piece: Piece, kind: str, content: bytes, depth: int, notices: list[str]
    ) -> None:
        """Open what each URL of an include leads to, in its place; a URL that fails is a part."""
        from .include import read_lines

        lines = read_lines(content, MOST_URLS)
        if not lines:
            raise Refused("expected one URL a line, got none")
        if self._includes is None:
            detail = f"{len(lines)} URLs, not fetched here"
            self._add(piece, kind, b"", "notice", detail, notices)
            return
        for line in lines:
            self._urls += 1
            if self._urls > MOST_URLS:
                raise Refused(f"more than {MOST_URLS} URLs: the rest is left out")
            found, problem = b"", line.problem
            if not problem and line.url in self._on_the_way:
                problem = f"{line.shown}: includes itself"
            if not problem and len(self.parts) < MOST_PARTS:
                try:
                    limit = max(self._left, 0)
                    found = self._includes.get(line.url, once=line.once, limit=limit)
                except Refused as refused:
                    problem = str(refused)
            self._on_the_way.append(line.url)
            self._open_all((piece._replace(content=found, type="", problem=problem),), depth + 1)
            self._on_the_way.pop()

    def _text(self, piece: Piece, notices: list[str]) -> bytes:
        """Return the piece unpacked, in UTF-8, from its first line on."""
        content = piece.content
        for _ in range(DEEPEST):
            if not content.startswith(b"\x1f\x8b"):
                break
            content = gunzip(content, max(self._left, 0))
            self._left -= len(content)
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            try:
                content = content.decode("utf-16").encode()
            except UnicodeError:
                raise Refused("expected UTF-8, got broken UTF-16") from None
            notices.append("UTF-16 was read as UTF-8")
        if content.startswith(b"\xef\xbb\xbf"):
            content = content[3:]
            notices.append("a byte order mark was left out")
        stripped = content.lstrip()
        if len(stripped) < len(content):
            notices.append("white space before the first line was left out")
        return stripped

    def _add(
        self,
        piece: Piece,
        kind: str,
        content: bytes,
        result: str,
        detail: str,
        notices: list[str],
    ) -> None:
        name = piece.name or f"part-{len(self.parts) + 1:03}"
        taken = {part.name for part in self.parts}
        unique, number = name, 2
        while unique in taken:
            unique, number = f"{name}-{number}", number + 1
        self.parts.append(
            Part(
                unique,
                kind,
                Secret(content),
                result,
                detail,
                tuple(notices),
                piece.launch_index,
                piece.headers,
            )
        )


def _message(content: bytes) -> bytes:
    """Return the MIME message that *content* is, without comments before it; nothing if none."""
    comments = _COMMENTS.match(content)
    if comments and first_line_type(content) == UNKNOWN:
        content = content[comments.end() :]
    return content if _is_mime(content) else b""


def _is_mime(content: bytes) -> bool:
    # Somewhere in the head is not enough: a script may well write a mail.
    return bool(_HEADER.match(content)) and bool(_MIME.search(content[:4096]))


def _type(content: bytes, declared: str) -> str:
    if declared in _SNIFFED or declared not in TYPES:
        kind = first_line_type(content)
        if kind == UNKNOWN and declared == SCRIPT:
            raise Refused("a script without '#!' on its first line")
        if kind == UNKNOWN and declared not in _SNIFFED:
            near = _nearest(declared.encode(), sorted(TYPES))
            raise Refused(f"no type of user data: {declared[:80]!r}{near}")
        return kind
    return declared


def checked(
    content: bytes, kind: str, notices: list[str], *, only: frozenset[str] | None = None
) -> bytes:
    """Return what of *content* is handed on; Refused when it is not what its type says.

    *only*: the types that are meant, in a template.
    """
    if only is not None and kind not in only:
        raise Refused("a template of what is no script, boothook or cloud-config")
    if kind == WINDOWS:
        raise Refused("a Windows script, not run here")
    if kind == TEMPLATE and not _JINJA.match(content):
        raise Refused("expected '## template: jinja' on the first line of a template")
    if kind == UNKNOWN:
        inside = _from_base64(content)
        hint = "; it is base64 of something known: give it decoded" if inside else ""
        hint = hint or _nearest(content, [prefix.decode() for prefix, _ in FIRST_LINES])
        raise Refused(f"user data of no known type: {EXPECTED}{hint}")
    if kind == BOOTHOOK and first_line_type(content) == BOOTHOOK:
        content = content.partition(b"\n")[2].lstrip()
    if kind in SCRIPTS or kind == BOOTHOOK:
        if b"\r\n" in content:
            content = content.replace(b"\r\n", b"\n")
            notices.append("line ends of Windows were made those of Unix")
        if not content.startswith(b"#!"):
            raise Refused("a script without '#!' on its first line")
    return content


def _nearest(content: bytes, known: list[str]) -> str:
    """Return words that name what the first line of *content* may have been meant to be."""
    import difflib

    line = content[:80].partition(b"\n")[0].decode("ascii", "replace").strip().lower()
    # `# cloud-config` is a comment, and `cloud-config` nothing at all.
    line = re.sub(r"^(#*)\s+", r"\1", line)
    for word in (line, f"#{line}"):
        if near := difflib.get_close_matches(word, known, 1, 0.8):
            return f"; the nearest is {near[0]!r}"
    return ""


def _from_base64(content: bytes) -> bytes:
    """Return what *content* is base64 of when that is something known, else nothing."""
    if not _BASE64.fullmatch(content):
        return b""
    from base64 import b64decode

    try:
        inside = b64decode(b"".join(content.split()), validate=True)
    except ValueError:
        return b""
    start = inside[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    known = inside.startswith(b"\x1f\x8b") or first_line_type(start) != UNKNOWN or _message(start)
    return inside if known else b""
