"""Values of a network document, typed, with the place in every refusal and never a secret.

A malformed item of a list is left out and named; so is a malformed key, except where a link could
not be told from another without it: then the link is left out. A machine that has lost one route
can still be reached and mended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Callable, TypeVar

from ..report import Report

T = TypeVar("T")

LONGEST_LIST = 1000
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}|[0-9a-f]{2}(:[0-9a-f]{2}){19}")
# What the kernel takes (at most 15 characters), less what a file or a shell would read otherwise.
_DEVICE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,15}")
_PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]!-]{1,64}")
_DOMAIN = re.compile(r"(?=.{1,253}$)~?[A-Za-z0-9_]?[A-Za-z0-9_.-]*")
_WORD = re.compile(r"[A-Za-z0-9_.,:+/-]{1,128}")
_KINDS = (
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number with a fraction"),
    (str, "text"),
    (Mapping, "a mapping"),
    ((list, tuple), "a list"),
    (type(None), "nothing"),
)


class Unusable(ValueError):
    """The item cannot be used; the text says why, with the place."""


class Reader:
    """One mapping of the document; what nobody asked it for is unknown, and told by `end`."""

    def __init__(self, raw: object, place: str, report: Report) -> None:
        if not isinstance(raw, Mapping):
            raise Unusable(f"{place}: expected a mapping, got {kind(raw)}")
        self.raw: Mapping[Any, Any] = raw
        self.place = place
        self.report = report
        self._asked: set[str] = set()

    def at(self, key: object) -> str:
        """Return the place of *key*."""
        return f"{self.place}.{key}" if self.place else str(key)

    def get(self, *keys: str) -> Any:
        """Return the raw value of the first of *keys*, spellings of one, that has one."""
        self._asked.update(keys)
        return next((self.raw[key] for key in keys if self.raw.get(key) is not None), None)

    def take(self, read: Callable[[Any], T], *keys: str) -> T | None:
        """Return what *read* makes of the value; None without one, or when it is refused."""
        raw = self.get(*keys)
        if raw is None:
            return None
        try:
            return read(raw)
        except ValueError as error:
            self.report.refused(self.at(self._spelling(keys)), str(error))
            return None

    def flag(self, *keys: str) -> bool:
        """Return whether it is true; it is not when it is absent."""
        return self.take(boolean, *keys) or False

    def need(self, read: Callable[[Any], T], *keys: str) -> T:
        """Return what *read* makes of the value; Unusable without one, or when it is malformed."""
        raw = self.get(*keys)
        if raw is None:
            raise Unusable(f"{self.place}: missing key {keys[0]!r}")
        return self._checked(read, raw, keys)

    def sure(self, read: Callable[[Any], T], *keys: str) -> T | None:
        """Return what *read* makes of the value, None without one; Unusable when malformed."""
        raw = self.get(*keys)
        return None if raw is None else self._checked(read, raw, keys)

    def _checked(self, read: Callable[[Any], T], raw: object, keys: tuple[str, ...]) -> T:
        try:
            return read(raw)
        except Unusable:
            raise
        except ValueError as error:
            raise Unusable(f"{self.at(self._spelling(keys))}: {error}") from None

    def each(self, read: Callable[[Any, str], T], *keys: str) -> tuple[T, ...]:
        """Return what *read* makes of the items of a list, given each with its place."""
        raw = self.get(*keys)
        place = self.at(self._spelling(keys))
        if raw is None:
            return ()
        if not isinstance(raw, (list, tuple)):
            self.report.refused(place, f"expected a list, got {kind(raw)}")
            return ()
        if len(raw) > LONGEST_LIST:
            self.report.refused(place, f"expected at most {LONGEST_LIST} items, got {len(raw)}")
            return ()
        found = []
        for number, item in enumerate(raw):
            here = f"{place}[{number}]"
            try:
                found.append(read(item, here))
            except Unusable as error:
                self.report.refused(*parted(str(error), here))
            except ValueError as error:
                self.report.refused(here, str(error))
        return tuple(found)

    def list_of(self, read: Callable[[Any], T], *keys: str) -> tuple[T, ...]:
        """Return what *read* makes of each item; one value alone, or words of one text, will do."""
        raw = self.get(*keys)
        if isinstance(raw, str):
            raw = raw.replace(",", " ").split()
        if raw is None:
            return ()
        items = raw if isinstance(raw, (list, tuple)) else [raw]
        place = self.at(self._spelling(keys))
        found = []
        for number, item in enumerate(items[:LONGEST_LIST]):
            try:
                found.append(read(item))
            except ValueError as error:
                self.report.refused(f"{place}[{number}]", str(error))
        return tuple(dict.fromkeys(found))

    def below(self, *keys: str) -> Reader | None:
        """Return the reader of the mapping at *keys*; None when there is none."""
        raw = self.get(*keys)
        if raw is None:
            return None
        place = self.at(self._spelling(keys))
        if not isinstance(raw, Mapping):
            self.report.refused(place, f"expected a mapping, got {kind(raw)}")
            return None
        return Reader(raw, place, self.report)

    def children(self, *keys: str) -> Iterator[tuple[str, Any, str]]:
        """Give name, raw value and place of each thing in the mapping at *keys*."""
        below = self.below(*keys)
        if below is not None:
            for name, raw in below.raw.items():
                yield str(name), raw, below.at(name)

    def ignore(self, *keys: str) -> None:
        """Know *keys* and make nothing of them."""
        self._asked.update(keys)

    def end(self, elsewhere: Iterable[str] = ()) -> None:
        """Warn of every key that nobody asked for; *elsewhere* are those that are right."""
        for key in self.raw:
            if key in self._asked or (isinstance(key, str) and key.startswith("x-")):
                continue
            if key in elsewhere:
                self.report.warning(self.at(key), "not applied by this version")
            else:
                self.report.warning(self.at(key), f"unknown key{nearest(key, self._asked)}")

    def _spelling(self, keys: tuple[str, ...]) -> str:
        return next((key for key in keys if self.raw.get(key) is not None), keys[0])


def parted(text: str, place: str) -> tuple[str, str]:
    """Return place and words of an Unusable's *text*, which begins at or below *place*."""
    head, colon, words = text.partition(": ")
    return (head, words) if colon and head.startswith(place) else (place, text)


