"""Listening sockets, bound and not yet listening; each failure says what would help.

Nothing here changes the host's network: a missing address is named with the command that adds it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Collection, MutableMapping, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final

from .config_values import Listen, UnixListen
from .errors import ConfigError

FIRST_INHERITED: Final = 3


def inherited(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the sockets that the service manager opened for this process, and no other.

    What says so is taken out of *environment*, so that no child takes them for its own.
    """
    said = [environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")]
    if said[0] != str(os.getpid()) or not said[1].isdigit():
        return []
    sockets = []
    for number in range(FIRST_INHERITED, FIRST_INHERITED + int(said[1])):
        os.set_inheritable(number, False)
        sockets.append(socket.socket(fileno=number))
    return sockets


def bind_all(
    listens: Sequence[Listen | UnixListen],
    given: Sequence[socket.socket] = (),
    *,
    shared: Collection[Listen] = (),
) -> list[socket.socket]:
    """Return a socket bound to each of *listens*, or raise ConfigError for all that failed.

    A socket that is *given*, bound to the same address already, is used in its place. Those of
    *shared* can have siblings.
    """
    sockets: list[socket.socket] = []
    problems: list[str] = []
    left = list(given)
    for listen in listens:
        found = next((sock for sock in left if _fits(sock, listen)), None)
        try:
            if found is not None:
                left.remove(found)
                sockets.append(found)
            elif isinstance(listen, UnixListen):
                sockets.append(_bind_unix(listen))
            else:
                sockets.append(_bind(listen, shared=listen in shared))
        except OSError as error:
            problems.append(f"listen {listen}: {_advice(listen, error)}")
    problems += [
        f"listen: {url_of(sock)}, opened by the service manager, is no configured address"
        for sock in left
    ]
    if problems:
        for sock in [*sockets, *left]:
            sock.close()
        raise ConfigError(*problems)
    return sockets


def _fits(sock: socket.socket, listen: Listen | UnixListen) -> bool:
    """Say whether *sock* is a stream bound to the address of *listen*."""
    if sock.type != socket.SOCK_STREAM:
        return False
    name = sock.getsockname()
    if isinstance(listen, UnixListen):
        return bool(name == listen.path)
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    device = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
    return (
        ip_address(name[0].partition("%")[0]) == listen.host
        and name[1] == listen.port
        and device.rstrip(b"\0").decode() == (listen.interface or "")
    )


def url_of(sock: socket.socket, scheme: str = "http") -> str:
    """Return the URL that reaches *sock*, or `unix:PATH`."""
    name = sock.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host, port = name[:2]
    if ":" in host:
        host = f"[{host}]"
    default = 443 if scheme == "https" else 80
    return f"{scheme}://{host}" if port == default else f"{scheme}://{host}:{port}"


def siblings(sock: socket.socket, number: int) -> list[socket.socket]:
    """Return *number* more sockets at the address of *sock*, each with a queue of its own.

    One that was not bound to have siblings shares its queue instead.
    """
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        return [sock.dup() for _ in range(number)]
    found = []
    for _ in range(number):
        made = socket.socket(sock.family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        found.append(made)
        for level, option in _SAME:
            if sock.family == socket.AF_INET6 or level == socket.SOL_SOCKET:
                made.setsockopt(level, option, sock.getsockopt(level, option))
        device = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
        if device:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        made.bind(sock.getsockname())
    return found


_SAME: Final = (
    (socket.SOL_SOCKET, socket.SO_REUSEADDR),
    (socket.SOL_SOCKET, socket.SO_REUSEPORT),
    (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY),
)


def _bind(listen: Listen, *, shared: bool = False) -> socket.socket:
    if shared and listen.port:
        # Sockets that may share an address would share it with another server, too.
        _bind(listen).close()
    family = socket.AF_INET if listen.host.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        scope = 0
        if listen.interface is not None:
            scope = socket.if_nametoindex(listen.interface)
            name = listen.interface.encode() + b"\0"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        if isinstance(listen.host, IPv6Address):
            # So that [::]:80 and 0.0.0.0:80 can both be there, each for its own family.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((str(listen.host), listen.port, 0, scope if listen.host.is_link_local else 0))
        else:
            sock.bind((str(listen.host), listen.port))
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(listen: UnixListen) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _remove_stale(listen.path)
        sock.bind(listen.path)
        # Nobody can connect before listen(), so nobody can before this.
        os.chmod(listen.path, 0o600)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket that a server left behind; one that answers stays."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)


def _advice(listen: Listen | UnixListen, error: OSError) -> str:
    code = error.errno
    if code == errno.EADDRINUSE:
        return "another program listens there already"
    if isinstance(listen, UnixListen):
        return str(error.strerror)
    if code == errno.EADDRNOTAVAIL:
        length = listen.host.max_prefixlen
        device = listen.interface or "lo"
        return (
            f"{listen.host} is not an address of this host; add it with:"
            f" ip addr add {listen.host}/{length} dev {device}"
        )
    if code == errno.ENODEV or (code in (errno.ENXIO, None) and listen.interface):
        return f"expected an interface of this host, there is no {listen.interface!r}"
    if code == errno.EACCES and listen.port < 1024:
        return "a port below 1024 needs root or CAP_NET_BIND_SERVICE"
    if code == errno.EPERM and listen.interface:
        return f"binding to the interface {listen.interface} needs root or CAP_NET_RAW"
    return str(error.strerror or error)
