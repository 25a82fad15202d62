"""How `linklocal` begins and ends, which would take a fifth of most commands' time."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

OBJECTS = 100_000
"""How many may be made before Python looks for circles among them; what it imports makes none."""


def run() -> NoReturn:
    """Be the command; leave the memory to the kernel, where Python would take all of it apart."""
    gc.set_threshold(OBJECTS)
    from .cli import main

    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
