"""A disk that fills: other people's data goes first, our own waits, and nothing ends or is lost.

SQLite's own limit on a file's pages makes it say what it says on a full disk; the real thing is in test_full_disk.py.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from node.store import PostingRow, Room, Store, foreign, open_store, open_store_nowait, tables
from node.store import store as store_module
from node.store import tx as tx_module
from node.store.room import Disk, Space
from node.store.tx import Tx
from node.trouble import Trouble
from protocol.board import OURS
from tests.driver import SKIING, Neighbour, by_hand, open_town, wait_heard, wait_offers, wait_until

MB = 1 << 20
PLENTY = Space(1000 * MB, 900 * MB)


def driver(store: Store) -> sqlite3.Connection:
    return store_module._database(store._engine)


def pages(store: Store) -> int:
    return int(driver(store).execute("PRAGMA page_count").fetchone()[0])


def limit(store: Store, more: int) -> None:
    """From now on the file may grow by so many pages of 4 kB."""
    driver(store).execute(f"PRAGMA max_page_count = {pages(store) + more}").fetchall()


def lift(store: Store) -> None:
    driver(store).execute("PRAGMA max_page_count = 1000000").fetchall()


def posting(number: int, via: str = "somebody", held: bool = True) -> PostingRow:
    return PostingRow(number.to_bytes(32, "big"), "mobility", 2**40, via, held, b"x" * 2000)


def put(tx: Tx, first: int, count: int, via: str = "somebody") -> bool:
    for number in range(first, first + count):
        tx.put_posting(posting(number, via), None)
    return True


async def wait_waiting(store: Store) -> None:
    """Until something waits for room."""
    with trio.fail_after(10):
        while True:
            if store.waiting:
                return
            await trio.sleep(0.001)


# ------------------------------------------------------------------------------------------------------ the disk


def test_three_states_with_a_long_way_back(tmp_path: Path) -> None:
    """Below the mark it is low; enough again only well above; and after it was full, with the reserve in its place."""
    space = PLENTY
    disk = Disk(tmp_path / "node.db", lambda _path: space)
    reserve = tmp_path / "node.db.reserve"
    assert disk.look() is Room.ENOUGH
    assert reserve.stat().st_size == 4 * MB
    assert reserve.stat().st_blocks * 512 >= 4 * MB, "room that is taken, not a hole"
    space = Space(1000 * MB, 63 * MB)
    assert disk.look() is Room.LOW
    space = Space(1000 * MB, 100 * MB)
    assert disk.look() is Room.LOW
    space = Space(1000 * MB, 128 * MB)
    assert disk.look() is Room.ENOUGH
    assert disk.give_up_reserve()
    assert not reserve.exists()
    assert not disk.give_up_reserve()
    assert disk.look() is Room.FULL
    space = Space(1000 * MB, 132 * MB)
    assert disk.look() is Room.ENOUGH
    assert reserve.exists()


def test_a_small_disk_has_small_marks() -> None:
    """On 64 MB an eighth is little, and a sixteenth is set aside."""
    assert Space(64 * MB, 0).low == 8 * MB
    assert Space(64 * MB, 0).reserve == 4 * MB
    assert Space(16 * MB, 0).reserve == MB


# ------------------------------------------------------------------------------------------------- what is stored


async def test_other_peoples_data_is_left_out_when_the_disk_is_low(tmp_path: Path) -> None:
    """Counted; our own is stored as ever."""
    async with open_store(tmp_path / "node.db") as store:
        assert store.disk is not None
        store.disk.room = Room.LOW
        assert await store.transact_foreign(lambda tx: put(tx, 0, 1)) is None
        assert store.counters["left_out"] == 1
        await store.transact(lambda tx: tx.put_meta("own", "yes"))
        assert await store.transact(lambda tx: tx.postings()) == []
        store.disk.room = Room.ENOUGH
        assert await store.transact_foreign(lambda tx: put(tx, 0, 1))


async def test_other_peoples_data_never_takes_the_reserve(tmp_path: Path) -> None:
    """A board that does not fit any more is left out whole, and from then on the disk counts as low."""
    async with open_store(tmp_path / "node.db") as store:
        assert store.disk is not None
        store.disk.look()
        limit(store, 20)
        assert await store.transact_foreign(lambda tx: put(tx, 0, 100)) is None
        assert await store.transact(lambda tx: tx.postings()) == []
        assert store.room is Room.LOW
        assert (tmp_path / "node.db.reserve").exists()


async def test_our_own_takes_the_place_of_other_peoples(tmp_path: Path) -> None:
    """A full disk: the reserve goes, then news of others, then their wishes, the oldest first; never our own."""
    async with open_store(tmp_path / "node.db") as store:
        assert store.disk is not None
        store.disk.look()
        await store.transact(lambda tx: put(tx, 0, 600))
        await store.transact(lambda tx: put(tx, 10_000, 5, OURS))
        await store.transact(lambda tx: [tx.add_event("wish.heard", 0, {"n": n}) for n in range(100)])
        await store.transact(lambda tx: tx.add_event("wish.asked", 0, {}))
        limit(store, 0)
        for number in range(100):
            await store.transact(lambda tx, n=number: tx.put_meta(f"own {n}", "x" * 2000))  # type: ignore[misc]
        assert not (tmp_path / "node.db.reserve").exists()
        assert store.room is Room.FULL
        assert await store.transact(lambda tx: tx.get_meta("own 99")) == "x" * 2000
        left = [int.from_bytes(row.id, "big") for row in await store.transact(lambda tx: tx.postings())]
        assert left
        assert left == sorted(left)
        assert left[-1] == 10_004
        assert left[0] > 0
        assert set(range(10_000, 10_005)) < set(left)
        assert [row["type"] for row in await store.transact(lambda tx: tx.events_after(0))] == ["wish.asked"]
        assert store.counters["evicted_bytes"] > 100_000


async def test_our_own_waits_for_room_and_is_then_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left that could go: a transaction takes as long as the disk is full. People are told at the door."""
    monkeypatch.setattr(store_module, "LOOK_EVERY", 0.02)
    async with open_store(tmp_path / "node.db") as store, trio.open_nursery() as nursery:
        limit(store, 0)
        done = trio.Event()

        async def store_it() -> None:
            await store.transact(lambda tx: tx.put_meta("own", "x" * 50_000))
            done.set()

        nursery.start_soon(store_it)
        await wait_waiting(store)
        with pytest.raises(Trouble, match="disk is full"):
            store.check_room()
        assert await store.transact(lambda tx: tx.get_meta("schema")) == str(tables.SCHEMA_VERSION), "one can read"
        lift(store)
        with trio.fail_after(10):
            await done.wait()
        store.check_room()
        assert await store.transact(lambda tx: tx.get_meta("own"))