def nearest(key: object, known: Iterable[str]) -> str:
    """Return words that name the nearest known key."""
    # Imported for those who mistype: difflib costs more than a whole document.
    from difflib import get_close_matches

    near = get_close_matches(key, known, 1) if isinstance(key, str) else ()
    return f", nearest is {near[0]!r}" if near else ""


def kind(raw: object) -> str:
    """Return what *raw* is, in the user's words and without the value."""
    for types, words in _KINDS:
        if isinstance(raw, types):
            return words
    return f"a {type(raw).__name__}"


def text(raw: object) -> str:
    """Return text without control characters."""
    if not isinstance(raw, str):
        raise _expected("text", raw)
    if not raw or any(ord(character) < 32 or ord(character) == 127 for character in raw):
        raise ValueError("expected text on one line")
    return raw


def word(raw: object) -> str:
    """Return a word as options have it; numbers and truth are words, too."""
    if isinstance(raw, bool):
        return "1" if raw else "0"
    if isinstance(raw, int):
        return str(raw)
    return _matching(_WORD, raw, "a word of letters, digits and -_.,:+/")


def boolean(raw: object) -> bool:
    """Return true or false, also spelled on and off, yes and no."""
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    value = words.get(raw.lower()) if isinstance(raw, str) else raw
    if raw in (0, 1) and isinstance(raw, int):
        return bool(raw)
    if isinstance(value, bool):
        return value
    raise _expected("true or false", raw)


