"""apt: where packages come from: sources and their keys, mirrors, proxies, answers to questions.

Before anything is installed, so that it all holds for what is.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, Optional

from ..errors import ConfigError, HostError
from ..secret import Secret
from .apt_keys import KEYSERVER, put_key, read_keyid
from .apt_mirrors import Mirror, mirrors
from .apt_sources import (
    DISTRIBUTIONS,
    Distribution,
    deb822,
    filled,
    is_deb822,
    one_line,
    without_suites,
)
from .base import Context, Frequency, Module, Stage
from .families import os_release
from .items import load_item
from .package_tools import Packages, tool
from .readers import kind, read_line, read_words

LIST = "/etc/apt/sources.list"
PARTS = "/etc/apt/sources.list.d"
TRUSTED = "/etc/apt/trusted.gpg.d"
KEYRINGS = "/etc/apt/keyrings"
CONFIG = "/etc/apt/apt.conf.d/94linklocal-config"
PROXY = "/etc/apt/apt.conf.d/90linklocal-proxy"
REPOSITORY = r"^[\w-]+:\w"
_FILE = re.compile(r"(/[^\0\n]*/)?[A-Za-z0-9_. +~-]+")


def read_proxy(raw: object) -> Secret:
    """Return the URL of a proxy, which may hold a password."""
    if isinstance(raw, str) and raw.isprintable() and not re.search(r'["\\;\s]', raw):
        return Secret(raw.encode())
    raise ValueError("expected a proxy such as 'http://proxy.example.com:3128/'")


def read_file(raw: object) -> str:
    """Return the name of a list of sources, or its absolute path."""
    if isinstance(raw, str) and _FILE.fullmatch(raw) and not re.search(r"(^|/)\.\.?(/|$)", raw):
        return raw
    raise ValueError(f"expected the name of a file such as 'example.list', got {kind(raw)}")


def read_pattern(raw: object) -> str:
    """Return a regular expression."""
    try:
        return re.compile(str(raw)).pattern
    except re.error as error:
        raise ValueError(f"expected a regular expression: {error}") from None


class Source(NamedTuple):
    """A source of packages, and the key that signs it."""

    source: Optional[str] = None
    """Its line or stanza; $MIRROR, $PRIMARY, $SECURITY, $RELEASE and $KEY_FILE are filled in.
    `ppa:…` goes to add-apt-repository."""
    key: Optional[str] = None
    """Its public key, from BEGIN to END."""
    keyid: Annotated[Optional[str], read_keyid] = None
    """The fingerprint of its key, to be fetched."""
    keyserver: Annotated[str, read_line] = KEYSERVER
    """Where keys are fetched from."""
    filename: Annotated[Optional[str], read_file] = None
    """Its file, below /etc/apt/sources.list.d; the source's own name by default."""
    append: bool = True
    """Keep what is in that file; it is added but once."""


class AptSettings(NamedTuple):
    """Where packages come from."""

    preserve_sources_list: Optional[bool] = None
    """Leave the distribution's list alone; Debian's images do by default, Ubuntu's do not."""
    primary: tuple[Mirror, ...] = ()
    """Mirrors of the distribution, by architecture."""
    security: tuple[Mirror, ...] = ()
    """Mirrors of its security updates; the primary one by default."""
    disable_suites: Annotated[tuple[str, ...], read_words] = ()
    """Suites to be left out: `updates`, `backports`, `security`, `proposed`, or by full name."""
    sources_list: Optional[str] = None
    """The whole list in the place of the distribution's, lines or stanzas."""
    sources: Any = None
    """Further sources by name."""
    conf: Optional[str] = None
    """Configuration of apt."""
    proxy: Annotated[Optional[Secret], read_proxy] = None
    """The same as `http_proxy`."""
    http_proxy: Annotated[Optional[Secret], read_proxy] = None
    """Proxy for http."""
    https_proxy: Annotated[Optional[Secret], read_proxy] = None
    """Proxy for https."""
    ftp_proxy: Annotated[Optional[Secret], read_proxy] = None
    """Proxy for ftp."""
    debconf_selections: Mapping[str, Secret] = {}
    """Answers to the questions of packages, lines of debconf-set-selections under any name."""
    add_apt_repo_match: Annotated[str, read_pattern] = REPOSITORY
    """Which sources go to add-apt-repository, as a regular expression."""
    generate_mirrorlists: bool = False
    """Write the mirrors to /etc/apt/mirrors and leave the list alone."""


