"""YAML that is made to exhaust the reader: each is refused or read, in little time and memory."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from agent.errors import ConfigError
from agent.user_data.document import DEEPEST, parse

LEVELS = 100_000
BREAKS = {"LF": "\n", "CR": "\r", "CRLF": "\r\n", "NEL": "\x85", "LS": "\u2028", "PS": "\u2029"}
STARTS = {"BOM": "\ufeff", "tag": "!!seq\n", "start": "---\n", "anchor": "&a\n", "comment": "#\r"}
DEEP = {
    **{name: f"a:{end}{'- ' * LEVELS}x" for name, end in BREAKS.items()},
    **{name: f"{start}{'- ' * LEVELS}x" for name, start in STARTS.items()},
    "keys": "? " * LEVELS + "x",
    "values": "a: \n" + "".join(f"{' ' * n}? {n}\n{' ' * n}: \n" for n in range(1, 300)),
    "mappings": "".join(f"{' ' * n}a:\r" for n in range(1500)),
    "flow": "a: " + "[" * LEVELS,
    "flow mappings": "{a: " * LEVELS,
    "explicit in flow": "[? " * LEVELS,
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_nesting_is_refused_and_ends_no_process(name: str) -> None:
    """In a process of its own, which a stack that is exhausted would end with a signal."""
    code = (
        "import sys\n"
        "from agent.errors import ConfigError\n"
        "from agent.user_data.document import parse\n"
        "try:\n"
        "    parse(sys.stdin.buffer.read(), 'x')\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    content = DEEP[name].encode()

    done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True)

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"nested deeper than 100 levels" in done.stdout


@pytest.mark.parametrize("end", BREAKS.values(), ids=BREAKS)
def test_what_is_not_too_deep_is_read_whatever_ends_a_line(end: str) -> None:
    value, _ = parse(f"a:{end}{'- ' * (DEEPEST - 10)}x{end}b: 1".encode(), "x")

    depth, inner = 0, value["a"]
    while isinstance(inner, list):
        depth, inner = depth + 1, inner[0]
    assert (depth, inner, value["b"]) == (DEEPEST - 10, "x", 1)


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_many_values_are_refused_whatever_ends_a_line(end: str) -> None:
    with pytest.raises(ConfigError, match="more than 200000 values"):
        parse(f"- x{end}".encode() * 210_000, "x")


NUMBERS = {
    "base 60": "1" + ":1" * 400_000,
    "base 60 with a fraction": "1" + ":1" * 400_000 + ".5",
    "decimal": "9" * 1_000_000,
    "octal": "0" + "7" * 1_000_000,
    "binary": "0b" + "1" * 1_000_000,
    "fraction": "9" * 1_000_000 + ".5",
}


@pytest.mark.parametrize("text", NUMBERS.values(), ids=NUMBERS)
def test_a_number_beyond_all_measure_is_text(text: str) -> None:
    began = time.process_time()

    value, _ = parse(f"a: {text}".encode(), "x")

    assert value == {"a": text}
    assert time.process_time() - began < 2


@pytest.mark.parametrize("tag", ["!!int", "!!float"])
@pytest.mark.parametrize("text", NUMBERS.values(), ids=NUMBERS)
def test_text_that_is_called_a_number_is_bounded_too(tag: str, text: str) -> None:
    began = time.process_time()

    with pytest.raises(ConfigError, match="not what its form says"):
        parse(f'a: {tag} "{text}"'.encode(), "x")

    assert time.process_time() - began < 2


def test_numbers_of_usual_length_stay_numbers() -> None:
    value, _ = parse(b"[1, 0644, 0x1f, 1:30, 1.5, 1_000, !!int '7', !!float '2']", "x")

    assert value == [1, 0o644, 31, 90, 1.5, 1000, 7, 2.0]
