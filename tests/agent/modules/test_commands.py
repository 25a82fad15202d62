"""bootcmd, runcmd and scripts: what is a command. Running them is tested with agent/scripts.py."""

from __future__ import annotations

import pytest

from .machine import Machine, said, texts


@pytest.mark.parametrize("name", ["bootcmd", "runcmd"])
@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("{echo: hi}", "put a line with ': ' in quotes"),
        ("7", "expected a command line or a list of words, got a number"),
        ("[]", "expected a command line or a list of words, got a list"),
        ("[echo, [a]]", "expected a command line or a list of words"),
        ("[echo, true]", "expected a command line or a list of words"),
        ('"a\\0b"', "expected a command line"),
    ],
)
def test_what_is_no_command_is_refused_by_its_number(
    machine: Machine, name: str, item: str, words: str
) -> None:
    report = machine.apply(name, f"{name}: [{item}, echo hello]")

    refused = [place for result, place in said(report) if result == "refused"]
    assert refused == [f"{name}[0]"]
    assert words in texts(report)


@pytest.mark.parametrize("name", ["bootcmd", "runcmd"])
@pytest.mark.parametrize("value", ["echo hi", "{a: b}", "7"])
def test_commands_are_a_list(machine: Machine, name: str, value: str) -> None:
    report = machine.apply(name, f"{name}: {value}")

    assert said(report) == [("refused", name)]
