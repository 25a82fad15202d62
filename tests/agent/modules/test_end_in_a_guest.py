"""How a boot ends, in a guest: who is told, and what is run when all is over."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs

import pytest

from .booted import Booted
from .machine import KEY
from .test_apt_in_a_guest import REPOSITORY

pytestmark = pytest.mark.guest

# Answers the first request with 503 and the next with 200, and prints each.
LISTENER = """
import http.server
class H(http.server.BaseHTTPRequestHandler):
    seen = []
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.seen.append(body)
        self.send_response(503 if len(self.seen) == 1 else 200)
        self.end_headers()
        print("POST", self.path, self.headers["Content-Type"], body, flush=True)
    def log_message(self, *words): pass
s = http.server.HTTPServer(("127.0.0.1", 0), H)
print("at", s.server_port, flush=True)
s.serve_forever()
"""
SHUTDOWN = """#!/bin/sh
cp /run/linklocal/status.json /root/status-then
echo "$@" >> /root/ended
"""


def test_a_url_is_told_who_came_up_and_told_again_when_it_is_busy(booted: Booted) -> None:
    with booted.guest.start(["python3", "-c", LISTENER]) as listener:
        port = listener.wait_for(r"at (\d+)\n")[1]
        document = f"""
hostname: web-1
phone_home: {{url: 'http://127.0.0.1:{port}/up/$INSTANCE_ID', tries: 3}}
"""
        assert booted.entries(document) == []
        text = listener.wait_for(r"POST (\S+) (\S+) (\S+)\n")

    assert text[1] == "/up/i-1"
    assert text[2] == "application/x-www-form-urlencoded"
    assert len(re.findall("POST", text.string)) == 2
    told = {name: values[0] for name, values in parse_qs(text[3]).items()}
    key = booted.guest.text("/etc/ssh/ssh_host_ed25519_key.pub").strip()
    assert told["pub_key_ed25519"] == key
    assert (told["hostname"], told["instance_id"]) == ("web-1", "i-1")
    assert "PRIVATE" not in text.string


def test_nobody_at_home_is_a_failure_and_the_boot_goes_on(booted: Booted) -> None:
    status = booted.boot("phone_home: {url: 'http://127.0.0.1:9/', tries: 1}")

    assert (status["status"], status["degraded"]) == ("done", True)
    assert "gave up after 1 attempt" in status["detail"]
    assert [row["name"] for row in status["modules"]][-1] == "final_message"


def test_the_machine_restarts_when_the_status_is_written_and_only_once(booted: Booted) -> None:
    guest = booted.guest
    guest.write("/usr/local/sbin/shutdown", SHUTDOWN.encode(), mode=0o755)
    document = "power_state: {mode: reboot, message: see you, condition: test -e /etc/passwd}"

    booted.boot(document)

    assert guest.text("/root/ended") == "-r now see you\n"
    assert json.loads(guest.read("/root/status-then"))["status"] == "done"
    booted.boot(document)
    assert guest.text("/root/ended") == "-r now see you\n"
    booted.boot(document, instance="i-2")
    assert guest.text("/root/ended") == "-r now see you\n" * 2


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("'exit 1'", []),
        ("[test, -e, /nothing]", []),
        ("'exit 7'", [("failed", "power_state.condition")]),
        ("[no-such-program]", []),
    ],
)
def test_a_condition_that_does_not_hold_leaves_it_running(
    booted: Booted, condition: str, found: list[tuple[str, str]]
) -> None:
    guest = booted.guest
    guest.write("/usr/local/sbin/shutdown", SHUTDOWN.encode(), mode=0o755)

    assert booted.entries(f"power_state: {{mode: halt, condition: {condition}}}") == found

    assert not guest.exists("/root/ended")


def test_a_shutdown_that_fails_is_in_the_status(booted: Booted) -> None:
    booted.guest.write("/usr/local/sbin/shutdown", b"#!/bin/sh\nexit 3\n", mode=0o755)

    status = booted.boot("power_state: {mode: poweroff}")

    assert status["degraded"]
    assert [entry["place"] for entry in status["entries"]] == ["power_state"]


def test_random_bytes_reach_the_kernel_and_the_users_program(booted: Booted) -> None:
    document = """
random_seed: {data: abc, command: [sh, -c, 'echo $RANDOM_SEED_FILE > /root/seeded']}
"""
    before = booted.guest.stat("/dev/urandom")

    assert booted.entries(document) == []

    assert booted.guest.text("/root/seeded") == "/dev/urandom\n"
    assert booted.guest.stat("/dev/urandom") == before


def test_a_root_without_a_disk_is_silently_left_as_it_is(booted: Booted) -> None:
    status = booted.boot("growpart: {mode: auto}")

    assert not status["degraded"]
    assert [row["entries"] for row in status["modules"] if row["name"] == "growpart"] == [[]]


def test_the_console_shows_the_host_keys_and_who_may_come_in(booted: Booted) -> None:
    guest = booted.guest
    guest.sh("rm -f /dev/console; mkfifo /dev/console")

    with guest.start(["sh", "-c", "exec cat 0<>/dev/console"]) as console:
        assert booted.entries(f"ssh_authorized_keys: ['{KEY} me']") == []
        console.wait_for("-----END SSH HOST KEY KEYS-----\n")
        text = console.stdout.decode()

    prints = guest.sh("for f in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $f; done")
    between = text.partition("-----BEGIN SSH HOST KEY FINGERPRINTS-----\n")[2]
    assert between.startswith(prints)
    assert guest.text("/etc/ssh/ssh_host_rsa_key.pub") in text
    assert "ci-info: Authorized keys of user debian (sha256):\nci-info: ssh-ed25519 " in text
    assert "PRIVATE" not in text


def test_files_are_fetched_from_where_they_are(booted: Booted) -> None:
    guest = booted.guest
    guest.write("/srv/file", bytes(range(256)))
    with guest.start(["python3", "-u", "-m", "http.server", "0", "-d", "/srv"]) as server:
        port = server.wait_for(r"port (\d+)")[1]
        base = f"http://me:Cloud.1234@127.0.0.1:{port}"
        status = booted.boot(f"""
write_files:
- {{path: /root/a, source: {{uri: '{base}/file?token=Cloud.1234', headers: {{X: Cloud.1234}}}}}}
- {{path: /root/b, content: instead, source: {{uri: '{base}/nothing'}}}}
- {{path: /root/c, source: {{uri: '{base}/nothing'}}}}
- {{path: /root/d, defer: true, permissions: '0600', source: {{uri: '{base}/file'}}}}
""")

    found = [
        (entry["result"], entry["place"]) for row in status["modules"] for entry in row["entries"]
    ]
    assert found == [("warning", "write_files /root/b"), ("failed", "write_files /root/c")]
    assert "Cloud.1234" not in str(status)
    assert guest.read("/root/a") == bytes(range(256))
    assert guest.text("/root/b") == "instead"
    assert not guest.exists("/root/c")
    assert guest.stat("/root/d").mode == 0o600


@pytest.mark.parametrize("asks", [True, False])
def test_the_machine_restarts_when_a_package_asks_for_it(booted: Booted, asks: bool) -> None:
    guest = booted.guest
    guest.write("/usr/local/sbin/shutdown", SHUTDOWN.encode(), mode=0o755)
    guest.sh(REPOSITORY)
    guest.write("/etc/apt/sources.list", b"deb [trusted=yes] file:/repo ./\n")
    if asks:
        guest.write("/run/reboot-required", b"")

    found = booted.entries("{packages: [hello-there], package_reboot_if_required: true}")

    assert found == []
    assert guest.exists("/root/ended") is asks
