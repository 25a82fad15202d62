"""docs/configuration.md names every key where it belongs, and its example is a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metadata_server.config import SERVER, load
from metadata_server.config_forms import ListOf, Section

PAGE = Path(__file__).resolve().parents[2] / "docs/configuration.md"


def sections(section: Section[Any]) -> Iterator[Section[Any]]:
    yield section
    for key in section.keys:
        form = key.form
        while isinstance(form, ListOf):
            form = form.item
        if isinstance(form, Section):
            yield from sections(form)


@pytest.mark.parametrize("section", [*sections(SERVER)], ids=lambda section: section.name)
def test_every_key_is_named_in_the_table_of_its_section(section: Section[Any]) -> None:
    after = PAGE.read_text().split(f"\n### {section.name}\n", 1)[1]
    table = after.split("\n### ", 1)[0]

    named = re.findall(r"^\| `([a-z0-9_]+)`", table, re.MULTILINE)

    assert named == [key.name for key in section.keys]


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    tokens = tmp_path / "control-tokens"
    tokens.write_text("0123456789abcdef0123\n")
    tokens.chmod(0o600)
    (tmp_path / "instances.d").mkdir()
    path = tmp_path / "server.yaml"
    path.write_text(example.replace("/etc/linklocal", str(tmp_path)))

    config = load(path)

    assert [instance.hostname for instance in config.instances] == ["ecs-ddd4.novalocal"]
