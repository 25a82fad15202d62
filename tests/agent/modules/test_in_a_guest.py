"""What only programs can show: ssh-keygen, sshd, visudo, chpasswd, in a guest of its own."""

from __future__ import annotations

import pytest

from ...guests.light import LightGuest
from .booted import Booted
from .machine import KEY

pytestmark = pytest.mark.guest

DROP_IN = "/etc/ssh/sshd_config.d/10-linklocal.conf"
HOST_KEYS = "/etc/ssh/ssh_host_ed25519_key"


PARTS = """\
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b"

--b
Content-Type: text/x-shellscript
Content-Disposition: attachment; filename="z.sh"

#!/bin/sh
echo z in $PWD >> /root/order
--b
Content-Type: text/x-shellscript

#!/bin/sh
echo part >> /root/order
--b
Content-Type: text/cloud-config

#cloud-config
runcmd: ['echo runcmd in $PWD >> /root/order']
--b
Content-Type: text/x-shellscript
Content-Disposition: attachment; filename="b.sh"

#!/bin/sh
echo b >> /root/order
--b--
"""


def opens(guest: LightGuest, user: str, text: str) -> bool:
    """Say whether that password opens the account, by the guest's own crypt."""
    field = guest.sh(f"getent shadow {user}").split(":")[1]
    check = "import crypt,sys; h=sys.argv[1]; print(crypt.crypt(sys.argv[2], h) == h)"
    return guest.run(["python3", "-c", check, field, text]).stdout == b"True\n"


def test_host_keys_are_made_once_for_an_instance(booted: Booted) -> None:
    guest = booted.guest
    guest.sh("rm -f /etc/ssh/ssh_host_*; ssh-keygen -q -t rsa -N '' -f /etc/ssh/ssh_host_rsa_key")
    image = guest.read("/etc/ssh/ssh_host_rsa_key.pub")

    assert booted.entries("{}") == []
    first = guest.read(HOST_KEYS)
    names = [name for name in sorted(guest.names("/etc/ssh")) if name.startswith("ssh_host")]
    assert sorted(names) == [
        f"ssh_host_{kind}_key{half}"
        for kind in ("ecdsa", "ed25519", "rsa")
        for half in ("", ".pub")
    ]
    assert guest.read("/etc/ssh/ssh_host_rsa_key.pub") != image
    assert guest.stat(HOST_KEYS).mode == 0o600

    booted.boot("{}")
    assert guest.read(HOST_KEYS) == first
    booted.boot("{}", instance="i-2")
    assert guest.read(HOST_KEYS) != first


def test_a_given_host_key_gets_its_public_half(booted: Booted) -> None:
    guest = booted.guest
    guest.sh("ssh-keygen -q -t ed25519 -N '' -C '' -f /root/k")
    private = "\n".join(f"    {line}" for line in guest.text("/root/k").splitlines())

    assert booted.entries(f"ssh_keys:\n  ed25519_private: |\n{private}\n") == []

    assert guest.read(HOST_KEYS) == guest.read("/root/k")
    assert guest.text(f"{HOST_KEYS}.pub").split()[:2] == guest.text("/root/k.pub").split()[:2]


def test_a_host_key_that_is_none_is_refused_and_keys_are_made(booted: Booted) -> None:
    found = booted.entries("ssh_keys: {ed25519_private: nonsense}")

    assert found == [("refused", "ssh_keys.ed25519_private")]
    assert booted.guest.exists(HOST_KEYS)
    assert not [n for n in booted.guest.names("/var/lib/linklocal/agent") if "draft" in n]


def test_sudoers_that_visudo_refuses_do_not_go_live(booted: Booted) -> None:
    found = booted.entries("""
users:
- {name: a, sudo: 'ALL=(ALL) ALL'}
- {name: b, sudo: garbage}
- {name: c, sudo: ALL=ALL}
""")

    text = booted.guest.text("/etc/sudoers.d/90-linklocal-users")
    assert found == [("refused", "users[1].sudo")]
    assert "a ALL=(ALL) ALL\nc ALL=ALL\n" in text
    assert "garbage" not in text
    booted.guest.sh("visudo -c")


def test_password_logins_are_what_sshd_says(booted: Booted) -> None:
    assert booted.entries("ssh_pwauth: false") == []

    assert "\npasswordauthentication no\n" in booted.guest.sh("sshd -T")


def test_a_setting_that_another_file_overrules_is_said(booted: Booted) -> None:
    booted.guest.write("/etc/ssh/sshd_config.d/05-image.conf", b"PasswordAuthentication no\n")

    assert booted.entries("ssh_pwauth: true") == [("warning", "ssh_pwauth")]


def test_an_sshd_that_would_not_start_keeps_its_configuration(booted: Booted) -> None:
    booted.guest.write("/etc/ssh/sshd_config", b"NoSuchKeyword yes\n")

    assert booted.entries("ssh_pwauth: true") == [("failed", "ssh_pwauth")]

    assert booted.guest.read("/etc/ssh/sshd_config") == b"NoSuchKeyword yes\n"


def test_passwords_as_text_open_the_account_and_end_at_the_next_login(booted: Booted) -> None:
    guest = booted.guest
    document = """
users: [alice, {name: bob, lock_passwd: false, plain_text_passwd: Bobs.1234}]
chpasswd: {list: "alice:Cloud.1234"}
"""
    assert booted.entries(document) == []

    assert opens(guest, "alice", "Cloud.1234")
    assert opens(guest, "bob", "Bobs.1234")
    assert guest.sh("getent shadow alice").split(":")[2] == "0"
    assert guest.sh("getent shadow bob").split(":")[2] != "0"
    assert guest.run(["grep", "-rlE", "Cloud.1234|Bobs.1234", "/var", "/run", "/etc"]).stdout == b""


