"""The oldest libraries that are promised, as distributions ship them, and the newest of Debian.

The boots of tests/cases on other releases are in tests/guests/test_cases.py.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

from .conftest import StartGuest
from .guests import installed, roots
from .guests.cases import lines_of
from .guests.cloud import Cloud
from .guests.passwords import opens

CHECKOUT = Path(__file__).resolve().parents[1]
INSTANCE = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"
DISTRIBUTIONS_PYTHON = "/usr/bin/python3"
# What the tests themselves need, for pytest-asyncio's sake not from the distribution.
TEST_TOOLS = ("hypothesis", "pytest>=8", "pytest-asyncio", "pytest-timeout", "pytest-xdist")
LIBRARIES = ("aiohttp", "cryptography", "passlib", "yaml")
SERVERS_TESTS = CHECKOUT / "tests/metadata_server"

slow = pytest.mark.slow


@pytest.mark.guest
@pytest.mark.parametrize(
    "release",
    [
        roots.DEBIAN12,
        pytest.param(roots.DEBIAN11, marks=slow),
        pytest.param(roots.DEBIAN13, marks=slow),
    ],
)
def test_a_password_is_reset_on_every_release(
    release: str, cloud: Cloud, light_guest: StartGuest, tmp_path: Path, debian12: Path
) -> None:
    lower = roots.built(release)
    layer = installed.layer(lower, tmp_path)
    password = b"Floor-2468.x"
    instance = {"id": INSTANCE, "nics": [{"ipv4": "192.168.1.10"}]}
    guest = light_guest(cloud=cloud, lower=lower, layers=[layer])

    with cloud.serve([instance]) as service:
        argv = ["python3", "-m", "agent.reset_password", "run", "--metadata-url"]
        argv.append("http://169.254.169.254")
        with guest.start(argv, cwd=installed.HOME) as daemon:
            daemon.wait_for("enrolled")
            before = guest.snapshot("/etc")
            words = ("reset-password", INSTANCE, "--password-stdin", "--wait", "30", "--json")
            done = service.ctl(*words, input=password)

    assert b'"applied"' in done.stdout, (done, daemon.stderr)
    assert opens(lines_of(guest, "shadow")["root"][1], password.decode())
    # Not the sshd, no group, no other file.
    after = guest.snapshot("/etc")
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert changed - {"/etc", "/etc/.pwd.lock", "/etc/shadow-"} == {"/etc/shadow"}


@slow
@pytest.mark.guest
def test_debian_11_has_the_oldest_libraries_that_are_promised(
    light_guest: StartGuest, debian12: Path
) -> None:
    """When a floor in pyproject.toml is lowered, something older has to be run."""
    project = (CHECKOUT / "pyproject.toml").read_text()
    guest = light_guest(lower=roots.debian11())

    said = guest.sh(
        "python3 -c 'import sys, yaml, cryptography, jinja2; "
        "print(sys.version.split()[0], yaml.__version__, cryptography.__version__, "
        "jinja2.__version__)'"
    )

    found = dict(zip(("python", "pyyaml", "cryptography", "jinja2"), said.split()))
    promised = dict(re.findall(r'^  "([a-z0-9]+)>=([0-9.]+)', project, re.MULTILINE))
    promised |= re.findall(r'^requires-(python) = ">=([0-9.]+)"', project, re.MULTILINE)
    for name, version in found.items():
        floor = promised[name]
        assert version == floor or version.startswith(f"{floor}."), (name, version, floor)


@pytest.fixture(scope="module")
def debians_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the distribution's libraries, and tools for tests beside them."""
    have = subprocess.run(
        [DISTRIBUTIONS_PYTHON, "-c", f"import {', '.join(LIBRARIES)}"], capture_output=True
    )
    if have.returncode:
        pytest.skip("python3-aiohttp and python3-passlib of the distribution are not installed")
    directory = tmp_path_factory.mktemp("venv")
    python = directory / "bin/python"
    for argv in (
        [DISTRIBUTIONS_PYTHON, "-m", "venv", "--system-site-packages", str(directory)],
        [str(python), "-m", "pip", "install", "--quiet", *TEST_TOOLS],
    ):
        subprocess.run(argv, check=True, timeout=300)
    return python


def imports_of(path: Path) -> set[str]:
    """Return the first names of all absolute imports, and the siblings that are imported."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == 1:
            found.add(f".{node.module}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A program of the tests that is run by its name.
            found |= {
                f".{name}" for name in re.findall(r"^tests\.metadata_server\.(\w+)$", node.value)
            }
    return found


def without_a_library(python: Path) -> set[str]:
    """Return the server's tests that need what *python* does not have: SDKs and other clients."""
    imports = {path.stem: imports_of(path) for path in SERVERS_TESTS.glob("*.py")}
    names = sorted({name for found in imports.values() for name in found if name[0] != "."})
    program = (
        "import importlib.util as i, sys\nfor n in sys.argv[1:]:\n if not i.find_spec(n): print(n)"
    )
    absent = set(
        subprocess.run(
            [str(python), "-c", program, *names],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
    )
    while True:
        more = {f".{stem}" for stem, found in imports.items() if found & absent}
        if more <= absent:
            return {name[1:] for name in absent if name[0] == "."}
        absent |= more


@slow
@pytest.mark.timeout(600)
def test_the_server_works_with_the_distributions_libraries(debians_python: Path) -> None:
    where = "; ".join(f"import {name}; print({name}.__file__)" for name in LIBRARIES)
    places = subprocess.run(
        [str(debians_python), "-c", where], capture_output=True, text=True, check=True
    ).stdout.split()
    left_out = [f"--ignore={SERVERS_TESTS / name}.py" for name in without_a_library(debians_python)]
    # The plugin that this very checkout offers needs what is not in this Python.
    plugins = ("xdist.plugin", "pytest_asyncio.plugin", "pytest_timeout")
    argv = [str(debians_python), "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider"]
    argv += [word for name in plugins for word in ("-p", name)]

    done = subprocess.run(
        [*argv, *left_out, str(SERVERS_TESTS)],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "CI": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=550,
    )

    assert [place for place in places if not place.startswith("/usr/lib/python3/")] == []
    assert len(left_out) < 12, left_out
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
