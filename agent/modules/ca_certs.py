"""ca_certs: whose certificates this machine trusts."""

import re
from typing import Annotated, NamedTuple, Optional

from ..errors import ConfigError
from .base import Context, Frequency, Module, Stage
from .families import family
from .readers import kind

DEFAULTS = "/etc/ca-certificates.conf"
_CERTIFICATE = re.compile(
    r"-----BEGIN (TRUSTED )?CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END (TRUSTED )?CERTIFICATE-----"
)


def read_certificates(raw: object) -> tuple[str, ...]:
    """Return certificates in PEM form; each text may hold several, and words around them."""
    texts = [raw] if isinstance(raw, str) else raw
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"expected a list of certificates, got {kind(raw)}")
    for n, text in enumerate(texts):
        if not _CERTIFICATE.search(text):
            raise ValueError(f"expected PEM text '-----BEGIN CERTIFICATE-----…' at number {n}")
    return tuple(text.replace("\r\n", "\n").strip() + "\n" for text in texts)


class Trust(NamedTuple):
    """Whose certificates are trusted."""

    remove_defaults: bool = False
    """Trust none of the authorities that came with the distribution."""
    trusted: Annotated[tuple[str, ...], read_certificates] = ()
    """Certificates to trust, in PEM form."""


class CaCerts(NamedTuple):
    """Whose certificates this machine trusts."""

    ca_certs: Optional[Trust] = None
    """Whose certificates are trusted."""


def apply(section: CaCerts, context: Context) -> None:
    """Put the certificates in place and have the distribution's tool gather them."""
    wanted = section.ca_certs
    if wanted is None or not (wanted.remove_defaults or wanted.trusted):
        return
    host = context.host
    facts = family(host)
    command = facts.trust_command
    if host.runs and host.which(command[0]) is None:
        raise ConfigError(f"ca_certs: there is no {command[0]}; install ca-certificates")
    if wanted.remove_defaults:
        _distrust(context)
    for n, text in enumerate(wanted.trusted):
        host.write(f"{facts.trust_directory}/linklocal-{n}.crt", text.encode())
    completed = host.run(command, timeout=300)
    if completed.status != 0:
        context.report.failed("ca_certs", f"{command[0]}: exit status {completed.status}")


def _distrust(context: Context) -> None:
    """Mark every authority of the distribution as not trusted, where that is a file's affair."""
    content = context.host.read(DEFAULTS)
    if content is None:
        context.report.warning(
            "ca_certs.remove_defaults", f"not applied: this distribution has no {DEFAULTS}"
        )
        return
    lines = content.decode("utf-8", "replace").splitlines()
    after = [line if not line.strip() or line[0] in "#!" else f"!{line}" for line in lines]
    context.host.write(DEFAULTS, "".join(f"{line}\n" for line in after).encode())


MODULE = Module("ca_certs", CaCerts, Stage.NETWORK, Frequency.INSTANCE, apply)
