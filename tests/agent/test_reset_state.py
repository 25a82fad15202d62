"""What the daemon keeps and what it applies: identity, boot key, marks, accounts, settings."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConfigError, HostError
from agent.reset_password.apply import Outcome, apply, scheme_of, schemes
from agent.reset_password.crypt3 import crypt
from agent.reset_password.inside import inside
from agent.reset_password.kept import RESETS_KEPT, Entry, Resets, pin_server, pinned_server
from agent.reset_password.keys import IDENTITIES_KEPT, keep_identity, load_boot, load_identity
from agent.reset_password.machine import Machine
from agent.reset_password.private import PrivateDirectory
from agent.reset_password.protocol import Order
from agent.reset_password.service import NoService, located
from agent.reset_password.settings import METADATA_URL, Settings, read
from agent.secret import Secret

OLD = "$6$oldsalt$" + "a" * 86
NEW = "$6$newsalt$" + "b" * 86


@pytest.fixture
def state(tmp_path: Path) -> PrivateDirectory:
    return PrivateDirectory(str(tmp_path / "state"), mode=0o700)


# Identity and boot


def test_an_identity_stays_until_the_instance_is_another(state: PrivateDirectory) -> None:
    first, made = load_identity(state, "one")
    again, made_again = load_identity(state, "one")
    other, made_other = load_identity(state, "two")
    back, made_back = load_identity(state, "one")

    assert (made, made_again, made_other, made_back) == (True, False, True, False)
    assert first.public == again.public == back.public != other.public


def test_whoever_names_many_instances_drives_out_no_identity_that_was_enrolled(
    state: PrivateDirectory,
) -> None:
    enrolled = {}
    for name in ("a", "b", "c", "d"):
        enrolled[name] = load_identity(state, name)[0].public
        keep_identity(state, name)
    waiting = load_identity(state, "waiting")[0].public

    for number in range(20):
        load_identity(state, f"invented {number}")

    assert len(state.names()) == 2 * IDENTITIES_KEPT
    assert load_identity(state, "waiting")[0].public == waiting
    for name, public in enrolled.items():
        assert load_identity(state, name)[0].public == public


def test_of_the_identities_that_were_enrolled_the_oldest_goes(state: PrivateDirectory) -> None:
    for number in range(IDENTITIES_KEPT + 2):
        load_identity(state, str(number))
        keep_identity(state, str(number))

    assert len(state.names()) == IDENTITIES_KEPT
    assert [load_identity(state, str(number))[1] for number in (5, 2, 0)] == [False, False, True]


def test_an_identity_of_before_there_could_be_several_counts_as_enrolled(
    state: PrivateDirectory,
) -> None:
    state.write("identity.json", json.dumps({"instance": "i", "identity": "07" * 32}).encode())
    for number in range(20):
        load_identity(state, f"invented {number}")

    assert not load_identity(state, "i")[1]


def test_a_boot_key_stays_until_the_boot_is_over(tmp_path: Path) -> None:
    run = PrivateDirectory(str(tmp_path / "run"), mode=0o755)
    first, again = load_boot(run), load_boot(run)
    (tmp_path / "run/resetd-boot.json").unlink()
    later = load_boot(run)

    assert (first.boot, first.public) == (again.boot, again.public)
    assert first.boot != later.boot
    assert first.public != later.public


def test_a_run_directory_that_outlived_its_boot_gives_a_new_key(tmp_path: Path) -> None:
    run = PrivateDirectory(str(tmp_path / "run"), mode=0o755)
    first = load_boot(run)
    path = tmp_path / "run/resetd-boot.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot_id": "an earlier one"}))

    assert load_boot(run).boot != first.boot


def test_the_servers_key_is_kept(state: PrivateDirectory) -> None:
    assert pinned_server(state) is None
    pin_server(state, b"s" * 32)
    assert pinned_server(state) == b"s" * 32


@pytest.mark.parametrize(
    "text",
    ["", "x", "[]", "{}", '{"instance": "one"}', '{"instance": "one", "identity": "00"}'],
)
def test_a_damaged_identity_is_never_replaced_by_a_guess(
    state: PrivateDirectory, text: str
) -> None:
    state.write("identity.json", text.encode())
    if text == "{}":
        # No instance is another instance.
        assert load_identity(state, "one")[1]
        return
    with pytest.raises(HostError, match="identity"):
        load_identity(state, "one")
    assert state.read("identity.json") == text.encode()


# Files


def test_a_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "link").symlink_to("real")

    with pytest.raises(HostError, match="expected a directory and no link"):
        PrivateDirectory(str(tmp_path / "link"), mode=0o700)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_directory_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)

    with pytest.raises(HostError, match="only its owner"):
        PrivateDirectory(str(tmp_path / "open"), mode=0o700)


def test_a_file_in_the_way_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(HostError):
        PrivateDirectory(str(tmp_path / "file"), mode=0o700)


def test_a_file_that_is_a_link_or_open_to_others_is_refused(
    state: PrivateDirectory, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    (tmp_path / "state/link.json").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "state/open.json").write_text("{}")
    os.mkfifo(tmp_path / "state/pipe.json", 0o600)

    for name in ("link.json", "open.json", "pipe.json"):
        with pytest.raises(HostError):
            state.read(name)


def test_a_link_planted_where_a_file_is_written_is_not_followed(
    state: PrivateDirectory, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    for name in ("keys.json", ".keys.json.new"):
        (tmp_path / "state" / name).symlink_to(victim)

    state.write("keys.json", b"secret")

    assert victim.read_text() == "as it was"
    assert state.read("keys.json") == b"secret"
    assert (tmp_path / "state/keys.json").stat().st_mode & 0o777 == 0o600


def test_only_one_holds_the_lock(state: PrivateDirectory) -> None:
    first = state.lock("lock")
    second = state.lock("lock")
    assert first is not None
    os.close(first)

    assert second is None
    assert state.lock("lock") is not None


# Resets


def test_resets_are_kept_over_a_restart_and_bounded(state: PrivateDirectory) -> None:
    resets = Resets(state)
    for number in range(RESETS_KEPT + 10):
        resets.put(Entry(str(number), "", "applied", "", True))
    resets.put(Entry("last", "digest"))
    again = Resets(state)

    assert again.get("0") is None
    assert again.get("last") == Entry("last", "digest")
    assert again.newest() == Entry("last", "digest")
    assert again.unacknowledged("one") == ()


def test_a_result_waits_for_the_server_of_its_own_instance(state: PrivateDirectory) -> None:
    resets = Resets(state)
    resets.put(Entry("1", "", "applied", instance="one"))
    resets.put(Entry("2", "", "applied"))

    assert [each.id for each in resets.unacknowledged("one")] == ["1", "2"]
    assert [each.id for each in resets.unacknowledged("two")] == ["2"]


def test_a_name_that_is_none_is_not_kept(accounts: Accounts, state: PrivateDirectory) -> None:
    applied(accounts, state, order(user="\ud800" * 10_000))

    kept = Resets(state).get("id")
    assert kept is not None
    assert (kept.user, kept.code) == ("", "user-not-allowed")


@pytest.mark.parametrize("text", ["x", "[]", "{}", '{"resets": [{}]}', '{"resets": [{"x": 1}]}'])
def test_a_damaged_history_is_not_taken_for_an_empty_one(
    state: PrivateDirectory, text: str
) -> None:
    state.write("resets.json", text.encode())

    with pytest.raises(HostError, match="cannot be understood"):
        Resets(state)


# Applying


class Accounts:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "etc").mkdir(parents=True)
        (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nmax:x:1:1::/:/bin/sh\n")
        self.set("*")

    def set(self, field: str) -> None:
        (self.root / "etc/shadow").write_text(f"root:{field}:1:0:99999:7:::\nmax:{OLD}:1:::::\n")

    @property
    def field(self) -> str:
        return (self.root / "etc/shadow").read_text().split(":")[1]


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(tmp_path / "root")


def order(**changes: Any) -> Order:
    whole = Order("id", "root", Secret(NEW.encode()), False, False, False, 900)
    return whole._replace(**changes)


def applied(
    accounts: Accounts, state: PrivateDirectory, wish: Order, seconds: float = 0.0
) -> Outcome:
    machine = Machine(str(accounts.root))
    return apply(wish, machine, Resets(state), ("root", "gone", "max\n"), lambda: seconds)


@pytest.mark.parametrize(
    ("changes", "field", "seconds", "code"),
    [
        ({"user": "max"}, "*", 0, "user-not-allowed"),
        ({"user": "max\n"}, "*", 0, "user-not-allowed"),
        ({"user": "root\nmax"}, "*", 0, "user-not-allowed"),
        ({"user": "root:x"}, "*", 0, "user-not-allowed"),
        ({"user": ""}, "*", 0, "user-not-allowed"),
        ({"user": "gone"}, "*", 0, "no-such-user"),
        ({"hash": Secret(b"")}, "*", 0, "bad-hash"),
        ({"hash": Secret(b"plain text")}, "*", 0, "bad-hash"),
        ({"hash": Secret(NEW.encode() + b"\n")}, "*", 0, "bad-hash"),
        ({"hash": Secret(NEW.encode() + b":0:\nevil::")}, "*", 0, "bad-hash"),
        ({"hash": Secret(b"!" + NEW.encode())}, "*", 0, "bad-hash"),
        ({"hash": Secret(NEW.encode()[:-1])}, "*", 0, "bad-hash"),
        ({}, "!" + OLD, 0, "locked"),
        ({}, "!!" + OLD, 0, "locked"),
        ({}, "*", 900, "expired"),
        ({}, "*", 10**9, "expired"),
    ],
)
def test_a_reset_that_must_not_be_applied_is_rejected_with_its_word(
    accounts: Accounts,
    state: PrivateDirectory,
    changes: dict[str, Any],
    field: str,
    seconds: float,
    code: str,
) -> None:
    accounts.set(field)

    first = applied(accounts, state, order(**changes), seconds)
    again = applied(accounts, state, order())

    assert first == Outcome("rejected", code)
    # What once ended has ended: the same id never gets a second chance.
    assert again == first
    assert accounts.field == field


def mark(state: PrivateDirectory, field: str) -> None:
    Resets(state).put(Entry("id", hashlib.sha256(field.encode()).hexdigest()))


def test_a_mark_and_the_hash_in_place_mean_that_it_was_done(
    accounts: Accounts, state: PrivateDirectory
) -> None:
    mark(state, "*")
    accounts.set(NEW)

    assert applied(accounts, state, order()) == Outcome("applied")


def test_a_mark_and_another_field_mean_that_it_was_changed_since(
    accounts: Accounts, state: PrivateDirectory
) -> None:
    mark(state, "*")
    accounts.set(OLD)

    assert applied(accounts, state, order()) == Outcome("rejected", "changed-since")
    assert accounts.field == OLD


def test_account_files_that_cannot_be_read_are_a_failure_of_the_machine(
    accounts: Accounts, state: PrivateDirectory
) -> None:
    (accounts.root / "etc/shadow").unlink()

    assert applied(accounts, state, order()) == Outcome("failed", "machine")


def test_links_lead_nowhere_out_of_the_root(tmp_path: Path) -> None:
    """What is outside has the same names, and would be read and written if links led there."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    for base in (outside, root / str(outside).lstrip("/"), root / "own"):
        base.mkdir(parents=True)
        (base / "passwd").write_text(f"{base.parent.name}:x:0:0::/root:/bin/sh\n")
        (base / "shadow").write_text(f"{base.parent.name}:*:1:0:99999:7:::\n")
    (root / "etc").mkdir()
    for name in ("passwd", "shadow"):
        (root / "etc" / name).symlink_to(outside / name)
    (root / "var").symlink_to(outside)
    (root / "run").symlink_to("../../../../own")

    machine = Machine(str(root))

    assert machine.find("root").code == "no-such-user"
    assert machine.find(tmp_path.name).field == Secret(b"*")
    assert not machine.obstacle()
    assert inside(str(root), "/etc/shadow") == str(root / str(outside / "shadow").lstrip("/"))
    assert inside(str(root), "/etc/shadow", follow=False) == str(root / "etc/shadow")
    assert inside(str(root), "/var/lib/x") == str(root / str(outside).lstrip("/") / "lib/x")
    assert inside(str(root), "/run/linklocal") == str(root / "own/linklocal")
    (root / "loop").symlink_to("/loop/again")
    with pytest.raises(HostError, match="too many links"):
        inside(str(root), "/loop/x")


