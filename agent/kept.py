"""Instance data and parts as text: for the next stage of a boot, and for the next boot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from .instance import InjectedFile, InstanceData
from .secret import Secret
from .user_data.parts import Part

SECRETS = ("user_data", "vendor_data", "vendor_data2", "random_seed")


class Kept(NamedTuple):
    """An instance, and what became of its user data."""

    instance: InstanceData
    parts: Mapping[str, tuple[Part, ...]]
    """By the origin of their source."""


def dumped(kept: Kept) -> Secret:
    """Return *kept* as text."""
    fields: dict[str, Any] = dict(kept.instance._asdict())
    for name in SECRETS:
        secret = fields[name]
        fields[name] = None if secret is None else secret.reveal().decode("latin-1")
    fields["files"] = [
        [file.path, file.content.reveal().decode("latin-1")] for file in kept.instance.files
    ]
    fields["parts"] = {
        origin: [
            {**part._asdict(), "content": part.content.reveal().decode("latin-1")} for part in each
        ]
        for origin, each in kept.parts.items()
    }
    return Secret(json.dumps(fields).encode())


def loaded(content: bytes) -> Kept:
    """Return what `dumped` made *content* of; ValueError when it did not."""
    try:
        fields: dict[str, Any] = json.loads(content)
        parts = fields.pop("parts")
        for name in SECRETS:
            value = fields[name]
            fields[name] = None if value is None else Secret(value.encode("latin-1"))
        fields["public_keys"] = tuple(fields["public_keys"])
        fields["files"] = tuple(
            InjectedFile(path, Secret(content.encode("latin-1")))
            for path, content in fields["files"]
        )
        return Kept(
            InstanceData(**fields),
            {origin: tuple(map(_part, each)) for origin, each in parts.items()},
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not what was kept") from error


def _part(fields: dict[str, Any]) -> Part:
    content = Secret(fields["content"].encode("latin-1"))
    return Part(**{**fields, "content": content, "notices": tuple(fields["notices"])})
