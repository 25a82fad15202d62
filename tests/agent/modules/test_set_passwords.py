"""set_passwords: the shapes of passwords, who gets them, and sshd. Hashes, as a directory takes
them; plain text goes through chpasswd and is tested in a guest."""

from __future__ import annotations

import pytest

from agent.host import Host

from .machine import INSTANCE, Machine, bad, said, texts

HASH = "$6$saltsalt$" + "a" * 86
DROP_IN = "/etc/ssh/sshd_config.d/10-linklocal.conf"


@pytest.fixture
def ready(machine: Machine) -> Machine:
    machine.apply("users_groups", "users: [default, alice]")
    return machine


def shadow(machine: Machine, user: str) -> str | None:
    return machine.guest.field("/etc/shadow", user, 1)


@pytest.mark.parametrize(
    ("document", "users"),
    [
        (f"password: {HASH}", "debian"),
        (f"chpasswd: {{list: 'root:{HASH}'}}", "root"),
        (f'chpasswd: {{list: "root:{HASH}\\nalice:{HASH}\\n"}}', "root alice"),
        (f"chpasswd: {{list: ['root:{HASH}', 'alice:{HASH}']}}", "root alice"),
        (f"chpasswd: {{users: [{{name: root, password: {HASH}}}]}}", "root"),
        (f"chpasswd: {{users: [{{name: alice, password: {HASH}, type: hash}}]}}", "alice"),
        (f"{{password: {HASH}, chpasswd: {{list: 'root:{HASH}'}}}}", "root"),
        (f"{{password: {HASH}, chpasswd: {{expire: false}}}}", "debian"),
    ],
)
def test_hashes_are_set_as_they_are_and_expire(ready: Machine, document: str, users: str) -> None:
    report = ready.apply("set_passwords", document)

    assert bad(report) == []
    for user in ("root", "debian", "alice"):
        meant = user in users.split()
        expires = meant and "expire: false" not in document
        assert (shadow(ready, user) == HASH) is meant
        assert (ready.guest.field("/etc/shadow", user, 2) == "0") is expires


@pytest.mark.parametrize(
    ("module", "document", "place"),
    [
        ("set_passwords", "password: Cloud.1234", "password"),
        ("set_passwords", "chpasswd: {list: 'root:Cloud.1234'}", "chpasswd.list[0]"),
        (
            "set_passwords",
            "chpasswd: {users: [{name: root, password: Cloud.1234, type: text}]}",
            "chpasswd.users[0]",
        ),
        ("set_passwords", "chpasswd: {users: [{name: root, type: RANDOM}]}", "chpasswd.users[0]"),
        (
            "users_groups",
            "users: [{name: bob, plain_text_passwd: Cloud.1234}]",
            "users[0].plain_text_passwd",
        ),
    ],
)
def test_plain_text_that_no_program_can_set_is_not_run(
    ready: Machine, module: str, document: str, place: str
) -> None:
    host = Host(ready.guest.root)
    report = ready.apply(module, document, host)

    assert ("not run", place) in said(report)
    assert "Cloud.1234" not in repr(report.entries)
    # Nobody is told a made-up password that is nobody's.
    assert host.not_run == []


def test_the_old_list_is_taken_and_said(ready: Machine) -> None:
    report = ready.apply("set_passwords", f"chpasswd: {{list: 'root:{HASH}'}}")

    assert said(report) == [("notice", "chpasswd.list")]


@pytest.mark.parametrize(
    ("item", "place", "words"),
    [
        ("{password: Cloud.1234}", "chpasswd.users[1]", "missing key 'name'"),
        ("{name: root}", "chpasswd.users[1].password", "expected a password or type RANDOM"),
        ("{name: root, password: Cloud.1234}", "chpasswd.users[1].password", "crypt(3) hash"),
        ("{name: root, password: x, type: md5}", "chpasswd.users[1].type", "hash, text, RANDOM"),
        ("{name: root, password: [Cloud.1234]}", "chpasswd.users[1].password", "on one line"),
        ('{name: root, type: text, password: "Cloud.1234\\nx"}', "chpasswd.users[1].password", ""),
        ("'root:Cloud.1234'", "chpasswd.users[1]", "mapping"),
    ],
)
def test_a_bad_password_is_refused_alone_and_never_shown(
    ready: Machine, item: str, place: str, words: str
) -> None:
    document = f"""
chpasswd:
  users: [{{name: alice, password: {HASH}}}, {item}, {{name: debian, password: {HASH}}}]
"""
    report = ready.apply("set_passwords", document)

    assert said(report) == [("refused", place)]
    assert words in texts(report)
    assert "Cloud.1234" not in texts(report)
    assert shadow(ready, "alice") == shadow(ready, "debian") == HASH
    assert shadow(ready, "root") == "*"


