"""User data to parts: every form, good and bad side by side, and nothing that is not bounded."""

from __future__ import annotations

import base64
import gzip
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.report import RESULTS, Report
from agent.secret import Secret
from agent.user_data.gather import Source, Tools, gather
from agent.user_data.parts import (
    ARCHIVE,
    BOOTHOOK,
    CLOUD_CONFIG,
    FIRST_LINES,
    HANDLER,
    INCLUDE,
    INCLUDE_ONCE,
    JSON_PATCH,
    PER_BOOT,
    SCRIPT,
    TEMPLATE,
    UNKNOWN,
    WINDOWS,
    Refused,
    decode,
)

LIMIT = 200_000


def packed(content: bytes) -> bytes:
    """Compress *content* to the same bytes each time: they name tests."""
    return gzip.compress(content, mtime=0)


SH = b"#!/bin/sh\necho hello\n"
CONFIG = b"#cloud-config\nhostname: a\n"


def message(*parts: tuple[str, bytes], boundary: str = "==b==", end: bool = True) -> bytes:
    text = f'Content-Type: multipart/mixed; boundary="{boundary}"\nMIME-Version: 1.0\n\n'.encode()
    for headers, content in parts:
        text += f"--{boundary}\n{headers}\n\n".encode() + content + b"\n"
    return text + (f"--{boundary}--\n".encode() if end else b"")


@pytest.mark.parametrize(
    ("content", "kind", "taken"),
    [
        (SH, SCRIPT, SH),
        (b"#!/usr/bin/python3\nprint(1)\n", SCRIPT, b"#!/usr/bin/python3\nprint(1)\n"),
        (CONFIG, CLOUD_CONFIG, CONFIG),
        (b"#Cloud-Config\n{}", CLOUD_CONFIG, b"#Cloud-Config\n{}"),
        (b"#cloud-config", CLOUD_CONFIG, b"#cloud-config"),
        (b"#cloud-boothook\n" + SH, BOOTHOOK, SH),
        (b"#cloud-config-jsonp\n[]", JSON_PATCH, b"#cloud-config-jsonp\n[]"),
        (b"#part-handler\npass\n", HANDLER, b"#part-handler\npass\n"),
        (b"## template: jinja\n" + SH, TEMPLATE, b"## template: jinja\n" + SH),
        (packed(SH), SCRIPT, SH),
        (packed(packed(CONFIG)), CLOUD_CONFIG, CONFIG),
        (packed(SH[:9]) + packed(SH[9:]), SCRIPT, SH),
        (packed(SH) + b"\0" * 100, SCRIPT, SH),
    ],
)
def test_the_first_line_decides_the_type(content: bytes, kind: str, taken: bytes) -> None:
    (part,) = decode(content)

    assert (part.name, part.type, part.content.reveal()) == ("part-001", kind, taken)
    assert (part.result, part.detail, part.notices) == ("done", "", ())


@pytest.mark.parametrize(
    "comments", [b"#https://example.com/of-a-manual\n", b"# One of two.\r\n#\r\n"]
)
def test_comments_before_the_headers_of_a_message_mean_nothing(comments: bytes) -> None:
    content = message(("Content-Type: text/x-shellscript", SH), ("X: y", CONFIG))

    assert decode(comments + content) == decode(content)
    assert [part.type for part in decode(comments + content)] == [SCRIPT, CLOUD_CONFIG]
    assert decode(base64.b64encode(comments + content), base64=True) == decode(content)


@pytest.mark.parametrize("first", [b"#!/bin/sh\n", b"#cloud-boothook\n#!/bin/sh\n"])
def test_a_script_that_begins_with_a_message_is_a_script(first: bytes) -> None:
    content = message(("Content-Type: text/x-shellscript", SH))

    (part,) = decode(first + content)

    assert part.content.reveal().endswith(content)


