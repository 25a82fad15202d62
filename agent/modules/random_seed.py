"""random_seed: bytes that the kernel's random numbers are stirred with."""

from typing import Annotated, Literal, NamedTuple, Optional

from ..secret import Secret
from ..user_data.parts import Refused
from .base import Context, Frequency, Module, Stage
from .readers import kind, read_content, read_path

DEVICE = "/dev/urandom"


def read_words(raw: object) -> tuple[str, ...]:
    """Return a program and its arguments."""
    if isinstance(raw, list) and raw and all(type(word) in (str, int) for word in raw):
        return tuple(str(word) for word in raw)
    raise ValueError(f"expected a list of a program and its arguments, got {kind(raw)}")


class Seed(NamedTuple):
    """Where random bytes come from and go to."""

    file: Annotated[str, read_path] = DEVICE
    """Where the bytes go: a device, or a file they are added to."""
    data: Annotated[Secret, read_content] = Secret(b"")
    """Bytes of your own, beside those of the instance."""
    encoding: Literal["raw", "b64", "base64", "gz", "gzip", ""] = "raw"
    """How `data` is encoded: raw, b64 or gz."""
    command: Annotated[tuple[str, ...], read_words] = ()
    """A program with its arguments that seeds by itself; the file is in its RANDOM_SEED_FILE."""
    command_required: bool = False
    """It is a failure when there is no such program."""


class RandomSeed(NamedTuple):
    """Seed of random numbers."""

    random_seed: Optional[Seed] = None
    """Where random bytes come from and go to; the instance's own are used without it, too."""


def _given(seed: Seed, context: Context) -> bytes:
    """Return the user's own bytes, none when these cannot be read."""
    if not seed.data:
        return b""
    from .write_files import ODD, decoded, is_odd

    place = "random_seed.data"
    try:
        content = decoded(seed.data, seed.encoding)
    except (ValueError, Refused):
        context.report.refused(place, f"expected {seed.encoding}")
        return b""
    if is_odd(seed.data, seed.encoding):
        context.report.warning(place, ODD)
    return content.reveal()


def apply(section: RandomSeed, context: Context) -> None:
    """Put the bytes in, then run the program."""
    wanted = section.random_seed or Seed()
    host = context.host
    content = _given(wanted, context)
    if context.instance.random_seed is not None:
        content += context.instance.random_seed.reveal()
    if content:
        _put(wanted.file, Secret(content), context)
    if wanted.command:
        program = host.which(wanted.command[0])
        if program is not None or host.records:
            completed = host.run(wanted.command, env={"RANDOM_SEED_FILE": wanted.file}, timeout=300)
            if completed.status != 0:
                context.report.failed("random_seed.command", f"exit status {completed.status}")
        elif wanted.command_required:
            context.report.failed("random_seed.command", f"there is no {wanted.command[0]!r} here")


def _put(path: str, content: Secret, context: Context) -> None:
    host = context.host
    if path == DEVICE or host.kind(path, follow=True) == "other":
        host.feed(path, content)
        return
    before = host.read(path)
    if before is None or not before.endswith(content.reveal()):
        host.write(path, content, mode=0o600, append=before is not None)


MODULE = Module("random_seed", RandomSeed, Stage.NETWORK, Frequency.INSTANCE, apply)
