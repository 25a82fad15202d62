"""What a helper needs to see of a boot, in one archive, without a secret in it."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import time
from collections.abc import Iterator

from . import config, instance_data, journal, status
from .errors import AgentError
from .host import Host
from .modules.base import STATE
from .report import Report
from .version import VERSION

LONGEST = 1024 * 1024
OUTPUT = ".output"


def archive(host: Host, *, outputs: bool = False) -> bytes:
    """Return a tar.gz of the logs and marks of *host*; with *outputs* what its scripts printed.

    What scripts print is the user's, and may hold anything.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in _entries(host, outputs):
            entry = tarfile.TarInfo(f"linklocal-logs/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _entries(host: Host, outputs: bool) -> Iterator[tuple[str, bytes]]:
    system = os.uname()
    about = f"linklocal-agent {VERSION}\npython {sys.version}\n{' '.join(system)}\n"
    yield "about.txt", about.encode()
    for path in (status.PATH, instance_data.PATH, journal.PATH, "/etc/os-release"):
        content = host.read_end(path, LONGEST)
        if content is not None:
            yield path.lstrip("/"), content
    yield "agent.yaml.txt", _settings(host)
    names = list(_below(host, STATE)) if host.kind(STATE) == "directory" else []
    yield "state.txt", "".join(f"{name}\n" for name in names).encode()
    for name in names if outputs else ():
        if name.endswith(OUTPUT) and host.kind(name) == "file":
            yield name.lstrip("/"), host.read_end(name, LONGEST) or b""


def _settings(host: Host) -> bytes:
    """Return the settings that are no cloud-config: that may hold passwords."""
    try:
        found = config.read(host, Report())
    except AgentError as error:
        return f"{error}\n".encode()
    lines = []
    for key, value in found._asdict().items():
        shown = instance_data.REDACTED if isinstance(value, dict) and value else repr(value)
        lines.append(f"{key}: {shown}\n")
    return "".join(lines).encode()


def _below(host: Host, path: str) -> Iterator[str]:
    for name in host.names(path):
        inner = f"{path}/{name}"
        yield inner
        if host.kind(inner) == "directory":
            yield from _below(host, inner)
