"""locale: the language of programs, made first where the distribution makes locales on demand."""

import re
from typing import Annotated, NamedTuple, Optional, Union

from ..errors import ConfigError
from .base import Context, Frequency, Module, Stage
from .families import family
from .readers import kind, read_path

GENERATED = "/etc/locale.gen"
SUPPORTED = "/usr/share/i18n/SUPPORTED"
_LOCALE = re.compile(r"[A-Za-z]{1,8}(_[A-Za-z]{2,8})?(\.[A-Za-z0-9_-]+)?(@[a-z]+)?")
# Part of the C library; nothing has to be made.
_ALWAYS_THERE = frozenset({"C", "POSIX", "C.UTF-8", "C.utf8"})


def read_locale(raw: object) -> Union[bool, str]:
    """Return a locale such as de_DE.UTF-8, or False for none to be set."""
    if isinstance(raw, bool) or (isinstance(raw, str) and _LOCALE.fullmatch(raw)):
        return raw
    raise ValueError(f"expected a locale such as 'de_DE.UTF-8', got {kind(raw)}")


class Locale(NamedTuple):
    """The language of programs."""

    locale: Annotated[Union[bool, str], read_locale] = False
    """Locale such as `de_DE.UTF-8`; false leaves the image's."""
    locale_configfile: Annotated[Optional[str], read_path] = None
    """File that names the locale, in the place of the distribution's."""


def apply(section: Locale, context: Context) -> None:
    """Make the locale if need be, then name it to every program."""
    if isinstance(section.locale, bool):
        return
    host = context.host
    if section.locale not in _ALWAYS_THERE:
        _make(section.locale, context)
    facts = family(host)
    path = section.locale_configfile or facts.locale_file
    line = facts.locale_line.format(locale=section.locale)
    before = (host.read(path) or b"").decode("utf-8", "replace")
    host.write(path, with_line(before, line).encode())


def with_line(text: str, line: str) -> str:
    """Return *text* with *line* in the place of those that set the same variable."""
    start = line.partition("=")[0] + "="
    lines = text.splitlines()
    places = [n for n, each in enumerate(lines) if each.strip().startswith(start)]
    if places:
        lines[places[0]] = line
        lines = [each for n, each in enumerate(lines) if n not in places[1:]]
    else:
        lines.append(line)
    return "".join(f"{each}\n" for each in lines)


def _make(locale: str, context: Context) -> None:
    """Have locale-gen make the locale, where the distribution has such a program."""
    host = context.host
    supported = host.read(SUPPORTED)
    if supported is None and host.kind(GENERATED) is None:
        return
    wanted = _charsets(supported or b"", locale)
    if supported is not None and not wanted:
        raise ConfigError(f"locale: no such locale: {locale!r}; {SUPPORTED} lists them")
    before = (host.read(GENERATED) or b"").decode("utf-8", "replace")
    line = f"{locale} {wanted[0] if wanted else locale.partition('.')[2] or 'ISO-8859-1'}"
    after = _with_locale(before, line)
    if after == before:
        return
    if host.which("locale-gen") is None:
        raise ConfigError("locale: there is no locale-gen; the package locales is not installed")
    host.write(GENERATED, after.encode())
    completed = host.run(["locale-gen"], timeout=600)
    if completed.status != 0:
        host.write(GENERATED, before.encode())
        raise ConfigError(f"locale: locale-gen ended with status {completed.status}")


def _charsets(supported: bytes, locale: str) -> list[str]:
    lines = (line.split() for line in supported.decode("utf-8", "replace").splitlines())
    return [words[1] for words in lines if len(words) == 2 and words[0] == locale]


def _with_locale(text: str, line: str) -> str:
    """Return /etc/locale.gen with *line* among its locales."""
    lines = text.splitlines()
    if line in (each.strip() for each in lines):
        return text
    for n, each in enumerate(lines):
        if each.lstrip("# ").strip() == line:
            lines[n] = line
            break
    else:
        lines.append(line)
    return "".join(f"{each}\n" for each in lines)


MODULE = Module("locale", Locale, Stage.CONFIG, Frequency.INSTANCE, apply)
