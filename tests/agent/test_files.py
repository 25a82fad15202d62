"""Files below a root: what a link may lead to, what a reader may see, what a refusal leaves."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import HostError
from agent.host import Host
from agent.plan import Plan
from agent.secret import Secret

from . import small_root
from .small_root import mode

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_root.make(tmp_path / "root")


@pytest.fixture
def host(root: Path) -> Host:
    return Host(root)


def drafts(root: Path) -> list[str]:
    return [str(path) for path in root.rglob(".*.????????????")]


# --- writing


@pytest.mark.parametrize("wanted", [0o644, 0o600, 0o755, 0o4755, 0o1777, 0o400, 0o000])
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_a_file_gets_the_mode_asked_for_whatever_the_umask(
    host: Host, root: Path, wanted: int, umask: int
) -> None:
    before = os.umask(umask)
    try:
        host.write("/etc/new", b"content", mode=wanted)
    finally:
        os.umask(before)

    assert mode(root / "etc/new") == wanted


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_missing_parents_are_0755(host: Host, root: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        host.write("/opt/a/b/file", b"", mode=0o600)
    finally:
        os.umask(before)

    assert [mode(root / path) for path in ("opt", "opt/a", "opt/a/b")] == [0o755] * 3


def test_no_step_on_the_way_is_readable_by_others(root: Path) -> None:
    script = """
import json, os, sys
from agent.host import Host
from agent.plan import Plan
from agent.secret import Secret
root, seen, looking = sys.argv[1], [], False
def look(event, arguments):
    global looking
    if looking or not event.startswith(("os.", "open")):
        return
    looking = True
    for name in os.listdir(root + "/etc"):
        if name.startswith(".secret"):
            seen.append((event, os.lstat(f"{root}/etc/{name}").st_mode & 0o7777))
    looking = False
