"""What boots of every kind write is what docs/status.schema.json says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.boot import boot
from agent.host import Host
from agent.modules.base import Stage

from ..guests.directory import DirectoryGuest
from .json_schema import offences
from .test_boot import MOTD, given, told
from .test_cli import agent, record_of
from .test_parts import SH, message

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA: dict[str, Any] = json.loads((DOCS / "status.schema.json").read_text())
EVERYTHING = message(
    ("X: y", MOTD.encode() + b"unknown: 1\ntimezone: No/Where\nruncmd: [ls]\n"),
    ("X: y", SH),
    ("X: y", b"a letter"),
    ("X: y", b"rem cmd"),
    ("Launch-Index: 7", SH),
    ("X: y", b"#include\nftp://127.0.0.1/a\n"),
    ("X: y", b"\n#!/bin/sh\n"),
)


def wrong(record: Any) -> list[str]:
    return list(offences(record, SCHEMA, SCHEMA, "status"))


@pytest.mark.parametrize("user_data", [b"", MOTD.encode(), EVERYTHING, b"#cloud-config\n["])
def test_a_status_is_what_its_schema_says(guest_root: DirectoryGuest, user_data: bytes) -> None:
    host = Host(guest_root.root)
    for _ in range(2):
        boot(host, given(user_data))

        assert wrong(told(guest_root)) == []


def test_every_stage_of_a_boot_in_stages_is(guest_root: DirectoryGuest) -> None:
    for stage in Stage:
        boot(Host(guest_root.root), given(MOTD, stages=(stage,)))

        assert wrong(told(guest_root)) == []


def test_what_the_command_prints_is(guest_root: DirectoryGuest) -> None:
    nothing = agent("status", "--json", "--root", guest_root.root)
    record_of(guest_root, waits=[])
    begun = agent("status", "--json", "--root", guest_root.root)

    assert wrong(json.loads(nothing.stdout)) == []
    assert wrong(json.loads(begun.stdout)) == []


@pytest.mark.parametrize(
    "change",
    [{"colour": 1}, {"degraded": 1}, {"status": "over"}, {"parts": [{}]}, {"pid": True}],
)
def test_the_schema_finds_what_is_wrong(guest_root: DirectoryGuest, change: dict[str, Any]) -> None:
    boot(Host(guest_root.root), given(MOTD))

    assert wrong({**told(guest_root), **change}) != []


def test_every_key_is_in_the_documentation() -> None:
    page = (DOCS / "status.md").read_text()
    names = {*SCHEMA["$defs"]["boot"]["properties"], *SCHEMA["$defs"]["result"]["enum"]}

    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
