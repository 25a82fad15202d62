"""apt in a guest: a source, its key, and a package that comes from it."""

from __future__ import annotations

import json

import pytest

from .booted import Booted
from .test_apt import KEY

pytestmark = pytest.mark.guest

REPOSITORY = """
    mkdir -p /repo/p/DEBIAN && cd /repo
    printf 'Package: hello-there\\nVersion: 1.0\\nArchitecture: all\\n' > p/DEBIAN/control
    printf 'Maintainer: a <a@b.c>\\nDescription: x\\nPre-Depends: debconf\\n' >> p/DEBIAN/control
    dpkg-deb -b p hello-there_1.0_all.deb
    cat p/DEBIAN/control > Packages
    printf 'Filename: ./hello-there_1.0_all.deb\\nSize: %s\\nSHA256: %s\\n' \\
        $(stat -c %s *.deb) $(sha256sum *.deb | cut -d' ' -f1) >> Packages
    rm -rf /etc/apt/sources.list.d/*
    : > /etc/apt/sources.list
"""


def test_a_package_comes_from_a_source_that_was_added(booted: Booted) -> None:
    guest = booted.guest
    guest.sh(REPOSITORY)
    document = f"""
apt:
  sources:
    ours: {{source: 'deb [trusted=yes] file:/repo ./', key: {json.dumps(KEY)}}}
  conf: |
    APT::Install-Recommends "false";
  debconf_selections: {{one: hello-there hello-there/word password Cloud.1234}}
packages: [hello-there]
"""
    status = booted.boot(document)

    assert not status["degraded"], status
    assert guest.sh("dpkg-query -W -f '${Status}' hello-there") == "install ok installed"
    assert 'APT::Install-Recommends "false"' in guest.sh("apt-config dump")
    guest.sh("grep -r Cloud.1234 /var/cache/debconf")
    assert guest.run(["grep", "-rl", "Cloud.1234", "/var/log", "/run"]).stdout == b""


def test_configuration_that_apt_cannot_read_does_not_go_live(booted: Booted) -> None:
    found = booted.entries("apt: {conf: 'APT::Get { broken'}")

    assert found == [("refused", "apt.conf")]
    booted.guest.sh("apt-config dump")
