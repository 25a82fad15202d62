"""docs/operations.md, word for word: no package, an image, guests, a reset, upgrade, removal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, NamedTuple

import pytest

from ..conftest import StartNspawn
from ..guests.cloud import CHECKOUT, CONTROL, Cloud
from ..guests.light import Nic
from ..guests.nspawn import NspawnGuest
from ..test_readme import matches

pytestmark = [pytest.mark.guest, pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = CHECKOUT / "docs/operations.md"
NICS = {
    "guest-1": Nic("192.168.1.10/24", "fa:16:3e:f7:c1:10"),
    "guest-2": Nic("192.168.1.11/24", "fa:16:3e:f7:c1:11"),
}
PROMPT = re.compile(r"^(\S+)# ", re.MULTILINE)


class Step(NamedTuple):
    machine: str
    command: str
    output: str


Shell = Callable[[str], str]


def steps() -> Iterator[Step]:
    """Yield the commands of the page with where they are typed and what they are said to print."""
    for block in re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        starts = list(PROMPT.finditer(block))
        for start, following in zip(starts, [*starts[1:], None]):
            lines = block[start.end() : following and following.start()].splitlines()
            length = 1
            while lines[length - 1].endswith("\\"):
                length += 1
            if here := re.search(r"<<'(\w+)'", lines[0]):
                length = lines.index(here[1]) + 1
            yield Step(start[1], "\n".join(lines[:length]), "\n".join(lines[length:]))


def follow(wanted: list[Step], shells: dict[str, Shell]) -> None:
    for step in wanted:
        printed = shells[step.machine](step.command)
        if step.output:
            assert agrees(step.output, printed), f"{step.machine}# {step.command}\n{printed}"


def agrees(expected: str, printed: str) -> bool:
    """Compare as the README's tour is, but for seconds, and the width that they take."""
    one, other = (
        re.sub(r" +", " ", re.sub(r"\d+\.\d+", "0.0", text)) for text in (expected, printed)
    )
    return matches(one, other)


def on_the_builder(place: Path) -> Shell:
    """Return a shell on this machine, in *place*: building needs a way to Debian's mirrors."""
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "LC_ALL": "C"}

    def shell(command: str) -> str:
        argv = ["unshare", "--mount", "bash", "-ec", command]
        done = subprocess.run(argv, cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return shell


def on_the_cloud(cloud: Cloud) -> Shell:
    """Return a shell beside the server, with the operator's command."""
    programs = Path(sys.executable).parent
    environment = {
        "LINKLOCAL_URL": f"http://{CONTROL}",
        "LINKLOCAL_TOKEN_FILE": "/etc/linklocal/control-tokens",
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin",
    }

    def shell(command: str) -> str:
        argv = ["bash", "-ec", command]
        done = cloud.machine.run(argv, cwd="/root", env=environment, timeout=200)
        assert done.returncode == 0, (done.stdout + done.stderr).decode()
        return done.stdout.decode()

    return shell


def in_the_guest(guest: NspawnGuest) -> Shell:
    return lambda command: guest.sh(f"cd /root\n{command}")


@pytest.fixture(scope="module")
def image(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tree that the page has its reader build."""
    place = tmp_path_factory.mktemp("builder")
    for package in packages.glob("*.deb"):
        shutil.copy(package, place)
    follow(
        [step for step in steps() if step.machine == "builder"], {"builder": on_the_builder(place)}
    )
    yield place / "image"
    shutil.rmtree(place / "image")


def test_the_page_is_true(
    nspawn_guest: StartNspawn, packages: Path, image: Path, tmp_path: Path
) -> None:
    layer = tmp_path / "layer"
    for path in ("root", "etc/linklocal/cloud-config.d"):
        (layer / path).mkdir(parents=True)
    (layer / "root").chmod(0o700)
    shutil.copy(next(packages.glob("linklocal-agent_*.deb")), layer / "root")
    # The links of these guests have their addresses from outside.
    unmanaged = "network: {config: disabled}\n"
    (layer / "etc/linklocal/cloud-config.d/network.yaml").write_text(unmanaged)
    after = [step for step in steps() if step.machine != "builder"]
    # They are switched on once the operator has said who they are.
    before = [step for step in after if "instance add" in step.command or "<<" in step.command]
    with Cloud() as cloud, cloud.serve([]):
        shells = {"operator": on_the_cloud(cloud)}
        follow(before, shells)
        for name, nic in NICS.items():
            options = {"cloud": cloud, "nic": nic, "layers": [layer], "product": "OpenStack Nova"}
            guest = nspawn_guest(lower=image, forget=(), **options)
            shells[name] = in_the_guest(guest)
        follow([step for step in after if step not in before], shells)
