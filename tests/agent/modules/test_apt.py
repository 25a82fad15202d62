"""apt: what is written where, for Debian and Ubuntu; installing from it: test_apt_in_a_guest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.host import Host
from agent.modules.openpgp import fingerprint, is_named, without_armor
from agent.plan import Plan

from .machine import Machine, bad, said

KEY = (Path(__file__).parents[2] / "data/openpgp-key.asc").read_text()
FINGERPRINT = "117006FAC96CECD3DD54BCAAF2BAB1E0EE5DC4E0"
LIST = "/etc/apt/sources.list"
PARTS = "/etc/apt/sources.list.d"
DEBIAN = """\
deb https://deb.debian.org/debian bookworm main
deb-src https://deb.debian.org/debian bookworm main
deb https://deb.debian.org/debian-security bookworm-security main
deb-src https://deb.debian.org/debian-security bookworm-security main
deb https://deb.debian.org/debian bookworm-updates main
deb-src https://deb.debian.org/debian bookworm-updates main
deb https://deb.debian.org/debian bookworm-backports main
deb-src https://deb.debian.org/debian bookworm-backports main
"""
IMAGE = b"deb http://image.example.com/debian bookworm main\n"
UBUNTU = b"ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n"


@pytest.fixture
def apt(machine: Machine) -> Machine:
    machine.guest.write(LIST, IMAGE)
    return machine


def with_key(settings: str) -> str:
    """Return a cloud-config of apt in which ARMORED is the key of these tests."""
    # A string of JSON is one of YAML.
    return f"apt: {settings}".replace("ARMORED", json.dumps(KEY))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("{preserve_sources_list: false}", DEBIAN),
        (
            "{preserve_sources_list: false, disable_suites: [backports, $RELEASE-updates]}",
            "\n".join(
                f"# disabled by linklocal-agent: {line}"
                if "-backports " in line or "-updates " in line
                else line
                for line in DEBIAN.splitlines()
            )
            + "\n",
        ),
        (
            "{preserve_sources_list: false, primary: [{arches: [default], uri: 'http://m/d'}]}",
            DEBIAN.replace("https://deb.debian.org/debian-security", "http://m/d").replace(
                "https://deb.debian.org/debian", "http://m/d"
            ),
        ),
        (
            "{preserve_sources_list: false, sources_list: 'deb $MIRROR ${RELEASE} main\n\n"
            "  deb {{ security }} {{codename}}-security x $OTHER'}",
            "deb https://deb.debian.org/debian bookworm main\n"
            "deb https://deb.debian.org/debian-security bookworm-security x $OTHER\n",
        ),
        ("{}", IMAGE.decode()),
        ("{preserve_sources_list: true, sources_list: 'deb a b c'}", IMAGE.decode()),
        ("{primary: [{arches: [default], uri: 'http://m/d'}]}", IMAGE.decode()),
    ],
)
def test_the_distributions_own_list(apt: Machine, settings: str, expected: str) -> None:
    report = apt.apply("apt", f"apt: {settings}")

    assert bad(report) == []
    assert apt.guest.text(LIST) == expected


def test_the_mirror_of_this_architecture_is_taken(apt: Machine) -> None:
    status = b"Package: dpkg\nStatus: install ok installed\nArchitecture: arm64\n\n"
    apt.guest.write("/var/lib/dpkg/status", status)
    document = """
apt:
  preserve_sources_list: false
  sources_list: deb $PRIMARY $SECURITY
  primary: [{arches: [amd64, default], uri: 'http://no/'}, {arches: [arm64], uri: 'http://m/'}]
  security: [{arches: default, uri: 'http://s/debian/security'}]
"""
    apt.apply("apt", document)

    assert apt.guest.text(LIST) == "deb http://m/ http://s/debian/security\n"


def test_the_first_mirror_whose_host_is_known_is_taken(apt: Machine) -> None:
    document = """
apt:
  preserve_sources_list: false
  sources_list: deb $MIRROR x y
  primary:
  - {arches: [default], search: ['http://no-such-host.invalid/d', 'http://127.0.0.1:8/d']}
