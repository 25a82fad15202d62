"""random_seed: whose bytes go where, in which encoding."""

from __future__ import annotations

import base64
import gzip

import pytest

from agent.secret import Secret

from .machine import Machine, bad

HELLO = "aGVsbG8="
PACKED = base64.b64encode(gzip.compress(b"hello", mtime=0)).decode()


@pytest.mark.parametrize(
    ("settings", "content"),
    [
        ("data: hello", b"hello"),
        (f"data: {HELLO}, encoding: b64", b"hello"),
        (f"data: {HELLO}, encoding: base64", b"hello"),
        (f"data: !!binary {PACKED}, encoding: gzip", b"hello"),
        (f"data: !!binary {PACKED}, encoding: gz", b"hello"),
        ("data: hello, encoding: raw", b"hello"),
    ],
)
def test_data_is_added_to_a_file(machine: Machine, settings: str, content: bytes) -> None:
    machine.guest.write("/var/seed", b"before ")

    report = machine.apply("random_seed", f"random_seed: {{file: /var/seed, {settings}}}")

    assert bad(report) == []
    assert machine.guest.read("/var/seed") == b"before " + content
    assert machine.guest.stat("/var/seed").mode == 0o600


def test_the_instances_own_seed_comes_after_the_users(machine: Machine) -> None:
    machine.instance = machine.instance._replace(random_seed=Secret(b" world"))

    machine.apply("random_seed", "random_seed: {file: /var/seed, data: hello}")

    assert machine.guest.read("/var/seed") == b"hello world"


def test_without_a_section_the_instances_seed_goes_to_the_kernel(machine: Machine) -> None:
    machine.instance = machine.instance._replace(random_seed=Secret(b"12345678"))

    assert machine.plan("random_seed", "{}") == ["feed /dev/urandom 8 bytes"]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ("{data: YQ, encoding: b64}", ("refused", "random_seed.data")),
        ("{data: '*', encoding: b64}", ("warning", "random_seed.data")),
        ("{data: hello, encoding: gzip}", ("refused", "random_seed.data")),
        ("{data: hello, encoding: rot13}", ("refused", "random_seed.encoding")),
        ("{data: [1]}", ("refused", "random_seed.data")),
        ("{file: seed, data: hello}", ("refused", "random_seed.file")),
        ("{command: pollinate}", ("refused", "random_seed.command")),
        ("{command: [no-such], command_required: true}", ("failed", "random_seed.command")),
    ],
)
def test_what_is_wrong_is_named_and_never_shown(
    machine: Machine, settings: str, found: tuple[str, str]
) -> None:
    before = machine.tree()

    report = machine.apply("random_seed", f"random_seed: {settings}")

    assert bad(report) == [found]
    assert "hello" not in str(report.entries)
    assert machine.tree() == before


def test_a_program_that_is_not_there_may_be_left_out(machine: Machine) -> None:
    assert bad(machine.apply("random_seed", "random_seed: {command: [no-such, -q]}")) == []
