"""Programs, services and names: what runs, with what around it, and what is said when it cannot."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from agent import console
from agent.errors import HostError
from agent.host import Completed, Host
from agent.secret import Secret

from . import small_root
from .small_root import mode

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def live() -> Host:
    """This machine: only for programs that change nothing."""
    return Host()


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


# --- programs on a live machine


def test_status_and_output_come_back(live: Host) -> None:
    assert live.run(["echo", "a b", "$HOME;x"]) == Completed(0, b"a b $HOME;x\n")
    assert live.run(sh("echo out; echo err >&2; exit 3")) == Completed(3, b"out\nerr\n")
    assert live.run(sh("kill -9 $$")) == Completed(-9, b"")


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 1_000_000])
def test_stdin_is_what_is_given(live: Host, content: bytes) -> None:
    assert (
        live.run(["wc", "-c"], stdin=Secret(content)).output.strip() == str(len(content)).encode()
    )


def test_the_environment_is_our_own(live: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")

    lines = live.run(["env"], env={"INSTANCE_ID": "i-1", "LANG": "C"}).output.decode().splitlines()

    assert sorted(lines) == [
        "HOME=/root",
        "INSTANCE_ID=i-1",
        "LANG=C",
        "LOGNAME=root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "USER=root",
    ]


def test_a_program_starts_afresh(live: Host, tmp_path: Path) -> None:
    words = live.run(sh("pwd; ps -o sid= -p $$ | tr -d ' '; echo $$; ls /proc/self/fd | wc -l"))
    where, session, process, descriptors = words.output.decode().split()

    assert where == "/"
    assert session == process
    # stdin, stdout, stderr and the directory ls reads: nothing of ours leaks.
    assert descriptors == "4"
    assert live.run(["pwd"], cwd=str(tmp_path)).output.decode().strip() == str(tmp_path)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_program_has_the_usual_umask(live: Host, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert live.run(sh("umask")).output == b"0022\n"
    finally:
        os.umask(before)


def test_a_console_that_takes_nothing_is_not_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        console.write(writer, b"words")
        with pytest.raises(TimeoutError, match="nobody reads it"):
            console.write(writer, bytes(1 << 20), patience=0.05)
    finally:
        os.close(reader)
        os.close(writer)


def test_what_is_written_is_watched_as_it_comes(live: Host, tmp_path: Path) -> None:
    pieces: list[bytes] = []
    seen = tmp_path / "seen"

    def watch(piece: bytes) -> None:
        pieces.append(piece)
        seen.touch()

    # It ends well only when its first words were seen while it runs.
    script = f"echo one; for i in $(seq 200); do [ -e {seen} ] && break; sleep 0.1; done; ls {seen}"
    done = live.run(sh(script), output=str(tmp_path / "output"), watch=watch)

    assert done.status == 0
    assert len(pieces) > 1
    assert b"".join(pieces) == done.output


def test_a_broken_pipe_ends_a_program(live: Host) -> None:
    assert live.run(sh("yes | head -n 1; echo done")).output == b"y\ndone\n"


def test_no_more_than_the_end_of_the_output_is_kept(live: Host) -> None:
    done = live.run(sh("i=0; while [ $i -lt 40000 ]; do echo line $i; i=$((i+1)); done"))

    assert len(done.output) == 65536
    assert done.output.endswith(b"line 39999\n")


def test_output_goes_to_a_private_file(live: Host, tmp_path: Path) -> None:
    file = tmp_path / "a/output"
    before = os.umask(0)
    try:
        done = live.run(sh("echo out; echo err >&2; exit 4"), output=str(file))
    finally:
        os.umask(before)

    assert done == Completed(4, b"out\nerr\n")
    assert file.read_bytes() == b"out\nerr\n"
    assert mode(file) == 0o600
    live.run(["echo", "again"], output=str(file))
    assert file.read_bytes() == b"again\n"


@pytest.mark.parametrize("output", [None, "output"])
def test_what_a_program_leaves_running_is_not_waited_for(
    live: Host, tmp_path: Path, output: str | None
) -> None:
    file = None if output is None else str(tmp_path / output)
    started = time.monotonic()

    done = live.run(sh("sleep 60 & echo $!"), output=file)

    os.kill(int(done.output), 9)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("script", ["sleep 60", "sleep 60 & sleep 60", "yes > /dev/null"])
def test_after_its_time_the_whole_group_is_ended(live: Host, tmp_path: Path, script: str) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    with open(os.open(held, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        with pytest.raises(HostError, match=r"run slow: still running after 0\.5 seconds, ended"):
            live.run(sh(f"exec 9> {held}; {script}"), timeout=0.5, what="slow")
        os.set_blocking(reader.fileno(), True)

        # Comes back when the last of the group is gone.
        assert reader.read() == b""


def test_a_program_in_time_is_left_alone(live: Host) -> None:
    assert live.run(["echo", "x"], timeout=30.0) == Completed(0, b"x\n")


@pytest.mark.parametrize(
    ("argv", "cwd", "wrong"),
    [
        (["no-such-program"], "/", "run no-such-program: No such file or directory"),
        (["/etc/passwd"], "/", "run /etc/passwd: Permission denied"),
        (["/etc"], "/", "run /etc: Permission denied"),
        (["echo", "a\0b"], "/", "run echo: embedded null byte"),
        (["echo"], "/no/such/place", "run echo: No such file or directory"),
    ],
)
def test_what_cannot_be_started_is_said(live: Host, argv: list[str], cwd: str, wrong: str) -> None:
    with pytest.raises(HostError) as refusal:
        live.run(argv, cwd=cwd)

    assert str(refusal.value) == wrong


def test_a_secret_on_stdin_is_in_no_error_and_no_argv(live: Host) -> None:
    done = live.run(sh("tr '\\0' ' ' < /proc/$$/cmdline; env"), stdin=Secret(b"s3cret"))

    assert b"s3cret" not in done.output
    with pytest.raises(HostError) as refusal:
        live.run(["no-such-program"], stdin=Secret(b"s3cret"))
    assert "s3cret" not in str(refusal.value)


def test_which_finds_programs_on_the_fixed_path(
    live: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    root = small_root.make(tmp_path / "root")
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/tool").write_text("")
    (root / "usr/bin/tool").chmod(0o755)
    (root / "usr/bin/plain").write_text("")

    assert live.which("sh") in ("/usr/bin/sh", "/bin/sh")
    assert live.which("no-such-program") is None
    assert Host(root).which("tool") == "/usr/bin/tool"
    assert Host(root).which("/usr/bin/tool") == "/usr/bin/tool"
    assert Host(root).which("plain") is None
    assert Host(root).which("sh") is None


# --- below another root


def test_without_a_shell_nothing_runs_below_a_root(tmp_path: Path) -> None:
    host = Host(small_root.make(tmp_path / "root"))

    assert (host.live, host.runs) == (False, False)
    assert host.run(["ssh-keygen", "-A"]) == Completed(0, b"")
    assert host.run(["apt-get", "update"], what="update of the package lists") == Completed(0, b"")
    host.set_hostname("guest")
    host.reload_service("ssh", "sshd")
    host.restart_service("cron")
    host.console("words")
    assert host.not_run == [
        "ssh-keygen",
        "update of the package lists",
        "set the kernel's host name to guest",
        "reload ssh",
        "restart cron",
        "words on the console",
    ]


@as_root
def test_programs_run_in_a_chroot(tmp_path: Path) -> None:
    script = """
