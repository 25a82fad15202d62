"""The commands for after a boot, as programs: query, analyze, collect-logs, clean, cloud-init."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree
from pathlib import Path

import pytest

from ..conftest import Serve
from ..guests.directory import DirectoryGuest
from .loopback import Answer, ok, request, serving, status
from .test_boot import MOTD
from .test_cli import CHECKOUT, agent, record_of, run
from .test_openstack import ID, INSTANCE

COMPAT = b"cloud_init_compat: true\n"
SECRET = "hunter2"
USER_DATA = f"#cloud-config\npassword: {SECRET}\nchpasswd: {{expire: false}}\nunknown: 1\n"


def cloud_init(guest: DirectoryGuest, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "agent.cloud_init", "--root", str(guest.root), *words]
    return subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)


@pytest.fixture
def booted(serve: Serve, guest_root: DirectoryGuest) -> tuple[DirectoryGuest, str]:
    """A guest after a boot from the real server, and the server's URL."""
    url = serve({**INSTANCE, "vendor_data": {}, "user_data": USER_DATA}).guest_url
    guest_root.write("/etc/linklocal/agent.yaml", COMPAT)
    words = ("run", "-q", "--root", guest_root.root, "--metadata-url", url)
    agent(*words, "--datasource", "openstack")
    return guest_root, url


def test_query_answers_in_cloud_inits_names(booted: tuple[DirectoryGuest, str]) -> None:
    guest, _ = booted

    def answer(*words: str) -> str:
        done = agent("query", *words, "--root", guest.root)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert answer("v1.instance_id") == answer("instance_id") == f"{ID}\n"
    assert answer("ds.meta_data.uuid") == f"{ID}\n"
    assert answer("v1.cloud-name") == "openstack\n"
    assert "local_hostname" in answer("v1", "--list-keys").splitlines()
    assert json.loads(answer())["v1"]["instance_id"] == ID
    wrong = agent("query", "v1.instance_idd", "--root", guest.root)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "no such key, nearest is 'instance_id'" in wrong.stderr


def test_query_shows_user_data_to_root_alone_and_keeps_it_nowhere(
    booted: tuple[DirectoryGuest, str],
) -> None:
    guest, url = booted

    done = agent("query", "userdata", "--root", guest.root, "--metadata-url", url)

    if os.geteuid() == 0:
        assert done.stdout == USER_DATA
    else:
        assert "only root" in done.stderr
    for path in guest.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert SECRET.encode() not in path.read_bytes(), path
    readable = guest.text("/run/linklocal/instance-data.json")
    assert "random_seed" not in readable or "redacted" in readable


def test_the_archive_of_logs_has_what_helps_and_no_secret(
    booted: tuple[DirectoryGuest, str], tmp_path: Path
) -> None:
    guest, _ = booted
    guest.write("/etc/linklocal/agent.yaml", f"cloud_config: {{password: {SECRET}}}\n".encode())
    path = tmp_path / "logs.tar.gz"

    agent("collect-logs", "--tarfile", path, "--root", guest.root)

    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as tar:
        files = {entry.name: tar.extractfile(entry) for entry in tar}
        content = {name: file.read() for name, file in files.items() if file}
    assert "linklocal-logs/run/linklocal/status.json" in content
    assert "linklocal-logs/var/log/linklocal/agent.log" in content
    assert not any(SECRET.encode() in each for each in content.values())


def test_clean_forgets_so_that_the_next_boot_is_the_first(guest_root: DirectoryGuest) -> None:
    run(guest_root, MOTD)
    guest_root.write("/etc/motd", b"changed\n")
    guest_root.write("/var/lib/linklocal/resetd/identity", b"x", mode=0o600)

    said = agent("clean", "--root", guest_root.root).stdout
    run(guest_root, MOTD)

    assert "removed /var/lib/linklocal/agent\n" in said
    assert guest_root.text("/etc/motd") == "served\n"
    assert guest_root.exists("/var/log/linklocal/agent.log")
    assert guest_root.exists("/var/lib/linklocal/resetd/identity")


def test_clean_removes_nothing_by_a_configuration_that_cannot_be_read(
    guest_root: DirectoryGuest,
) -> None:
    run(guest_root, MOTD)
    guest_root.write("/etc/linklocal/agent.yaml", b"datasource: [\n")

    done = agent("clean", "--root", guest_root.root)

    assert done.returncode == 1
    assert "/etc/linklocal/agent.yaml: line 2" in done.stderr
    assert guest_root.exists("/var/lib/linklocal/agent")


