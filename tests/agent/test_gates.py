"""The gates of a boot: its stages wait for the units, the units for its stages, nobody for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.gates import STAGES, Gates
from agent.modules.base import Stage

from ..guests.cloud import CHECKOUT

GATE = (CHECKOUT / "systemd/gate").read_text()


def unit(directory: Path, stage: str) -> subprocess.Popen[bytes]:
    """Start what the unit of *stage* runs."""
    script = GATE.replace("/run/linklocal/gates", str(directory))
    return subprocess.Popen(["/bin/sh", "-c", script, "gate", stage])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "run/gates"


def test_each_stage_waits_for_its_unit_and_the_unit_for_the_stage(directory: Path) -> None:
    gates = Gates(str(directory))
    entered = {stage: threading.Event() for stage in Stage}
    leave = {stage: threading.Event() for stage in Stage}

    def boot() -> None:
        for stage in Stage:
            gates.enter(stage)
            entered[stage].set()
            leave[stage].wait(30)
            gates.leave(stage)

    thread = threading.Thread(target=boot, daemon=True)
    thread.start()
    assert entered[Stage.LOCAL].wait(30)
    leave[Stage.LOCAL].set()
    for stage in STAGES:
        assert not entered[stage].is_set()
        process = unit(directory, stage.value)
        assert entered[stage].wait(30)
        assert process.poll() is None
        leave[stage].set()
        assert process.wait(30) == 0
    thread.join(30)
    assert not thread.is_alive()


def test_an_agent_that_is_gone_is_not_waited_for(directory: Path) -> None:
    gates = Gates(str(directory))
    waiting = unit(directory, "network")
    for handle in [*gates._locks.values(), *gates._opened.values()]:
        os.close(handle)

    assert waiting.wait(30) == 0
    assert unit(directory, "final").wait(30) == 0


def test_the_gates_are_for_root_alone(directory: Path) -> None:
    Gates(str(directory))

    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_another_root_has_no_units_to_wait_for(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "agent", "run", "--gates", "--root", str(tmp_path)]

    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=30)

    assert done.returncode == 1
    assert "--gates: the units are this machine's, expected no --root" in done.stderr
