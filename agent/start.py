"""How a command of the guest's begins and ends: where half the time of a short one would go."""

from __future__ import annotations

import gc
import os
import sys
from typing import Callable, NoReturn

OBJECTS = 100_000
"""How many may be made before Python looks for circles among them; what it imports makes none."""


def agent() -> NoReturn:
    """Be linklocal-agent."""
    gc.set_threshold(OBJECTS)
    from .cli import main

    _end(main)


def resetd() -> NoReturn:
    """Be linklocal-resetd. A daemon has all the time for its memory, and keeps Python's ways."""
    from .reset_password.cli import main

    _end(main)


def cloud_init() -> NoReturn:
    """Be what answers for cloud-init."""
    gc.set_threshold(OBJECTS)
    from .cloud_init import run

    _end(run)


def _end(main: Callable[[], int]) -> NoReturn:
    """End with the status that *main* returns, and leave the memory to the kernel.

    Python would take apart all that it imported, which costs a boot 10 ms.
    """
    try:
        status = main()
    except SystemExit as stop:
        if not isinstance(stop.code, int):
            raise
        status = stop.code
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        status = 1
    except OSError as error:
        os.write(2, f"{sys.argv[0]}: standard output: {error.strerror}\n".encode())
        status = 1
    os._exit(status)
