"""The agent as a package installs it: a private tree in /usr/lib/linklocal, compiled beforehand."""

from __future__ import annotations

import shutil
from pathlib import Path

from .cloud import CHECKOUT
from .light import LightGuest

HOME = "/usr/lib/linklocal"


def layer(lower: Path, directory: Path) -> Path:
    """Make, in *directory*, the files that lie over *lower* when the agent is installed there.

    They are compiled by *lower*'s own Python, so that a boot there costs what it costs a user.
    """
    home = directory / HOME.lstrip("/")
    shutil.copytree(
        CHECKOUT / "agent", home / "agent", ignore=shutil.ignore_patterns("__pycache__")
    )
    with LightGuest(lower, layers=[directory]) as guest:
        guest.sh(f"python3 -m compileall -q {HOME}")
        for source in sorted(home.rglob("*")):
            folder = source / "__pycache__"
            inside = f"/{folder.relative_to(directory)}"
            if source.is_dir() and guest.exists(inside):
                folder.mkdir()
                for name in guest.names(inside):
                    (folder / name).write_bytes(guest.read(f"{inside}/{name}"))
    return directory