@pytest.mark.parametrize("name", ["etc/passwd", "etc/shadow"])
def test_a_pipe_in_the_place_of_a_file_hangs_nothing(accounts: Accounts, name: str) -> None:
    (accounts.root / name).unlink()
    os.mkfifo(accounts.root / name)

    with pytest.raises(HostError, match="is not a regular file"):
        Machine(str(accounts.root)).find("root")


def test_a_pipe_in_the_place_of_the_settings_hangs_nothing(tmp_path: Path) -> None:
    (tmp_path / "etc/linklocal").mkdir(parents=True)
    os.mkfifo(tmp_path / "etc/linklocal/agent.yaml")

    with pytest.raises(ConfigError, match="is not a regular file"):
        read(str(tmp_path))


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="chpasswd needs root")


@needs_root
@pytest.mark.parametrize("before", ["*", "!", "!!", "!*", "", OLD])
def test_a_reset_is_set_and_read_again(
    accounts: Accounts, state: PrivateDirectory, before: str
) -> None:
    accounts.set(before)

    assert applied(accounts, state, order(), 899.9) == Outcome("applied")
    assert accounts.field == NEW
    kept = Resets(state).get("id")
    assert kept is not None
    assert (kept.old, kept.result, kept.user) == (
        hashlib.sha256(before.encode()).hexdigest(),
        "applied",
        "root",
    )


