"""A node on a real file system of 64 MB that is filled to its last byte: `scripts/full-disk` prints what happened.

Runs in a mount namespace of its own (`unshare -rm`), on a tmpfs. Alice's home lies on the small disk, beside the files
of another program that takes all there is; Bob and Carol have room.
"""

import argparse
import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import trio

from node.backup import write_backup
from node.home import Home
from node.logs import configure_logging
from node.store import PostingRow, Room, open_store_nowait
from node.store import store as store_module
from node.store.room import Disk
from node.trouble import Trouble
from tests.driver import SKIING, Neighbour, by_hand, open_town, wait_heard, wait_offers, wait_state, wait_until

MB = 1 << 20
DISK_MB = 64
HOARD = 600
"""Stored wishes of others when the story begins, of 3 kB each."""
ROOT = Path(__file__).parents[2]


def inside_namespace(arguments: list[str]) -> "subprocess.CompletedProcess[bytes]":
    """Run this module on a small disk of its own. Exit code 77: this machine does not allow that."""
    with tempfile.TemporaryDirectory() as disk:
        mount = f'mount -t tmpfs -o size={DISK_MB}m none "$1" || exit 77; shift; exec "$@"'
        command = ["unshare", "-rm", "sh", "-c", mount, "sh", disk]
        command += [sys.executable, "-m", "tests.store.full_disk", "--disk", disk, *arguments]
        try:
            return subprocess.run(command, cwd=ROOT, capture_output=True)
        except FileNotFoundError:
            return subprocess.CompletedProcess(command, 77, b"", b"there is no unshare")