async def test_what_waits_does_not_keep_a_node_from_ending(tmp_path: Path) -> None:
    """Even behind a shield: it hears that it was not stored."""
    async with open_store(tmp_path / "node.db") as store:
        limit(store, 0)
        told: list[Trouble] = []

        async def watch(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            async def changed(room: Room) -> None:
                if room is Room.ENOUGH:
                    task_status.started()

            await store.watch_room(changed)

        async def store_it() -> None:
            with trio.CancelScope(shield=True):
                try:
                    await store.transact(lambda tx: tx.put_meta("own", "x" * 50_000))
                except Trouble as trouble:
                    told.append(trouble)

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                await nursery.start(watch)
                nursery.start_soon(store_it)
                await wait_waiting(store)
                nursery.cancel_scope.cancel()
        assert [trouble.code for trouble in told] == ["disk_full"]
        lift(store)
        assert await store.transact(lambda tx: tx.get_meta("own")) is None


async def test_another_error_still_ends_the_node(tmp_path: Path) -> None:
    """A damaged file is not a full disk."""
    async with open_store(tmp_path / "node.db") as store:
        with closing(sqlite3.connect(tmp_path / "node.db")) as other:
            other.execute("DROP TABLE holds")
            other.commit()
        with pytest.raises(Trouble, match="does not work"):
            await store.transact(lambda tx: tx.release(b"a" * 32))
        with pytest.raises(Trouble):
            await store.wait_broken()


def test_a_flood_of_news_drives_out_none_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others did is kept up to a number, and what we did up to another."""
    monkeypatch.setattr(tx_module, "KEEP_HEARD_EVENTS", 1000)
    with closing(open_store_nowait(None)) as store:

        def work(tx: Tx) -> None:
            tx.add_event("offer.made", 0, {})
            for _ in range(2600):
                tx.add_event("wish.heard", 0, {})

        store.transact_nowait(work)
        found = store.transact_nowait(lambda tx: tx.events_after(0, 10**6))
        assert found[0]["type"] == "offer.made"
        assert 1000 < len(found) <= 1500


async def test_status_tells_whose_data_fills_the_disk(clock: MockClock) -> None:
    """Bytes of each sort of other people's data, in the order in which it makes way; a wish of our own is none."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        alice = await town.open("Alice", divisions=("mobility",))
        nothing = (await alice.desk.status())["disk"]["others"]
        assert list(nothing) == ["events", "ended", "postings", "held"]
        assert set(nothing.values()) == {0}
        await wait_heard(alice, (await bob.desk.ask(dict(SKIING), 5.0))["intent"]["id"])
        await wait_stored(alice, "postings")
        told = (await alice.desk.status())["disk"]["others"]
        assert told["postings"] > 200
        assert told["held"] == 0
        assert (await bob.desk.status())["disk"]["others"]["postings"] == 0


async def wait_stored(neighbour: Neighbour, sort: str) -> None:
    """Until there is some of this sort of other people's data."""

    async def is_there(_node: object) -> bool:
        return bool((await neighbour.desk.status())["disk"]["others"][sort])

    await wait_until(neighbour, is_there)


OURS_TABLES = """meta wishes boxes threads messages expired outbox deposits inboxes answered holds takers disclosures
    peers tallies hooks hook_sends hook_seen"""


def test_every_table_is_ours_or_in_the_eviction_order() -> None:
    """Who adds a table says here whose data it holds."""
    ours = set(OURS_TABLES.split())
    assert ours.isdisjoint(sort.table.name for sort in foreign.EVICTION_ORDER)
    assert ours | {sort.table.name for sort in foreign.EVICTION_ORDER} == set(tables.metadata.tables)


# ------------------------------------------------------------------------------------------------------- a node


async def test_a_node_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice's disk is low: she hears of wishes, and does not store them. It is full: strangers' offers wait outside.
    There is room again: all is taken, and stored after all."""
    monkeypatch.setattr(store_module, "LOOK_EVERY", 0.02)
    space = PLENTY
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        alice = await town.open("Alice", path=tmp_path / "node.db", divisions=("mobility",))
        disk = alice.store.disk
        assert disk is not None
        monkeypatch.setattr(disk, "_measure", lambda _path: space)
        mine = (await alice.desk.ask(dict(SKIING), 5.0))["intent"]["id"]
        await wait_heard(bob, mine)

        space = Space(1000 * MB, 10 * MB)
        await wait_until(alice, lambda _node: alice.store.room is Room.LOW)
        his = (await bob.desk.ask(dict(SKIING), 5.0))["intent"]["id"]
        await wait_heard(alice, his)
        await wait_until(alice, lambda _node: alice.store.counters["left_out"] == 1)
        status = (await alice.desk.status())["disk"]
        assert (status["room"], status["free"], status["left_out"]) == ("low", 10 * MB, 1)

        disk.give_up_reserve()
        await bob.desk.make_offer(mine, by_hand())
        await wait_until(alice, lambda node: node.delivery.counters["not_welcome"] == 1)
        assert not (await alice.desk.offers_for(mine))["offers"]

        space = PLENTY
        await wait_until(alice, lambda _node: alice.store.room is Room.ENOUGH)
        stored = [False]

        async def is_stored(_node: object) -> bool:
            rows = await alice.store.peek(lambda tx: tx.posting_lives())
            stored[0] = bytes.fromhex(his) in {id for id, _ in rows}
            return stored[0]

        await wait_until(alice, is_stored)
        types = [row["type"] for row in await alice.store.peek(lambda tx: tx.events_after(0))]
        assert [type for type in types if type.startswith("disk.")] == ["disk.low", "disk.full", "disk.enough"]
        assert await wait_offers(alice, mine, 0)
