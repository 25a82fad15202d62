"""ntp: which client, which file, and the sources in the place of the distribution's."""

from __future__ import annotations

import pytest

from agent.errors import ConfigError

from .machine import Machine, said

CHRONY = "/etc/chrony/chrony.conf"
DEFAULT = (
    b"# sources\npool 2.debian.pool.ntp.org iburst\nsourcedir /run/chrony-dhcp\ndriftfile /x\n"
)
OURS = """\
# sources
# pool 2.debian.pool.ntp.org iburst
sourcedir /run/chrony-dhcp
driftfile /x
# linklocal-agent: begin
server 10.0.0.1 iburst
pool pool.example.com iburst
peer p.example.com
allow 10.0.0.0/8
# linklocal-agent: end
"""
DOCUMENT = """
ntp:
  servers: [10.0.0.1]
  pools: [pool.example.com]
  peers: [p.example.com]
  allow: [10.0.0.0/8]
"""


def with_client(machine: Machine, program: str, path: str = CHRONY) -> Machine:
    machine.guest.write(program, b"", mode=0o755)
    machine.guest.write(path, DEFAULT)
    return machine


def test_sources_replace_the_distributions_however_often(machine: Machine) -> None:
    with_client(machine, "/usr/sbin/chronyd")

    report = machine.apply("ntp", DOCUMENT)
    assert said(report) == []
    assert machine.guest.text(CHRONY) == OURS

    machine.apply("ntp", DOCUMENT)
    assert machine.guest.text(CHRONY) == OURS


def test_other_families_have_it_elsewhere(machine: Machine) -> None:
    machine.guest.write("/etc/os-release", b"ID=openEuler\n")
    with_client(machine, "/usr/sbin/chronyd", "/etc/chrony.conf")

    machine.apply("ntp", DOCUMENT)

    assert machine.guest.text("/etc/chrony.conf") == OURS


def test_timesyncd_has_a_file_of_ours(machine: Machine) -> None:
    with_client(machine, "/lib/systemd/systemd-timesyncd")

    report = machine.apply("ntp", DOCUMENT)

    assert said(report) == [("warning", "ntp.peers"), ("warning", "ntp.allow")]
    text = machine.guest.text("/etc/systemd/timesyncd.conf.d/50-linklocal.conf")
    assert text == "[Time]\nNTP=10.0.0.1 pool.example.com\n"
    assert machine.guest.read(CHRONY) == DEFAULT


@pytest.mark.parametrize("document", ["ntp: {enabled: false, servers: [a]}", "ntp: {}"])
def test_the_distributions_sources_stay(machine: Machine, document: str) -> None:
    with_client(machine, "/usr/sbin/chronyd")
    before = machine.tree()

    machine.apply("ntp", document)

    assert machine.tree() == before


@pytest.mark.parametrize(
    "settings",
    [
        "{servers: ['a b']}",
        '{servers: ["a\\nserver evil"]}',
        "{pools: {a: {b: c}}, servers: [[a]]}",
        "{allow: ['10.0.0.0/8 x']}",
        "{ntp_client: sundial}",
    ],
)
def test_what_cannot_be_meant_is_refused(machine: Machine, settings: str) -> None:
    with_client(machine, "/usr/sbin/chronyd")
    before = machine.tree()

    report = machine.apply("ntp", f"ntp: {settings}")

    assert "refused" in [result for result, _ in said(report)]
    assert machine.tree() == before


@pytest.mark.parametrize(
    ("client", "path", "lines"),
    [
        ("openntpd", "/etc/openntpd/ntpd.conf", "server 10.0.0.1\nservers pool.example.com\n"),
        ("ntpdate", "/etc/ntp.conf", "server 10.0.0.1 iburst\npool pool.example.com iburst\n"),
        ("ntp", "/etc/ntp.conf", "server 10.0.0.1 iburst\npool pool.example.com iburst\n"),
    ],
)
def test_a_client_that_is_named(machine: Machine, client: str, path: str, lines: str) -> None:
    programs = {"openntpd": "ntpctl", "ntp": "ntpd"}
    with_client(machine, f"/usr/sbin/{programs.get(client, client)}", path)
    settings = "servers: [10.0.0.1], pools: [pool.example.com]"

    report = machine.apply("ntp", f"ntp: {{ntp_client: {client}, {settings}}}")

    assert said(report) == []
    text = machine.guest.text(path)
    assert text.endswith(f"# linklocal-agent: begin\n{lines}# linklocal-agent: end\n")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (r"server here\n", "server here\n"),
        (
            r"## template: jinja\n{% for each in servers %}server {{ each }}\n{% endfor %}",
            "server 10.0.0.1\nserver b\n",
        ),
    ],
)
def test_a_configuration_of_the_users_own(machine: Machine, template: str, expected: str) -> None:
    with_client(machine, "/usr/bin/mine")
    document = f"""
ntp:
  servers: [10.0.0.1, b]
  config: {{confpath: /etc/mine.conf, check_exe: /usr/bin/mine, template: "{template}"}}
"""
    machine.apply("ntp", document)

    assert machine.guest.text("/etc/mine.conf").strip() == expected.strip()


def test_without_a_client_and_a_package_tool_it_fails_in_words(machine: Machine) -> None:
    with pytest.raises(ConfigError, match="chrony is not installed"):
        machine.apply("ntp", DOCUMENT)
