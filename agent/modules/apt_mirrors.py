"""Mirrors of a distribution: which one a machine takes, by architecture and by who is there."""

import re
from collections.abc import Mapping
from typing import Annotated, NamedTuple, Optional

from .apt_keys import KEYSERVER, read_keyid
from .apt_sources import Distribution
from .base import Context
from .hostname import Hostname, names
from .readers import read_line, read_words


def read_uri(raw: object) -> str:
    """Return where a mirror is."""
    if isinstance(raw, str) and re.fullmatch(r"[a-z][a-z0-9+.-]*:[^\s]+", raw):
        return raw.rstrip("/") if raw.count("/") > 3 else raw
    raise ValueError("expected a mirror such as 'http://deb.debian.org/debian'")


def read_uris(raw: object) -> tuple[str, ...]:
    """Return where mirrors are."""
    return tuple(map(read_uri, raw if isinstance(raw, list) else [raw]))


class Mirror(NamedTuple):
    """A mirror of the distribution's own packages."""

    arches: Annotated[tuple[str, ...], read_words] = ()
    """Architectures it is for; `default` is any other."""
    uri: Annotated[Optional[str], read_uri] = None
    """Where it is."""
    search: Annotated[tuple[str, ...], read_uris] = ()
    """Where it may be; the first whose host is known is taken."""
    search_dns: bool = False
    """Look for a host of the usual name in this machine's domain."""
    key: Optional[str] = None
    """Its public key, from BEGIN to END."""
    keyid: Annotated[Optional[str], read_keyid] = None
    """The fingerprint of its key, to be fetched."""
    keyserver: Annotated[str, read_line] = KEYSERVER
    """Where keys are fetched from."""


def mirrors(
    of_primary: tuple[Mirror, ...],
    of_security: tuple[Mirror, ...],
    of: Distribution,
    said: Mapping[str, str],
    context: Context,
) -> dict[str, str]:
    """Return what may be written as $NAME in a source."""
    architecture = _architecture(context)
    usual = of.primary if architecture in ("amd64", "i386") else of.ports
    primary = _mirror(of_primary, "primary", architecture, said, context)
    security = _mirror(of_security, "security", architecture, said, context)
    if security is None:
        security = primary or (of.security if usual == of.primary else of.ports)
    primary = primary or usual
    release = said.get("VERSION_CODENAME", "")
    return {"PRIMARY": primary, "MIRROR": primary, "SECURITY": security, "RELEASE": release}


def _mirror(
    mirrors: tuple[Mirror, ...],
    name: str,
    architecture: str,
    said: Mapping[str, str],
    context: Context,
) -> Optional[str]:
    found = next((each for each in mirrors if architecture in each.arches), None)
    found = found or next((each for each in mirrors if "default" in each.arches), None)
    if found is None:
        return None
    if found.uri is not None:
        return found.uri
    places = list(found.search)
    if found.search_dns:
        places += _usual_places(name, said.get("ID", "debian"), context)
    for uri in places:
        host_name = re.sub(r"^[a-z+]+://([^/@]*@)?\[?|[\]:/].*$", "", uri)
        if context.host.resolves(host_name):
            return uri
    if places:
        context.report.warning(f"apt.{name}", "no host of those to be searched is known")
    return None


def _usual_places(name: str, distribution: str, context: Context) -> list[str]:
    called = names(Hostname(), context.instance.hostname)
    domain = "" if called is None else called.full[len(called.short) :]
    service = "mirror" if name == "primary" else "security-mirror"
    return [
        f"http://{distribution}-{service}{each}/{distribution}"
        for each in dict.fromkeys((domain, ".localdomain", ""))
    ]


def _architecture(context: Context) -> str:
    """Return dpkg's name of this machine's architecture: that of dpkg itself."""
    text = (context.host.read("/var/lib/dpkg/status") or b"").decode("utf-8", "replace")
    found = re.search(r"(?m)^Package: dpkg\n(?:.+\n)*?Architecture: (\S+)", text)
    return found[1] if found else "amd64"
