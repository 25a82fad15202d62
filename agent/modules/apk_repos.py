"""apk_repos: where Alpine's packages come from, before anything is installed."""

import re
from typing import Annotated, NamedTuple, Optional

from .base import Context, Frequency, Module, Stage
from .families import family
from .readers import kind

FILE = "/etc/apk/repositories"
MIRROR = "https://dl-cdn.alpinelinux.org/alpine"


def read_place(raw: object) -> str:
    """Return a URL or a directory."""
    if isinstance(raw, str) and re.fullmatch(r"([a-z]+:/)?/[^\s#]+", raw):
        return raw.rstrip("/")
    raise ValueError("expected a mirror such as 'https://dl-cdn.alpinelinux.org/alpine'")


def read_version(raw: object) -> str:
    """Return a release such as v3.20 or edge."""
    text = str(raw) if type(raw) is float else raw
    if isinstance(text, str) and re.fullmatch(r"v?\d+\.\d+|edge|latest-stable", text):
        return f"v{text}" if text[0].isdigit() else text
    raise ValueError(f"expected a release such as 'v3.20' or 'edge', got {kind(raw)}")


class AlpineRepository(NamedTuple):
    """Alpine's own repositories."""

    version: Annotated[str, read_version]
    """Release, such as v3.20 or edge."""
    base_url: Annotated[str, read_place] = MIRROR
    """Mirror."""
    community_enabled: bool = False
    """Take packages of `community`, too."""
    testing_enabled: bool = False
    """Take packages of edge's `testing`, too."""


class ApkSettings(NamedTuple):
    """Where packages come from."""

    preserve_repositories: bool = False
    """Leave the repositories alone."""
    alpine_repo: Optional[AlpineRepository] = None
    """Alpine's own repositories; left out: they stay as they are."""
    local_repo_base_url: Annotated[Optional[str], read_place] = None
    """A repository of your own, without the release at its end."""


class ApkRepos(NamedTuple):
    """Where Alpine's packages come from."""

    apk_repos: Optional[ApkSettings] = None
    """Where packages come from."""


def apply(section: ApkRepos, context: Context) -> None:
    """Write the list of repositories."""
    wanted = section.apk_repos
    if wanted is None or wanted.preserve_repositories or wanted.alpine_repo is None:
        return
    host = context.host
    if family(host).name != "alpine" and host.which("apk") is None:
        context.report.add("apk_repos", "not run", "this machine has no apk")
        return
    of = wanted.alpine_repo
    lines = [f"{of.base_url}/{of.version}/main"]
    if of.community_enabled:
        lines.append(f"{of.base_url}/{of.version}/community")
    if of.testing_enabled:
        lines.append(f"{of.base_url}/edge/testing")
    if wanted.local_repo_base_url is not None:
        lines.append(f"{wanted.local_repo_base_url}/{of.version}")
    host.write(FILE, "".join(f"{line}\n" for line in lines).encode())


MODULE = Module("apk_repos", ApkRepos, Stage.CONFIG, Frequency.INSTANCE, apply)
