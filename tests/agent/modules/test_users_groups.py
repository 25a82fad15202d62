"""users_groups: the many shapes of users and groups, and what each user may do."""

from __future__ import annotations

import pytest

from .machine import INSTANCE, KEY, Machine, said, texts

HASH = "$6$saltsalt$" + "a" * 86
OTHER_KEY = KEY[:-1] + "E"


def shadow(machine: Machine, user: str) -> str | None:
    return machine.guest.field("/etc/shadow", user, 1)


def members(machine: Machine, group: str) -> list[str]:
    return (machine.guest.field("/etc/group", group, 3) or "").split(",")


def test_without_users_the_default_user_is_made(machine: Machine) -> None:
    report = machine.apply("users_groups", "")

    assert said(report) == []
    assert machine.guest.field("/etc/passwd", "debian", 5) == "/home/debian"
    assert machine.guest.field("/etc/passwd", "debian", 6) == "/bin/bash"
    assert "debian" in members(machine, "sudo")
    assert (shadow(machine, "debian") or "").startswith("!")
    sudoers = machine.guest.text("/etc/sudoers.d/90-linklocal-users")
    assert "debian ALL=(ALL) NOPASSWD:ALL" in sudoers.splitlines()
    assert machine.guest.stat("/etc/sudoers.d/90-linklocal-users").mode == 0o440


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ("users: []", ""),
        ("users: [alice]", "alice"),
        ("users: alice, bob", "alice bob"),
        ("users: [default, alice]", "alice debian"),
        ("users: [{name: alice}, [bob, carol]]", "alice bob carol"),
        ("users: {alice: {gecos: A}, default: true}", "alice debian"),
        ("user: robot", "robot"),
        ("{user: robot, users: [alice]}", "alice robot"),
        ("user: {name: robot, gecos: R}", "robot"),
        ("users: [{name: default, gecos: Me}]", "debian"),
        ("system_info: {default_user: {name: rocky}}", "rocky"),
        ("system_info: {default_user: {name: }}", "debian"),
        ("system_info: {distro: debian}", "debian"),
        ("{system_info: {default_user: {name: rocky}}, users: [default, alice]}", "alice rocky"),
        ("{system_info: {default_user: {name: rocky}}, users: [alice]}", "alice"),
        ("{system_info: {default_user: {name: rocky}}, user: robot}", "robot"),
        ("users: [{name: 42nd}]", ""),
        ("users: [{name: a, primary_group: a}]", "a"),
        ("users: [{name: j.doe}, {name: svc$}]", "j.doe svc$"),
    ],
)
def test_who_is_made(machine: Machine, document: str, names: str) -> None:
    before = {line.split(":")[0] for line in machine.guest.text("/etc/passwd").splitlines()}

    machine.apply("users_groups", document)

    after = {line.split(":")[0] for line in machine.guest.text("/etc/passwd").splitlines()}
    assert after - before == set(names.split())


def test_an_account_with_everything(machine: Machine) -> None:
    report = machine.apply(
        "users_groups",
        f"""
users:
  - name: alice
    gecos: Alice Doe
    homedir: /srv/alice
    primary_group: staff
    groups: [adm, newgroup]
    shell: /bin/sh
    uid: '2001'
    lock_passwd: false
    passwd: {HASH}
    inactive: '5'
    expiredate: 2032-09-01
    ssh_authorized_keys: ['{KEY} alice']
""",
    )

    assert said(report) == []
    line = next(x for x in machine.guest.text("/etc/passwd").splitlines() if x.startswith("alice:"))
    fields = line.split(":")
    assert fields[2] == "2001"
    assert fields[3] == machine.guest.field("/etc/group", "staff", 2)
    assert fields[4:] == ["Alice Doe", "/srv/alice", "/bin/sh"]
    assert shadow(machine, "alice") == HASH
    assert machine.guest.field("/etc/shadow", "alice", 6) == "5"
    assert machine.guest.field("/etc/shadow", "alice", 7) == "22889"
    assert "alice" in members(machine, "adm")
    assert "alice" in members(machine, "newgroup")
    assert machine.guest.text("/srv/alice/.ssh/authorized_keys") == f"{KEY} alice\n"
    assert machine.guest.stat("/srv/alice/.ssh/authorized_keys").mode == 0o600
    assert machine.guest.stat("/srv/alice/.ssh").mode == 0o700
    assert machine.guest.stat("/srv/alice/.ssh/authorized_keys").uid == 2001