@needs_root
def test_a_mark_and_the_old_field_mean_that_it_is_still_to_be_done(
    accounts: Accounts, state: PrivateDirectory
) -> None:
    mark(state, "*")

    assert applied(accounts, state, order()) == Outcome("applied")
    assert accounts.field == NEW


@needs_root
def test_a_confirmed_reset_that_comes_again_is_acknowledged_again_and_not_applied(
    accounts: Accounts, state: PrivateDirectory
) -> None:
    applied(accounts, state, order())
    entry = Resets(state).get("id")
    assert entry is not None
    Resets(state).put(entry._replace(acknowledged=True))
    accounts.set(OLD)

    assert applied(accounts, state, order()) == Outcome("applied")
    assert accounts.field == OLD
    assert [entry.id for entry in Resets(state).unacknowledged("one")] == ["id"]


def test_this_machines_schemes_are_told() -> None:
    assert {"sha512", "sha256"} <= set(schemes())


def test_yescrypt_is_told_where_a_hash_of_it_opens() -> None:
    kept = b"$y$j75$abcd$SRq19BQ4xWLDWC.BNWE7QPR/otVN5sPNr6.9NylW4d4"

    assert ("yescrypt" in schemes()) == (crypt(b"x", kept) == kept)


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        (NEW, "sha512"),
        ("$6$rounds=656000$salt$" + "." * 86, "sha512"),
        ("$5$salt$" + "/" * 43, "sha256"),
        ("$y$j9T$salt$" + "0" * 43, "yescrypt"),
        ("$2b$12$" + "e" * 53, "bcrypt"),
        ("$2b$03$" + "e" * 53, None),
        ("$6$$" + "a" * 86, None),
        ("$6$rounds=999$salt$" + "a" * 86, None),
        ("$1$salt$" + "a" * 22, None),
        ("$6$salt$" + "a" * 85 + "\0", None),
    ],
)
def test_the_grammar_of_hashes_is_exact(text: str, scheme: str | None) -> None:
    assert scheme_of(text.encode()) == scheme


