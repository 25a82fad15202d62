"""Completion of the commands, asked of the shells themselves."""

from __future__ import annotations

import asyncio
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import agent.cli
import agent.reset_password.cli
import metadata_server.cli
from metadata_server.config import read_instances
from metadata_server.ctl.completion import script

from .commands import REPOSITORY, Served, linklocal, served

INSTANCES = read_instances(b"[{id: web-1, name: n1}, {id: web-2}, {id: db}]", Path("i.yaml"))

BASH = """
source <(linklocal completion bash)
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_linklocal
printf '%s\\n' "${COMPREPLY[@]}"
"""

# As bash calls whatever `complete` has named for a command.
SOURCED = """
source ./script
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
$(complete -p "$1" | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""

FISH = """
if test -e script
    source script
else
    linklocal completion fish | source
end
complete -C "$argv"
"""

# The shell itself completes what is typed at its terminal, and tells here what it would offer.
ZSH = r"""
PROMPT= RPROMPT=
fpath=($PWD/functions $fpath)
autoload -Uz compinit && compinit -u -D
[[ -d functions ]] || source <(linklocal completion zsh)
compadd() {
    local -a found
    builtin compadd -O found "$@"
    print -rl -- $found >>found
}
comppostfuncs=(leave)
leave() { exit 0 }
bindkey '^I' complete-word
print ready
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


@pytest.mark.parametrize("shell", ["fish", "zsh"])
@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("st", ["state"]),
        ("instance re", ["remove", "reset"]),
        ("--json instance l", ["list"]),
        ("instance set x --fo", ["--force"]),
        ("instance options x --http-tokens ", ["optional", "required"]),
        ("instance show web", ["web-1", "web-2"]),
        ("instance add vm", ["vm.yaml"]),
    ],
)
async def test_other_shells_offer_the_same(
    tmp_path: Path, shell: str, typed: str, found: list[str]
) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "vm.yaml").touch()
    async with served(tmp_path, *INSTANCES) as control:
        environment = {
            "PATH": on_path(tmp_path / "bin"),
            "HOME": str(tmp_path),
            "TERM": "dumb",
            "LINKLOCAL_URL": control.url,
            "LINKLOCAL_TOKEN_FILE": str(control.token_file),
        }
        ask = {"fish": asked_of_fish, "zsh": asked_of_zsh}[shell]
        line = f"linklocal {typed}"
        offered = await asyncio.to_thread(ask, program, line, tmp_path, environment)

    # zsh asks itself more than once for files.
    assert sorted(set(offered)) == found


def asked_of_fish(
    program: str, typed: str, directory: Path, environment: dict[str, str]
) -> list[str]:
    ran = subprocess.run(
        [program, "--no-config", "-c", FISH, "--", typed],
        cwd=directory,
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    return [line.partition("\t")[0] for line in ran.stdout.splitlines()]


def asked_of_zsh(
    program: str, typed: str, directory: Path, environment: dict[str, str]
) -> list[str]:
    (directory / "setup").write_text(ZSH)
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [program, "-f", "-i"],
            cwd=directory,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as shell:
            os.write(ours, b"source ./setup\n")
            seen = b""
            while b"ready" not in seen:
                seen += os.read(ours, 4096)
            os.write(ours, f"{typed}\t".encode())
            shell.wait(60)
    finally:
        os.close(ours)
        os.close(theirs)
    return (directory / "found").read_text().split()


OURS = {
    "linklocal-agent": agent.cli.parser,
    "linklocal-resetd": agent.reset_password.cli.parser,
    "linklocal-server": metadata_server.cli._parser,
}
"""What the packages complete besides; the scripts of these are made when a package is."""
OFFERED = [
    ("linklocal-agent", "st", ["status"]),
    ("linklocal-agent", "network ", ["apply", "show"]),
    ("linklocal-agent", "run --sta", ["--stage"]),
    ("linklocal-agent", "plan --stage ", ["all", "config", "final", "local", "network"]),
    ("linklocal-agent", "validate vm", ["vm.yaml"]),
    ("linklocal-agent", "plan --root sub", ["subtree"]),
    ("linklocal-resetd", "s", ["set", "status"]),
    ("linklocal-resetd", "set --us", ["--user"]),
    ("linklocal-server", "--print-s", ["--print-schema"]),
    ("linklocal-server", "--config vm", ["vm.yaml"]),
]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(("program", "typed", "found"), OFFERED)
def test_shells_complete_the_commands_of_the_packages(
    tmp_path: Path, shell: str, program: str, typed: str, found: list[str]
) -> None:
    """From the scripts alone, without the commands; zsh finds its own by its first line."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "vm.yaml").touch()
    (tmp_path / "subtree").mkdir()
    made = script(shell, OURS[program]())
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "dumb"}
    (tmp_path / "script").write_text(made)
    if shell == "bash":
        offered = asked_of_bash(path, program, typed, tmp_path, environment)
    elif shell == "zsh":
        (tmp_path / "functions").mkdir()
        (tmp_path / f"functions/_{program}").write_text(made)
        offered = asked_of_zsh(path, f"{program} {typed}", tmp_path, environment)
    else:
        offered = asked_of_fish(path, f"{program} {typed}", tmp_path, environment)

    assert sorted({word.rstrip("/") for word in offered}) == found


def asked_of_bash(
    program: str, command: str, typed: str, directory: Path, environment: dict[str, str]
) -> list[str]:
    ran = subprocess.run(
        [program, "--norc", "-c", SOURCED, command, command, *typed.split(" ")],
        cwd=directory,
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    return ran.stdout.split()


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
