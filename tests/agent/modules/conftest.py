"""The machine of these tests."""

from __future__ import annotations

import pytest

from ...guests.directory import DirectoryGuest
from .machine import Machine


@pytest.fixture
def machine(guest_root: DirectoryGuest) -> Machine:
    return Machine(guest_root)