@pytest.mark.parametrize(
    ("content", "taken", "notice"),
    [
        (b"\n  \t" + SH, SH, "white space before the first line was left out"),
        (b"\r\n" + CONFIG, CONFIG, "white space before the first line was left out"),
        (b"\xef\xbb\xbf" + CONFIG, CONFIG, "a byte order mark was left out"),
        ("\ufeff#cloud-config\na: ü".encode("utf-16"), "#cloud-config\na: ü".encode(), "UTF-16"),
        (SH.replace(b"\n", b"\r\n"), SH, "line ends of Windows were made those of Unix"),
    ],
)
def test_what_is_easily_put_right_is_put_right_and_said(
    content: bytes, taken: bytes, notice: str
) -> None:
    (part,) = decode(content)

    assert (part.result, part.content.reveal()) == ("done", taken)
    assert notice in " ".join(part.notices)


@pytest.mark.parametrize(
    ("content", "kind", "result", "detail"),
    [
        (b"hello", UNKNOWN, "refused", "user data of no known type: expected '#!'"),
        (b"# cloud-config\na: b\n", UNKNOWN, "refused", "nearest is '#cloud-config'"),
        (b"Cloud_Config:\n", UNKNOWN, "refused", "nearest is '#cloud-config'"),
        (b"#part handler\n", UNKNOWN, "refused", "nearest is '#part-handler'"),
        (b"# a comment of a script\n", UNKNOWN, "refused", "or MIME on the first line"),
        (
            message(("Content-Type: text/cloud-cfg", b"a: b")),
            "text/cloud-cfg",
            "refused",
            "'text/cloud-cfg'; the nearest is 'text/cloud-config'",
        ),
        (b"\0\xff\xfe", UNKNOWN, "refused", "no known type"),
        (b"# cloud-config\na: b\n", UNKNOWN, "refused", "no known type"),
        (base64.b64encode(SH), UNKNOWN, "refused", "it is base64 of something known"),
        (b"rem cmd\nnet user abc Secret.1 /add\n", WINDOWS, "not run", "a Windows script, not run"),
        (b"#ps1_sysnative\nexit\n", WINDOWS, "not run", "a Windows script, not run here"),
        (b"<powershell>\nexit\n</powershell>", WINDOWS, "not run", "a Windows script"),
        (b"#include http://10.0.0.1/\n", INCLUDE, "notice", "1 URLs, not fetched here"),
        (b"#include-once\n", INCLUDE_ONCE, "refused", "expected one URL a line, got none"),
        (b"## template: mako\n#!/bin/sh\n", TEMPLATE, "refused", "expected '## template: jinja'"),
        (b"#cloud-boothook\necho\n", BOOTHOOK, "refused", "a script without '#!'"),
        (packed(SH)[:-9], UNKNOWN, "refused", "gzip that ends too early"),
        (b"\x1f\x8b\x08\x00nonsense", UNKNOWN, "refused", "gzip"),
        (packed(b"#" * LIMIT * 9), UNKNOWN, "refused", "larger than .* when unpacked"),
        (b"#!" * LIMIT, UNKNOWN, "refused", "larger than 200000 bytes"),
        (b"\xff\xfe\x00", UNKNOWN, "refused", "broken UTF-16"),
        (b"#cloud-config-archive\n- [1]\n", UNKNOWN, "refused", "archive.0.: expected text"),
        (b"#cloud-config-archive\na: b\n", ARCHIVE, "refused", "expected a list of documents"),
        (b"#cloud-config-archive\n- {\n", ARCHIVE, "refused", "archive: line 3"),
        (message(("Content-Type: application/json", b"{}")), "application/json", "refused", "type"),
        (message(("Content-Type: text/x-shellscript", b"ls")), SCRIPT, "refused", "without '#!'"),
        (message((f"Content-Type: {PER_BOOT}", b"ls")), PER_BOOT, "refused", "without '#!'"),
        (
            message(("Content-Transfer-Encoding: base64", b"***")),
            "text/plain",
            "refused",
            "not base64, though its header says so",
        ),
        (
            message(("Content-Transfer-Encoding: rot13", SH)),
            "text/plain",
            "refused",
            "an unknown Content-Transfer-Encoding",
        ),
        (
            b"MIME-Version: 1.0\nContent-Type: multipart/mixed\n\nnothing",
            "multipart/mixed",
            "refused",
            "a multipart without its boundaries",
        ),
    ],
)
def test_what_cannot_be_taken_is_named(content: bytes, kind: str, result: str, detail: str) -> None:
    (part,) = decode(content, limit=LIMIT)

    assert part.result == result
    assert part.type in (kind, UNKNOWN)
    assert re.search(detail, part.detail), part.detail


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n"])
def test_nothing_asks_for_nothing(content: bytes) -> None:
    assert decode(content) == ()


