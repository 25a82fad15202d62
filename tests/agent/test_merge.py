"""Cloud-config from parts and layers to one mapping; YAML that is refused, in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.report import Report
from agent.secret import Secret
from agent.user_data.document import parse, parse_mapping
from agent.user_data.gather import Gathered, Source, gather
from agent.user_data.merge import joined, over

SECRET = "hunter2"
LETTERS = tuple(zip("abcdef", "bcdefg"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"password: *{SECRET}", "line 1, column 11: found undefined alias"),
        (f"password: !{SECRET} x", "could not determine a constructor"),
        (f"a: '{SECRET}", "line"),
        (f"a: b: {SECRET}", "line 1, column 5: mapping values are not allowed"),
        (f"\t{SECRET}: a", "cannot start any token"),
        (f"- {SECRET}", "expected a mapping of keys to values, got a list"),
        (SECRET, "expected a mapping of keys to values, got a single value"),
        (f"a: {SECRET}\0", "line|a character that YAML does not allow"),
        (f"a: 2026-99-99 # {SECRET}", "a value that is not what its form says"),
        (f"a: !!int {SECRET}", "a value that is not what its form says"),
        (f"a: !!timestamp {SECRET}", "a value that is not what its form says"),
        (f"{{[{SECRET}]: a}}", "line 1"),
        (f"a: 1\n---\nb: {SECRET}", "line 2"),
        ("a: &a [*a]", "an alias that contains itself"),
        ("a: &a {<<: *a}", "an alias that contains itself"),
        ("[" * 5000, "nested deeper than 100 levels|line"),
        ("- " * 5000 + "a", "nested deeper than 100 levels"),
        ("[" + "a," * 300_000 + "]", "more than 200000 values"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in LETTERS),
            "more than 200000 values through its aliases",
        ),
    ],
)  # fmt: skip
def test_what_is_no_cloud_config_is_refused_without_a_word_of_it(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^part-001: .*({words})") as caught:
        parse_mapping(text.encode(), "part-001")

    assert SECRET not in str(caught.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected UTF-8, got another byte at 3"):
        parse(b"a: \xff", "part-001")


def test_ordinary_yaml_is_read_as_it_stands() -> None:
    text = b"#cloud-config\na: &x {b: [1, no, 0644, ~]}\nc: *x\nd: {<<: *x, e: !!binary aGk=}\n"

    config, odd = parse_mapping(text, "part-001")

    assert odd == ()
    assert config["a"] == config["c"] == {"b": [1, False, 420, None]}
    assert config["d"] == {"b": [1, False, 420, None], "e": b"hi"}
    assert parse_mapping(b"#cloud-config\n# nothing\n", "x") == ({}, ())


def test_a_key_given_twice_is_said() -> None:
    _, odd = parse_mapping(b"a: 1\nb: {c: 1, c: 2}\na: 2\n", "part-001")

    assert "line 3: key 'a' is there twice, the last counts" in odd
    assert "line 2: key 'c' is there twice, the last counts" in odd


def test_a_large_file_in_a_cloud_config_is_no_bomb() -> None:
    lines = "".join(f"    line {n}, of [a] {{b}} file\n" for n in range(50_000))
    text = f"write_files:\n- path: /a\n  content: |\n{lines}"

    config, _ = parse_mapping(text.encode(), "part-001")

    assert config["write_files"][0]["content"].count("\n") == 50_000


def test_layers_join_mappings_and_replace_the_rest() -> None:
    lower = {"a": {"x": 1, "y": [1]}, "b": [1], "c": 1}
    upper = {"a": {"y": [2], "z": 3}, "b": [2], "d": 4}

    assert over(upper, lower) == {"a": {"x": 1, "y": [2], "z": 3}, "b": [2], "c": 1, "d": 4}
    assert lower == {"a": {"x": 1, "y": [1]}, "b": [1], "c": 1}


def test_a_later_part_replaces_the_keys_of_an_earlier() -> None:
    assert joined([{"a": {"x": 1}, "b": 1}, {"a": {"y": 2}}]) == {"a": {"y": 2}, "b": 1}


TREES: Any = st.recursive(
    st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2)),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
CONFIGS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


@given(CONFIGS, CONFIGS, CONFIGS)
def test_parts_may_be_joined_in_any_grouping(a: Any, b: Any, c: Any) -> None:
    assert joined([joined([a, b]), c]) == joined([a, joined([b, c])]) == joined([a, b, c])


@given(CONFIGS, CONFIGS)
def test_what_the_upper_layer_says_holds(upper: Any, lower: Any) -> None:
    whole = over(upper, lower)

    assert over(upper, whole) == whole
    assert set(whole) == set(upper) | set(lower)
    assert over(upper, {}) == upper
    assert over({}, lower) == lower


def test_the_user_is_above_the_vendor_and_both_above_the_image() -> None:
    sources = [
        Source("", Secret(b"#cloud-config\na: user\n")),
        Source("vendor data 2", Secret(b"#cloud-config\na: vendor2\nb: vendor2\n"), "vendor_data2"),
        Source("vendor data", Secret(b"#cloud-config\na: vendor\nb: vendor\nc: vendor\n")),
    ]

    gathered = gather(sources, {"a": "image", "c": "image", "d": "image"}, Report())

    assert gathered.config == {"a": "user", "b": "vendor2", "c": "vendor", "d": "image"}


def test_vendor_scripts_run_before_the_users() -> None:
    sources = [Source("", Secret(b"#!/bin/sh\n")), Source("vendor data", Secret(b"#!/bin/sh\n"))]

    scripts = gather(sources, {}, Report()).scripts

    assert sorted(each.name for each in scripts) == ["000-vendor1-part-001", "part-001"]
    assert [each.place for each in scripts] == ["part-001", "vendor data part-001"]


VENDOR = Source("vendor data", Secret(b"#!/bin/sh\n"), "vendor_data")


def with_vendor(user: str, report: Report | None = None) -> Gathered:
    content = Secret(f"#cloud-config\n{user}\n".encode())
    return gather([Source("", content), VENDOR], {}, report or Report())


@pytest.mark.parametrize("switch", ["{enabled: false}", "false"])
def test_the_user_may_switch_the_vendor_off(switch: str) -> None:
    assert with_vendor(f"vendor_data: {switch}").scripts == ()
    assert len(with_vendor(f"vendor_data2: {switch}").scripts) == 1


@pytest.mark.parametrize(
    ("switch", "prefix"),
    [
        ("{prefix: /usr/bin/env}", ("/usr/bin/env",)),
        ("{prefix: [nice, -n, '5']}", ("nice", "-n", "5")),
    ],
)
def test_the_user_may_put_words_before_the_vendors_scripts(
    switch: str, prefix: tuple[str, ...]
) -> None:
    (script,) = with_vendor(f"vendor_data: {switch}").scripts

    assert script.prefix == prefix


def test_the_user_may_switch_off_what_the_vendor_sends_by_its_type() -> None:
    gathered = with_vendor("vendor_data: {disabled_handlers: [text/x-shellscript]}")

    (part,) = [each.part for each in gathered.parts if each.origin]
    assert (part.result, part.detail) == ("notice", "switched off by vendor_data.disabled_handlers")
    assert gathered.scripts == ()


@pytest.mark.parametrize(
    ("switch", "place"),
    [
        ("[1]", "vendor_data"),
        ("{enabled: perhaps}", "vendor_data.enabled"),
        ("{prefix: {a: b}}", "vendor_data.prefix"),
        ("{disabled_handlers: {a: b}}", "vendor_data.disabled_handlers"),
    ],
)
def test_a_switch_that_cannot_be_read_is_refused_and_the_vendor_taken(
    switch: str, place: str
) -> None:
    report = Report()

    assert len(with_vendor(f"vendor_data: {switch}", report).scripts) == 1
    assert [(entry.place, entry.result) for entry in report.entries] == [(place, "refused")]


def test_a_cloud_config_for_another_launch_index_is_left_out() -> None:
    source = [Source("", Secret(b"#cloud-config\nlaunch-index: 2\na: b\n"))]

    assert gather(source, {}, Report()).config == {}
    assert gather(source, {}, Report(), launch_index=2).config["a"] == "b"
