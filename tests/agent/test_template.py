"""Templates that would take all memory there is: refused, and nothing of the limit stays."""

from __future__ import annotations

import resource

import pytest

from agent.user_data.parts import Refused
from agent.user_data.template import check, render

HEAD = b"## template: jinja\n"
DOUBLING = b"""\
{% set kept = namespace(text='xxxxxxxxxxxxxxxx') %}
{% for i in range(60) %}{% set kept.text = kept.text ~ kept.text %}{% endfor %}{{ kept.text }}
"""


@pytest.mark.parametrize(
    "content",
    [b"{{ '{:>999999999}'.format(1) }}", b"{{ 'x'|center(999999999) }}", DOUBLING],
    ids=["format", "center", "doubling"],
)
def test_a_template_gets_no_more_memory_than_it_may_have(content: bytes) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)

    with pytest.raises(Refused, match="nested too deeply, or too large"):
        render(HEAD + content, {})

    assert resource.getrlimit(resource.RLIMIT_AS) == before
    check(HEAD + content)
    assert render(HEAD + b"{{ a }}", {"a": "b"}).content == b"b"
    assert resource.getrlimit(resource.RLIMIT_AS) == before
