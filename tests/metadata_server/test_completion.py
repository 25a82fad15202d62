"""Completion of the linklocal command, asked of the shells themselves."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from metadata_server.config import read_instances

from .commands import REPOSITORY, Served, linklocal, served

INSTANCES = read_instances(b"[{id: web-1, name: n1}, {id: web-2}, {id: db}]", Path("i.yaml"))

BASH = """
source <(linklocal completion bash)
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_linklocal
printf '%s\\n' "${COMPREPLY[@]}"
"""


def on_path(directory: Path) -> str:
    """Put a `linklocal` in *directory* and return a PATH with it."""
    directory.mkdir()
    command = directory / "linklocal"
    command.write_text(
        f'#!/bin/sh\ncd {REPOSITORY} && exec {sys.executable} -m metadata_server.ctl "$@"\n'
    )
    command.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


async def completed(directory: Path, *words: str, at: Served | None = None) -> list[str]:
    """Return what bash offers after *words*, the last of which is being typed."""
    where = {"LINKLOCAL_URL": at.url, "LINKLOCAL_TOKEN_FILE": str(at.token_file)} if at else {}
    path = on_path(directory / f"bin{len(list(directory.iterdir()))}")
    process = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "-c", BASH, "linklocal", "linklocal", *words),
        cwd=directory,
        env={"PATH": path, "XDG_RUNTIME_DIR": str(directory), **where},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert err == b""
    return sorted(out.decode().split())


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("st",), ["state"]),
        (("instance", "re"), ["remove", "reset"]),
        (("--json", "instance", "l"), ["list"]),
        (("--url", "http://x", "instance", "l"), ["list"]),
        (("instance", "set", "--fo"), ["--force"]),
        (("instance", "options", "x", "--http-tokens", ""), ["optional", "required"]),
        (("reset-password", "x", "--apply", "b"), ["boot", "both"]),
        (("completion", ""), ["bash", "fish", "zsh"]),
        (("nope", ""), "all"),
        (("instance", "list", ""), []),
        (("instance", "list", "--name", ""), []),
    ],
)
async def test_bash_offers_what_the_parser_takes(
    tmp_path: Path, words: tuple[str, ...], found: list[str] | str
) -> None:
    offered = await completed(tmp_path, *words)

    if found == "all":
        assert {"instance", "state", "api", "completion"} <= set(offered)
    else:
        assert offered == found


async def test_bash_offers_files_and_the_ids_of_instances(tmp_path: Path) -> None:
    (tmp_path / "vm.yaml").touch()
    async with served(tmp_path, *INSTANCES) as control:
        assert await completed(tmp_path, "instance", "show", "web", at=control) == [
            "web-1",
            "web-2",
        ]
        assert await completed(tmp_path, "reset-password", "d", at=control) == ["db"]
        assert await completed(tmp_path, "instance", "add", "vm", at=control) == ["vm.yaml"]
        ids = await linklocal("completion", "ids", at=control)

    assert ids.out.splitlines()[0] == "web-1\tn1"
    # No server: nothing to offer, and no words between what is being typed.
    assert await completed(tmp_path, "instance", "show", "web") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_a_script_names_every_command_and_option(shell: str) -> None:
    ran = await linklocal("completion", shell)

    assert (ran.status, ran.err) == (0, "")
    for word in ("instance", "list", "reset-key", "state", "http-tokens", "private-key"):
        assert word in ran.out
    if program := shutil.which(shell):
        checked = subprocess.run(
            [program, "-n"], input=ran.out, capture_output=True, check=False, text=True
        )
        assert (checked.returncode, checked.stderr) == (0, "")
