"""mounts: lines of /etc/fstab, and what they name is mounted."""

import re
from typing import Annotated, Any, NamedTuple, Optional

from ..errors import HostError
from .base import Context, Frequency, Module, Stage
from .block_devices import read_aliases, resolve
from .readers import kind
from .swap_file import Swap, make

FSTAB = "/etc/fstab"
MARK = "comment=linklocal"
DEFAULTS = ("", "", "auto", "defaults,nofail", "0", "2")
_TAGS = ("LABEL=", "UUID=", "PARTLABEL=", "PARTUUID=", "ID=")
_BLANK = re.compile(r"[ \t\\]")
_NUMBER = re.compile(r"\d{1,3}")
# Devices that only a mapping of the cloud can tell; these datasources give none.
_ALIAS = re.compile(r"(ephemeral\d*|ebs\d*|ami|root|swap)(\.\d+)?")


class Mounts(NamedTuple):
    """What is mounted, and where."""

    mounts: Any = None
    """Lines of fstab as lists: device, mount point, type, options, dump, pass; the last four may be
    left out."""
    mount_default_fields: Any = None
    """What is taken for fields that are left out, as a list of six."""
    swap: Optional[Swap] = None
    """A swap file to be made."""
    device_aliases: Annotated[Optional[dict[str, str]], read_aliases] = None
    """Names for devices, to be used in `mounts`."""


class Line(NamedTuple):
    """A line of fstab, with its fields as they are meant."""

    device: str
    point: str
    type: str
    options: str
    dump: str
    check: str

    def text(self) -> str:
        """Return the line, marked as ours; blanks are written as fstab has them."""
        marked = self._replace(options=f"{self.options},{MARK}")
        return "\t".join(
            re.sub(r"[ \t\\]", lambda c: f"\\{ord(c[0]):03o}", each) for each in marked
        )


def read_fields(raw: object) -> tuple[Optional[str], ...]:
    """Return up to six fields of a line; an empty one is None."""
    if not isinstance(raw, (list, tuple)) or not 1 <= len(raw) <= 6:
        raise ValueError(f"expected [DEVICE, MOUNT POINT, TYPE, OPTIONS, 0, 2], got {kind(raw)}")
    fields: list[Optional[str]] = []
    for each in raw:
        if each is not None and (type(each) not in (str, int) or re.search(r"[\n\r\0]", str(each))):
            raise ValueError(f"expected text in every field, got {kind(each)}")
        fields.append(None if each is None or str(each).strip() == "" else str(each))
    return tuple(fields)


def read_line(raw: object, defaults: tuple[Optional[str], ...]) -> Optional[Line]:
    """Return the line of *raw*, None for one that says its device is not to be mounted."""
    given = read_fields(raw)
    if given[0] is None:
        raise ValueError("expected a device first")
    if len(given) > 1 and given[1] is None:
        return None
    fields = [*given, *[None] * (6 - len(given))]
    filled = [each or defaults[n] or DEFAULTS[n] for n, each in enumerate(fields)]
    line = Line(*filled)
    if line.type == "swap" and not line.point:
        line = line._replace(point="none")
    if not line.point.startswith("/") and line.point not in ("none", "swap"):
        raise ValueError(f"expected an absolute mount point, got {kind(line.point)}")
    if not (_NUMBER.fullmatch(line.dump) and _NUMBER.fullmatch(line.check)):
        raise ValueError("expected numbers in the last two fields")
    return line


