"""What users wrote, really run: each script and each entry with its own result."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.host import Host
from agent.plan import Plan
from agent.report import Report
from agent.scripts import Entry, run_entries, run_script
from agent.secret import Secret

ENV = {"INSTANCE_ID": "i-1"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "scripts"
    path.mkdir(0o700)
    return path


def run(directory: Path, *entries: Entry, **more: Any) -> dict[str, tuple[str, int | None]]:
    """Run *entries* on this machine; return what became of each, by its place."""
    report = Report()
    run_entries(Host(), report, entries=entries, directory=str(directory), env=ENV, **more)
    return {entry.place: (entry.result, entry.status) for entry in report.entries}


def output(directory: Path) -> str:
    return (directory / "runcmd.output").read_text()


@pytest.mark.parametrize(
    ("entries", "results", "said"),
    [
        (["echo a", "echo b"], ["done", "done"], "a\nb\n"),
        ([["echo", "a  b", "$HOME", "it's"]], ["done"], "a  b $HOME it's\n"),
        (["echo $INSTANCE_ID"], ["done"], "i-1\n"),
        # What one entry sets is there in the next.
        (["cd /usr", "x=1", 'f() { echo "$x $PWD"; }', "f"], ["done"] * 4, "1 /usr\n"),
        (["pwd"], ["done"], "/\n"),
        (["false", "echo $?"], [("failed", 1), "done"], "1\n"),
        (["exec >&2", "echo a"], ["done", "done"], "a\n"),
        (["set -u", "set -x", "set +x", "set -- a b", "echo $#"], ["done"] * 5, None),
        # A failed entry is named and the others go on.
        (["false", "sh -c 'exit 7'", "no-such-program", "echo on"],
         [("failed", 1), ("failed", 7), ("failed", 127), "done"], None),
        (["sh -c 'kill -9 $$'", "echo on"], [("failed", 137), "done"], None),
        # What ends the shell ends it, and the rest is not run.
        (["echo a", "exit 3", "echo never"], ["done", ("failed", 3), "not run"], "a\n"),
        (["exit 0", "echo never", "echo never"], [("done", 0), "not run", "not run"], ""),
        (["exec true", "echo never"], [("done", 0), "not run"], ""),
        (["kill -9 $$", "echo never"], [("failed", -9), "not run"], ""),
        (["set -e", "false || true", "false", "echo never"],
         ["done", "done", ("failed", 1), "not run"], ""),
        (["set -e", "false && true", "echo on"], ["done", ("failed", 1), "done"], "on\n"),
        # What the shell cannot parse is refused alone.
        (["echo a", "if true; the", "echo 'open", "echo b"],
         ["done", "refused", "refused", "done"], "a\nb\n"),
        (["echo a)", "echo b"], ["refused", "done"], "b\n"),
        (["}", "echo b"], ["refused", "done"], "b\n"),
        (["echo a\0b", "echo b"], ["done", "refused"], "b\n"),
        # Comments, nothing, several lines, backslashes and here documents.
        (["# nothing", "", "  ", "echo a # b"], ["done"] * 4, "a\n"),
        (["echo a\necho b\n", "cat <<E\nhere\nE"], ["done", "done"], "a\nb\nhere\n"),
        (["echo ü", ["echo", "ü"]], ["done", "done"], "ü\nü\n"),
        # Descriptors are the entries' own.
        (["exec 9>/dev/null; echo a >&9", "echo b >&9", "echo c"],
         ["done", ("failed", 2), "done"], None),
        (["exec 3>&1", "echo b >&3", "exec 1>&- 2>&-", "echo c"],
         ["done", "done", "done", ("failed", 1)], "b\n"),
        (["sleep 100 & echo $! > pid; cat pid >/dev/null", "kill $(cat pid); rm pid"],
         ["done", "done"], ""),
    ],
)  # fmt: skip
def test_each_entry_has_its_own_result(
    directory: Path, entries: list[Entry], results: Sequence[Any], said: str | None
) -> None:
    if "pid" in str(entries):
        entries = [f"cd {directory}", *entries]
        results = ["done", *results]

    found = run(directory, *entries)

    wanted = [each if isinstance(each, tuple) else (each, None) for each in results]
    told = [(result, status if want[1] is not None else None)
            for (result, status), want in zip(found.values(), wanted)]  # fmt: skip
    assert sorted(told, key=str) == sorted(wanted, key=str)
    assert len(found) == len(results)
    if said is not None:
        assert output(directory) == said


def test_results_are_by_the_number_in_the_document(directory: Path) -> None:
    found = run(directory, "true", "echo 'open", "false")

    assert found == {
        "runcmd[0]": ("done", 0),
        "runcmd[1]": ("refused", None),
        "runcmd[2]": ("failed", 1),
    }


def test_entries_that_only_parse_together_are_one_command(directory: Path) -> None:
    entries = ["echo a", "if true; then", "echo b; exit_status=4", "fi", "cat <<END", "c", "END"]

    found = run(directory, *entries, "echo one \\", "two", "(exit $exit_status)")

    assert list(found) == ["runcmd[0]", "runcmd[1..3]", "runcmd[4..6]", "runcmd[7..8]", "runcmd[9]"]
    assert found["runcmd[9]"] == ("failed", 4)
    assert output(directory) == "a\nb\nc\none two\n"


def test_no_child_of_an_entry_can_write_results(directory: Path) -> None:
    run(directory, "ls -l /proc/self/fd")

    assert "results" not in output(directory)


def test_nothing_of_the_script_is_left_and_its_output_is_private(directory: Path) -> None:
    run(directory, "echo secret-in-the-script >/dev/null")

    assert [path.name for path in directory.iterdir()] == ["runcmd.output"]
    assert stat.S_IMODE((directory / "runcmd.output").stat().st_mode) == 0o600


def test_the_script_is_gone_even_when_it_runs_out_of_time(directory: Path) -> None:
    found = run(directory, "echo a", "sleep 60", "echo never", timeout=0.3)

    assert [result for result, _ in found.values()] == ["done", "failed", "not run"]
    assert [path.name for path in directory.iterdir()] == ["runcmd.output"]


def test_a_plan_runs_nothing_and_reports_nothing(directory: Path) -> None:
    plan, report = Plan(Host()), Report()

    run_entries(plan, report, entries=["touch x"], directory=str(directory), env=ENV)

    assert report.entries == []
    assert [each.target for each in plan.effects if each.verb == "run"] == [
        f"/bin/sh {directory}/runcmd"
    ]
    assert list(directory.iterdir()) == []


def test_where_programs_cannot_be_run_that_is_said(tmp_path: Path) -> None:
    host, report = Host(tmp_path), Report()

    run_entries(host, report, entries=["true"], directory="/s", env=ENV)
    script = Secret(b"#!/bin/sh\n")
    run_script(host, report, place="part-001", content=script, name="p", directory="/s", env={})

    assert [(entry.place, entry.result) for entry in report.entries] == [
        ("runcmd", "not run"),
        ("part-001", "not run"),
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "status", "result", "detail", "said"),
    [
        ("#!/bin/sh\necho $INSTANCE_ID $0; pwd", 0, "done", "", "i-1 {d}/s.sh\n/\n"),
        ("#!/bin/sh\necho out; echo err >&2; exit 4", 4, "failed", "exit status 4", "out\nerr\n"),
        ("#!/bin/sh\nkill -15 $$", -15, "failed", "ended by signal 15", ""),
        ("#!/bin/sh -e\nfalse\necho on", 1, "failed", "exit status 1", ""),
        ("#!/no/such/interpreter\n", -1, "failed", "its interpreter '/no/such/interpreter' is", ""),
        ("#!/bin/sh\nsleep 60", -1, "failed", "still running after 0.3 seconds", ""),
        ("#!/bin/sh\ncat", 0, "done", "", ""),
    ],
)
def test_a_script_is_one_command(
    directory: Path, script: str, status: int, result: str, detail: str, said: str
) -> None:
    report = Report()

    returned = run_script(
        Host(),
        report,
        place="part-001",
        content=Secret(script.encode()),
        name="s.sh",
        directory=str(directory),
        env=ENV,
        timeout=0.3 if "sleep" in script else None,
    )

    (entry,) = report.entries
    assert (returned, entry.place, entry.result) == (status, "part-001", result)
    assert detail in entry.detail
    assert entry.output == f"{directory}/s.sh.output"
    assert Path(entry.output).read_text() == said.format(d=directory)
    assert [path.name for path in directory.iterdir()] == ["s.sh.output"]