import json, os, subprocess, sys
from agent.errors import HostError
from agent.host import Host
root = sys.argv[1]
for name in ("bin", "lib", "lib64", "usr"):
    source = os.path.realpath("/" + name)
    if os.path.isdir(source):
        os.makedirs(f"{root}/{name}")
        subprocess.run(["mount", "--bind", source, f"{root}/{name}"], check=True)
os.makedirs(root + "/srv/inside")
host = Host(root)
ran = host.run(["/bin/sh", "-c", "pwd; ls /; cat"], cwd="/srv/inside", stdin=b"in", output="/out")
try:
    host.run(["no-such-program"])
except HostError as error:
    said = str(error)
print(json.dumps([host.live, host.runs, ran.output.decode().split(), said, host.not_run]))
"""
    prefix = ("unshare", "--mount", "--propagation", "private")

    live, runs, words, said, not_run = json.loads(
        small_root.python(script, str(tmp_path), prefix=prefix)
    )

    assert (live, runs, not_run) == (False, True, [])
    assert words[0] == "/srv/inside"
    assert {"out", "srv", "usr"} <= set(words) <= {*words[:1], "in", *os.listdir(tmp_path)}
    assert said == "run no-such-program: No such file or directory"
    assert (tmp_path / "out").read_bytes().endswith(b"in")


# --- services and the host name, in a machine of their own

SERVICES = """
import json, os, sys
from agent.host import Host
host = Host()
os.makedirs("/run", exist_ok=True)
def put(path, text, mode=0o755):
    host.write(path, text.encode(), mode=mode)
