"""The scripts among the parts of user data: when each has its turn, and under what name."""

from __future__ import annotations

from .modules.base import Turn, UserScript
from .scripts import OUTPUT
from .user_data.gather import Placed
from .user_data.parts import PER_BOOT, PER_INSTANCE, PER_ONCE

TURNS = {PER_ONCE: Turn.PER_ONCE, PER_BOOT: Turn.PER_BOOT, PER_INSTANCE: Turn.PER_INSTANCE}
RESERVED = ("bootcmd", "runcmd")
"""File names in the directory of scripts that are not the scripts'."""


def user_script(placed: Placed) -> UserScript:
    """Return the part as a script to be run, with its turn."""
    part = placed.part
    turn = TURNS.get(part.type) or (Turn.VENDOR if placed.origin else Turn.USER)
    return UserScript(file_name(placed.name), placed.place, part.content, turn, placed.prefix)


def file_name(name: str) -> str:
    """Return the name of a script's file, which is none of those that are kept beside it."""
    return f"{name}-script" if name in RESERVED or name.endswith((OUTPUT, ".results")) else name
