"""console_keys: what is shown of keys; on a console: test_end_in_a_guest."""

from __future__ import annotations

import pytest
import yaml

from agent.host import Host
from agent.modules.base import Context
from agent.modules.console_keys import ConsoleKeys, told
from agent.report import Report
from agent.schema import keys, load

from .machine import INSTANCE, KEY, SCRIPTS, Machine, bad

HOST_KEY = KEY + " root@web-1"
# By `ssh-keygen -lf` of that key.
PRINT = "256 SHA256:kmYcvdi2GkPeWxB6XLjrZB8JHsy2Hm8luHMFp9GMvqk root@web-1 (ED25519)"


def shown(machine: Machine, document: str) -> list[str]:
    config = yaml.safe_load(document) or {}
    section = load(
        ConsoleKeys, {k: v for k, v in config.items() if k in keys(ConsoleKeys)}, Report()
    )
    host = Host(machine.guest.root)
    return told(section, Context(host, INSTANCE, Report(), config, "debian", SCRIPTS))


@pytest.fixture
def keyed(machine: Machine) -> Machine:
    machine.guest.write("/etc/ssh/ssh_host_ed25519_key.pub", f"{HOST_KEY}\n".encode())
    machine.guest.write("/etc/ssh/ssh_host_ed25519_key", b"PRIVATE\n", mode=0o600)
    return machine


def test_host_keys_stand_between_lines_that_programs_look_for(keyed: Machine) -> None:
    assert shown(keyed, "") == [
        "-----BEGIN SSH HOST KEY FINGERPRINTS-----",
        PRINT,
        "-----END SSH HOST KEY FINGERPRINTS-----",
        "-----BEGIN SSH HOST KEY KEYS-----",
        HOST_KEY,
        "-----END SSH HOST KEY KEYS-----",
    ]


@pytest.mark.parametrize(
    ("document", "lines"),
    [
        ("ssh: {emit_keys_to_console: false}", 0),
        ("ssh_key_console_blacklist: [ssh-ed25519]", 3),
        ("ssh_fp_console_blacklist: [ssh-ed25519]", 3),
        (f"ssh_fp_console_blacklist: ['{PRINT.split()[1]}']", 3),
        ("ssh_key_console_blacklist: [ssh-dss]", 6),
    ],
)
def test_some_are_not_shown(keyed: Machine, document: str, lines: int) -> None:
    assert len(shown(keyed, document)) == lines


def test_who_may_come_in_is_shown_by_a_hash(machine: Machine) -> None:
    machine.apply(
        "users_groups", f"users: [default, {{name: a, ssh_authorized_keys: ['{KEY} b']}}]"
    )

    document = "users: [default, a, nobody-there]"
    lines = shown(machine, document)
    assert lines[0] == "ci-info: Authorized keys of user a (sha256):"
    assert lines[1].startswith("ci-info: ssh-ed25519 ")
    assert lines[1].endswith(" - b")
    assert len(lines[1].split()[2]) == 32 * 3 - 1
    assert len(shown(machine, f"{{authkey_hash: sha512, {document}}}")[1].split()[2]) == 64 * 3 - 1
    assert shown(machine, f"{{no_ssh_fingerprints: true, {document}}}") == []


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("authkey_hash: rot13", "authkey_hash"),
        ("no_ssh_fingerprints: perhaps", "no_ssh_fingerprints"),
        ("ssh_key_console_blacklist: {a: {b: c}}", None),
        ("ssh_fp_console_blacklist: 7", "ssh_fp_console_blacklist"),
        ("ssh: {emit_keys_to_console: 7}", "ssh.emit_keys_to_console"),
    ],
)
def test_what_is_wrong_is_refused(machine: Machine, document: str, place: str | None) -> None:
    expected = [] if place is None else [("refused", place)]
    assert bad(machine.apply("console_keys", document)) == expected
