"""phone_home: what is told, and to whom; the wire is in test_in_a_guest."""

from __future__ import annotations

import pytest

from agent.host import Host
from agent.modules.base import Context
from agent.modules.phone_home import FIELDS, values
from agent.plan import Plan
from agent.report import Report

from .machine import INSTANCE, SCRIPTS, Machine, bad

RSA = "/etc/ssh/ssh_host_rsa_key.pub"


def told(machine: Machine, fields: tuple[str, ...], **config: str) -> dict[str, str]:
    host = Host(machine.guest.root)
    return values(fields, Context(host, INSTANCE, Report(), config, "debian", SCRIPTS))


def test_all_that_can_be_told(machine: Machine) -> None:
    machine.guest.write(RSA, b"ssh-rsa AAAA root@x\n")

    assert told(machine, FIELDS) == {
        "pub_key_rsa": "ssh-rsa AAAA root@x",
        "pub_key_ecdsa": "N/A",
        "pub_key_ed25519": "N/A",
        "instance_id": "i-1",
        "hostname": "ecs-ddd4",
        "fqdn": "ecs-ddd4.novalocal",
    }


def test_no_more_is_told_than_was_asked_for(machine: Machine) -> None:
    machine.guest.write(RSA, b"ssh-rsa AAAA root@x\n")

    assert told(machine, ("hostname", "pub_key_dsa"), hostname="web-1") == {
        "hostname": "web-1",
        "pub_key_dsa": "N/A",
    }


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://example.com/$INSTANCE_ID/", "http://example.com/i-1/"),
        ("https://me:word@example.com:8443/x?token=abc", "https://example.com:8443/x"),
    ],
)
def test_a_plan_says_who_is_told_and_sends_nothing(machine: Machine, url: str, shown: str) -> None:
    effects = machine.plan("phone_home", f"phone_home: {{url: '{url}', post: [fqdn]}}")

    assert effects == [f"post {shown} 23 bytes"]


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ("{post: all}", "phone_home"),
        ("{url: ftp://example.com/}", "phone_home.url"),
        ("{url: 'http://a b/'}", "phone_home.url"),
        ("{url: file:///etc/shadow}", "phone_home.url"),
        ("{url: 'http://a/', post: [passwords]}", "phone_home.post"),
        ("{url: 'http://a/', post: hostname}", "phone_home.post"),
        ("{url: 'http://a/', tries: 0}", "phone_home.tries"),
        ("{url: 'http://a/', tries: often}", "phone_home.tries"),
        ("http://a/", "phone_home"),
    ],
)
def test_what_is_wrong_tells_nobody(machine: Machine, settings: str, place: str) -> None:
    host = Plan(Host(machine.guest.root))

    report = machine.apply("phone_home", f"phone_home: {settings}", host)

    assert host.effects == []
    assert bad(report) == [("refused", place)]
