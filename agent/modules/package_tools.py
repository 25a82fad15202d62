"""The package tools of the families: what each is asked in which words."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

from ..host import Host
from .base import Context
from .memory import recall, remember

_BOOT = "/proc/sys/kernel/random/boot_id"


class Package(NamedTuple):
    """A package, of one version when *version* is given."""

    name: str
    version: Optional[str] = None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name} {self.version}"


class Tool(NamedTuple):
    """A package tool and its arguments for each job; packages are put after *install*."""

    program: str
    update: tuple[str, ...]
    upgrade: tuple[str, ...]
    install: tuple[str, ...]
    version: str
    """What stands between a package and its version."""
    environment: tuple[tuple[str, str], ...] = ()


# A configuration file that was changed here stays; a lock of another apt is waited for.
_APT = (
    "-q",
    "-y",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
    "-o",
    "DPkg::Lock::Timeout=300",
)

TOOLS = (
    Tool(
        "apt-get",
        update=(*_APT, "update"),
        upgrade=(*_APT, "dist-upgrade"),
        install=(*_APT, "install", "--"),
        version="=",
        environment=(("DEBIAN_FRONTEND", "noninteractive"), ("NEEDRESTART_SUSPEND", "1")),
    ),
    Tool(
        "dnf",
        update=("-y", "makecache"),
        upgrade=("-y", "upgrade"),
        install=("-y", "install"),
        version="-",
    ),
    Tool(
        "yum",
        update=("-y", "makecache"),
        upgrade=("-y", "upgrade"),
        install=("-y", "install"),
        version="-",
    ),
    Tool(
        "zypper",
        update=("--non-interactive", "refresh"),
        upgrade=("--non-interactive", "update", "--auto-agree-with-licenses"),
        install=("--non-interactive", "install", "--auto-agree-with-licenses", "--"),
        version="=",
    ),
    Tool(
        "apk",
        update=("update",),
        upgrade=("upgrade",),
        install=("add",),
        version="=",
    ),
)


def tool(host: Host) -> Optional[Tool]:
    """Return the package tool *host* has, None when it has none that is known."""
    return next((each for each in TOOLS if host.which(each.program) is not None), None)


class Packages:
    """The packages of one machine."""

    def __init__(self, using: Tool, context: Context) -> None:
        self._tool = using
        self._context = context

    def update(self, *, once: bool = False) -> None:
        """Fetch the lists of packages, unless an earlier call of this boot was with *once*."""
        boot = (self._context.host.read(_BOOT) or b"").decode("ascii", "replace").strip()
        if boot and recall(self._context, "package_lists") == (boot,):
            return
        self._run(self._tool.update, "package_update", "update")
        if once and boot:
            remember(self._context, "package_lists", boot)

    def upgrade(self) -> None:
        """Upgrade every package that is installed."""
        self._run(self._tool.upgrade, "package_upgrade", "upgrade")

    def install(self, wanted: Sequence[tuple[str, Package]]) -> None:
        """Install the packages, each with its place; one that cannot be is named, alone."""
        status = self._install([package for _, package in wanted])
        for place, package in wanted:
            # One that is not to be had must not cost the others theirs.
            alone = self._install([package]) if status != 0 and len(wanted) > 1 else status
            if alone == 0:
                self._context.report.add(place, "done", str(package))
            else:
                self._failed(place, str(package), alone)

    @property
    def _output(self) -> str:
        return f"{self._context.scripts}/packages.output"

    def _install(self, packages: Sequence[Package]) -> int:
        words = [
            each.name if each.version is None else f"{each.name}{self._tool.version}{each.version}"
            for each in packages
        ]
        return self._start((*self._tool.install, *words))

    def _run(self, arguments: tuple[str, ...], place: str, job: str) -> None:
        status = self._start(arguments)
        if status != 0:
            self._failed(place, f"{self._tool.program} {job}", status)

    def _failed(self, place: str, what: str, status: int) -> None:
        self._context.report.add(
            place, "failed", f"{what}: exit status {status}", status=status, output=self._output
        )

    def _start(self, arguments: tuple[str, ...]) -> int:
        host = self._context.host
        host.make_directory(self._context.scripts, mode=0o700)
        return host.run(
            [self._tool.program, *arguments],
            env=dict(self._tool.environment),
            output=self._output,
            timeout=3600,
        ).status
