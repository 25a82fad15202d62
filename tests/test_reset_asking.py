"""What root asks on the guest: status, check, history, trust and set, with a daemon and without."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import time
from pathlib import Path

import pytest

from .test_reset_crashes import settled, until
from .test_reset_end_to_end import OLD, Machine, Start, _said, ask, ended
from .test_reset_end_to_end import machine as machine
from .test_reset_end_to_end import pytestmark as pytestmark
from .test_reset_end_to_end import server as server


@pytest.fixture(params=["PIPE", "AUTO"])
def either(request: pytest.FixtureRequest, machine: Machine) -> Machine:
    machine.configure({"reset_password": {"channel": request.param}})
    return machine


def places(machine: Machine) -> tuple[str, ...]:
    below = "--state-dir", str(machine.state), "--run-dir", str(machine.run)
    return "--root", str(machine.root), *below


async def test_history_tells_every_reset_and_no_hash(either: Machine, server: Start) -> None:
    async with server() as at, either.daemon(at.guest_url):
        first, one = await ask(at)
        await ended(at, first)
        second, two = await ask(at, "daemon")
        await ended(at, second)
        await settled(either)
        status, live = await either.command("history", *places(either))
        _, as_json = await either.command("history", "--json", *places(either))
    gone, later = await either.command("history", *places(either))

    assert (status, gone) == (0, 0)
    assert later == live
    newest, oldest = live.splitlines()
    assert re.fullmatch(rf"\S+ \S+  {first.id}  root  applied: the password is set", oldest)
    assert f"{second.id}  daemon  rejected: the user is not one" in newest
    assert [each["result"] for each in json.loads(as_json)] == ["rejected", "applied"]
    for made in (one, two):
        assert made.reveal().decode() not in live + as_json
    assert "old" not in json.loads(as_json)[0]


async def test_check_says_what_is_in_order_and_what_is_not(
    either: Machine, server: Start, tmp_path: Path
) -> None:
    either.configure({"reset_password": {"users": ["root", "nobody-here"], "channel": "AUTO"}})
    async with server() as at:
        url = at.guest_url.rstrip("/")
        agent = json.loads((either.root / "etc/linklocal/agent.yaml").read_text())
        either.configure({**agent, "metadata_urls": [url]})
        ports = either.root / "proc/sys/net/ipv4/ip_unprivileged_port_start"
        ports.parent.mkdir(parents=True)
        ports.write_text("80\n")
        idle, words = await either.command("check", *places(either))
        async with either.daemon(url):
            status, found = await either.command("check", *places(either))
            _, as_json = await either.command("check", "--json", *places(either))
    down, dead = await either.command("check", *places(either))

    assert (idle, status, down) == (1, 0, 1)
    assert "problem daemon: not running" in words
    for line in (
        "ok      daemon",
        "ok      control channel",
        "ok      enrolled as instance ca9e8b7c-f2be-4b6d-a639-f10b4d994d04",
        f"ok      service at {url}",
        "ok      account files can be written",
        "note    user nobody-here: there is no such user",
        "note    source ports below 1024 are root's: any process may use those from 80 on, so that"
        " they prove nothing",
        f"ok      state in {either.state}",
    ):
        assert line in found.splitlines(), found
    assert all(set(each) == {"what", "problem", "fatal"} for each in json.loads(as_json))
    assert f"problem service at {url}: POST" in dead


async def test_trust_takes_effect_at_once(either: Machine, server: Start) -> None:
    async with server() as at, either.daemon(at.guest_url):
        pass
    async with server("another") as at, either.daemon(at.guest_url, wait_ready=False):
        await _said(either, "server-changed")
        began = time.monotonic()
        status, words = await either.command("trust", at.engine.server_key, *places(either))
        await _said(either, "enrolled")
        took = time.monotonic() - began

    assert (status, words) == (0, "the daemon trusts this server now\n")
    # Its pause after such a refusal is 15 seconds.
    assert took < 8


async def test_set_goes_through_the_daemon(either: Machine, server: Start) -> None:
    async with server() as at, either.daemon(at.guest_url):
        status, words = await either.command(
            "set", "--user", "debian", *places(either), stdin=b"$6$byhand$" + b"h" * 86
        )
        refused, why = await either.command(
            "set", "--user", "debian", *places(either), stdin=b"not a hash"
        )
        absent, who = await either.command(
            "set", "--user", "gone", *places(either), stdin=OLD.encode()
        )

    assert (status, refused, absent) == (0, 1, 1)
    assert "is set" in words
    assert either.shadow["debian"][0] == "$6$byhand$" + "h" * 86
    assert "expected one complete crypt(3) hash" in why
    assert "no such user" in who
    assert b"was set by root of this machine" in either.log
    assert b"$6$byhand$" not in either.log


async def test_set_tells_that_no_daemon_answers(either: Machine, server: Start) -> None:
    """Of this machine, whose daemon should: an image, which has none, is no reason to say so."""
    given = b"$6$byhand$" + b"h" * 86
    command = "set", "--user", "debian"
    async with server() as at, either.daemon(at.guest_url):
        for name in ("resetd.sock", "resetd.port"):
            (either.run / name).unlink(missing_ok=True)
        mute, without = await either.command(*command, *places(either), stdin=given)
    image, words = await either.command(*command, "--root", str(either.root), stdin=given)

    done = f"the password of debian below {either.root} is set"
    alone = "linklocal-resetd: no daemon answers on the control channel: set without it"
    assert (mute, image) == (0, 0)
    assert sorted(without.splitlines()) == [alone, done]
    assert words.splitlines() == [done]
    assert either.shadow["debian"][0] == given.decode()


async def test_status_is_told_while_the_service_is_silent(either: Machine) -> None:
    """A server that takes connections and never answers holds up no question."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with either.daemon(url, wait_ready=False):
            await until(lambda: bool(list(either.run.glob("resetd.[sp]o*"))))
            began = time.monotonic()
            status, words = await either.command("status", *places(either))
            took = time.monotonic() - began

    assert status == 0
    assert "running: True" in words
    assert took < 5


