"""rsyslog: where the system's log goes, and what else its daemon is told."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, Optional, Union

from ..errors import HostError
from ..schema import load
from .base import Context, Frequency, Module, Stage
from .items import load_item
from .package_tools import Package, Packages, tool
from .readers import kind, read_line, read_path, read_words

DIRECTORY = "/etc/rsyslog.d"
FILE = "20-cloud-config.conf"
_REMOTE = re.compile(r"(@{0,2})(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:\d{1,5})?")


def read_file(raw: object) -> str:
    """Return the name of a file, or its absolute path."""
    if isinstance(raw, str) and re.fullmatch(r"[^/\s][^/\0\n]*|/[^\0\n]+", raw):
        return raw
    raise ValueError(f"expected the name of a file such as {FILE!r}, got {kind(raw)}")


def read_command(raw: object) -> tuple[str, ...]:
    """Return the words of a command, none for 'auto'."""
    if raw == "auto":
        return ()
    words = raw.split() if isinstance(raw, str) else raw
    if isinstance(words, list) and words and all(type(word) in (str, int) for word in words):
        return tuple(str(word) for word in words)
    raise ValueError(f"expected 'auto' or the words of a command, got {kind(raw)}")


class Snippet(NamedTuple):
    """Lines for the daemon, in a file."""

    content: str
    """Lines of rsyslog's configuration."""
    filename: Annotated[Optional[str], read_file] = None
    """Their file; that of `config_filename` by default."""


class RsyslogSettings(NamedTuple):
    """What rsyslog is told."""

    configs: Any = ()
    """Lines of configuration: texts, or texts with the name of their file."""
    remotes: Any = None
    """Hosts that get everything, by any name: HOST, @HOST (UDP) or @@HOST (TCP), with :PORT."""
    config_dir: Annotated[str, read_path] = DIRECTORY
    """Where the files are."""
    config_filename: Annotated[str, read_file] = FILE
    """File of what names none."""
    service_reload_command: Annotated[Union[str, tuple[str, ...]], read_command] = ()
    """What has the daemon read it: `auto`, or a command."""
    install_rsyslog: bool = False
    """Install the daemon when it is missing."""
    check_exe: Annotated[str, read_line] = "rsyslogd"
    """Program that shows it is there."""
    packages: Annotated[tuple[str, ...], read_words] = ("rsyslog",)
    """Packages to install when it is not."""


class Rsyslog(NamedTuple):
    """Where the system's log goes."""

    rsyslog: Any = None
    """What rsyslog is told."""
    rsyslog_filename: Annotated[Optional[str], read_file] = None
    """Deprecated: `rsyslog.config_filename`."""
    rsyslog_dir: Annotated[Optional[str], read_path] = None
    """Deprecated: `rsyslog.config_dir`."""


def apply(section: Rsyslog, context: Context) -> None:
    """Write the files and have the daemon read them."""
    wanted = _settings(section, context)
    if wanted is None:
        return
    host = context.host
    if wanted.install_rsyslog and host.which(wanted.check_exe) is None:
        _install(wanted, context)
    files = _files(wanted, context)
    changed = False
    for path, text in files.items():
        content = text.encode()
        if host.read(path) != content:
            host.write(path, content)
            changed = True
    if changed:
        _reload(wanted, context)


def _settings(section: Rsyslog, context: Context) -> Optional[RsyslogSettings]:
    raw = section.rsyslog
    if isinstance(raw, list):
        context.report.notice("rsyslog", "deprecated as a list, now spelled 'configs'")
        raw = {"configs": raw}
        if section.rsyslog_filename is not None:
            raw["config_filename"] = section.rsyslog_filename
        if section.rsyslog_dir is not None:
            raw["config_dir"] = section.rsyslog_dir
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        context.report.refused("rsyslog", f"expected settings, got {kind(raw)}")
        return None
    settings: RsyslogSettings = load(RsyslogSettings, raw, context.report, "rsyslog")
    return settings


def _files(wanted: RsyslogSettings, context: Context) -> dict[str, str]:
    """Return what each file is to hold: the texts for it, in their order."""
    files: dict[str, str] = {}
    configs = wanted.configs
    if not isinstance(configs, (list, tuple)):
        context.report.refused("rsyslog.configs", f"expected a list, got {kind(configs)}")
        configs = ()
    for n, item in enumerate(configs):
        place = f"rsyslog.configs[{n}]"
        raw = {"content": item} if isinstance(item, str) else item
        if not isinstance(raw, Mapping):
            context.report.refused(place, f"expected lines of configuration, got {kind(raw)}")
            continue
        snippet = load_item(Snippet, raw, place, context.report)
        if snippet is not None:
            _add(files, wanted, snippet.filename, snippet.content)
    remotes = _remotes(wanted.remotes, context)
    if remotes:
        lines = "".join(f"{line}\n" for line in remotes)
        _add(files, wanted, None, f"# begin remotes\n{lines}# end remotes\n")
    return files


def _add(files: dict[str, str], wanted: RsyslogSettings, name: Optional[str], text: str) -> None:
    name = name or wanted.config_filename
    path = name if name.startswith("/") else f"{wanted.config_dir.rstrip('/')}/{name}"
    files[path] = files.get(path, "") + text + ("" if text.endswith("\n") else "\n")


def _remotes(raw: object, context: Context) -> list[str]:
    if raw is None:
        return []
    if not isinstance(raw, Mapping):
        context.report.refused("rsyslog.remotes", f"expected hosts by name, got {kind(raw)}")
        return []
    lines = []
    for name, value in sorted(raw.items(), key=lambda item: str(item[0])):
        if not value:
            continue
        place = f"rsyslog.remotes.{name}"
        words = str(value).partition("#")[0].split()
        found = _REMOTE.fullmatch(words[-1]) if words and len(words) < 3 else None
        if len(words) == 2 and not re.fullmatch(r"[\w*,;.!=]+\.[\w*,;.!=]+", words[0]):
            found = None
        if found is None or not re.fullmatch(r"[\w .-]+", str(name)):
            context.report.refused(place, "expected a host such as '@@192.0.2.1:514'")
            continue
        which = words[0] if len(words) == 2 else "*.*"
        lines.append(f"{which} {found[1] or '@'}{found[2]}{found[3] or ''} # {name}")
    return lines


def _reload(wanted: RsyslogSettings, context: Context) -> None:
    host = context.host
    command = wanted.service_reload_command
    try:
        if not command:
            # It takes new files at a restart alone.
            host.restart_service("rsyslog")
            return
        status = host.run(list(command), timeout=120).status
    except HostError as error:
        context.report.failed("rsyslog.service_reload_command", str(error))
        return
    if status != 0:
        context.report.failed("rsyslog.service_reload_command", f"exit status {status}")


def _install(wanted: RsyslogSettings, context: Context) -> None:
    using = tool(context.host)
    if using is None:
        context.report.failed("rsyslog.install_rsyslog", "there is no package tool here")
        return
    packages = Packages(using, context)
    packages.update()
    packages.install([("rsyslog.packages", Package(name)) for name in wanted.packages])


MODULE = Module("rsyslog", Rsyslog, Stage.NETWORK, Frequency.INSTANCE, apply)
