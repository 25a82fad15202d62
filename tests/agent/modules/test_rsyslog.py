"""rsyslog: files of its configuration, and what has it read them."""

from __future__ import annotations

import pytest

from agent.host import Host
from agent.plan import Plan

from .machine import Machine, bad, said

FILE = "/etc/rsyslog.d/20-cloud-config.conf"


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        ("{configs: ['*.* @192.0.2.1']}", {FILE: "*.* @192.0.2.1\n"}),
        (
            '{configs: [a, {content: "b\\n", filename: 01-x.conf}, {content: c}]}',
            {FILE: "a\nc\n", "/etc/rsyslog.d/01-x.conf": "b\n"},
        ),
        (
            "{config_dir: /opt/r, config_filename: 99.conf, configs: [a]}",
            {"/opt/r/99.conf": "a\n"},
        ),
        (
            "{remotes: {maas: 192.0.2.1, juju: '@@[fd00::1]:514', x: 'mail.* log.example.com'}}",
            {
                FILE: "# begin remotes\n*.* @@[fd00::1]:514 # juju\n*.* @192.0.2.1 # maas\n"
                "mail.* @log.example.com # x\n# end remotes\n"
            },
        ),
        ("[a, b]", {FILE: "a\nb\n"}),
    ],
)
def test_files(machine: Machine, settings: str, files: dict[str, str]) -> None:
    report = machine.apply("rsyslog", f"rsyslog: {settings}")

    assert bad(report) == []
    assert {path: machine.guest.text(path) for path in files} == files


def test_the_old_form_has_its_file_beside_it(machine: Machine) -> None:
    document = "{rsyslog: [a], rsyslog_filename: b.conf, rsyslog_dir: /etc/r}"

    assert said(machine.apply("rsyslog", document)) == [("notice", "rsyslog")]
    assert machine.guest.text("/etc/r/b.conf") == "a\n"


def test_a_command_has_it_read_them_when_anything_changed(machine: Machine) -> None:
    document = "rsyslog: {configs: [a], service_reload_command: [pkill, -HUP, rsyslogd]}"

    def ran() -> list[str]:
        plan = Plan(Host(machine.guest.root))
        plan.runs = True
        machine.apply("rsyslog", document, plan)
        return [effect.target for effect in plan.effects if effect.verb == "run"]

    assert ran() == ["pkill -HUP rsyslogd"]
    machine.apply("rsyslog", document)
    assert ran() == []


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ("a", "rsyslog"),
        ("{configs: a}", "rsyslog.configs"),
        ("{configs: [7]}", "rsyslog.configs[0]"),
        ("{configs: [{filename: a}]}", "rsyslog.configs[0]"),
        ("{configs: [{content: a, filename: ../x}]}", None),
        ("{remotes: [a]}", "rsyslog.remotes"),
        ("{remotes: {a: 'b c d'}}", "rsyslog.remotes.a"),
        ("{remotes: {a: 'x; rm'}}", "rsyslog.remotes.a"),
        ("{service_reload_command: {a: b}}", "rsyslog.service_reload_command"),
    ],
)
def test_what_is_wrong_is_refused(machine: Machine, settings: str, place: str | None) -> None:
    before = machine.tree()

    report = machine.apply("rsyslog", f"rsyslog: {settings}")

    assert bad(report) == [("refused", place or "rsyslog.configs[0].filename")]
    assert machine.tree() == before
