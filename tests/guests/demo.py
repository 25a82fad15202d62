"""make demo: guests boot from our own metadata server, then one gets its password reset.

As root on Linux the guests are real: namespaces of their own over this machine's root, which stays
as it is. Otherwise a guest is a directory, and the demo says what that leaves out.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .cases import STATUS, Case, Guest, cases, differences, entries_of, lines_of, outcome, status_of
from .cloud import ADDRESS, CHECKOUT, Cloud, python_binds
from .directory import DirectoryGuest
from .light import GuestError, LightGuest, Nic, host_layers
from .passwords import opens

NAMESPACE = uuid.UUID("ca9e8b7c-f2be-4b6d-a639-f10b4d994d04")


class Part(NamedTuple):
    """One of the guide's examples, and what of the guest is worth showing afterwards."""

    case: str
    title: str
    show: Callable[[Guest, Mapping[str, Any]], list[str]]


class Row(NamedTuple):
    title: str
    good: bool
    status: str
    seconds: float
    lines: list[str]


def line_of(path: str, word: str) -> Callable[[Guest, Mapping[str, Any]], list[str]]:
    """Show the lines of *path* that have *word*."""

    def show(guest: Guest, record: Mapping[str, Any]) -> list[str]:
        if not guest.exists(path):
            return [f"{path}: not there"]
        return [f"{path}: {line}" for line in guest.text(path).splitlines() if word in line]

    return show


def password_of(user: str, password: str) -> Callable[[Guest, Mapping[str, Any]], list[str]]:
    def show(guest: Guest, record: Mapping[str, Any]) -> list[str]:
        field = lines_of(guest, "shadow")[user][1]
        if not opens(field, password):
            return [f"the password of {user} does not open the account"]
        return [f"the password of {user} opens the account ({field[:3]}...)"]

    return show


def entries(guest: Guest, record: Mapping[str, Any]) -> list[str]:
    """Show what was not simply done, and each runcmd, with exit status and captured output."""
    last = {entry["place"]: entry for entry in entries_of(record)}
    lines = []
    for place, entry in last.items():
        if entry["result"] == "done" and not place.startswith("runcmd["):
            continue
        detail = entry.get("detail") or f"exit status {entry.get('status', 0)}"
        lines.append(f"{place}: {entry['result']}, {detail}")
        if entry["result"] == "failed" and entry.get("output") and guest.exists(entry["output"]):
            said = guest.text(entry["output"]).replace(os.path.dirname(entry["output"]) + "/", "")
            lines += [f"  | {line}" for line in said.strip().splitlines()[-6:]]
    return lines


def both(
    *shows: Callable[[Guest, Mapping[str, Any]], list[str]],
) -> Callable[[Guest, Mapping[str, Any]], list[str]]:
    return lambda guest, record: [line for show in shows for line in show(guest, record)]


PARTS = (
    Part("guide-example-1", "Example 1: a script", line_of("/root/output.txt", "Hello")),
    Part("guide-example-2", "Example 2: bootcmd", line_of("/etc/hosts", "archive")),
    Part("guide-case-1", "Case 1: write_files", line_of("/root/.vimrc", "")),
    Part("guide-case-2", "Case 2: a password by its hash", password_of("root", "Cloud.1234!")),
    Part("guide-case-3", "Case 3: chpasswd", password_of("root", "Reset.8642#")),
    Part("guide-case-5", "Case 5: a script that fails here", entries),
    Part(
        "guide-case-6",
        "Case 6: runcmd, no service manager",
        both(line_of("/etc/ssh/sshd_config", "PermitRootLogin"), entries),
    ),
)


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def instance_of(case: Case, number: int) -> dict[str, Any]:
    nic = nic_of(number)
    written = {
        "id": str(uuid.uuid5(NAMESPACE, case.name)),
        **case.instance,
        "nics": [{"mac": nic.mac, "ipv4": nic.address.partition("/")[0], "prefix": 24}],
    }
    if case.user_data is not None:
        written["user_data_base64"] = base64.b64encode(case.user_data).decode()
    return written


def nic_of(number: int) -> Nic:
    return Nic(f"192.168.1.{10 + number}/24", f"fa:16:3e:f7:c1:{number:02x}")


