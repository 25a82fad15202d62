"""The one net under the boot's work: what went wrong is told in words, and the boot goes on."""

from __future__ import annotations

from typing import Callable

from .errors import AgentError


def guarded(work: Callable[[], None]) -> str:
    """Do *work*; return what went wrong in words, empty when nothing did."""
    try:
        work()
    except AgentError as error:
        return str(error)
    # Whatever a module does, the boot goes on and the status says it. The exception's own text may
    # hold the user's values, so only its kind and place are told.
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "nowhere"
        if trace is not None:
            file = trace.tb_frame.f_code.co_filename.rpartition("/agent/")[2]
            where = f"{file} line {trace.tb_lineno}"
        return f"internal error: {type(error).__name__} in {where}"
    return ""