def test_a_message_is_its_leaves_in_order_with_their_names() -> None:
    inner = message(("Content-Type: text/x-shellscript", SH), boundary="inner")
    inner_headers, _, inner_body = inner.partition(b"\n\n")
    content = b"From someone\n" + message(
        ('Content-Type: text/cloud-config; name="../x/a b.yaml"', b"hostname: a"),
        ("Content-Type: text/plain\nContent-Transfer-Encoding: base64", base64.b64encode(SH)),
        ("Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable", b"#!/=62in/sh"),
        ("Content-Type: application/gzip\nContent-Transfer-Encoding: base64",
         base64.b64encode(packed(CONFIG))),
        (inner_headers.decode(), inner_body),
        ('Content-Type: text/x-shellscript\nContent-Disposition: attachment; filename="setup.sh"',
         b"#!/bin/sh\r\nexit\r\n"),
        ("Content-Type: text/plain", "#!/bin/sh\necho ü".encode()),
    )  # fmt: skip

    parts = decode(content)

    assert [part.result for part in parts] == ["done"] * 7
    assert [part.type for part in parts] == [
        CLOUD_CONFIG, SCRIPT, SCRIPT, CLOUD_CONFIG, SCRIPT, SCRIPT, SCRIPT,
    ]  # fmt: skip
    assert [part.name for part in parts] == [
        "a_b.yaml", "part-002", "part-003", "part-004", "part-005", "setup.sh", "part-007",
    ]  # fmt: skip
    assert parts[2].content.reveal() == b"#!/bin/sh"
    assert parts[5].content.reveal() == b"#!/bin/sh\nexit\n"
    assert parts[6].content.reveal().startswith("#!/bin/sh\necho ü".encode())


def test_a_bad_part_stands_among_good_ones() -> None:
    parts = decode(message(("X: y", SH), ("X: y", b"what is this"), ("X: y", CONFIG)))

    assert [part.result for part in parts] == ["done", "refused", "done"]


def test_a_cut_message_is_taken_and_said() -> None:
    parts = decode(message(("X: y", SH), ("X: y", CONFIG), end=False))

    assert [part.result for part in parts] == ["done", "done"]
    assert "may be cut short" in parts[-1].notices[0]


def test_an_archive_is_its_items() -> None:
    content = b"""#cloud-config-archive
- "#!/bin/sh\\nls\\n"
- {type: text/cloud-config, content: "a: b", filename: one.cfg}
- "hostname: x"
- {content: !!binary aGVsbG8=, type: text/plain}
- {content: "#!/bin/sh", launch-index: 3}
- {content: "#!/bin/sh", launch-index: many}
"""
    parts = decode(content)

    assert [(part.type, part.result) for part in parts] == [
        (SCRIPT, "done"), (CLOUD_CONFIG, "done"), (CLOUD_CONFIG, "done"), (UNKNOWN, "refused"),
        (SCRIPT, "notice"), (UNKNOWN, "refused"),
    ]  # fmt: skip
    assert parts[1].name == "one.cfg"