"""
    assert bad(apt.apply("apt", document)) == []

    assert apt.guest.text(LIST) == "deb http://127.0.0.1:8/d x y\n"


def test_ubuntu_has_its_own_list_and_takes_what_it_is_told(apt: Machine) -> None:
    apt.guest.write("/etc/os-release", UBUNTU)

    apt.apply("apt", "apt: {primary: [{arches: [default], uri: 'http://m/ubuntu'}]}")

    lines = apt.guest.text(LIST).splitlines()
    assert lines[0] == "deb http://m/ubuntu noble main restricted universe multiverse"
    assert len(lines) == 8


def test_where_the_list_has_stanzas_it_keeps_them(apt: Machine) -> None:
    apt.guest.write(f"{PARTS}/debian.sources", b"Types: deb\nURIs: http://x/\nSuites: a\n")

    apt.apply("apt", "apt: {preserve_sources_list: false, disable_suites: [backports, security]}")

    text = apt.guest.text(f"{PARTS}/debian.sources")
    assert "Suites: bookworm bookworm-updates\n" in text
    assert "# disabled by linklocal-agent: Suites: bookworm-security\n" in text
    assert "deb " not in apt.guest.text(LIST)


@pytest.mark.parametrize(
    ("settings", "path", "expected"),
    [
        (
            "{a: {source: 'deb http://x/ $RELEASE main'}}",
            "a.list",
            "deb http://x/ bookworm main\n",
        ),
        ("{a.list: {source: deb http://x/ b c}}", "a.list", "deb http://x/ b c\n"),
        ("{a: {source: deb http://x/ b c, filename: z.list}}", "z.list", "deb http://x/ b c\n"),
        (
            "{a: {source: deb http://x/ b c, filename: /etc/apt/sources.list.d/q}}",
            "q.list",
            "deb http://x/ b c\n",
        ),
        ("{old: {source: deb http://x/ b c}}", "old.list", "deb old\ndeb http://x/ b c\n"),
        (
            "{old: {source: deb http://x/ b c, append: false}}",
            "old.list",
            "deb http://x/ b c\n",
        ),
        (
            "{a: {source: 'deb [signed-by=$KEY_FILE] http://x/ b c', key: ARMORED}}",
            "a.list",
            "deb [signed-by=/etc/apt/keyrings/a.gpg] http://x/ b c\n",
        ),
        (
            '{a: {source: "Types: deb\\nURIs: http://x/\\nSuites: $RELEASE\\n"}}',
            "a.sources",
            "Types: deb\nURIs: http://x/\nSuites: bookworm\n",
        ),
    ],
)
def test_further_sources(apt: Machine, settings: str, path: str, expected: str) -> None:
    apt.guest.write(f"{PARTS}/old.list", b"deb old\n")

    for _ in range(2):
        report = apt.apply("apt", with_key(f"{{sources: {settings}}}"))

        assert bad(report) == []
        assert apt.guest.text(f"{PARTS}/{path}") == expected


def test_a_key_is_kept_as_apt_reads_it(apt: Machine) -> None:
    apt.apply(
        "apt", with_key("{sources: {a: {key: ARMORED}, b.list: {key: ARMORED, source: deb x y z}}}")
    )

    for name in ("a", "b"):
        content = apt.guest.read(f"/etc/apt/trusted.gpg.d/{name}.gpg")
        assert fingerprint(content) == FINGERPRINT
    assert not apt.guest.exists(f"{PARTS}/a.list")


@pytest.mark.parametrize(
    ("keyid", "named"),
    [
        (FINGERPRINT, True),
        (FINGERPRINT[-16:], True),
        (FINGERPRINT[-8:], True),
        (FINGERPRINT[:16], False),
        ("0" * 40, False),
    ],
)
def test_a_key_by_its_name(keyid: str, named: bool) -> None:
    assert is_named(without_armor(KEY), keyid) is named


@pytest.mark.parametrize(
    ("server", "asked"),
    [
        ("", "https://keyserver.ubuntu.com/pks/lookup"),
        (", keyserver: keys.example.com", "https://keys.example.com/pks/lookup"),
        (", keyserver: 'hkp://keys.example.com'", "http://keys.example.com:11371/pks/lookup"),
        (", keyserver: 'hkp://k.example.com:80'", "http://k.example.com:80/pks/lookup"),
        (", keyserver: 'http://k.example.com/'", "http://k.example.com/pks/lookup"),
    ],
)
def test_a_key_is_asked_for_by_its_name(apt: Machine, server: str, asked: str) -> None:
    effects = apt.plan("apt", f"apt: {{sources: {{a: {{keyid: 0xDEADBEEF{server}}}}}}}")

    assert effects[0] == f"fetch {asked}"
    assert apt.plan("apt", "apt: {sources: {a: {keyid: '1234 5678 9ABC DEF0'}}}")[0].startswith(
        "fetch "
    )


def test_configuration_and_proxies(apt: Machine) -> None:
    document = """
