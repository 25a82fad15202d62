"""What is in the packages, that they are the same twice, and what Debian's and rpm's tools say."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.version import VERSION

from ..guests.cloud import CHECKOUT
from .conftest import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NAMES = ("linklocal-agent", "linklocal-server", "linklocal-agent-cloud-init")
# What rpmlint says of a package that is neither compiled nor signed by a distribution.
ARGUED = re.compile(
    r"no-signature|only-non-binary-in-usr-lib|invalid-license|manpage-not-compressed"
    r"|no-manual-page-for-binary|dangerous-command-in-%"
)
PROGRAMS = {
    "linklocal-agent": {
        *("/usr/bin/linklocal-agent", "/usr/bin/linklocal-resetd", "/usr/lib/linklocal/gate"),
        "/usr/lib/systemd/system-generators/linklocal-generator",
    },
    "linklocal-server": {"/usr/bin/linklocal-server", "/usr/bin/linklocal"},
    "linklocal-agent-cloud-init": {"/usr/bin/cloud-init"},
}


def said(*argv: object, status: int | None = 0) -> str:
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=200)
    assert status is None or done.returncode == status, done.stdout + done.stderr
    return done.stdout


def deb(packages: Path, name: str) -> Path:
    return packages / f"{name}_{VERSION}-1_all.deb"


def rpm(packages: Path, name: str) -> Path:
    return packages / f"{name}-{VERSION}-1.noarch.rpm"


def listed(package: Path) -> dict[str, str]:
    """Return the mode and owner of every file of a .deb, as tar prints them."""
    lines = said("dpkg-deb", "--contents", package).splitlines()
    rows = [line.split(None, 5) for line in lines]
    return {row[5].removeprefix("."): f"{row[0]} {row[1]}" for row in rows if row[0][0] == "-"}


def test_two_builds_are_the_same_byte_for_byte(packages: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "again")

    names = sorted(path.name for path in packages.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert len(names) == 10
    for name in names:
        assert (packages / name).read_bytes() == (again / name).read_bytes(), name


@pytest.mark.parametrize("name", NAMES)
def test_both_kinds_hold_the_same_files_with_the_modes_of_a_package(
    packages: Path, name: str
) -> None:
    files = listed(deb(packages, name))
    query = "[%{FILEMODES:octal} %{FILEUSERNAME} %{FILENAMES}\n]"
    rows = [
        line.split(" ", 2)
        for line in said("rpm", "-qp", "--qf", query, rpm(packages, name)).splitlines()
    ]
    of_rpm = {path: mode for mode, _, path in rows if mode.startswith("10")}

    assert {row[1] for row in rows} == {"root"}
    for path, mode in files.items():
        expected = "-rwxr-xr-x" if path in PROGRAMS[name] else "-rw-r--r--"
        # nfpm writes the number without the name for what it makes itself.
        assert mode in (f"{expected} root/root", f"{expected} 0/0"), path
    only = re.compile(r"/usr/share/(doc|lintian|zsh)/")
    assert {path for path in files if not only.match(path)} == {
        path for path in of_rpm if not only.match(path)
    }
    for path in PROGRAMS[name]:
        assert of_rpm[path] == "100755"


def test_every_module_of_the_guest_is_in_the_agents_package_and_none_of_the_servers(
    packages: Path,
) -> None:
    files = listed(deb(packages, "linklocal-agent"))
    modules = {
        f"/usr/lib/linklocal/linklocal/agent/{path.relative_to(CHECKOUT / 'agent')}"
        for path in (CHECKOUT / "agent").rglob("*.py")
    }

    assert modules <= set(files)
    assert not [path for path in files if "metadata_server" in path]


def test_debians_own_check_finds_nothing(packages: Path) -> None:
    argv = ("lintian", "--fail-on", "warning", "--tag-display-limit", "0")

    assert said(*argv, *map(str, sorted(packages.glob("*.deb")))) == ""


def test_rpmlint_finds_what_is_argued_and_no_more(packages: Path) -> None:
    text = said("rpmlint", *sorted(packages.glob("*.rpm")), status=None)

    found = [line for line in text.splitlines() if re.search(r": [EW]: ", line)]
    assert [line for line in found if not ARGUED.search(line)] == []
    assert "3 packages" in text


@pytest.mark.parametrize("name", NAMES)
def test_the_rpm_installs_into_a_root(packages: Path, tmp_path: Path, name: str) -> None:
    """Its files are put where they belong. No rpm distribution can be run here."""
    argv = ("rpm", "--root", tmp_path, "--dbpath", "/var/lib/rpm", "--nodeps", "--noscripts")
    said(*argv, "--install", rpm(packages, name))

    for path in PROGRAMS[name]:
        assert (tmp_path / path[1:]).stat().st_mode & 0o777 == 0o755
    requires = said("rpm", "-qp", "--requires", rpm(packages, name))
    assert ("python3-pyyaml" in requires) is (name != NAMES[2])


def test_manual_pages_are_well_formed_and_name_every_option(packages: Path, tmp_path: Path) -> None:
    for name in NAMES:
        said("dpkg-deb", "--extract", deb(packages, name), tmp_path)
    pages = {path.name[:-3]: path for path in tmp_path.glob("usr/share/man/man*/*.gz")}

    assert set(pages) == {
        *("linklocal-agent.8", "linklocal-resetd.8", "linklocal-server.8", "linklocal.1"),
        *("linklocal-agent.yaml.5", "linklocal-server.yaml.5", "cloud-init.1"),
    }
    for page, path in pages.items():
        text = tmp_path / page
        text.write_bytes(gzip.decompress(path.read_bytes()))
        faults = said("mandoc", "-T", "lint", "-W", "error", text)
        assert faults == "", page
    agent = said("mandoc", "-T", "utf8", tmp_path / "linklocal-agent.8")
    plain = re.sub(".\b", "", agent)
    for word in ("--metadata-url", "lockdown", "doctor", "EXIT STATUS", "FILES"):
        assert word in plain


def test_the_bill_of_materials_names_what_is_needed(packages: Path) -> None:
    bill = json.loads((packages / f"linklocal-agent-{VERSION}.cdx.json").read_text())

    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["version"] == VERSION
    assert {each["name"] for each in bill["components"]} == {"pyyaml", "cryptography", "jinja2"}


def test_sums_and_signature_are_checked_as_documented(tmp_path: Path) -> None:
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ("gpg", "--homedir", home, "--batch", "--quiet")
    said(*gpg, "--passphrase", "", "--quick-generate-key", "release@test.example")
    said(*gpg, "--output", tmp_path / "linklocal-release.gpg", "--export", "release@test.example")
    environment = {"GNUPGHOME": str(home)}
    argv = ("env", *(f"{name}={value}" for name, value in environment.items()))
    script = CHECKOUT / "packaging/build.py"
    python = CHECKOUT / ".venv/bin/python"
    said(*argv, python, script, "--output", tmp_path / "out", "--sign", "release@test.example")
    said("gpgconf", "--homedir", home, "--kill", "all")

    out = tmp_path / "out"
    check = ("gpgv", "--keyring", tmp_path / "linklocal-release.gpg")
    said(*check, out / "SHA256SUMS.asc", out / "SHA256SUMS")
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    with open(out / "SHA256SUMS", "a") as sums:
        sums.write("0  other.deb\n")
    said(*check, out / "SHA256SUMS.asc", out / "SHA256SUMS", status=1)


def test_the_units_are_sound(packages: Path, tmp_path: Path) -> None:
    """What systemd says of the units as they are installed, in a root of their own."""
    for name in NAMES:
        said("dpkg-deb", "--extract", deb(packages, name), tmp_path)
    shutil.copytree(
        "/usr/lib/systemd/system", tmp_path / "usr/lib/systemd/system", dirs_exist_ok=True
    )
    # As the generator has them, where they stand in for cloud-init's.
    for unit in (tmp_path / "usr/lib/linklocal/cloud-init").iterdir():
        shutil.copy(unit, tmp_path / "usr/lib/systemd/system")
    for program in ("usr/bin/kill", "bin/kill", "usr/bin/true", "bin/true"):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / program).touch(mode=0o755)
    ours = sorted(
        path.name
        for path in (CHECKOUT / "systemd").glob("*.*")
        if path.suffix in (".service", ".target", ".socket")
    )
    argv = ["systemd-analyze", "verify", "--man=no", f"--root={tmp_path}", *ours]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)

    faults = [line for line in done.stderr.splitlines() if "linklocal" in line or "cloud-" in line]
    assert len(ours) > 8
    assert faults == []


def test_the_hardware_database_takes_our_platforms(tmp_path: Path) -> None:
    place = tmp_path / "etc/udev/hwdb.d"
    place.mkdir(parents=True)
    shutil.copy(CHECKOUT / "systemd/20-linklocal-imds.hwdb", place)
    said("systemd-hwdb", "--strict", f"--root={tmp_path}", "update")
    modalias = "dmi:bvnSeaBIOS:bvr1:svnOpenStackFoundation:pnOpenStackNova:pvr1:"

    found = said("systemd-hwdb", f"--root={tmp_path}", "query", modalias)

    assert "IMDS_VENDOR=openstack" in found
    assert "IMDS_ADDRESS_IPV4=169.254.169.254" in found