def test_seal_leaves_an_image(guest_root: DirectoryGuest) -> None:
    run(guest_root, MOTD)
    for path in ("/var/lib/linklocal/resetd/identity", "/etc/ssh/ssh_host_rsa_key"):
        guest_root.write(path, b"x", mode=0o600)
    guest_root.write("/etc/machine-id", b"0123456789abcdef0123456789abcdef\n")
    guest_root.write("/etc/ssh/sshd_config", b"# stays\n")
    guest_root.write("/etc/precious", b"stays")
    guest_root.path("/var/lib/linklocal/agent/instances/link").symlink_to("/etc")

    agent("clean", "--seal", "--root", guest_root.root)

    assert not guest_root.exists("/var/lib/linklocal/agent")
    assert not guest_root.exists("/var/lib/linklocal/resetd")
    assert not guest_root.exists("/etc/ssh/ssh_host_rsa_key")
    assert not guest_root.exists("/var/log/linklocal")
    assert guest_root.text("/etc/machine-id") == ""
    assert guest_root.exists("/etc/ssh/sshd_config")
    assert guest_root.text("/etc/precious") == "stays"
    assert agent("clean", "--seal", "--root", guest_root.root).stdout == ""


# As Debian 11 to 13, RHEL and SUSE have them.
ITS_OWN = (
    "/var/lib/dhcp/dhclient.eth0.leases",
    "/var/lib/dhclient/dhclient-5fb06bd0-eth0.lease",
    "/var/lib/NetworkManager/internal-5fb06bd0-eth0.lease",
    *(f"/var/lib/dhcpcd/{name}" for name in ("duid", "secret", "eth0.lease", "eth0.lease6")),
    *(f"/var/lib/wicked/{name}" for name in ("duid.xml", "iaid.xml", "lease-eth0-dhcp-ipv4.xml")),
    *(f"/var/lib/systemd/{name}" for name in ("random-seed", "credential.secret")),
    "/boot/efi/loader/random-seed",
)
NOT_ITS_OWN = ("/boot/efi/loader/loader.conf", "/var/lib/NetworkManager/NetworkManager.state")


def test_two_machines_of_a_sealed_image_are_not_one_to_dhcp(guest_root: DirectoryGuest) -> None:
    for path in (*ITS_OWN, *NOT_ITS_OWN):
        guest_root.write(path, b"x", mode=0o600)

    agent("clean", "--seal", "--root", guest_root.root)

    assert [path for path in ITS_OWN if guest_root.exists(path)] == []
    assert all(guest_root.exists(path) for path in NOT_ITS_OWN)


def test_analyze_tells_working_from_waiting(
    booted: tuple[DirectoryGuest, str], tmp_path: Path
) -> None:
    guest, _ = booted
    picture = tmp_path / "boot.svg"

    done = agent("analyze", "--svg", picture, "--root", guest.root)

    told = json.loads(agent("analyze", "--json", "--root", guest.root).stdout)
    assert "waiting for datasource openstack" in done.stdout
    assert "stage network" in done.stdout
    assert told["seconds"] == pytest.approx(told["waiting"] + told["working"], abs=0.002)
    assert told["waiting"] > 0
    tree = xml.etree.ElementTree.parse(picture)  # noqa: S314 - our own
    assert len(tree.findall(".//{*}rect")) == len(told["spans"]) + 1


def test_before_a_boot_there_is_nothing_to_tell(guest_root: DirectoryGuest) -> None:
    assert agent("analyze", "--root", guest_root.root).returncode == 3
    done = agent("query", "--root", guest_root.root)
    assert done.returncode == 1
    assert "no boot has found its instance yet" in done.stderr


# --- where cloud-init is expected


def test_the_marks_of_cloud_init_are_there_when_asked_for(
    booted: tuple[DirectoryGuest, str],
) -> None:
    guest, _ = booted

    result = json.loads(guest.read("/run/cloud-init/result.json"))["v1"]
    marks = json.loads(guest.read("/run/cloud-init/status.json"))["v1"]
    assert result == {"datasource": "DataSourceOpenStack", "errors": []}
    assert marks["stage"] is None
    assert marks["modules-final"]["finished"] >= marks["init-local"]["start"] > 0
    assert any("unknown" in line for line in marks["init"]["recoverable_errors"]["WARNING"])
    assert guest.exists("/var/lib/cloud/instance/boot-finished")
    assert guest.text("/run/cloud-init/.instance-id") == f"{ID}\n"
    assert guest.readlink("/var/lib/cloud/instance") == f"instances/{ID}"