def integer(low: int, high: int) -> Callable[[object], int]:
    """Return the reader of whole numbers from *low* to *high*."""

    def read(raw: object) -> int:
        value = raw
        if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < 20:
            value = int(raw)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _expected(f"a whole number from {low} to {high}", raw)
        if not low <= value <= high:
            raise ValueError(f"expected a whole number from {low} to {high}, got {value}")
        return value

    return read


MTU = integer(68, 2**31 - 1)
METRIC = integer(0, 2**32 - 1)
TABLE = integer(1, 2**32 - 1)
VLAN_ID = integer(0, 4094)


def mac(raw: object) -> str:
    """Return a hardware address in small letters: six bytes, or InfiniBand's twenty."""
    if isinstance(raw, str):
        lower = raw.strip().lower().replace("-", ":")
        if _MAC.fullmatch(lower):
            return lower
    # 12:34:56:00:11:22 without quotes is a number in base 60 to YAML 1.1.
    quotes = ": put it in quotes" if isinstance(raw, int) else ""
    got = f"{shown(raw)}{quotes}"
    raise ValueError(f"expected a hardware address such as 'fa:16:3e:f7:c1:47', got {got}")


def device(raw: object) -> str:
    """Return the name of a device."""
    what = "the name of a device, at most 15 letters, digits and -_."
    return _matching(_DEVICE, raw, what)


def pattern(raw: object) -> str:
    """Return a pattern of the shell."""
    return _matching(_PATTERN, raw, "a name or a pattern such as 'en*'")


def domain(raw: object) -> str:
    """Return a domain."""
    return _matching(_DOMAIN, raw, "a domain such as 'example.com'")


def address(raw: object) -> str:
    """Return an address without a prefix."""
    if isinstance(raw, str):
        try:
            return str(ip_address(raw.strip()))
        except ValueError:
            pass
    raise ValueError(f"expected an address, got {shown(raw)}")


def interface(raw: object, mask: object = None) -> str:
    """Return an address with the length of its network; *mask* gives it where *raw* does not."""
    if isinstance(raw, str):
        words = raw.strip()
        if "/" not in words and mask is not None:
            words = f"{words}/{prefix(mask)}"
        try:
            return ip_interface(words).with_prefixlen
        except ValueError:
            pass
    raise ValueError(f"expected an address such as '192.0.2.10/24', got {shown(raw)}")


def prefix(mask: object) -> int:
    """Return the length that *mask* stands for: a number, or ones and zeros as an address."""
    if isinstance(mask, int) and not isinstance(mask, bool) and 0 <= mask <= 128:
        return mask
    if isinstance(mask, str):
        if mask.isascii() and mask.isdigit() and int(mask[:4]) <= 128:
            return int(mask)
        try:
            found = ip_address(mask.strip())
        except ValueError:
            pass
        else:
            bits = f"{int(found):0{found.max_prefixlen}b}"
            if "01" not in bits:
                return bits.count("1")
    raise ValueError(f"expected a netmask or a length, got {shown(mask)}")


def network(raw: object, mask: object = None) -> str:
    """Return a network; an address without length or *mask* is one machine."""
    if isinstance(raw, str):
        words = raw.strip()
        if "/" not in words and mask is not None:
            words = f"{words}/{prefix(mask)}"
        try:
            return str(ip_network(words, strict=False))
        except ValueError:
            pass
    raise ValueError(f"expected a network such as '192.0.2.0/24', got {shown(raw)}")


def shown(raw: object) -> str:
    """Return a value that is no secret for an error's text: short, or only what it is."""
    if isinstance(raw, str) and len(raw) <= 64 and raw.isprintable():
        return repr(raw)
    return kind(raw)


def _matching(form: re.Pattern[str], raw: object, what: str) -> str:
    if isinstance(raw, str) and form.fullmatch(raw):
        return raw
    raise ValueError(f"expected {what}, got {shown(raw)}")


def _expected(what: str, raw: object) -> ValueError:
    return ValueError(f"expected {what}, got {kind(raw)}")
