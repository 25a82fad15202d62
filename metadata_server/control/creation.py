"""Servers that are asked for in the clouds' words, as documents of the configuration.

What has nothing behind it here (volumes, public addresses, placement) is taken and left out.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

from ..config_values import MOMENT, read_moment
from ..document import Document
from ..endings import seconds_of
from ..instance import Instance
from ..reset.policy import OsType
from ..secret import Secret
from .body import Body
from .servers import check_meta, meta_patch

MOST_AT_ONCE: Final = 500
END: Final = "auto_terminate_time"


class Order:
    """What is to be created: the documents, and the password that is hashed into them."""

    def __init__(self, document: Document, count: int, password: Secret | None) -> None:
        self.document = document
        self.count = count
        self.password = password

    @property
    def os_type(self) -> OsType:
        return "Windows" if self.document.get("os_type") == "Windows" else "Linux"

    def documents(self, hash: Secret | None, *, pattern: str) -> list[Document]:
        """Return one document for each; with several, *pattern* makes the names of each number."""
        found = []
        for index in range(self.count):
            document: Document = {**self.document, "id": str(uuid.uuid4()), "launch_index": index}
            if self.count > 1 and "name" in document:
                document["name"] = pattern.format(document["name"], index + 1)
            if hash is not None:
                document |= {"login_mode": "password", "password_hash": hash.reveal().decode()}
            found.append(document)
        return found


def from_nova(server: Body, project: str | None, known: Iterable[Instance], now: float) -> Order:
    """Read nova's `server`; raises InvalidBody."""
    instances = list(known)
    document = _common(server, project, instances, now)
    count = server.number("min_count", 1, least=1, most=MOST_AT_ONCE)
    groups = [each.text("name") for each in server.tables("security_groups")]
    if groups:
        document["security_groups"] = groups
    networks = server.tables("networks") if not isinstance(server.peek("networks"), str) else []
    document["nics"] = _nics((each.text("uuid"), each.text("fixed_ip")) for each in networks)
    document["files"] = [
        {"path": each.text("path"), "content_base64": each.text("contents", longest=1 << 20)}
        for each in server.tables("personality")
    ]
    return _order(server, document, count)


def from_ecs(server: Body, project: str | None, known: Iterable[Instance], now: float) -> Order:
    """Read the platform's `server`; raises InvalidBody."""
    instances = list(known)
    document = _common(server, project, instances, now)
    count = server.number("count", 1, least=1, most=MOST_AT_ONCE)
    _set(document, "vpc_id", server.text("vpcid"))
    nics = server.tables("nics")
    document["nics"] = _nics((each.text("subnet_id"), each.text("ip_address")) for each in nics)
    groups = [each.text("id") for each in server.tables("security_groups")]
    if groups:
        document["security_groups"] = groups
    tags = {each.text("key"): each.text("value") or "" for each in server.tables("server_tags")}
    if tags:
        document["tags"] = tags
    extra = server.table("extendparam")
    _set(document, "enterprise_project_id", extra.text("enterprise_project_id"))
    _set(document, "region", extra.text("regionID"))
    if mode := extra.text("chargingMode"):
        document.setdefault("meta", {})["charging_mode"] = mode
    if extra.text("marketType") == "spot":
        price = extra.text("spotPrice")
        document["spot"] = {"price": price} if price else {}
    options = server.table("metadata_options")
    for key in ("http_endpoint", "http_tokens"):
        if value := options.text(key):
            document.setdefault("metadata_options", {})[key] = value
    return _order(server, document, count)


def _common(server: Body, project: str | None, known: Sequence[Instance], now: float) -> Document:
    """Return what both dialects call the same."""
    document: Document = {}
    name = server.text("name")
    if name is None:
        server.refuse("name", "expected the name of the server")
    _set(document, "name", name)
    _set(document, "project_id", project)
    _set(document, "flavor", server.text("flavorRef"))
    _set(document, "availability_zone", server.text("availability_zone"))
    if image := server.text("imageRef"):
        # No image service is asked: what is known of an image is what other instances say of it.
        like = next((each for each in known if each.image and each.image.id == image), None)
        title = like.image.name if like and like.image else image
        document["image"] = {"id": image, "name": title}
        document["os_type"] = like.os_type if like else "Linux"
    if key := server.text("key_name"):
        found = next((each for one in known for each in one.keys if each.name == key), None)
        if found is None:
            server.refuse("key_name", "expected the key pair of an instance that is there already")
        else:
            document["keys"] = [{"name": found.name, "public_key": found.public_key}]
            document["login_mode"] = "keypair"
    if user_data := server.text("user_data", longest=1 << 20, printable=False):
        document["user_data_base64"] = user_data
    if server.peek(END) not in (None, ""):
        _set(document, END, read_end(server, now))
    meta = server.texts("metadata")
    check_meta(meta)
    document |= {key: value for key, value in meta_patch(meta).items() if value}
    return document


def read_end(body: Body, now: float) -> str | None:
    """Return the time at which a server is to be removed, which has to be ahead of *now*."""
    text = body.text(END)
    if text is None:
        return None
    try:
        end = read_moment(text)
    except ValueError:
        body.refuse(END, f"expected {MOMENT.expected}, got {text!r}")
        return None
    if seconds_of(end) <= now:
        body.refuse(END, f"expected a time that is not over, got {text}")
    return end


def _order(server: Body, document: Document, count: int) -> Order:
    password = server.secret("adminPass")
    server.check()
    if "user_data_base64" in document and document.get("os_type", "Linux") == "Linux":
        # The platform's rule: with user data, only that sets the password of a Linux server.
        password = None
    return Order({key: value for key, value in document.items() if value}, count, password)


def _nics(found: Iterable[tuple[str | None, str | None]]) -> list[dict[str, Any]]:
    nics = []
    for network, address in found:
        nic: dict[str, Any] = {}
        _set(nic, "network_id", network)
        if address:
            nic["ipv6" if ":" in address else "ipv4"] = address
        nics.append(nic)
    return nics


def _set(document: Document, key: str, value: str | None) -> None:
    if value is not None:
        document[key] = value
