"""`make demo`: with real guests, as an ordinary user, and as a root who may not make guests."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import need_namespaces
from .cloud import CHECKOUT, python_binds
from .light import MARK, LightGuest, host_layers

pytestmark = pytest.mark.guest

TITLES = ("Example 1", "Example 2", "Case 1", "Case 2", "Case 3", "Case 5", "Case 6")
DEMO = [sys.executable, "-m", "tests.guests.demo"]


@pytest.fixture
def nested() -> Iterator[LightGuest]:
    """A guest over the host's root, to run the demo in where all that it leaves can be seen."""
    need_namespaces()
    with LightGuest(Path("/"), lowers=host_layers(), binds=python_binds()) as guest:
        # The interpreter may be below root's home.
        for path in python_binds():
            for parent in path.parents:
                guest.call("chmod", str(parent), 0o755)
        yield guest


def processes_with(mark: str) -> list[int]:
    """Return this machine's processes that have *mark* in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_for_end(pid: int) -> None:
    """Return when *pid* is gone, or after 20 s."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        select.select([handle], [], [], 20)
        os.close(handle)


def outside() -> dict[str, object]:
    """Return what of this machine a guest could have changed."""
    accounts = ("passwd", "shadow", "group", "hosts", "hostname", "ssh/sshd_config")
    seen: dict[str, object] = {"mounts": Path("/proc/self/mountinfo").read_text()}
    for name in accounts:
        path = Path("/etc", name)
        seen[name] = path.read_bytes() if path.exists() else None
    seen["network namespaces"] = [str(path) for path in Path("/run").glob("netns/*")]
    seen["state"] = [Path(path).exists() for path in ("/run/linklocal", "/var/lib/linklocal")]
    return seen


def test_as_root_every_case_is_as_expected_and_nothing_is_left(tmp_path: Path) -> None:
    need_namespaces()
    before, mark = outside(), f"{MARK}={uuid.uuid4()}"
    name, _, value = mark.partition("=")

    done = subprocess.run(
        DEMO,
        cwd=CHECKOUT,
        env={**os.environ, name: value, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "guests are real" in done.stdout
    assert all(f"  ok  {title}" in done.stdout for title in TITLES), done.stdout
    assert "the new password opens the account" in done.stdout
    assert outside() == before
    assert processes_with(mark) == []
    assert list(tmp_path.iterdir()) == []


def test_killed_in_the_middle_it_leaves_nothing(tmp_path: Path) -> None:
    need_namespaces()
    before, mark = outside(), f"{MARK}={uuid.uuid4()}"
    name, _, value = mark.partition("=")
    demo = subprocess.Popen(
        DEMO,
        cwd=CHECKOUT,
        env={**os.environ, name: value, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    with demo:
        for line in demo.stdout:
            if "Example 1" in line:
                break

        demo.send_signal(signal.SIGKILL)

    for pid in processes_with(mark):
        wait_for_end(pid)
    assert processes_with(mark) == []
    assert outside() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("user", "why"),
    [
        pytest.param(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
            "a real guest needs root",
            id="an ordinary user",
        ),
        pytest.param([], "Operation not permitted|Invalid argument", id="a root in a container"),
    ],
)
def test_where_real_guests_cannot_be_it_uses_directories(
    nested: LightGuest, user: list[str], why: str
) -> None:
    argv = [*user, *DEMO]
    nested.sh("mkdir -m 1777 /tmp/own")
    with nested.start(
        argv, cwd=str(CHECKOUT), env={"HOME": "/nonexistent", "TMPDIR": "/tmp/own"}
    ) as demo:
        demo.wait_for(f"guests are directories here: .*({why})")
        done = demo.wait(100)

    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    assert all(f"  ok  {title}" in said for title in TITLES), said
    assert "not run, programs cannot be run here" in said
    assert "the new password opens the account" in said
    assert nested.names("/tmp/own") == []
    assert [name for name in nested.names("/proc") if name.isdigit()] == ["1"]
