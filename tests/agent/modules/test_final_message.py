"""final_message: what is filled in, and what is not."""

from __future__ import annotations

import pytest

from agent.host import Host
from agent.journal import PATH, log
from agent.version import VERSION

from .machine import Machine


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("final_message: 'v $version'", f"v {VERSION}"),
        ("final_message: 'v ${VERSION} {{ datasource }}'", f"v {VERSION} openstack"),
        ("final_message: '{{uptime}} $uptime'", "12.34 12.34"),
        ("final_message: '$nothing $'", "$nothing $"),
        ('final_message: "## template: jinja\\nup {{ uptime }}"', "up 12.34"),
        ("final_message: '$timestamp'", "+0000"),
        ("", f"Linklocal {VERSION} finished at"),
    ],
)
def test_the_message_is_in_the_log(machine: Machine, document: str, message: str) -> None:
    machine.guest.write("/proc/uptime", b"12.34 45.67\n")

    machine.apply("final_message", document)

    log.flush_to(Host(machine.guest.root))
    assert message in machine.guest.text(PATH)