async def test_an_upgrade_keeps_who_the_guest_is(machine: Machine, server: Start) -> None:
    """Files of an earlier release: entries without the fields that are new, and a port it had."""
    async with server() as at:
        async with machine.daemon(at.guest_url):
            first, _ = await ask(at)
            await ended(at, first)
            await settled(machine)
        before = at.engine.enrolment(first.instance)
        path = machine.state / "resets.json"
        kept = json.loads(path.read_text())["resets"]
        old = [
            {name: each[name] for name in ("id", "old", "result", "code", "acknowledged")}
            for each in kept
        ]
        path.write_text(json.dumps({"resets": old}))
        async with machine.daemon(at.guest_url):
            second, made = await ask(at)
            done = await ended(at, second)
            _, history = await machine.command("history", *places(machine))
        after = at.engine.enrolment(first.instance)

    assert before is not None
    assert after is not None
    assert (done.state, machine.shadow["root"][0]) == ("applied", made.reveal().decode())
    assert (after.identity, after.boot, after.candidate) == (before.identity, before.boot, None)
    assert f"-  {first.id}  -  applied: the password is set" in history


async def test_a_reimaged_guest_does_not_get_what_was_asked_for_the_one_before(
    machine: Machine, server: Start
) -> None:
    async with server() as at:
        async with machine.daemon(at.guest_url):
            pass
        asked, made = await ask(at)
        shutil.rmtree(machine.state)
        machine.reboot()
        async with machine.daemon(at.guest_url, wait_ready=False):
            await _said(machine, "identity-conflict")
            conflict = at.engine.enrolment(asked.instance)
            assert conflict is not None
            assert conflict.candidate is not None
            untouched = machine.shadow["root"][0]
            await at.engine.accept(asked.instance, conflict.candidate)
        async with machine.daemon(at.guest_url):
            waiting = at.engine.request(asked.id)
            still = machine.shadow["root"][0]
            await at.engine.confirm(asked.id)
            done = await ended(at, asked)

    assert waiting is not None
    assert waiting.state == "needs-confirm"
    assert untouched == still == "*"
    assert done.state == "applied"
    assert machine.shadow["root"][0] == made.reveal().decode()


async def test_a_state_directory_that_is_a_link_stops_the_daemon(
    machine: Machine, server: Start, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o700)
    machine.state.parent.mkdir(parents=True, exist_ok=True)
    machine.state.symlink_to(elsewhere)
    async with server() as at:
        status, words = await machine.command(
            "run", *places(machine), "--metadata-url", at.guest_url
        )

    assert status == 1
    assert "expected a directory and no link" in words
    assert list(elsewhere.iterdir()) == []


async def test_an_idle_daemon_wakes_up_for_its_poll_alone(machine: Machine, server: Start) -> None:
    """Counted by the kernel: a process that sleeps switches no context."""
    async with server() as at, machine.daemon(at.guest_url):
        assert machine.process is not None
        task = Path(f"/proc/{machine.process.pid}/status")
        await settled_down(task)
        before, spent = switches(task), cpu(machine.process.pid)
        await asyncio.sleep(3.0)
        after, later = switches(task), cpu(machine.process.pid)

    assert after - before <= 1
    assert later - spent == 0


async def settled_down(task: Path) -> None:
    last = -1
    while (now := switches(task)) != last:
        last = now
        await asyncio.sleep(0.3)


def switches(task: Path) -> int:
    return sum(int(line.split()[1]) for line in task.read_text().splitlines() if "ctxt" in line)


def cpu(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")
