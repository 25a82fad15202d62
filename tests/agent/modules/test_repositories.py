"""Repositories of rpm systems and Alpine: by what is written."""

from __future__ import annotations

import pytest

from .machine import Machine, bad, said

FAMILIES = {
    "yum_repos": b"ID=openEuler\n",
    "zypper": b"ID=opensuse-leap\n",
    "apk_repos": b"ID=alpine\n",
}


def of_its_family(machine: Machine, module: str) -> Machine:
    machine.guest.write("/etc/os-release", FAMILIES[module])
    return machine


@pytest.mark.parametrize(
    ("module", "document", "path", "expected"),
    [
        (
            "yum_repos",
            """
yum_repos:
  epel testing:
    name: Extra Packages
    baseurl: http://example.com/$basearch/
    enabled: false
    gpgcheck: true
    Fail-over: [a, b]
    priority: 5
""",
            "/etc/yum.repos.d/epel-testing.repo",
            "[epel-testing]\nname = Extra Packages\nbaseurl = http://example.com/$basearch/\n"
            "enabled = 0\ngpgcheck = 1\nfail_over = a\n    b\npriority = 5\n",
        ),
        (
            "yum_repos",
            "{yum_repo_dir: /opt/repos/, yum_repos: {a: {mirrorlist: 'http://x/'}}}",
            "/opt/repos/a.repo",
            "[a]\nmirrorlist = http://x/\nname = a\n",
        ),
        (
            "zypper",
            "zypper: {repos: [{id: os s, name: OSS, baseurl: 'http://x/', autorefresh: false}]}",
            "/etc/zypp/repos.d/os_s.repo",
            "[os_s]\nname = OSS\nbaseurl = http://x/\nautorefresh = 0\nenabled = 1\n",
        ),
        (
            "zypper",
            """
zypper:
  config: {reposdir: /etc/zypp/my.d, download.use_deltarpm: true}
  repos: [{id: a, baseurl: 'http://x/', enabled: 0}]
""",
            "/etc/zypp/my.d/a.repo",
            "[a]\nbaseurl = http://x/\nenabled = 0\nautorefresh = 1\n",
        ),
        (
            "zypper",
            "zypper: {config: {download.use_deltarpm: true, commit: x}}",
            "/etc/zypp/zypp.conf",
            "[main]\ndownload.use_deltarpm = 1\ncommit = x\n",
        ),
        (
            "apk_repos",
            """
apk_repos:
  local_repo_base_url: https://local/x/
  alpine_repo:
    {version: v3.20, base_url: 'https://m/alpine', community_enabled: true, testing_enabled: true}
""",
            "/etc/apk/repositories",
            "https://m/alpine/v3.20/main\nhttps://m/alpine/v3.20/community\n"
            "https://m/alpine/edge/testing\nhttps://local/x/v3.20\n",
        ),
        (
            "apk_repos",
            "apk_repos: {alpine_repo: {version: 3.2}}",
            "/etc/apk/repositories",
            "https://dl-cdn.alpinelinux.org/alpine/v3.2/main\n",
        ),
    ],
)
def test_a_repository(
    machine: Machine, module: str, document: str, path: str, expected: str
) -> None:
    of_its_family(machine, module)

    report = machine.apply(module, document)

    assert bad(report) == []
    assert machine.guest.text(path) == expected


@pytest.mark.parametrize(
    ("module", "document", "place"),
    [
        ("yum_repos", "yum_repos: [a]", "yum_repos"),
        ("yum_repos", "yum_repos: {a: http}", "yum_repos.a"),
        ("yum_repos", "yum_repos: {a: {name: x}}", "yum_repos.a"),
        ("yum_repos", "yum_repos: {../a: {baseurl: x}}", "yum_repos.../a"),
        ("yum_repos", 'yum_repos: {a: {baseurl: "x\\n[b]"}}', "yum_repos.a"),
        ("yum_repos", "yum_repos: {a: {baseurl: {b: c}}}", "yum_repos.a"),
        ("yum_repos", "yum_repos: {a: {baseurl: x, '[': y}}", "yum_repos.a"),
        ("yum_repos", "{yum_repo_dir: here}", "yum_repo_dir"),
        ("zypper", "zypper: {repos: {a: b}}", "zypper.repos"),
        ("zypper", "zypper: {repos: [{id: a}]}", "zypper.repos[0]"),
        ("zypper", "zypper: {config: [a]}", "zypper.config"),
        ("apk_repos", "apk_repos: {alpine_repo: {}}", "apk_repos.alpine_repo"),
        ("apk_repos", "apk_repos: {alpine_repo: {version: new}}", "apk_repos.alpine_repo.version"),
        (
            "apk_repos",
            "apk_repos: {alpine_repo: {version: edge, base_url: a b}}",
            "apk_repos.alpine_repo.base_url",
        ),
    ],
)
def test_what_is_wrong_is_named_and_writes_nothing(
    machine: Machine, module: str, document: str, place: str
) -> None:
    of_its_family(machine, module)
    before = machine.tree()

    report = machine.apply(module, document)

    assert place in [where for result, where in bad(report) if result == "refused"]
    assert machine.tree() == before


def test_a_repository_that_is_there_stays(machine: Machine) -> None:
    of_its_family(machine, "yum_repos")
    machine.guest.write("/etc/yum.repos.d/a.repo", b"theirs")

    report = machine.apply("yum_repos", "yum_repos: {a: {baseurl: 'http://x/'}}")

    assert said(report) == [("notice", "yum_repos.a")]
    assert machine.guest.text("/etc/yum.repos.d/a.repo") == "theirs"


@pytest.mark.parametrize(
    ("module", "document"),
    [
        ("yum_repos", "yum_repos: {a: {baseurl: 'http://x/'}}"),
        ("zypper", "zypper: {repos: [{id: a, baseurl: 'http://x/'}]}"),
        ("apk_repos", "apk_repos: {alpine_repo: {version: edge}}"),
    ],
)
def test_a_machine_of_another_family_leaves_it_and_says_so(
    machine: Machine, module: str, document: str
) -> None:
    before = machine.tree()

    assert bad(machine.apply(module, document)) == [("not run", module)]
    assert machine.tree() == before