def test_a_given_password_is_locked_unless_said_otherwise(machine: Machine) -> None:
    machine.apply("users_groups", f"users: [{{name: alice, passwd: '{HASH}'}}]")

    assert shadow(machine, "alice") == f"!{HASH}"


def test_a_user_that_exists_keeps_its_account_and_passwd(machine: Machine) -> None:
    machine.apply("users_groups", f"users: [{{name: a, lock_passwd: false, passwd: '{HASH}'}}]")
    machine.instance = INSTANCE._replace(instance_id="i-2")

    report = machine.apply(
        "users_groups",
        f"""
users: [{{name: a, lock_passwd: false, passwd: '$6$other$x', shell: /bin/zsh,
          ssh_authorized_keys: ['{KEY}']}}]
""",
    )

    assert shadow(machine, "a") == HASH
    assert machine.guest.field("/etc/passwd", "a", 6) != "/bin/zsh"
    assert said(report) == [("notice", "users[0]")]
    assert machine.guest.text("/home/a/.ssh/authorized_keys") == f"{KEY}\n"


def test_hashed_passwd_is_for_a_user_that_exists_too(machine: Machine) -> None:
    report = machine.apply(
        "users_groups", f"users: [{{name: root, lock_passwd: false, hashed_passwd: '{HASH}'}}]"
    )

    assert said(report) == []
    assert shadow(machine, "root") == HASH


def test_a_password_changed_by_its_owner_is_not_set_back(machine: Machine) -> None:
    document = f"users: [{{name: alice, lock_passwd: false, hashed_passwd: '{HASH}'}}]"
    machine.apply("users_groups", document)
    changed = machine.guest.text("/etc/shadow").replace(HASH, "$y$theirs")
    machine.guest.write("/etc/shadow", changed.encode(), mode=0o640)

    machine.apply("users_groups", document)

    assert shadow(machine, "alice") == "$y$theirs"


@pytest.mark.parametrize(
    ("settings", "place", "words"),
    [
        ("{gecos: x}", "users[1]", "missing key 'name'"),
        ("{name: 'a b'}", "users[1].name", "user or group name"),
        ("{name: bad, uid: many}", "users[1].uid", "user id"),
        ("{name: bad, shell: bash}", "users[1].shell", "absolute path"),
        ("{name: bad, expiredate: soon}", "users[1].expiredate", "date such as"),
        ("{name: bad, inactive: long}", "users[1].inactive", "number of days"),
        ("{name: bad, lock_passwd: perhaps}", "users[1].lock_passwd", "true or false"),
        ("7", "users[1]", "name or settings"),
    ],
)
def test_a_bad_user_is_refused_alone(
    machine: Machine, settings: str, place: str, words: str
) -> None:
    report = machine.apply("users_groups", f"users: [alice, {settings}, bob]")

    assert said(report) == [("refused", place)]
    assert words in texts(report)
    assert machine.guest.field("/etc/passwd", "alice", 0)
    assert machine.guest.field("/etc/passwd", "bob", 0)
    assert not machine.guest.field("/etc/passwd", "bad", 0)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("gecos", "'a:b'", "without ':'"),
        ("sudo", '"ALL\\nroot ALL"', "a rule such as"),
        ("sudo", "true", "a rule such as"),
        ("doas", "{a: b}", "a rule such as"),
        ("passwd", "Cloud.1234", "crypt(3) hash"),
        ("hashed_passwd", "'x:y'", "crypt(3) hash"),
        ("hashed-passwd", "'x:y'", "crypt(3) hash"),
        ("plain_text_passwd", "[a]", "on one line"),
    ],
)
def test_what_only_gives_more_is_refused_without_its_user(
    machine: Machine, key: str, value: str, words: str
) -> None:
    report = machine.apply(
        "users_groups",
        f"users: [{{name: bad, lock_passwd: false, groups: [adm], {key}: {value},"
        f" ssh_authorized_keys: ['{KEY}']}}]",
    )

    assert ("refused", f"users[0].{key}") in said(report)
    assert words in texts(report)
    assert "Cloud.1234" not in texts(report)
    assert machine.guest.field("/etc/passwd", "bad", 4) == ""
    assert (shadow(machine, "bad") or "").startswith("!")
    assert "bad" in members(machine, "adm")
    assert "bad " not in machine.guest.text("/etc/sudoers")
    assert not machine.guest.exists("/etc/sudoers.d/90-linklocal-users")
    assert machine.guest.text("/home/bad/.ssh/authorized_keys") == f"{KEY}\n"


