"""Accounts: edited in the files of another root, made by the distribution's tools on a live one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent.errors import HostError
from agent.files import Files
from agent.host import Account, Group, Host, User
from agent.secret import Secret

from . import small_root
from .small_root import mode

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
DAY = 20_000
HASH = Secret(b"$6$saltsalt$" + b"h" * 86)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_root.make(tmp_path / "root")


@pytest.fixture
def host(root: Path) -> Host:
    return Host(root, clock=lambda: DAY * 86400.0)


def line(root: Path, file: str, name: str) -> str:
    """Return the line of *name* in an account file, "" when there is none."""
    lines = (root / "etc" / file).read_text().splitlines()
    return next((text for text in lines if text.startswith(f"{name}:")), "")


def test_users_and_groups_are_found(host: Host) -> None:
    assert host.user("mallory") == User("mallory", 1500, 1500, "", "/home/mallory", "/bin/sh")
    assert host.group("sudo") == Group("sudo", 27, ("mallory",))
    assert host.group("daemon") == Group("daemon", 1, ())
    assert host.user("nobody-here") is None
    assert host.user("# a comment that must survive") is None
    assert host.shadow_field("root") == Secret(b"$6$salt$old")
    assert host.shadow_field("nobody-here") is None


def test_a_user_is_made(host: Host, root: Path) -> None:
    host.add_user(Account("alice", gecos="Alice A.", groups=("sudo", "users")))

    assert line(root, "passwd", "alice") == "alice:x:1501:1501:Alice A.:/home/alice:/bin/sh"
    assert line(root, "shadow", "alice") == f"alice:!:{DAY}:0:99999:7:::"
    assert line(root, "group", "alice") == "alice:x:1501:"
    assert line(root, "gshadow", "alice") == "alice:!::"
    assert line(root, "group", "sudo") == "sudo:x:27:mallory,alice"
    assert line(root, "gshadow", "sudo") == "sudo:*::mallory,alice"
    assert line(root, "gshadow", "users") == "users:*::alice"
    assert "# a comment that must survive\n" in (root / "etc/passwd").read_text()
    modes = [mode(root / "etc" / file) for file in ("passwd", "shadow", "group", "gshadow")]
    assert modes == [0o644, 0o640, 0o644, 0o640]


def test_the_home_is_a_copy_of_skel(host: Host, root: Path) -> None:
    (root / "etc/skel/link").symlink_to(".profile")

    host.add_user(Account("alice"))

    home = root / "home/alice"
    assert (home / ".profile").read_text() == "# profile\n"
    assert (mode(home), mode(home / "bin"), mode(home / "bin/hello")) == (0o750, 0o755, 0o755)
    assert os.readlink(home / "link") == ".profile"
    if os.geteuid() == 0:
        assert {path.lstat().st_uid for path in (home, *home.rglob("*"))} == {1501}
        assert {path.lstat().st_gid for path in (home, *home.rglob("*"))} == {1501}


def test_a_home_that_is_there_is_left_alone(host: Host, root: Path) -> None:
    (root / "home/alice").mkdir()
    (root / "home/alice/file").write_text("kept")
    before = small_root.everything(root / "home")

    host.add_user(Account("alice"))

    assert small_root.everything(root / "home") == before


def test_a_home_planted_as_a_link_stays_inside(host: Host, root: Path, tmp_path: Path) -> None:
    (root / "home/alice").symlink_to(tmp_path / "outside")

    host.add_user(Account("alice"))

    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    ("account", "wanted"),
    [
        (Account("bob"), "bob:x:1501:1501::/home/bob:/bin/sh"),
        (Account("bob", uid=1234), "bob:x:1234:1234::/home/bob:/bin/sh"),
        (Account("bob", uid=27), "bob:x:27:1501::/home/bob:/bin/sh"),
        (Account("bob", system=True), "bob:x:999:999::/home/bob:/bin/sh"),
        (Account("bob", primary_group="sudo"), "bob:x:1501:27::/home/bob:/bin/sh"),
        (Account("bob", primary_group="27"), "bob:x:1501:27::/home/bob:/bin/sh"),
        (Account("bob", create_user_group=False), "bob:x:1501:100::/home/bob:/bin/sh"),
        (Account("bob", home="/srv/bob"), "bob:x:1501:1501::/srv/bob:/bin/sh"),
        (Account("bob", shell="/bin/bash"), "bob:x:1501:1501::/home/bob:/bin/bash"),  # noqa: S604  (a login shell)
        (Account("shadow"), "shadow:x:1501:42::/home/shadow:/bin/sh"),
        (Account("first.last"), "first.last:x:1501:1501::/home/first.last:/bin/sh"),
        (Account("host$"), "host$:x:1501:1501::/home/host$:/bin/sh"),
    ],
)
def test_numbers_and_groups_are_what_useradd_would_take(
    host: Host, root: Path, account: Account, wanted: str
) -> None:
    host.add_user(account)

    assert line(root, "passwd", account.name) == wanted
    assert (root / (account.home or f"/home/{account.name}").lstrip("/")).is_dir()


def test_no_home_when_none_is_asked_for(host: Host, root: Path) -> None:
    host.add_user(Account("bob", create_home=False))

    assert list((root / "home").iterdir()) == []


def test_expiry_is_kept_in_days(host: Host, root: Path) -> None:
    host.add_user(Account("bob", inactive="5", expiredate="2030-01-01"))
    host.add_user(Account("eve", inactive="-1"))

    assert line(root, "shadow", "bob") == f"bob:!:{DAY}:0:99999:7:5:21915:"
    assert line(root, "shadow", "eve") == f"eve:!:{DAY}:0:99999:7:::"


def test_a_root_without_gshadow_and_settings_works(host: Host, root: Path) -> None:
    for file in ("gshadow", "login.defs", "default/useradd"):
        (root / "etc" / file).unlink()

    host.add_user(Account("alice"))

    assert line(root, "passwd", "alice") == "alice:x:1501:1501::/home/alice:/bin/sh"
    assert line(root, "shadow", "alice") == f"alice:!:{DAY}::::::"
    assert mode(root / "home/alice") == 0o755
    assert not (root / "etc/gshadow").exists()


def test_numbers_that_run_out_are_said(host: Host, root: Path) -> None:
    (root / "etc/login.defs").write_text("UID_MIN 1500\nUID_MAX 1500\n")

    with pytest.raises(HostError, match="no free uid from 1500 to 1500"):
        host.add_user(Account("alice"))


BAD_NAMES = ["", "a:b", "a\nroot::0:0", "-rf", "a b", "a/b", "..", "0", "a,b", "é", "x" * 33, "a\0"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_breaks_a_line_is_refused(host: Host, root: Path, name: str) -> None:
    before = small_root.everything(root)

    with pytest.raises(HostError, match="expected a name such as 'alice'"):
        host.add_user(Account(name))
    with pytest.raises(HostError, match="expected a name such as 'alice'"):
        host.add_group(name)

    assert small_root.everything(root) == before


@pytest.mark.parametrize(
    ("account", "wrong"),
    [
        (Account("mallory"), "add user mallory: exists already"),
        (Account("bob", uid=1), "add user bob: uid 1 is taken"),
        (Account("bob", groups=("wheel",)), "user bob: no such group: 'wheel'"),
        (Account("bob", primary_group="wheel"), "add user bob: no such group: 'wheel'"),
        (Account("bob", primary_group="-g"), "expected a name such as 'alice'"),
        (Account("bob", gecos="a:0:0"), "add user bob: gecos must not hold ':'"),
        (Account("bob", gecos="a\nb"), "add user bob: gecos must not hold ':' or a line end"),
        (Account("bob", home="home"), "add user bob: home is not an absolute path: 'home'"),
        (Account("bob", home="/h:x"), "add user bob: home must not hold ':'"),
        (Account("bob", shell="bash"), "add user bob: shell is not an absolute path: 'bash'"),  # noqa: S604  (a login shell)
        (Account("bob", expiredate="soon"), "expiredate: expected YYYY-MM-DD, got 'soon'"),
        (Account("bob", inactive="soon"), "inactive: expected days, got 'soon'"),
    ],
)
def test_an_account_that_cannot_be_is_refused_whole(
    host: Host, root: Path, account: Account, wrong: str
) -> None:
    before = small_root.everything(root / "etc")

    with pytest.raises(HostError, match=wrong):
        host.add_user(account)

    after = small_root.everything(root / "etc")
    after.pop(".pwd.lock", None)
    assert after == before


def test_groups_are_made(host: Host, root: Path) -> None:
    host.add_group("wheel")
    host.add_group("ops", gid=4242)
    host.add_group("daemons", system=True)

    assert line(root, "group", "wheel") == "wheel:x:1501:"
    assert line(root, "group", "ops") == "ops:x:4242:"
    assert line(root, "group", "daemons") == "daemons:x:999:"
    assert line(root, "gshadow", "wheel") == "wheel:!::"
    with pytest.raises(HostError, match="add group wheel: exists already"):
        host.add_group("wheel")
    with pytest.raises(HostError, match="add group other: gid 4242 is taken"):
        host.add_group("other", gid=4242)


def test_members_are_added_once(host: Host, root: Path) -> None:
    host.add_to_groups("daemon", ["sudo", "users"])
    host.add_to_groups("daemon", ["users"])

    assert line(root, "group", "sudo") == "sudo:x:27:mallory,daemon"
    assert line(root, "group", "users") == "users:x:100:daemon"
    with pytest.raises(HostError, match="user daemon: no such group: 'wheel'"):
        host.add_to_groups("daemon", ["users", "wheel"])
    with pytest.raises(HostError, match="user bob: no such user"):
        host.add_to_groups("bob", ["users"])


def test_a_hash_is_set_locked_and_expired(host: Host, root: Path) -> None:
    host.set_password_hash("root", HASH)
    text = HASH.reveal().decode()
    assert line(root, "shadow", "root") == f"root:{text}:{DAY}:0:99999:7:::"
    assert host.shadow_field("root") == HASH

    host.lock_password("root")
    host.lock_password("root")
    assert line(root, "shadow", "root") == f"root:!{text}:{DAY}:0:99999:7:::"

    host.set_password_hash("root", HASH)
    host.expire_password("root")
    assert line(root, "shadow", "root") == f"root:{text}:0:0:99999:7:::"


def test_what_a_killed_process_left_of_account_files_goes_and_nothing_else(
    host: Host, root: Path
) -> None:
    drafts = (".shadow.0123456789ab", ".passwd.ffffffffffff")
    kept = (".shadow.bak", ".shadow.0123456789ag", "shadow.0123456789ab", ".motd.0123456789ab")
    for name in (*drafts, *kept):
        (root / "etc" / name).write_bytes(HASH.reveal())

    host.set_password_hash("root", HASH)

    there = {path.name for path in (root / "etc").iterdir()}
    assert there.isdisjoint(drafts)
    assert there.issuperset(kept)


@pytest.mark.parametrize("text", [b"", b"a:b", b"a\nroot:", b"a\0", b"\xff", b"a\r"])
def test_a_hash_that_breaks_a_line_is_refused_without_being_told(
    host: Host, root: Path, text: bytes
) -> None:
    before = small_root.everything(root)

    with pytest.raises(HostError) as refusal:
        host.set_password_hash("root", Secret(text))

    assert str(refusal.value) == "password of root: not a hash that a shadow line can hold"
    assert small_root.everything(root) == before


def test_a_plain_password_needs_chpasswd(host: Host, root: Path) -> None:
    before = small_root.everything(root)

    host.set_password("root", Secret(b"s3cret"))

    assert host.not_run == ["chpasswd for root"]
    assert small_root.everything(root) == before
    for text in (b"", b"a\nroot:b"):
        with pytest.raises(HostError, match="password of root: expected one line of text"):
            host.set_password("root", Secret(text))
    with pytest.raises(HostError, match="user bob: no such user"):
        host.set_password("bob", Secret(b"s3cret"))


@as_root
def test_a_live_machine_is_changed_by_its_own_tools(tmp_path: Path) -> None:
    script = """
