"""Many instances in the state: all are served, by one process or several, none read before."""

from __future__ import annotations

import pytest

from tests.benchmarks.many import measure, show

MANY = 10_000


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("workers", [1, 2])
def test_any_of_many_is_served(workers: int) -> None:
    """Every guest that asks is answered 200: `measure` raises otherwise."""
    print(show(measure(print, MANY, workers)))
