"""power_state: which program ends the boot, when, and under which condition."""

from __future__ import annotations

import pytest

from agent.host import Host
from agent.plan import Plan

from .machine import Machine, bad, said


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ("{mode: poweroff}", "shutdown -P now"),
        ("{mode: reboot, delay: now}", "shutdown -r now"),
        ("{mode: halt, delay: '+5', message: So long}", "shutdown -H +5 So long"),
        ("{mode: reboot, delay: 30, timeout: 10, condition: true}", "shutdown -r +30"),
        ("{mode: reboot, delay: '0'}", "shutdown -r now"),
    ],
)
def test_the_boot_ends_by(machine: Machine, settings: str, command: str) -> None:
    assert machine.plan("power_state", f"power_state: {settings}") == [f"at the end run {command}"]


def test_a_machine_without_shutdown_has_programs_of_the_name(machine: Machine) -> None:
    machine.guest.write("/sbin/reboot", b"", mode=0o755)
    plan = Plan(Host(machine.guest.root))
    plan.runs = True

    machine.apply("power_state", "power_state: {mode: reboot, delay: 2}", plan)

    assert [effect.target for effect in plan.effects] == ["reboot -d 120"]


@pytest.mark.parametrize("condition", ["false", "'no'"])
def test_nothing_happens_when_the_condition_says_no(machine: Machine, condition: str) -> None:
    # 'no' in quotes is a command; in a plan it is only recorded, and taken to say yes.
    effects = machine.plan("power_state", f"power_state: {{mode: halt, condition: {condition}}}")

    assert len(effects) == (0 if condition == "false" else 1)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ("{mode: sleep}", "power_state.mode"),
        ("{delay: now}", "power_state"),
        ("{mode: reboot, delay: soon}", "power_state.delay"),
        ("{mode: reboot, delay: -1}", "power_state.delay"),
        ("{mode: reboot, delay: true}", "power_state.delay"),
        ("{mode: reboot, message: {a: b}}", "power_state.message"),
        ("{mode: reboot, condition: {a: b}}", "power_state.condition"),
        ("{mode: reboot, condition: []}", "power_state.condition"),
        ("reboot", "power_state"),
    ],
)
def test_what_is_wrong_ends_no_boot(machine: Machine, settings: str, place: str) -> None:
    host = Plan(Host(machine.guest.root))

    report = machine.apply("power_state", f"power_state: {settings}", host)

    assert host.effects == []
    assert bad(report) == [("refused", place)]


def test_below_a_root_directory_it_is_only_said(machine: Machine) -> None:
    host = Host(machine.guest.root)

    report = machine.apply("power_state", "power_state: {mode: reboot}", host)

    assert said(report) == []
    assert host.not_run == ["shutdown -r now"]
