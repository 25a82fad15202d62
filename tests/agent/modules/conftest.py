"""The machine of these tests."""

from __future__ import annotations

import pytest

from ...conftest import StartGuest
from ...guests.cloud import CHECKOUT
from ...guests.directory import DirectoryGuest
from .booted import Booted
from .machine import Machine


@pytest.fixture
def machine(guest_root: DirectoryGuest) -> Machine:
    return Machine(guest_root)


@pytest.fixture
def booted(light_guest: StartGuest) -> Booted:
    return Booted(light_guest(binds=[CHECKOUT]))
