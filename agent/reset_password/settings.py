"""The daemon's settings in /etc/linklocal/agent.yaml.

They are `metadata_urls`, `datasource` and `default_user`, and what is below `reset_password`, which
is its own.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from ..errors import ConfigError
from .channel import AUTO, PIPE
from .inside import read_inside
from .kept import read_server_key

PATH = "/etc/linklocal/agent.yaml"
METADATA_URL = "http://169.254.169.254"
OWN = {"users", "server_key", "token_file", "restart_command", "channel", "legacy"}
RESTART = ("systemctl", "--no-block", "reboot")


class Settings(NamedTuple):
    """All of plain words, so that JSON can carry them."""

    metadata_url: str = ""
    """Empty when the file names none."""
    datasource: str = ""
    """The first that the file names; its service is at the usual address."""
    users: tuple[str, ...] = ("root",)
    """Whose password may be reset: root and the image's default user, unless configured."""
    server_key: Optional[str] = None
    """The server's key, when it is not to be learnt at the first enrolment."""
    token_file: Optional[str] = None
    """File with the one-time token of the first enrolment, readable by root alone."""
    restart_command: tuple[str, ...] = RESTART
    """The program, with its arguments, that restarts the machine where a reset asks for that."""
    channel: str = PIPE
    """The control channel: `PIPE` is a socket in /run, `AUTO` a port of the loopback."""
    legacy: bool = False
    """Take the platform's own envelope where there is nothing better; every process can open it."""


def read(root: str, path: Optional[str] = None) -> Settings:
    """Return the settings of the machine below *root*; ConfigError when they cannot be trusted."""
    name = path or os.path.join(root, PATH.lstrip("/"))
    try:
        text = read_inside("/", os.path.abspath(path)) if path else read_inside(root, PATH)
    except FileNotFoundError:
        if path is not None:
            raise ConfigError(f"{path}: there is no such file") from None
        return Settings(users=_users(root, None))
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}") from error
    whole = _parse(text, name)
    own = _mapping(whole.get("reset_password", {}), f"{name}: reset_password")
    if unknown := sorted(set(own) - OWN):
        # A misspelt key here could be the one that keeps a stranger out.
        raise ConfigError(f"{name}: reset_password: unknown key {unknown[0]!r}")
    urls = _words(whole, "metadata_urls", name) or ("",)
    sources = _words(whole, "datasource", name) or ("",)
    server_key = _text(own, "server_key", f"{name}: reset_password")
    try:
        if server_key is not None:
            read_server_key(server_key)
    except ValueError as error:
        raise ConfigError(f"{name}: reset_password.server_key: {error}") from None
    channel = (_text(own, "channel", f"{name}: reset_password") or PIPE).lower()
    if channel not in (PIPE, AUTO):
        raise ConfigError(f"{name}: reset_password.channel: expected PIPE or AUTO")
    legacy = own.get("legacy", False)
    if not isinstance(legacy, bool):
        raise ConfigError(f"{name}: reset_password.legacy: expected true or false")
    return Settings(
        metadata_url=urls[0],
        datasource=sources[0].lower(),
        users=_words(own, "users", f"{name}: reset_password")
        or _users(root, _text(whole, "default_user", name)),
        server_key=server_key,
        token_file=_text(own, "token_file", f"{name}: reset_password"),
        restart_command=_words(own, "restart_command", f"{name}: reset_password") or RESTART,
        channel=channel,
        legacy=legacy,
    )


def from_json(raw: Mapping[str, Any]) -> Settings:
    """Return the settings that JSON has carried, its lists being tuples again."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    return Settings(**fields)


def _users(root: str, configured: Optional[str]) -> tuple[str, ...]:
    if configured is None:
        from .default_user import default_user

        configured = default_user(root)
    return ("root", configured) if configured else ("root",)


def _parse(text: bytes, name: str) -> Mapping[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # The loader is one of PyYAML's two safe ones.
        return _mapping(yaml.load(text, Loader=loader) or {}, name)  # noqa: S506
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(f"{name}: expected YAML") from None


def _mapping(raw: object, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected a mapping")
    return raw


def _text(raw: Mapping[str, Any], key: str, where: str) -> Optional[str]:
    value = raw.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{where}: {key}: expected text")
    return value


def _words(raw: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = raw.get(key, [])
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ConfigError(f"{where}: {key}: expected a list of words")
    return tuple(value)
