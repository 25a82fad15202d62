"""linklocal-agent doctor on a directory: what it finds wrong, and what it says to do about it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..guests.cloud import CHECKOUT


def doctor(root: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    argv = [sys.executable, "-m", "agent", "doctor", "--json", "--root", str(root)]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=30)
    return done.returncode, {each["what"]: each for each in json.loads(done.stdout)}


def put(root: Path, path: str, content: str, mode: int = 0o644) -> None:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch(mode)
    place.write_text(content)
    place.chmod(mode)


def test_a_machine_without_a_datasource_is_told_so_and_is_well(tmp_path: Path) -> None:
    status, found = doctor(tmp_path)

    assert status == 0
    assert not found["datasource"]["fatal"]
    assert "agent.yaml" in found["datasource"]["remedy"]
    assert found["boot"]["problem"] == "none has begun"
    assert found["configuration"]["problem"] == ""


@pytest.mark.parametrize(
    ("path", "content", "mode", "what", "problem"),
    [
        ("etc/linklocal/agent.yaml", "timeout: soon\n", 0o644, "configuration", "timeout"),
        ("etc/linklocal/agent.yaml", "{", 0o644, "configuration", "agent.yaml"),
        ("etc/linklocal/agent.yaml", "", 0o666, "/etc/linklocal/agent.yaml", "0666"),
        ("run/linklocal/status.json", "{}", 0o664, "/run/linklocal/status.json", "0664"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(
    tmp_path: Path, path: str, content: str, mode: int, what: str, problem: str
) -> None:
    put(tmp_path, path, content, mode)

    status, found = doctor(tmp_path)

    assert status == 1
    assert problem in found[what]["problem"]
    assert found[what]["remedy"]


def test_the_named_datasource_is_told(tmp_path: Path) -> None:
    put(tmp_path, "etc/linklocal/agent.yaml", "datasource: ec2\n")

    status, found = doctor(tmp_path)

    assert status == 0
    assert "datasource ec2, by /etc/linklocal/agent.yaml" in found


def test_a_boot_that_was_killed_is_told_with_where(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    record = {"schema": 1, "status": "running", "stage": "network", "pid": gone.pid}
    put(tmp_path, "run/linklocal/status.json", json.dumps({**record, "detail": ""}))

    status, found = doctor(tmp_path)

    assert status == 1
    assert found["boot"]["problem"] == "failed: the agent ended in stage network without a word"