class Apt(NamedTuple):
    """Where packages come from."""

    apt: Optional[AptSettings] = None
    """Where packages come from."""
    apt_sources: Any = None
    """Deprecated: `apt.sources`."""
    apt_mirror: Any = None
    """Deprecated: `apt.primary`."""
    apt_mirror_search: Any = None
    """Deprecated: `apt.primary`."""
    apt_mirror_search_dns: Any = None
    """Deprecated: `apt.primary`."""
    apt_proxy: Any = None
    """Deprecated: `apt.proxy`."""
    apt_http_proxy: Any = None
    """Deprecated: `apt.http_proxy`."""
    apt_https_proxy: Any = None
    """Deprecated: `apt.https_proxy`."""
    apt_ftp_proxy: Any = None
    """Deprecated: `apt.ftp_proxy`."""
    apt_preserve_sources_list: Any = None
    """Deprecated: `apt.preserve_sources_list`."""
    apt_custom_sources_list: Any = None
    """Deprecated: `apt.sources_list`."""
    add_apt_repo_match: Any = None
    """Deprecated: `apt.add_apt_repo_match`."""


_OLD = {
    "apt_sources": "sources",
    "apt_proxy": "proxy",
    "apt_http_proxy": "http_proxy",
    "apt_https_proxy": "https_proxy",
    "apt_ftp_proxy": "ftp_proxy",
    "apt_preserve_sources_list": "preserve_sources_list",
    "apt_custom_sources_list": "sources_list",
    "add_apt_repo_match": "add_apt_repo_match",
}
_OLD_MIRROR = {
    "apt_mirror": "uri",
    "apt_mirror_search": "search",
    "apt_mirror_search_dns": "search_dns",
}


def apply(section: Apt, context: Context) -> None:
    """Answer questions, set the sources and what apt is told, then fetch the lists."""
    wanted = section.apt or _from_old(section, context)
    if wanted is None:
        return
    host = context.host
    if host.kind("/etc/apt", follow=True) != "directory":
        raise ConfigError("apt: this machine has no apt")
    _answer(wanted, context)
    said = os_release(host)
    of = DISTRIBUTIONS.get(said.get("ID", ""), DISTRIBUTIONS["debian"])
    values = mirrors(wanted.primary, wanted.security, of, said, context)
    changed = _own_list(wanted, of, said, values, context)
    _configure(wanted, context)
    changed = _further(wanted, values, context) or changed
    using = tool(host)
    if changed and using is not None and using.program == "apt-get":
        Packages(using, context).update(once=True)


def _from_old(section: Apt, context: Context) -> Optional[AptSettings]:
    """Return the settings of keys from before there was `apt`."""
    raw: dict[str, Any] = {}
    mirror: dict[str, Any] = {}
    for old, new in (*_OLD.items(), *_OLD_MIRROR.items()):
        value = getattr(section, old)
        if value in (None, ""):
            continue
        (mirror if old in _OLD_MIRROR else raw)[new] = value
        inside = "primary" if old in _OLD_MIRROR else new
        context.report.notice(old, f"deprecated, now spelled 'apt: {inside}'")
    if mirror:
        raw["primary"] = [{"arches": ["default"], **mirror}]
    sources = raw.get("sources")
    if isinstance(sources, list):
        raw["sources"] = {
            f"cloud_config_sources.list {n}": {"filename": "cloud_config_sources.list", **each}
            for n, each in enumerate(sources)
            if isinstance(each, Mapping)
        }
    return load_item(AptSettings, raw, "apt", context.report) if raw else None


def _answer(wanted: AptSettings, context: Context) -> None:
    if not wanted.debconf_selections:
        return
    host = context.host
    place = "apt.debconf_selections"
    if host.which("debconf-set-selections") is None:
        context.report.failed(place, "there is no debconf-set-selections here")
        return
    texts = [text.reveal() for _, text in sorted(wanted.debconf_selections.items())]
    content = b"".join(text.rstrip(b"\n") + b"\n" for text in texts)
    status = host.run(["debconf-set-selections"], stdin=Secret(content), timeout=60).status
    if status != 0:
        context.report.failed(place, f"debconf-set-selections: exit status {status}")


# --- the distribution's own list


def _own_list(
    wanted: AptSettings,
    of: Distribution,
    said: Mapping[str, str],
    values: Mapping[str, str],
    context: Context,
) -> bool:
    """Write the distribution's own list; say whether it is another now."""
    host = context.host
    asked = [
        key
        for key in ("primary", "security", "disable_suites", "sources_list")
        if getattr(wanted, key)
    ]
    preserve = wanted.preserve_sources_list
    if preserve is None:
        preserve = said.get("ID") != "ubuntu"
        if preserve and set(asked) - {"primary", "security"}:
            words = "the list stays as it is; say preserve_sources_list: false to have it written"
            context.report.warning(f"apt.{asked[-1]}", words)
    distribution = said.get("ID", "debian")
    if wanted.generate_mirrorlists:
        for name, value in (("", "PRIMARY"), ("-security", "SECURITY")):
            text = f"{values[value]}\n"
            host.write(f"/etc/apt/mirrors/{distribution}{name}.list", text.encode())
        return False
    if preserve or (not asked and wanted.preserve_sources_list is None):
        return False
    for name in ("primary", "security"):
        for n, mirror in enumerate(getattr(wanted, name)):
            put_key(mirror, name, f"apt.{name}[{n}]", TRUSTED, context)
    if not values["RELEASE"]:
        raise ConfigError("apt: the release is not known; expected VERSION_CODENAME in os-release")
    stanzas = f"{PARTS}/{distribution}.sources"
    has_stanzas = host.kind(stanzas) is not None
    usual = deb822(of) if has_stanzas else one_line(of)
    text = usual if wanted.sources_list is None else wanted.sources_list
    if not text.endswith("\n"):
        text += "\n"
    text = without_suites(filled(text, values), wanted.disable_suites, values["RELEASE"])
    path = stanzas if is_deb822(text) else LIST
    other = LIST if path == stanzas else stanzas
    before = host.read(path)
    host.write(path, text.encode())
    # What the new list is in the place of must not add its own sources.
    if host.kind(other) is not None and _names_sources(host.read(other) or b""):
        host.write(other, b"# The sources are in " + path.encode() + b".\n")
    return before != text.encode()


