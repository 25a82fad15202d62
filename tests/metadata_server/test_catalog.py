"""Which instance a request is answered for, and when an instance counts as changed."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest

from metadata_server.catalog import Catalog
from metadata_server.errors import ConfigError
from metadata_server.instance import Identify, Instance, Nic


def instance(
    name: str, *addresses: str, interface: str | None = None, default: bool = False, nic: str = ""
) -> Instance:
    nics: tuple[Nic, ...] = ()
    if nic:
        address = ip_address(nic)
        plain = Nic(mac="fa:16:3e:00:00:01", id="tap", vif_id="v", network_id="n")
        if isinstance(address, IPv4Address):
            nics = (replace(plain, ipv4=address),)
        else:
            nics = (replace(plain, ipv6=address),)
    identify = Identify(tuple(map(ip_address, addresses)), interface, default)
    return Instance(id=name, name=name, hostname=name, project_id="p", nics=nics, identify=identify)


CATALOG = Catalog(
    [
        instance("nic", nic="10.0.0.1"),
        instance("nic6", nic="fd00::1"),
        instance("named", "10.0.0.2", "10.0.0.3", nic="10.0.0.99"),
        instance("tap", interface="tap0", nic="10.0.0.50"),
        instance("there", "10.0.0.9", interface="br0"),
        instance("elsewhere", "10.0.0.9", interface="br1"),
        instance("mapped", "::ffff:10.0.0.4"),
    ]
)


@pytest.mark.parametrize(
    ("address", "interface", "known"),
    [
        ("10.0.0.1", None, "nic"),
        ("10.0.0.1", "br7", "nic"),
        ("::ffff:10.0.0.1", None, "nic"),
        ("fd00::1", None, "nic6"),
        ("fd00:0::0001", None, "nic6"),
        ("10.0.0.3", None, "named"),
        ("10.0.0.99", None, None),
        ("10.0.0.4", None, "mapped"),
        ("172.16.0.1", "tap0", "tap"),
        ("fe80::1%tap0", "tap0", "tap"),
        ("10.0.0.50", None, None),
        ("10.0.0.9", "br0", "there"),
        ("10.0.0.9", "br1", "elsewhere"),
        ("10.0.0.9", None, None),
        ("10.0.0.8", "br0", None),
        ("10.0.0.200", None, None),
        ("", None, None),
    ],
)
def test_a_guest_is_known_by_where_it_comes_from(
    address: str, interface: str | None, known: str | None
) -> None:
    found = CATALOG.at(address, interface)

    assert (found and found.id) == known


def test_the_default_instance_answers_whom_nothing_else_identifies() -> None:
    catalog = Catalog([instance("any", default=True), instance("one", "10.0.0.1")])

    assert [catalog.at(address).id for address in ("10.0.0.1", "10.0.0.2", "fd00::9")] == [  # type: ignore[union-attr]  # there is a default
        "one",
        "any",
        "any",
    ]


@pytest.mark.parametrize(
    ("others", "problem"),
    [
        ([instance("a", "10.0.0.9")], "instance a: there are two with this id"),
        ([instance("b", "10.0.0.1")], "instance b: 10.0.0.1 already identifies instance a"),
        ([instance("b", "::ffff:10.0.0.1")], "instance b: 10.0.0.1 already identifies instance a"),
        (
            [instance("b", default=True), instance("c", default=True)],
            "instance c: any guest already identifies instance b",
        ),
        (
            [instance("b", interface="br0"), instance("c", interface="br0")],
            "instance c: interface br0 already identifies instance b",
        ),
    ],
)
def test_instances_that_cannot_be_told_apart_are_refused(
    others: list[Instance], problem: str
) -> None:
    catalog = Catalog([instance("old", "10.0.0.7")])

    with pytest.raises(ConfigError) as refused:
        catalog.replace_base([instance("a", "10.0.0.1"), *others])

    assert refused.value.problems == (problem,)
    assert [each.id for each in catalog.all()] == ["old"]


def test_only_a_change_gives_a_new_revision() -> None:
    one, two = instance("one", "10.0.0.1"), instance("two", "10.0.0.2")
    catalog = Catalog([one, two])
    before = catalog.revision("one"), catalog.revision("two")

    catalog.replace_base([instance("one", "10.0.0.1"), replace(two, flavor="large")])

    assert catalog.revision("one") == before[0]
    assert catalog.revision("two") not in before
    assert catalog.by_id("two").flavor == "large"  # type: ignore[union-attr]  # just put there


def test_an_instance_that_comes_back_has_a_revision_of_its_own() -> None:
    one = instance("one", "10.0.0.1")
    catalog = Catalog([one])
    before = catalog.revision("one")

    catalog.replace_base([])
    gone = catalog.revision("one")
    catalog.replace_base([one])

    assert gone == 0
    assert catalog.revision("one") > before
    assert catalog.at("10.0.0.1") is one


def test_many_instances_are_looked_up_as_fast_as_few() -> None:
    many = [instance(f"i{n}", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(10_000)]
    catalog = Catalog(many)

    assert catalog.at("10.0.39.15") is many[9999]
    assert catalog.by_id("i5000") is many[5000]
