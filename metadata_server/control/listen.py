"""Where the control plane may listen: it carries passwords."""

from __future__ import annotations

from ipaddress import ip_address

from ..errors import ConfigError


def check_listen(address: str, *, tls: bool = False) -> None:
    """Raise ConfigError when *address* would carry passwords in the clear.

    *address* is `HOST:PORT` or `unix:PATH`. Loopback and a Unix socket are open to this machine
    only; any other address needs TLS.
    """
    if tls or address.startswith(("unix:", "/")):
        return
    host = address.rpartition(":")[0]
    if not is_loopback(host):
        raise ConfigError(
            f"control.listen: {address} would carry passwords in the clear; expected a loopback "
            "address, a Unix socket (unix:PATH), or tls.certificate and tls.key for any other"
        )


def is_loopback(host: str) -> bool:
    """Say whether *host*, a literal address, brackets or not, or `localhost`, is loopback."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False
