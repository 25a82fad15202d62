"""write_files: content, mode, owner, append; and what is refused alone."""

from __future__ import annotations

import base64
import gzip

import pytest

from .machine import Machine, said, texts

TEXT = b"Hello, world\n"
GZIP = gzip.compress(TEXT, mtime=0)
B64 = base64.b64encode(TEXT).decode()
GZIP_B64 = base64.b64encode(GZIP).decode()


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("text/plain", "'Hello, world\\n'".replace("'", '"')),
        ("b64", B64),
        ("base64", B64),
        ("b64", f'"{B64[:5]}\\n  {B64[5:]}\\n"'),
        ("b64", f"!!binary {base64.b64encode(B64.encode()).decode()}"),
        ("gz", f"!!binary {GZIP_B64}"),
        ("gzip", f"!!binary {GZIP_B64}"),
        ("gz+b64", GZIP_B64),
        ("gzip+b64", GZIP_B64),
        ("gz+base64", GZIP_B64),
        ("gzip+base64", GZIP_B64),
        ("GZ+B64", GZIP_B64),
    ],
)
def test_content_is_decoded(machine: Machine, encoding: str, content: str) -> None:
    report = machine.apply(
        "write_files", f"write_files: [{{path: /etc/x, encoding: {encoding}, content: {content}}}]"
    )

    assert said(report) == []
    assert machine.guest.read("/etc/x") == TEXT


@pytest.mark.parametrize(
    ("permissions", "mode"),
    [
        ("'0600'", 0o600),
        ("'600'", 0o600),
        ("'0o755'", 0o755),
        ("0o755", 0o755),
        ("0644", 0o644),
        ("0600", 0o600),
        ("01777", 0o1777),
        ("'1777'", 0o1777),
        ("04755", 0o4755),
        ("0", 0),
        ("~", 0o644),
    ],
)
def test_permissions_are_octal(machine: Machine, permissions: str, mode: int) -> None:
    report = machine.apply(
        "write_files", f"write_files: [{{path: /x, permissions: {permissions}}}]"
    )

    assert said(report) == []
    assert machine.guest.stat("/x").mode == mode


@pytest.mark.parametrize(
    ("item", "place", "words"),
    [
        ("{content: hello}", "write_files[1]", "missing key 'path'"),
        ("{path: etc/x}", "write_files[1].path", "absolute path"),
        ("{path: /x, permissions: rw}", "write_files[1].permissions", "such as '0644', got 'rw'"),
        ("{path: /x, permissions: 644}", "write_files[1].permissions", "'0644' in quotes"),
        ("{path: /x, permissions: 1777}", "write_files[1].permissions", "'01777' in quotes"),
        ("{path: /x, permissions: '0888'}", "write_files[1].permissions", "octal"),
        ("{path: /x, permissions: true}", "write_files[1].permissions", "octal"),
        ("{path: /x, permissions: -1}", "write_files[1].permissions", "octal"),
        ("{path: /x, owner: 'a b'}", "write_files[1].owner", "'root:root'"),
        ("{path: /x, encoding: rot13}", "write_files[1].encoding", "expected one of text/plain"),
        ("{path: /x, content: YQ, encoding: b64}", "write_files /x", "encoded as b64"),
        ("{path: /x, content: YQ==, encoding: gz+b64}", "write_files /x", "encoded as gz+b64"),
        ("{path: /x, content: [a]}", "write_files[1].content", "expected text, got a list"),
        ("{path: /x, append: perhaps}", "write_files[1].append", "true or false"),
        ("just words", "write_files[1]", "a mapping"),
    ],
)
def test_a_bad_item_is_refused_alone(machine: Machine, item: str, place: str, words: str) -> None:
    report = machine.apply(
        "write_files", f"write_files: [{{path: /good}}, {item}, {{path: /too, content: x}}]"
    )

    assert said(report) == [("refused", place)]
    assert words in texts(report)
    assert machine.guest.read("/good") == b""
    assert machine.guest.read("/too") == b"x"
    assert not machine.guest.exists("/x")


def test_what_is_not_of_base64_is_left_out_and_said(machine: Machine) -> None:
    report = machine.apply(
        "write_files", f"write_files: [{{path: /x, encoding: b64, content: '{B64[:5]}*{B64[5:]}'}}]"
    )

    assert said(report) == [("warning", "write_files /x")]
    assert "not of base64" in texts(report)
    assert machine.guest.read("/x") == TEXT


def test_an_unknown_key_is_named_and_the_rest_is_written(machine: Machine) -> None:
    report = machine.apply(
        "write_files", "write_files: [{path: /x, content: x, permission: '600'}]"
    )

    assert said(report) == [("warning", "write_files[0].permission")]
    assert "nearest is 'permissions'" in texts(report)
    assert machine.guest.read("/x") == b"x"


def test_an_owner_that_never_comes_fails_that_file(machine: Machine) -> None:
    document = "write_files: [{path: /x, owner: nobody-here, defer: true}, {path: /y, defer: true}]"

    report = machine.apply("write_files_deferred", document)

    assert said(report) == [("failed", "write_files /x")]
    assert "no such user" in texts(report)
    assert machine.guest.exists("/y")


def test_appending_adds_once_however_often_it_is_applied(machine: Machine) -> None:
    machine.guest.write("/etc/x", b"first\n")
    document = 'write_files: [{path: /etc/x, content: "second\\n", append: true}]'

    machine.apply("write_files", document)
    machine.apply("write_files", document)

    assert machine.guest.read("/etc/x") == b"first\nsecond\n"


def test_deferred_files_are_for_the_final_stage(machine: Machine) -> None:
    document = "write_files: [{path: /now}, {path: /later, defer: true}]"

    machine.apply("write_files", document)
    assert machine.guest.exists("/now")
    assert not machine.guest.exists("/later")

    machine.guest.path("/now").unlink()
    machine.apply("write_files_deferred", document)
    assert machine.guest.exists("/later")
    assert not machine.guest.exists("/now")


def test_missing_parents_are_made_for_everyone_to_enter(machine: Machine) -> None:
    machine.apply("write_files", "write_files: [{path: /opt/a/b, permissions: '0600'}]")

    assert machine.guest.stat("/opt/a").mode == 0o755


@pytest.mark.parametrize("encoding", ["gz", "gz+b64"])
def test_what_unpacks_to_more_than_is_taken_is_refused_alone(
    machine: Machine, encoding: str
) -> None:
    bomb = base64.b64encode(gzip.compress(bytes((64 << 20) + 1), 9, mtime=0)).decode()
    tag = "!!binary " if encoding == "gz" else ""

    report = machine.apply(
        "write_files",
        f"write_files:\n- {{path: /etc/x, encoding: {encoding}, content: {tag}{bomb}}}\n"
        "- {path: /etc/y, content: y}\n",
    )

    assert said(report) == [("refused", "write_files /etc/x")]
    assert "larger than 67108864 bytes" in texts(report)
    assert machine.guest.read("/etc/y") == b"y"
