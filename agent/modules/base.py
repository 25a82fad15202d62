"""What a module is: a section of cloud-config, its stage and frequency, and what applies it."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Callable, NamedTuple, Optional, Protocol

from ..host import Host
from ..instance import InstanceData
from ..report import Entry, Report
from ..secret import Secret

STATE = "/var/lib/linklocal/agent"
"""Where a module keeps, by `host.write`, what it must remember over boots."""
SCRIPT, VENDOR_SCRIPT, OWN_SCRIPT = "script", "vendor", "own"
"""How the marks of scripts begin, up to a full stop: the user's, the vendor's, the image's."""


class Stage(Enum):
    """The boot stages, in order."""

    LOCAL = "local"
    NETWORK = "network"
    CONFIG = "config"
    FINAL = "final"


class Frequency(Enum):
    """How often a module runs: every boot, once for each instance id, once ever."""

    ALWAYS = "always"
    INSTANCE = "instance"
    ONCE = "once"


class Turn(Enum):
    """When a script of the user data has its turn, in this order; how often is its frequency."""

    VENDOR = 0
    PER_ONCE = 1
    PER_BOOT = 2
    PER_INSTANCE = 3
    USER = 4

    @property
    def module(self) -> str:
        """The name of cloud-init's module that runs them, by which `Lists` knows them."""
        return "scripts_" + self.name.lower()


class UserScript(NamedTuple):
    """A script of the user data, still to be run."""

    name: str
    """Its file name: the order of running is that of the names, as `run-parts` has it."""
    place: str
    """Where it stands in the user data, such as `part-001`."""
    content: Secret
    turn: Turn = Turn.USER
    prefix: tuple[str, ...] = ()
    """The words before its path where it is run."""
    program: str = ""
    """Its path when it lies on this machine already; then there is no content."""


class Past(NamedTuple):
    """What is known of something that was started at an earlier boot."""

    ended: bool
    """False when that boot was cut off while it was at work."""
    troubles: tuple[Entry, ...] = ()
    """What was refused or failed in it."""


class Marks(Protocol):
    """Remembers over boots, crashes and power cuts what was started and what ended."""

    def claim(self, frequency: Frequency, name: str) -> Optional[Past]:
        """Mark *name* as started, on the disk, and return None: it is to run now.

        When it has its mark, return what is known of it.
        """
        ...

    def past(self, frequency: Frequency, name: str) -> Optional[Past]:
        """Return what is known of *name*, None when it has no mark."""
        ...

    def ended(self, frequency: Frequency, name: str, entries: Sequence[Entry] = ()) -> None:
        """Note that *name* ended, and what of *entries* later boots are to know."""
        ...


class NoMarks:
    """Remembers nothing: everything is to run now."""

    def claim(self, frequency: Frequency, name: str) -> Optional[Past]:
        """Say that *name* never ran."""
        return None

    def past(self, frequency: Frequency, name: str) -> Optional[Past]:
        """Say that *name* never ran."""
        return None

    def ended(self, frequency: Frequency, name: str, entries: Sequence[Entry] = ()) -> None:
        """Forget it."""


class Sink(Protocol):
    """Shows the output of one script where the user wants to see it, too."""

    def take(self, piece: bytes) -> None:
        """Show *piece*, the next of it."""
        ...

    def close(self) -> None:
        """Know that this was all."""
        ...


class Lists(NamedTuple):
    """What lists of modules in the cloud-config ask for, by names of modules and of turns."""

    frequencies: Mapping[str, Frequency] = {}
    """How often these run, whatever is usual."""
    left_out: Mapping[str, str] = {}
    """These do not run; the key of the list that leaves them out."""


def keep_private() -> Optional[Sink]:
    """Show nothing: captured output stays where it is."""
    return None


class Context(NamedTuple):
    """What a module may touch: the machine, the instance's data, its own report."""

    host: Host
    instance: InstanceData
    report: Report
    config: Mapping[str, Any]
    """The whole merged cloud-config, for the few modules that look across sections."""
    default_user: str
    """The image's default user, such as `debian`; from agent.yaml."""
    scripts: str
    """Private directory of this instance's scripts and their output, absolute, mode 0700."""
    user_scripts: tuple[UserScript, ...] = ()
    """The scripts of the user data, in any order."""
    marks: Marks = NoMarks()
    lists: Lists = Lists()
    timeout: Optional[float] = None
    """Longest time a user's script or list of commands may take, in seconds; None for ever."""
    sink: Callable[[], Optional[Sink]] = keep_private
    """Makes what shows a script's output where `output` of the cloud-config wants it."""


class Module(NamedTuple):
    """A unit of work. *schema*'s fields are the top-level keys it reads, see `agent.schema`.

    *apply* gets the loaded section, reports bad items to `context.report` and goes on with the
    others; it raises AgentError only when nothing of the section can be done. It may run twice
    with the same result. A module with *needs_section* False runs without any of its keys.
    """

    name: str
    schema: Any
    stage: Stage
    frequency: Frequency
    apply: Callable[[Any, Context], None]
    needs_section: bool = True
    at_most_once: bool = False
    """Its mark is made before it starts (scripts, runcmd); else after: a failure is tried again."""
