"""The plugin from a user's side: found by pytest itself, in a project that is not ours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```", (CHECKOUT / "docs/testing.md").read_text(), re.MULTILINE | re.DOTALL
)


def pytest_in(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest over *project*, with nothing of this suite's settings."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "."],
        cwd=project,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
        text=True,
        timeout=110,
    )


def test_the_examples_of_the_page_are_true(tmp_path: Path) -> None:
    for number, example in enumerate(EXAMPLES):
        (tmp_path / f"test_example_{number}.py").write_text(example)

    ran = pytest_in(tmp_path, "--strict-markers")

    assert ran.returncode == 0, ran.stdout
    assert f"{len(EXAMPLES)} passed" in ran.stdout


@pytest.mark.slow
def test_a_users_project_is_tested_in_parallel(tmp_path: Path) -> None:
    project = tmp_path / "user_project"
    shutil.copytree(CHECKOUT / "tests/user_project", project)

    ran = pytest_in(tmp_path, "-n", "2")

    assert ran.returncode == 0, ran.stdout
    assert "10 passed" in ran.stdout


def test_a_server_for_all_tests_and_a_failure_that_lists_what_was_asked(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_it(metadata_instance):\n"
        "    metadata_instance.get('/latest/meta-data/mac')\n"
        "    metadata_instance.assert_asked('/latest/user-data', status=200)\n"
        "def test_session(metadata_server_session):\n"
        "    guest = metadata_server_session.add(id='one')\n"
        "    assert guest.get('/latest/meta-data/mac').status == 404\n"
        "    metadata_server_session.reset()\n"
        "    assert guest.get('/latest/meta-data/').status == 404\n"
        "    assert metadata_server_session.add(id='one').requests() == []\n"
        "@pytest.mark.metadata_server(stepped=False)\n"
        "def test_clock(metadata_server):\n"
        "    with pytest.raises(AssertionError, match='the clock is the machine'):\n"
        "        metadata_server.step(1)\n"
    )

    ran = pytest_in(tmp_path)

    assert "1 failed, 2 passed" in ran.stdout, ran.stdout
    assert "instance-1: expected a request of /latest/user-data" in ran.stdout
    assert "GET /latest/meta-data/mac 404 (token: none)" in ran.stdout
    # The place that is shown is the test's, not the plugin's.
    assert "served.py" not in ran.stdout
    assert "test_it.py:4: AssertionError" in ran.stdout
