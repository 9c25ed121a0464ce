"""Make the homes of today's version: `python -m tests.store.versions.make`. Run it once, when a version is new.

Real nodes, stores in files, real time: Alice rents a car from Bob, and has a second wish open to which Bob has made an
offer by hand. Written are the stores of both as they stood when their nodes ended, and what was in them in plain words.
"""

import gzip
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import trio

from node.store.tables import SCHEMA_VERSION
from tests.driver import SKIING, by_hand, car_hire, open_town, wait_heard, wait_offers, wait_settled, wait_state

HERE = Path(__file__).parent


async def live(folder: Path) -> dict[str, object]:
    async with open_town() as town:
        alice = await town.open("Alice", path=folder / "alice.db")
        bob = await town.open("Bob", path=folder / "bob.db", catalogue=car_hire())
        rented = (await alice.desk.ask(dict(SKIING), 5.0))["intent"]["id"]
        offer = (await wait_offers(alice, rented, 1))["offers"][0]["id"]
        await alice.desk.accept(offer, "alice@example.org", None, [], 20.0)
        contract = (await wait_state(alice, offer, "confirmed"))["contract"]
        await wait_state(bob, contract, "confirmed")
        limit = {"minor": 40_000, "currency": "EUR"}
        another = {**SKIING, "title": "A van to move house", "action": "buy", "limit_private": limit}
        open_wish = (await alice.desk.ask(another, 5.0))["intent"]["id"]
        await wait_heard(bob, open_wish)
        by_bob = await bob.desk.make_offer(open_wish, by_hand())
        await wait_offers(alice, open_wish, 1)
        for side in (alice, bob):
            await wait_settled(side)
        for side in (alice, bob):
            await side.stop()
        return {
            "awarded wish": rented,
            "contract": contract,
            "open wish": open_wish,
            "private limit": limit,
            "offer by hand": by_bob["offer"]["id"],
        }


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = trio.run(live, folder)
        for who in ("alice", "bob"):
            with closing(sqlite3.connect(folder / f"{who}.db")) as database:
                database.execute("VACUUM")  # the whole of it in one small file
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            target = HERE / f"{SCHEMA_VERSION}-{who}.db.gz"
            target.write_bytes(gzip.compress((folder / f"{who}.db").read_bytes(), mtime=0))
            print(f"{target.name}: {target.stat().st_size} bytes", file=sys.stderr)
    (HERE / f"{SCHEMA_VERSION}.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
