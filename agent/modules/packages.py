"""packages: lists updated, what is installed upgraded, what is asked for installed."""

import re
from typing import Any, NamedTuple

from ..errors import ConfigError
from .base import Context, Frequency, Module, Stage
from .package_tools import Package, Packages, tool
from .readers import kind

# What tools take as a name: also a path, a URL of an rpm, a group (@name) and an architecture.
_NAME = re.compile(r"[A-Za-z0-9@/][^\s,;|&<>$`'\"\\]*")
REBOOT = ("/run/reboot-required", "/var/run/reboot-required", "/run/reboot-needed")
"""Files that packages leave when they want the machine restarted."""
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~^*_-]*")


def read_package(raw: object) -> Package:
    """Return a package given by its name, or as a list of name and version."""
    words = raw if isinstance(raw, (list, tuple)) else [raw]
    if not 1 <= len(words) <= 2 or not isinstance(words[0], str) or not _NAME.fullmatch(words[0]):
        raise ValueError(f"expected a package's name, or [NAME, VERSION], got {_shown(raw)}")
    if len(words) == 1 or words[1] in (None, ""):
        return Package(words[0])
    version = str(words[1])
    if not _VERSION.fullmatch(version):
        raise ValueError(f"expected a version such as '1.2-3', got {version!r}")
    return Package(words[0], version)


def _shown(raw: object) -> str:
    return repr(raw) if isinstance(raw, str) else kind(raw)


class PackagesSection(NamedTuple):
    """What to do with packages."""

    package_update: bool = False
    """Fetch the lists of packages; done also when any are to be installed or upgraded."""
    package_upgrade: bool = False
    """Upgrade every package that is installed."""
    packages: Any = None
    """Packages to install: names, or lists of name and version; below `apt:`, `dnf:`, `yum:`,
    `zypper:` or `apk:` those for that tool alone."""
    package_reboot_if_required: bool = False
    """Restart at the end of the boot when a package asks for it; all other modules come first."""
    apt_update: bool = False
    """Deprecated: `package_update`."""
    apt_upgrade: bool = False
    """Deprecated: `package_upgrade`."""
    apt_reboot_if_required: bool = False
    """Deprecated: `package_reboot_if_required`."""


def apply(section: PackagesSection, context: Context) -> None:
    """Update, upgrade, install; each failure is named, what can be done is done."""
    for job in ("update", "upgrade", "reboot_if_required"):
        if getattr(section, f"apt_{job}"):
            context.report.notice(f"apt_{job}", f"deprecated, now spelled 'package_{job}'")
    update = section.package_update or section.apt_update
    upgrade = section.package_upgrade or section.apt_upgrade
    using = tool(context.host)
    wanted = _wanted(section.packages, using.program if using is not None else "", context)
    if not (update or upgrade or wanted):
        return
    if using is None:
        raise ConfigError("packages: no package tool found; looked for apt-get, dnf, yum, …")
    packages = Packages(using, context)
    packages.update()
    if upgrade:
        packages.upgrade()
    if wanted:
        packages.install(wanted)
    reboot = section.package_reboot_if_required or section.apt_reboot_if_required
    if reboot and (upgrade or wanted):
        _reboot_if_required(context)


def _reboot_if_required(context: Context) -> None:
    host = context.host
    if host.which("needs-restarting") is not None:
        # It says by 1 that a restart is needed.
        required = host.run(["needs-restarting", "-r"], timeout=300).status == 1
    else:
        required = any(host.kind(path) is not None for path in REBOOT)
    if required:
        host.when_done(["shutdown", "-r", "now"])


def _wanted(raw: object, program: str, context: Context) -> list[tuple[str, Package]]:
    if raw is None:
        return []
    if not isinstance(raw, list):
        context.report.refused("packages", f"expected a list, got {kind(raw)}")
        return []
    found: list[tuple[str, Package]] = []
    for n, item in enumerate(raw):
        place = f"packages[{n}]"
        if isinstance(item, dict):
            found += _of_tools(item, place, program, context)
        else:
            _add(item, place, found, context)
    return found


def _of_tools(
    raw: dict[Any, Any], place: str, program: str, context: Context
) -> list[tuple[str, Package]]:
    found: list[tuple[str, Package]] = []
    for name, items in raw.items():
        where = f"{place}.{name}"
        if name not in ("apt", "dnf", "yum", "zypper", "apk"):
            context.report.warning(where, f"packages of {name} are not installed by this version")
        elif not isinstance(items, list):
            context.report.refused(where, f"expected a list, got {kind(items)}")
        elif program.partition("-")[0] != name:
            context.report.add(where, "not run", f"this machine has no {name}")
        else:
            for n, item in enumerate(items):
                _add(item, f"{where}[{n}]", found, context)
    return found


def _add(raw: object, place: str, found: list[tuple[str, Package]], context: Context) -> None:
    try:
        found.append((place, read_package(raw)))
    except ValueError as error:
        context.report.refused(place, str(error))


MODULE = Module("packages", PackagesSection, Stage.FINAL, Frequency.INSTANCE, apply)
