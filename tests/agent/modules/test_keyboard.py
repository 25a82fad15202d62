"""keyboard: where each family has it."""

from __future__ import annotations

import pytest

from agent.host import Host
from agent.plan import Plan

from .machine import Machine, bad

FILE = "/etc/default/keyboard"
DOCUMENT = "keyboard: {layout: de, model: pc104, variant: nodeadkeys, options: 'compose:rwin'}"


def test_debian_has_it_in_a_file_of_its_own(machine: Machine) -> None:
    machine.guest.write(FILE, b'# Words.\nXKBLAYOUT="us"\nBACKSPACE="guess"\n')

    assert bad(machine.apply("keyboard", DOCUMENT)) == []

    assert machine.guest.text(FILE) == (
        '# Words.\nXKBLAYOUT="de"\nBACKSPACE="guess"\nXKBMODEL="pc104"\n'
        'XKBVARIANT="nodeadkeys"\nXKBOPTIONS="compose:rwin"\n'
    )


def test_what_is_left_out_is_empty(machine: Machine) -> None:
    machine.apply("keyboard", "keyboard: {layout: us}")

    assert machine.guest.text(FILE) == (
        'XKBMODEL="pc105"\nXKBLAYOUT="us"\nXKBVARIANT=""\nXKBOPTIONS=""\nBACKSPACE="guess"\n'
    )


@pytest.mark.parametrize("name", ["openEuler", "opensuse-leap"])
def test_rpm_systems_have_it_for_the_console_and_for_graphics(machine: Machine, name: str) -> None:
    machine.guest.write("/etc/os-release", f"ID={name}\n".encode())

    machine.apply("keyboard", DOCUMENT)

    assert 'KEYMAP="de-nodeadkeys"\n' in machine.guest.text("/etc/vconsole.conf")
    text = machine.guest.text("/etc/X11/xorg.conf.d/00-keyboard.conf")
    assert 'Option "XkbLayout" "de"\n' in text
    assert 'Option "XkbOptions" "compose:rwin"\n' in text


def test_alpine_has_a_program_for_it(machine: Machine) -> None:
    machine.guest.write("/etc/os-release", b"ID=alpine\n")
    machine.guest.write("/sbin/setup-keymap", b"", mode=0o755)
    plan = Plan(Host(machine.guest.root))
    plan.runs = True

    machine.apply("keyboard", DOCUMENT, plan)

    assert [effect.target for effect in plan.effects] == ["setup-keymap de de-nodeadkeys"]


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ("de", "keyboard"),
        ("{model: pc105}", "keyboard"),
        ("{layout: 'd e'}", "keyboard.layout"),
        ("{layout: de, options: 'a\" b'}", "keyboard.options"),
        ("{layout: [de]}", "keyboard.layout"),
    ],
)
def test_what_is_wrong_is_refused(machine: Machine, settings: str, place: str) -> None:
    before = machine.tree()

    assert ("refused", place) in bad(machine.apply("keyboard", f"keyboard: {settings}"))
    if settings != "{layout: de, options: 'a\" b'}":
        assert machine.tree() == before
