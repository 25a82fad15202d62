"""Fixtures for tests of whatever talks to a metadata service: docs/testing.md.

Loaded by pytest wherever this package is installed, so that importing it costs nothing: the server
is imported by the first test that asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import GuestDirectory, MetadataServer, ServedInstance

MARKER = "metadata_server(stepped=True): how the server of this test is made"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def metadata_server(request: pytest.FixtureRequest) -> Iterator[MetadataServer]:
    """A metadata service of this test's own, without instances, whose clock the test steps."""
    from .testing import serving

    marker = request.node.get_closest_marker("metadata_server")
    with serving(**(marker.kwargs if marker else {})) as server:
        yield server


@pytest.fixture(scope="session")
def metadata_server_session() -> Iterator[MetadataServer]:
    """One metadata service for all tests of this process, by the machine's clock."""
    from .testing import serving

    with serving(stepped=False) as server:
        yield server


@pytest.fixture
def metadata_instance(metadata_server: MetadataServer) -> ServedInstance:
    """A plain instance of `metadata_server`."""
    return metadata_server.add()


@pytest.fixture
def guest(tmp_path: Path) -> GuestDirectory:
    """A guest that is a directory, for the agent to boot in."""
    from .testing import GuestDirectory

    return GuestDirectory(tmp_path / "guest")
