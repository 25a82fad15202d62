"""keyboard: what the keys of the console mean."""

import re
from typing import Annotated, NamedTuple, Optional

from .base import Context, Frequency, Module, Stage
from .families import family
from .readers import kind

DEBIAN = "/etc/default/keyboard"
CONSOLE = "/etc/vconsole.conf"
GRAPHICAL = "/etc/X11/xorg.conf.d/00-keyboard.conf"


def read_word(raw: object) -> str:
    """Return a word of the keyboard's language, such as `de` or `compose:rwin`."""
    if isinstance(raw, str) and re.fullmatch(r"[A-Za-z0-9_:,.()+-]*", raw):
        return raw
    raise ValueError(f"expected a word such as 'us', got {kind(raw)}")


class Keys(NamedTuple):
    """What the keys mean."""

    layout: Annotated[str, read_word]
    """Layout, such as `us` or `de`."""
    model: Annotated[str, read_word] = "pc105"
    """Model of the keyboard."""
    variant: Annotated[str, read_word] = ""
    """Variant of the layout, such as `nodeadkeys`."""
    options: Annotated[str, read_word] = ""
    """Options such as `compose:rwin`."""


class Keyboard(NamedTuple):
    """What the keys of the console mean."""

    keyboard: Optional[Keys] = None
    """What the keys mean."""


def apply(section: Keyboard, context: Context) -> None:
    """Write it where the family has it, and have the console read it."""
    wanted = section.keyboard
    if wanted is None:
        return
    host = context.host
    name = family(host).name
    if name == "debian":
        before = host.read(DEBIAN)
        after = with_values(before, _xkb(wanted))
        host.write(DEBIAN, after)
        if before != after:
            host.restart_service("console-setup", "keyboard-setup")
    elif name == "alpine":
        if host.which("setup-keymap") is None:
            context.report.failed("keyboard", "there is no setup-keymap here")
            return
        variant = f"{wanted.layout}-{wanted.variant}" if wanted.variant else wanted.layout
        status = host.run(["setup-keymap", wanted.layout, variant], timeout=60).status
        if status != 0:
            context.report.failed("keyboard", f"setup-keymap: exit status {status}")
    else:
        before = host.read(CONSOLE)
        values = {"KEYMAP": _console_name(wanted), **_xkb(wanted, "")}
        after = with_values(before, values)
        host.write(CONSOLE, after)
        host.write(GRAPHICAL, _graphical(wanted).encode())
        if before != after:
            host.restart_service("systemd-vconsole-setup")


def with_values(before: Optional[bytes], values: dict[str, str]) -> bytes:
    """Return a file of shell variables with these *values*."""
    lines = (before or b"").decode("utf-8", "replace").splitlines()
    for name, value in values.items():
        line = f'{name}="{value}"'
        places = [n for n, each in enumerate(lines) if each.startswith(f"{name}=")]
        if places:
            lines[places[0]] = line
        else:
            lines.append(line)
    return "".join(f"{line}\n" for line in lines).encode()


def _xkb(wanted: Keys, backspace: str = "guess") -> dict[str, str]:
    values = {
        "XKBMODEL": wanted.model,
        "XKBLAYOUT": wanted.layout,
        "XKBVARIANT": wanted.variant,
        "XKBOPTIONS": wanted.options,
    }
    return {**values, "BACKSPACE": backspace} if backspace else values


def _console_name(wanted: Keys) -> str:
    """Return the console's own name of the layout: it knows the variant by a dash, if at all."""
    first = wanted.layout.partition(",")[0]
    variant = wanted.variant.partition(",")[0]
    return f"{first}-{variant}" if variant else first


def _graphical(wanted: Keys) -> str:
    names = ("Layout", "Model", "Variant", "Options")
    values = (wanted.layout, wanted.model, wanted.variant, wanted.options)
    options = "".join(
        f'        Option "Xkb{name}" "{value}"\n' for name, value in zip(names, values) if value
    )
    return (
        'Section "InputClass"\n        Identifier "system-keyboard"\n'
        f'        MatchIsKeyboard "on"\n{options}EndSection\n'
    )


MODULE = Module("keyboard", Keyboard, Stage.CONFIG, Frequency.INSTANCE, apply)
