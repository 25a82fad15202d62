"""Options of linklocal-server that users of mocks expect, seen from the guest's side."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from .test_cli import ANY_PORT, Process, run, status_of

META = "/latest/meta-data"
SCENARIO = """
steps:
  - {at: 0s, all: true, life_cycle: {state: Standby}}
  - {at: 1h, all: true, life_cycle: {state: Terminated}}
"""


def token(server: Process) -> str:
    request = urllib.request.Request(  # noqa: S310  # loopback
        f"{server.guest_urls[0]}/latest/api/token",
        headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  # loopback
        return str(answer.read().decode())


def get(server: Process, path: str, token: str = "") -> str:
    headers = {"X-aws-ec2-metadata-token": token} if token else {}
    request = urllib.request.Request(  # noqa: S310  # loopback
        server.guest_urls[0] + path, headers=headers
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  # loopback
        return str(answer.read().decode())


def test_a_spot_instance_that_ends_and_wants_tokens(tmp_path: Path) -> None:
    options: tuple[str, ...] = (
        "--imdsv2",
        "--spot-in",
        "2m",
        "--spot-action",
        "stop",
        "--rebalance-in",
        "0",
    )
    options += ("--maintenance-in", "90s")
    with Process(tmp_path, *ANY_PORT, *options) as server:
        assert status_of(f"{server.guest_urls[0]}{META}/spot/instance-action") == 401
        shown = token(server)

        notice = json.loads(get(server, f"{META}/spot/instance-action", shown))
        assert notice["action"] == "stop"
        assert get(server, f"{META}/instance-life-cycle", shown) == "spot"
        scheduled = get(server, f"{META}/events/maintenance/scheduled", shown)
        assert "system-maintenance" in scheduled
        assert "noticeTime" in get(server, f"{META}/events/recommendations/rebalance", shown)


def test_faults_and_a_scenario_from_the_start_and_a_notice_that_is_told_later(
    tmp_path: Path,
) -> None:
    scenario = tmp_path / "day.yaml"
    scenario.write_text(SCENARIO)
    options: tuple[str, ...] = (
        "--fault",
        f"path={META}/mac,status=503,first=2",
        "--scenario",
        str(scenario),
    )
    options += ("--spot-in", "10m", "--tell-in", "9m")
    with Process(tmp_path, *ANY_PORT, *options) as server:
        url = server.guest_urls[0] + META
        assert [status_of(f"{url}/mac") for _ in range(3)] == [503, 503, 200]
        # Its first step is made at once, and nobody waits for that.
        while status_of(f"{url}/autoscaling/target-lifecycle-state") == 404:
            pass
        assert get(server, f"{META}/autoscaling/target-lifecycle-state") == "Standby"
        assert "spot/" not in get(server, f"{META}/").split()


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        (("--spot-action", "stop"), 1, "expected --spot-in beside it"),
        (("--fault", "path=/x"), 1, "--fault path=/x: fault"),
        (("--fault", "stauts=503"), 1, "unknown key 'stauts'"),
        (("--scenario", "nope.yaml"), 1, "nope.yaml: No such file or directory"),
        (("--speed", "0"), 1, "--speed: expected a factor above 0"),
        (("--spot-in", "soon"), 64, "expected seconds from 0"),
        (("--spot-action", "explode"), 64, "invalid choice"),
    ],
)
def test_a_mistake_is_told_before_anything_is_served(
    tmp_path: Path, options: tuple[str, ...], status: int, reason: str
) -> None:
    ended = run(tmp_path, *ANY_PORT, *options)

    assert (ended.returncode, ended.stdout) == (status, "")
    assert reason in ended.stderr
