"""What a configuration becomes, and what is said about the mistakes in it."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metadata_server.config import ServerConfig, json_schema, load, unheard
from metadata_server.errors import ConfigError
from metadata_server.example import EXAMPLE_ID, example_instance
from metadata_server.instance import Instance, Key

_BLOB = (b"ssh-rsa", b"\1\0\1", b"\0\xff" + bytes(126) + b"\1")
_PACKED = b"".join(len(part).to_bytes(4, "big") + part for part in _BLOB)
RSA = f"ssh-rsa {base64.b64encode(_PACKED).decode()} me"
HASH = "$6$saltsalt$" + "a" * 86

INSTANCE_KEYS = sorted(json_schema()["properties"]["instances"]["items"]["properties"])

WHOLE = f"""\
listen: ["169.254.169.254:80", "[fd00:ec2::254]:80", "169.254.169.254%br0:80"]
control: {{listen: "127.0.0.1:8774", tokens_file: tokens, access_keys_file: keys}}
state: /var/lib/linklocal
proxy: {{shared_secret_file: proxy, trusted: [10.0.0.5]}}
instances_dir: instances.d
workers: 2
hosts: [metadata.example]
limits: {{user_data: 40000, rate: 100}}
vendordata_dynamic: {{join: "https://vendor.example/join"}}
metrics: false
log: {{level: debug, access: true}}
instances:
  - id: ca9e8b7c-f2be-4b6d-a639-f10b4d994d04
    name: ecs-ddd4
    hostname: ecs-ddd4.novalocal
    project_id: 6e8b0c94265645f39c5abbe63c4113c6
    enterprise_project_id: "0"
    region: cn-north-4
    availability_zone: cn-north-4a
    flavor: s3.medium.2
    image: {{id: 3a64bd37-955e-40cd-ab9e-129db56bc05d, name: "CentOS 7.6 64bit"}}
    vpc_id: 3b6c201f-aeb3-4bce-b841-64756e66cb49
    os_type: Linux
    launch_index: 0
    meta: {{charging_mode: "0"}}
    keys: [{{name: mykey, public_key: "{RSA}"}}]
    security_groups: [default]
    user_data: "#cloud-config\\n"
    vendor_data: {{cloud-init: "#cloud-config\\n"}}
    vendor_data2: {{}}
    nics:
      - {{mac: "fa:16:3e:f7:c1:47", ipv4: 192.168.1.10, prefix: 24, gateway: 192.168.1.1,
         public_ipv4: 100.100.1.2, dhcp: true, mtu: 1500}}
      - {{id: nic1, vif_id: v1, type: ovs, network_id: n1, ipv6: "fd00::10", ipv6_prefix: 64,
         gateway6: "fd00::1", routes: [{{network: 10.0.0.0/8, gateway: 192.168.1.9}}],
         addresses: [192.168.1.11/24], mac: 52-54-00-12-34-56}}
      - {{id: bond0, bond: {{mode: 802.3ad, links: [nic1]}}}}
      - {{id: vlan7, vlan: {{id: 7, link: bond0}}}}
    dns: [100.125.21.250]
    qos: {{min: 100, max: 500}}
    tags: {{Name: ecs-ddd4}}
    agency: {{name: my-agency}}
    metadata_options: {{http_endpoint: enabled, http_tokens: optional, hop_limit: 1}}
    identify: {{addresses: [192.168.1.10], interface: br0, default: false}}
    reset_password: {{legacy: false, proof: low-port, hop_limit: 1,
                      identity: "sha256:{"0" * 64}"}}
    extra: {{"latest/meta-data/rack": "r12"}}
    files: [{{path: /etc/motd, content: "Welcome\\n"}}]
    devices: [{{type: nic, bus: pci, address: "0000:00:02.0", tags: [trunk]}}]
    block_devices: {{ami: vda, root: /dev/vda, ebs0: /dev/vdb}}
    ec2_ids: {{instance-id: i-0123}}
    login_mode: keypair
    spot: {{price: "0.05"}}
