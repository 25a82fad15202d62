"""The guide's rules for host names and for the names of a batch, by table."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metadata_server.hostname import batch_names, host_name


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("ecs-ddd4", "ecs-ddd4"),
        ("web_01", "web-01"),
        ("web-_01", "web-01"),
        ("web__01", "web--01"),
        (".ecs", "ecs"),
        ("-_.ecs", "ecs"),
        ("测试ecs", "ecs"),
        ("._-测ecs-1", "ecs-1"),
        ("ecs.example.com", "ecs"),
        ("ecs测试01", "ecs"),
        ("ecs-.a", "ecs"),
        ("ecs_", "ecs"),
        ("测试", ""),
        ("...", ""),
        ("", ""),
        ("Mixed-Case", "Mixed-Case"),
        ("a" * 64, "a" * 63),
    ],
)
def test_a_name_becomes_a_host_name(name: str, host: str) -> None:
    assert host_name(name) == host


@given(st.text(max_size=80))
def test_whatever_the_name_is_the_host_name_is_one_or_none(name: str) -> None:
    host = host_name(name)

    assert host == "" or re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", host)


@pytest.mark.parametrize(
    ("name", "count", "names"),
    [
        ("ecs", 1, ("ecs",)),
        ("ecs", 2, ("ecs-0001", "ecs-0002")),
        ("ecs[66,3]abc", 2, ("ecs066abc", "ecs067abc")),
        ("ecs[66,3]abc", 1, ("ecs066abc",)),
        ("ecs[0,1]", 3, ("ecs0", "ecs1", "ecs2")),
        ("[9999,4]x", 1, ("9999x",)),
        ("ecs[9,1]", 2, ("ecs9", "ecs10")),
        ("ecs[66, 3]", 1, ("ecs066",)),
    ],
)
def test_a_batch_is_numbered(name: str, count: int, names: tuple[str, ...]) -> None:
    assert batch_names(name, count) == names


def test_a_batch_may_have_one_name() -> None:
    assert batch_names("ecs", 3, duplicate=True) == ("ecs", "ecs", "ecs")


@pytest.mark.parametrize(
    "name",
    ["ecs[66,5]", "ecs[66,0]", "ecs[10000,4]", "ecs[-1,2]", "ecs[66]", "ecs[1,2", "a]b", "[]"],
)
def test_a_malformed_rule_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a naming rule such as"):
        batch_names(name, 2)


def test_a_batch_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        batch_names("ecs", 0)
