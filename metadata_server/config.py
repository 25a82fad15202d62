"""ServerConfig: what the server is told, read whole and checked before anything is started.

Each key is declared once, in SERVER here and INSTANCE of config_instance; readers, errors, the
JSON schema for editors and the test of the reference page all come from there.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from . import config_values as v
from .claims import Claim, claims
from .config_files import (
    PathForm,
    SecretFile,
    check_private,
    read_access_keys,
    read_shared_secret,
    read_tokens,
)
from .config_forms import (
    Choice,
    Key,
    ListOf,
    Schema,
    Section,
    TableOf,
    Truth,
    Values,
    Whole,
    Wrong,
    below,
    built,
    entry,
    note,
)
from .config_instance import INSTANCE, Placed
from .config_reader import Items, Node, Problems, Table, parse, read_file
from .config_values import Listen, UnixListen
from .control.listen import check_listen
from .day.journal import LIMIT as JOURNAL_LIMIT
from .errors import ConfigError
from .instance import Instance, empty
from .rates import STRANGERS
from .reset.hashing import SCHEMES, Work
from .secret import Secret

DEFAULT_LISTEN: Final = Listen(ip_address("127.0.0.1"), 8254)
DEFAULT_CONTROL: Final = Listen(ip_address("127.0.0.1"), 8774)
USER_DATA_LIMIT: Final = 32 * 1024
"""Bytes before base64, as the platform has it."""


@dataclass(frozen=True, slots=True)
class Control:
    """The operators' listener; without tokens a fresh one is made at each start."""

    listen: Listen | UnixListen = DEFAULT_CONTROL
    tokens_file: tuple[Secret, ...] = ()
    access_keys_file: Mapping[str, Secret] = field(default_factory=empty)


@dataclass(frozen=True, slots=True)
class Proxy:
    shared_secret_file: Secret
    trusted: tuple[IPv4Address | IPv6Address, ...]


@dataclass(frozen=True, slots=True)
class Tls:
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Limits:
    user_data: int = USER_DATA_LIMIT
    rate: int | None = None
    """Requests a second from one guest; None is any."""
    strangers: int = STRANGERS
    """Requests a second from one place that is no guest's."""
    journal: int = JOURNAL_LIMIT
    """Entries of the journal that are kept."""


@dataclass(frozen=True, slots=True)
class Log:
    level: str = "info"
    access: bool = False


@dataclass(frozen=True, slots=True)
class ServerConfig:
    listen: tuple[Listen, ...] = (DEFAULT_LISTEN,)
    control: Control = field(default_factory=Control)
    state: Path | None = None
    """None is a temporary directory, removed at the end."""
    proxy: Proxy | None = None
    instances_dir: Path | None = None
    instances: tuple[Instance, ...] = ()
    """Of every file: the configuration's own, those of instances_dir and of --instance."""
    workers: int = 1
    tls: Tls | None = None
    hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    hashing: Work = field(default_factory=Work)
    vendordata_dynamic: Mapping[str, str] = field(default_factory=empty)
    metrics: bool = True
    log: Log = field(default_factory=Log)
    clock: str = "real"


@dataclass(frozen=True)
class _Read:
    """The configuration as far as one file tells it."""

    values: Values
    placed: tuple[Placed, ...]
    table: Table | None


def _build_tls(values: Values, node: Table, where: str, problems: Problems) -> Tls:
    tls = Tls(**values)
    try:
        check_private(tls.key)
    except Wrong as wrong:
        note(wrong, entry(node, "key"), below(where, "key"), problems)
        return tls
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            tls.certificate, tls.key, password=lambda: b""
        )
    except OSError as error:  # of which SSLError is one
        raise Wrong(
            f"expected a PEM certificate and its key without a password: {error.strerror}"
        ) from error
    return tls


def _build(values: Values, node: Table, where: str, problems: Problems) -> _Read:
    control: Control = values.get("control", Control())
    try:
        check_listen(str(control.listen), tls=entry(node, "tls") is not node)
    except ConfigError as error:
        problems.add(entry(node, "control"), "", str(error))
    if values.get("clock") == "stepped" and values.get("workers", 1) > 1:
        problems.add(entry(node, "clock"), "clock", "expected real with more than one of workers")
    return _Read(values, tuple(values.pop("instances", ())), node)


