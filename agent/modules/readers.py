"""Readers of raw YAML values that several modules share. Each raises ValueError("expected …")."""

import re
from typing import Any

from ..secret import Secret

# Modes people write. A plain integer whose digits spell one of these lacks its quotes.
_USUAL_MODES = frozenset(
    special + mode
    for special in ("", "0", "1", "2", "3", "4", "6")
    for mode in (
        "400 440 444 500 550 555 600 620 640 644 660 664 666 "
        "700 710 711 750 751 755 770 771 775 777"
    ).split()
)
_OCTAL = re.compile(r"(0o)?[0-7]{3,4}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]*\$?")
_OWNER = re.compile(r"[^\s:]+(:[^\s:]+)?")


def read_mode(raw: object) -> int:
    """Return permissions given as octal text, or as the integer YAML makes of unquoted 0644."""
    # Unquoted 0644 is octal to YAML and arrives as 420, the mode that was meant; 644 is not.
    if type(raw) is int and 0 <= raw <= 0o7777:
        if str(raw) in _USUAL_MODES:
            raise ValueError(f"expected octal permissions such as '0{raw}' in quotes, got {raw}")
        return raw
    if isinstance(raw, str) and _OCTAL.fullmatch(raw):
        return int(raw, 8)
    raise ValueError(f"expected octal permissions such as '0644', got {raw!r}")


def read_owner(raw: object) -> str:
    """Return `user` or `user:group`."""
    if isinstance(raw, str) and _OWNER.fullmatch(raw):
        return raw
    raise ValueError(f"expected an owner such as 'root:root', got {raw!r}")


def read_path(raw: object) -> str:
    """Return an absolute path."""
    if isinstance(raw, str) and raw.startswith("/") and "\0" not in raw and "\n" not in raw:
        return raw
    raise ValueError(f"expected an absolute path, got {raw!r}")


def read_name(raw: object) -> str:
    """Return the name of a user or group; a number is taken as it is written."""
    text = str(raw) if type(raw) is int else raw
    if isinstance(text, str) and len(text) <= 256 and _NAME.fullmatch(text):
        return text
    raise ValueError(f"expected a user or group name, got {raw!r}")


def read_names(raw: object) -> tuple[str, ...]:
    """Return names given as a list, as text with commas between them, or as a mapping's keys."""
    return tuple(read_name(word) for word in read_words(raw))


def read_words(raw: object) -> tuple[str, ...]:
    """Return the words of a list, of text with commas between them, or of a mapping's keys."""
    words: list[Any]
    if isinstance(raw, str):
        words = raw.split(",")
    elif isinstance(raw, (list, dict)):
        words = list(raw)
    else:
        raise ValueError("expected a list, or text with commas between the words")
    if not all(type(word) in (str, int) for word in words):
        raise ValueError("expected a list of words")
    return tuple(word for word in (str(word).strip() for word in words) if word)


def read_line(raw: object) -> str:
    """Return text of one line."""
    if isinstance(raw, str) and not re.search(r"[\n\r\0]", raw):
        return raw
    raise ValueError("expected text on one line")


def read_content(raw: object) -> Secret:
    """Return text or binary as the bytes it stands for."""
    if isinstance(raw, str):
        return Secret(raw.encode())
    if isinstance(raw, bytes):
        return Secret(raw)
    raise ValueError(f"expected text, got {kind(raw)}")


def kind(raw: object) -> str:
    """Name the YAML type of a value that must not be shown."""
    names = {dict: "a mapping", list: "a list", str: "text", bool: "a yes or no", int: "a number"}
    return names.get(type(raw), "nothing" if raw is None else "something else")