def test_a_made_up_password_is_told_on_the_console_alone(booted: Booted) -> None:
    guest = booted.guest
    guest.sh("rm -f /dev/console; mkfifo /dev/console")
    document = "{users: [alice], chpasswd: {expire: false, list: ['alice:RANDOM']}}"

    # Open for writing, too, so that it does not end with the first who writes.
    with guest.start(["sh", "-c", "exec cat 0<>/dev/console"]) as console:
        assert booted.entries(document) == []
        text = console.wait_for(r"alice: (\S+)\n")[1]

    assert opens(guest, "alice", text)
    assert len(text) >= 20
    places = ["/var/log", "/var/lib/linklocal", "/run", "/etc"]
    assert guest.run(["grep", "-rlF", text, *places]).stdout == b""


@pytest.mark.parametrize("console", ["rm -f {}", "rm -f {0}; mkfifo {0}", ": >{}"])
def test_a_password_that_nobody_would_learn_is_not_made(booted: Booted, console: str) -> None:
    booted.guest.sh(console.format("/dev/console"))
    before = booted.guest.sh("getent shadow root")

    found = booted.entries("{users: [alice], chpasswd: {list: ['root:RANDOM', 'alice:x']}}")

    assert ("refused", "chpasswd.list[0]") in found
    assert booted.guest.sh("getent shadow root") == before
    assert booted.guest.sh("getent shadow alice").split(":")[1].startswith("$")


def test_the_kernel_has_the_name_and_ssh_the_key(booted: Booted) -> None:
    assert booted.entries(f"{{hostname: web-1, ssh_authorized_keys: ['{KEY}']}}") == []

    assert booted.guest.sh("hostname").strip() == "web-1"
    assert booted.guest.text("/home/debian/.ssh/authorized_keys") == f"{KEY}\n"
    assert booted.guest.sh("stat -c %U /home/debian/.ssh/authorized_keys").strip() == "debian"


def test_commands_and_their_numbers(booted: Booted) -> None:
    found = booted.entries(
        "{bootcmd: ['echo $INSTANCE_ID > /root/id'], runcmd: [{a: b}, 'false', [touch, /root/x y]]}"
    )

    assert found == [("refused", "runcmd[0]"), ("failed", "runcmd[1]")]
    assert booted.guest.text("/root/id") == "i-1\n"
    assert booted.guest.exists("/root/x y")


def test_packages_come_from_a_repository_and_a_missing_one_is_named(booted: Booted) -> None:
    guest = booted.guest
    guest.sh("""
        mkdir -p /repo/p/DEBIAN && cd /repo
        printf 'Package: hello-there\\nVersion: 1.0\\nArchitecture: all\\n' > p/DEBIAN/control
        printf 'Maintainer: a <a@b.c>\\nDescription: x\\n' >> p/DEBIAN/control
        dpkg-deb -b p hello-there_1.0_all.deb
        cat p/DEBIAN/control > Packages
        printf 'Filename: ./hello-there_1.0_all.deb\\nSize: %s\\nSHA256: %s\\n' \\
            $(stat -c %s *.deb) $(sha256sum *.deb | cut -d' ' -f1) >> Packages
        rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
        echo 'deb [trusted=yes] file:/repo ./' > /etc/apt/sources.list
    """)

    found = booted.entries("packages: [no-such-package, [hello-there, '1.0']]")

    assert found == [("failed", "packages[0]")]
    assert guest.sh("dpkg-query -W -f '${Status}' hello-there") == "install ok installed"
    scripts = "/var/lib/linklocal/agent/instances/i-1/scripts"
    assert guest.stat(f"{scripts}/packages.output").mode == 0o600


def test_a_locale_is_made_and_programs_find_it(booted: Booted) -> None:
    assert booted.entries("locale: de_DE.UTF-8") == []

    assert booted.guest.sh("LC_ALL=de_DE.UTF-8 locale charmap").strip() == "UTF-8"
    assert "LANG=de_DE.UTF-8" in booted.guest.text("/etc/default/locale").splitlines()


def test_a_certificate_is_trusted(booted: Booted) -> None:
    guest = booted.guest
    guest.sh("cd /root; openssl req -x509 -newkey ed25519 -nodes -subj /CN=ours -out c -keyout k")
    lines = "".join(f"      {line}\n" for line in guest.text("/root/c").splitlines())

    assert booted.entries(f"ca_certs:\n  trusted:\n  - |\n{lines}") == []

    guest.sh("openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt /root/c")


def test_scripts_and_runcmd_are_run_in_the_order_of_their_names(booted: Booted) -> None:
    assert booted.entries(PARTS) == []

    order = booted.guest.text("/root/order").splitlines()
    assert order == ["b", "part", "runcmd in /", "z in /"]


def test_no_file_is_written_through_a_link_that_a_user_planted(booted: Booted) -> None:
    booted.boot("users: [alice]")
    booted.guest.sh("ln -s /etc /home/alice/d; chown -h alice /home/alice/d")
    document = "write_files: [{path: /home/alice/d/evil, content: x, defer: true}]"

    found = booted.entries(document, instance="i-2")

    assert found == [("failed", "write_files /home/alice/d/evil")]
    assert not booted.guest.exists("/etc/evil")


def test_what_fstab_is_given_is_mounted(booted: Booted) -> None:
    found = booted.entries("mounts: [[tmpfs, '/mnt/a b', tmpfs, 'size=1m'], [sdz9, /mnt/none]]")

    mounts = [line.split()[:3] for line in booted.guest.text("/proc/self/mounts").splitlines()]
    assert found == []
    assert ["tmpfs", "/mnt/a\\040b", "tmpfs"] in mounts
    assert booted.guest.stat("/mnt/none").kind == "directory"