@pytest.mark.parametrize(
    "lines", ["['root']", "['root:']", "[':Cloud.1234']", "[{root: Cloud.1234}]", "{a: b}", "[7]"]
)
def test_a_bad_line_is_refused_and_never_shown(ready: Machine, lines: str) -> None:
    report = ready.apply("set_passwords", f"chpasswd: {{list: {lines}}}")

    assert [result for result, _ in bad(report)] == ["refused"]
    assert "Cloud.1234" not in texts(report)


def test_a_user_that_is_not_there_is_named(ready: Machine) -> None:
    report = ready.apply("set_passwords", f"chpasswd: {{list: ['ghost:{HASH}', 'alice:{HASH}']}}")

    assert bad(report) == [("failed", "chpasswd.list[0]")]
    assert "no such user: 'ghost'" in texts(report)
    assert shadow(ready, "alice") == HASH


def test_password_without_a_default_user_is_said(ready: Machine) -> None:
    report = ready.apply("set_passwords", f"{{users: [alice], password: {HASH}}}")

    assert said(report) == [("warning", "password")]


def test_a_password_changed_by_its_owner_is_not_set_back(ready: Machine) -> None:
    document = f"chpasswd: {{list: ['alice:{HASH}']}}"
    ready.apply("set_passwords", document)
    changed = ready.guest.text("/etc/shadow").replace(HASH, "$y$theirs")
    ready.guest.write("/etc/shadow", changed.encode(), mode=0o640)

    ready.apply("set_passwords", document)
    assert shadow(ready, "alice") == "$y$theirs"

    ready.instance = INSTANCE._replace(instance_id="i-2")
    ready.apply("set_passwords", document)
    assert shadow(ready, "alice") == HASH


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        ("true", "PasswordAuthentication yes\n"),
        ("'yes'", "PasswordAuthentication yes\n"),
        ("false", "PasswordAuthentication no\n"),
        ("unchanged", None),
        ("~", None),
    ],
)
def test_ssh_pwauth_is_a_drop_in_of_its_own(
    ready: Machine, value: str, setting: str | None
) -> None:
    before = ready.guest.text("/etc/ssh/sshd_config")

    report = ready.apply("set_passwords", f"ssh_pwauth: {value}")

    assert said(report) == []
    assert ready.guest.text("/etc/ssh/sshd_config") == before
    if setting is None:
        assert not ready.guest.exists(DROP_IN)
    else:
        assert ready.guest.text(DROP_IN) == setting
        assert ready.guest.stat(DROP_IN).mode == 0o600


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "PasswordAuthentication yes\n"),
        ("PasswordAuthentication no\n", "PasswordAuthentication yes\n"),
        (
            "#PasswordAuthentication no\n",
            "#PasswordAuthentication no\nPasswordAuthentication yes\n",
        ),
        ("passwordauthentication=no # x\nA b\n", "PasswordAuthentication yes\nA b\n"),
        (
            "Port 22\nMatch User root\n  PasswordAuthentication no\n",
            "Port 22\nPasswordAuthentication yes\nMatch User root\n  PasswordAuthentication no\n",
        ),
        (
            "Match all\nInclude /etc/ssh/sshd_config.d/*.conf\n",
            "PasswordAuthentication yes\nMatch all\nInclude /etc/ssh/sshd_config.d/*.conf\n",
        ),
    ],
)
def test_without_drop_ins_sshd_config_is_edited_in_one_place(
    ready: Machine, before: str, after: str
) -> None:
    ready.guest.write("/etc/ssh/sshd_config", before.encode())

    ready.apply("set_passwords", "ssh_pwauth: true")

    assert ready.guest.text("/etc/ssh/sshd_config") == after
    assert not ready.guest.exists(DROP_IN)


def test_ssh_pwauth_that_cannot_be_meant_is_refused(ready: Machine) -> None:
    report = ready.apply("set_passwords", "ssh_pwauth: maybe")

    assert said(report) == [("refused", "ssh_pwauth")]
    assert not ready.guest.exists(DROP_IN)


def test_ssh_pwauth_without_sshd_is_said(ready: Machine) -> None:
    ready.guest.path("/etc/ssh/sshd_config").unlink()

    report = ready.apply("set_passwords", "ssh_pwauth: true")

    assert said(report) == [("warning", "ssh_pwauth")]
