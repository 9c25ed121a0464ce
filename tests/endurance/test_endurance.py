"""The endurance programs in small, and that they can fail."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from node.store import Tx, open_store_nowait
from node.store.tx import DepositRow, OutboxRow
from protocol.envelope import seal
from protocol.keys import BoxKey
from protocol.letter import write_letter
from tests.adversary.figures import Figure

from . import absence, partition
from .__main__ import main
from .chaos import Day, Plan, live
from .crash import Findings, Ledger, _look, crash
from .processes import NodeProcess

SHORT = Plan(1, hours=0.7, bad_minutes=3, bad_times=1)

PATIENCE = 8
"""Goals in seconds: the whole suite runs beside this."""


def expect(figures: list[Figure]) -> None:
    missed = [figure.line() for figure in figures if figure.is_missed(PATIENCE)]
    assert not missed, "\n".join(missed)
    assert any(figure.goal for figure in figures)


@pytest.mark.parametrize("first", range(1, 21, 4))
def test_twenty_short_days_without_luck(first: int) -> None:
    """Three bad minutes and what comes after, each; scripts/chaos has whole days."""
    for seed in range(first, first + 4):
        day = live(replace(SHORT, seed=seed))
        again = f"scripts/chaos --seed {seed} --hours 0.7 --minutes 3 --times 1"
        assert not day.broken, "\n".join([again, *day.broken])
        assert day.counts["asked"] > 2
        assert day.counts["acknowledged"] > 2


def test_the_witness_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were offers acknowledged and not kept, or were a word for two on the wire, it would be told."""
    kept = Tx.add_message

    def forgetful(tx: Tx, **message: Any) -> None:
        if message["kind"] != "offer" or message["mine"]:
            kept(tx, **message)

    monkeypatch.setattr(Tx, "add_message", forgetful)
    broken = live(SHORT).broken
    assert any("acknowledged" in line and "does not have it" in line for line in broken)
    monkeypatch.undo()
    monkeypatch.setattr("node.delivery.delivery.write_letter", _open_letter)
    assert any("went over the wire" in line for line in live(SHORT).broken)


def _open_letter(draft: Any, key: Any, *args: Any, **more: Any) -> Any:
    """As if nothing were sealed: the text lies beside the letter."""
    message, item = write_letter(draft, key, *args, **more)
    return message, replace(item, ciphertext=message.frame)


