"""Each folder of tests/cases is booted on a directory root, over a real socket, twice."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Serve
from .guests.cases import WATCHED, Case, cases, changed, differences, status_of
from .guests.directory import DirectoryGuest

CHECKOUT = Path(__file__).resolve().parents[1]
INSTANCE_ID = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"
AS_ROOT = os.geteuid() == 0
ALL = cases("directory")


def instance_of(case: Case, **more: Any) -> dict[str, Any]:
    written = {"id": INSTANCE_ID, **case.instance, **more}
    if case.user_data is not None:
        written["user_data_base64"] = base64.b64encode(case.user_data).decode()
    return written


def boot(root: Path, url: str, datasource: str) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", "agent", "run", "--root", str(root)]
    argv += ["--metadata-url", url, "--datasource", datasource]
    return subprocess.run(argv, cwd=CHECKOUT, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("case", ALL, ids=[case.name for case in ALL])
def test_a_first_boot_makes_what_the_case_expects(
    case: Case, serve: Serve, guest_root: DirectoryGuest
) -> None:
    url = serve(instance_of(case)).guest_url
    case.prepare(guest_root)

    done = boot(guest_root.root, url, case.datasource)

    assert guest_root.exists("/run/linklocal/status.json"), done.stderr.decode()
    assert differences(case, guest_root, owners=AS_ROOT) == []


@pytest.mark.parametrize("case", ALL, ids=[case.name for case in ALL])
def test_a_second_boot_changes_nothing(
    case: Case, serve: Serve, guest_root: DirectoryGuest
) -> None:
    url = serve(instance_of(case)).guest_url
    case.prepare(guest_root)
    boot(guest_root.root, url, case.datasource)
    before = guest_root.snapshot(*WATCHED)

    boot(guest_root.root, url, case.datasource)

    assert changed(before, guest_root.snapshot(*WATCHED)) - case.again == set()


def test_a_new_instance_id_does_everything_again(serve: Serve, guest_root: DirectoryGuest) -> None:
    case = next(case for case in ALL if case.name == "guide-case-1")
    first = serve(instance_of(case)).guest_url
    second = serve(instance_of(case, id="72a270de-665a-4f46-8d64-24ad6edccdd1")).guest_url
    boot(guest_root.root, first, case.datasource)
    guest_root.path("/root/.vimrc").unlink()
    boot(guest_root.root, first, case.datasource)
    left_alone = not guest_root.exists("/root/.vimrc")

    boot(guest_root.root, second, case.datasource)

    assert left_alone
    assert differences(case, guest_root, owners=AS_ROOT) == []
    assert status_of(guest_root)["instance_id"] == "72a270de-665a-4f46-8d64-24ad6edccdd1"
