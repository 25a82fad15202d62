"""The keys of an instance, each declared once: name, form, meaning. And what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from . import config_values as v
from .config_derived import derived_meta, derived_names
from .config_files import Content, PlainContent
from .config_forms import (
    Choice,
    Json,
    Key,
    ListOf,
    SecretText,
    Section,
    TableOf,
    Text,
    Truth,
    Values,
    Whole,
    Wrong,
    below,
    built,
    entry,
)
from .config_nics import NIC, build_nics
from .config_reader import Problems, Table
from .hostname import DOMAIN, WINDOWS_NAME
from .instance import (
    Agency,
    Identify,
    Image,
    InjectedFile,
    Instance,
    MetadataOptions,
    Qos,
    ResetPassword,
    Spot,
)
from .instance import Key as PublicKey
from .reset.hashing import scheme_of
from .secret import Secret

MOST_TAGS: Final = 10
EC2_IDS: Final = (
    "instance-id",
    "ami-id",
    "reservation-id",
    "kernel-id",
    "ramdisk-id",
    "ancestor-ami-ids",
    "product-codes",
    "availability-zone-id",
    "group-name",
    "host-id",
    "partition-number",
)

_BASE64 = Text(v.read_base64, "base64", secret=True)


@dataclass(frozen=True)
class Placed:
    """An instance and the table it was read from, for what only shows beside other instances."""

    instance: Instance
    table: Table
    where: str


def _one_of(values: Values, node: Table, where: str, problems: Problems, name: str) -> Any:
    """Return the value of *name*, name_file or name_base64, of which only one may be there."""
    given = [each for each in (name, f"{name}_file", f"{name}_base64") if each in values]
    if len(given) > 1:
        problems.add(
            entry(node, given[1]),
            below(where, given[1]),
            f"expected only one of {' and '.join(given)}",
        )
    if not given:
        return None
    value = values[given[0]]
    return Secret(value) if isinstance(value, bytes) else value


def _content_keys(name: str, what: str, *, ascii_only: bool = False) -> tuple[Key[Any], ...]:
    return (
        Key(name, PlainContent(ascii_only), f"{what}, as {'ASCII ' if ascii_only else ''}text"),
        Key(f"{name}_file", Content(), f"{what}, as the path of a file with any bytes"),
        Key(f"{name}_base64", _BASE64, f"{what}, in base64"),
    )


def _build_file(values: Values, node: Table, where: str, problems: Problems) -> InjectedFile:
    content = _one_of(values, node, where, problems, "content")
    if content is None:
        raise Wrong("expected one of content, content_file and content_base64")
    return InjectedFile(values["path"], content)


def _build_reset(values: Values, node: Table, where: str, problems: Problems) -> ResetPassword:
    if values.get("proof") == "none":
        problems.add(
            entry(node, "proof"),
            below(where, "proof"),
            "expected low-port or token; none is for the built-in instance on loopback only",
        )
    if values.get("legacy") and values.get("identity"):
        problems.add(
            entry(node, "legacy"),
            below(where, "legacy"),
            "expected false: beside a pinned identity nobody else may have a password",
        )
    return ResetPassword(**values)


def _build_qos(values: Values, node: Table, where: str, problems: Problems) -> Qos:
    qos = Qos(**values)
    if -1 not in (qos.min, qos.max) and qos.min > qos.max:
        raise Wrong(f"expected min no larger than max, got {qos.min} and {qos.max}")
    return qos


def _named(pattern: str, words: str) -> Callable[[str], str]:
    read = v.matching(pattern)

    def name(text: str) -> str:
        try:
            return read(text)
        except ValueError:
            raise ValueError(words) from None

    return name


IMAGE: Final = Section(
    "image",
    (
        Key("id", v.ID, "id of the image", required=True),
        Key("name", v.LINE, "its name", required=True),
    ),
    built(Image),
)
PUBLIC_KEY: Final = Section(
    "keys",
    (
        Key("name", v.PATH_NAME, "name of the key pair", required=True),
        Key("public_key", v.PUBLIC_KEY, "public key as in authorized_keys", required=True),
    ),
    built(PublicKey),
)
QOS: Final = Section(
    "qos",
    (
        Key("min", Whole(-1, 10_000_000), "lowest bandwidth in Mbit/s; -1 is unlimited"),
        Key("max", Whole(-1, 10_000_000), "highest bandwidth in Mbit/s; -1 is unlimited"),
    ),
    _build_qos,
)
AGENCY: Final = Section(
    "agency",
    (
        Key(
            "name",
            Text(v.matching(r"[A-Za-z0-9+=,.@_-]{1,64}"), "an agency name, as of an IAM role"),
            "name of the agency, and of the EC2 role",
            required=True,
        ),
        Key(
            "credentials_command",
            ListOf(v.LINE),
            "program with arguments that issues real credentials; default: made-up ones",
        ),
    ),
    built(Agency),
)
METADATA_OPTIONS: Final = Section(
    "metadata_options",
    (
        Key(
            "http_endpoint",
            Choice(("enabled", "disabled")),
            "whether the guest is served at all; default: enabled",
        ),
        Key(
            "http_tokens",
            Choice(("optional", "required")),
            "whether a session token is needed; default: optional",
        ),
        Key("hop_limit", Whole(1, 64), "IP TTL of the answer with a session token; default: 1"),
    ),
    built(MetadataOptions),
)
IDENTIFY: Final = Section(
    "identify",
    (
        Key(
            "addresses",
            ListOf(v.ADDRESS, unique=True),
            "source addresses of the guest; default: those of its nics",
        ),
        Key(
            "interface",
            v.INTERFACE,
            "interface its requests come through: alone it identifies the guest, with addresses"
            " both have to match",
        ),
        Key("default", Truth(), "answer anyone whom nothing else identifies; default: false"),
    ),
    built(Identify),
)
RESET_PASSWORD: Final = Section(
    "reset_password",
    (
        Key(
            "legacy",
            Truth(),
            "also serve the platform's own envelope, which every process of the guest can open;"
            " default: false",
        ),
        Key(
            "proof",
            Choice(("low-port", "token", "none")),
            "proof of root at the first enrolment; default: low-port",
        ),
        Key("hop_limit", Whole(1, 64), "IP TTL of every answer of the protocol; default: 1"),
        Key(
            "identity",
            Text(v.matching(r"sha256:[0-9a-f]{64}"), "sha256: and 64 hexadecimal digits"),
            "fingerprint of the guest's identity key, which pins it",
        ),
    ),
    _build_reset,
)
INJECTED_FILE: Final = Section(
    "files",
    (
        Key("path", v.ABSOLUTE, "where the guest is to put it", required=True),
        *_content_keys("content", "what is in it"),
    ),
    _build_file,
)
DEVICE: Final[Section[Values]] = Section(
    "devices",
    (
        Key("type", Choice(("nic", "disk", "share")), "kind of the device", required=True),
        Key("bus", Choice(("pci", "usb", "scsi", "ide", "xen", "none")), "its bus"),
        Key("address", v.LINE, "its address on the bus"),
        Key("tags", ListOf(v.LINE), "its tags"),
        Key("mac", v.MAC, "MAC address of a nic"),
        Key("vlan", Whole(1, 4094), "VLAN of a nic"),
        Key("vf_trusted", Truth(), "whether the virtual function of a nic is trusted"),
        Key("serial", v.LINE, "serial number of a disk"),
        Key("path", v.LINE, "device path of a disk"),
        Key("share_id", v.LINE, "id of a share"),
        Key("tag", v.LINE, "mount tag of a share"),
    ),
    built(dict),
)
SPOT: Final = Section("spot", (Key("price", v.LINE, "highest price an hour"),), built(Spot))


def _build(values: Values, node: Table, where: str, problems: Problems) -> Placed:
    """Make the instance of what is set, and say what does not fit together."""
    values |= derived_names(values)
    if values.get("os_type") == "Windows" and len(values["name"]) > WINDOWS_NAME:
        problems.add(
            entry(node, "name"),
            below(where, "name"),
            f"expected at most {WINDOWS_NAME} characters for Windows, got {values['name']!r}",
        )
    user_data = _one_of(values, node, where, problems, "user_data")
    for key in ("user_data", "user_data_file", "user_data_base64"):
        values.pop(key, None)
    values["user_data"] = user_data or None
    values["nics"] = build_nics(values, node, where, problems)
    instance = Instance(**values)
    instance = replace(instance, meta=derived_meta(instance) | dict(instance.meta))
    for key, text in _conflicts(instance):
        problems.add(entry(node, key), below(where, key), text)
    return Placed(instance, node, where)


def _conflicts(instance: Instance) -> list[tuple[str, str]]:
    """Return the keys of *instance* that do not fit the others, with what was expected."""
    found = []
    hashed = instance.password_hash
    if hashed is not None:
        if scheme_of(hashed.reveal()) is None:
            found.append(
                ("password_hash", "expected a complete crypt(3) hash such as $6$…, got ***")
            )
        if instance.login_mode != "password":
            found.append(("password_hash", "expected login_mode: password beside it"))
    if instance.login_mode == "password" and instance.os_type == "Linux" and instance.user_data:
        found.append(
            (
                "login_mode",
                "expected keypair or later: with password there is no user data on Linux",
            )
        )
    if instance.login_mode == "keypair" and not instance.keys:
        found.append(("login_mode", "expected a key in keys for keypair"))
    names = [key.name for key in instance.keys]
    if len(set(names)) < len(names):
        found.append(("keys", "expected each key name once"))
    if instance.agency and instance.agency.credentials_command and instance.identify.default:
        found.append(
            ("agency", "expected no credentials_command: a default instance never serves real ones")
        )
    return found


INSTANCE: Final = Section(
    "instances",
    (
        Key("id", v.ID, "id of the instance, usually a UUID", required=True),
        Key("name", v.NAME, "name of the instance; default: ecs- and the start of its id"),
        Key(
            "hostname",
            v.HOSTNAME,
            f"host name as served; default: the name by the host-name rules and {DOMAIN}",
        ),
        Key("project_id", v.ID, "id of the project; default: one for the whole server"),
        Key("enterprise_project_id", v.ID, 'id of the enterprise project; default: "0"'),
        Key("region", v.LINE, "region; default: local"),
        Key("availability_zone", v.LINE, "availability zone; default: local-a"),
        Key("flavor", v.LINE, "flavor, also the EC2 instance type; default: s3.medium.2"),
        Key("image", IMAGE, "the image it was made of"),
        Key("vpc_id", v.ID, "id of the VPC"),
        Key("os_type", Choice(("Linux", "Windows")), "Linux or Windows; default: Linux"),
        Key("launch_index", Whole(0, 1_000_000), "place in its batch; default: 0"),
        Key("meta", TableOf(Text(str, "text")), "metadata, added to and over the derived ones"),
        Key("keys", ListOf(PUBLIC_KEY), "public keys of the login user"),
        Key(
            "security_groups",
            ListOf(v.LINE, unique=True),
            "names of the security groups; default: [default]",
        ),
        *_content_keys("user_data", "user data", ascii_only=True),
        Key("vendor_data", Json(table=True), "vendor_data.json"),
        Key(
            "vendor_data2",
            Json(table=True),
            "vendor_data2.json, by target",
        ),
        Key("nics", ListOf(NIC), "network interfaces, the primary one first"),
        Key("dns", ListOf(v.ADDRESS, unique=True), "DNS servers"),
        Key("qos", QOS, "bandwidth"),
        Key(
            "tags",
            TableOf(
                Text(v.matching(r"[^\x00-\x1f]{0,255}"), "at most 255 characters on one line"),
                key=_named(r"[^\x00-\x1f/]{1,128}", "at most 128 characters without a slash"),
                most=MOST_TAGS,
                noun="tag",
            ),
            f"tags, at most {MOST_TAGS}",
        ),
        Key("agency", AGENCY, "agency; default: none, and securitykey answers 401"),
        Key("metadata_options", METADATA_OPTIONS, "how the metadata is served"),
        Key("identify", IDENTIFY, "how the guest's requests are known"),
        Key("reset_password", RESET_PASSWORD, "how passwords are reset"),
        Key(
            "extra",
            TableOf(Text(str, "text"), key=v.read_served_path, noun="path"),
            "further paths and what they answer",
        ),
        Key("files", ListOf(INJECTED_FILE), "files for the guest, below openstack/content/"),
        Key("devices", ListOf(DEVICE), "tagged devices of meta_data.json"),
        Key(
            "block_devices",
            TableOf(
                v.LINE,
                key=_named(
                    r"ami|root|swap|(ebs|ephemeral)[0-9]{1,3}",
                    "ami, root, swap, ebs0, ephemeral0 and so on",
                ),
                noun="device",
            ),
            "EC2 block-device-mapping",
        ),
        Key(
            "ec2_ids",
            TableOf(
                v.LINE,
                names=EC2_IDS,
                noun="id",
            ),
            "EC2 ids in place of the derived ones, and such as are only given",
        ),
        Key(
            "login_mode",
            Choice(("password", "keypair", "later")),
            "login mode of the console; default: later",
        ),
        Key("password_hash", SecretText("a crypt(3) hash"), "hash of the first password"),
        Key("spot", SPOT, "makes it a spot instance"),
        Key("auto_terminate_time", v.MOMENT, "when the server removes it; default: never"),
    ),
    _build,
)
