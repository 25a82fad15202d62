"""Each defence of the reset, switched off: a test of the suite has to fail for it.

The programs are copied and one line is changed there, as somebody might by mistake; the test that
is named beside it runs on the copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]
COPIED = ("agent", "metadata_server", "tests", "docs", "pyproject.toml", "README.md")
ENROL, GUEST = "metadata_server/reset/enrol.py", "metadata_server/reset/guest.py"
REQUESTS, SEALED = "metadata_server/reset/requests.py", "metadata_server/reset/sealed.py"
ENGINE, WIRE = "metadata_server/reset/engine.py", "metadata_server/reset/wire.py"
DEMANDS = "metadata_server/reset/demands.py"
DAEMON, PROTOCOL = "agent/reset_password/daemon.py", "agent/reset_password/protocol.py"
APPLY, KEYS = "agent/reset_password/apply.py", "agent/reset_password/keys.py"
KEPT = "agent/reset_password/kept.py"
PRIVATE, CLIENT = "agent/reset_password/private.py", "agent/reset_password/client.py"
CHANNEL, STORE = "agent/reset_password/channel.py", "metadata_server/store.py"

OF_ENGINE = "metadata_server/test_reset_engine.py::test_"
OF_REPLAYS = "metadata_server/test_reset_replays.py::test_"
AT_REST = "metadata_server/test_reset_at_rest.py::test_"
OF_SEALED = "metadata_server/test_reset_sealed.py::test_"
OF_STATE = "agent/test_reset_state.py::test_"
OF_PROTOCOL = "agent/test_reset_protocol.py::test_"
OF_CLIENT = "agent/test_reset_client.py::test_"
OF_CHANNEL = "agent/test_reset_channel.py::test_"
PLATFORM = "test_reset_platform.py::test_"
END_TO_END = "test_reset_end_to_end.py::test_"
ATTACKS = "test_reset_attacks.py::test_"
PROOF = f"{OF_ENGINE}a_low_port_proves_root_only_where_nothing_stands_between"
WRONG = f"{OF_ENGINE}a_wrong_enrolment_is_refused_with_its_reason"
REJECTED = f"{OF_STATE}a_reset_that_must_not_be_applied_is_rejected_with_its_word"


class Mutation(NamedTuple):
    defence: str
    file: str
    line: str
    """Text that is in the file exactly once."""
    changed: str
    test: str


MUTATIONS = [
    # Who may enrol.
    Mutation("a low port", ENROL, "not 0 < port < LOW_PORTS", "False", PROOF),
    Mutation(
        "no proxy", ENROL, "any(name in request.headers for name in PROXY_HEADERS)", "False", PROOF
    ),
    Mutation(
        "nobody that answers anyone",
        ENROL,
        "instance.identify.default and not _is_own(instance, address)",
        "False",
        PROOF,
    ),
    Mutation("no proof asked", ENROL, "if lacking is not None:\n", "if False:\n", PROOF),
    Mutation(
        "the token",
        ENROL,
        'sealed.same(shown.encode(errors="replace"), expected.encode())',
        "True",
        f"{OF_ENGINE}a_token_enrols_once",
    ),
    Mutation(
        "one time",
        ENROL,
        'state.execute("DELETE FROM reset_tokens WHERE instance = ?", (instance_id,))',
        "pass",
        f"{OF_ENGINE}a_token_enrols_once",
    ),
    Mutation(
        "loopback alone",
        ENROL,
        "if _is_loopback(address):",
        "if True:",
        f"{OF_ENGINE}no_proof_is_asked_of_loopback_alone",
    ),
    Mutation(
        "one identity",
        ENROL,
        'elif row["identity"] != asked.identity:',
        "elif False:",
        f"{OF_ENGINE}another_identity_is_a_conflict_until_it_is_accepted",
    ),
    Mutation(
        "a candidate proves root",
        ENROL,
        "if lacking is None:",
        "if True:",
        f"{OF_REPLAYS}what_was_not_proved_uses_nothing_up",
    ),
    Mutation(
        "the pinned identity",
        ENROL,
        "if pinned is not None and pinned != mark:",
        "if False:",
        f"{OF_ENGINE}a_pinned_identity_needs_no_proof_and_no_other_gets_in",
    ),
    Mutation(
        "a challenge once",
        ENROL,
        " or asked.nonce in self._used.get(instance.id, ())",
        "",
        f"{OF_ENGINE}a_challenge_is_good_once_for_30_seconds_at_one_address",
    ),
    Mutation(
        "a challenge in time",
        SEALED,
        "return 0 < left <= CHALLENGE_SECONDS",
        "return True",
        f"{OF_ENGINE}a_challenge_is_good_once_for_30_seconds_at_one_address",
    ),
    Mutation(
        "a challenge at its address",
        SEALED,
        "instance.encode(), address.encode(), *(",
        "instance.encode(), *(",
        f"{OF_ENGINE}a_challenge_is_good_once_for_30_seconds_at_one_address",
    ),
    Mutation(
        "a challenge of this process",
        ENROL,
        "self._epoch = secrets.token_bytes(sealed.NONCE_SIZE)",
        'self._epoch = b"ever"',
        f"{OF_REPLAYS}a_challenge_does_not_outlive_the_process",
    ),
    Mutation(
        "bounded enrolments",
        ENROL,
        "if len(used) >= ENROLMENTS_AT_ONCE:",
        "if False:",
        f"{OF_REPLAYS}an_enrolment_cannot_be_made_forgotten_and_sent_again",
    ),
    Mutation(
        "what is proved counts",
        ENROL,
        'if outcome != "enrolled" and lacking is not None:',
        "if False:",
        f"{OF_REPLAYS}what_was_not_proved_uses_nothing_up",
    ),
    Mutation("the signature", ENROL, "if not sealed.signed(", "if None is sealed.signed(", WRONG),
    Mutation("its own instance", ENROL, "if asked.instance != instance.id:", "if False:", WRONG),
    Mutation("the suite", ENROL, "if sealed.SUITE not in asked.suites:", "if False:", WRONG),
    Mutation("the version", WIRE, ' or self._raw["v"] != VERSION', "", WRONG),
    Mutation(
        "no key of low order",
        ENROL,
        'raise malformed("key", "an X25519 public key that is not of low order") from None',
        "pass",
        f"{OF_ENGINE}a_boot_key_of_low_order_is_refused",
    ),
    Mutation(
        "a request is for one identity",
        ENROL,
        "identity_changed(state, instance_id, candidate, now)",
        "pass",
        f"{OF_ENGINE}another_identity_is_a_conflict_until_it_is_accepted",
    ),
    # Polls, deliveries, acknowledgements.
    Mutation(
        "the MAC of a poll",
        GUEST,
        "if not sealed.same(shown, sealed.poll_mac(",
        "if None is sealed.same(shown, sealed.poll_mac(",
        f"{OF_ENGINE}a_poll_without_proof_learns_nothing",
    ),
    Mutation(
        "a poll once",
        GUEST,
        "if nonce in seen:",
        "if False:",
        f"{OF_ENGINE}a_replayed_poll_is_refused",
    ),
    Mutation(
        "the poll of an earlier boot ends",
        GUEST,
        ' or now_known["key"] != guest["key"]',
        "",
        f"{OF_ENGINE}the_poll_of_an_earlier_boot_ends_when_a_new_one_enrols",
    ),
    Mutation(
        "delivered to its identity",
        GUEST,
        'row["identity"] != identity or ',
        "",
        f"{OF_ENGINE}a_request_of_another_identity_is_neither_given_nor_acknowledged",
    ),
    Mutation(
        "delivered to its boot",
        GUEST,
        'here == (row["apply"] == "live")',
        "True",
        f"{OF_ENGINE}apply_says_which_boot_gets_it",
    ),
    Mutation(
        "a clock set back gives no more time",
        GUEST,
        'min(int(row["expires"] - now), whole)',
        'int(row["expires"] - now)',
        f"{ATTACKS}a_servers_clock_years_off_gives_a_request_no_longer_life",
    ),
    Mutation(
        "no delivery after its time",
        GUEST,
        "expired.extend(expire_due(state, now=now, instance_id=instance.id))",
        "pass",
        f"{OF_ENGINE}an_expired_request_is_not_delivered",
    ),
    Mutation(
        "the MAC of an acknowledgement",
        GUEST,
        "if not sealed.same(shown, said):",
        "if False:",
        f"{OF_ENGINE}no_bent_acknowledgement_counts",
    ),
    Mutation(
        "acknowledged by its identity",
        GUEST,
        'if row is None or row["identity"] != guest["identity"]:',
        "if row is None:",
        f"{OF_ENGINE}a_request_of_another_identity_is_neither_given_nor_acknowledged",
    ),
    Mutation(
        "acknowledged after its delivery",
        GUEST,
        'if row["delivered"] is None:',
        "if False:",
        f"{OF_ENGINE}an_acknowledgement_of_what_was_never_delivered_is_refused",
    ),
    Mutation(
        "the hop limit",
        WIRE,
        "link.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)",
        "pass",
        f"{OF_ENGINE}no_answer_goes_farther_than_the_hop_limit",
    ),
    Mutation(
        "bounded bodies",
        WIRE,
        "if len(found) > BODY_LIMIT:",
        "if False:",
        f"{OF_ENGINE}what_is_no_message_is_refused",
    ),
    # What is kept.
    Mutation(
        "a hash is forgotten",
        REQUESTS,
        "SET hash = NULL, finished = ?",
        "SET finished = ?",
        f"{OF_ENGINE}no_hash_is_readable_in_the_state_and_none_is_left",
    ),
    Mutation(
        "a hash is bound to its request",
        REQUESTS,
        "return pack(*(word.encode() for word in words))",
        'return b""',
        f"{OF_ENGINE}a_hash_moved_to_another_request_does_not_open",
    ),
    Mutation(
        "no trace in the log",
        ENGINE,
        "await self._store.truncate_log()",
        "pass",
        f"{AT_REST}no_file_of_the_state_has_the_ciphertext_of_a_reset_that_ended",
    ),
    Mutation(
        "overwritten, not only freed",
        STORE,
        "PRAGMA secure_delete = ON",
        "PRAGMA secure_delete = OFF",
        f"{AT_REST}no_file_of_the_state_has_the_ciphertext_of_a_reset_that_ended",
    ),
    Mutation(
        "the grammar of names",
        DEMANDS,
        "if not USER.fullmatch(user):",
        "if False:",
        f"{OF_ENGINE}a_malformed_wish_is_refused",
    ),
    Mutation(
        "no envelope once a guest enrolled",
        DEMANDS,
        "reset_password.legacy and known is None",
        "reset_password.legacy",
        f"{PLATFORM}a_guest_that_enrols_ends_the_platforms_way_for_good",
    ),
    # The guest.
    Mutation(
        "the server's key",
        DAEMON,
        "if expected is not None and server.hex() != expected:",
        "if False:",
        f"{END_TO_END}another_server_key_is_refused_until_it_is_trusted",
    ),
    Mutation(
        "no downgrade after an enrolment",
        DAEMON,
        "if pinned_server(self._places.state) or self._settings.server_key:",
        "if False:",
        f"{PLATFORM}our_daemon_never_takes_it_after_it_enrolled",
    ),
    Mutation(
        "no downgrade but for a path that is not there",
        DAEMON,
        "if error.status == 404 and self._settings.legacy:",
        "if self._settings.legacy:",
        f"{PLATFORM}our_daemon_does_not_set_it_nor_delete_it",
    ),
    Mutation(
        "the server's word for an enrolment",
        PROTOCOL,
        'if not hmac.compare_digest(hmac.digest(self._ack, message, "sha256"), shown):',
        "if False:",
        f"{OF_PROTOCOL}who_enrolled_this_guest_is_believed_with_its_mac_only",
    ),
    Mutation(
        "the server's word for a record",
        PROTOCOL,
        "if not hmac.compare_digest(mac, shown):",
        "if False:",
        f"{OF_PROTOCOL}the_record_of_an_acknowledgement_is_believed_with_its_mac_only",
    ),
    Mutation("the users", APPLY, " or order.user not in users", "", REJECTED),
    Mutation("the grammar of hashes", APPLY, "if scheme is None:", "if False:", REJECTED),
    Mutation("the time", APPLY, "if elapsed() >= order.ttl:", "if False:", REJECTED),
    Mutation("a lock", APPLY, "if _is_locked(field) and not order.unlock:", "if False:", REJECTED),
    Mutation(
        "a change since",
        APPLY,
        "elif field != order.hash and not compare_digest(digest, entry.old):",
        "elif False:",
        f"{OF_STATE}a_mark_and_another_field_mean_that_it_was_changed_since",
    ),
    Mutation(
        "an id once",
        APPLY,
        "if entry is not None and entry.result:",
        "if False:",
        f"{OF_STATE}a_confirmed_reset_that_comes_again_is_acknowledged_again_and_not_applied",
    ),
    Mutation(
        "an identity for each instance",
        KEYS,
        'if raw.get("instance") == instance:',
        "if True:",
        f"{OF_STATE}an_identity_stays_until_the_instance_is_another",
    ),
    Mutation(
        "identities that were enrolled stay",
        KEYS,
        "for name in kept if not _is_proven(kept[name])]",
        "for name in kept]",
        f"{OF_STATE}whoever_names_many_instances_drives_out_no_identity_that_was_enrolled",
    ),
    Mutation(
        "results are their instance's",
        KEPT,
        'each.instance in ("", instance)',
        "True",
        f"{OF_STATE}a_result_waits_for_the_server_of_its_own_instance",
    ),
    Mutation(
        "a directory that is no link",
        PRIVATE,
        "os.O_DIRECTORY | os.O_NOFOLLOW",
        "os.O_DIRECTORY",
        f"{OF_STATE}a_directory_that_is_a_link_is_refused",
    ),
    Mutation(
        "a directory of root's",
        PRIVATE,
        " or found.st_mode & 0o022",
        "",
        f"{OF_STATE}a_directory_that_others_may_write_is_refused",
    ),
    Mutation(
        "a file of root's",
        PRIVATE,
        "or found.st_mode & 0o077",
        "",
        f"{OF_STATE}a_file_that_is_a_link_or_open_to_others_is_refused",
    ),
    Mutation(
        "an answer has an end",
        CLIENT,
        "self._wait(link.fileno(), events, _left(deadline))",
        "self._wait(link.fileno(), events, 10.0)",
        f"{OF_CLIENT}an_exchange_has_an_end_however_slow_the_server",
    ),
    Mutation(
        "an answer is whole",
        CLIENT,
        "if length is not None and len(body) != length:",
        "if False:",
        f"{OF_CLIENT}what_is_no_whole_answer_is_none",
    ),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.defence)
def test_every_defence_is_where_the_table_says(mutation: Mutation) -> None:
    text = (REPOSITORY / mutation.file).read_text()
    where, _, name = mutation.test.partition("::")

    assert text.count(mutation.line) == 1
    assert f"def {name}(" in (REPOSITORY / "tests" / where).read_text()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("mutated")
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, made / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, made / name)
    return made


@pytest.fixture
def mutated(copy: Path, mutation: Mutation) -> Iterator[Path]:
    path = copy / mutation.file
    before = path.read_text()
    path.write_text(before.replace(mutation.line, mutation.changed))
    yield copy
    path.write_text(before)


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.defence)
def test_a_defence_that_is_switched_off_is_noticed(mutated: Path, mutation: Mutation) -> None:
    if os.geteuid() != 0:
        pytest.skip("some of the tests need root")

    done = run(mutated, mutation.test)

    # 1 is a test that failed; whatever else went wrong says nothing about the defence.
    assert done.returncode == 1, done.stdout


def run(where: Path, test: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    # Without CI: there a test that is skipped has failed, and would seem to have noticed.
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [*argv, f"tests/{test}"],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
