"""Which service manager runs here, and the command that has it reload or restart a service."""

from __future__ import annotations

from typing import Callable

_UNITS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system")
_UNITS_OF_OLD = "/lib/systemd/system"


def command(kind: Callable[[str], str | None], verb: str, names: tuple[str, ...]) -> list[str]:
    """Return the command for the first service of *names* that exists; empty when none does.

    *kind* looks at a path of the guest; *verb* is reload or restart. LookupError when no service
    manager is running. systemd is not waited for: the service may be ordered after us.
    """
    if kind("/run/systemd/system") == "directory":
        for name in names:
            unit = name if "." in name else f"{name}.service"
            if any(kind(f"{place}/{unit}") for place in (*_UNITS, _UNITS_OF_OLD)):
                action = "try-reload-or-restart" if verb == "reload" else "restart"
                return ["systemctl", "--no-block", action, unit]
        return []
    if kind("/run/openrc"):
        program = "rc-service"
    elif kind("/run/initctl") or kind("/dev/initctl"):
        program = "service"
    else:
        raise LookupError("no service manager is running")
    for name in names:
        script = name[:-8] if name.endswith(".service") else name
        if kind(f"/etc/init.d/{script}"):
            return [program, script, verb]
    return []
