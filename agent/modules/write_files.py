"""write_files: put files on the guest with the content, mode and owner asked for.

Files of sudo and sshd are looked at by `visudo` and `sshd` first, where these are installed: what
they cannot read is refused, and what was there stays.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Callable, NamedTuple, Optional

from ..errors import HostError
from ..secret import Secret
from ..user_data.parts import Refused, gunzip
from .base import Context, Frequency, Module, Stage
from .readers import kind, read_content, read_mode, read_owner, read_path

LARGEST = 64 * 1024 * 1024
"""Bytes of content when it is unpacked."""
ROOT = "root:root"
GUARDED = ("/etc/sudoers", "/etc/ssh/sshd_config")
"""Beginnings of the paths of what `guarded_files` looks at."""
_LATER = "write_files.later"
"""The mark of files that are left for the final stage, since their owners are to come."""
ODD = "characters that are not of base64 are left out"
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/=\s]")


def _from_base64(content: bytes) -> bytes:
    import base64

    # What is not of its alphabet is left out, as users of cloud-init are used to; see `is_odd`.
    return base64.b64decode(content)


def _from_gzip(content: bytes) -> bytes:
    return gunzip(content, LARGEST)


Decoder = Callable[[bytes], bytes]

DECODERS: dict[str, tuple[Decoder, ...]] = {
    "text/plain": (),
    **dict.fromkeys(("b64", "base64"), (_from_base64,)),
    **dict.fromkeys(("gz", "gzip"), (_from_gzip,)),
    **dict.fromkeys(("gz+b64", "gzip+b64", "gz+base64", "gzip+base64"), (_from_base64, _from_gzip)),
}


def read_encoding(raw: object) -> str:
    """Return an encoding that DECODERS knows."""
    if isinstance(raw, str) and raw.strip().lower() in DECODERS:
        return raw.strip().lower()
    raise ValueError(f"expected one of {', '.join(DECODERS)}, got {kind(raw)}")


def read_url(raw: object) -> str:
    """Return a URL of http or https."""
    if isinstance(raw, str) and raw.isprintable() and re.fullmatch(r"https?://[^\s/]\S*", raw):
        return raw
    # It may hold a password: it is not quoted.
    raise ValueError("expected a URL of http or https")


class Source(NamedTuple):
    """Where the content is fetched from."""

    uri: Annotated[str, read_url]
    """URL of http or https."""
    headers: Mapping[str, Secret] = {}
    """Headers of the request, by name."""


class File(NamedTuple):
    """A file to be written."""

    path: Annotated[str, read_path]
    """Absolute path; missing parents are made with mode 0755."""
    content: Annotated[Secret, read_content] = Secret(b"")
    """Text or binary, empty when left out."""
    source: Optional[Source] = None
    """Where the content is fetched from; `content` is used when nothing comes."""
    encoding: Annotated[str, read_encoding] = "text/plain"
    """How `content` is encoded: b64, gz, gz+b64 (and longer spellings), text/plain."""
    permissions: Annotated[int, read_mode] = 0o644
    """Octal mode in quotes, such as '0600'."""
    owner: Annotated[str, read_owner] = ROOT
    """`user:group`; a file whose owner is not there yet waits for the final stage."""
    append: bool = False
    """Add to the end of the file instead of replacing it; once, however often it is applied."""
    defer: bool = False
    """Write in the final stage, when users and packages are there."""


class WriteFiles(NamedTuple):
    """Files, in the order they are written."""

    write_files: tuple[File, ...] = ()
    """The files, in the order they are written."""


def decoded(content: Secret, encoding: str) -> Secret:
    """Return the bytes that *content* stands for; raises ValueError or Refused."""
    found = content.reveal()
    for step in DECODERS.get(encoding, ()):
        found = step(found)
    return Secret(found)


def is_odd(content: Secret, encoding: str) -> bool:
    """Say whether *content* is base64 with something else in it."""
    is_base64 = _from_base64 in DECODERS.get(encoding, ())
    return is_base64 and _NO_BASE64.search(content.reveal()) is not None


def write(section: WriteFiles, context: Context) -> None:
    """Write the files that are not deferred, each for itself.

    A new file whose owner is not there yet is left for the final stage: users and packages may
    bring one.
    """
    can_wait = "write_files_deferred" not in context.lists.left_out
    for file in section.write_files:
        if file.defer:
            continue
        host = context.host
        if can_wait and not host.has_owner(file.owner) and host.kind(file.path) is None:
            context.marks.claim(Frequency.INSTANCE, _LATER)
            words = f"written in the final stage, its owner {file.owner!r} is not there yet"
            context.report.notice(_place(file), words)
        else:
            _write_one(file, context)


def write_deferred(section: WriteFiles, context: Context) -> None:
    """Write the files that are deferred, and those that were left."""
    some_left = context.marks.past(Frequency.INSTANCE, _LATER) is not None
    for file in section.write_files:
        left = some_left and file.owner != ROOT and context.host.kind(file.path) is None
        if file.defer or left:
            _write_one(file, context)


def _place(file: File) -> str:
    return f"write_files {file.path}"


def _write_one(file: File, context: Context) -> None:
    """Write *file*, or say why not."""
    place = _place(file)
    try:
        # What is fetched is not encoded.
        content = _fetched(file, place, context)
        if content is None:
            content = decoded(file.content, file.encoding)
            if is_odd(file.content, file.encoding):
                context.report.warning(place, ODD)
    except Refused as error:
        context.report.refused(place, f"expected content encoded as {file.encoding}: {error}")
    except ValueError:
        context.report.refused(place, f"expected content encoded as {file.encoding}")
    except HostError as error:
        context.report.failed(place, str(error))
    else:
        try:
            _write(file, content, context)
        except HostError as error:
            context.report.failed(place, str(error))


def _fetched(file: File, place: str, context: Context) -> Optional[Secret]:
    """Return what the file's source has, None without one; when nothing comes, what is given."""
    if file.source is None:
        return None
    headers = {name: value.reveal().decode() for name, value in file.source.headers.items()}
    try:
        return Secret(context.host.fetch(file.source.uri, headers=headers, attempts=5))
    except HostError as error:
        if not file.content:
            raise
        context.report.warning(place, f"{error}; the content given is used")
        return None


def _write(file: File, content: Secret, context: Context) -> None:
    before = context.host.read(file.path) if file.append else None
    # What already ends the file was appended by an earlier try of this boot.
    append = before is not None and not before.endswith(content.reveal())
    if before is not None and not append:
        content = Secret(before)
    if file.path.startswith(GUARDED):
        # Imported for them alone: most files need no other program.
        from .guarded_files import complaint

        whole = Secret(before + content.reveal()) if before is not None and append else content
        said = complaint(file.path, whole, context)
        if said is not None:
            context.report.refused(_place(file), said)
            return
    context.host.write(file.path, content, mode=file.permissions, owner=file.owner, append=append)


def apply(section: WriteFiles, context: Context) -> None:
    """Write every file that is not deferred."""
    write(section, context)


MODULE = Module("write_files", WriteFiles, Stage.NETWORK, Frequency.INSTANCE, apply)
