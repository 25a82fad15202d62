"""The packages of this checkout, built once a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..guests.cloud import CHECKOUT


def build(output: Path, *words: str) -> Path:
    """Build the packages into *output*, and return it."""
    argv = [sys.executable, "packaging/build.py", "--output", str(output), *words]
    subprocess.run(argv, cwd=CHECKOUT, check=True, capture_output=True, timeout=100)
    return output


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the packages, their SBOM and sums."""
    return build(tmp_path_factory.mktemp("packages"))
