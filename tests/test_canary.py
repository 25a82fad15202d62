"""Every secret that Linklocal handles is planted in real machines, and then looked for everywhere.

A whole life of guests: broken and good user data, plans, scripts that fail, session tokens, posted
passwords, resets of every ending. Afterwards no file, name, output, argv or environment has any of
the secrets, but in the places that are named where the secret is made. The umask is 000 throughout.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import stat
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from .canary.documents import OUTPUT, Secrets
from .canary.search import Canary, Trace, Watch, files_of, leaks, places, traces_of
from .canary.story import Story, instances, operators_files, recorders, shadow_of, start_console
from .conftest import StartGuest
from .guests import installed
from .guests.cases import entries_of
from .guests.cloud import Cloud
from .guests.light import LightGuest, Nic
from .guests.passwords import opens

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]

# Everything else below these is 0700 and 0600.
MODES = {
    "/run/linklocal": 0o755,  # On the way to the status.
    "/run/linklocal/status.json": 0o644,
    "/run/linklocal/instance-data.json": 0o644,  # For everybody, redacted.
    "/var/log/linklocal": 0o755,
    "/var/log/linklocal/agent.log": 0o640,  # For the group adm.
    "/var/lib/linklocal": 0o755,  # On the way to two directories of 0700.
}


class Played(NamedTuple):
    canaries: list[Canary]
    traces: list[Trace]
    watched: list[Trace]
    outputs: dict[str, subprocess.CompletedProcess[bytes]]
    statuses: dict[str, dict[str, Any]]
    modes: dict[str, str]
    """Of what lies in the suite's directories, such as `0600` or `directory 0700`."""
    server_modes: dict[str, str]
    shadow: dict[str, str]
    passwords: dict[str, str]
    """What must open the accounts."""
    reset_hash: str
    tools: str
    writable: list[str]
    """What others than the owner may write, of all that the guests have got."""


@pytest.fixture(scope="module")
def played(
    debian12: Path, installed_agent: Path, tmp_path_factory: pytest.TempPathFactory
) -> Played:
    made = Secrets()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    layers = [recorders(tmp_path_factory.mktemp("tools"), debian12), installed_agent]
    with ExitStack() as stack:
        cloud = stack.enter_context(Cloud())
        guests = [
            stack.enter_context(
                LightGuest(
                    debian12,
                    cloud=cloud,
                    nic=Nic(f"192.168.1.{10 + number}/24", f"fa:16:3e:00:01:{number:02x}"),
                    name=name,
                    layers=layers,
                )
            )
            for number, name in enumerate(("good", "broken", "amazon"))
        ]
        for machine in (cloud.machine, *guests):
            machine.call("umask", 0)
        watch = stack.enter_context(Watch(cloud.machine, *guests))
        settings = operators_files(cloud.machine, made, key)
        service = stack.enter_context(cloud.serve(instances(made, key), **settings))
        story = Story(cloud, service, made)
        good, broken, amazon = guests
        console = stack.enter_context(start_console(good))
        story.broken_user_data(broken)
        story.good_user_data(good)
        story.tokens(amazon)
        story.mailbox(good, key)
        argv = ["python3", "-m", "agent.reset_password", "run"]
        daemon = stack.enter_context(good.start(argv, cwd=installed.HOME))
        daemon.wait_for("enrolled")
        text, reset_hash = story.resets()
        story.raw_control()
        # A made-up password is told on the console, and nowhere else.
        made_up = console.wait_for(r"carol: (\S+)")[1]
        made.add("made-up password", made_up.encode(), "^good console$")
        shadow = shadow_of(good)
        story.made_by_the_suite(good, shadow)
        traces = story.traces | {Trace("good console", console.stdout)}
        for machine in (cloud.machine, *guests):
            traces |= set(traces_of(machine))
        statuses = {
            guest.name: json.loads(guest.read("/run/linklocal/status.json")) for guest in guests
        }
        modes = modes_of(good, list(MODES))
        server_modes = modes_of(cloud.machine, ["/var/lib/linklocal/"])
        for what, running in (("the daemon", daemon), ("the server", service.process)):
            running.kill()
            done = running.wait(30)
            traces.add(Trace(f"output of {what}", done.stdout + done.stderr))
            story.outputs[what] = done
        for machine in (cloud.machine, good):
            traces |= set(traces_of(machine))
        return Played(
            made.all,
            [*traces, *watch.traces()],
            watch.traces(),
            story.outputs,
            statuses,
            modes,
            server_modes,
            shadow,
            {"root": text, "carol": made_up},
            reset_hash,
            good.text("/dev/shm/tools"),
            [path for guest in (good, amazon) for path in writable(guest)],
        )


def modes_of(machine: LightGuest, tops: Sequence[str]) -> dict[str, str]:
    found = {}
    for inside, path in files_of(machine):
        if inside in tops or any(inside.startswith(f"{top.rstrip('/')}/") for top in tops):
            mode = f"{path.lstat().st_mode & 0o7777:04o}"
            found[inside] = f"directory {mode}" if path.is_dir() else mode
    return found


def writable(machine: LightGuest) -> list[str]:
    """Return what others may write, but for devices, links, and directories of everybody."""
    found = []
    for inside, path in files_of(machine):
        mode = path.lstat().st_mode
        others = mode & 0o002 and not mode & stat.S_ISVTX
        if others and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            found.append(inside)
    return found


def test_no_secret_is_anywhere_but_where_it_belongs(played: Played) -> None:
    assert leaks(played.canaries, played.traces) == []


