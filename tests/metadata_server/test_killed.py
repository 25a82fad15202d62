"""kill -9 between any two steps of a write: all of it is there afterwards, or nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from .commands import REPOSITORY, TOKEN
from .killed import COMMITTED

NEVER = 1_000_000
ALL = "/linklocal/v1/instances"
STATE = "/linklocal/v1/state"
THREE = [{"id": f"new-{number}", "user_data": "#!/bin/sh"} for number in range(3)]


@contextmanager
def server(state: Path, step: int = NEVER) -> Iterator[str]:
    """Run a server that is killed at *step*, and yield its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.metadata_server.killed", str(state), str(step)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def call(method: str, url: str, body: object = None, key: str | None = None) -> Any:
    """Return the answer's document, None when the server was killed before it could answer."""
    headers = {"X-Auth-Token": TOKEN, "Content-Type": "application/json"}
    if key:
        headers["Idempotency-Key"] = key
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  # loopback
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  # loopback
            return json.load(answer)
    except (HTTPException, ConnectionError, urllib.error.URLError):
        return None


def known(url: str) -> list[str]:
    return sorted(each["id"] for each in call("GET", url + ALL)["instances"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_create_is_whole_or_not_at_all(tmp_path: Path) -> None:
    wanted = [str(each["id"]) for each in THREE]
    outcomes = []
    for step in range(1, 40):
        state = tmp_path / str(step)
        with server(state, step) as url:
            answer = call("POST", url + ALL, THREE, key="once")
        with server(state) as url:
            found = known(url)
            # The client that got no answer asks again, and cannot tell the difference.
            again = call("POST", url + ALL, THREE, key="once")
            assert known(url) == wanted
        outcomes.append(len(found))
        assert found in ([], wanted)
        assert [each["id"] for each in again["instances"]] == wanted
        if answer is not None:
            assert found == wanted
            break

    # BEGIN, three instances, the answer, what is forgotten of old ones, COMMIT; then it is there.
    assert len(outcomes) >= 8
    assert outcomes == sorted(outcomes)
    assert outcomes.count(0) >= 7


def test_a_create_that_was_not_answered_is_there(tmp_path: Path) -> None:
    with server(tmp_path, COMMITTED) as url:
        assert call("POST", url + ALL, THREE, key="once") is None

    with server(tmp_path) as url:
        assert known(url) == [each["id"] for each in THREE]
        call("POST", url + ALL, THREE, key="once")
        assert known(url) == [each["id"] for each in THREE]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_state_is_loaded_whole_or_not_at_all(tmp_path: Path) -> None:
    first = tmp_path / "first"
    with server(first) as url:
        call("POST", url + ALL, THREE)
        saved = call("GET", url + STATE)
    saved["mailbox"] = {"new-0": "YQ=="}

    for step in range(1, 40):
        state = tmp_path / str(step)
        with server(state, NEVER) as url:
            call("POST", url + ALL, {"id": "old"})
        with server(state, step) as url:
            answer = call("PUT", url + STATE, saved)
        with server(state) as url:
            now = call("GET", url + STATE)
        whole = sorted(now["overlay"]) == ["new-0", "new-1", "new-2"] and now["mailbox"]
        assert whole or (sorted(now["overlay"]) == ["old"] and not now["mailbox"])
        if answer is not None:
            assert whole
            break
    assert step >= 8