CONTROL: Final = Section(
    "control",
    (
        Key("listen", v.CONTROL_LISTEN, f"address or Unix socket; default: {DEFAULT_CONTROL}"),
        Key(
            "tokens_file",
            SecretFile(read_tokens),
            "file with one token a line; default: a fresh token at each start",
        ),
        Key("access_keys_file", SecretFile(read_access_keys), "file with one ACCESS:SECRET a line"),
    ),
    built(Control),
)
PROXY: Final = Section(
    "proxy",
    (
        Key(
            "shared_secret_file",
            SecretFile(read_shared_secret),
            "file with the secret that signs X-Instance-ID",
            required=True,
        ),
        Key(
            "trusted",
            ListOf(v.ADDRESS, unique=True),
            "addresses of the proxies",
            required=True,
        ),
    ),
    built(Proxy),
)
TLS: Final = Section(
    "tls",
    (
        Key("certificate", PathForm(), "PEM file with the certificate chain", required=True),
        Key("key", PathForm(), "PEM file with its private key", required=True),
    ),
    _build_tls,
)
LIMITS: Final = Section(
    "limits",
    (
        Key(
            "user_data",
            Whole(1, 16 * 1024 * 1024),
            f"most bytes of user data before base64; default: {USER_DATA_LIMIT}",
        ),
        Key("rate", Whole(1, 1_000_000), "most requests a second of one guest; default: any"),
        Key(
            "strangers",
            Whole(1, 1_000_000),
            "most requests a second of one address, or of 64 bits of an IPv6 one, that is no"
            f" guest's; default: {STRANGERS}",
        ),
        Key(
            "journal",
            Whole(0, 1_000_000),
            f"most entries of the journal that are kept, 0 is none; default: {JOURNAL_LIMIT}",
        ),
    ),
    built(Limits),
)
LOG: Final = Section(
    "log",
    (
        Key("level", Choice(("debug", "info", "warning", "error")), "default: info"),
        Key("access", Truth(), "log a line for each request of a guest; default: false"),
    ),
    built(Log),
)
HASHING: Final = Section(
    "hashing",
    (
        Key("scheme", Choice(SCHEMES), "what is made when the guest can check it; default: sha512"),
        Key("sha512", Whole(1000, 5_000_000), "rounds of SHA-512; default: 500000"),
        Key("sha256", Whole(1000, 5_000_000), "rounds of SHA-256; default: 500000"),
        Key("bcrypt", Whole(4, 16), "cost of bcrypt; default: 12"),
        Key("yescrypt", Whole(1, 8), "cost of yescrypt, 5 being 16 MiB; default: 5"),
    ),
    built(Work),
)
SERVER: Final = Section(
    "server",
    (
        Key(
            "listen",
            ListOf(v.LISTEN, unique=True),
            f"addresses for guests; default: [{DEFAULT_LISTEN}]",
        ),
        Key("control", CONTROL, "the operators' listener"),
        Key("state", PathForm(), "directory of the state; default: a temporary one"),
        Key("proxy", PROXY, "proxies that name the instance in a signed X-Instance-ID"),
        Key("instances_dir", PathForm(), "directory with an instance or a list in each *.yaml"),
        Key("instances", ListOf(INSTANCE), "the instances that are served"),
        Key("workers", Whole(1, 64), "processes that serve guests; default: 1"),
        Key("tls", TLS, "certificate of the operators' listener"),
        Key(
            "hosts",
            ListOf(v.HOSTNAME, unique=True),
            "names accepted as Host beside literal addresses and localhost",
        ),
        Key("limits", LIMITS, "limits for guests"),
        Key("hashing", HASHING, "how new passwords are hashed"),
        Key(
            "vendordata_dynamic",
            TableOf(v.URL, key=v.read_name, noun="target"),
            "dynamic vendor data: target name to URL",
        ),
        Key("metrics", Truth(), "serve /metrics to operators; default: true"),
        Key("log", LOG, "what is logged"),
        Key(
            "clock",
            Choice(("real", "stepped")),
            "stepped: time stands still until operators move it; default: real",
        ),
    ),
    _build,
    partial=True,
)


def load(path: Path | None, instance_files: Sequence[Path] = ()) -> ServerConfig:
    """Return the configuration in *path*, with the instances of *instance_files* beside its own.

    Raises ConfigError with one line for each mistake in all of the files.
    """
    problems = Problems()
    read = _Read({}, (), None)
    if path is not None:
        read = _read_server(_document(path, problems), path, problems)
    values = dict(read.values)
    placed = list(read.placed)
    files = list(instance_files)
    if "instances_dir" in values and read.table is not None:
        files = _files_of(values["instances_dir"], read.table, problems) + files
    for file in files:
        placed += _read_instances(_document(file, problems), problems)
    _check_together(placed, values.get("limits", Limits()), problems)
    problems.check()
    return ServerConfig(**values, instances=tuple(each.instance for each in placed))


