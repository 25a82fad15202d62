"""locale: the file that names it, per family, and locales that are none."""

from __future__ import annotations

import pytest

from agent.errors import ConfigError

from .machine import Machine, said

SUPPORTED = b"de_DE.UTF-8 UTF-8\nde_DE ISO-8859-1\n"


@pytest.mark.parametrize(
    ("os_release", "path", "line"),
    [
        ("ID=debian", "/etc/default/locale", "LANG=C.UTF-8"),
        ("ID=rocky", "/etc/locale.conf", "LANG=C.UTF-8"),
        ("ID=sles", "/etc/locale.conf", "LANG=C.UTF-8"),
        ("ID=alpine", "/etc/profile.d/50-linklocal-locale.sh", "export LANG=C.UTF-8"),
    ],
)
def test_the_file_of_the_family(machine: Machine, os_release: str, path: str, line: str) -> None:
    machine.guest.write("/etc/os-release", os_release.encode())

    report = machine.apply("locale", "locale: C.UTF-8")

    assert said(report) == []
    assert line in machine.guest.text(path).splitlines()


def test_other_variables_stay(machine: Machine) -> None:
    machine.guest.write("/etc/default/locale", b"# x\nLANG=old\nLC_TIME=C\nLANG=older\n")

    machine.apply("locale", "locale: C.UTF-8")

    assert machine.guest.text("/etc/default/locale") == "# x\nLANG=C.UTF-8\nLC_TIME=C\n"


def test_another_file(machine: Machine) -> None:
    machine.apply("locale", "{locale: C.UTF-8, locale_configfile: /etc/mine}")

    assert machine.guest.text("/etc/mine") == "LANG=C.UTF-8\n"


def test_false_leaves_the_images(machine: Machine) -> None:
    before = machine.tree()

    machine.apply("locale", "locale: false")

    assert machine.tree() == before


@pytest.mark.parametrize("value", ["'de DE'", "7", "'x; reboot'", "[de_DE]", "../../etc/passwd"])
def test_what_cannot_be_meant_is_refused(machine: Machine, value: str) -> None:
    before = machine.tree()

    report = machine.apply("locale", f"locale: {value}")

    assert said(report) == [("refused", "locale")]
    assert machine.tree() == before


@pytest.mark.parametrize(
    ("locale", "words"),
    [("xx_XX.UTF-8", "no such locale: 'xx_XX.UTF-8'"), ("de_DE.UTF-8", "locales is not installed")],
)
def test_a_locale_that_cannot_be_made_is_not_named_to_programs(
    machine: Machine, locale: str, words: str
) -> None:
    machine.guest.write("/usr/share/i18n/SUPPORTED", SUPPORTED)
    before = machine.tree()

    with pytest.raises(ConfigError, match=words):
        machine.apply("locale", f"locale: {locale}")

    assert machine.tree() == before
