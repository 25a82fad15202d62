"""Whose turn it is: marks over crashes, stages that are processes, part handlers, no cloud."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.boot import boot
from agent.cli import main
from agent.host import Host
from agent.instance_data import redacted
from agent.modules.base import Frequency, Marks, NoMarks, Past, Stage
from agent.output import Outputs
from agent.part_handlers import Place, handle
from agent.plan import Plan
from agent.report import Entry, Report
from agent.state import State
from agent.user_data.parts import HANDLER, Part, decode
from agent.validate import validate

from ..guests.directory import DirectoryGuest
from .loopback import ok, replies, serving
from .test_boot import MOTD, NOTHING, given, modules, start, told
from .test_parts import SH, message

HELLO = ("Content-Type: text/x-hello; name=hello", b"hello")
AGAIN = ("Content-Type: text/x-hello; name=again", b"\xff again")
DEF = "def handle_part(d, t, n, p):"
LAST = ('Content-Type: text/cloud-config; name="last"', b"a: b")


def handler(body: str, name: str = "handler") -> tuple[str, bytes]:
    text = f"def list_types(): return ['text/x-hello']\n{body}\n"
    return f"Content-Type: text/part-handler; name={name}", text.encode()


def handled(
    directory: Path, *parts: tuple[str, bytes], marks: Marks | None = None, **more: Any
) -> dict[str, Part]:
    own = str(directory)
    place = Place(own, f"{own}/later", "part-handlers", more.get("timeout"), "")
    found = decode(message(*parts))
    report = more.get("report") or Report()
    return {part.name: part for part in handle(Host(), report, marks or NoMarks(), place, found)}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.mark.parametrize(
    ("body", "results", "words"),
    [
        (f"{DEF} print(t, n, repr(p))", "done done done", ""),
        (f"{DEF} 1 / (n != 'hello')", "done failed done", "ZeroDivisionError"),
        (f"{DEF} assert t != '__end__'", "failed done done", "AssertionError"),
        (f"{DEF} assert t != '__begin__'", "failed refused refused", "Assert"),
        ("handle_part = None", "failed refused refused", "TypeError"),
        ("raise SystemExit", "failed refused refused", "SystemExit"),
        (f"import os\n{DEF}\n if n: os._exit(3)", "done failed not run", "status 3"),
        (f"import time\n{DEF}\n if n: time.sleep(9)", "done failed not run",
         "still running after 1 seconds"),
        ("import os\nos.kill(os.getpid(), 9)", "failed refused refused", "ended by signal 9"),
        ("handler_version = 2\ndef handle_part(d, t, n, p, f): assert f == 'once-per-instance'",
         "done done done", ""),
        ("handler_version = 3\nfrequency = 'always'\ndef handle_part(d, t, n, p, f, h):\n"
         "  assert f == 'always' and (not n or h['Content-Type'])", "done done done", ""),
    ],
)  # fmt: skip
def test_a_part_handler_and_what_becomes_of_its_parts(
    directory: Path, body: str, results: str, words: str
) -> None:
    parts = handled(directory, handler(body), HELLO, AGAIN, LAST, timeout=1.0)

    named = ("handler", "hello", "again")
    assert " ".join(parts[name].result for name in named) == results
    assert words in " ".join(part.detail for part in parts.values())
    # What is for nobody in particular is none of the handlers' business.
    assert (parts["last"].result, parts["last"].handler) == ("done", "")
    (output,) = directory.glob("*.output")
    assert output.stat().st_mode & 0o777 == 0o600
    assert not list(directory.glob("*.results"))


class FirstBoot(NoMarks):
    """Remembers what ended, as the next boot finds it."""

    def __init__(self) -> None:
        self.known: Past | None = None

    def claim(self, frequency: Frequency, name: str) -> Past | None:
        return self.known

    def ended(self, frequency: Frequency, name: str, entries: Sequence[Entry] = ()) -> None:
        self.known = Past(True, tuple(entry for entry in entries if entry.result != "done"))


@pytest.mark.parametrize(
    ("body", "first", "then"),
    [
        (f"{DEF} assert t != '__begin__'", "failed refused", "failed refused"),
        (f"{DEF} assert n != 'hello'", "done failed", "done failed"),
        (f"import os\nfrequency = 'always'\n{DEF}\n if n == 'hello': os.rmdir('{{0}}')",
         "done done", "done failed"),
        (f"import os\nfrequency = 'always'\n{DEF}\n if n == 'hello': os.mkdir('{{0}}/x')",
         "done failed", "done done"),
    ],
)  # fmt: skip
def test_what_handlers_could_not_do_at_the_first_boot_is_told_at_the_next(
    directory: Path, tmp_path: Path, body: str, first: str, then: str
) -> None:
    marks, place = FirstBoot(), tmp_path / "place"
    if "rmdir" in body:
        place.mkdir()
    results = []
    for _ in range(2):
        parts = handled(directory, handler(body.format(place)), HELLO, marks=marks)
        results.append(f"{parts['handler'].result} {parts['hello'].result}")
        if "mkdir" in body:
            place.mkdir(exist_ok=True)

    assert results == [first, then]
    if "frequency" not in body:
        assert any(part.detail.startswith("earlier: ") for part in parts.values())


def test_a_later_handler_of_a_type_stands_in_for_an_earlier(directory: Path) -> None:
    first = handler("def handle_part(*a): pass", "first")
    second = handler("def handle_part(*a): pass", "second")

    parts = handled(directory, HELLO, first, ("X: y", SH), AGAIN, second,
                    ("Content-Type: text/x-hello; name=end", b"x"))  # fmt: skip

    assert parts["hello"].result == "refused"
    assert (parts["again"].handler, parts["end"].handler) == ("first", "second")


def test_where_programs_cannot_run_part_handlers_are_not_run(guest_root: DirectoryGuest) -> None:
    content = message(handler("pass"), HELLO)
    for host in (Host(guest_root.root), Plan(Host(guest_root.root))):
        record = boot(host, given(content)).record

        assert [part["result"] for part in record["parts"]] == ["not run", "refused"]
    assert [entry.result for entry in validate(content)][-1] == "refused"


# --- marks


def test_a_mark_is_made_before_and_written_to_after(guest_root: DirectoryGuest) -> None:
    def fresh() -> State:
        state = State(Host(guest_root.root))
        state.enter("i-1")
        return state

    bad = [Entry(f"a[{n}]", "failed", "exit status 3", 3, 1.0, "/out") for n in range(60)]
    assert fresh().claim(Frequency.INSTANCE, "a") is None
    assert fresh().claim(Frequency.INSTANCE, "a") == Past(False)
    fresh().ended(Frequency.INSTANCE, "a")
    assert fresh().claim(Frequency.INSTANCE, "a") == Past(True)
    fresh().ended(Frequency.INSTANCE, "a", [Entry("b", "done"), *bad])
    past = fresh().claim(Frequency.INSTANCE, "a")
    assert past is not None
    assert past.troubles[0] == bad[0]._replace(seconds=None)
    assert past.troubles[-1] == Entry("a", "failed", "and 10 more")
    assert fresh().claim(Frequency.ALWAYS, "a") is None
    assert fresh().claim(Frequency.ALWAYS, "a") is None


@pytest.mark.parametrize(
    ("mark", "user_data", "place"),
    [
        ("script.part-001", SH, "part-001"),
        ("runcmd", b"#cloud-config\nruncmd: [ls]\n", "runcmd"),
    ],
)
def test_what_was_cut_off_is_said_and_not_done_again(
    guest_root: DirectoryGuest, mark: str, user_data: bytes, place: str
) -> None:
    guest_root.write(f"/var/lib/linklocal/agent/instances/i-1/marks/{mark}", b"")

    for _ in range(2):
        start(guest_root, given(user_data, instance_id="i-1"))

        record = told(guest_root)
        (entry,) = [entry for row in record["modules"] for entry in row["entries"]]
        assert (entry["place"], entry["result"]) == (place, "failed")
        assert entry["detail"] == "interrupted at an earlier boot, not run again"
        assert record["degraded"]


def test_what_a_boot_that_was_cut_off_left_behind_is_removed(guest_root: DirectoryGuest) -> None:
    private = "/var/lib/linklocal/agent/instances"
    left = {
        f"{private}/i-1/scripts/part-001": False,
        f"{private}/i-1/scripts/runcmd.results": False,
        f"{private}/i-1/scripts/part-001.output": True,
        f"{private}/i-1/scripts/.part-001.output.0123456789ab": False,
        f"{private}/i-1/marks/.runcmd.0123456789ab": False,
        f"{private}/i-1/marks/odd.0123456789ab": True,
        f"{private}/another/scripts/part-001": False,
    }
    for path in left:
        guest_root.write(path, b"#!/bin/sh\n# secret\n")

    start(guest_root, given(b"#cloud-config\n{}\n", instance_id="i-1"))

    assert {path: guest_root.exists(path) for path in left} == left


PAST = """\
#cloud-config
write_files:
- {path: /etc/good, content: x}
- {path: /etc/bad, permissions: rw}
timezone: Nowhere/Land
"""


def test_a_later_boot_tells_what_an_earlier_one_could_not(guest_root: DirectoryGuest) -> None:
    details = []
    for _ in range(3):
        start(guest_root, given(PAST, instance_id="i-1"))
        record = told(guest_root)
        assert record["degraded"]
        rows = {row["name"]: row for row in record["modules"]}
        entries = rows["write_files"]["entries"]
        details.append([(each["place"], each["result"], each["detail"]) for each in entries])
        # What failed as a whole is tried again, and so is not of an earlier boot.
        assert rows["timezone"]["result"] == "failed"
        assert "earlier" not in rows["timezone"]["detail"]
    start(guest_root, given(b"#cloud-config\ntimezone: Etc/UTC\n", instance_id="i-2"))
    other = told(guest_root)

    expected = "expected octal permissions such as '0644', got 'rw'"
    first, *later = details
    assert first == [("write_files[1].permissions", "refused", expected)]
    assert later == [[("write_files[1].permissions", "refused", f"earlier: {expected}")]] * 2
    assert "earlier" not in json.dumps(other)


def test_what_could_not_be_run_is_still_told_at_later_boots(guest_root: DirectoryGuest) -> None:
    document = message(("X: y", SH), ("Content-Type: text/cloud-config", b"runcmd: [ls]"))
    for words in ("", "earlier: "):
        start(guest_root, given(document, instance_id="i-1"))

        record = told(guest_root)
        entries = [entry for row in record["modules"] for entry in row["entries"]]
        assert [(entry["result"], entry["detail"]) for entry in entries] == [
            ("not run", f"{words}programs cannot be run here")
        ] * 2
        assert record["parts"][0]["result"] == "not run"
    assert modules(record)["scripts"] == modules(record)["runcmd"] == "ran before"


# --- stages


def test_what_is_fetched_in_one_stage_is_there_in_the_next(guest_root: DirectoryGuest) -> None:
    page = b"#cloud-config\ntimezone: Etc/UTC\n"
    guest_root.write("/usr/share/zoneinfo/Etc/UTC", b"TZif2")
    with serving(replies(ok(page))) as url:
        for stage in Stage:
            start(guest_root, given(f"#include {url}/\n", stages=(stage,)))

    record = told(guest_root)
    assert modules(record)["timezone"] == "done"
    assert [part["result"] for part in record["parts"]] == ["done"]
    assert len(record["waits"]) == 1
    assert not guest_root.exists("/run/linklocal/agent/instance.json")


# --- without a cloud, and above all others


def test_without_a_datasource_the_images_own_wishes_are_done(guest_root: DirectoryGuest) -> None:
    guest_root.write("/etc/linklocal/cloud-config.d/10.yaml", MOTD.encode())

    start(guest_root, NOTHING)

    assert guest_root.text("/etc/motd") == "served\n"
    assert told(guest_root)["datasource"] == "none"


def test_the_command_line_is_above_all_and_the_kernels_below_the_user(
    guest_root: DirectoryGuest, tmp_path: Path
) -> None:
    line = "quiet cc: {fqdn: a.kernel, timezone: Etc/UTC}\\n end_cc cc:%20locale:%20C end_cc"
    guest_root.write("/proc/cmdline", line.encode())
    top, user = tmp_path / "top", tmp_path / "user"
    top.write_text("fqdn: top.example.org\n")
    user.write_text("#cloud-config\nfqdn: user.example.org\nlocale: en_US.UTF-8\n")

    words = ["--user-data", str(user), "--cloud-config", str(top), "--root", str(guest_root.root)]
    main(["run", "-q", *words])

    assert guest_root.text("/etc/hostname") == "top\n"
    assert "timezone" in modules(told(guest_root))


def test_the_image_may_take_no_user_data(guest_root: DirectoryGuest) -> None:
    guest_root.write("/etc/linklocal/agent.yaml", b"cloud_config: {allow_userdata: false}\n")

    start(guest_root, given(MOTD))

    record = told(guest_root)
    assert record["parts"] == []
    assert record["entries"][0]["detail"] == "switched off by allow_userdata of the image"


@pytest.mark.parametrize(
    ("output", "place"),
    [
        ("[1]", "output"),
        ("{all: {a: b}}", "output.all"),
        ("{final: '> relative'}", "output.final"),
        ("{config: '|'}", "output.config"),
    ],
)
def test_output_that_cannot_be_understood_is_refused(
    guest_root: DirectoryGuest, output: str, place: str
) -> None:
    start(guest_root, given(f"#cloud-config\noutput: {output}\n"))

    assert [(entry["place"], entry["result"]) for entry in told(guest_root)["entries"]] == [
        (place, "refused")
    ]


def test_where_output_cannot_be_shown_is_said_once(tmp_path: Path) -> None:
    report = Report()
    config = {"output": {"all": f"| tee -a {tmp_path}"}}
    outputs = Outputs(Host(), config, report)
    for _ in range(3):
        sink = outputs.sink(Stage.FINAL)
        assert sink is not None
        sink.take(b"words\n")
        sink.close()

    told = [entry for entry in report.entries if str(tmp_path) in entry.detail]
    assert [(entry.place, entry.result) for entry in told] == [("output", "failed")]


def test_what_all_may_read_has_no_secret_in_it() -> None:
    found = redacted(
        {"ds": {"meta_data": {"admin_pass": "x", "list": [{"token": "x"}], "uuid": "i-1"}}}
    )

    assert "x" not in json.dumps(found["ds"]).replace("redacted for non-root user", "")
    assert found["sensitive_keys"] == ["ds/meta_data/admin_pass", "ds/meta_data/list/0/token"]


def test_a_secret_of_digits_is_a_secret_all_the_same() -> None:
    found = redacted({"admin_pass": 12345678, "token": 1.5, "has_password": True, "seed": None})

    assert found["sensitive_keys"] == ["admin_pass", "token"]
    assert (found["has_password"], found["seed"]) == (True, None)
    assert "12345678" not in json.dumps(found)


def test_a_template_and_an_include_are_checked_without_a_machine() -> None:
    content = message(
        ("X: y", b"## template: jinja\n#cloud-config\na: {{ v1.x.y }}\n"),
        ("X: y", b"## template: jinja\n{{"),
        ("X: y", b"#include\nhttp://127.0.0.1:1/\nfile:///x\n"),
        (f"Content-Type: {HANDLER}", b"pass"),
    )

    found = {(entry.place, entry.result) for entry in validate(content)}

    assert found == {("part-001", "notice"), ("part-002", "refused"), ("part-003", "notice")}
