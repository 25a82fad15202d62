"""The lines of an include: one URL each, and whether it is to be fetched but once."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

ONCE, INCLUDE = "#include-once", "#include"
SCHEMES = ("http", "https")
LONGEST_URL = 8192


class Line(NamedTuple):
    """One URL; *problem* says why it will not be fetched."""

    url: str
    once: bool
    problem: str = ""

    @property
    def shown(self) -> str:
        """The URL in words that may be read by all."""
        return shown(self.url)


def read_lines(content: bytes, most: int) -> tuple[Line, ...]:
    """Return the URLs of an include in order, not many more than *most*.

    Either directive holds until the next.
    """
    lines: list[Line] = []
    once = False
    for number, raw in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        text = raw.strip()
        for directive in (ONCE, INCLUDE):
            if text.lower().startswith(directive):
                once, text = directive == ONCE, text[len(directive) :].strip()
                break
        if len(lines) > most:
            break
        if text and not text.startswith("#"):
            problem = _problem(text)
            lines.append(Line(text, once, f"line {number}: {problem}" if problem else ""))
    return tuple(lines)


def shown(url: str) -> str:
    """Return *url* without what may be secret in it: user, password, query and fragment."""
    found = _split(url)
    if found is None or not found.hostname:
        return "a URL"
    port = f":{found.port}" if found.port else ""
    host = f"[{found.hostname}]" if ":" in found.hostname else found.hostname
    return f"{found.scheme}://{host}{port}{found.path[:200]}"


def _problem(url: str) -> str:
    found = _split(url)
    if found is None or not found.scheme:
        return "expected a URL such as https://example.com/user-data"
    if found.scheme not in SCHEMES:
        return f"expected a URL of http or https, got one of {found.scheme[:20]!r}"
    if not found.hostname or len(url) > LONGEST_URL:
        return "expected a URL such as https://example.com/user-data"
    return ""


def _split(url: str) -> SplitResult | None:
    """Return the parts of *url*, None when it is none."""
    if not url.isprintable() or " " in url:
        return None
    try:
        found = urlsplit(url)
        good = found.port != 0  # The port is read only here, and may be none.
    except ValueError:
        return None
    return found if good else None
