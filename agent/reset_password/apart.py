"""Doing something in a child process, so that the modules it needs are gone with it."""

import json
import os
import sys
from typing import Any, Callable, NamedTuple

from ..errors import AgentError


class Ended(NamedTuple):
    """How a child ended: its exit status, and what it made when that is 0."""

    status: int
    made: Any


def apart(make: Callable[[], Any]) -> Ended:
    """Return what *make* made, as JSON carries it; its errors go to stderr.

    For a process without threads only.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os._exit(_made(make, writer))
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1
    return Ended(code, json.loads(text) if text and code == 0 else None)


def _made(make: Callable[[], Any], writer: int) -> int:
    try:
        with open(writer, "w", encoding="utf-8") as pipe:
            json.dump(make(), pipe)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except AgentError as error:
        print(f"linklocal-resetd: {error}", file=sys.stderr)
        return 1
    except BaseException:
        # The child must end here, whatever happened: its parent's code is above it on the stack.
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