host = Host(root)
os.umask(0)
sys.addaudithook(look)
host.write("/etc/secret", Secret(b"s3cret" * 100000), mode=0o640, durable=True)
print(json.dumps(seen))
"""
    seen = json.loads(small_root.python(script, str(root)))

    before_rename = dict(seen)
    assert before_rename["os.chmod"] == 0o600
    assert {bits for event, bits in seen if event != "os.rename"} == {0o600}
    assert before_rename["os.rename"] == 0o640


def test_a_reader_keeps_the_old_file_and_a_new_one_gets_the_new(host: Host, root: Path) -> None:
    with (root / "etc/motd").open() as reader:
        host.write("/etc/motd", b"new\n")

        assert reader.read() == "old\n"
    assert (root / "etc/motd").read_text() == "new\n"


def test_what_is_written_is_read_back(host: Host) -> None:
    for content in (b"", b"\0\xff\n", b"x" * 300_000):
        host.write("/srv/data", content)

        assert host.read("/srv/data") == content


def test_the_same_again_is_not_rewritten(host: Host, root: Path) -> None:
    host.write("/etc/motd", b"x", mode=0o600, durable=True)
    before = (root / "etc/motd").stat()

    host.write("/etc/motd", b"x", mode=0o600)

    assert (root / "etc/motd").stat() == before


@pytest.mark.parametrize(("content", "bits"), [(b"y", 0o600), (b"x", 0o644)])
def test_another_content_or_mode_is_written(
    host: Host, root: Path, content: bytes, bits: int
) -> None:
    host.write("/etc/motd", b"x", mode=0o600)

    host.write("/etc/motd", content, mode=bits)

    assert (root / "etc/motd").read_bytes() == content
    assert mode(root / "etc/motd") == bits


def test_append_puts_it_behind(host: Host, root: Path) -> None:
    host.write("/etc/motd", Secret(b"more\n"), append=True)
    host.write("/etc/fresh", b"first\n", append=True)

    assert (root / "etc/motd").read_text() == "old\nmore\n"
    assert (root / "etc/fresh").read_text() == "first\n"


@as_root
@pytest.mark.parametrize(
    ("owner", "numbers"),
    [
        ("mallory:sudo", (1500, 27)),
        ("mallory", (1500, 1500)),
        ("mallory:", (1500, 1500)),
        ("root:shadow", (0, 42)),
        ("12:34", (12, 34)),
        ("12", (12, 12)),
        ("4294967294:0", (4294967294, 0)),
    ],
)
def test_owners_are_those_of_the_guest(
    host: Host, root: Path, owner: str, numbers: tuple[int, int]
) -> None:
    host.write("/etc/new", b"", mode=0o4755, owner=owner)

    status = (root / "etc/new").stat()
    assert (status.st_uid, status.st_gid) == numbers
    assert mode(root / "etc/new") == 0o4755


@pytest.mark.parametrize(
    ("owner", "wrong"),
    [
        ("nobody-here:root", "no such user: 'nobody-here'"),
        ("root:nogroup-here", "no such group: 'nogroup-here'"),
        ("mallory:www-data", "no such group: 'www-data'"),
        ("", "no such user: ''"),
        ("4294967295", "no such user: '4294967295'"),
        ("4294967296:0", "no such user: '4294967296'"),
        ("0:4294967295", "no such group: '4294967295'"),
        ("0:99999999999999999999", "no such group"),
        ("\u0661\u0662:0", "no such user"),
        ("0:\u00b2", "no such group"),
        ("-1:0", "no such user"),
    ],
)
def test_an_unknown_owner_is_refused_and_nothing_written(
    host: Host, root: Path, owner: str, wrong: str
) -> None:
    with pytest.raises(HostError, match=wrong):
        host.write("/etc/new", b"", owner=owner)

    assert not (root / "etc/new").exists()


@as_root
def test_attributes_of_the_user_stay_and_capabilities_go(host: Host, root: Path) -> None:
    motd = root / "etc/motd"
    try:
        os.setxattr(motd, "user.note", b"kept")
        os.setxattr(motd, "security.SMACK64", b"label")
    except OSError:
        pytest.skip("this file system has no such attributes; needs another kernel")
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(motd, "security.capability", capability)

    host.write("/etc/motd", b"new")

    assert os.getxattr(motd, "user.note") == b"kept"
    assert os.getxattr(motd, "security.SMACK64") == b"label"
    assert "security.capability" not in os.listxattr(motd)


# --- refusals


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("/etc", "write /etc: Is a directory"),
        ("/", "write /: Is a directory"),
        ("/etc/motd/x", "write /etc/motd/x: Not a directory"),
        ("/etc/pipe", "write /etc/pipe: is not a regular file"),
        ("etc/motd", "write etc/motd: expected an absolute path"),
        ("/etc/a\0b", "write /etc/a\0b: embedded null byte"),
        ("/etc/loop", "write /etc/loop: Too many levels of symbolic links"),
        ("/etc/" + "n" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_said(host: Host, root: Path, path: str, wrong: str) -> None:
    os.mkfifo(root / "etc/pipe")
    (root / "etc/loop").symlink_to("loop")
    before = small_root.everything(root)

    with pytest.raises(HostError) as refusal:
        host.write(path, b"content")

    assert wrong in str(refusal.value)
    assert small_root.everything(root) == before


@as_root
def test_a_device_is_neither_written_nor_read(host: Host, root: Path) -> None:
    os.mknod(root / "etc/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))

    with pytest.raises(HostError, match="write /etc/null: is not a regular file"):
        host.write("/etc/null", b"content")
    with pytest.raises(HostError, match="read /etc/null: is not a regular file"):
        host.read("/etc/null")


@as_root
@pytest.mark.parametrize(
    ("remount", "wrong"),
    [
        ("size=64k", "write /etc/motd: No space left on device"),
        ("size=4m,ro", "write /etc/motd: Read-only file system"),
    ],
)
def test_a_full_or_read_only_disk_leaves_the_old_file(
    tmp_path: Path, remount: str, wrong: str
) -> None:
    script = """
