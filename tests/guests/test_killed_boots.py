"""Boots that are killed at any moment, and the boots after them."""

from __future__ import annotations

import contextlib
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from ..conftest import StartGuest
from . import installed
from .cases import entries_of, lines_of, outcome, status_of
from .light import LightGuest

pytestmark = [pytest.mark.guest, pytest.mark.slow, pytest.mark.timeout(1200)]

ROUNDS = 100
CUT_OFF = "interrupted at an earlier boot, not run again"
# A command's first act is to say that it runs; what takes its time can be killed within.
SCRIPT = "#!/bin/sh\necho $INSTANCE_ID >>/srv/{name}\nsleep 0.02\n"
KINDS = {
    "000-once": "text/x-shellscript-per-once",
    "010-instance": "text/x-shellscript-per-instance",
    "early": "text/x-shellscript",
    "middle": "text/x-shellscript",
    "zz-late": "text/x-shellscript",
}
CONFIG = """\
#cloud-config
write_files:
- {{path: /etc/made/{id}, content: "{id}"}}
- {{path: /etc/made/{id}-late, content: "{id}", defer: true}}
users: [{{name: u{number}, groups: [users]}}]
timezone: Europe/Berlin
fqdn: h{number}.example.org
bootcmd: ["echo {id} >>/srv/every-boot"]
runcmd:
- echo {id} >>/srv/runcmd
- sleep 0.02
- echo {id} >>/srv/runcmd-end
"""


def user_data(number: int) -> bytes:
    text = 'Content-Type: multipart/mixed; boundary="==b=="\nMIME-Version: 1.0\n\n'
    config = CONFIG.format(id=f"k{number}", number=number)
    text += f"--==b==\nContent-Type: text/cloud-config\n\n{config}\n"
    for name, kind in KINDS.items():
        # A script for once ever is another one in each round.
        body = SCRIPT.format(name=name) + f"# {number}\n"
        text += f'--==b==\nContent-Type: {kind}; name="{name}"\n\n{body}\n'
    return f"{text}--==b==--\n".encode()


def argv(number: int) -> list[str]:
    words = ["python3", "-m", "agent", "run", "-q", "--user-data", "/var/tmp/user-data"]
    return [*words, "--instance-id", f"k{number}"]


def boot(guest: LightGuest, number: int) -> None:
    guest.run(argv(number), cwd=installed.HOME, check=True)


def runs(guest: LightGuest, name: str, number: int) -> int:
    path = f"/srv/{name}"
    return guest.text(path).splitlines().count(f"k{number}") if guest.exists(path) else 0


def told_cut_off(record: dict[str, Any], place: str) -> bool:
    return any(
        entry["place"] == place and CUT_OFF in entry.get("detail", "")
        for entry in entries_of(record)
    )


def check(guest: LightGuest, number: int) -> None:
    """Everything of the round is as it must be after the second boot."""
    record = status_of(guest)
    cut_off = []
    for name in KINDS:
        count = runs(guest, name, number)
        assert count <= 1, f"{name} ran {count} times"
        if told_cut_off(record, name):
            cut_off.append(name)
        else:
            assert count == 1, f"{name} never ran, and nobody says so: {record}"
    begun, ended = runs(guest, "runcmd", number), runs(guest, "runcmd-end", number)
    assert begun <= 1
    assert ended <= 1
    if told_cut_off(record, "runcmd"):
        cut_off.append("runcmd")
    else:
        assert (begun, ended) == (1, 1), record
    left = guest.run(["ls", f"/var/lib/linklocal/agent/instances/k{number}/scripts"], check=True)
    assert all(name.endswith(".output") for name in left.stdout.decode().split()), left.stdout
    # At most one thing can have been at work.
    assert len(cut_off) <= 1
    assert outcome(record) == ("degraded" if cut_off else "done"), record["detail"]
    assert guest.text(f"/etc/made/k{number}") == f"k{number}"
    assert guest.text(f"/etc/made/k{number}-late") == f"k{number}"
    assert guest.text("/etc/hostname") == f"h{number}\n"
    assert f"u{number}" in lines_of(guest, "passwd")


def test_a_killed_boot_is_made_good_by_the_next_and_nothing_runs_twice(
    light_guest: StartGuest, installed_agent: Path
) -> None:
    guest = light_guest(layers=[installed_agent], hide=())
    guest.write("/var/tmp/user-data", user_data(0))
    began = time.monotonic()
    boot(guest, 0)
    seconds = time.monotonic() - began
    check(guest, 0)

    finished = 0
    for number in range(1, ROUNDS + 1):
        guest.write("/var/tmp/user-data", user_data(number))
        guest.run(["rm", "-rf", "/run/linklocal"], check=True)
        with guest.start(argv(number), cwd=installed.HOME) as running:
            # Any moment of it: that is what the test is about.
            time.sleep(random.Random(number).uniform(0.0, seconds * 1.1))  # noqa: S311
            with contextlib.suppress(ProcessLookupError):
                running.kill(9)
            running.wait()
        told = guest.run(["python3", "-m", "agent", "status", "--json"], cwd=installed.HOME)
        before = json.loads(told.stdout)["status"]
        assert before in ("failed", "not started", "done"), f"round {number}: {before}"
        finished += before == "done"
        guest.reboot()

        boot(guest, number)

        check(guest, number)
        guest.reboot()
        boot(guest, number)
        assert runs(guest, "middle", number) <= 1
        assert runs(guest, "every-boot", number) >= 2
    assert finished < ROUNDS // 2
