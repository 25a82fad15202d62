"""What a module did for this instance, so that a later boot never undoes the user's own change."""

from .base import STATE, Context


def recall(context: Context, name: str) -> tuple[str, ...]:
    """Return what was remembered under *name* for this instance; nothing for another one."""
    lines = (context.host.read(f"{STATE}/{name}") or b"").decode("utf-8", "replace").splitlines()
    return tuple(lines[1:]) if lines[:1] == [context.instance.instance_id] else ()


def remember(context: Context, name: str, *lines: str) -> None:
    """Keep *lines*, which are no secrets, under *name* in the place of what was there."""
    text = "".join(f"{line}\n" for line in (context.instance.instance_id, *lines))
    context.host.write(f"{STATE}/{name}", text.encode(), mode=0o600)