"""


def secret_file(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    secret_file(tmp_path / "tokens", "# operators\n0123456789abcdef\n\nfedcba9876543210\n")
    secret_file(tmp_path / "keys", "AK:SK\n")
    secret_file(tmp_path / "proxy", "shared\n")
    (tmp_path / "instances.d").mkdir()
    (tmp_path / "instances.d/one.yaml").write_text("id: one\nidentify: {addresses: [10.1.0.1]}\n")
    (tmp_path / "instances.d/two.json").write_text('[{"id": "two"}, {"id": "three"}]')
    (tmp_path / "instances.d/notes.txt").write_text("not read")
    path = tmp_path / "server.yaml"
    path.write_text(WHOLE)
    return path


def problems_of(path: Path, *instance_files: Path) -> list[str]:
    """Return what is said about *path*, without the folder."""
    with pytest.raises(ConfigError) as refused:
        load(path, instance_files)
    return [line.replace(f"{path.parent}/", "") for line in refused.value.problems]


def instances(tmp_path: Path, text: str) -> tuple[Instance, ...]:
    path = tmp_path / "server.yaml"
    path.write_text(text)
    return load(path).instances


def test_every_key_is_read_into_its_type(whole: Path) -> None:
    config = load(whole)

    one = config.instances[0]
    assert [str(listen) for listen in config.listen] == [
        "169.254.169.254:80",
        "[fd00:ec2::254]:80",
        "169.254.169.254%br0:80",
    ]
    assert [token.reveal() for token in config.control.tokens_file] == [
        b"0123456789abcdef",
        b"fedcba9876543210",
    ]
    assert config.control.access_keys_file["AK"].reveal() == b"SK"
    assert config.proxy is not None
    assert config.proxy.shared_secret_file.reveal() == b"shared"
    assert config.limits.user_data == 40000
    assert [each.id for each in config.instances] == [EXAMPLE_ID, "one", "two", "three"]
    assert one.keys == (Key("mykey", RSA),)
    assert one.user_data is not None
    assert one.user_data.reveal() == b"#cloud-config\n"
    assert one.vendor_data == {"cloud-init": "#cloud-config\n"}
    assert one.nics[0].ipv4 == ip_address("192.168.1.10")
    assert one.nics[1].mac == "52:54:00:12:34:56"
    assert one.nics[2].bond == {"mode": "802.3ad", "links": ("nic1",)}
    assert one.nics[3].vlan == {"id": 7, "link": "bond0"}
    assert one.devices[0]["tags"] == ("trunk",)
    assert one.files[0].content.reveal() == b"Welcome\n"
    assert one.extra == {"latest/meta-data/rack": "r12"}
    assert one.ec2_ids == {"instance-id": "i-0123"}


def test_json_is_read_as_yaml_is(whole: Path) -> None:
    as_json = whole.with_name("server.json")
    as_json.write_text(json.dumps(yaml.safe_load(WHOLE)))

    assert load(as_json) == load(whole)


def test_what_is_not_said_follows_from_the_instance(tmp_path: Path) -> None:
    text = """
instances:
  - id: ca9e8b7c-f2be-4b6d-a639-f10b4d994d04
    name: web_01.shop
    vpc_id: v
    image: {id: img, name: Debian}
    meta: {os_bit: "32", mine: 1}
    nics: [{ipv4: 10.0.0.1}, {ipv4: 10.0.1.1}]
  - {id: i2, vpc_id: v, os_type: Windows, nics: [{ipv4: 10.0.0.2}]}
"""

    one, two = instances(tmp_path, text)

    assert one.hostname == "web-01.novalocal"
    assert dict(one.meta) == {
        "image_name": "Debian",
        "metering.image_id": "img",
        "metering.imagetype": "gold",
        "metering.cloudServiceType": "hws.service.type.ec2",
        "metering.resourcetype": "1",
        "metering.resourcespeccode": "s3.medium.2.linux",
        "os_bit": "32",
        "os_type": "Linux",
        "vpc_id": "v",
        "mine": "1",
    }
    assert two.name == "ecs-i2"
    assert two.meta["metering.resourcespeccode"] == "s3.medium.2.win"
    assert two.project_id == one.project_id
    assert one.nics[0].network_id == two.nics[0].network_id
    assert one.nics[0].network_id != one.nics[1].network_id
    assert one.nics[0].id == f"tap{one.nics[0].vif_id[:11]}"
    assert len({nic.mac for nic in one.nics + two.nics}) == 3
    assert instances(tmp_path, text) == (one, two)


@pytest.mark.parametrize(
    ("key", "read"),
    [
        ("name: 1234", "1234"),
        ("name: yes", "yes"),
        ("name: 1e3", "1e3"),
        ("name: 2024-01-02", "2024-01-02"),
        ("name: 测试", "测试"),
    ],
)
def test_a_name_is_what_is_written(tmp_path: Path, key: str, read: str) -> None:
    (one,) = instances(tmp_path, f"instances: [{{id: i, {key}}}]")

    assert one.name == read


def test_anchors_and_merges_share_what_instances_have_in_common(tmp_path: Path) -> None:
    text = """