def test_group_ids_go_by_the_order_of_groups_and_then_the_primary_one(machine: Machine) -> None:
    machine.apply(
        "users_groups", "users: [{name: alice, primary_group: first, groups: [second, third]}]"
    )

    ids = {
        name: machine.guest.field("/etc/group", name, 2) for name in ("first", "second", "third")
    }
    assert ids == {"second": "1000", "third": "1001", "first": "1002"}


def test_members_that_are_here_come_before_those_that_are_made(machine: Machine) -> None:
    machine.apply("users_groups", "groups: [{admins: [alice, root]}]\nusers: [alice]")

    assert members(machine, "admins") == ["root", "alice"]


def test_a_hash_that_is_cut_is_set_and_said(machine: Machine) -> None:
    report = machine.apply("users_groups", "users: [{name: alice, passwd: '$6$salt$short'}]")

    assert said(report) == [("warning", "users[0]")]
    assert "expected 86 characters" in texts(report)
    assert "short" not in texts(report)


def test_old_spellings_are_taken_and_said(machine: Machine) -> None:
    report = machine.apply(
        "users_groups", f"users: [{{name: alice, ssh-authorized-keys: ['{KEY}']}}]"
    )

    assert said(report) == [("notice", "users[0].ssh-authorized-keys")]
    assert machine.guest.exists("/home/alice/.ssh/authorized_keys")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("groups: [admins]", {"admins": ""}),
        ("groups: a, b", {"a": "", "b": ""}),
        ("groups: {admins: [root, alice]}", {"admins": "root,alice"}),
        ("groups: [{admins: 'root, alice'}, b]", {"admins": "root,alice", "b": ""}),
        ("groups: [{sudo: [alice]}]", {"sudo": "alice"}),
        ("groups: [{empty: }]", {"empty": ""}),
    ],
)
def test_groups(machine: Machine, document: str, expected: dict[str, str]) -> None:
    report = machine.apply("users_groups", f"{document}\nusers: [alice]")

    assert said(report) == []
    for group, wanted in expected.items():
        assert machine.guest.field("/etc/group", group, 3) == wanted


def test_the_default_user_of_the_system_keeps_what_is_not_said_of_it(machine: Machine) -> None:
    report = machine.apply(
        "users_groups",
        f"""
system_info:
  default_user: {{name: rocky, groups: [adm], hashed_passwd: '{HASH}', lock_passwd: false}}
user: {{gecos: Over it}}
""",
    )

    assert said(report) == []
    assert shadow(machine, "rocky") == HASH
    assert machine.guest.field("/etc/passwd", "rocky", 4) == "Over it"
    assert machine.guest.field("/etc/passwd", "rocky", 6) == "/bin/bash"
    assert "rocky" in members(machine, "adm")
    assert "rocky" not in members(machine, "sudo")
    assert "rocky ALL=" in machine.guest.text("/etc/sudoers.d/90-linklocal-users")


@pytest.mark.parametrize(
    ("settings", "place"),
    [("[a]", "system_info"), ("{default_user: rocky}", "system_info.default_user")],
)
def test_a_bad_default_user_of_the_system_is_refused(
    machine: Machine, settings: str, place: str
) -> None:
    report = machine.apply("users_groups", f"system_info: {settings}")

    assert said(report) == [("refused", place)]
    assert machine.guest.field("/etc/passwd", "debian", 0)