def test_the_door_tells_which_seed_and_exits_as_it_went(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ["--hours", "0.1", "--minutes", "1", "--times", "1", "--jobs", "1"]
    assert main(["chaos", "--seed", "3", *short]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 days, 1 at a time: about ")
    assert lines[1] == lines[2]
    assert lines[1].startswith("seed 3: ")
    days = [Day(1, "a", ["the sky fell"]), Day(2, "b")]
    monkeypatch.setattr("multiprocessing.pool.Pool.imap", lambda *_: iter(days))
    assert main(["chaos", "--seeds", "2", *short]) == 1
    told = capsys.readouterr().out
    assert "scripts/chaos --seed 1" in told
    assert "the sky fell" in told
    assert told.splitlines()[-1].endswith("broken: [1]")


def test_more_days_than_a_process_lives(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.endurance.__main__.DAYS_PER_PROCESS", 2)
    short = ["--hours", "0.05", "--minutes", "0.5", "--times", "1", "--jobs", "1"]
    assert main(["chaos", "--seeds", "5", *short]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("5 days in ")


def test_a_seed_is_a_day_to_the_byte() -> None:
    """In two processes that hash texts differently; another seed is another day."""

    def trace(seed: int, hashing: str) -> str:
        program = f"from tests.endurance.chaos import Plan, live; print(live(Plan({seed}, 0.2, 3, 1)).trace)"
        environment = {**os.environ, "PYTHONHASHSEED": hashing}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        return done.stdout.strip().splitlines()[-1]

    first = trace(7, "1")
    assert len(first) == 32
    assert trace(7, "2") == first
    assert trace(8, "1") != first


async def test_a_person_away_for_a_day_finds_every_offer_once(clock: MockClock) -> None:
    expect(await absence.away(2))
    expect(await absence.away(2, mailbox=True))


async def test_what_was_said_once_is_not_shown_again(clock: MockClock) -> None:
    """After three and five minutes, a restart, its end, and on another network; scripts/absence has 1,000 frames."""
    expect(await absence.replay(12))


@pytest.mark.live
def test_ten_kills() -> None:
    expect(crash(10))


@pytest.mark.live
def test_two_small_halves_heal() -> None:
    try:
        expect(partition.partition(2, 5, 4))
    except partition.Impossible as why:
        pytest.skip(str(why))


def test_a_loss_is_seen(tmp_path: Path) -> None:
    """A home that lacks what was told to be in it, tells an event twice and made two offers in one thread."""
    for name in ("person", "vendor"):
        (tmp_path / name).mkdir()
        store = open_store_nowait(tmp_path / name / "node.db")
        for number in range(2):
            what = {"intent": "aa", "offer": "bb", "n": number}
            store.transact_nowait(lambda tx, what=what: tx.add_event("offer.received", 1, what))  # type: ignore[misc]
            store.transact_nowait(
                lambda tx, n=number: tx.add_message(  # type: ignore[misc]
                    id=bytes([n]) * 32, root=bytes(32), thread=bytes(32), mine=True, kind="offer", now=1, frame=b""
                )
            )
        store.close()
    person, vendor = (NodeProcess(tmp_path / name, ()) for name in ("person", "vendor"))
    read = {3: {"id": 3, "type": "wish.asked", "at": 1, "intent": "aa"}}
    ledger, found = Ledger(wishes={"cc" * 32}, events={"person": read, "vendor": {}}), Findings()
    _look(person, [person, vendor], ledger, found, tmp_path)
    assert found.lost == {"person: message cccccccc", "person: event 3"}
    assert found.doubled == {"person: offer.received bb", "person: two offers for 00000000"}


def test_old_events_that_made_way_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sort of events has a length of its own; a hole among those that are kept is a loss."""
    monkeypatch.setattr("node.store.tx.KEEP_EVENTS", 10)
    (tmp_path / "vendor").mkdir()
    store = open_store_nowait(tmp_path / "vendor" / "node.db")
    read = {}
    for count in range(500):
        kind, about = ("wish.heard", "revision") if count % 2 else ("offer.made", "offer")
        number = store.transact_nowait(lambda tx, k=kind, a=about, c=count: tx.add_event(k, 1, {a: str(c)}))  # type: ignore[misc]
        read[number] = {"id": number, "type": kind, "at": 1, about: str(count)}
    kept = store.transact_nowait(lambda tx: tx.events_after(0))
    assert len(kept) == 250 + 10
    vendor, found = NodeProcess(tmp_path / "vendor", ()), Findings()
    _look(vendor, [vendor], Ledger(events={"vendor": read}), found, tmp_path)
    assert found.lost == set()
    with store._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM events WHERE id = 499")
    store.close()
    _look(vendor, [vendor], Ledger(events={"vendor": read}), found, tmp_path)
    assert found.lost == {"vendor: event 499"}


def test_mail_that_a_mailbox_lost_is_seen(tmp_path: Path) -> None:
    """The market said it holds what the person left there, and its home has nothing."""
    for name in ("market", "person"):
        (tmp_path / name).mkdir()
    now = int(time.time())
    person_box, vendor_box = BoxKey(b"a".ljust(32)), BoxKey(b"b".ljust(32))
    item = seal(b"hello", person_box, vendor_box.public, own_is_box=False, n=0, exp=now + 60, nonce=bytes(24))
    store = open_store_nowait(tmp_path / "person" / "node.db")
    for number, mailbox in ((1, "/ip4/10.0.0.7/tcp/1/p2p/market"), (2, "/ip4/10.0.0.8/tcp/1/p2p/another")):
        id, thread = bytes([number]) * 32, bytes(32)
        row = OutboxRow(id, thread, "offer", item.encoded(), now + 60, "QUEUED", None, now, None)
        store.transact_nowait(lambda tx, row=row: tx.queue(row))  # type: ignore[misc]
        deposit = DepositRow(id, thread, mailbox, "STORED", now)
        store.transact_nowait(lambda tx, deposit=deposit: tx.put_deposit(deposit))  # type: ignore[misc]
    store.close()
    open_store_nowait(tmp_path / "market" / "node.db").close()
    market, person = (NodeProcess(tmp_path / name, (), ready={"peer_id": name}) for name in ("market", "person"))
    found = Findings()
    _look(market, [person], Ledger(), found, tmp_path)
    assert found.left == {b"\1" * 32}
    assert found.lost == {"market: item of 01010101"}