def _names_sources(content: bytes) -> bool:
    text = content.decode("utf-8", "replace")
    return re.search(r"(?mi)^\s*(deb(-src)?\s|types\s*:)", text) is not None


# --- further sources, keys, configuration


def _further(wanted: AptSettings, values: Mapping[str, str], context: Context) -> bool:
    """Add the further sources; say whether there are any."""
    raw = wanted.sources
    if raw is None:
        return False
    if not isinstance(raw, Mapping):
        context.report.refused("apt.sources", f"expected sources by name, got {kind(raw)}")
        return False
    changed = False
    for name, settings in raw.items():
        place = f"apt.sources.{name}"
        if not isinstance(settings, Mapping):
            context.report.refused(place, f"expected a source, got {kind(settings)}")
            continue
        source = load_item(Source, settings, place, context.report)
        if source is None:
            continue
        try:
            changed = _add(source, name, wanted, values, context) or changed
        except ValueError as error:
            context.report.refused(place, str(error))
        except HostError as error:
            context.report.failed(place, str(error))
    return changed


def _add(
    source: Source,
    name: object,
    wanted: AptSettings,
    values: Mapping[str, str],
    context: Context,
) -> bool:
    host = context.host
    place = f"apt.sources.{name}"
    file = source.filename or read_file(name)
    signed = source.source is not None and "KEY_FILE" in source.source
    stem = re.sub(r"\.(list|sources)$", "", file.rpartition("/")[2])
    key = put_key(source, stem, place, KEYRINGS if signed else TRUSTED, context)
    if source.source is None:
        return False
    if signed and key is None:
        raise ValueError("expected a key beside $KEY_FILE")
    text = filled(source.source, {**values, "KEY_FILE": key or ""}).rstrip("\n") + "\n"
    if re.search(wanted.add_apt_repo_match, text) is not None and not is_deb822(text):
        _add_repository(text.strip(), place, context)
        return True
    ending = ".sources" if is_deb822(text) else ".list"
    path = file if file.startswith("/") else f"{PARTS}/{file}"
    path = path if path.endswith(ending) else re.sub(r"\.(list|sources)$", "", path) + ending
    before = host.read(path)
    after = text.encode()
    if before is not None and source.append:
        after = before if after in before else before + (b"\n" if is_deb822(text) else b"") + after
    host.write(path, after)
    return before != after


def _add_repository(words: str, place: str, context: Context) -> None:
    host = context.host
    if host.which("add-apt-repository") is None:
        context.report.failed(place, "there is no add-apt-repository here")
        return
    completed = host.run(["add-apt-repository", "--no-update", "--yes", words], timeout=300)
    if completed.status != 0:
        context.report.failed(place, f"add-apt-repository: exit status {completed.status}")


def _configure(wanted: AptSettings, context: Context) -> None:
    host = context.host
    proxies = (
        ("http", wanted.proxy),
        ("http", wanted.http_proxy),
        ("ftp", wanted.ftp_proxy),
        ("https", wanted.https_proxy),
    )
    lines = [
        b'Acquire::%s::Proxy "%s";\n' % (name.encode(), proxy.reveal())
        for name, proxy in proxies
        if proxy is not None and proxy
    ]
    conf = b"" if wanted.conf is None else wanted.conf.rstrip("\n").encode() + b"\n"
    for path, content in ((PROXY, b"".join(lines)), (CONFIG, conf)):
        if content.strip():
            if path == CONFIG and not _is_taken(content, context):
                context.report.refused("apt.conf", "expected configuration that apt-config takes")
                continue
            host.write(path, Secret(content))
        elif host.kind(path) is not None:
            host.remove(path)


def _is_taken(content: bytes, context: Context) -> bool:
    """Say whether apt can read the configuration; with a broken one it does nothing at all."""
    host = context.host
    if not host.runs or host.which("apt-config") is None:
        return True
    draft = f"{context.scripts}/apt.conf.draft"
    host.write(draft, content, mode=0o600)
    try:
        return host.run(["apt-config", "-c", draft, "dump"], timeout=60).status == 0
    finally:
        host.remove(draft)


MODULE = Module("apt", Apt, Stage.CONFIG, Frequency.INSTANCE, apply)