import json, subprocess, sys
from agent.errors import HostError
from agent.host import Account, Host
from agent.secret import Secret
host = Host()
said = []
def refused(call, *arguments):
    try:
        call(*arguments)
    except HostError as error:
        said.append(str(error))
host.add_group("crew", gid=4321)
host.add_user(Account("alice", uid=4567, gecos="Alice A.", groups=("crew",), shell="/bin/bash"))
host.add_user(Account("crew"))
host.add_to_groups("alice", ["users"])
host.set_password_hash("alice", Secret(b"$6$saltsalt$" + b"h" * 86))
host.set_password("crew", Secret(b"correct horse battery"))
refused(host.add_group, "crew")
refused(host.add_user, Account("alice"))
refused(host.add_user, Account("bob", groups=("no-such-group",)))
before = host.shadow_field("crew").reveal().decode()
host.lock_password("crew")
host.lock_password("crew")
host.expire_password("alice")
read = lambda path: host.read(path).decode().splitlines()
print(json.dumps({
    "users": [host.user("alice"), host.user("crew")],
    "groups": [host.group("crew"), "alice" in host.group("users").members],
    "alice": [line for line in read("/etc/shadow") if line.startswith("alice:")][0].split(":")[1:3],
    "crew": [before[:1], host.shadow_field("crew").reveal().decode() == "!" + before],
    "home": [host.kind("/home/alice"), host.names("/home/alice") == host.names("/etc/skel")],
    "said": said,
    "not_run": host.not_run,
}))
"""
    result = json.loads(small_root.python(script, prefix=small_root.live(tmp_path)))

    assert result == {
        "users": [
            ["alice", 4567, 4567, "Alice A.", "/home/alice", "/bin/bash"],
            ["crew", result["users"][1][1], 4321, "", "/home/crew", "/bin/sh"],
        ],
        "groups": [["crew", 4321, ["alice"]], True],
        "alice": [HASH.reveal().decode(), "0"],
        "crew": ["$", True],
        "home": ["directory", True],
        "said": [
            "add group crew: groupadd ended with status 9: groupadd: group 'crew' already exists",
            "add user alice: useradd ended with status 9: useradd: user 'alice' already exists",
            "add user bob: useradd ended with status 6: "
            "useradd: group 'no-such-group' does not exist",
        ],
        "not_run": [],
    }
    assert Host().user("alice") is None


def test_the_lock_is_the_one_account_tools_take(root: Path) -> None:
    with Files(str(root)).locked("/etc/.pwd.lock"):
        said = small_root.python(
            "import sys\n"
            "from agent.files import Files\n"
            "try:\n"
            "    with Files(sys.argv[1]).locked('/etc/.pwd.lock', wait=0.0):\n"
            "        print('got it')\n"
            "except TimeoutError as error:\n"
            "    print(error.strerror)\n",
            str(root),
        )

    assert said == "/etc/.pwd.lock is locked\n"
    assert mode(root / "etc/.pwd.lock") == 0o600


def test_a_root_without_account_files_gets_them_with_the_usual_modes(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.write("/a", b"", owner="root:root")
    host.write("/b", b"", owner="root")
    host.write("/c", b"", owner="root:0")
    host.add_user(Account("max"))

    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "etc").iterdir()}
    assert modes == {"passwd": 0o644, "group": 0o644, "shadow": 0o600, ".pwd.lock": 0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a group")
def test_a_new_shadow_is_its_groups(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text("shadow:x:42:\n")
    Host(tmp_path).add_user(Account("max"))

    found = (tmp_path / "etc/shadow").stat()
    assert (found.st_mode & 0o777, found.st_gid) == (0o640, 42)


def test_an_account_file_that_cannot_be_changed_is_named(tmp_path: Path) -> None:
    (tmp_path / "etc/passwd").mkdir(parents=True)

    with pytest.raises(HostError, match=r"^read /etc/passwd: "):
        Host(tmp_path).add_user(Account("max"))
