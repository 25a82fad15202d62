"""What is left of a reset that ended, in any file of the state: nothing, not even ciphertext."""

from __future__ import annotations

from pathlib import Path

import pytest

from .reset_bench import HASH, OTHER_HASH, PREFIX, Guest, bench


@pytest.mark.parametrize("how", ["applied", "cancelled", "expired", "superseded"])
async def test_no_file_of_the_state_has_the_ciphertext_of_a_reset_that_ended(
    tmp_path: Path, how: str
) -> None:
    state = tmp_path / "state"
    async with bench(state) as (at, port):
        guest = Guest(port)
        await guest.enrol()
        asked = await at.engine.ask(at.instance, "root", HASH)
        rows = at.store.read("SELECT hash FROM reset_requests WHERE id = ?", asked.id)
        before = _found(state, rows[0]["hash"])
        if how == "applied":
            assert await guest.fetch() is not None
            await guest.tell(asked.id)
        elif how == "cancelled":
            await at.engine.cancel(asked.id)
        elif how == "expired":
            at.clock.now += 8 * 86400
            await guest.poll()
        else:
            await at.engine.ask(at.instance, "root", OTHER_HASH)
        ended = at.engine.request(asked.id)
        after = _found(state, rows[0]["hash"])

    assert ended is not None
    assert ended.state == how
    assert before
    assert not after


async def test_a_forged_acknowledgement_ends_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path / "state") as (at, port):
        guest, stranger = Guest(port), Guest(port, seed=5)
        await guest.enrol()
        asked = await at.engine.ask(at.instance, "root", HASH)
        assert await guest.fetch() is not None
        message = {**guest.linked().result(asked.id, "applied", ""), "mac": "00" * 32}
        forged = await guest.send("POST", PREFIX + "result", message)
        stranger.link = type(guest.linked())(at.instance.id, stranger.boot, guest.linked().server)
        other = await stranger.tell(asked.id)
        request = at.engine.request(asked.id)

    assert (forged.status, other.status) == (403, 403)
    assert request is not None
    assert request.state == "delivered"


def _found(directory: Path, text: bytes) -> list[str]:
    """Return the files that have any 12 bytes in a row of *text*: newer ones may hide the rest."""
    pieces = [text[start : start + 12] for start in range(len(text) - 11)]
    files = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    return [name for name, held in files.items() if any(piece in held for piece in pieces)]
