"""What was captured, in the words of the configuration; `extra` has what these cannot say. Pure.

An instance that is made of the document answers each captured path as it was captured; where it
would not, the document says so itself.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..config_derived import derived_meta
from ..document import Document, described, read
from ..errors import InvalidDocument
from ..instance import Instance
from ..paths import read_path, resolve
from ..tree import Directory, Leaf, Live, listing
from .networks import nics_of_ec2, nics_of_openstack
from .scrub import SIGNATURES, scrubbed
from .walk import Captured

_NEWEST: Final = "/openstack/latest/"
_META: Final = "/latest/meta-data/"

_FROM_META_DATA: Final = {
    "uuid": "id",
    "name": "name",
    "hostname": "hostname",
    "project_id": "project_id",
    "enterprise_project_id": "enterprise_project_id",
    "region_id": "region",
    "availability_zone": "availability_zone",
    "instance_type": "flavor",
    "launch_index": "launch_index",
    "devices": "devices",
}
_FROM_EC2: Final = {
    "placement/region": "region",
    "placement/availability-zone": "availability_zone",
    "instance-type": "flavor",
    "local-hostname": "hostname",
    "instance-id": "id",
}
_EC2_IDS: Final = (
    *("instance-id", "ami-id", "reservation-id", "kernel-id", "ramdisk-id", "ancestor-ami-ids"),
    "product-codes",
)
_PLACEMENT_IDS: Final = ("availability-zone-id", "group-name", "host-id", "partition-number")


@dataclass
class Description:
    """The document, and what became of that which is not in it."""

    document: Document
    scrubbed: list[str] = field(default_factory=list)
    """Places that held, or may have held, a secret."""
    different: list[str] = field(default_factory=list)
    """Paths that will not answer as they did."""


def describe(captured: Captured, keep: Collection[str] = ()) -> Description:
    """Return what serves *captured* again; of what may be secret only the kinds to *keep*."""
    answers = dict(captured.answers)
    notes = Description({})
    _leave_out(answers, keep, notes)
    document = _document(answers, captured)
    if "values" not in keep:
        document = scrubbed(document, "", notes.scrubbed)
    document = _readable(document, notes)
    instance = read(document)
    # In the order of the configuration, and without what the instance itself derives.
    notes.document = document = described(instance)
    _show_text(document)
    extra = {}
    for path, body in answers.items():
        if answers_alike(instance, path, body):
            continue
        text = _as_extra(path, body)
        if text is not None and "values" not in keep:
            text = scrubbed({path.rpartition("/")[2]: text}, path, notes.scrubbed).popitem()[1]
        if text is None:
            notes.different.append(path)
        else:
            extra[path.strip("/")] = text
    if extra:
        document["extra"] = extra
        instance = read(document)
    notes.different += [
        path
        for path, body in answers.items()
        if path not in notes.different
        and not any(place.startswith(path) for place in notes.scrubbed)
        and not answers_alike(instance, path, body)
    ]
    document["identify"] = {"default": True}
    return notes


def answers_alike(instance: Instance, path: str, body: bytes) -> bool:
    """Say whether *instance* answers at *path* with *body*, but for what is new each time."""
    node = resolve(instance, read_path(path) or ())
    if isinstance(node, Directory):
        return listing(node).split() == body.decode("utf-8", "replace").split()
    if isinstance(node, Leaf):
        return node.body == body or _same_json(node.body, body)
    if isinstance(node, Live):
        return _same_json(node.template, body)
    return False


def _same_json(ours: bytes, theirs: bytes) -> bool:
    try:
        one, other = json.loads(ours), json.loads(theirs)
    except ValueError:
        return False
    for each in (one, other):
        if isinstance(each, dict):
            each.pop("random_seed", None)
    return bool(one == other)


def _as_extra(path: str, body: bytes) -> str | None:
    """Return *body* as text, without what is new at each reading; None when it is no text."""
    if path.startswith("/openstack/content/") or path.endswith("/"):
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    if path.endswith("/meta_data.json"):
        try:
            document = json.loads(text)
            document.pop("random_seed", None)
            return json.dumps(document)
        except (ValueError, AttributeError):
            return text
    return text


def _leave_out(answers: dict[str, bytes], keep: Collection[str], notes: Description) -> None:
    """Take away what is not kept, and note where it was."""
    kinds = {
        "user-data": r"/openstack/[^/]+/user_data|/[^/]+/user-data",
        "vendor-data": r"/openstack/[^/]+/vendor_data2?\.json",
        "files": r"/openstack/content/.*",
        "signatures": SIGNATURES.pattern,
    }
    for path in sorted(answers):
        for kind, pattern in kinds.items():
            if kind in keep or not re.fullmatch(pattern, path):
                continue
            if answers[path].strip() not in (b"", b"{}"):
                notes.scrubbed.append(path)
            del answers[path]
            break


def _document(answers: Mapping[str, bytes], captured: Captured) -> Document:
    meta_data = _json(answers, _NEWEST + "meta_data.json")
    document: Document = {
        key: _text(answers, _META + name)
        for name, key in _FROM_EC2.items()
        if _text(answers, _META + name)
    }
    document |= {key: meta_data[name] for name, key in _FROM_META_DATA.items() if name in meta_data}
    document.setdefault("id", "captured")
    meta = meta_data.get("meta")
    if isinstance(meta, dict):
        document["meta"] = meta
        document |= _from_meta(meta)
    document["keys"] = _keys(meta_data, answers)
    document["files"] = _files(meta_data, answers)
    user_data = answers.get(_NEWEST + "user_data", answers.get("/latest/user-data"))
    if user_data:
        document["user_data_base64"] = base64.b64encode(user_data).decode()
    document["vendor_data"] = _json(answers, _NEWEST + "vendor_data.json")
    by_target = _json(answers, _NEWEST + "vendor_data2.json")
    document["vendor_data2"] = {key: each for key, each in by_target.items() if key != "static"}
    network = _json(answers, _NEWEST + "network_data.json")
    document |= nics_of_openstack(network) if network else nics_of_ec2(answers)
    document |= _from_ec2(answers)
    if captured.role:
        document["agency"] = {"name": captured.role}
    if captured.tokens_required:
        document["metadata_options"] = {"http_tokens": "required"}
    document = {key: value for key, value in document.items() if value not in (None, "", [], {})}
    if _text(answers, _META + "instance-life-cycle") == "spot":
        document["spot"] = {}
    return document


def _show_text(document: Document) -> None:
    """Have the user data as text, where the configuration can."""
    try:
        text = base64.b64decode(document.get("user_data_base64", "")).decode("ascii")
    except UnicodeDecodeError:
        return
    if text and text.replace("\n", "").isprintable():
        del document["user_data_base64"]
        document["user_data"] = text


def _from_meta(meta: Mapping[str, Any]) -> Document:
    found: Document = {}
    if meta.get("os_type") in ("Linux", "Windows"):
        found["os_type"] = meta["os_type"]
    if "metering.image_id" in meta and "image_name" in meta:
        found["image"] = {"id": meta["metering.image_id"], "name": meta["image_name"]}
    if "vpc_id" in meta:
        found["vpc_id"] = meta["vpc_id"]
    return found


def _from_ec2(answers: Mapping[str, bytes]) -> Document:
    ids = {name: _text(answers, _META + name) for name in _EC2_IDS}
    ids |= {name: _text(answers, f"{_META}placement/{name}") for name in _PLACEMENT_IDS}
    groups = _text(answers, _META + "security-groups")
    return {
        "ec2_ids": {name: each for name, each in ids.items() if each},
        "security_groups": list(dict.fromkeys(groups.split("\n"))) if groups else [],
        "block_devices": _texts_below(answers, _META + "block-device-mapping/"),
        "tags": _texts_below(answers, _META + "tags/instance/"),
    }


def _keys(meta_data: Mapping[str, Any], answers: Mapping[str, bytes]) -> list[Document]:
    public_keys = meta_data.get("public_keys")
    if isinstance(public_keys, dict):
        return [{"name": name, "public_key": key} for name, key in public_keys.items()]
    found = []
    for line in _text(answers, _META + "public-keys/").split("\n"):
        number, _, name = line.partition("=")
        key = _text(answers, f"{_META}public-keys/{number}/openssh-key")
        if key:
            found.append({"name": name or f"key-{number}", "public_key": key})
    return found


def _files(meta_data: Mapping[str, Any], answers: Mapping[str, bytes]) -> list[Document]:
    found = []
    for each in meta_data.get("files") or ():
        if isinstance(each, dict) and isinstance(each.get("path"), str):
            content = answers.get(f"/openstack{each.get('content_path')}")
            if content is not None:
                encoded = base64.b64encode(content).decode()
                found.append({"path": each["path"], "content_base64": encoded})
    return found


def _texts_below(answers: Mapping[str, bytes], directory: str) -> dict[str, str]:
    return {
        path.removeprefix(directory): _text(answers, path)
        for path in answers
        if path.startswith(directory) and path != directory
    }


def _text(answers: Mapping[str, bytes], path: str) -> str:
    return answers.get(path, b"").decode("utf-8", "replace").strip()


def _json(answers: Mapping[str, bytes], path: str) -> dict[str, Any]:
    try:
        found = json.loads(answers.get(path, b"{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _readable(document: Document, notes: Description) -> Document:
    """Return *document* without the keys that no configuration may have as they are."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", str(document["id"])):
        document = {**document, "id": "captured"}
    while True:
        try:
            instance = read(document)
        except InvalidDocument as error:
            wrong = {pointer.split("/")[1] for pointer, _ in error.problems if "/" in pointer}
            if not wrong & document.keys():
                raise
            # Its paths are served from `extra` instead.
            document = {key: each for key, each in document.items() if key not in wrong}
            document.setdefault("id", "captured")
            continue
        derived = derived_meta(instance)
        meta = document.get("meta")
        if meta is not None:
            own = {key: each for key, each in meta.items() if derived.get(key) != each}
            document = {**document, "meta": own}
        return document
