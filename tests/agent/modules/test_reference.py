"""docs/modules.md is what the schemas say, and every key says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.modules import NAMES, load_module
from agent.modules.reference import RECORDS, fields, page

PAGE = Path(__file__).resolve().parents[3] / "docs/modules.md"


def test_the_page_is_not_stale() -> None:
    hint = "python -m agent.modules.reference > docs/modules.md"
    assert PAGE.read_text() == page(), f"stale: {hint}"


@pytest.mark.parametrize("name", [row.name for row in NAMES])
def test_every_key_says_what_it_is(name: str) -> None:
    for field in fields(load_module(name).schema):
        assert field.doc.endswith("."), field.key


def test_every_key_of_an_item_says_what_it_is() -> None:
    for record in RECORDS.values():
        for field in fields(record):
            assert field.doc.endswith("."), field.key
