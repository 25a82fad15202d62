"""One setting of sshd: edited in place or in a drop-in, and live only when sshd accepts it."""

import re
from typing import Optional

from ..errors import HostError
from .base import Context
from .families import family

FILE = "/etc/ssh/sshd_config"
DIRECTORY = "/etc/ssh/sshd_config.d"
# sshd keeps the first value it reads: this name is before those that images bring.
DROP_IN = f"{DIRECTORY}/10-linklocal.conf"
_INCLUDE = re.compile(r"\s*include\s.*/etc/ssh/sshd_config\.d/\*\.conf", re.IGNORECASE)
_MATCH = re.compile(r"\s*match\s", re.IGNORECASE)


def with_setting(text: str, keyword: str, value: str) -> str:
    """Return *text* with *keyword* set to *value* for everyone, in its place if it has one.

    Only what stands before the first Match is for everyone.
    """
    setting = re.compile(rf"\s*{keyword}(\s+|\s*=\s*)(\S+)\s*(#.*)?", re.IGNORECASE)
    lines = text.splitlines()
    end = next((n for n, line in enumerate(lines) if _MATCH.match(line)), len(lines))
    places = [n for n in range(end) if setting.fullmatch(lines[n])]
    if places:
        found = setting.fullmatch(lines[places[0]])
        if found is None or found[2].lower() != value.lower():
            lines[places[0]] = f"{keyword} {value}"
    else:
        lines.insert(end, f"{keyword} {value}")
    return "".join(f"{line}\n" for line in lines)


def includes_drop_ins(text: str) -> bool:
    """Say whether the directory of drop-ins is read, for everyone."""
    for line in text.splitlines():
        if _MATCH.match(line):
            return False
        if _INCLUDE.match(line):
            return True
    return False


def set_for_all(keyword: str, value: str, place: str, context: Context) -> None:
    """Set *keyword* for everyone; sshd reads it again when anything changed.

    What sshd refuses is not made live; a setting that another file overrules is reported.
    """
    host = context.host
    content = host.read(FILE)
    if content is None:
        context.report.warning(place, f"not set: there is no {FILE}; is sshd installed?")
        return
    main = content.decode("utf-8", "surrogateescape")
    path = DROP_IN if includes_drop_ins(main) else FILE
    before = (host.read(path) or b"").decode("utf-8", "surrogateescape")
    after = with_setting(before, keyword, value)
    if after != before:
        draft = after if path == FILE else after + main
        said = complaint(draft, context)
        if said is not None:
            context.report.failed(place, f"sshd refuses it: {said}")
            return
        host.write(path, after.encode("utf-8", "surrogateescape"), mode=0o600)
        host.reload_service(*family(host).ssh_services)
    _check_effect(keyword, value, place, context)


def complaint(draft: str, context: Context) -> Optional[str]:
    """Say why sshd would not start with the configuration *draft*, None when it would."""
    host = context.host
    path = f"{context.scripts}/sshd_config.draft"
    program = sshd(context)
    if program is None:
        return None
    host.write(path, draft.encode("utf-8", "surrogateescape"), mode=0o600)
    try:
        completed = host.run([program, "-t", "-f", path])
    finally:
        host.remove(path)
    if completed.status == 0:
        return None
    return _last_line(completed.output)


def _check_effect(keyword: str, value: str, place: str, context: Context) -> None:
    program = sshd(context)
    if program is None:
        return
    completed = context.host.run([program, "-T"])
    if completed.status != 0:
        return
    for line in completed.output.decode("utf-8", "replace").splitlines():
        name, _, found = line.partition(" ")
        if name == keyword.lower() and found != value:
            context.report.warning(
                place, f"set to {value}, but another file of {DIRECTORY} says {found} before it"
            )


def sshd(context: Context) -> Optional[str]:
    """Return the path of sshd where it can be asked, with the directory that it wants made."""
    host = context.host
    program = host.which("sshd")
    if program is None or not host.runs:
        return None
    directory = family(host).sshd_directory
    if directory is not None and host.kind(directory) is None:
        try:
            host.make_directory(directory, mode=0o755)
        except HostError:
            return None
    return program


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it does not say why"
