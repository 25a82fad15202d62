"""What holds for every module: its row in NAMES, twice is once, a plan changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.modules import NAMES, NICHE, NOT_MODULES, Name, load_module
from agent.modules.base import Frequency, Stage, UserScript
from agent.schema import keys
from agent.secret import Secret
from agent.version import VERSION

from .machine import KEY, Machine

DOCUMENTS = {
    "random_seed": "random_seed: {file: /var/seed, data: secret}",
    "growpart": "{growpart: {mode: auto}, resize_rootfs: noblock}",
    "disk_setup": """
device_aliases: {data: /dev/vdb}
disk_setup: {data: {layout: [50, 50]}}
fs_setup: [{device: data.1, filesystem: ext4}]
""",
    "apt": """
apt:
  preserve_sources_list: false
  sources: {a: {source: deb http://x/ y z}}
  proxy: http://me:secret@p
  debconf_selections: {a: p p/q password secret}
""",
    "resolv_conf": "{manage_resolv_conf: true, resolv_conf: {nameservers: [10.0.0.2]}}",
    "rsyslog": "rsyslog: {configs: ['*.* @192.0.2.1'], remotes: {a: '@@192.0.2.2:514'}}",
    "ssh_import_id": "ssh_import_id: ['!']",
    "keyboard": "keyboard: {layout: de, variant: nodeadkeys}",
    "yum_repos": "yum_repos: {a: {baseurl: 'http://x/'}}",
    "zypper": "zypper: {repos: [{id: a, baseurl: 'http://x/'}], config: {a.b: true}}",
    "apk_repos": "apk_repos: {alpine_repo: {version: v3.20}}",
    "console_keys": "authkey_hash: sha512",
    "phone_home": "phone_home: {url: 'http://127.0.0.1:9/'}",
    "post_password": "post_password: {user: root}",
    "power_state": "power_state: {mode: reboot}",
    "bootcmd": "bootcmd: ['echo hello', [touch, /tmp/x]]",
    "write_files": "write_files: [{path: /etc/a/b, content: hello, permissions: '0600'}]",
    "hostname": "hostname: web-1",
    "hosts": "manage_etc_hosts: true",
    "ca_certs": """
ca_certs: {trusted: ["-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----"]}
""",
    "locale": "locale: C.UTF-8",
    "mounts": "mounts: [[tmpfs, /mnt/a, tmpfs]]",
    "ntp": "ntp: {enabled: false}",
    "users_groups": f"""
groups: [admins, {{staff: [alice, root]}}]
users:
  - default
  - {{name: alice, gecos: Alice, groups: 'adm, cdrom', sudo: 'ALL=(ALL) ALL',
     doas: permit nopass alice, passwd: '$6$salt$hash', ssh_authorized_keys: ['{KEY} a']}}
""",
    "ssh": f"ssh_authorized_keys: ['{KEY} a']",
    "set_passwords": """
password: secret
ssh_pwauth: true
chpasswd: {users: [{name: root, password: '$6$salt$hash'}]}
""",
    "timezone": "timezone: Europe/Berlin",
    "packages": "package_update: false",
    "write_files_deferred": "write_files: [{path: /etc/c, content: hello, defer: true}]",
    "injected_files": "",
    "scripts": "",
    "runcmd": "runcmd: ['echo hello']",
    "scripts_late": "",
    "final_message": "final_message: 'up $UPTIME'",
}
# Before its turn, these need users of their own.
USERS_FIRST = "users: [default]"


@pytest.fixture
def ready(machine: Machine) -> Machine:
    machine.apply("users_groups", USERS_FIRST)
    for program in ("dnf", "zypper", "apk"):
        machine.guest.write(f"/usr/bin/{program}", b"", mode=0o755)
    machine.guest.write("/etc/apt/sources.list", b"deb http://x/ y z\n")
    machine.user_scripts = [UserScript("part-001", "part-001", Secret(b"#!/bin/sh\n"))]
    return machine


@pytest.mark.parametrize("row", NAMES, ids=lambda row: row.name)
def test_the_row_of_a_module_says_what_the_module_says(row: Name) -> None:
    module = load_module(row.name)

    assert module.name == row.name
    assert module.stage is row.stage
    assert keys(module.schema) == row.keys
    assert module.needs_section is not row.always
    assert row.again is (module.frequency is not Frequency.INSTANCE or module.at_most_once)


def test_modules_stand_in_the_order_of_stages_and_no_key_is_claimed_twice() -> None:
    order = list(Stage)
    claimed = {key for row in NAMES for key in row.keys}

    assert [row.stage for row in NAMES] == sorted((row.stage for row in NAMES), key=order.index)
    assert not claimed & (NICHE | NOT_MODULES)


@pytest.mark.parametrize("name", [row.name for row in NAMES])
def test_twice_is_once(ready: Machine, name: str) -> None:
    ready.apply(name, DOCUMENTS[name])
    before = ready.tree()

    ready.apply(name, DOCUMENTS[name])

    assert ready.tree() == before


@pytest.mark.parametrize("name", [row.name for row in NAMES])
def test_a_plan_changes_nothing(ready: Machine, name: str) -> None:
    before = ready.tree()

    effects = ready.plan(name, DOCUMENTS[name])

    assert ready.tree() == before
    assert "secret" not in "\n".join(effects)
    assert "$6$" not in "\n".join(effects)


def test_the_version_is_that_of_the_package() -> None:
    checkout = Path(__file__).resolve().parents[3]

    assert f'version = "{VERSION}"' in (checkout / "pyproject.toml").read_text().splitlines()
