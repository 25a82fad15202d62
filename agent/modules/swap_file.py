"""The swap file of `swap`: how large, and how it is made."""

import re
from typing import Annotated, NamedTuple, Optional, Union

from ..errors import HostError
from .base import Context
from .readers import kind, read_path

_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
MIB = 2**20
MOST = 4 * 2**30
"""Largest file of size auto."""


def read_size(raw: object) -> int:
    """Return bytes given as a number or as text such as 2G."""
    if type(raw) is int and raw >= 0:
        return raw
    found = _SIZE.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if found is None:
        raise ValueError(f"expected a size such as '2G', got {kind(raw)}")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def read_size_or_auto(raw: object) -> Union[int, str]:
    """Return bytes, or 'auto'."""
    return "auto" if raw == "auto" else read_size(raw)


class Swap(NamedTuple):
    """A swap file."""

    filename: Annotated[str, read_path] = "/swap.img"
    """Its path."""
    size: Annotated[Union[int, str], read_size_or_auto] = 0
    """Its size in bytes or as 512M or 2G; `auto`: as much as the memory, at most 4G and a quarter
    of what is free; 0: none."""
    maxsize: Annotated[Optional[int], read_size] = None
    """The most that `auto` takes."""


def make(swap: Swap, context: Context) -> bool:
    """Make the file unless it is there; say whether there is one to be swapped to."""
    host = context.host
    if not swap.size:
        return False
    if host.kind(swap.filename) is not None:
        return host.kind(swap.filename) == "file"
    size = _auto(swap, context) if isinstance(swap.size, str) else swap.size
    if size < MIB:
        context.report.notice("swap", "no room, or no memory that is known: no swap file is made")
        return False
    if not host.live and not host.records:
        host.not_run.append(f"swap file {swap.filename}")
        return False
    # Private before there is anything in it.
    host.write(swap.filename, b"", mode=0o600)
    count = size // MIB
    made = [["fallocate", "-l", f"{count}M", swap.filename]]
    if _lies_on_btrfs(swap.filename, context):
        made = [["chattr", "+C", swap.filename], *made]
    if any(host.run(argv, timeout=600).status != 0 for argv in made):
        argv = ["dd", "if=/dev/zero", f"of={swap.filename}", "bs=1M", f"count={count}"]
        made = [argv]
        if host.run(argv, timeout=3600).status != 0:
            host.remove(swap.filename)
            raise HostError(f"{swap.filename}: no room for {count} MiB")
    if host.run(["mkswap", swap.filename], timeout=600).status != 0:
        host.remove(swap.filename)
        raise HostError(f"{swap.filename}: mkswap failed")
    return True


def _auto(swap: Swap, context: Context) -> int:
    text = (context.host.read("/proc/meminfo") or b"").decode("ascii", "replace")
    found = re.search(r"(?m)^MemTotal:\s+(\d+) kB", text)
    memory = int(found[1]) * 1024 if found else 0
    free = context.host.free_space(swap.filename.rpartition("/")[0] or "/") // 4
    return min(memory, free, MOST if swap.maxsize is None else swap.maxsize)


def _lies_on_btrfs(path: str, context: Context) -> bool:
    mounts = (context.host.read("/proc/self/mounts") or b"").decode("utf-8", "replace")
    best = ("", "")
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) > 2 and path.startswith(words[1].rstrip("/") + "/"):
            best = max(best, (words[1], words[2]), key=lambda each: len(each[0]))
    return best[1] == "btrfs"