instances:
  - &base {id: a, flavor: large, region: r}
  - {<<: *base, id: b, flavor: small}
"""

    one, two = instances(tmp_path, text)

    assert (one.flavor, two.id, two.flavor, two.region) == ("large", "b", "small", "r")


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ('user_data: "#!/bin/sh\\n"', b"#!/bin/sh\n"),
        ("user_data_file: script", b"\xff\x00#!"),
        ("user_data_base64: IyEvYmluL3No", b"#!/bin/sh"),
        ("user_data: ''", None),
        ("user_data:", None),
    ],
)
def test_user_data_has_three_forms(tmp_path: Path, form: str, content: bytes | None) -> None:
    (tmp_path / "script").write_bytes(b"\xff\x00#!")

    (one,) = instances(tmp_path, f"instances:\n  - id: i\n    {form}\n")

    assert (one.user_data and one.user_data.reveal()) == content


def test_user_data_may_be_just_as_large_as_the_limit(tmp_path: Path) -> None:
    (tmp_path / "script").write_bytes(bytes(32 * 1024))

    (one,) = instances(tmp_path, "instances: [{id: i, user_data_file: script}]")

    assert len(one.user_data or b"") == 32 * 1024


def test_five_mistakes_are_five_places(tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.write_text(
        """\
listen: ["169.254.169.254:80", "metadata:http"]
wrokers: 2
instances:
  - id: one
    os_type: Linus
    nics:
      - mac: fa:16:3e
  - name: no-id
