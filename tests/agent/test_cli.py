"""linklocal-agent as a program: its words, its exit status, and what it costs to ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..conftest import Serve
from ..guests.directory import DirectoryGuest
from .test_boot import MOTD
from .test_openstack import INSTANCE

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = "#!/bin/sh\nexit 3\n"


def agent(*words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *map(str, words)],
        cwd=CHECKOUT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run(guest: DirectoryGuest, user_data: str, *words: str) -> subprocess.CompletedProcess[str]:
    return agent("run", "--root", guest.root, "--user-data", "-", *words, stdin=user_data)


def record_of(guest: DirectoryGuest, **changes: Any) -> None:
    """Write a status as an agent would leave it."""
    record = {
        "schema": 1, "status": "running", "degraded": False, "detail": "", "datasource": "ec2",
        "instance_id": "i-1", "adopted": False, "stage": "network", "pid": os.getpid(),
        "started": 1.0, "finished": None, "stages": [], "parts": [], "modules": [], "entries": [],
        "not_run": [],
        **changes,
    }  # fmt: skip
    guest.write("/run/linklocal/status.json", json.dumps(record).encode())


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["run", "--stage", "third"],
        ["run", "--root"],
        ["plan", "--colour"],
        ["run", "--root", "/no/such/directory"],
        ["run", "--datasource", "bogus"],
        ["status", "--wait", "--timeout", "soon"],
        ["status", "extra"],
        ["validate"],
    ],
)
def test_bad_usage_is_64(words: list[str]) -> None:
    done = agent(*words)

    assert done.returncode == 64
    assert done.stderr.startswith("usage: linklocal-agent")
    assert done.stdout == ""


@pytest.mark.parametrize(
    "module", ["agent", "agent.reset_password", "metadata_server", "metadata_server.ctl"]
)
def test_every_program_tells_its_version(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0
    assert done.stdout.startswith("linklocal")


def test_a_boot_that_never_begins_is_not_waited_for_longer_than_asked(
    guest_root: DirectoryGuest,
) -> None:
    done = agent("status", "--wait", "--timeout", "0.1", "--root", guest_root.root)

    assert (done.returncode, done.stdout) == (3, "status: not started\n")
    assert done.stderr == "linklocal-agent: no boot has begun; waiting for one\n"


def test_a_plan_shows_what_was_asked_for_wherever_that_is(guest_root: DirectoryGuest) -> None:
    paths = ("/run/linklocal-example/a", "/run/linklocal/b", "/var/lib/linklocal/agent/c")
    files = "".join(f"- {{path: {path}, content: x}}\n" for path in paths)

    done = agent(
        *("plan", "--root", guest_root.root, "--user-data", "-"),
        stdin=f"#cloud-config\nwrite_files:\n{files}",
    )

    shown = [line.split(":")[0] for line in done.stdout.splitlines()]
    for path in paths:
        assert f"write {path}" in shown
    assert not any("status.json" in line for line in shown)


def test_a_section_is_named_once(guest_root: DirectoryGuest) -> None:
    done = run(guest_root, "#cloud-config\ntimezone: No/Where\nntp: {enabled: true}\n")
    told = agent("status", "--root", guest_root.root)

    for name in ("timezone", "ntp"):
        assert f"{name}: {name}: " not in done.stdout + done.stderr + told.stdout


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["status", "--help"]])
def test_help_is_help(words: list[str]) -> None:
    done = agent(*words)

    assert done.returncode == 0
    assert "linklocal-agent" in done.stdout


@pytest.mark.parametrize(
    ("user_data", "result", "plain", "strict"),
    [
        (MOTD, "status: done\n", 0, 0),
        # Nothing of it could be used.
        ("a letter", "status: failed: part-001: refused: user data of no known", 1, 1),
        # Part of it was not done.
        ("#cloud-config\ntimezone: No/Where\n", "status: done, degraded: timezone", 0, 2),
        (SCRIPT, "status: done, degraded: part-001: not run", 0, 2),
    ],
)
def test_the_status_says_how_the_boot_went(
    guest_root: DirectoryGuest, user_data: str, result: str, plain: int, strict: int
) -> None:
    done = run(guest_root, user_data)

    told = agent("status", "--root", guest_root.root)
    assert done.returncode == plain
    assert told.stdout.startswith(result)
    assert told.returncode == plain
    assert agent("status", "--strict", "--wait", "--root", guest_root.root).returncode == strict


def test_a_boot_is_told_as_it_goes_and_in_the_log(guest_root: DirectoryGuest) -> None:
    done = run(guest_root, MOTD)

    assert "write_files: done" in done.stderr
    assert done.stdout == "done\n"
    assert "INFO write_files: done" in guest_root.text("/var/log/linklocal/agent.log")
    assert guest_root.stat("/var/log/linklocal/agent.log").mode == 0o640
    assert run(guest_root, MOTD, "--quiet").stderr == ""


def test_a_boot_that_has_not_begun_or_is_under_way_is_3(guest_root: DirectoryGuest) -> None:
    before = agent("status", "--root", guest_root.root)
    record_of(guest_root)
    during = agent("status", "--root", guest_root.root)

    assert (before.returncode, before.stdout) == (3, "status: not started\n")
    assert (during.returncode, during.stdout.splitlines()[:2]) == (
        3,
        ["status: running", "stage: network"],
    )


@pytest.mark.parametrize(
    ("stage", "where"), [("network", "in stage network"), (None, "between two stages")]
)
def test_an_agent_that_was_killed_is_not_waited_for(
    guest_root: DirectoryGuest, stage: str | None, where: str
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    record_of(guest_root, stage=stage, pid=gone.pid)

    done = agent("status", "--wait", "--root", guest_root.root)

    assert done.returncode == 1
    assert done.stdout.startswith(f"status: failed: the agent ended {where} without a word")


def test_between_stages_of_two_processes_the_next_one_is_waited_for(
    guest_root: DirectoryGuest,
) -> None:
    run(guest_root, MOTD, "--stage", "local")
    between = agent("status", "--root", guest_root.root)
    waiting = agent("status", "--wait", "--timeout", "0.1", "--root", guest_root.root)

    assert (between.returncode, waiting.returncode) == (3, 3)
    assert between.stdout.startswith("status: running\n")


def test_waiting_ends_with_the_boot(guest_root: DirectoryGuest) -> None:
    record_of(guest_root)
    waiting = subprocess.Popen(
        [sys.executable, "-m", "agent", "status", "--wait", "--root", str(guest_root.root)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
    )

    run(guest_root, MOTD)

    assert waiting.communicate(timeout=30)[0].startswith(b"status: done\n")
    assert waiting.returncode == 0


def test_the_status_for_programs_is_the_file(guest_root: DirectoryGuest) -> None:
    run(guest_root, MOTD)

    done = agent("status", "--json", "--root", guest_root.root)

    assert json.loads(done.stdout) == json.loads(guest_root.read("/run/linklocal/status.json"))
    guest_root.path("/run/linklocal/status.json").unlink()
    nothing = agent("status", "--json", "--root", guest_root.root)
    assert json.loads(nothing.stdout) == {"schema": 1, "status": "not started"}


def test_a_plan_tells_effects_in_order(serve: Serve, guest_root: DirectoryGuest) -> None:
    before = guest_root.snapshot("/")
    user_data = MOTD + "- {path: /etc/second, content: hunter2}\n- {path: x}\n"
    url = serve({**INSTANCE, "user_data": user_data}).guest_url

    text = agent("plan", "--root", guest_root.root, "--metadata-url", url)
    programs = agent("plan", "--root", guest_root.root, "--metadata-url", url, "--json")

    lines = text.stdout.splitlines()
    assert [
        line for line in lines if line.startswith(("write /etc/motd", "write /etc/second"))
    ] == [
        "write /etc/motd: 7 bytes, mode 0644, root:root",
        "write /etc/second: 7 bytes, mode 0644, root:root",
    ]
    assert any(line.startswith("  write_files[2]") for line in lines)
    assert "hunter2" not in text.stdout + programs.stdout
    answer = json.loads(programs.stdout)
    assert {
        "verb": "write",
        "target": "/etc/motd",
        "detail": "7 bytes, mode 0644, root:root",
        "cause": "write_files",
    } in answer["effects"]
    assert answer["status"]["instance_id"] == INSTANCE["id"]
    assert guest_root.snapshot("/") == before


@pytest.mark.parametrize(
    ("user_data", "lines", "code"),
    [
        (MOTD, ["no mistakes"], 0),
        (SCRIPT, ["no mistakes"], 0),
        ("", ["user data: notice: empty"], 0),
        ("a letter", ["part-001: refused: user data of no known type"], 1),
        ("#cloud-config\nruncmds: [ls]\n", ["runcmds: warning: unknown key, nearest is 'run"], 1),
        (
            "#cloud-config\nwrite_files:\n- {path: /a, content: hunter2, permissions: rw}\n",
            ["write_files[0].permissions: refused: expected octal permissions"],
            1,
        ),
        ("#cloud-config\npassword: *hunter2\n", ["part-001: refused: line 2, column 11: "], 1),
        ("#cloud-config\na: &x [*x]\n", ["part-001: refused: an alias that contains itself"], 1),
    ],
)
def test_user_data_is_checked_without_a_machine(
    tmp_path: Path, user_data: str, lines: list[str], code: int
) -> None:
    path = tmp_path / "user-data"
    path.write_text(user_data)

    done = agent("validate", path)

    told = done.stdout.splitlines()
    assert done.returncode == code, done.stdout
    assert len(told) == len(lines)
    for line, start in zip(told, lines):
        assert line.startswith(f"{path}: {start}")
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("section", "place"),
    [
        ("users: [{name: max, sudoo: x}]", "users[0].sudoo: warning: unknown key"),
        ("users: [{name: 'a b'}]", "users[0].name: refused: expected"),
        (
            "users: [{name: a, ssh_authorized_keys: [x]}]",
            "users[0].ssh_authorized_keys[0]: refused",
        ),
        ("ssh_authorized_keys: [x]", "ssh_authorized_keys[0]: refused: expected a public key"),
        (
            "chpasswd: {users: [{name: a, password: hunter2}]}",
            "chpasswd.users[0].password: refused",
        ),
        (
            "runcmd: [false]",
            "runcmd[0]: refused: expected a command line or a list of words, got a",
        ),
        ("runcmd: [[a, {b: c}]]", "runcmd[0]: refused"),
        ("bootcmd: no", "bootcmd: refused: expected a list of commands"),
        ("write_files: [{path: /x, encoding: b64, content: YQ}]", "write_files /x: refused"),
        ("write_files: [{path: /x, encoding: b64, content: '%'}]", "write_files /x: warning"),
        (
            "write_files: [{path: /x, owner: nobody-yet, encoding: b64, content: YQ}]",
            "write_files /x: refused",
        ),
        ("cloud_final_modules: scripts-user", "cloud_final_modules: refused: expected a list"),
        ("cloud_final_modules: [[]]", "cloud_final_modules[0]: refused: expected a module's name"),
        (
            "cloud_final_modules: [[scripts-user, daily], final-message]",
            "cloud_final_modules[0]: warning: frequency not understood",
        ),
        ("mounts: [[vdb]]", "mounts[0]: refused"),
    ],
)
def test_what_a_boot_would_refuse_is_refused_beforehand(
    tmp_path: Path, section: str, place: str
) -> None:
    path = tmp_path / "user-data"
    path.write_text(f"#cloud-config\n{section}\n")

    done = agent("validate", path)

    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{path}: {place}")
    assert "hunter2" not in done.stdout + done.stderr
    assert done.returncode == 1


def test_a_good_file_has_its_word(tmp_path: Path) -> None:
    path = tmp_path / "user-data"
    path.write_text(
        "#cloud-config\nhostname: a\nusers: [default]\npackages: [vim]\nntp: {}\nruncmd: [ls]\n"
        "ssh_pwauth: true\napt: {primary: [{arches: [default], search: [http://no.where/]}]}\n"
    )

    done = agent("validate", path)

    assert (done.returncode, done.stdout) == (0, f"{path}: no mistakes\n")


def test_a_truth_value_among_commands_is_told_from_the_command(tmp_path: Path) -> None:
    path = tmp_path / "user-data"
    path.write_text("#cloud-config\nruncmd:\n- false\n")

    assert "put the command in quotes" in agent("validate", path).stdout


def test_a_file_that_is_not_there_is_said() -> None:
    done = agent("validate", "/no/such/file")

    assert (done.returncode, done.stderr) == (
        1,
        "linklocal-agent: /no/such/file: No such file or directory\n",
    )


PROGRAMS = ["socket", "subprocess", "http.client", "email", "ssl"]


@pytest.mark.parametrize(
    ("command", "never"),
    [
        ("agent --help", ["yaml", *PROGRAMS, "agent.host"]),
        ("agent status --root {root}", ["yaml", *PROGRAMS, "agent.boot", "agent.cli_after"]),
        ("agent query --root {root}", ["yaml", *PROGRAMS, "agent.boot"]),
        ("agent analyze --root {root}", ["yaml", *PROGRAMS, "agent.boot"]),
        ("agent validate -", [*PROGRAMS, "hashlib", "agent.boot", "agent.cli_after"]),
        ("agent plan --root {root} --user-data -", [*PROGRAMS, "agent.cli_after"]),
        ("agent run --root {root}", ["yaml", "asyncio", *PROGRAMS, "agent.cli_after"]),
        ("agent run --root {root} --user-data -", PROGRAMS),
        ("agent.reset_password --help", ["yaml", *PROGRAMS, "hashlib", "cryptography"]),
        ("agent.reset_password status --root {root}", ["yaml", "hashlib", "cryptography"]),
        ("agent.reset_password history --root {root}", ["yaml", "hashlib", "cryptography"]),
        ("agent.reset_password check --root {root}", ["yaml", "hashlib", "cryptography"]),
        ("agent.reset_password trust x --root {root}", ["yaml", "hashlib", "cryptography"]),
        ("agent.reset_password set --user x --root {root}", ["yaml", "hashlib", "cryptography"]),
    ],
)
def test_what_is_not_needed_is_not_imported(
    guest_root: DirectoryGuest, command: str, never: list[str]
) -> None:
    words = command.format(root=guest_root.root).split()
    # Without site, for an editable installation imports things of its own at every start.
    done = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", "-m", *words],
        cwd=CHECKOUT,
        env={"PYTHONPATH": str(Path(yaml.__file__).parents[1])},
        input=MOTD,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert imported >= {"agent.start", "argparse"}
    common = {"logging", "dataclasses", "inspect", "aiohttp", "shutil", "pathlib", "tempfile"}
    assert imported.isdisjoint({*never, *common})


@pytest.mark.parametrize("module", ["agent", "agent.reset_password"])
def test_output_that_cannot_be_written_is_a_failure(module: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", module, "--help"],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr.endswith(": standard output: No space left on device\n")