import json, os, subprocess, sys
from agent.errors import HostError
from agent.host import Host
from agent.plan import Plan
root, remount = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", root], check=True)
os.mkdir(root + "/etc")
open(root + "/etc/motd", "w").write("old")
subprocess.run(["mount", "-o", "remount," + remount, root], check=True)
try:
    Host(root).write("/etc/motd", b"x" * 500_000)
    said = "written"
except HostError as error:
    said = str(error)
print(json.dumps([said, open(root + "/etc/motd").read(), os.listdir(root + "/etc")]))
"""
    prefix = ("unshare", "--mount", "--propagation", "private")

    said = json.loads(small_root.python(script, str(tmp_path), remount, prefix=prefix))

    assert said == [wrong, "old", ["motd"]]


@as_root
def test_a_file_that_is_a_mount_is_written_in_place(root: Path) -> None:
    script = """
import os, subprocess, sys
from agent.host import Host
from agent.plan import Plan
root = sys.argv[1]
open(root + "/mounted", "w").write("from the container's manager")
subprocess.run(["mount", "--bind", root + "/mounted", root + "/etc/motd"], check=True)
Host(root).write("/etc/motd", b"new", mode=0o600)
print(open(root + "/mounted").read(), oct(os.stat(root + "/mounted").st_mode & 0o777))
print([name for name in os.listdir(root + "/etc") if name.startswith(".")])
"""
    prefix = ("unshare", "--mount", "--propagation", "private")

    assert small_root.python(script, str(root), prefix=prefix) == "new 0o600\n[]\n"


def test_without_root_owners_are_left_out_and_said_once() -> None:
    script = """
import fcntl, os, pathlib, shutil, tempfile  # all, before /root is out of reach
from agent.errors import HostError
from agent.host import Account, Host
from tests.agent import small_root
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
root = small_root.make(pathlib.Path(tempfile.mkdtemp()))
try:
    host = Host(root)
    host.write("/etc/new", b"", mode=0o640, owner="root:shadow")
    host.write("/etc/other", b"", owner="mallory")
    host.add_user(Account("alice"))
    host.write_in_home("alice", ".ssh/authorized_keys", b"key")
    print(host.not_run, oct((root / "etc/new").stat().st_mode & 0o777))
    print(host.read_in_home("alice", ".ssh/authorized_keys"), host.runs)
    (root / "etc").chmod(0o555)
    try:
        host.write("/etc/new", b"more")
    except HostError as error:
        print(error)
    (root / "etc").chmod(0o755)
finally:
    shutil.rmtree(root)