HASHES = json.loads((Path(__file__).parents[1] / "data/reset-hashes.json").read_text())["hashes"]


def test_the_grammar_is_that_of_the_vectors() -> None:
    assert [[text, scheme_of(text.encode())] for text, _ in HASHES] == HASHES


# Settings


def configured(root: Path, text: str) -> Settings:
    (root / "etc/linklocal").mkdir(parents=True)
    (root / "etc/linklocal/agent.yaml").write_text(text)
    return read(str(root))


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", Settings()),
        ("default_user: max", Settings(users=("root", "max"))),
        ("metadata_urls: ['http://1.2.3.4']", Settings(metadata_url="http://1.2.3.4")),
        ("strict: true\ncloud_config: {}", Settings()),
        ("reset_password: {users: [max]}", Settings(users=("max",))),
        (
            f"reset_password: {{server_key: '{'0a' * 32}', token_file: /t}}",
            Settings(server_key="0a" * 32, token_file="/t"),
        ),
    ],
)
def test_settings_come_from_the_agents_file(tmp_path: Path, text: str, settings: Settings) -> None:
    assert configured(tmp_path, text) == settings


def test_without_a_file_all_is_as_usual(tmp_path: Path) -> None:
    assert read(str(tmp_path)) == Settings(users=("root",))