@pytest.mark.parametrize(
    ("groups", "place"),
    [
        ("[good, 'a b']", "groups[1]"),
        ("[good, [x]]", "groups[1]"),
        ("[good, {x: {y: z}}]", None),
        ("[good, {x: 1.5}]", "groups[1]"),
        ("1.5", "groups"),
    ],
)
def test_bad_groups(machine: Machine, groups: str, place: str | None) -> None:
    report = machine.apply("users_groups", f"groups: {groups}\nusers: []")

    refused = [where for result, where in said(report) if result == "refused"]
    assert refused == ([place] if place else [])
    assert "good" not in groups or machine.guest.field("/etc/group", "good", 0)


def test_a_member_that_is_nobody_is_named(machine: Machine) -> None:
    report = machine.apply("users_groups", "groups: [{admins: [ghost]}]\nusers: []")

    assert said(report) == [("failed", "groups admins")]
    assert "no such user: 'ghost'" in texts(report)


def test_groups_are_not_made_when_so_asked(machine: Machine) -> None:
    report = machine.apply(
        "users_groups", "users: [{name: alice, groups: [adm, none-such], create_groups: false}]"
    )

    assert said(report) == [("failed", "users[0]")]
    assert "alice" in members(machine, "adm")


def test_who_comes_with_the_instances_keys_is_sent_to_the_default_user(machine: Machine) -> None:
    machine.instance = INSTANCE._replace(public_keys=(f"{KEY} me",))

    report = machine.apply("users_groups", "users: [default, {name: old, ssh_redirect_user: true}]")

    line = machine.guest.text("/home/old/.ssh/authorized_keys")
    assert said(report) == []
    assert line.startswith("no-port-forwarding,")
    assert '\\"debian\\"' in line
    assert line.endswith(f'" {KEY} me\n')


def test_a_link_in_a_home_is_not_followed(machine: Machine) -> None:
    machine.apply("users_groups", "users: [alice]")
    keys = machine.guest.path("/home/alice/.ssh")
    (keys / "authorized_keys").unlink()
    keys.rmdir()
    keys.symlink_to("/etc")

    report = machine.apply(
        "users_groups", f"users: [{{name: alice, ssh_authorized_keys: ['{KEY}']}}]"
    )

    assert said(report) == [("failed", "users[0].ssh_authorized_keys")]
    assert not machine.guest.exists("/etc/authorized_keys")


@pytest.mark.parametrize("keys", ["[]", "[ssh-rsa AAAA...== bob@laptop]"])
def test_a_user_without_good_keys_has_an_empty_file_of_them(machine: Machine, keys: str) -> None:
    machine.apply("users_groups", f"users: [{{name: bob, ssh_authorized_keys: {keys}}}]")

    assert machine.guest.text("/home/bob/.ssh/authorized_keys") == ""
    assert machine.guest.stat("/home/bob/.ssh").mode == 0o700


def test_doas_rules_are_about_their_user(machine: Machine) -> None:
    report = machine.apply(
        "users_groups",
        "users: [{name: a, doas: [permit nopass a]}, {name: b, doas: [permit nopass a]}]",
    )

    assert said(report) == [("refused", "users[1].doas")]
    assert machine.guest.text("/etc/doas.conf") == "permit nopass a\n"


def test_an_image_without_sudo_gets_no_sudoers_of_ours(machine: Machine) -> None:
    machine.guest.path("/etc/sudoers").unlink()

    machine.apply("users_groups", "")

    assert not machine.guest.exists("/etc/sudoers")
    assert machine.guest.exists("/etc/sudoers.d/90-linklocal-users")


def test_the_default_user_comes_last_as_user_ids_go(machine: Machine) -> None:
    machine.apply("users_groups", "users: [default, alice]")

    assert machine.guest.field("/etc/passwd", "alice", 2) == "1000"
    assert machine.guest.field("/etc/passwd", "debian", 2) == "1001"
