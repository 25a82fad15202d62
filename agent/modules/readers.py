"""Readers of raw YAML values that several modules share. Each raises ValueError("expected …")."""

import re
from typing import Any, Optional

from ..secret import Secret

# Modes people write. A plain integer whose digits spell one of these lacks its quotes.
_USUAL_MODES = re.compile(
    "[012346]?(400|44[04]|500|55[05]|600|620|64[04]|66[046]|7[01]0|711|75[015]|77[0157])"
)
_OCTAL = re.compile(r"(0o)?[0-7]{3,4}")
LONGEST_MODE = 4
"""Characters of a mode that may be quoted: too few to be anybody's secret."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]*\$?")
_OWNER = re.compile(r"[^\s:]+(:[^\s:]+)?")


def read_mode(raw: object) -> int:
    """Return permissions given as octal text, or as the integer YAML makes of unquoted 0644."""
    # Unquoted 0644 is octal to YAML and arrives as 420, the mode that was meant; 644 is not.
    if type(raw) is int and 0 <= raw <= 0o7777:
        if _USUAL_MODES.fullmatch(str(raw)):
            raise ValueError(f"expected octal permissions such as '0{raw}' in quotes, got {raw}")
        return raw
    if isinstance(raw, str) and _OCTAL.fullmatch(raw):
        return int(raw, 8)
    shown = repr(raw) if isinstance(raw, str) and len(raw) <= LONGEST_MODE else kind(raw)
    raise ValueError(f"expected octal permissions such as '0644', got {shown}")


def read_owner(raw: object) -> str:
    """Return `user` or `user:group`."""
    if isinstance(raw, str) and _OWNER.fullmatch(raw):
        return raw
    raise ValueError(f"expected an owner such as 'root:root', got {kind(raw)}")


def read_path(raw: object) -> str:
    """Return an absolute path."""
    if isinstance(raw, str) and raw.startswith("/") and "\0" not in raw and "\n" not in raw:
        return raw
    raise ValueError(f"expected an absolute path, got {kind(raw)}")


def read_name(raw: object) -> str:
    """Return the name of a user or group; a number is taken as it is written."""
    text = str(raw) if type(raw) is int else raw
    if isinstance(text, str) and len(text) <= 256 and _NAME.fullmatch(text):
        return text
    if isinstance(raw, str) and ":" in raw:
        # What follows the colon may be a password that belongs elsewhere.
        raise ValueError("expected a user or group name, got text with ':' in it")
    raise ValueError(f"expected a user or group name, got {kind(raw)}")


def read_names(raw: object) -> tuple[str, ...]:
    """Return names given as a list, as text with commas between them, or as a mapping's keys."""
    return tuple(read_name(word) for word in read_words(raw))


def read_words(raw: object) -> tuple[str, ...]:
    """Return the words of a list, of text with commas between them, or of a mapping's keys."""
    words: list[Any] = raw.split(",") if isinstance(raw, str) else []
    if isinstance(raw, (list, dict)):
        words = list(raw)
    if not isinstance(raw, (str, list, dict)) or {type(word) for word in words} - {str, int}:
        raise ValueError(f"expected words in a list or with commas between them, got {kind(raw)}")
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


# What may stand in the password field of shadow; length of the body where it is fixed.
_HASH = re.compile(r"[!*]*(\$[^\s:]+|[./0-9A-Za-z]{13})?")
_BODIES = {"1": 22, "5": 43, "6": 86, "y": 43, "2a": 53, "2b": 53, "2y": 53}


def read_hash(raw: object) -> Secret:
    """Return a crypt(3) hash; plain text is refused, as it would end readable in shadow."""
    if isinstance(raw, str) and raw and _HASH.fullmatch(raw):
        return Secret(raw.encode())
    raise ValueError("expected a crypt(3) hash such as '$6$…'")


def is_hash(text: str) -> bool:
    """Say whether *text* is meant as a crypt(3) hash and not as a password."""
    return re.fullmatch(r"\$(1|2a|2b|2y|5|6|7|y)(\$[^:\s$]+){2,4}", text) is not None


def what_is_wrong_with(hash_: Secret) -> Optional[str]:
    """Say, without showing it, why nobody can log in with this hash; None when all is well."""
    text = hash_.reveal().decode("ascii", "replace").lstrip("!")
    scheme, _, rest = text.lstrip("$").partition("$")
    expected = _BODIES.get(scheme) if text.startswith("$") else None
    length = len(rest.rpartition("$")[2])
    if expected is not None and length != expected:
        return f"the hash is not whole: expected {expected} characters at its end, got {length}"
    return None


def read_text_password(raw: object) -> Secret:
    """Return a password in plain text; a number is taken as it is written."""
    text = str(raw) if type(raw) is int else raw
    if isinstance(text, str) and text and not re.search(r"[\n\r\0]", text):
        return Secret(text.encode())
    raise ValueError("expected a password on one line")