def read_instances(text: bytes, path: Path) -> tuple[Instance, ...]:
    """Return the instance or the list of instances in *text*, as if it were in the file *path*."""
    problems = Problems()
    placed = _read_instances(parse(text, path), problems)
    _check_together(placed, Limits(), problems)
    problems.check()
    return tuple(each.instance for each in placed)


def unheard(config: ServerConfig) -> tuple[str, ...]:
    """Return a line for each instance that is told by an interface no listener is bound to."""
    bound = {listen.interface for listen in config.listen}
    return tuple(
        f"instance {instance.id}: identify.interface {instance.identify.interface}: no listener is "
        f"bound to it; expected a listen entry such as "
        f"'169.254.169.254%{instance.identify.interface}:80'"
        for instance in config.instances
        if instance.identify.interface is not None and instance.identify.interface not in bound
    )


def exposed(config: ServerConfig) -> tuple[str, ...]:
    """Return a line for each instance whose passwords every process of the guest may read."""
    return tuple(
        f"instance {instance.id}: reset_password.legacy: until its guest enrols, a new password is "
        "served in the platform's own envelope, which every process of the guest can open"
        for instance in config.instances
        if instance.reset_password.legacy
    )


def json_schema() -> Schema:
    """Return the JSON schema of the configuration, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of linklocal-server",
        **SERVER.schema(),
    }


def _document(path: Path, problems: Problems) -> Node | None:
    try:
        return read_file(path)
    except ConfigError as error:
        for line in error.problems:
            problems.add_line(line)
        return None


def _read_server(node: Node | None, path: Path, problems: Problems) -> _Read:
    nothing = _Read({}, (), None)
    if node is None:
        return nothing
    try:
        return SERVER.read(node, "", problems)
    except Wrong as wrong:
        note(wrong, node, "", problems)
    return nothing


def _files_of(directory: Path, table: Table, problems: Problems) -> list[Path]:
    try:
        return sorted(
            path
            for path in directory.iterdir()
            if path.suffix in (".yaml", ".yml", ".json") and not path.name.startswith(".")
        )
    except OSError as error:
        place = entry(table, "instances_dir")
        problems.add(place, "instances_dir", f"{directory}: {error.strerror}")
        return []


def _read_instances(node: Node | None, problems: Problems) -> list[Placed]:
    placed = []
    if node is None:
        return []
    nodes = (
        [(f"[{n}]", each) for n, each in enumerate(node.nodes)] if isinstance(node, Items) else []
    )
    for where, each in nodes or [("", node)]:
        try:
            placed.append(INSTANCE.read(each, where, problems))
        except Wrong as wrong:
            note(wrong, each, where, problems)
    return placed


def _check_together(placed: Sequence[Placed], limits: Limits, problems: Problems) -> None:
    """Note what is wrong with instances beside each other, and beside the limits."""
    ids: dict[str, Placed] = {}
    taken: dict[tuple[str, object], Placed] = {}
    # Noted at the end: what is found here spoils nothing.
    wrong: list[tuple[Node, str, str]] = []
    for each in placed:
        instance, node = each.instance, each.table
        first = ids.setdefault(instance.id, each)
        found = [(Claim("id", "an id", instance.id), first)]
        found += [
            (claim, taken.setdefault((claim.what, claim.value), each)) for claim in claims(instance)
        ]
        for claim, by in found:
            if by is not each and not (
                _is_spoilt(claim, each, problems) or _is_spoilt(claim, by, problems)
            ):
                text = f"expected {claim.what} of its own, {claim.value} is taken by"
                place = entry(node, claim.key), below(each.where, claim.key)
                wrong.append((*place, f"{text} {_place(by, claim.key)}"))
        size = len(instance.user_data or b"")
        if size > limits.user_data:
            names_of = ("user_data", "user_data_file", "user_data_base64")
            given = next(name for name in names_of if entry(node, name) is not node)
            text = f"expected at most {limits.user_data} bytes (limits.user_data), got {size}"
            wrong.append((entry(node, given), below(each.where, given), text))
    for found_at, where, text in wrong:
        problems.add(found_at, where, text)


def _is_spoilt(claim: Claim, placed: Placed, problems: Problems) -> bool:
    """Say whether *placed* might not claim that, were it not for a mistake in it."""
    file, where = placed.table.file, placed.where
    if claim.what != "an origin":
        return problems.has(file, below(where, claim.key))
    # By the nics only where there is no identify, and that might be what was misspelt.
    return problems.is_at(file, where) or any(
        problems.has(file, below(where, key)) for key in ("nics", "identify")
    )


def _place(placed: Placed, key: str) -> str:
    node = entry(placed.table, key)
    return f"instance {placed.instance.id} at {node.file}:{node.line}"
