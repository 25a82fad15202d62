"""Root trees: built once however many ask, and never half."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import roots
from .cloud import CHECKOUT


def test_the_cache_is_where_it_is_told_to_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LINKLOCAL_GUESTS", str(tmp_path / "here"))
    named = roots.cache()
    monkeypatch.delenv("LINKLOCAL_GUESTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    of_user = roots.cache()

    assert named == tmp_path / "here"
    assert of_user == tmp_path / "linklocal-guests"


def test_trees_of_other_packages_have_other_names() -> None:
    names = {roots.tree(name).name for name in roots.SUITES}

    assert len(names) == len(roots.SUITES)


@pytest.mark.slow
@pytest.mark.guest
@pytest.mark.timeout(600)
def test_two_builders_at_once_build_one_tree_and_clear_what_was_left_half(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("building a root tree needs root")
    environment = {**os.environ, "LINKLOCAL_GUESTS": str(tmp_path)}
    name = roots.tree(roots.DEBIAN13).name
    (tmp_path / f"{name}.draft/etc").mkdir(parents=True)

    builders = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.guests.roots", roots.DEBIAN13],
            cwd=CHECKOUT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [builder.communicate()[0].strip() for builder in builders]

    assert said == [str(tmp_path / name)] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}.lock"])
    assert (tmp_path / name / "usr/bin/python3").exists()
    assert not list((tmp_path / name / "etc/ssh").glob("ssh_host_*"))