def test_parts_for_another_launch_index_are_left_out() -> None:
    content = message(("Launch-Index: 0", SH), ("Launch-Index: 1", SH), ("X: y", SH))

    assert [part.result for part in decode(content)] == ["done", "notice", "done"]
    assert [part.result for part in decode(content, launch_index=1)] == ["notice", "done", "done"]


def test_base64_is_opened_where_users_expect_it() -> None:
    wrapped = base64.encodebytes(CONFIG)

    (part,) = decode(wrapped, base64=True)

    assert (part.type, part.content.reveal()) == (CLOUD_CONFIG, CONFIG)
    assert decode(b"abcd", base64=True)[0].result == "refused"
    assert decode(base64.b64encode(packed(SH)), base64=True)[0].type == SCRIPT


def test_two_parts_of_one_name_are_told_apart() -> None:
    named = 'Content-Type: text/plain; name="a.sh"'

    assert [part.name for part in decode(message((named, SH), (named, SH)))] == ["a.sh", "a.sh-2"]


def test_a_script_that_writes_a_mail_is_a_script() -> None:
    content = b"#!/bin/sh\nsendmail <<E\nMIME-Version: 1.0\nContent-Type: multipart/x\nE\n"

    assert [part.type for part in decode(content)] == [SCRIPT]


ALIASES = b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (letter, letter, b",".join([b"*%c" % (letter - 1)] * 10))
    for letter in b"bcdefghijkl"
)


@pytest.mark.parametrize(
    "content",
    [
        # A bomb in a bomb; parts that are bombs; multiparts in multiparts; aliases of aliases.
        packed(packed(b"#!" + bytes(50_000_000))),
        message(*[("X: y", packed(b"#!" + bytes(2_000_000)))] * 200),
        b"MIME-Version: 1.0\n" + b"Content-Type: multipart/mixed; boundary=a\n\n--a\n" * 20_000,
        message(*[("X: y", b"#!/bin/sh")] * 5_000),
        message(("X: y", SH + b"--==b==\nX: y\n\n#!/bin/sh\n" * 300_000)),
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a" + b'; a="b"' * 400_000,
        message(("Content-Disposition: a" + '; a="b"' * 400_000, SH)),
        message(("Content-Disposition: a" + '\n ; a="b"' * 400_000, SH)),
        message(("X: y\n" * 400_000, SH)),
        message(("Content-Type: message/delivery-status", b"\n" * 900_000)),
        message(("Content-Type: message/rfc822\n\n" * 200_000, SH)),
        message(("X: y", b"\n" * 9_000_000)),
        b"MIME-Version: 1.0\r" + b"Content-Type: multipart/mixed; boundary=a\r\r--a\r" * 20_000,
        b"#cloud-config-archive\n" + b"[" * 100_000,
        b"#cloud-config-archive\n" + b"- " * 100_000,
        b"#cloud-config-archive\n" + ALIASES,
        b"#cloud-config-archive\n- &a [*a]\n",
    ],
    ids=["gzip", "parts", "multiparts", "many", "very many", "parameters", "parameters of a part",
         "folded parameters", "headers", "blocks", "messages", "lines", "CR alone",
         "brackets", "dashes", "aliases", "cycle"],
)  # fmt: skip
def test_bombs_cost_little(content: bytes) -> None:
    began = time.process_time()

    parts = decode(content)

    assert time.process_time() - began < 5
    assert any(part.result == "refused" for part in parts)
    assert len(parts) <= 501


PIECES = st.sampled_from(
    [SH, CONFIG, b"#cloud-config-archive\n- a\n", b"#include\n", b"rem cmd\n", b"\x1f\x8b\x08\0",
     packed(SH), base64.b64encode(SH), message(("X: y", SH)), b"--==b==\n", b"\r\n", b"\n\n",
     b"MIME-Version: 1.0\n", b"Content-Type: multipart/mixed; boundary=a\n", b"--a\n", b"--a--\n",
     b"Content-Transfer-Encoding: base64\n", b"Launch-Index: 1\n", b"\xff\xfe", b"\xef\xbb\xbf",
     b"Content-Type: text/plain; charset=x; name*=u'%ff\n", b"&a [*a]", b"{", b"=?utf-8?b?/w==?="]
)  # fmt: skip