def test_a_boot_that_failed_is_an_error_in_the_marks(guest_root: DirectoryGuest) -> None:
    guest_root.write("/etc/linklocal/agent.yaml", COMPAT)

    assert run(guest_root, "no user data of any type").returncode == 1

    for path, place in (("result", ()), ("status", ("init",))):
        found = json.loads(guest_root.read(f"/run/cloud-init/{path}.json"))["v1"]
        for name in place:
            found = found[name]
        assert "no known type" in found["errors"][0]
    assert cloud_init(guest_root, "status").returncode == 1


def test_without_the_switch_there_are_none(guest_root: DirectoryGuest) -> None:
    run(guest_root, MOTD)

    assert not guest_root.exists("/run/cloud-init")
    assert not guest_root.exists("/var/lib/cloud")


@pytest.mark.parametrize(
    ("user_data", "words", "code"),
    [
        (MOTD, "status: done", 0),
        ("#cloud-config\nunknown: 1\n", "status: done", 2),
        ("#cloud-config\ntimezone: No/Where\n", "status: done", 2),
        ("a letter", "status: error", 1),
    ],
)
def test_cloud_init_status_answers_with_its_exit_statuses(
    guest_root: DirectoryGuest, user_data: str, words: str, code: int
) -> None:
    before = cloud_init(guest_root, "status")
    run(guest_root, user_data)

    done = cloud_init(guest_root, "status", "--wait")
    structured = cloud_init(guest_root, "status", "--format", "json")
    long = cloud_init(guest_root, "status", "--long")

    assert (before.returncode, before.stdout) == (0, "status: not started\n")
    assert (done.returncode, done.stdout) == (code, f"{words}\n")
    assert structured.returncode == long.returncode == code
    assert json.loads(structured.stdout)["status"] == words.partition(": ")[2]
    assert "errors:" in long.stdout


def test_cloud_init_status_waits(guest_root: DirectoryGuest) -> None:
    record_of(guest_root)
    argv = [sys.executable, "-m", "agent.cloud_init", "--root", str(guest_root.root)]
    waiting = subprocess.Popen([*argv, "status", "--wait"], cwd=CHECKOUT, stdout=subprocess.PIPE)

    run(guest_root, MOTD)

    assert waiting.communicate(timeout=30)[0] == b"status: done\n"


def test_the_other_questions_of_cloud_inits_users(
    booted: tuple[DirectoryGuest, str], tmp_path: Path
) -> None:
    guest, _ = booted
    good = tmp_path / "good.yaml"
    good.write_text(MOTD)

    assert cloud_init(guest, "query", "instance_id").stdout == f"{ID}\n"
    assert cloud_init(guest, "cloud-id").stdout == "openstack\n"
    assert cloud_init(guest, "schema", "-c", str(good)).returncode == 0
    assert cloud_init(guest, "analyze", "show").returncode == 0
    assert cloud_init(guest, "init", "--local").returncode == 1
    assert "linklocal" in cloud_init(guest, "--version").stdout


# --- the report at the end


def listener(heads: list[bytes], bodies: list[bytes], service: str) -> Answer:
    def answer(connection, number):  # type: ignore[no-untyped-def]
        while head := request(connection):
            if head.startswith(b"PUT"):
                heads.append(head)
                size = int(head.lower().partition(b"content-length: ")[2].split()[0])
                bodies.append(connection.recv(size, 0x100))  # MSG_WAITALL
                connection.sendall(status(204))
            elif b"meta_data.json" in head:
                connection.sendall(ok(json.dumps({"uuid": ID}).encode()))
            elif b"user_data" in head:
                connection.sendall(ok(service.encode()))
            else:
                connection.sendall(status(404))

    return answer


@pytest.mark.parametrize("switch", [True, False])
def test_the_service_is_told_how_the_boot_went_when_it_is_to_be(
    guest_root: DirectoryGuest, switch: bool
) -> None:
    heads: list[bytes] = []
    bodies: list[bytes] = []
    guest_root.write("/etc/linklocal/agent.yaml", f"report_boot: {str(switch).lower()}\n".encode())
    with serving(listener(heads, bodies, "#cloud-config\nunknown: 1\n")) as url:
        words = ("run", "-q", "--root", guest_root.root, "--metadata-url", url)
        done = agent(*words, "--datasource", "openstack")

    assert done.returncode == 0
    assert len(bodies) == int(switch)
    if switch:
        assert heads[0].startswith(b"PUT /linklocal/v1/boot-report HTTP/1.1\r\n")
        report = json.loads(bodies[0])
        assert (report["instance_id"], report["status"], report["degraded"]) == (ID, "done", True)
        trouble = {"place": "unknown", "result": "warning", "detail": "unknown key"}
        assert report["troubles"] == [{**trouble, "status": None}]
