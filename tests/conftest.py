"""Fixtures of the whole suite: guests to look at from outside, and what CI may not skip."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from .guests import roots
from .guests.cloud import Cloud
from .guests.directory import DirectoryGuest
from .guests.light import LightGuest, Nic

IN_CI = os.environ.get("CI") == "true"
# The few things CI itself may leave out; everything else must be installed by .ci/run.
MAY_SKIP_IN_CI = ("needs another kernel",)

StartGuest = Callable[..., LightGuest]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Turn a skip into a failure in CI: a suite that skips there has not been run anywhere."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()  # type: ignore[attr-defined]  # pluggy's result
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(call.excinfo.value) if call.excinfo else str(report.longrepr)
        if not reason.endswith(MAY_SKIP_IN_CI):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: skipped in CI: {reason}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tier to those who ask for it: `-m slow`, or CI=true."""
    if IN_CI or "slow" in (config.option.markexpr or ""):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture
def guest_root(tmp_path: Path) -> DirectoryGuest:
    """A small Debian 12 file system in a directory, this test's own."""
    return DirectoryGuest.copy(tmp_path / "guest")


def need_namespaces() -> None:
    if os.geteuid() != 0:
        pytest.skip("a real guest needs root")


@pytest.fixture(scope="session")
def debian12() -> Path:
    """A Debian 12 root tree, built once and never changed: the lower tree of light guests."""
    need_namespaces()
    if not shutil.which("mmdebstrap") and not roots.tree().is_dir():
        pytest.skip("mmdebstrap is not installed")
    return roots.debian12()


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """A network of guests with 169.254.169.254 in it; its `serve` starts the real server there."""
    need_namespaces()
    with Cloud() as made:
        yield made


@pytest.fixture
def light_guest(debian12: Path) -> Iterator[StartGuest]:
    """A function that starts a light guest over Debian 12; all end with the test."""
    started: list[LightGuest] = []

    def start(cloud: Cloud | None = None, nic: Nic | None = None, **options: Any) -> LightGuest:
        guest = LightGuest(debian12, cloud=cloud, nic=nic, **options)
        guest.__enter__()
        started.append(guest)
        return guest

    yield start
    for guest in started:
        guest.close()