@pytest.mark.parametrize(
    ("files", "option", "url"),
    [
        ({}, "http://127.0.0.1:1", "http://127.0.0.1:1"),
        ({"etc/linklocal/agent.yaml": "metadata_urls: 'http://1.2.3.4'"}, None, "http://1.2.3.4"),
        ({"etc/linklocal/agent.yaml": "datasource: ec2"}, None, METADATA_URL),
        ({"proc/cmdline": "quiet ds=openstack"}, None, METADATA_URL),
        ({"sys/class/dmi/id/product_name": "OpenStack Nova"}, None, METADATA_URL),
        ({"run/linklocal/status.json": '{"datasource": "openstack"}'}, None, METADATA_URL),
    ],
)
def test_the_service_is_asked_where_something_names_it(
    tmp_path: Path, files: dict[str, str], option: str | None, url: str
) -> None:
    settings = machine_of(tmp_path, files)

    assert located(settings, str(tmp_path), option).metadata_url == url


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"sys/class/dmi/id/product_name": "ThinkPad X1"},
        {"proc/cmdline": "ds=nocloud"},
        {"etc/linklocal/agent.yaml": "datasource: nocloud"},
        {"run/linklocal/status.json": '{"datasource": null}'},
        {"run/linklocal/status.json": "torn"},
    ],
)
def test_an_unknown_network_is_not_asked(tmp_path: Path, files: dict[str, str]) -> None:
    settings = machine_of(tmp_path, files)

    with pytest.raises(NoService, match="no metadata service is known here: "):
        located(settings, str(tmp_path), None)


def test_a_daemon_without_a_service_says_so_and_is_not_to_be_restarted(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "agent.reset_password", "run", "--root", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert ended.returncode == 78
    assert "no metadata service is known here" in ended.stderr
    assert "--metadata-url" in ended.stderr


def machine_of(root: Path, files: dict[str, str]) -> Settings:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return read(str(root))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "expected YAML"),
        ("- a", "expected a mapping"),
        ("reset_password: yes", "expected a mapping"),
        ("reset_password: {sever_key: x}", "unknown key 'sever_key'"),
        ("reset_password: {server_key: x}", "64 lower-case hexadecimal digits"),
        ("reset_password: {users: {a: b}}", "expected a list of words"),
        ("reset_password: {token_file: [x]}", "expected text"),
        ("metadata_urls: 7", "expected a list of words"),
    ],
)
def test_settings_that_cannot_be_trusted_stop_the_daemon(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        configured(tmp_path, text)
