"""Templates of user data, rendered with what is known of the instance, in a sandbox and in bounds.

Imported only where there is one: jinja2 is as large as the rest of a boot.
"""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from .parts import LIMIT, Refused

MISSING = "CI_MISSING_JINJA_VAR/"
"""Stands, with the name, in the place of a variable that is not there; scripts look for it."""
SECONDS = 10.0
MEMORY = 256 * 1024 * 1024
"""Bytes of address space that may be taken beyond what the agent has."""
LONGEST = 256 * 1024
"""Bytes of a template: to compile one takes a hundred times what it takes to read it."""


class Rendered(NamedTuple):
    """A template filled in, and the names in it that nobody knows."""

    content: bytes
    missing: tuple[str, ...]


class _Environment(SandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse the operators that make something large of something small."""
        if operator == "**" or (operator == "*" and not (_is_number(left) and _is_number(right))):
            raise Refused(f"template: the operator {operator} is not for templates here")
        if operator == "%" and not _is_number(left):
            raise Refused("template: the operator % is for numbers here")
        return super().call_binop(context, operator, left, right)


def render(
    content: bytes,
    values: Mapping[str, Any],
    *,
    limit: int = LIMIT,
    seconds: float = SECONDS,
) -> Rendered:
    """Return *content*, a template below its first line, filled in with *values*.

    Raises Refused when it is no template, or grows beyond *limit* bytes or *seconds*.
    """
    missing: dict[str, None] = {}
    size, pieces = 0, []
    try:
        with _deadline(seconds), _memory():
            template = _compiled(content, missing)
            for piece in template.generate(_plain(values)):
                size += len(piece.encode("utf-8", "replace"))
                if size > limit:
                    raise Refused(f"template: larger than {limit} bytes when filled in")
                pieces.append(piece)
    except jinja2.TemplateError as error:
        raise Refused(f"template: {type(error).__name__} while it was filled in") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise Refused(f"template: {type(error).__name__} while it was filled in") from None
    except (RecursionError, MemoryError):
        raise Refused("template: nested too deeply, or too large") from None
    return Rendered("".join(pieces).encode("utf-8", "surrogateescape"), tuple(missing))


def check(content: bytes) -> None:
    """Raise Refused when *content* is no template; its names are anybody's."""
    with _deadline(SECONDS), _memory():
        _compiled(content, {})


def _compiled(content: bytes, missing: dict[str, None]) -> jinja2.Template:
    if len(content) > LONGEST:
        raise Refused(f"template: larger than {LONGEST} bytes, the most that is taken")
    try:
        text = content.decode("utf-8").partition("\n")[2]
        environment = _Environment(
            undefined=_undefined(missing),
            trim_blocks=True,
            keep_trailing_newline=True,
            extensions=["jinja2.ext.do"],
            autoescape=False,
        )
        return environment.from_string(text)
    except UnicodeDecodeError as error:
        raise Refused(f"template: expected UTF-8, got another byte at {error.start}") from None
    except jinja2.TemplateSyntaxError as error:
        # One more for the line that says it is a template. The message may quote the user's text.
        raise Refused(f"template: line {error.lineno + 1}: not jinja") from None
    except (jinja2.TemplateError, RecursionError, MemoryError, ValueError, SyntaxError):
        raise Refused("template: not jinja that can be read") from None


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Refuse what takes longer than *seconds*: a loop in a template need not end, or say a word."""

    def stop(number: int, frame: object) -> None:
        raise Refused(f"template: not filled in after {seconds:g} seconds")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _memory() -> Iterator[None]:
    """Refuse what needs more than MEMORY: a text that doubles itself takes all there is in 10 s."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        yield
        return
    most = now + MEMORY
    if soft != resource.RLIM_INFINITY:
        most = min(most, soft)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _undefined(missing: dict[str, None]) -> type[jinja2.Undefined]:
    class Missing(jinja2.Undefined):
        """A name that nobody knows; its text says so, in place of nothing."""

        def __str__(self) -> str:
            name = str(self._undefined_name)[:200]
            missing[name] = None
            return f"{MISSING}{name}"

        def __sub__(self, other: object) -> str:  # type: ignore[override]  # jinja's never returns
            # `v1.local-name` is a subtraction to jinja.
            if not isinstance(other, jinja2.Undefined):
                self._fail_with_undefined_error()
            name = f"{self._undefined_name}-{other._undefined_name}"[:200]
            missing[name] = None
            return f"{MISSING}{name}"

    return Missing


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return *values* with names that jinja can read: `-` and `.` are `_`."""
    return {
        str(key).replace("-", "_").replace(".", "_"): _inner(value) for key, value in values.items()
    }


def _inner(value: Any) -> Any:
    if isinstance(value, dict):
        return _plain(value)
    return [_inner(item) for item in value] if isinstance(value, list) else value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) < 10**18
