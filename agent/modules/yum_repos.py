"""yum_repos: repositories for dnf and yum, before anything is installed."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from .base import Context, Frequency, Module, Stage
from .families import family
from .readers import kind, read_path
from .repository_files import put, read_id, read_values, section

PLACES = ("baseurl", "metalink", "mirrorlist")


class YumRepos(NamedTuple):
    """Repositories for dnf and yum."""

    yum_repos: Any = None
    """Repositories by name, each with its keys as dnf has them; `baseurl`, `mirrorlist` or
    `metalink` is required."""
    yum_repo_dir: Annotated[str, read_path] = "/etc/yum.repos.d"
    """Where their files are."""


def apply(wanted: YumRepos, context: Context) -> None:
    """Write a file for each repository; one that is there stays."""
    raw = wanted.yum_repos
    if raw is None:
        return
    if not isinstance(raw, Mapping):
        context.report.refused("yum_repos", f"expected repositories by name, got {kind(raw)}")
        return
    host = context.host
    if family(host).name != "rhel" and not (host.which("dnf") or host.which("yum")):
        context.report.add("yum_repos", "not run", "this machine has neither dnf nor yum")
        return
    for name, settings in raw.items():
        place = f"yum_repos.{name}"
        try:
            _put(name, settings, place, wanted.yum_repo_dir.rstrip("/"), context)
        except ValueError as error:
            context.report.refused(place, str(error))


def _put(name: object, settings: object, place: str, directory: str, context: Context) -> None:
    if not isinstance(settings, Mapping):
        # The caller takes ValueError alone.
        raise ValueError(f"expected the repository's keys, got {kind(settings)}")  # noqa: TRY004
    repository = read_id(name, "-")
    values = read_values(settings)
    if not any(key in values for key in PLACES):
        raise ValueError("missing key 'baseurl', 'mirrorlist' or 'metalink'")
    # Every repository has a name to be shown; dnf warns of one without.
    values.setdefault("name", str(name))
    put(f"{directory}/{repository}.repo", section(repository, values), place, context)


MODULE = Module("yum_repos", YumRepos, Stage.CONFIG, Frequency.INSTANCE, apply)
