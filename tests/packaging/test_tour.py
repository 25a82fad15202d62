"""The tour of docs/packages.md, word for word, on a machine that has nothing but the packages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ..conftest import StartNspawn
from ..guests.cloud import CHECKOUT
from ..test_readme import END, matches, steps

pytestmark = [pytest.mark.guest, pytest.mark.slow, pytest.mark.timeout(200)]


def test_the_tour_of_the_packages_is_true(
    nspawn_guest: StartNspawn, packages: Path, tmp_path: Path
) -> None:
    place = tmp_path / "layer/root"
    place.mkdir(parents=True, mode=0o700)
    for path in packages.glob("*.deb"):
        shutil.copy(path, place)
    guest = nspawn_guest(layers=[tmp_path / "layer"])
    tour = list(steps((CHECKOUT / "docs/packages.md").read_text()))
    script = "".join(f"{step.command}\necho; echo '{END}'\n" for step in tour)

    done = guest.run(["/bin/bash", "-c", script], cwd="/root", timeout=120)

    printed = [part.strip("\n") for part in done.stdout.decode().split(END)][: len(tour)]
    assert len(tour) > 8
    assert len(printed) == len(tour), done.stderr.decode()
    for step, output in zip(tour, printed):
        if step.output:
            assert matches(step.output, output), f"$ {step.command}\n{output}\n{done.stderr!r}"
