"""resolv_conf: which name servers are asked, and for which domains."""

import re
from collections.abc import Mapping
from typing import Annotated, NamedTuple, Optional

from .base import Context, Frequency, Module, Stage
from .readers import kind, read_words

FILE = "/etc/resolv.conf"
DROP_IN = "/etc/systemd/resolved.conf.d/50-linklocal.conf"


def read_addresses(raw: object) -> tuple[str, ...]:
    """Return addresses of name servers."""
    return _matching(raw, r"[0-9a-fA-F:][0-9a-fA-F.:]*(%[\w.-]+)?", "addresses such as '10.0.0.2'")


def read_domains(raw: object) -> tuple[str, ...]:
    """Return domains."""
    return _matching(raw, r"[A-Za-z0-9_.-]+", "domains such as 'example.com'")


def read_domain(raw: object) -> str:
    """Return one domain."""
    (domain,) = read_domains([raw]) or ("",)
    return domain


def read_networks(raw: object) -> tuple[str, ...]:
    """Return addresses, each with a mask if need be."""
    return _matching(raw, r"[0-9.]+(/[0-9.]+)?", "networks such as '10.0.0.1/255'")


def _matching(raw: object, pattern: str, what: str) -> tuple[str, ...]:
    words = read_words(raw)
    if not all(re.fullmatch(pattern, word) for word in words):
        raise ValueError(f"expected {what}, got {kind(raw)}")
    return words


def read_options(raw: object) -> tuple[str, ...]:
    """Return options of the resolver: by name true, or a number."""
    if not isinstance(raw, Mapping):
        # The loader takes a reader's ValueError alone.
        raise ValueError(f"expected options by name, got {kind(raw)}")  # noqa: TRY004
    words = []
    for name, value in sorted(raw.items()):
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9-]+", name):
            raise ValueError(f"expected options such as 'rotate', got {name!r}")
        if value is True:
            words.append(name)
        elif type(value) is int:
            words.append(f"{name}:{value}")
        elif value is not False:
            raise ValueError(f"expected true, false or a number at {name}")
    return tuple(words)


class Resolver(NamedTuple):
    """Who is asked for names."""

    nameservers: Annotated[tuple[str, ...], read_addresses] = ()
    """Addresses of name servers."""
    searchdomains: Annotated[tuple[str, ...], read_domains] = ()
    """Domains that a short name is looked for in."""
    domain: Annotated[Optional[str], read_domain] = None
    """The local domain."""
    sortlist: Annotated[tuple[str, ...], read_networks] = ()
    """Networks whose addresses come first."""
    options: Annotated[tuple[str, ...], read_options] = ()
    """Options of the resolver, such as `rotate: true` or `timeout: 1`."""


class ResolvConf(NamedTuple):
    """Which name servers are asked."""

    manage_resolv_conf: bool = False
    """Write what `resolv_conf` says."""
    resolv_conf: Optional[Resolver] = None
    """Who is asked for names."""


def apply(section: ResolvConf, context: Context) -> None:
    """Write it where this machine's resolver looks."""
    wanted = section.resolv_conf
    if not section.manage_resolv_conf:
        if wanted is not None:
            words = "not applied without manage_resolv_conf: true"
            context.report.warning("resolv_conf", words)
        return
    if wanted is None:
        context.report.warning("manage_resolv_conf", "nothing to write without resolv_conf")
        return
    host = context.host
    if host.kind(FILE) == "link" and host.kind("/usr/lib/systemd/systemd-resolved") is not None:
        for key in ("sortlist", "options"):
            if getattr(wanted, key):
                context.report.warning(f"resolv_conf.{key}", "systemd-resolved has no such thing")
        before = host.read(DROP_IN)
        after = _drop_in(wanted).encode()
        host.write(DROP_IN, after)
        if before != after:
            host.restart_service("systemd-resolved")
    else:
        host.write(FILE, text(wanted).encode())


def text(wanted: Resolver) -> str:
    """Return resolv.conf."""
    lines = ["# Made by linklocal-agent from resolv_conf of the cloud-config."]
    lines += [f"nameserver {each}" for each in wanted.nameservers]
    if wanted.searchdomains:
        lines.append(f"search {' '.join(wanted.searchdomains)}")
    if wanted.domain:
        lines.append(f"domain {wanted.domain}")
    if wanted.sortlist:
        lines.append(f"sortlist {' '.join(wanted.sortlist)}")
    if wanted.options:
        lines.append(f"options {' '.join(wanted.options)}")
    return "".join(f"{line}\n" for line in lines)


def _drop_in(wanted: Resolver) -> str:
    domains = dict.fromkeys([*([wanted.domain] if wanted.domain else []), *wanted.searchdomains])
    return f"[Resolve]\nDNS={' '.join(wanted.nameservers)}\nDomains={' '.join(domains)}\n"


MODULE = Module("resolv_conf", ResolvConf, Stage.NETWORK, Frequency.INSTANCE, apply)