for name in ("systemctl", "service", "rc-service"):
    put(f"/usr/local/sbin/{name}", f"#!/bin/sh\\necho {name} $* >> /called\\n")
for what in sys.argv[1:]:
    if what.endswith("/"):
        host.make_directory(what)
    else:
        put(what, "")
host.reload_service("sshd", "ssh")
host.restart_service("chrony.service", "ssh")
host.reload_service("no-such-service")
print(json.dumps([(host.read("/called") or b"").decode().splitlines(), host.not_run]))
"""


@as_root
@pytest.mark.parametrize(
    ("there", "called", "not_run"),
    [
        (
            ["/run/systemd/system/", "/usr/lib/systemd/system/ssh.service"],
            [
                "systemctl --no-block try-reload-or-restart ssh.service",
                "systemctl --no-block restart ssh.service",
            ],
            [],
        ),
        (
            [
                "/run/systemd/system/",
                "/etc/systemd/system/sshd.service",
                "/usr/lib/systemd/system/chrony.service",
            ],
            [
                "systemctl --no-block try-reload-or-restart sshd.service",
                "systemctl --no-block restart chrony.service",
            ],
            [],
        ),
        (
            ["/run/openrc/", "/etc/init.d/sshd", "/etc/init.d/chrony"],
            ["rc-service sshd reload", "rc-service chrony restart"],
            [],
        ),
        (
            ["/run/initctl", "/etc/init.d/sshd", "/etc/init.d/chrony"],
            ["service sshd reload", "service chrony restart"],
            [],
        ),
        (
            ["/etc/init.d/sshd"],
            [],
            [
                "reload sshd: no service manager is running",
                "restart chrony.service: no service manager is running",
                "reload no-such-service: no service manager is running",
            ],
        ),
    ],
)
def test_the_service_manager_that_runs_is_asked(
    tmp_path: Path, there: list[str], called: list[str], not_run: list[str]
) -> None:
    # `call` is a machine of its own: an overlay whose /run and services are as the table says.
    emptied = "rm -rf /run/* /etc/init.d /etc/systemd /usr/lib/systemd/system /dev/initctl"
    prefix = (*small_root.live(tmp_path, dev=False), "/bin/sh", "-c", f'{emptied}; exec "$@"', "sh")

    result = json.loads(small_root.python(SERVICES, *there, prefix=prefix))

    assert result == [called, not_run]


@as_root
def test_the_kernels_name_is_set(tmp_path: Path) -> None:
    script = """
import os
from agent.host import Host
host = Host()
host.set_hostname("guest-1")
host.set_hostname("guest-1")
print(os.uname().nodename, host.not_run)
try:
    host.set_hostname("x" * 65)
except Exception as error:
    print(type(error).__name__, error)
"""
    before = os.uname().nodename

    said = small_root.python(script, prefix=("unshare", "--uts"))

    assert said == (f"guest-1 []\nHostError set host name {'x' * 65}: Invalid argument\n")
    assert os.uname().nodename == before
