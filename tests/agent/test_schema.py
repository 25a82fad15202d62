"""The reader of sections: what each type takes, where a mistake is named, and what goes on."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union

import pytest

from agent.errors import ConfigError
from agent.report import Report
from agent.schema import keys, load
from agent.secret import Secret

CANARY = "s3cret-canary"


def read_mode(raw: object) -> int:
    if isinstance(raw, str) and raw and not raw.strip("01234567"):
        return int(raw, 8)
    raise ValueError(f"expected octal permissions such as '0644', got {raw!r}")


def read_quoting(raw: object) -> Secret:
    raise ValueError(f"expected something else than {raw!r}")


class File(NamedTuple):
    path: str
    content: bytes = b""
    permissions: Annotated[int, read_mode] = 0o644
    owner: str = "root:root"
    append: bool = False


class Login(NamedTuple):
    name: str
    password: Secret = Secret(b"")
    key: Annotated[Optional[Secret], read_quoting] = None
    type: Literal["text", "hash"] = "text"


class Passwords(NamedTuple):
    expire: bool = True
    users: tuple[Login, ...] = ()


class Section(NamedTuple):
    write_files: tuple[File, ...] = ()
    text: str = ""
    number: int = 0
    share: float = 0.0
    flag: bool = False
    maybe: Optional[str] = None
    data: bytes = b""
    secret: Secret = Secret(b"")
    words: tuple[str, ...] = ()
    one_or_many: Union[str, tuple[str, ...]] = ()
    number_or_word: Union[int, str, None] = None
    mapping: Mapping[str, int] = {}
    anything: Any = None
    passwords: Optional[Passwords] = None
    file: File = File("/none")
    users: tuple[Union[str, Login], ...] = ()
    from_: str = ""


def told(report: Report) -> list[tuple[str, str, str]]:
    return [(entry.place, entry.result, entry.detail) for entry in report.entries]


@pytest.mark.parametrize(
    ("key", "raw", "value"),
    [
        ("text", "x", "x"),
        ("text", b"x", "x"),
        ("text", "", ""),
        ("number", 5, 5),
        ("number", "5", 5),
        ("number", "-5", -5),
        ("share", 0.5, 0.5),
        ("share", 1, 1.0),
        ("flag", True, True),
        ("flag", "yes", True),
        ("flag", "Off", False),
        ("maybe", "x", "x"),
        ("maybe", None, None),
        ("data", "é", "é".encode()),
        ("data", b"\xff", b"\xff"),
        ("secret", "x", Secret(b"x")),
        ("secret", b"\xff", Secret(b"\xff")),
        ("words", ["a", "b"], ("a", "b")),
        ("words", [], ()),
        ("one_or_many", "a", "a"),
        ("one_or_many", ["a"], ("a",)),
        ("number_or_word", 5, 5),
        ("number_or_word", "5", "5"),
        ("mapping", {"a": 1}, {"a": 1}),
        ("anything", {1: [None]}, {1: [None]}),
        ("passwords", {}, Passwords()),
        ("passwords", {"expire": False}, Passwords(expire=False)),
        ("file", {"path": "/a", "permissions": "0600"}, File("/a", permissions=0o600)),
        ("users", ["default", {"name": "a"}], ("default", Login("a"))),
    ],
)
def test_each_type_takes_what_it_can_mean(key: str, raw: object, value: Any) -> None:
    report = Report()

    section = load(Section, {key: raw}, report)

    assert section == Section(**{key: value})
    assert type(getattr(section, key)) is type(value)
    assert report.entries == []


@pytest.mark.parametrize(
    ("key", "raw", "why"),
    [
        ("text", 5, "expected a string, got a number: put it in quotes"),
        ("text", True, "expected a string, got true or false: put it in quotes"),
        ("text", ["x"], "expected a string, got a list"),
        ("text", b"\xff", "expected text, got bytes that are not UTF-8"),
        ("number", "five", "expected a whole number, got a string"),
        ("number", "", "expected a whole number, got a string"),
        ("number", "5-", "expected a whole number, got a string"),
        ("number", "--5", "expected a whole number, got a string"),
        ("number", True, "expected a whole number, got true or false"),
        ("number", 1.5, "expected a whole number, got a number with a fraction"),
        ("share", "x", "expected a number, got a string"),
        ("flag", 1, "expected true or false, got a number"),
        ("flag", "maybe", "expected true or false, got a string"),
        ("data", 5, "expected a string, got a number: put it in quotes"),
        ("secret", 123456, "expected a string, got a number: put it in quotes"),
        ("words", "a b", "expected a list, got a string"),
        ("words", {"a": 1}, "expected a list, got a mapping"),
        ("one_or_many", 5, "expected a string or a list, got a number"),
        ("one_or_many", {}, "expected a string or a list, got a mapping"),
        ("number_or_word", [], "expected a whole number or a string, got a list"),
        ("mapping", [], "expected a mapping, got a list"),
        ("passwords", "x", "expected a mapping, got a string"),
        ("file", {}, "missing key 'path'"),
    ],
)
def test_a_malformed_value_is_refused_and_absent(key: str, raw: object, why: str) -> None:
    report = Report()

    section = load(Section, {key: raw, "from": "here"}, report, at="")

    assert section == Section(from_="here")
    assert told(report) == [(key, "refused", why)]


@pytest.mark.parametrize(
    ("item", "place", "result", "detail"),
    [
        (
            {"path": "/x", "permissions": "rw"},
            "write_files[1].permissions",
            "refused",
            "expected octal permissions such as '0644', got 'rw'",
        ),
        ({"content": "x"}, "write_files[1]", "refused", "missing key 'path'"),
        (
            {"path": None},
            "write_files[1]",
            "refused",
            "missing key 'path'",
        ),
        (
            {"path": 5},
            "write_files[1].path",
            "refused",
            "expected a string, got a number: put it in quotes",
        ),
        ("/x", "write_files[1]", "refused", "expected a mapping, got a string"),
        (None, "write_files[1]", "refused", "expected a mapping, got nothing"),
        (
            {"path": "/x", "append": "perhaps"},
            "write_files[1].append",
            "refused",
            "expected true or false, got a string",
        ),
    ],
)
def test_a_bad_item_is_left_out_and_the_others_stay(
    item: object, place: str, result: str, detail: str
) -> None:
    report = Report()

    section = load(Section, {"write_files": [{"path": "/a"}, item, {"path": "/b"}]}, report)

    assert section.write_files == (File("/a"), File("/b"))
    assert told(report) == [(place, result, detail)]


@pytest.mark.parametrize(
    ("raw", "place", "detail"),
    [
        ({"permission": "x"}, "write_files[0].permission", "nearest is 'permissions'"),
        ({"Path": "x"}, "write_files[0].Path", "nearest is 'path'"),
        (
            {"mode": CANARY},
            "write_files[0].mode",
            "expected one of append, content, owner, path, permissions",
        ),
        ({5: "x"}, "write_files[0].5", "expected one of append"),
        ({None: "x"}, "write_files[0].None", "expected one of append"),
    ],
)
def test_an_unknown_key_is_a_warning_and_the_rest_is_applied(
    raw: dict[object, object], place: str, detail: str
) -> None:
    report = Report()

    section = load(Section, {"write_files": [{"path": "/a", **raw}]}, report)

    assert section.write_files == (File("/a"),)
    ((where, result, what),) = told(report)
    assert (where, result) == (place, "warning")
    assert detail in what
    assert CANARY not in what


def test_dashes_are_an_old_spelling() -> None:
    report = Report()

    section = load(Section, {"one-or-many": "a", "write-files": [{"path": "/a"}]}, report)

    assert (section.one_or_many, section.write_files) == ("a", (File("/a"),))
    assert told(report) == [
        ("one-or-many", "notice", "deprecated, now spelled 'one_or_many'"),
        ("write-files", "notice", "deprecated, now spelled 'write_files'"),
    ]


def test_two_spellings_at_once_are_told_apart() -> None:
    report = Report()

    section = load(Section, {"one-or-many": "old", "one_or_many": "new"}, report)

    assert section.one_or_many == "new"
    assert told(report) == [
        ("one-or-many", "warning", "given beside 'one_or_many', which is used"),
    ]


def test_places_below_places() -> None:
    report = Report()

    section = load(
        Section,
        {
            "passwords": {"users": [{"name": "a", "type": "RSA"}, {"name": "b"}]},
            "mapping": {"a": 1, "b": "x", 5: 5},
            "words": ["a", 5, ["b"]],
        },
        report,
        at="base",
    )

    assert section.passwords == Passwords(users=(Login("b"),))
    assert (section.mapping, section.words) == ({"a": 1}, ("a",))
    assert told(report) == [
        ("base.passwords.users[0].type", "refused", "expected one of text, hash"),
        ("base.mapping.b", "refused", "expected a whole number, got a string"),
        (
            "base.mapping.5",
            "refused",
            "expected a string as key, got a number: put it in quotes",
        ),
        ("base.words[1]", "refused", "expected a string, got a number: put it in quotes"),
        ("base.words[2]", "refused", "expected a string, got a list"),
    ]


def test_no_default_stands_in_for_a_malformed_part_of_an_item() -> None:
    report = Report()

    section = load(Section, {"passwords": {"expire": "perhaps", "users": []}}, report)

    assert section.passwords is None
    assert told(report) == [("passwords.expire", "refused", "expected true or false, got a string")]


@pytest.mark.parametrize(
    "raw",
    [
        {"secret": [CANARY]},
        {"secret": {CANARY: 1}},
        {"users": [{"name": "a", "password": [CANARY]}]},
        {"users": [{"name": "a", "key": CANARY}]},
        {"users": [{"name": "a", "key": f"{CANARY}\n"}]},
        {"users": [{"name": "a", "passwrd": CANARY}]},
        {"users": f"a:{CANARY}"},
        {"passwords": CANARY},
        {"number": CANARY},
        {"flag": CANARY},
        {"words": CANARY},
        {"mapping": {"a": CANARY}},
    ],
)
def test_a_value_is_never_told(raw: dict[str, object]) -> None:
    report = Report()

    section = load(Section, raw, report)

    assert len(report.entries) == 1
    assert CANARY not in repr(told(report)) + repr(section)


@pytest.mark.parametrize(
    ("raw", "at", "wrong"),
    [
        ({}, "", "missing key 'path'"),
        ({}, "agent.yaml", "agent.yaml: missing key 'path'"),
        ([], "agent.yaml", "agent.yaml: expected a mapping, got a list"),
        (None, "", "expected a mapping, got nothing"),
        ({"path": 5}, "x", "x: a required key is refused"),
    ],
)
def test_a_document_without_what_it_needs_is_an_error(raw: Any, at: str, wrong: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(File, raw, Report(), at=at)

    assert str(refusal.value) == wrong


def test_the_keys_are_the_fields() -> None:
    assert keys(File) == ("path", "content", "permissions", "owner", "append")
    assert keys(Section)[-1] == "from"


def test_a_schema_with_a_type_nobody_reads_is_a_mistake_of_ours() -> None:
    class Odd(NamedTuple):
        value: complex = 0j

    with pytest.raises(TypeError, match="no reader for"):
        load(Odd, {}, Report())