"""
    assert small_root.python(script).splitlines() == [
        "['owners of files: only root can give them'] 0o640",
        "b'key' False",
        "write /etc/new: Permission denied",
    ]


# --- links


@pytest.mark.parametrize(
    ("link", "target", "lands"),
    [
        ("etc/resolv.conf", "/run/resolv.conf", "run/resolv.conf"),
        ("etc/resolv.conf", "../run/resolv.conf", "run/resolv.conf"),
        ("etc/resolv.conf", "../../../../run/resolv.conf", "run/resolv.conf"),
        ("etc/resolv.conf", "/../../run/resolv.conf", "run/resolv.conf"),
    ],
)
def test_a_link_leads_inside_the_root_only(
    host: Host, root: Path, link: str, target: str, lands: str
) -> None:
    (root / link).symlink_to(target)

    host.write(f"/{link}", b"nameserver 192.0.2.1\n")

    assert (root / link).is_symlink()
    assert (root / lands).read_text() == "nameserver 192.0.2.1\n"
    assert host.read(f"/{link}") == b"nameserver 192.0.2.1\n"


def test_a_link_to_a_directory_outside_leads_to_the_one_inside(
    host: Host, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "etc/ssh").symlink_to(outside)

    host.write("/etc/ssh/sshd_config", b"x")
    host.write("/etc/../../../outside/file", b"y")

    assert list(outside.iterdir()) == []
    assert (root / str(outside).lstrip("/") / "sshd_config").read_bytes() == b"x"
    assert (root / "outside/file").read_bytes() == b"y"


@as_root
@pytest.mark.parametrize("place", ["home/mallory/x", "home/mallory/x/file"])
def test_root_follows_no_link_of_a_user(host: Host, root: Path, place: str) -> None:
    home = root / "home/mallory"
    home.mkdir()
    (home / "x").symlink_to("/etc" if place.endswith("file") else "/etc/motd")
    os.chown(home / "x", 1500, 1500, follow_symlinks=False)
    before = small_root.everything(root / "etc")

    with pytest.raises(HostError, match="x is a link of uid 1500, not followed"):
        host.write(f"/{place}", b"planted", owner="mallory")
    with pytest.raises(HostError, match="not followed"):
        host.read(f"/{place}")

    assert small_root.everything(root / "etc") == before


def test_a_link_is_made_changed_and_left(host: Host, root: Path) -> None:
    path = root / "etc/localtime"

    host.link("/etc/localtime", "/usr/share/zoneinfo/UTC")
    first = path.lstat()
    host.link("/etc/localtime", "/usr/share/zoneinfo/UTC")
    assert path.lstat() == first
    host.link("/etc/localtime", "/usr/share/zoneinfo/Europe/Paris")

    assert os.readlink(path) == "/usr/share/zoneinfo/Europe/Paris"
    assert host.kind("/etc/localtime") == "link"
    assert drafts(root) == []


def test_a_link_replaces_a_file_and_never_a_directory(host: Host, root: Path) -> None:
    host.link("/etc/motd", "/run/motd")

    assert os.readlink(root / "etc/motd") == "/run/motd"
    with pytest.raises(HostError, match="link /etc/skel: Is a directory"):
        host.link("/etc/skel", "/run")


# --- looking, directories, removing


def test_absent_is_none_and_broken_an_error(host: Host, root: Path) -> None:
    (root / "etc/dangling").symlink_to("nowhere")

    assert host.read("/etc/nothing") is None
    assert host.read("/no/such/place") is None
    assert host.read("/etc/motd/below") is None
    assert host.read("/etc/dangling") is None
    assert host.names("/no/such/place") == ()
    with pytest.raises(HostError, match="read /etc: Is a directory"):
        host.read("/etc")
    with pytest.raises(HostError, match="list /etc/motd: Not a directory"):
        host.names("/etc/motd")


@pytest.mark.parametrize(
    ("path", "kind", "followed"),
    [
        ("/etc/motd", "file", "file"),
        ("/etc", "directory", "directory"),
        ("/", "directory", "directory"),
        ("/etc/link", "link", "file"),
        ("/etc/dangling", "link", None),
        ("/etc/pipe", "other", "other"),
        ("/etc/nothing", None, None),
    ],
)
def test_kinds(host: Host, root: Path, path: str, kind: str | None, followed: str | None) -> None:
    (root / "etc/link").symlink_to("motd")
    (root / "etc/dangling").symlink_to("nowhere")
    os.mkfifo(root / "etc/pipe")

    assert host.kind(path) == kind
    assert host.kind(path, follow=True) == followed


def test_names_are_sorted(host: Host) -> None:
    assert host.names("/etc/skel") == (".profile", "bin")


@pytest.mark.parametrize(
    ("there", "asked", "then"),
    [
        (None, 0o755, 0o755),
        (None, 0o700, 0o700),
        (0o1777, 0o755, 0o1777),
        (0o755, 0o700, 0o700),
        (0o700, 0o755, 0o700),
    ],
)
def test_directories_are_made_and_private_ones_made_private(
    host: Host, root: Path, there: int | None, asked: int, then: int
) -> None:
    if there is not None:
        (root / "var/lib/x").mkdir(parents=True)
        (root / "var/lib/x").chmod(there)

    before = os.umask(0)
    try:
        host.make_directory("/var/lib/x", mode=asked)
    finally:
        os.umask(before)

    assert mode(root / "var/lib/x") == then


@as_root
@pytest.mark.parametrize("plan", [False, True])
@pytest.mark.parametrize(("link", "words"), [("/etc", "is a link"), (None, "belongs to uid 1500")])
def test_a_private_directory_that_is_a_link_or_somebody_elses_is_refused(
    host: Host, root: Path, link: str | None, words: str, plan: bool
) -> None:
    path = root / "var/lib/x"
    path.parent.mkdir(parents=True)
    if link:
        path.symlink_to(link)
    else:
        path.mkdir()
        os.chown(path, 1500, 1500)
    before = path.lstat()

    with pytest.raises(HostError, match=f"make directory /var/lib/x: {words}"):
        (Plan(host) if plan else host).make_directory("/var/lib/x", mode=0o700)

    assert path.lstat() == before


def test_a_file_is_no_directory(host: Host) -> None:
    with pytest.raises(HostError, match="make directory /etc/motd: there is something else"):
        host.make_directory("/etc/motd")


def test_remove_takes_files_links_and_empty_directories(host: Host, root: Path) -> None:
    (root / "etc/link").symlink_to("motd")
    (root / "etc/empty").mkdir()

    for path in ("/etc/link", "/etc/empty", "/etc/nothing", "/no/such/place"):
        host.remove(path)
        host.remove(path)

    assert (root / "etc/motd").exists()
    assert not (root / "etc/link").is_symlink()
    assert not (root / "etc/empty").exists()
    with pytest.raises(HostError, match="remove /etc/skel: Directory not empty"):
        host.remove("/etc/skel")


# --- size


def test_what_is_read_is_bounded(host: Host, root: Path) -> None:
    (root / "etc/full").write_bytes(b"x" * 1000)
    os.truncate(root / "etc/motd", 60 << 30)

    assert host.read("/etc/full", limit=1000) == b"x" * 1000
    with pytest.raises(HostError, match="read /etc/full: larger than 999 bytes"):
        host.read("/etc/full", limit=999)
    for reader in (host, Plan(host)):
        with pytest.raises(HostError, match="read /etc/motd: larger than 16777216 bytes"):
            reader.read("/etc/motd")
        with pytest.raises(HostError, match="write /etc/motd: larger than 16777216 bytes"):
            reader.write("/etc/motd", b"more", append=True)
        reader.write("/etc/motd", b"instead")
        assert reader.read("/etc/motd") == b"instead"
        assert reader.read_end("/etc/motd", 4) == b"tead"
        assert reader.read_end("/etc/motd", 400) == b"instead"
        assert reader.read_end("/etc/nothing", 4) is None
        os.truncate(root / "etc/motd", 60 << 30)


def test_what_says_it_is_empty_is_read(host: Host) -> None:
    assert (Host("/").read("/proc/self/status") or b"").startswith(b"Name:")
    with pytest.raises(HostError, match="larger than 10 bytes"):
        Host("/").read("/proc/self/status", limit=10)


@as_root
def test_a_link_that_changes_hands_is_never_followed_as_roots(host: Host, root: Path) -> None:
    """What the link says and whose it is are asked of one and the same link."""
    home = root / "home/mallory"
    home.mkdir(exist_ok=True)
    (home / "mine").symlink_to("/etc/shadow")
    os.chown(home / "mine", 1500, 1500, follow_symlinks=False)
    (home / "roots").symlink_to("/etc/passwd")
    swap = (
        "import ctypes, os\n"
        "call = ctypes.CDLL(None).renameat2\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    call(-100, b'mine', -100, b'roots', 2)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", swap], cwd=home, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        read, refused = set(), 0
        for _ in range(3000):
            try:
                read.add(host.read("/home/mallory/mine"))
            except HostError:
                refused += 1
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()

    # The one of root is followed, the other never, and both were met.
    assert read == {(root / "etc/passwd").read_bytes()}
    assert refused