"""
    )

    assert problems_of(path) == [
        "server.yaml:1: listen[1]: expected ADDRESS:PORT, [IPV6]:PORT or ADDRESS%INTERFACE:PORT"
        " with a literal address, got 'metadata:http'",
        "server.yaml:2: unknown key 'wrokers', nearest is 'workers'",
        "server.yaml:5: instances[0].os_type: expected Linux or Windows, got 'Linus'",
        "server.yaml:7: instances[0].nics[0].mac: expected the MAC address of one interface such as"
        " fa:16:3e:f7:c1:47, got 'fa:16:3e'",
        "server.yaml:8: instances[1]: missing key 'id', expected id of the instance,"
        " usually a UUID",
    ]


TWO = "instances:\n  - {id: a, nics: [{mac: 'fa:16:3e:00:00:01', ipv4: 10.0.0.1}]}\n  - "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n", "1: expected a table, got a list"),
        ("workers: 0\n", "1: workers: expected a whole number from 1 to 64, got '0'"),
        ("workers: 1.5\n", "1: workers: expected a whole number from 1 to 64, got '1.5'"),
        ("workers: 1:30\n", "1: workers: expected a whole number from 1 to 64, got '1:30'"),
        ("workers: two\n", "1: workers: expected a whole number from 1 to 64, got 'two'"),
        ("workers: 1\nworkers: 2\n", "2: workers: expected each key once, got it again"),
        ("metrics: 1\n", "1: metrics: expected true or false, got '1'"),
        ("listen: 127.0.0.1:80\n", "1: listen: expected a list, got '127.0.0.1:80'"),
        ('listen: ["::1:80"]\n', "1: listen[0]: expected ADDRESS:PORT"),
        ('listen: ["127.0.0.1:99999"]\n', "1: listen[0]: expected ADDRESS:PORT"),
        ('listen: ["127.0.0.1:80", "127.0.0.1:80"]\n', "1: listen[1]: expected each value once"),
        ("control: {listen: '0.0.0.0:8774'}\n", "1: control.listen: 0.0.0.0:8774 would carry pass"),
        ("control: {tokens_file: none}\n", "1: control.tokens_file: none: No such file or dir"),
        ("control: {tokens_file: open}\n", "1: control.tokens_file: open: others can read it"),
        ("control: {tokens_file: short}\n", "1: control.tokens_file: short:1: expected a token of"),
        ("control: {access_keys_file: open}\n", "1: control.access_keys_file: open: others can"),
        (
            "control: {access_keys_file: short}\n",
            "1: control.access_keys_file: short:1: expected A",
        ),
        ("control: {tokens_file: fifo}\n", "1: control.tokens_file: fifo: expected a file"),
        (
            "proxy: {shared_secret_file: open, trusted: [x]}\n",
            "1: proxy.shared_secret_file: open: others can read it (mode 0644), expected 0600",
        ),
        ("proxy: {trusted: []}\n", "1: proxy: missing key 'shared_secret_file'"),
        ("instances_dir: none\n", "1: instances_dir: none: No such file or directory"),
        ("tls: {certificate: short, key: short}\n", "1: tls: expected a PEM certificate and its"),
        ("tls: {certificate: open, key: open}\n", "1: tls.key: open: others can read it"),
        ("log: {level: loud}\n", "1: log.level: expected debug or info or warning or error"),
        ("vendordata_dynamic: {a: 'ftp://x'}\n", "1: vendordata_dynamic.a: expected a URL"),
        ("limits: {user_data: 0}\n", "1: limits.user_data: expected a whole number from 1"),
        ("instances: [[]]\n", "1: instances[0]: expected a table, got a list"),
        ("instances: [{id: 'a b'}]\n", "1: instances[0].id: expected up to 64 letters"),
        ("instances: [{id: [a]}]\n", "1: instances[0].id: expected up to 64 letters, digits"),
        ("instances: [{id: a, name: 'a b'}]\n", "1: instances[0].name: expected up to 64 letters"),
        ("instances: [{id: a, hostname: a_b}]\n", "1: instances[0].hostname: expected a host name"),
        (
            "instances: [{id: a, hostname: a-.b}]\n",
            "1: instances[0].hostname: expected a host name",
        ),
        (
            "instances: [{id: a, keys: [{name: a/b, public_key: ssh-rsa x}]}]\n",
            "1: instances[0].keys[0].name: expected one line of text without a slash, got 'a/b'",
        ),
        (
            "instances: [{id: a, keys: [{name: k, public_key: ssh-rsa AAAA}]}]\n",
            "1: instances[0].keys[0].public_key: expected a whole ssh-rsa key",
        ),
        (
            "instances: [{id: a, keys: [{name: k, public_key: AAAA}]}]\n",
            "1: instances[0].keys[0].public_key: expected an OpenSSH public key",
        ),
        ("instances: [{id: a, dns: [localhost]}]\n", "1: instances[0].dns[0]: expected an IPv4 or"),
        (
            "instances: [{id: a, nics: [{ipv4: 0.0.0.0}]}]\n",
            "1: instances[0].nics[0].ipv4: expected an IPv4 address",
        ),
        (
            "instances: [{id: a, nics: [{ipv4: 'fd00::1'}]}]\n",
            "1: instances[0].nics[0].ipv4: expected an IPv4 address",
        ),
        (
            "instances: [{id: a, nics: [{mac: '01:00:5e:00:00:01'}]}]\n",
            "1: instances[0].nics[0].mac: expected the MAC address of one interface",
        ),
        (
            "instances: [{id: a, nics: [{prefix: 24}]}]\n",
            "1: instances[0].nics[0].prefix: expected ipv4 beside it",
        ),
        (
            "instances: [{id: a, nics: [{routes: [{network: 10.0.0.1/8, gateway: 10.0.0.2}]}]}]\n",
            "1: instances[0].nics[0].routes[0].network: expected a network with prefix length",
        ),
        (
            "instances: [{id: a, nics: [{routes: [{network: 10.0.0.0/8, gateway: '::1'}]}]}]\n",
            "1: instances[0].nics[0].routes[0]: expected network and gateway of one address family",
        ),
        (
            "instances: [{id: a, nics: [{id: x, vlan: {id: 1, link: y}}]}]\n",
            "1: instances[0].nics[0]: expected the id of another nic, got 'y'",
        ),
        ("instances: [{id: a, nics: [{id: x}, {id: x}]}]\n", "1: instances[0].nics: expected each"),
        (
            "instances: [{id: a, qos: {min: 9, max: 1}}]\n",
            "1: instances[0].qos: expected min no la",
        ),
        (
            "instances: [{id: a, tags: {" + ", ".join(f"k{n}: v" for n in range(11)) + "}}]\n",
            "1: instances[0].tags: expected at most 10 entries, got 11",
        ),
        (
            "instances: [{id: a, tags: {a/b: c}}]\n",
            "1: instances[0].tags.a/b: expected at most 128",
        ),
        ("instances: [{id: a, extra: {../x: c}}]\n", "1: instances[0].extra.../x: expected a path"),
        (
            "instances: [{id: a, ec2_ids: {instance_id: i-1}}]\n",
            "1: instances[0].ec2_ids.instance_id: unknown id, nearest is 'instance-id'",
        ),
        (
            "instances: [{id: a, vendor_data: {x: .nan}}]\n",
            "1: instances[0].vendor_data.x: expected a value that JSON can carry, got '.nan'",
        ),
        (
            "instances: [{id: a, user_data: 'ü'}]\n",
            "1: instances[0].user_data: expected ASCII text",
        ),
        (
            "instances: [{id: a, user_data: !!binary AAAA}]\n",
            "1: instances[0].user_data: expected text; use the key that ends with _base64",
        ),
        (
            "instances: [{id: a, user_data_base64: '###'}]\n",
            "1: instances[0].user_data_base64: expected base64, got ***",
        ),
        (
            "instances:\n- id: a\n  user_data: x\n  user_data_file: short\n",
            "4: instances[0].user_data_file: expected only one of user_data and user_data_file",
        ),
        (
            "instances: [{id: a, user_data_file: large}]\n",
            "1: instances[0].user_data_file: expected at most 32768 bytes (limits.user_data), got",
        ),
        (
            "limits: {user_data: 4}\ninstances: [{id: a, user_data: abcde}]\n",
            "2: instances[0].user_data: expected at most 4 bytes (limits.user_data), got 5",
        ),
        (
            "instances: [{id: a, files: [{path: etc/motd, content: x}]}]\n",
            "1: instances[0].files[0].path: expected an absolute path",
        ),
        (
            "instances: [{id: a, files: [{path: /etc/motd}]}]\n",
            "1: instances[0].files[0]: expected one of content, content_file and content_base64",
        ),
        (
            "instances: [{id: a, os_type: Windows, name: sixteen-chars-xx}]\n",
            "1: instances[0].name: expected at most 15 characters for Windows",
        ),
        (
            "instances:\n- {id: a, os_type: Windows, name: W}\n"
            "- {id: b, os_type: Windows, name: w}\n",
            "3: instances[1].name: expected a name (Windows) of its own, w is taken by instance a"
            " at server.yaml:2",
        ),
        (
            "instances: [{id: a, reset_password: {proof: none}}]\n",
            "1: instances[0].reset_password.proof: expected low-port or token; none is for the bu",
        ),
        (
            "instances: [{id: a, login_mode: password, user_data: x}]\n",
            "1: instances[0].login_mode: expected keypair or later",
        ),
        (
            "instances: [{id: a, login_mode: keypair}]\n",
            "1: instances[0].login_mode: expected a key in keys",
        ),
        (
            "instances: [{id: a, login_mode: password, password_hash: $6$x$short}]\n",
            "1: instances[0].password_hash: expected a complete crypt(3) hash such as"
            " $6$…, got ***",
        ),
        (
            "instances: [{id: a, agency: {name: x, credentials_command: [issue]},"
            " identify: {default: true}}]\n",
            "1: instances[0].agency: expected no credentials_command",
        ),
        (
            TWO + "{id: a}\n",
            "3: instances[1].id: expected an id of its own, a is taken by instance",
        ),
        (
            TWO + "{id: b, nics: [{mac: 'FA-16-3E-00-00-01'}]}\n",
            "3: instances[1].nics: expected a MAC address of its own, fa:16:3e:00:00:01 is taken",
        ),
        (
            TWO + "{id: b, identify: {addresses: ['::ffff:10.0.0.1']}}\n",
            "3: instances[1].identify: expected an origin of its own, 10.0.0.1 is taken by instance"
            " a at server.yaml:2",
        ),
        ("a: [\n", "2: not YAML: "),
        ("a: *b\n", "1: no finished value is called '&b' before this"),
        ("instances: &a [*a]\n", "1: no finished value is called '&a' before this"),
        ("a: 1\n---\nb: 2\n", "2: expected one document, found a second"),
        ("? [a]\n: b\n", "1: expected text as a key"),
        ("instances: " + "[" * 100 + "]" * 100 + "\n", "1: expected at most 32 levels"),
        ("workers: 2\n# \x01\n", "2: not YAML: "),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "server.yaml"
    path.write_text(text)
    secret_file(tmp_path / "open", "0123456789abcdef\n", 0o644)
    secret_file(tmp_path / "short", "short\n")
    (tmp_path / "large").write_bytes(bytes(32 * 1024 + 1))
    os.mkfifo(tmp_path / "fifo", 0o600)

    found = problems_of(path)

    assert f"server.yaml:{expected}" in found[0], found


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}\n"])
def test_an_empty_file_is_the_defaults(tmp_path: Path, text: str) -> None:
    path = tmp_path / "server.yaml"
    path.write_text(text)

    assert load(path) == ServerConfig()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"# one\nname: \xfc\n")

    assert problems_of(latin) == ["latin.yaml:2: expected UTF-8 text"]
    assert problems_of(tmp_path / "none.yaml") == ["none.yaml: No such file or directory"]


def test_a_bomb_of_aliases_is_refused(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(levels))

    assert problems_of(path) == ["bomb.yaml:7: expected at most 2000000 values, aliases followed"]


def test_a_huge_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(10**12)

    assert problems_of(path) == [f"huge.yaml: expected at most {32 * 1024 * 1024} bytes"]


def test_no_mistake_shows_what_is_secret(tmp_path: Path) -> None:
    canary = "c4n4ry"
    path = tmp_path / "server.yaml"
    path.write_text(
        f"""\
