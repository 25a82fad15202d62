"""The plan: what it says would be done, what it reads back, and that it touches nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

import pytest

from agent.errors import HostError
from agent.host import Account, Completed, Group, Host, User
from agent.plan import Effect, Plan
from agent.secret import Secret

from . import small_root

CANARY = b"s3cret-canary"
HASH = Secret(b"$6$saltsalt$" + CANARY)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_root.make(tmp_path / "root")


@pytest.fixture
def plan(root: Path) -> Plan:
    return Plan(Host(root))


Call = Callable[[Host], object]

# What is done, and what the plan says of it.
CHANGES: list[tuple[Call, list[Effect]]] = [
    (
        lambda host: host.write("/etc/motd", Secret(CANARY)),
        [Effect("write", "/etc/motd", "13 bytes, mode 0644, root:root")],
    ),
    (
        lambda host: host.write("/new/x", b"x", mode=0o4750, owner="mallory:sudo"),
        [Effect("write", "/new/x", "1 byte, mode 4750, mallory:sudo")],
    ),
    (
        lambda host: host.write("/etc/motd", b"more", append=True),
        [Effect("append", "/etc/motd", "4 bytes, mode 0644, root:root")],
    ),
    (
        lambda host: host.make_directory("/var/lib/x", mode=0o700),
        [Effect("directory", "/var/lib/x", "mode 0700, root:root")],
    ),
    (lambda host: host.make_directory("/etc"), []),
    (
        lambda host: host.make_directory("/etc/skel", mode=0o700),
        [Effect("directory", "/etc/skel", "mode 0700, root:root")],
    ),
    (lambda host: host.remove("/etc/motd"), [Effect("remove", "/etc/motd", "")]),
    (lambda host: host.remove("/etc/nothing"), []),
    (
        lambda host: host.link("/etc/localtime", "/usr/share/zoneinfo/UTC"),
        [Effect("link", "/etc/localtime", "to /usr/share/zoneinfo/UTC")],
    ),
    (
        lambda host: host.write_in_home("mallory", ".ssh/authorized_keys", Secret(CANARY)),
        [Effect("write", "/home/mallory/.ssh/authorized_keys", "13 bytes, mode 0600, as mallory")],
    ),
    (
        lambda host: host.add_group("wheel", gid=10, system=True),
        [Effect("group", "wheel", "system group, gid 10")],
    ),
    (
        lambda host: host.add_user(Account("alice", uid=1234, groups=("sudo", "users"))),
        [
            Effect(
                "user", "alice", "uid 1234, groups sudo, users, shell /bin/sh, home /home/alice"
            ),
        ],
    ),
    (
        lambda host: host.add_user(Account("svc", system=True, create_home=False)),
        [Effect("user", "svc", "system user, shell /bin/sh, home /home/svc, not made")],
    ),
    (
        lambda host: host.add_to_groups("daemon", ["sudo", "users"]),
        [Effect("groups", "daemon", "sudo, users")],
    ),
    (lambda host: host.add_to_groups("mallory", ["sudo"]), []),
    (
        lambda host: host.set_password_hash("root", HASH),
        [Effect("password", "root", "set to a given hash")],
    ),
    (lambda host: host.lock_password("root"), [Effect("password", "root", "locked")]),
    (lambda host: host.lock_password("mallory"), []),
    (
        lambda host: host.expire_password("root"),
        [Effect("password", "root", "to be changed at the next login")],
    ),
    (lambda host: host.console(Secret(CANARY)), [Effect("console", "/dev/console", "13 bytes")]),
]


@pytest.mark.parametrize(("change", "effects"), CHANGES)
def test_each_change_is_said_once_and_nothing_is_touched(
    root: Path, plan: Plan, change: Call, effects: list[Effect]
) -> None:
    before = small_root.everything(root)

    change(plan)

    assert plan.effects == effects
    assert CANARY.decode() not in repr(plan.effects) + repr(plan.not_run)
    assert small_root.everything(root) == before


def test_a_second_time_changes_nothing(plan: Plan) -> None:
    for _ in range(2):
        plan.write("/etc/motd", b"x")
        plan.link("/etc/localtime", "UTC")
        plan.remove("/etc/skel/.profile")
        plan.make_directory("/srv/x")
        plan.write_in_home("mallory", "a", b"x")

    assert [effect.verb for effect in plan.effects] == [
        "write",
        "link",
        "remove",
        "directory",
        "write",
    ]


def test_what_was_recorded_is_read_back(root: Path, plan: Plan) -> None:
    (root / "etc/link").symlink_to("/run/there")

    plan.write("/etc/link", b"one\n")
    plan.write("/run/there", b"two\n", append=True)
    plan.link("/srv/link", "/etc")
    plan.remove("/etc/motd")
    plan.make_directory("/srv/empty")

    assert plan.read("/run/there") == b"one\ntwo\n"
    assert plan.read("/srv/link/link") == b"one\ntwo\n"
    assert plan.read("/srv/link/../etc/link") == b"one\ntwo\n"
    assert plan.read("/etc/motd") is None
    assert plan.kind("/etc/motd") is None
    assert plan.kind("/srv/link") == "link"
    assert plan.kind("/srv/link", follow=True) == "directory"
    assert plan.names("/srv") == ("empty", "link")
    assert plan.names("/etc/skel") == (".profile", "bin")
    assert "motd" not in plan.names("/etc")
    assert plan.read("/etc/login.defs") == (root / "etc/login.defs").read_bytes()


def test_a_planned_user_is_there_for_what_comes_after(plan: Plan) -> None:
    plan.add_group("wheel")
    plan.add_user(Account("alice", groups=("wheel",)))
    plan.set_password_hash("alice", HASH)
    plan.write_in_home("alice", ".ssh/authorized_keys", b"key")
    plan.write("/srv/x", b"", owner="alice:wheel")

    assert plan.user("alice") == User("alice", 1501, 1502, "", "/home/alice", "/bin/sh")
    assert plan.group("wheel") == Group("wheel", 1501, ("alice",))
    assert plan.shadow_field("alice") == HASH
    assert plan.kind("/home/alice") == "directory"
    assert plan.read_in_home("alice", ".ssh/authorized_keys") == b"key"
    assert plan.read_in_home("alice", ".profile") is None


REFUSED: list[tuple[Call, str]] = [
    (lambda host: host.write("/etc", b""), "write /etc: "),
    (lambda host: host.write("etc", b""), "write etc: expected an absolute path"),
    (lambda host: host.write("/etc/motd/x", b""), "write /etc/motd/x: Not a directory"),
    (lambda host: host.write("/x", b"", owner="bob"), "no such user: 'bob'"),
    (lambda host: host.make_directory("/etc/motd"), "make directory /etc/motd: there is"),
    (lambda host: host.link("/etc", "x"), "link /etc: Is a directory"),
    (lambda host: host.remove("/etc"), "remove /etc: Directory not empty"),
    (lambda host: host.add_user(Account("mallory")), "add user mallory: exists already"),
    (lambda host: host.add_to_groups("root", ["wheel"]), "no such group: 'wheel'"),
    (lambda host: host.set_password_hash("root", Secret(CANARY + b":")), "not a hash"),
    (lambda host: host.write_in_home("bob", "x", b""), "user bob: no such user"),
]


@pytest.mark.parametrize(("change", "wrong"), REFUSED)
def test_what_the_host_refuses_the_plan_refuses(
    root: Path, plan: Plan, change: Call, wrong: str
) -> None:
    for host in (plan, Host(root)):
        with pytest.raises(HostError, match=wrong):
            change(host)

    assert plan.effects == []


@pytest.mark.parametrize(
    ("given", "effect"),
    [
        ({}, Effect("run", "useradd 'a b'", "")),
        (
            {"stdin": Secret(CANARY), "cwd": "/srv", "output": "/var/log/x"},
            Effect("run", "useradd 'a b'", "13 bytes on stdin, in /srv, output to /var/log/x"),
        ),
    ],
)
def test_programs_of_a_live_machine_are_said_and_not_run(
    given: dict[str, object], effect: Effect
) -> None:
    plan = Plan(Host())

    done = plan.run(["useradd", "a b"], **given)  # type: ignore[arg-type]  # a table of keywords

    assert done == Completed(0, b"")
    assert plan.effects == [effect]


def test_a_live_machine_is_planned_without_being_touched() -> None:
    name = os.uname().nodename
    plan = Plan(Host())

    plan.set_hostname("another-name")
    plan.set_hostname(name)
    plan.set_password("root", Secret(CANARY))
    plan.add_user(Account("somebody-new"))

    assert plan.effects[:2] == [
        Effect("hostname", "another-name", ""),
        Effect("password", "root", "set by chpasswd"),
    ]
    assert (Host().user("somebody-new"), os.uname().nodename) == (None, name)


def test_what_cannot_be_run_is_said(plan: Plan) -> None:
    plan.run(["ssh-keygen"])
    plan.set_password("root", Secret(CANARY))
    plan.set_hostname("guest")

    assert plan.effects == []
    assert plan.not_run == [
        "ssh-keygen",
        "chpasswd for root",
        "set the kernel's host name to guest",
    ]
