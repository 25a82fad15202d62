"""zypper: repositories for zypper and its settings, before anything is installed."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from .base import Context, Frequency, Module, Stage
from .families import family
from .readers import kind
from .repository_files import put, read_id, read_values, section

CONFIG = "/etc/zypp/zypp.conf"


class ZypperSettings(NamedTuple):
    """What zypper is told."""

    repos: Any = None
    """A list of repositories, each with its keys as zypper has them; `id` and `baseurl` are
    required."""
    config: Any = None
    """Settings of /etc/zypp/zypp.conf by name."""


class Zypper(NamedTuple):
    """Repositories for zypper, and its settings."""

    zypper: Optional[ZypperSettings] = None
    """What zypper is told."""


def apply(wanted: Zypper, context: Context) -> None:
    """Set what is to be set, then write a file for each repository; one that is there stays."""
    if wanted.zypper is None:
        return
    host = context.host
    if family(host).name != "suse" and host.which("zypper") is None:
        context.report.add("zypper", "not run", "this machine has no zypper")
        return
    config = _config(wanted.zypper.config, context)
    directory = config.get("reposdir", "/etc/zypp/repos.d").rstrip("/")
    raw = wanted.zypper.repos
    if raw is not None and not isinstance(raw, list):
        context.report.refused("zypper.repos", f"expected a list, got {kind(raw)}")
        return
    for n, settings in enumerate(raw or ()):
        place = f"zypper.repos[{n}]"
        try:
            _put(settings, place, directory, context)
        except ValueError as error:
            context.report.refused(place, str(error))


def _put(settings: object, place: str, directory: str, context: Context) -> None:
    if not isinstance(settings, Mapping) or not {"id", "baseurl"} <= set(settings):
        raise ValueError("expected a repository with its 'id' and 'baseurl'")
    name = read_id(settings["id"], "_")
    values = read_values({key: value for key, value in settings.items() if key != "id"})
    values = {**values, **{key: values.get(key, "1") for key in ("enabled", "autorefresh")}}
    put(f"{directory}/{name}.repo", section(name, values), place, context)


def _config(raw: object, context: Context) -> dict[str, str]:
    """Set what zypp.conf is to say; return it."""
    if raw is None:
        return {}
    place = "zypper.config"
    if not isinstance(raw, Mapping):
        context.report.refused(place, f"expected settings by name, got {kind(raw)}")
        return {}
    if "configdir" in raw:
        context.report.warning(f"{place}.configdir", "cannot be moved; left as it is")
    try:
        given = {k: v for k, v in raw.items() if k != "configdir" and v is not None}
        # zypp.conf has keys such as solver.onlyRequires.
        values = read_values(given, as_spelled=True)
    except ValueError as error:
        context.report.refused(place, str(error))
        return {}
    host = context.host
    before = (host.read(CONFIG) or b"[main]\n").decode("utf-8", "replace")
    lines = before.splitlines()
    for key, value in values.items():
        line = f"{key} = {value}"
        places = [n for n, each in enumerate(lines) if each.partition("=")[0].strip() == key]
        if places:
            lines[places[0]] = line
        else:
            lines.append(line)
    after = "".join(f"{line}\n" for line in lines)
    if values and after != before:
        host.write(CONFIG, after.encode())
    return values


MODULE = Module("zypper", Zypper, Stage.CONFIG, Frequency.INSTANCE, apply)