control: {{tokens_file: tokens}}
instances:
  - id: a
    user_data: "{canary}ü"
    password_hash: "{canary}"
    files: [{{path: /a, content_base64: "{canary}!"}}]
  - id: b
    user_data_base64: "{canary}!"
"""
    )
    secret_file(tmp_path / "tokens", f"{canary}\n")

    found = problems_of(path)

    assert len(found) == 4
    assert canary not in "\n".join(found)
    assert canary not in repr(load_error(tmp_path, f'instances: ["{canary}\n  x: [\n'))


def load_error(tmp_path: Path, text: str) -> ConfigError:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(path)
    return refused.value


def keys_of(schema: Any) -> set[str]:
    found = set(schema.get("properties", {}))
    for value in schema.get("properties", {}).values():
        found |= keys_of(value) | keys_of(value.get("items", {}))
    return found


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["10.0.0.1/8", "::1", "none", "SHORT", "/", "i-1", "\x00", "a: b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(keys_of(json_schema()))), inner, max_size=5)
    ),
    max_leaves=25,
)


def said_about(path: Path) -> tuple[str, ...]:
    try:
        load(path)
    except ConfigError as error:
        return error.problems
    return ()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_in_a_file_it_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(data)

    assert all(line.startswith(f"{path}:") for line in said_about(path))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(INSTANCE_KEYS), ANYTHING, max_size=6))
def test_whatever_an_instance_is_it_is_read_or_refused(tmp_path: Path, keys: Any) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(json.dumps({"instances": [{"id": "one", **keys}]}))

    assert all(line.startswith(f"{path}:1: ") for line in said_about(path))


def test_instance_files_are_checked_with_the_others(tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.write_text("instances: [{id: a, identify: {addresses: [10.0.0.1]}}]\n")
    more = tmp_path / "vm1.yaml"
    more.write_text("- id: b\n  nics:\n  - ipv4: 10.0.0.1\n- {}\n")

    assert problems_of(path, more) == [
        "vm1.yaml:3: [0].nics: expected an origin of its own, 10.0.0.1 is taken by instance a at"
        " server.yaml:1",
        "vm1.yaml:4: [1]: missing key 'id', expected id of the instance, usually a UUID",
    ]


TWO = """\
control: {{listen: "10.0.0.1:1", colour: red}}
instances:
- id: a
  {spoilt}
  nics: [{{mac: "52:54:00:12:34:56", ipv4: 10.0.0.1}}]
