"""JSON patches: the examples of RFC 6902, appendix A, and what must not be."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.user_data.json_patch import PatchError, apply

# (number in the appendix, document, patch, result or what is wrong), as JSON.
EXAMPLES = [
    ("A.1", '{"foo": "bar"}', '[{"op": "add", "path": "/baz", "value": "qux"}]',
     '{"baz": "qux", "foo": "bar"}'),
    ("A.2", '{"foo": ["bar", "baz"]}', '[{"op": "add", "path": "/foo/1", "value": "qux"}]',
     '{"foo": ["bar", "qux", "baz"]}'),
    ("A.3", '{"baz": "qux", "foo": "bar"}', '[{"op": "remove", "path": "/baz"}]',
     '{"foo": "bar"}'),
    ("A.4", '{"foo": ["bar", "qux", "baz"]}', '[{"op": "remove", "path": "/foo/1"}]',
     '{"foo": ["bar", "baz"]}'),
    ("A.5", '{"baz": "qux", "foo": "bar"}',
     '[{"op": "replace", "path": "/baz", "value": "boo"}]', '{"baz": "boo", "foo": "bar"}'),
    ("A.6", '{"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}',
     '[{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]',
     '{"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}'),
    ("A.7", '{"foo": ["all", "grass", "cows", "eat"]}',
     '[{"op": "move", "from": "/foo/1", "path": "/foo/3"}]',
     '{"foo": ["all", "cows", "eat", "grass"]}'),
    ("A.8", '{"baz": "qux", "foo": ["a", 2, "c"]}',
     '[{"op": "test", "path": "/baz", "value": "qux"},'
     ' {"op": "test", "path": "/foo/1", "value": 2}]',
     '{"baz": "qux", "foo": ["a", 2, "c"]}'),
    ("A.9", '{"baz": "qux"}', '[{"op": "test", "path": "/baz", "value": "bar"}]',
     "the value is another"),
    ("A.10", '{"foo": "bar"}', '[{"op": "add", "path": "/child", "value": {"grandchild": {}}}]',
     '{"foo": "bar", "child": {"grandchild": {}}}'),
    ("A.11", '{"foo": "bar"}', '[{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}]',
     '{"foo": "bar", "baz": "qux"}'),
    ("A.12", '{"foo": "bar"}', '[{"op": "add", "path": "/baz/bat", "value": "qux"}]',
     "there is no such path"),
    ("A.14", '{"/": 9, "~1": 10}', '[{"op": "test", "path": "/~01", "value": 10}]',
     '{"/": 9, "~1": 10}'),
    ("A.15", '{"/": 9, "~1": 10}', '[{"op": "test", "path": "/~01", "value": "10"}]',
     "the value is another"),
    ("A.16", '{"foo": ["bar"]}', '[{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}]',
     '{"foo": ["bar", ["abc", "def"]]}'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [row[1:] for row in EXAMPLES],
    ids=[row[0] for row in EXAMPLES],
)
def test_the_examples_of_the_rfc(document: str, patch: str, expected: str) -> None:
    before = json.loads(document)
    if not expected.startswith("{"):
        with pytest.raises(PatchError, match=expected):
            apply(json.loads(patch), before)
    else:
        assert apply(json.loads(patch), before) == json.loads(expected)
    assert before == json.loads(document)


DOUBLING = [{"op": "copy", "from": "", "path": f"/map/{n}"} for n in range(40)]


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({}, "expected a list of operations"),
        ([1], r"\[0\]: expected an operation"),
        ([{}], r"\[0\].op: expected one of add, remove"),
        ([{"op": "spam", "path": ""}], r"\[0\].op: expected one of"),
        ([{"op": ["add"], "path": ""}], r"\[0\].op: expected one of"),
        ([{"op": "add", "path": "/a"}], r"\[0\]: expected 'value' for add"),
        ([{"op": "move", "path": "/a"}], r"\[0\]: expected 'from' for move"),
        ([{"op": "remove"}], r"\[0\]: expected 'path' for remove"),
        ([{"op": "remove", "path": 1}], "expected a path such as"),
        ([{"op": "remove", "path": "a"}], "expected a path such as"),
        ([{"op": "remove", "path": "/a~2"}], "expected '~0' or '~1'"),
        ([{"op": "remove", "path": "/a~"}], "expected '~0' or '~1'"),
        ([{"op": "remove", "path": ""}], "the whole document cannot be removed"),
        ([{"op": "remove", "path": "/list/2"}], "there is no such index"),
        ([{"op": "remove", "path": "/list/-"}], "expected an index"),
        ([{"op": "remove", "path": "/list/01"}], "expected an index"),
        ([{"op": "remove", "path": "/list/-1"}], "expected an index"),
        ([{"op": "remove", "path": "/list/1e0"}], "expected an index"),
        ([{"op": "add", "path": "/list/3", "value": 1}], "there is no such index"),
        ([{"op": "replace", "path": "/none", "value": 1}], "there is no such path"),
        ([{"op": "replace", "path": "/text/0", "value": 1}], "there is no such path"),
        ([{"op": "move", "from": "/map", "path": "/map/inner"}], "into itself"),
        ([{"op": "test", "path": "/one", "value": True}], "the value is another"),
        # A good operation before a bad one leaves nothing behind.
        ([{"op": "add", "path": "/new", "value": 1}, {"op": "remove", "path": "/none"}], r"\[1\]"),
        # What doubles with each step, and what nests with each step.
        (
            [{"op": "copy", "from": "", "path": f"/map/{n}"} for n in range(40)],
            "more than 200000 values",
        ),
        (
            [{"op": "add", "path": "/a0", "value": {}}]
            + [
                step
                for n in range(1, 300)
                for step in (
                    {"op": "add", "path": f"/a{n}", "value": {}},
                    {"op": "move", "from": f"/a{n - 1}", "path": f"/a{n}/x"},
                )
            ],
            "nested deeper than 100 levels",
        ),
    ],
)
def test_what_cannot_be_applied_leaves_all_as_it_is(patch: Any, words: str) -> None:
    document = {"list": [1, 2], "text": "hunter2", "one": 1, "map": {"a": {}}}
    before = copy.deepcopy(document)

    with pytest.raises(PatchError, match=words) as caught:
        apply(patch, document)

    assert document == before
    assert "hunter2" not in str(caught.value)


VALUES: Any = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.sampled_from(["", "a/b", "~"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["", "a", "/", "~", "0"]), inner, max_size=3),
    ),
    max_leaves=6,
)


def pointers(value: Any, path: str = "") -> list[str]:
    found = [path]
    items: Any = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        step = str(key).replace("~", "~0").replace("/", "~1")
        found += pointers(item, f"{path}/{step}")
    return found


@given(VALUES, VALUES, st.data())
def test_what_is_added_is_there_and_can_be_taken_back(one: Any, new: Any, data: Any) -> None:
    document = {"top": one}
    path = data.draw(st.sampled_from(pointers(document)[1:]))

    replaced = apply([{"op": "replace", "path": path, "value": new}], document)

    assert apply([{"op": "test", "path": path, "value": new}], replaced) == replaced
    removed = apply([{"op": "remove", "path": path}], document)
    back = [{"op": "copy", "from": "", "path": "/all"}, {"op": "move", "from": "/all", "path": ""}]
    assert apply(back, removed) == removed
