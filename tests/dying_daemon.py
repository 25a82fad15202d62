"""The reset daemon, killed at one of its named points: python -m tests.dying_daemon ROOT URL POINT.

It is the daemon itself, with something to tell when a point is reached; SIGKILL leaves it no time
to put anything in order. Without a POINT it lives.
"""

from __future__ import annotations

import os
import signal
import sys

from agent.reset_password.daemon import Daemon, Places
from agent.reset_password.kept import LOCK
from agent.reset_password.machine import Machine
from agent.reset_password.private import PrivateDirectory
from agent.reset_password.settings import read


def main() -> None:
    root, url, point = sys.argv[1:]

    def reached(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    state = PrivateDirectory(f"{root}/var/lib/linklocal/resetd", mode=0o700)
    run = PrivateDirectory(f"{root}/run/linklocal", mode=0o755)
    lock = run.lock(LOCK)
    assert lock is not None, "another daemon is running"
    settings = read(root)._replace(metadata_url=url)
    places = Places(state, run, Machine(root), None)
    Daemon(settings, places, ("sha512",), print, reached).run()


if __name__ == "__main__":
    main()
