"""How parts become one as merge_how says it: the written rules, and cloud-init beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.user_data.mergers import FORM, Merger, merge, read, read_text

from ..conftest import StartGuest

ALL = "list(append)+dict(no_replace,recurse_list)+str()"


@pytest.mark.parametrize(
    ("how", "value", "other", "expected"),
    [
        # dict
        ("dict(replace)", {"a": 1, "b": 1}, {"a": 2, "c": 2}, {"a": 2, "b": 1, "c": 2}),
        ("dict()", {"a": 1, "b": 1}, {"a": 2, "c": 2}, {"a": 1, "b": 1, "c": 2}),
        ("dict(no_replace)", {"a": 1}, {"a": 2}, {"a": 1}),
        ("dict(replace,no_replace)", {"a": 1}, {"a": 2}, {"a": 2}),
        ("dict()", {"a": {"x": 1}}, {"a": {"x": 2, "y": 2}}, {"a": {"x": 1, "y": 2}}),
        ("dict(replace)", {"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"y": 2}}),
        ("dict(allow_delete)", {"a": 1, "b": 1}, {"a": None, "c": None}, {"b": 1, "c": None}),
        ("dict(replace,allow_delete)", {"a": 1}, {"a": None}, {}),
        ("dict()", {"a": 1}, {"a": None}, {"a": 1}),
        ("dict()", {"a": 1}, [1], {"a": 1}),
        ("dict(recurse_list)+list(append)", {"a": [1]}, {"a": [2]}, {"a": [1, 2]}),
        ("dict(recurse_array)+list(append)", {"a": [1]}, {"a": [2]}, {"a": [1, 2]}),
        ("dict()+list(append)", {"a": [1]}, {"a": [2]}, {"a": [1]}),
        ("dict(recurse_list)", {"a": [1]}, {"a": [2]}, {"a": [1]}),
        ("dict(recurse_str)+str(append)", {"a": "x"}, {"a": "y"}, {"a": "xy"}),
        ("dict(recurse_str)+str()", {"a": "x"}, {"a": "y"}, {"a": "y"}),
        ("dict()+str(append)", {"a": "x"}, {"a": "y"}, {"a": "x"}),
        # list
        ("list(append)", [1, 2], [3], [1, 2, 3]),
        ("list(prepend)", [1, 2], [3], [3, 1, 2]),
        ("list()", [1, 2], [3], [3, 2]),
        ("list(replace)", [1], [2, 3], [2]),
        ("list(no_replace)", [1], [2, 3], [1]),
        ("list()", [1], "text", "text"),
        ("list(append)", [1], "text", [1]),
        ("list(recurse_list)", [[1, 2]], [[3]], [[3, 2]]),
        ("list(recurse_dict)+dict()", [{"a": 1}], [{"b": 2}], [{"a": 1, "b": 2}]),
        ("list()+dict()", [{"a": 1}], [{"b": 2}], [{"b": 2}]),
        ("list(recurse_str)+str(append)", ["a"], ["b"], ["ab"]),
        # str, and what no merger is for
        ("str()", "a", "b", "b"),
        ("str(append)", "a", "b", "ab"),
        ("list()", "a", "b", "a"),
        ("dict()", 1, 2, 1),
        # The first of two counts.
        ("list(append)+list(prepend)", [1], [2], [1, 2]),
        (" dict( replace , allow_delete ) + list( ) ", {"a": 1}, {"a": 2}, {"a": 2}),
    ],
)
def test_each_rule(how: str, value: Any, other: Any, expected: Any) -> None:
    assert merge(read_text(how), value, other) == expected


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("append", "expected mergers such as"),
        ("list(append", "expected mergers such as"),
        ("list(append)dict()", "expected mergers such as"),
        ("set()", "expected one of dict, list and str"),
        ("list(add)", "expected list.. with some of .*, got 'add'"),
        ("str(recurse_dict)", "expected str.. with some of"),
        (7, "expected mergers such as"),
        ([7], "expected mergers such as"),
        ([{"name": 7}], "expected mergers such as"),
        ([{"name": "list", "settings": "append"}], "expected mergers such as"),
        ([{"name": "list", "settings": [["append"]]}], "expected list"),
    ],
)
def test_mergers_that_cannot_be_understood_are_refused(raw: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(raw)


def test_both_forms_say_the_same() -> None:
    listed = [{"name": "list", "settings": ["append"]}, {"name": "dict"}, {"name": "str"}]

    assert read(listed) == read("list(append)+dict()+str()")
    assert read(None) == read("") == read([]) == ()
    assert "merge" in FORM


TREES: Any = st.recursive(
    st.one_of(st.none(), st.integers(0, 3), st.sampled_from(["x", "y"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
CONFIGS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)
# Where a key has one type everywhere, what merges by adding alone is associative: it matters not
# where a document is cut in two. A mapping in the place of a number makes it matter.
LEVEL = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=3)
ADDING = st.sampled_from(["dict(replace)+list(append)+str(append)", "dict(no_replace)"])


def option(words: str) -> Any:
    return st.lists(st.sampled_from(words.split()), max_size=4).map(frozenset)


MERGERS = st.tuples(
    option("replace no_replace recurse_str recurse_list allow_delete recurse_array"),
    option("append prepend replace no_replace recurse_str recurse_dict recurse_list"),
    option("append"),
).map(lambda found: tuple(map(Merger, ("dict", "list", "str"), found)))


@given(ADDING, LEVEL, LEVEL, LEVEL)
def test_what_only_adds_may_be_joined_in_any_grouping(how: str, a: Any, b: Any, c: Any) -> None:
    mergers = read_text(how)

    left = merge(mergers, merge(mergers, a, b), c)

    assert left == merge(mergers, a, merge(mergers, b, c))


@given(MERGERS, CONFIGS, CONFIGS)
def test_the_written_rules_hold(mergers: Any, value: Any, other: Any) -> None:
    before = json.dumps([value, other])
    options = mergers[0].options

    whole = merge(mergers, value, other)

    assert json.dumps([value, other]) == before
    deleted = {key for key in other if key in value and other[key] is None}
    deletes = "allow_delete" in options
    assert set(whole) == (set(value) | set(other)) - (deleted if deletes else set())
    # Order: what was there keeps its place, what is new comes after it.
    kept = [key for key in value if key in whole]
    assert list(whole)[: len(kept)] == kept
    for key in whole:
        if key not in value:
            assert whole[key] == other[key]
        elif key not in other:
            assert whole[key] == value[key]
        elif "replace" in options:
            assert whole[key] == other[key]
    assert merge(mergers, value, {}) == value
    assert merge(mergers, {}, other) == other


@given(CONFIGS, CONFIGS)
def test_merging_twice_is_merging_once_where_nothing_is_added(value: Any, other: Any) -> None:
    mergers = read_text("dict(recurse_list,recurse_str)+list(recurse_list,recurse_dict)+str()")

    once = merge(mergers, value, other)

    assert merge(mergers, once, other) == once


THEIRS = """\
import json, sys
from cloudinit import mergers
for line in sys.stdin:
    how, value, other = json.loads(line)
    try:
        merger = mergers.construct(mergers.string_extract_mergers(how))
        print(json.dumps(merger.merge(value, other)))
    except Exception:
        print("null")
"""


@pytest.mark.slow
@pytest.mark.guest
def test_the_same_comes_out_of_cloud_inits_own_code(
    light_guest: StartGuest, tmp_path: Path
) -> None:
    cases: list[tuple[str, Any, Any]] = []

    @settings(max_examples=3000, database=None, deadline=None)
    @given(MERGERS, CONFIGS, CONFIGS)
    def collect(mergers: Any, value: Any, other: Any) -> None:
        how = "+".join(f"{each.kind}({','.join(sorted(each.options))})" for each in mergers)
        cases.append((how, value, other))

    collect()
    lines = "".join(f"{json.dumps(case)}\n" for case in cases)
    done = light_guest().run(["python3", "-c", THEIRS], input=lines.encode(), check=True)

    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    differences = [
        (case, found, merge(read_text(case[0]), case[1], case[2]))
        for case, found in zip(cases, theirs)
        # Where its code gives up (a list with what is none appended), ours keeps what was there.
        if found is not None and found != merge(read_text(case[0]), case[1], case[2])
    ]
    assert len(theirs) == len(cases) >= 1000
    assert differences == []
