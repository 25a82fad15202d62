"""linklocal reset-password for many: who is meant, a line for each, totals, exit status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metadata_server.instance import Instance
from metadata_server.reset.policy import broken

from .commands import Served, at_terminal, linklocal, served

PASSWORD = b"Admin.Reset-24\n"
"""Good on Linux; on Windows it has three characters of `Administrator`."""
GOOD = b"Cloud.1234!\n"
HASH = b"$6$linklocalsalt01$" + b"Aa./" * 21 + b"zz\n"


def instance(name: str, **more: object) -> Instance:
    return Instance(id=name, name=name, hostname=f"{name}.novalocal", project_id="p", **more)  # type: ignore[arg-type]  # fields by their names


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Served]:
    tags = {"role": "web"}
    instances = (
        instance("one", tags=tags),
        instance("two", tags={**tags, "zone": "a"}),
        instance("three"),
        instance("windows", os_type="Windows"),
    )
    async with served(tmp_path, *instances) as running:
        yield running


def asked(control: Served, name: str) -> int:
    return len(control.engine.requests(name))


async def test_a_bad_id_and_a_refusal_stop_no_other(control: Served) -> None:
    done = await linklocal(
        *("reset-password", "one", "nobody", "windows", "two", "one", "--hash", "sha256"),
        "--password-stdin",
        stdin=PASSWORD,
        at=control,
    )

    never = "asked for; it never enrolled a daemon: waits for its first boot with one"
    refusal = "password: must not contain more than two consecutive characters of the user name"
    assert done.out.splitlines() == [
        "status id msg",
        f"[SUCCESS] one {never}",
        "[FAILED] nobody no such instance: 'nobody'",
        f"[FAILED] windows {refusal}",
        f"[SUCCESS] two {never}",
        "Total: 4 Success: 2 Failed: 2",
    ]
    assert done.status == 1
    assert [asked(control, each) for each in ("one", "two", "three", "windows")] == [1, 1, 0, 0]
    assert {each.scheme for each in control.engine.requests("two")} == {"sha256"}
    assert PASSWORD.decode().strip() not in done.out + done.err


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        (("--all",), {"one", "two", "three", "windows"}),
        (("--tag", "role=web"), {"one", "two"}),
        (("--tag", "role=web", "--tag", "zone"), {"two"}),
        (("--tag", "zone", "three"), {"two", "three"}),
        (("--file", "ids"), {"three", "one"}),
    ],
)
async def test_who_is_meant(
    control: Served, tmp_path: Path, options: tuple[str, ...], meant: set[str]
) -> None:
    (tmp_path / "ids").write_text("\ufeffthree\n\n# not two\none   # twice\none\n")
    words = [str(tmp_path / "ids") if word == "ids" else word for word in options]

    done = await linklocal(
        "reset-password", *words, "--hash-stdin", "--json", stdin=HASH, at=control
    )

    assert {each["instance"] for each in done.document["results"]} == meant
    assert (done.status, done.document["success"]) == (0, len(meant))
    assert {each for each in ("one", "two", "three", "windows") if asked(control, each)} == meant


@pytest.mark.parametrize(
    ("options", "text", "status", "words"),
    [
        ((), "", 64, "expected the id of an instance, --all, --tag or --file"),
        (("--all", "one"), "", 64, "--all: expected no other choice"),
        (("--tag", "nobody=has-it"), "", 1, "no instance is like that"),
        (("--file", "ids"), "# none yet\n", 1, "the file names none"),
        (("--file", "ids"), "one\n192.168.1.10,'Secret.1234'\n", 64, "ids:2: expected the id"),
        (("--file", "ids"), "one Secret.1234\n", 64, "ids:1: expected the id"),
        (("--file", "-"), "", 64, "stdin has the password already"),
        (("one", "two", "--user", "no user"), "", 1, "user: expected letters"),
    ],
)
async def test_bad_usage_asks_nothing(
    control: Served, tmp_path: Path, options: tuple[str, ...], text: str, status: int, words: str
) -> None:
    (tmp_path / "ids").write_text(text)
    named = [str(tmp_path / "ids") if word == "ids" else word for word in options]

    done = await linklocal("reset-password", *named, "--password-stdin", stdin=GOOD, at=control)

    assert done.status == status
    assert words in done.err
    assert "Secret.1234" not in done.err
    assert asked(control, "one") == 0


async def test_a_dry_run_says_what_would_be_and_asks_nothing(control: Served) -> None:
    done = await linklocal(
        *("reset-password", "--all", "--apply", "live", "--dry-run", "--password-stdin"),
        stdin=GOOD,
        at=control,
    )
    other = await linklocal(
        "reset-password", "one", "--dry-run", "--password-stdin", stdin=GOOD, at=control
    )

    assert done.status == 1
    assert done.out.count("[FAILED]") == 4
    assert "live needs a guest that has enrolled" in done.out
    assert other.out.splitlines()[1:] == [
        "[SUCCESS] one would be asked for",
        "Total: 1 Success: 1 Failed: 0",
    ]
    assert other.status == 0
    assert other.err == "checked 1 of 1\n"
    assert asked(control, "one") == 0


async def test_of_windows_it_is_said_that_no_daemon_will_come(control: Served) -> None:
    windows = await linklocal("reset-password", "windows", "--hash-stdin", stdin=HASH, at=control)
    linux = await linklocal("reset-password", "one", "--hash-stdin", stdin=HASH, at=control)

    assert (windows.status, linux.status) == (0, 0)
    assert "there is none of ours for Windows" in windows.err
    assert "waits for its first boot with one" in linux.err


async def test_generated_passwords_are_each_their_own_and_alone_on_stdout(control: Served) -> None:
    done = await linklocal(
        "reset-password", "one", "windows", "nobody", "--generate", "--hash", "sha256", at=control
    )

    made = dict(line.split(" ") for line in done.out.splitlines())
    assert made.keys() == {"one", "windows"}
    assert made["one"] != made["windows"]
    assert not broken(made["windows"], user="Administrator", os_type="Windows")
    assert "Total: 3 Success: 2 Failed: 1" in done.err.splitlines()
    assert done.status == 1


async def test_a_password_for_many_is_asked_for_twice_and_once_only(control: Served) -> None:
    answers = [GOOD.decode().strip()] * 2

    status, out = await at_terminal(
        control, "reset-password", "one", "two", "--hash", "sha256", answers=answers
    )

    assert status == 0
    assert out.splitlines()[-1] == "Total: 2 Success: 2 Failed: 0"


async def test_who_has_not_answered_in_time_is_waiting(control: Served) -> None:
    done = await linklocal(
        *("reset-password", "one", "two", "--hash-stdin", "--wait", "0.2"),
        stdin=HASH,
        at=control,
    )

    assert done.out.splitlines()[-1] == "Total: 2 Success: 0 Failed: 0 Waiting: 2"
    assert done.out.count("[WAITING]") == 2
    assert done.status == 3
    assert "0 of 2 guests have answered" in done.err


async def test_waiting_ends_with_the_last_guest(control: Served) -> None:
    command = asyncio.ensure_future(
        linklocal(
            *("reset-password", "one", "two", "--hash-stdin", "--wait", "60"),
            stdin=HASH,
            at=control,
        )
    )
    while not (asked(control, "one") and asked(control, "two")):
        await asyncio.sleep(0.01)
    for name in ("two", "one"):
        (request,) = control.engine.requests(name)
        await control.engine.cancel(request.id)

    done = await command

    assert done.status == 1
    assert done.out.splitlines()[1:] == [
        "[FAILED] one cancelled",
        "[FAILED] two cancelled",
        "Total: 2 Success: 0 Failed: 2",
    ]
