"""Fixtures of the whole suite: guests to look at from outside, and what CI may not skip."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable

import pytest

from metadata_server.config import load
from metadata_server.server import Server
from metadata_server.testing.served import in_thread

from .guests import installed, roots
from .guests.cloud import Cloud
from .guests.directory import DirectoryGuest
from .guests.light import LightGuest, Nic
from .guests.nspawn import NspawnGuest
from .guests.vm import VirtualMachine

IN_CI = os.environ.get("CI") == "true"
# The few things CI itself may leave out; everything else must be installed by .ci/run.
MAY_SKIP_IN_CI = ("needs another kernel",)

StartGuest = Callable[..., LightGuest]
StartNspawn = Callable[..., NspawnGuest]
StartMachine = Callable[..., VirtualMachine]
Serve = Callable[..., Server]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Turn a skip into a failure in CI: a suite that skips there has not been run anywhere."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()  # type: ignore[attr-defined]  # pluggy's result
    if not hasattr(report, "wasxfail"):
        refuse_skip(report, str(call.excinfo.value) if call.excinfo else "")


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """The same for a whole file that is skipped while it is read."""
    outcome = yield
    refuse_skip(outcome.get_result(), "")  # type: ignore[attr-defined]  # pluggy's result


def refuse_skip(report: pytest.TestReport | pytest.CollectReport, reason: str) -> None:
    """Make *report* a failure when it is a skip, this is CI, and CI may not skip for it."""
    if not IN_CI or not report.skipped:
        return
    words = reason or str(report.longrepr)
    if not words.rstrip("')").endswith(MAY_SKIP_IN_CI):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skipped in CI: {words}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tier to those who ask for it: `-m slow`, or CI=true."""
    if IN_CI or "slow" in (config.option.markexpr or ""):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A function that starts the real server on free ports of the loopback, in a thread.

    It takes instances in the words of the configuration file, answers everyone with the first, and
    returns the running server. All end with the test.
    """
    with contextlib.ExitStack() as stack:

        def start(*instances: Mapping[str, Any], **settings: Any) -> Server:
            number = len(list(tmp_path.glob("server*.yaml")))
            first = {"identify": {"default": True}, **instances[0]}
            written = {
                "listen": ["127.0.0.1:0"],
                "control": {"listen": "127.0.0.1:0"},
                "instances": [first, *instances[1:]],
                **settings,
            }
            path = tmp_path / f"server{number}.yaml"
            path.touch(0o600)
            path.write_text(json.dumps(written))
            return stack.enter_context(serving(path))

        yield start


@contextlib.contextmanager
def serving(path: Path) -> Iterator[Server]:
    """Run a server in a thread of its own for as long as the block lasts."""
    with in_thread(load(path)) as (server, _):
        yield server


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


@pytest.fixture(scope="session")
def installed_agent(debian12: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer for light guests with the agent in /usr/lib/linklocal, as a package installs it."""
    return installed.layer(debian12, tmp_path_factory.mktemp("installed"))


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

    def start(
        cloud: Cloud | None = None,
        nic: Nic | None = None,
        *,
        lower: Path = debian12,
        **options: Any,
    ) -> LightGuest:
        guest = LightGuest(lower, cloud=cloud, nic=nic, **options)
        guest.__enter__()
        started.append(guest)
        return guest

    yield start
    for guest in started:
        guest.close()


@pytest.fixture(scope="session")
def machine12() -> Path:
    """A Debian 12 root tree with systemd and a kernel: the lower tree of nspawn guests and VMs."""
    need_namespaces()
    for program in ("mmdebstrap", "systemd-nspawn"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    return roots.machine12()


@pytest.fixture(scope="session")
def network_root() -> Path:
    """A Debian 12 root tree with systemd and all that can configure a network; never changed."""
    need_namespaces()
    if not shutil.which("mmdebstrap") and not roots.tree(roots.NETWORK).is_dir():
        pytest.skip("mmdebstrap is not installed")
    return roots.network()


@pytest.fixture
def nspawn_guest(machine12: Path) -> Iterator[StartNspawn]:
    """A function that boots an nspawn guest over Debian 12; all end with the test."""
    started: list[NspawnGuest] = []

    def start(*, lower: Path = machine12, **options: Any) -> NspawnGuest:
        guest = NspawnGuest(lower, **options)
        guest.__enter__()
        started.append(guest)
        return guest

    yield start
    for guest in started:
        guest.close()


@pytest.fixture
def vm() -> Iterator[StartMachine]:
    """A function that boots a virtual machine from an image; all end with the test."""
    need_namespaces()
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("qemu-system-x86_64 is not installed")
    started: list[VirtualMachine] = []

    def start(image: Path, **options: Any) -> VirtualMachine:
        machine = VirtualMachine(image, **options)
        machine.__enter__()
        started.append(machine)
        return machine

    yield start
    for machine in started:
        machine.close()
