"""Texts of apt's lists of sources: one line each, and deb822; pure."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_NAME = re.compile(r"\$\{(\w+)\}|\$(\w+)|\{\{\s*(\w+)\s*\}\}")
_SHORT = {
    "updates": "$RELEASE-updates",
    "backports": "$RELEASE-backports",
    "security": "$RELEASE-security",
    "proposed": "$RELEASE-proposed",
    "release": "$RELEASE",
}
DISABLED = "# disabled by linklocal-agent: "


class Distribution(NamedTuple):
    """What a distribution's own list of sources names."""

    primary: str
    security: str
    ports: str
    """The mirror of what is neither amd64 nor i386."""
    components: str
    suites: tuple[str, ...]
    """Of the primary mirror, without the security updates."""
    keyring: str


DISTRIBUTIONS = {
    "debian": Distribution(
        primary="https://deb.debian.org/debian",
        security="https://deb.debian.org/debian-security",
        ports="https://deb.debian.org/debian",
        components="main",
        suites=("$RELEASE", "$RELEASE-updates", "$RELEASE-backports"),
        keyring="/usr/share/keyrings/debian-archive-keyring.gpg",
    ),
    "ubuntu": Distribution(
        primary="http://archive.ubuntu.com/ubuntu",
        security="http://security.ubuntu.com/ubuntu",
        ports="http://ports.ubuntu.com/ubuntu-ports",
        components="main restricted universe multiverse",
        suites=("$RELEASE", "$RELEASE-updates", "$RELEASE-backports"),
        keyring="/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    ),
}


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return *text* with $NAME, ${NAME} and {{ NAME }} filled in; other names stay."""

    def value(found: "re.Match[str]") -> str:
        name = (found[1] or found[2] or found[3]).upper()
        return values.get("RELEASE" if name == "CODENAME" else name, found[0])

    if text.startswith("## template:"):
        text = text.partition("\n")[2]
    return _NAME.sub(value, text)


def one_line(of: Distribution) -> str:
    """Return the distribution's own list, one source a line."""
    lines = []
    for mirror, suite in _pairs(of):
        lines += [f"{kind} {mirror} {suite} {of.components}" for kind in ("deb", "deb-src")]
    return "".join(f"{line}\n" for line in lines)


def deb822(of: Distribution) -> str:
    """Return the distribution's own list as stanzas."""
    text = ""
    for mirror, suites in (("$PRIMARY", " ".join(of.suites)), ("$SECURITY", "$RELEASE-security")):
        text += f"Types: deb deb-src\nURIs: {mirror}\nSuites: {suites}\n"
        text += f"Components: {of.components}\nSigned-By: {of.keyring}\n\n"
    return text.rstrip("\n") + "\n"


def _pairs(of: Distribution) -> list[tuple[str, str]]:
    first, *others = of.suites
    return [
        ("$PRIMARY", first),
        ("$SECURITY", "$RELEASE-security"),
        *[("$PRIMARY", suite) for suite in others],
    ]


def is_deb822(text: str) -> bool:
    """Say whether *text* has stanzas rather than lines."""
    return re.search(r"(?mi)^types\s*:", text) is not None


def without_suites(text: str, disabled: Sequence[str], release: str) -> str:
    """Return *text* with the sources of the *disabled* suites made comments."""
    names = {filled(_SHORT.get(each, each), {"RELEASE": release}) for each in disabled}
    if not names:
        return text
    return _stanzas_without(text, names) if is_deb822(text) else _lines_without(text, names)


def _lines_without(text: str, names: set[str]) -> str:
    lines = []
    for line in text.splitlines():
        # Options in brackets may hold blanks.
        words = re.sub(r"\[[^\]]*\]", "", line).split()
        gone = len(words) > 2 and not line.lstrip().startswith("#") and words[2] in names
        lines.append(f"{DISABLED}{line}" if gone else line)
    return "".join(f"{line}\n" for line in lines)


def _stanzas_without(text: str, names: set[str]) -> str:
    stanzas = re.split(r"\n\s*\n", text.strip("\n"))
    return "\n\n".join(_stanza_without(stanza, names) for stanza in stanzas) + "\n"


def _stanza_without(stanza: str, names: set[str]) -> str:
    found = re.search(r"(?mi)^suites\s*:(.*(?:\n[ \t].*)*)", stanza)
    if found is None:
        return stanza
    suites = found[1].split()
    left = [suite for suite in suites if suite not in names]
    if left == suites:
        return stanza
    if not left:
        return "\n".join(f"{DISABLED}{line}" for line in stanza.splitlines())
    return f"{stanza[: found.start()]}Suites: {' '.join(left)}{stanza[found.end() :]}"
