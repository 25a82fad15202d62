"""Times and lengths of time as people write them. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Final

LONGEST: Final = 366 * 86400.0
LATEST: Final = 253_402_300_799.0
"""The end of the year 9999, after which times have no text."""
SECONDS: Final = f"seconds from 0 to {LONGEST:.0f}, or a length of time such as 90s, 5m or 1h30m"
MOMENT: Final = "a time with its zone such as 2026-01-31T12:00:00Z, or seconds since 1970"

_UNITS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LENGTH: Final = re.compile(
    r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m(?!s))?(?:(\d{1,9}(?:\.\d{1,6})?)s)?(?:(\d{1,9})ms)?",
    re.ASCII,
)
_NUMBER: Final = re.compile(r"\d{1,9}(?:\.\d{1,6})?", re.ASCII)
_SINCE: Final = re.compile(r"\d{1,12}(?:\.\d{1,6})?", re.ASCII)


def read_seconds(text: str) -> float:
    """Return the seconds that *text* says; ValueError when it says none."""
    if _NUMBER.fullmatch(text):
        found = float(text)
    else:
        parts = _LENGTH.fullmatch(text)
        if not text or parts is None:
            raise ValueError(SECONDS)
        found = sum(
            float(number) * unit
            for number, unit in zip(parts.groups(), _UNITS.values())
            if number is not None
        )
    if found > LONGEST:
        raise ValueError(SECONDS)
    return found


def read_moment(text: str) -> float:
    """Return the time that *text* says, in seconds since 1970; ValueError when it says none."""
    if _SINCE.fullmatch(text):
        found = float(text)
    else:
        # Python before 3.11 does not know Z.
        moment = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
        if moment.tzinfo is None:
            raise ValueError(MOMENT)
        found = moment.timestamp()
    if not 0 <= found <= LATEST:
        raise ValueError(MOMENT)
    return found


def moment(seconds: float) -> str:
    """Return a time as the API shows it, to the millisecond when it has a fraction."""
    shown = datetime.fromtimestamp(seconds, timezone.utc)
    text = shown.isoformat(timespec="milliseconds" if shown.microsecond >= 500 else "seconds")
    return text.replace("+00:00", "Z")
