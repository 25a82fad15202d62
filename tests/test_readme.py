"""The tours of the README and of docs are what a machine really answers; links lead somewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .conftest import need_namespaces
from .guests.cloud import python_binds
from .guests.light import LightGuest, host_layers

CHECKOUT = Path(__file__).parent.parent
TOURS = (
    "README.md",
    "docs/control-plane.md",
    "docs/datasources.md",
    "docs/events-and-faults.md",
    "docs/password-reset.md",
)
PAGES = sorted(
    str(page.relative_to(CHECKOUT))
    for page in (CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md"))
)
LINKS = [
    (page, link)
    for page in PAGES
    for link in sorted(set(re.findall(r"\]\(([^)#:]+)\)", (CHECKOUT / page).read_text())))
]
END = "---- end of a command ----"


class Step(NamedTuple):
    command: str
    output: str


def steps(text: str) -> Iterator[Step]:
    """Yield the commands of the console blocks, each with what it is said to print."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = shown.splitlines()
            length = 1
            if here := re.search(r"<<'(\w+)'", lines[0]):
                length = lines.index(here[1]) + 1
            yield Step("\n".join(lines[:length]), "\n".join(lines[length:]))


def matches(expected: str, printed: str) -> bool:
    """Compare line by line; a line of three dots stands for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line.rstrip()) + r"[ \t]*\n"
        for line in expected.splitlines()
    )
    return re.fullmatch(pattern, printed if printed.endswith("\n") else printed + "\n") is not None


@pytest.mark.parametrize("page", TOURS)
def test_the_tour_is_true(page: str) -> None:
    need_namespaces()
    tour = list(steps((CHECKOUT / page).read_text()))
    script = "".join(f"{step.command}\necho; echo '{END}'\n" for step in tour)

    with LightGuest(Path("/"), lowers=host_layers(), binds=python_binds()) as machine:
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin"
        done = machine.run(
            ["/bin/bash", "-c", script + "kill %1"], cwd="/tmp", env={"PATH": path}, timeout=60
        )

    printed = [part.strip("\n") for part in done.stdout.decode().split(END)][: len(tour)]
    assert len(tour) > 5
    assert len(printed) == len(tour), done.stderr.decode()
    for step, output in zip(tour, printed):
        if step.output:
            assert matches(step.output, output), f"$ {step.command}\n{output}\n{done.stderr!r}"


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_a_link_leads_somewhere(page: str, link: str) -> None:
    assert ((CHECKOUT / page).parent / link).exists()


def test_a_comparison_can_fail() -> None:
    assert matches("a\n...\nb", "a\nx\ny\nb\n")
    assert matches("...\nb", "b\n")
    assert not matches("a\nb", "a\nc\n")
    assert not matches("a", "a\nb\n")