def test_the_story_was_played_to_its_end(played: Played) -> None:
    """What was never handled cannot have leaked."""
    said = [f"{entry['place']} {entry['result']}" for entry in entries_of(played.statuses["good"])]
    watched = " ".join(trace.where for trace in played.watched)

    for user, password in played.passwords.items():
        assert opens(played.shadow[user], password)
    assert played.shadow["debian"] == played.reset_hash
    for words in (
        *("runcmd[0] failed", "runcmd[1] failed", "runcmd[2] refused", "runcmd[3] done"),
        *("part-002 failed", "chpasswd.users[3] failed", "write_files /proc/no/such failed"),
        *("vendor data 2 part-001 failed", "a_key_of_no_module warning"),
    ):
        assert words in said, said
    good = played.statuses["good"]
    assert (good["status"], good["degraded"]) == ("done", True)
    # Of the broken ones nothing may be left that could be used.
    for record in played.statuses.values():
        assert record["status"] == "failed" or record["degraded"]
    for program in ("agent run", "agent.reset_password", "metadata_server", "hasher.py"):
        assert program in watched
    for tool in ("chpasswd -e", "/usr/sbin/chpasswd \n", "/usr/sbin/useradd "):
        assert tool in played.tools


def test_every_broken_document_is_named_as_broken(played: Played) -> None:
    outputs = [done for what, done in played.outputs.items() if what.startswith("broken: ")]

    assert len(outputs) > 30
    for done in outputs:
        said = done.stdout + done.stderr
        assert b"Traceback" not in said, said
        assert b"internal error" not in said, said
        if "run" in done.args:
            assert done.stdout.startswith((b"done, degraded: ", b"failed: ")), done


def test_what_is_kept_is_for_root_alone_whatever_the_umask(played: Played) -> None:
    for found, private in ((played.modes, MODES), (played.server_modes, {})):
        others = {
            path: mode
            for path, mode in found.items()
            if path not in private and mode not in ("0600", "directory 0700")
        }
        assert others == {}
    for path, mode in MODES.items():
        assert played.modes[path].split()[-1] == f"{mode:04o}", path
    for path in ("/var/lib/linklocal/resetd/identity.json", "/run/linklocal/resetd-boot.json"):
        assert path in played.modes
    assert "/var/lib/linklocal/state.sqlite" in played.server_modes


def test_nothing_is_left_that_others_may_write(played: Played) -> None:
    # The recorder of the test itself is the one that obeys the umask.
    assert [path for path in played.writable if path != "/dev/shm/tools"] == []


def test_a_made_up_password_is_long(played: Played) -> None:
    assert re.fullmatch(r"[A-Za-z0-9]{20,}", played.passwords["carol"])
    assert len(set(played.passwords["carol"])) > 8


def test_what_a_script_says_is_kept_and_the_script_is_not(played: Played) -> None:
    by_name = {canary.name: canary for canary in played.canaries}

    for name in ("said by a script", "said by runcmd"):
        kept = places(by_name[name], played.traces)
        assert [place for place in kept if re.search(OUTPUT, place)], kept
    scripts = [path for path in played.modes if "/scripts/" in path]
    assert scripts
    assert all(path.endswith((".output", ".results")) for path in scripts), scripts


# --- the search itself can fail ---------------------------------------------------------------

Leak = Callable[[LightGuest, str], object]
LEAKS: dict[str, Leak] = {
    "file": lambda guest, secret: guest.write("/var/lib/x/y", f"a {secret} b".encode()),
    "base64": lambda guest, secret: guest.write("/y", base64.b64encode(b"root:" + secret.encode())),
    "hexadecimal": lambda guest, secret: guest.write("/etc/y", secret.encode().hex().encode()),
    "memory": lambda guest, secret: guest.write("/run/x/y", secret.encode()),
    "shared memory": lambda guest, secret: guest.write("/dev/shm/y", secret.encode()),
    "temporary file": lambda guest, secret: guest.write("/var/tmp/y", secret.encode()),
    "name": lambda guest, secret: guest.write(f"/tmp/{secret}", b""),
    "link": lambda guest, secret: guest.sh(f"ln -s {secret} /opt/l"),
}


@pytest.fixture
def planted() -> Canary:
    value = f"CnQ{secrets.token_hex(6)}-7z"
    return Canary("planted", value.encode(), ("^leaky file /etc/shadow$",))


@pytest.mark.parametrize("kind", LEAKS)
def test_a_planted_leak_is_found(light_guest: StartGuest, planted: Canary, kind: str) -> None:
    guest = light_guest(name="leaky")
    guest.write("/etc/shadow", planted.value)
    before = leaks([planted], traces_of(guest))

    LEAKS[kind](guest, planted.value.decode())

    assert before == []
    assert len(leaks([planted], traces_of(guest))) == 1


@pytest.mark.parametrize(
    ("argv", "env", "found"),
    [
        (["/bin/sh", "-c", "sleep 0.3; :", "SECRET"], {}, "argv"),
        (["/bin/sh", "-c", "sleep 0.3; :"], {"PASSWORD": "SECRET"}, "environment"),
    ],
)
def test_a_leak_of_a_process_is_found(
    light_guest: StartGuest, planted: Canary, argv: list[str], env: dict[str, str], found: str
) -> None:
    guest = light_guest(name="leaky")
    secret = planted.value.decode()

    with Watch(guest) as watch:
        guest.run(
            [word.replace("SECRET", secret) for word in argv],
            env={name: value.replace("SECRET", secret) for name, value in env.items()},
        )

    kinds = {line.split()[2] for line in leaks([planted], watch.traces())}
    assert kinds == {found}, watch.traces()