def judge(part: Part, case: Case, guest: Guest, seconds: float, said: str) -> Row:
    """Say what became of one boot."""
    if not guest.exists(STATUS):
        return Row(part.title, False, "no status", seconds, said.splitlines()[-5:])
    record = status_of(guest)
    wrong = differences(case, guest, owners=os.geteuid() == 0)
    lines = [*part.show(guest, record), *(f"UNEXPECTED: {line}" for line in wrong)]
    return Row(part.title, not wrong, outcome(record), seconds, lines)


def print_row(row: Row) -> None:
    mark = "ok  " if row.good else "BAD "
    say(f"  {mark}{row.title:<36}{row.status:<10}{row.seconds:6.2f} s")
    for line in row.lines:
        say(f"        {line[:150]}")


# --- real guests ----------------------------------------------------------------------------------


def of_this_machine(case: Case) -> Case:
    """Where there is a yum, the script of case 5 fails otherwise than on Debian."""
    if case.name == "guide-case-5" and shutil.which("yum"):
        return case._replace(expect={"status": case.expect["status"]})
    return case


def guest_of(cloud: Cloud, number: int) -> LightGuest:
    return LightGuest(
        Path("/"),
        cloud=cloud,
        nic=nic_of(number),
        name=f"guest{number}",
        lowers=host_layers(),
        binds=python_binds(),
    )


def real(cloud: Cloud) -> bool:
    found = {case.name: of_this_machine(case) for case in cases("guest")}
    chosen = [found[part.case] for part in PARTS]
    instances = [instance_of(case, number) for number, case in enumerate(chosen)]
    good = True
    began = time.monotonic()
    with cloud.serve(instances) as service:
        say(f"server ready at http://169.254.169.254 after {time.monotonic() - began:.2f} s")
        say()
        say(f"  {'':4}{'user data':<36}{'status':<10}{'boot':>8}")
        for number, (part, case) in enumerate(zip(PARTS, chosen)):
            with guest_of(cloud, number) as guest:
                case.prepare(guest)
                began = time.monotonic()
                argv = [sys.executable, "-m", "agent", "run", "--datasource", case.datasource]
                done = guest.run(argv, cwd=str(CHECKOUT))
                seconds = time.monotonic() - began
                said = (done.stdout + done.stderr).decode(errors="replace")
                row = judge(part, case, guest, seconds, said)
            print_row(row)
            good = good and row.good
        say()
        with guest_of(cloud, 0) as guest:
            reset = Reset(str(instances[0]["id"]), "", service.ctl)
            began = time.monotonic()
            argv = [sys.executable, "-m", "agent.reset_password", "run"]
            argv += ["--metadata-url", f"http://{ADDRESS}"]
            with guest.start(argv, cwd=str(CHECKOUT)) as daemon:
                daemon.wait_for("enrolled")
                good = reset.run(guest, time.monotonic() - began) and good
    return good


class Reset(NamedTuple):
    """A new password for root of a guest whose daemon is enrolled."""

    instance: str
    note: str
    ctl: Callable[..., subprocess.CompletedProcess[bytes]]

    def run(self, guest: Guest, enrolled: float) -> bool:
        """Ask for it as an operator does; say whether it then opens the account."""
        password = f"Demo-{secrets.token_urlsafe(9)}.7"
        before = lines_of(guest, "shadow")["root"][1]
        began = time.monotonic()
        asked = self.ctl(
            *("reset-password", self.instance, "--user", "root", "--password-stdin"),
            *("--wait", "30", "--json"),
            input=password.encode() + b"\n",
        )
        applied = time.monotonic() - began
        state = json.loads(asked.stdout)["state"] if asked.stdout else asked.stderr.decode().strip()
        began = time.monotonic()
        after = lines_of(guest, "shadow")["root"][1]
        opened = after != before and opens(after, password)
        tried = time.monotonic() - began
        say(f"  the password of root, reset by the operator while the daemon runs{self.note}")
        for what, seconds in (
            ("the daemon started and enrolled its keys", enrolled),
            ("asked, hashed, sealed, delivered, set, acknowledged", applied),
            ("the new password was tried on the guest's shadow file", tried),
        ):
            say(f"        {what:<59}{seconds:6.2f} s")
        good = state == "applied" and opened
        verb = "opens" if opened else "does not open"
        say(f"  {'ok  ' if good else 'BAD '}reset {state}; the new password {verb} the account")
        return good


# --- a directory ----------------------------------------------------------------------------------


