"""ca_certs: where certificates are put, per family, and what is none."""

from __future__ import annotations

import pytest

from .machine import Machine, said

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"


@pytest.mark.parametrize(
    ("os_release", "directory"),
    [
        ("ID=debian", "/usr/local/share/ca-certificates"),
        ("ID=openEuler", "/etc/pki/ca-trust/source/anchors"),
        ("ID=sles", "/etc/pki/trust/anchors"),
        ("ID=alpine", "/usr/local/share/ca-certificates"),
    ],
)
def test_the_place_of_the_family(machine: Machine, os_release: str, directory: str) -> None:
    machine.guest.write("/etc/os-release", os_release.encode())

    report = machine.apply("ca_certs", f"ca_certs: {{trusted: ['{PEM}']}}".replace("\n", "\n\n"))

    assert said(report) == []
    assert machine.guest.text(f"{directory}/linklocal-0.crt") == f"{PEM}\n"


def test_the_distributions_authorities_are_distrusted(machine: Machine) -> None:
    machine.guest.write("/etc/ca-certificates.conf", b"# x\nmozilla/A.crt\n!mozilla/B.crt\n")

    machine.apply("ca_certs", "ca_certs: {remove_defaults: true}")

    text = machine.guest.text("/etc/ca-certificates.conf")
    assert text == "# x\n!mozilla/A.crt\n!mozilla/B.crt\n"


def test_old_spellings_are_taken_and_said(machine: Machine) -> None:
    report = machine.apply("ca_certs", "ca_certs: {remove-defaults: false}")

    assert said(report) == [("notice", "ca_certs.remove-defaults")]


@pytest.mark.parametrize("value", ["[not PEM]", "[7]", "{a: b}"])
def test_what_is_no_certificate_is_refused(machine: Machine, value: str) -> None:
    report = machine.apply("ca_certs", f"ca_certs: {{trusted: {value}}}")

    assert [result for result, _ in said(report)] == ["refused"]
    assert not machine.guest.exists("/usr/local/share/ca-certificates")