def apply(section: Mounts, context: Context) -> None:
    """Write the lines, make the mount points, mount."""
    host = context.host
    try:
        defaults = read_fields(section.mount_default_fields or [None] * 6)
    except ValueError as error:
        context.report.refused("mount_default_fields", str(error))
        return
    before = (host.read(FSTAB) or b"").decode("utf-8", "surrogateescape")
    kept = [each for each in before.splitlines() if not _is_ours(each)]
    lines = _lines(section, (*defaults, *[None] * (6 - len(defaults))), kept, context)
    lines += _swap(section.swap, kept, context)
    after = "".join(f"{each}\n" for each in (*kept, *(line.text() for _, line in lines)))
    if after == before or (not lines and not before):
        return
    for place, line in lines:
        if line.point.startswith("/") and host.kind(line.point, follow=True) is None:
            try:
                host.make_directory(line.point)
            except HostError as error:
                context.report.failed(place, str(error))
    host.write(FSTAB, after.encode("utf-8", "surrogateescape"))
    for place, line in lines:
        _mount(place, line, context)


def _swap(swap: Optional[Swap], kept: list[str], context: Context) -> list[tuple[str, Line]]:
    """Make the swap file; return its line unless there is one."""
    try:
        if swap is None or not make(swap, context):
            return []
    except HostError as error:
        context.report.failed("swap", str(error))
        return []
    there = {words[0] for words in map(str.split, kept) if words}
    line = Line(swap.filename, "none", "swap", "sw", "0", "0")
    return [] if swap.filename in there else [("swap", line)]


def _lines(
    section: Mounts, defaults: tuple[Optional[str], ...], kept: list[str], context: Context
) -> list[tuple[str, Line]]:
    raw = section.mounts
    if raw is not None and not isinstance(raw, list):
        context.report.refused("mounts", f"expected a list, got {kind(raw)}")
        return []
    there = {words[0] for words in map(str.split, kept) if words}
    found: list[tuple[str, Line]] = []
    for n, item in enumerate(raw or ()):
        place = f"mounts[{n}]"
        try:
            line = read_line(item, defaults)
        except ValueError as error:
            context.report.refused(place, str(error))
            continue
        if line is None:
            continue
        device = _device(resolve(line.device, section.device_aliases), context)
        if device is None:
            context.report.warning(place, f"no such device: {line.device!r}")
        elif device in there:
            context.report.notice(place, f"{device} is in {FSTAB} already and stays as it is")
        else:
            found.append((place, line._replace(device=device)))
    return found


def _device(name: str, context: Context) -> Optional[str]:
    """Return what fstab is to name, None for a device of this machine that is not there."""
    if name.startswith(_TAGS) or ":" in name or name.startswith("//"):
        return name
    if "/" not in name and not _ALIAS.fullmatch(name):
        path = f"/dev/{name}"
        # Neither a device nor a path: tmpfs, overlay and the like, or a dataset.
        named = context.host.kind(path, follow=True) is not None
        return path if named or re.fullmatch(r"(x?v|s|h)d[a-z]+\d*|nvme\w+", name) else name
    if name.startswith("/"):
        return name
    return None if _ALIAS.fullmatch(name) else name


def _is_ours(line: str) -> bool:
    words = line.split()
    return len(words) > 3 and not line.startswith("#") and MARK in words[3].split(",")


def _mount(place: str, line: Line, context: Context) -> None:
    host = context.host
    options = line.options.split(",")
    if "noauto" in options:
        return
    if "nofail" in options and line.device.startswith("/dev/") and host.kind(line.device) is None:
        context.report.notice(place, f"{line.device} is not there (yet); nothing was mounted")
        return
    if line.type == "swap":
        swaps = (host.read("/proc/swaps") or b"").decode("utf-8", "replace").splitlines()
        if line.device in (each.split(" ")[0] for each in swaps):
            return
        command = ["swapon", line.device]
    else:
        mounted = (host.read("/proc/self/mounts") or b"").decode("utf-8", "replace")
        if line.point in (each.split(" ")[1] for each in mounted.splitlines()):
            return
        command = ["mount", line.point]
    completed = host.run(command, timeout=120)
    if completed.status != 0:
        words = completed.output.decode("utf-8", "replace").strip().splitlines()
        context.report.failed(place, words[-1] if words else f"exit status {completed.status}")


MODULE = Module("mounts", Mounts, Stage.NETWORK, Frequency.INSTANCE, apply)
