"""Which users a cloud-config is about: the many shapes of `users` and `user`, made one."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from ..host import Host
from .base import Context
from .readers import kind

DEFAULT = "default"


class Entry(NamedTuple):
    """One user as it was asked for."""

    place: str
    settings: Mapping[str, Any]
    """Raw, with its `name`; that is `default` for the image's default user."""


class Malformed(NamedTuple):
    """An item of `users` that is none."""

    place: str
    why: str


def without_chpasswd(host: Host) -> Optional[str]:
    """Say why a password in plain text cannot be set on *host*, None when it can.

    Only the distribution's own chpasswd knows its scheme.
    """
    if not host.runs:
        return "the password is not set: programs cannot be run here; a hash can be set"
    if host.which("chpasswd") is None:
        return "the password is not set: there is no chpasswd here; a hash can be set"
    return None


def entries(config: Mapping[str, Any]) -> tuple[list[Entry], list[Malformed]]:
    """Return the users of *config*. Without `users` there is the default user; with it, only
    those it names. `user` is the default user under another name or with other settings.

    The default user comes last, as with cloud-init: the next free user id depends on that.
    """
    found: list[Entry] = []
    bad: list[Malformed] = []
    users = config.get("users")
    if users is None:
        found.append(Entry("users", {"name": DEFAULT}))
    else:
        _add("users", users, found, bad)
        if config.get("user") and not any(each.settings["name"] == DEFAULT for each in found):
            found.append(Entry("user", {"name": DEFAULT}))
    found.sort(key=lambda each: bool(each.settings["name"] == DEFAULT))
    return found, bad


def _add(place: str, raw: Any, found: list[Entry], bad: list[Malformed]) -> None:
    if isinstance(raw, str):
        found += [Entry(place, {"name": name.strip()}) for name in raw.split(",") if name.strip()]
    elif isinstance(raw, Mapping) and place == "users":
        for name, settings in raw.items():
            _add_named(f"{place}.{name}", {"name": name}, settings, found, bad)
    elif isinstance(raw, Mapping):
        if "name" in raw:
            _add_named(place, {}, raw, found, bad)
        else:
            bad.append(Malformed(place, "missing key 'name'"))
    elif isinstance(raw, list):
        for n, item in enumerate(raw):
            _add(f"{place}[{n}]", item, found, bad)
    else:
        bad.append(Malformed(place, f"expected a user's name or settings, got {kind(raw)}"))


def _add_named(
    place: str, name: Mapping[str, Any], settings: Any, found: list[Entry], bad: list[Malformed]
) -> None:
    if settings is None or settings is True:
        settings = {}
    if isinstance(settings, Mapping):
        # A key without a value is as good as left out.
        given = {key: value for key, value in settings.items() if value is not None}
        found.append(Entry(place, {**name, **given}))
    else:
        bad.append(Malformed(place, f"expected the user's settings, got {kind(settings)}"))


def default_settings(context: Context) -> dict[str, Any]:
    """Return what `user` says of the default user, over what `system_info` says.

    Its name is the image's if neither says one.
    """
    settings: dict[str, Any] = {"name": context.default_user}
    user = context.config.get("user")
    for raw in (_of_the_system(context.config), {"name": user} if isinstance(user, str) else user):
        if isinstance(raw, Mapping):
            settings.update({key: value for key, value in raw.items() if value is not None})
    return settings


def _of_the_system(config: Mapping[str, Any]) -> Any:
    system = config.get("system_info")
    return system.get("default_user") if isinstance(system, Mapping) else None


def bad_default_user(config: Mapping[str, Any]) -> Optional[Malformed]:
    """Return what is wrong with the settings of `system_info`, None when nothing is."""
    system, words = config.get("system_info"), "expected a mapping, got "
    if system is not None and not isinstance(system, Mapping):
        return Malformed("system_info", words + kind(system))
    settings = _of_the_system(config)
    if settings is not None and not isinstance(settings, Mapping):
        return Malformed("system_info.default_user", words + kind(settings))
    return None


def default_user(context: Context) -> Optional[str]:
    """Return the name of the default user, None when the cloud-config wants none."""
    found, _ = entries(context.config)
    for each in found:
        if each.settings["name"] == DEFAULT:
            return default_settings(context)["name"] or None
    return None