apt:
  conf: 'APT::Get::Assume-Yes "true";'
  proxy: http://me:word@p:3128
  https_proxy: http://s:1
  ftp_proxy: http://f:2
"""
    report = apt.apply("apt", document)

    assert bad(report) == []
    assert apt.guest.text("/etc/apt/apt.conf.d/94linklocal-config") == (
        'APT::Get::Assume-Yes "true";\n'
    )
    assert apt.guest.text("/etc/apt/apt.conf.d/90linklocal-proxy") == (
        'Acquire::http::Proxy "http://me:word@p:3128";\n'
        'Acquire::ftp::Proxy "http://f:2";\n'
        'Acquire::https::Proxy "http://s:1";\n'
    )
    apt.apply("apt", "apt: {}")
    assert apt.guest.path("/etc/apt/apt.conf.d").is_dir()
    assert not list(apt.guest.path("/etc/apt/apt.conf.d").iterdir())


def test_answers_to_questions_go_by_standard_input(apt: Machine) -> None:
    apt.guest.write("/usr/bin/debconf-set-selections", b"", mode=0o755)
    plan = Plan(Host(apt.guest.root))
    plan.runs = True

    apt.apply("apt", "apt: {debconf_selections: {a: 'p p/q password word'}}", plan)

    assert [effect[:3] for effect in plan.effects] == [
        ("run", "debconf-set-selections", "20 bytes on stdin")
    ]


def test_keys_from_before_there_was_apt(apt: Machine) -> None:
    document = """
apt_mirror: http://m/d
apt_preserve_sources_list: false
apt_proxy: http://p:1
apt_sources: [{source: deb $MIRROR $RELEASE main}, {source: deb x y z, filename: o.list}]
"""
    report = apt.apply("apt", document)

    assert bad(report) == []
    assert {result for result, _ in said(report)} == {"notice"}
    assert "deb http://m/d bookworm main\n" in apt.guest.text(LIST)
    assert apt.guest.text(f"{PARTS}/cloud_config_sources.list") == "deb http://m/d bookworm main\n"
    assert apt.guest.text(f"{PARTS}/o.list") == "deb x y z\n"


def test_mirrors_may_be_kept_in_files_of_their_own(apt: Machine) -> None:
    apt.apply("apt", "apt: {preserve_sources_list: false, generate_mirrorlists: true}")

    assert apt.guest.text("/etc/apt/mirrors/debian.list") == "https://deb.debian.org/debian\n"
    assert apt.guest.read(LIST) == IMAGE


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ("{sources: [a]}", "apt.sources"),
        ("{sources: {a: deb x}}", "apt.sources.a"),
        ("{sources: {a: {source: deb x y z, filename: ../x}}}", "apt.sources.a.filename"),
        ("{sources: {../a: {source: deb x y z}}}", "apt.sources.../a"),
        ("{sources: {a: {keyid: nobody}}}", "apt.sources.a.keyid"),
        ("{sources: {a: {key: no key}}}", "apt.sources.a"),
        ("{sources: {a: {source: 'deb [signed-by=$KEY_FILE] x y z'}}}", "apt.sources.a"),
        ("{proxy: 'http://p\"; evil'}", "apt.proxy"),
        ("{preserve_sources_list: maybe}", "apt.preserve_sources_list"),
        ("{primary: [{arches: [default], uri: nowhere}]}", "apt.primary[0].uri"),
        ("{add_apt_repo_match: '('}", "apt.add_apt_repo_match"),
        ("{disable_suites: {a: b}, preserve_sources_list: 1}", "apt.preserve_sources_list"),
    ],
)
def test_what_is_wrong_is_named_and_writes_nothing(apt: Machine, settings: str, place: str) -> None:
    before = apt.tree()

    report = apt.apply("apt", f"apt: {settings}")

    assert bad(report) == [("refused", place)]
    assert apt.tree() == before


def test_a_list_that_stays_although_another_was_given_is_said(apt: Machine) -> None:
    report = apt.apply("apt", "apt: {sources_list: deb a b c}")

    assert bad(report) == [("warning", "apt.sources_list")]
    assert apt.guest.read(LIST) == IMAGE


def test_a_machine_without_apt_says_so(machine: Machine) -> None:
    with pytest.raises(ConfigError, match="no apt"):
        machine.apply("apt", "apt: {}")