class Ballast:
    """Another program's file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "ballast"

    def free(self) -> int:
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize

    def leave(self, free: int) -> None:
        """Take all but so many bytes."""
        with open(self._path, "ab") as file:
            while (more := min(self.free() - free, MB)) > 0:
                try:
                    file.write(bytes(more))
                    file.flush()
                except OSError as wrong:
                    if wrong.errno != errno.ENOSPC:
                        raise
                    return

    def go(self) -> None:
        self._path.unlink()


async def story(folder: Path, most_wishes: int) -> dict[str, Any]:
    store_module.LOOK_EVERY = 0.1  # what a node does every five seconds, we do not want to wait for
    ballast = Ballast(folder)
    figures: dict[str, Any] = {"disk_bytes": ballast.free()}
    home = folder / "alice"
    Home(home).make("test")
    second = open_store_nowait(folder / "second.db")
    assert second.disk is not None
    second.disk.look()
    second.close()
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        carol = await town.open("Carol", divisions=("mobility",))
        alice = await town.open("Alice", path=home / "node.db", divisions=("mobility",))
        await hoard(alice)
        offers = []
        for _ in range(5):
            wish = (await alice.desk.ask(dict(SKIING), 5.0))["intent"]["id"]
            await wait_heard(bob, wish)
            offers.append((await bob.desk.make_offer(wish, by_hand()))["offer"]["id"])
            await wait_offers(alice, wish, 1)

        ballast.leave(6 * MB)
        await wait_room(alice, Room.LOW)
        hers = (await carol.desk.ask(dict(SKIING), 5.0))["intent"]["id"]
        await wait_heard(alice, hers)
        figures["low"] = (await alice.desk.status())["disk"]

        ballast.leave(0)
        figures["free_when_full"] = ballast.free()
        contracts = []
        for offer in offers:
            await alice.desk.accept(offer, "alice@example.org", None, [], 0.0)
            contracts.append((await wait_state(alice, offer, "confirmed"))["contract"])
        asked: list[str] = []
        over = trio.Event()
        town.nursery.start_soon(ask, alice, most_wishes, asked, over)
        await wait_until(alice, lambda _node: over.is_set() or alice.store.waiting > 0, 600)
        acknowledged = list(asked)
        figures["contracts_on_the_full_disk"] = len(contracts)
        figures["wishes_on_the_full_disk"] = len(acknowledged)
        figures["full"] = (await alice.desk.status())["disk"]
        figures["refused_while_one_waits"] = None if over.is_set() else await is_refused(alice)
        ballast.leave(0)
        figures["backup"] = backup(home)
        figures["second_store_opens"] = opens(folder / "second.db")
        figures["second_store_without_reserve"] = opens_without_reserve(folder / "second.db", ballast)

        ballast.go()
        await wait_room(alice, Room.ENOUGH)
        await over.wait()

        async def stored(_node: object) -> bool:
            return bytes.fromhex(hers) in {id for id, _ in await alice.store.peek(lambda tx: tx.posting_lives())}

        await wait_until(alice, stored)
        wishes = {wish["id"] for wish in await alice.desk.wishes()}
        await alice.stop()
        alice.store.close()
        reopened = open_store_nowait(home / "node.db")
        figures["sound"] = reopened.transact_nowait(
            lambda tx: tx._db.exec_driver_sql("PRAGMA integrity_check").scalar()
        )
        kept = {row.id.hex() for row in reopened.transact_nowait(lambda tx: tx.messages())}
        events = [event["type"] for event in reopened.transact_nowait(lambda tx: tx.events_after(0, 10_000))]
        reopened.close()
        figures["lost"] = len({*asked, *contracts, *offers} - kept)
        figures["lost_wishes"] = len(wishes - kept)
        figures["told"] = [type for type in events if type.startswith("disk.")]
        return figures


async def ask(alice: Neighbour, most: int, asked: list[str], over: trio.Event) -> None:
    """So many wishes, or as many as can be stored before one had to wait; `asked` has those that were acknowledged."""
    for _ in range(most):
        asked.append((await alice.desk.ask(dict(SKIING), 0.0))["intent"]["id"])
        if alice.store.room is not Room.FULL:
            break  # it had to wait, and there is room again
    over.set()


async def hoard(alice: Neighbour) -> None:
    """Her store holds a board that she heard long ago."""
    for start in range(0, HOARD, 100):
        rows = [
            PostingRow((start + n).to_bytes(32, "big"), "home", 2**40, "somebody", True, bytes(3000))
            for n in range(100)
        ]
        await alice.store.peek(lambda tx, rows=rows: [tx.put_posting(row, None) for row in rows])  # type: ignore[misc]


async def wait_room(alice: Neighbour, room: Room) -> None:
    await wait_until(alice, lambda _node: alice.store.room is room)


async def is_refused(alice: Neighbour) -> bool:
    try:
        await alice.desk.ask(dict(SKIING), 0.0)
    except Trouble as trouble:
        return trouble.code == "disk_full"
    return False


def backup(home: Path) -> str:
    """On a disk with room, of a home on one without."""
    with tempfile.TemporaryDirectory() as elsewhere:
        try:
            write_backup(home, Path(elsewhere) / "alice.backup", b"four words are good", with_keys=False)
        except Trouble as trouble:
            return trouble.code if not any(home.glob(".backup-*")) else "left something behind"
    return "written"


def opens(path: Path) -> bool:
    """On the full disk, with the reserve that it has."""
    store = open_store_nowait(path)
    store.transact_nowait(lambda tx: tx.put_meta("opened", "yes"))
    store.close()
    return not Disk(path).give_up_reserve()


def opens_without_reserve(path: Path, ballast: Ballast) -> str:
    ballast.leave(0)
    try:
        open_store_nowait(path).close()
    except Trouble as trouble:
        return trouble.code
    return "opened"


def goals(figures: dict[str, Any]) -> dict[str, bool]:
    return {
        "the disk was full to the last page": figures["free_when_full"] == 0,
        "other people's data was left out": figures["low"]["left_out"] >= 1,
        "contracts were made on the full disk": figures["contracts_on_the_full_disk"] == 5,
        "other people's data made way": figures["full"].get("evicted_bytes", 0) > 0,
        "own wishes were stored on the full disk": figures["wishes_on_the_full_disk"] >= 40,
        "nothing acknowledged was lost": figures["lost"] == figures["lost_wishes"] == 0,
        "the store is sound": figures["sound"] == "ok",
        "it was told": figures["told"] == ["disk.low", "disk.full", "disk.enough"],
        "a store opens on the full disk": figures["second_store_opens"] is True,
        "what waited was told, and stored": figures["refused_while_one_waits"] is not False,
        "a backup says why not": figures["backup"] == "not_written",
        "without a reserve it says why not": figures["second_store_without_reserve"] == "disk_full",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disk", type=Path, help="the small disk; without it, one is made")
    parser.add_argument("--wishes", type=int, default=3000, help="own wishes to store at most while it is full")
    given = parser.parse_args()
    if given.disk is None:
        done = inside_namespace(["--wishes", str(given.wishes)])
        sys.stdout.buffer.write(done.stdout)
        sys.stderr.buffer.write(done.stderr)
        if done.returncode == 77:
            print("This machine does not allow a file system of our own: nothing was tried.", file=sys.stderr)
        return done.returncode
    configure_logging("warning")  # to stderr: stdout is the figures
    figures = trio.run(story, given.disk, given.wishes)
    met = goals(figures)
    print(json.dumps({**figures, "goals": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