@contextmanager
def background(argv: list[str], env: Mapping[str, str], until: str) -> Iterator[str]:
    """Run a program for as long as the block lasts; give the first line that has *until*."""
    process = subprocess.Popen(
        [sys.executable, *argv],
        cwd=CHECKOUT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if until in line:
                    break
            else:
                raise GuestError(f"{argv[1]} ended: {''.join(said).strip()}")
            # Somebody must read on, or it might wait for ever to say something.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield line
        finally:
            process.terminate()
            process.wait()


@contextmanager
def server_process(directory: Path, instance: Mapping[str, Any] | None) -> Iterator[str]:
    """Start the server, with *instance* or its built-in one; give the guests' URL."""
    (directory / "run").mkdir(mode=0o700, exist_ok=True)
    argv = ["-m", "metadata_server", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
    if instance is not None:
        file = directory / "instance.json"
        file.touch(0o600)
        file.write_text(json.dumps({**instance, "identify": {"default": True}}))
        argv += ["--instance", str(file)]
    with background(argv, session(directory), "ready: guests at ") as line:
        yield line.split()[-1]


def session(directory: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(directory / "run"), "TMPDIR": str(directory)}


def directories(why: str) -> bool:
    say(f"guests are directories here: {why}")
    say(
        "that leaves out whatever runs a program (scripts, bootcmd, runcmd, chpasswd), the kernel's"
    )
    say("host name, owners of files unless you are root, and the guest's own network and address")
    say()
    say(f"  {'':4}{'user data':<36}{'status':<10}{'boot':>8}")
    found = {case.name: case for case in cases("directory")}
    good = True
    for number, part in enumerate(PARTS):
        case = found[part.case]
        with tempfile.TemporaryDirectory(prefix="linklocal-demo-") as name, ExitStack() as stack:
            guest = DirectoryGuest.copy(Path(name) / "guest")
            case.prepare(guest)
            url = stack.enter_context(server_process(Path(name), instance_of(case, number)))
            began = time.monotonic()
            argv = [sys.executable, "-m", "agent", "run", "--root", str(guest.root)]
            argv += ["--metadata-url", url, "--datasource", case.datasource]
            done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, timeout=60)
            seconds = time.monotonic() - began
            said = (done.stdout + done.stderr).decode(errors="replace")
            row = judge(part._replace(show=left_out(part, case)), case, guest, seconds, said)
        print_row(row)
        good = good and row.good
    say()
    return reset_in_directory() and good


def left_out(part: Part, case: Case) -> Callable[[Guest, Mapping[str, Any]], list[str]]:
    """Show what was not run; where nothing of the case needs a program, what the part shows."""
    if "directory" not in case.expect:
        return part.show

    def show(guest: Guest, record: Mapping[str, Any]) -> list[str]:
        chosen = [line for line in record["not_run"] if "chpasswd" in line]
        return [*entries(guest, record), *(f"not run: {line}" for line in chosen)]

    return show


def reset_in_directory() -> bool:
    with tempfile.TemporaryDirectory(prefix="linklocal-demo-") as name, ExitStack() as stack:
        directory = Path(name)
        guest = DirectoryGuest.copy(directory / "guest")
        url = stack.enter_context(server_process(directory, None))
        environment = session(directory)

        def ctl(*words: str, input: bytes) -> subprocess.CompletedProcess[bytes]:
            return subprocess.run(
                [sys.executable, "-m", "metadata_server.ctl", *words],
                cwd=CHECKOUT,
                env={**os.environ, **environment},
                input=input,
                capture_output=True,
                timeout=60,
            )

        began = time.monotonic()
        argv = ["-m", "agent.reset_password", "run", "--root", str(guest.root)]
        argv += ["--metadata-url", url]
        stack.enter_context(background(argv, environment, "enrolled instance"))
        reset = Reset(str(NAMESPACE), ", with the server's built-in instance", ctl)
        return reset.run(guest, time.monotonic() - began)


def main() -> int:
    # Ended from outside, everything is taken away as at the end.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            cloud = stack.enter_context(Cloud())
        except GuestError as error:
            good = directories(str(error))
        else:
            say("guests are real: own namespaces over this machine's root, which stays as it is")
            good = real(cloud)
    say()
    verdict = "as expected" if good else "NOT as expected, see above"
    say(f"{verdict}; {time.monotonic() - began:.1f} s in all; nothing is left behind")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
