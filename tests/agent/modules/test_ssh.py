"""ssh: keys that open accounts, in a directory; host keys are tested in a guest with ssh-keygen."""

from __future__ import annotations

import pytest

from .machine import INSTANCE, KEY, Machine, said, texts

RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQA="
ROOT = "/root/.ssh/authorized_keys"
DEBIAN = "/home/debian/.ssh/authorized_keys"


@pytest.fixture
def ready(machine: Machine) -> Machine:
    machine.apply("users_groups", "")
    machine.instance = INSTANCE._replace(public_keys=(f"{RSA} served",))
    return machine


def test_keys_open_the_default_user_and_send_root_there(ready: Machine) -> None:
    report = ready.apply("ssh", f"ssh_authorized_keys: ['{KEY} mine']")

    assert said(report) == []
    assert ready.guest.text(DEBIAN) == f"{RSA} served\n{KEY} mine\n"
    lines = ready.guest.text(ROOT).splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith(
            "no-port-forwarding,no-agent-forwarding,no-X11-forwarding,command=\"echo '"
        )
        assert '\\"debian\\"' in line
        assert "exit 142" in line
    assert ready.guest.stat(ROOT).mode == 0o600
    assert ready.guest.stat("/root/.ssh").mode == 0o700


@pytest.mark.parametrize(
    ("document", "debian", "root"),
    [
        ("disable_root: false", f"{RSA} served\n", f"{RSA} served\n"),
        ("disable_root_opts: restrict", f"{RSA} served\n", f"restrict {RSA} served\n"),
        ("disable_root_opts: 'a=\"$USER $DISABLE_USER\"'", None, f'a="debian root" {RSA} served\n'),
        ("allow_public_ssh_keys: false", "", ""),
        ("{users: [], disable_root_opts: 'u=$USER'}", "", f"u=NONE {RSA} served\n"),
        ("{user: debian, users: [], disable_root: false}", None, f"{RSA} served\n"),
    ],
)
def test_whom_the_keys_open(ready: Machine, document: str, debian: str | None, root: str) -> None:
    report = ready.apply("ssh", document)

    assert said(report) == []
    for path, expected in ((DEBIAN, debian), (ROOT, root)):
        if expected:
            assert ready.guest.text(path) == expected
        elif expected == "":
            assert not ready.guest.exists(path) or ready.guest.text(path) == ""


def test_a_key_that_is_there_gets_its_new_options_in_its_place(ready: Machine) -> None:
    ready.guest.write("/root/.ssh/authorized_keys", f"# old\n{RSA} old\n{KEY} other".encode())

    ready.apply("ssh", "disable_root_opts: restrict")

    assert ready.guest.text(ROOT) == f"# old\nrestrict {RSA} served\n{KEY} other\n"


@pytest.mark.parametrize(
    "line",
    [
        "ssh-rsa",
        "ssh-rsa !!!!",
        "ssh-rsa AAAA",
        KEY.replace("ssh-ed25519", "ssh-rsa"),
        "not a key at all",
        'from="10.0.0.1 ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQA=',
        "-----BEGIN CERTIFICATE-----",
    ],
)
def test_what_is_no_key_is_refused_alone(ready: Machine, line: str) -> None:
    report = ready.apply("ssh", f"ssh_authorized_keys:\n- {KEY} a\n- '{line}'\n")

    assert said(report) == [("refused", "ssh_authorized_keys[1]")]
    assert "expected a public key such as" in texts(report)
    assert ready.guest.text(DEBIAN) == f"{RSA} served\n{KEY} a\n"


@pytest.mark.parametrize(
    "line",
    [
        KEY,
        f"{KEY} a comment of words",
        f'from="10.0.0.1,*.example.com" {KEY} x',
        f'command="echo \\"a b\\"",no-pty {KEY} x',
    ],
)
def test_lines_that_sshd_takes_are_taken_as_they_are(ready: Machine, line: str) -> None:
    report = ready.apply("ssh", f"ssh_authorized_keys:\n- '{line}'\n")

    assert said(report) == []
    assert ready.guest.text(DEBIAN).splitlines()[1] == line


def test_keys_may_come_as_text_of_several_lines(ready: Machine) -> None:
    report = ready.apply("ssh", f"ssh_authorized_keys: |\n  {KEY} a\n\n  {RSA} b\n")

    assert said(report) == []
    assert f"{KEY} a\n" in ready.guest.text(DEBIAN)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("ssh_genkeytypes: [rsa, dss]", "ssh_genkeytypes"),
        ("ssh_keys: {rsa_secret: x}", "ssh_keys"),
        ("ssh_keys: [x]", "ssh_keys"),
        ("ssh_keys: {rsa_private: ''}", "ssh_keys"),
        ("disable_root: perhaps", "disable_root"),
        ("ssh_authorized_keys: {a: b}", "ssh_authorized_keys"),
        ("ssh_deletekeys: 2", "ssh_deletekeys"),
    ],
)
def test_what_cannot_be_meant_is_refused(ready: Machine, document: str, place: str) -> None:
    report = ready.apply("ssh", document)

    assert said(report) == [("refused", place)]


def test_given_host_keys_are_put_in_place_once_for_an_instance(ready: Machine) -> None:
    ready.guest.write("/etc/ssh/ssh_host_rsa_key", b"old")
    document = """
ssh_keys:
  ed25519_private: "PRIVATE"
  ed25519_public: "PUBLIC"
  ed25519_certificate: "CERTIFICATE"
"""
    ready.apply("ssh", document)

    assert ready.guest.text("/etc/ssh/ssh_host_ed25519_key") == "PRIVATE\n"
    assert ready.guest.stat("/etc/ssh/ssh_host_ed25519_key").mode == 0o600
    assert ready.guest.text("/etc/ssh/ssh_host_ed25519_key.pub") == "PUBLIC\n"
    assert ready.guest.stat("/etc/ssh/ssh_host_ed25519_key.pub").mode == 0o644
    assert not ready.guest.exists("/etc/ssh/ssh_host_rsa_key")
    assert ready.guest.text("/etc/ssh/sshd_config").startswith(
        "HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub\n"
    )

    ready.guest.write("/etc/ssh/ssh_host_rsa_key", b"made by its user later")
    ready.apply("ssh", document)
    assert ready.guest.exists("/etc/ssh/ssh_host_rsa_key")