@given(
    st.one_of(st.binary(max_size=300), st.lists(st.one_of(PIECES, st.binary(max_size=20)))),
    st.booleans(),
)
def test_whatever_comes_is_parts_with_a_result(
    content: bytes | list[bytes], as_base64: bool
) -> None:
    whole = content if isinstance(content, bytes) else b"".join(content)

    parts = decode(whole, base64=as_base64, limit=LIMIT)

    assert all(part.result in RESULTS for part in parts)
    assert all(part.detail for part in parts if part.result != "done")
    assert sum(len(part.content) for part in parts) <= 2 * LIMIT
    assert len({part.name for part in parts}) == len(parts)
    assert not any("/" in part.name or part.name.startswith(".") for part in parts)


MORE = st.sampled_from(
    [b"#include\nhttp://a/\n", b"#include-once http://b/\n", b"#part-handler\ndef\n", b"[{\"op\"",
     b"## template: jinja\n#cloud-config\n{{ v1 }}\n", b"{% for a in b %}", b"#cloud-boothook\n",
     b"#cloud-config-jsonp\n[{\"op\": \"add\", \"path\": \"/a\", \"value\": []}]", b"merge_how: ",
     b"dict(recurse_list)+list(append)", b"#cloud-config-archive\n- content: '#!'\n", b"\0", b"\t",
     b"Content-Type: text/x-shellscript-per-once\n\n#!/bin/sh\n", b"Merge-Type: str(append)\n",
     b"filename=\"../../x\"", b"a: !!binary =", b"? [a]\n: b", b"a: &a {b: *a}", b"- - -", b"<<: "]
)  # fmt: skip


class Pages:
    """What any include leads to: another document of the same kind, or nothing."""

    def __init__(self, pages: list[bytes]) -> None:
        self._pages = iter(pages)

    def get(self, url: str, *, once: bool, limit: int) -> bytes:
        page = next(self._pages, b"")
        if not page or len(page) > limit:
            raise Refused("nothing there")
        return page


def gathered(content: bytes, pages: list[bytes]) -> None:
    """Take *content* the whole way to a cloud-config, and hold what comes of it to the rules."""
    report = Report()
    tools = Tools(includes=Pages(pages), values=lambda: {"v1": {"instance_id": "i-1"}})

    found = gather([Source("", Secret(content), "")], {}, report, base64=True, tools=tools)

    assert len(found.parts) <= 501
    for _, _, part, *_ in found.parts:
        assert part.result in RESULTS
        assert part.detail or part.result == "done"
    assert all(isinstance(key, str) for key in found.config)
    assert all(entry.result in RESULTS for entry in report.entries)


DOCUMENTS = st.lists(st.one_of(PIECES, MORE, st.binary(max_size=12)), max_size=12).map(b"".join)


@given(DOCUMENTS, st.lists(DOCUMENTS, max_size=3))
def test_whatever_comes_is_gathered_without_a_crash(content: bytes, pages: list[bytes]) -> None:
    gathered(content, pages)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=25_000, deadline=None, database=None)
@given(DOCUMENTS, st.lists(DOCUMENTS, max_size=3))
def test_twenty_thousand_documents_are_gathered_without_a_crash(
    content: bytes, pages: list[bytes]
) -> None:
    gathered(content, pages)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=25_000, deadline=None, database=None)
@given(st.binary(max_size=200), st.sampled_from([prefix for prefix, _ in FIRST_LINES]))
def test_twenty_thousand_bodies_below_every_first_line(content: bytes, prefix: bytes) -> None:
    gathered(prefix + b"\n" + content, [content])