- id: {second}
  nics: [{{mac: "52:54:00:12:34:56", ipv4: 10.0.0.1}}]
"""


@pytest.mark.parametrize(
    ("spoilt", "second", "lines"),
    [
        # What has nothing to do with the mistake is checked beside the others all the same.
        ("flavor: []", "a", [1, 1, 4, 6, 7, 7]),
        ("flavor: []", "b", [1, 1, 4, 7, 7]),
        ("colour: red", "a", [1, 1, 4, 6, 7]),
        # These might be what keeps the two apart.
        ("identify: {addresses: [x]}", "b", [1, 1, 4, 7]),
        ("identify: {adresses: [10.0.0.9]}", "b", [1, 1, 4, 7]),
        ("identfy: {addresses: [10.0.0.9]}", "b", [1, 1, 4, 7]),
    ],
)
def test_all_mistakes_come_at_once_and_in_order(
    tmp_path: Path, spoilt: str, second: str, lines: list[int]
) -> None:
    path = tmp_path / "server.yaml"
    path.write_text(TWO.format(spoilt=spoilt, second=second))

    assert [int(line.split(":")[1]) for line in problems_of(path)] == lines


def test_guests_are_served_at_literal_addresses_only(tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.write_text('listen: ["localhost:80"]\ncontrol: {listen: "localhost:0"}\n')

    (line,) = problems_of(path)
    assert line.startswith("server.yaml:1: listen[0]: expected ADDRESS:PORT")


@pytest.mark.parametrize(
    ("listen", "warnings"),
    [
        ("127.0.0.1:0", ["instance a: identify.interface br7: no listener is bound to it"]),
        ("127.0.0.1%br7:0", []),
    ],
)
def test_an_interface_that_nothing_listens_at_is_named(
    tmp_path: Path, listen: str, warnings: list[str]
) -> None:
    path = tmp_path / "server.yaml"
    path.write_text(f'listen: ["{listen}"]\ninstances: [{{id: a, identify: {{interface: br7}}}}]')

    assert [line.partition(";")[0] for line in unheard(load(path))] == warnings


def test_instance_files_need_no_configuration(tmp_path: Path) -> None:
    more = tmp_path / "vm1.yaml"
    more.write_text("id: b\n")

    assert [each.id for each in load(None, [more]).instances] == ["b"]


def test_the_example_answers_anyone_but_needs_proof_off_loopback() -> None:
    here, elsewhere = example_instance(loopback=True), example_instance(loopback=False)

    assert here.id == EXAMPLE_ID
    assert here.identify.default
    assert here.hostname == "ecs-ddd4.novalocal"
    assert here.meta["metering.resourcespeccode"] == "s3.medium.2.linux"
    assert (here.reset_password.proof, elsewhere.reset_password.proof) == ("none", "low-port")


def test_the_schema_and_the_model_have_the_same_keys() -> None:
    schema = json_schema()
    server = set(schema["properties"])
    instance = set(schema["properties"]["instances"]["items"]["properties"])

    assert server == {field.name for field in fields(ServerConfig)}
    assert instance - {"user_data_file", "user_data_base64"} == {
        field.name for field in fields(Instance)
    }


def test_the_schema_describes_every_key() -> None:
    def walk(node: Any, where: str) -> None:
        for name, value in node.get("properties", {}).items():
            assert value.get("description") or "enum" in value, f"{where}.{name}"
            walk(value, f"{where}.{name}")
        if "items" in node:
            walk(node["items"], f"{where}[]")

    walk(json_schema(), "")
    json.dumps(json_schema())
