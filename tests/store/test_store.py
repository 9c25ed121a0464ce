"""The store keeps its promises: durable when it says so, whole or not at all, and forgetful when asked."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
import trio

from node.store import Tx, open_store
from node.store import store as store_module
from node.store.store import open_store_nowait
from node.trouble import Trouble

SECRET = bytes(range(100, 132))


async def test_it_runs_as_it_promises(tmp_path: Path) -> None:
    """Write-ahead log, every commit synced, deleted bytes overwritten."""
    async with open_store(tmp_path / "node.db") as store:

        def pragmas(tx: Tx) -> list[str]:
            names = ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
            return [str(tx._db.execute(sqlalchemy.text(f"PRAGMA {name}")).scalar()) for name in names]

        assert await store.transact(pragmas) == ["wal", "2", "1", "1"]


async def test_a_store_that_cannot_promise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If SQLite runs otherwise than asked, the node does not start on it."""
    monkeypatch.setattr(store_module, "_PRAGMAS", {"journal_mode": "nonsense"})
    with pytest.raises(Trouble, match="journal_mode"):
        open_store_nowait(tmp_path / "node.db")


@pytest.mark.parametrize("what", ["garbage", "another program's", "no version"])
async def test_another_file_is_refused(tmp_path: Path, what: str) -> None:
    """Some other file is not touched, whether it is a database or not."""
    path = tmp_path / "node.db"
    if what == "garbage":
        path.write_bytes(b"not a database at all, but long enough to be read as one" * 20)
    else:
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE meta (name TEXT, value TEXT)")
            database.execute("INSERT INTO meta VALUES ('schema', ?)", ("none" if what == "no version" else "",))
            database.commit()
            database.execute("PRAGMA journal_mode = wal")
    before = path.read_bytes()
    with pytest.raises(Trouble) as trouble:
        open_store_nowait(path)
    assert trouble.value.code == "store"
    assert path.read_bytes() == before


@pytest.mark.parametrize("where", ["file", "memory"])
async def test_whole_or_not_at_all(tmp_path: Path, where: str) -> None:
    """An exception leaves nothing of its transaction behind, and the store goes on."""
    async with open_store(tmp_path / "node.db" if where == "file" else None) as store:

        def half(tx: Tx) -> None:
            tx.put_meta("half", "done")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store.transact(half)
        assert await store.transact(lambda tx: tx.get_meta("half")) is None


async def test_one_writer_at_a_time(tmp_path: Path) -> None:
    """Fifty tasks count to fifty: none reads what another is about to change."""
    async with open_store(tmp_path / "node.db") as store:

        def count(tx: Tx) -> None:
            tx.put_meta("count", str(int(tx.get_meta("count") or 0) + 1))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(store.transact, count)
        assert await store.transact(lambda tx: tx.get_meta("count")) == "50"


async def test_a_store_that_breaks_says_so() -> None:
    """What SQLite cannot do ends in a Trouble for a person, and whoever runs the node hears of it."""
    async with open_store(None) as store:
        with pytest.raises(Trouble, match="does not work"):
            await store.transact(lambda tx: tx._db.execute(sqlalchemy.text("SELECT * FROM nowhere")))
        with pytest.raises(Trouble, match="does not work"):
            await store.wait_broken()


WRITER = """
import sys
from pathlib import Path
from node.store.store import open_store_nowait
store = open_store_nowait(Path(sys.argv[1]))
for number in range(1_000_000):
    store.transact_nowait(lambda tx: tx.put_meta(f"n{number}", "x"))
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """A process acknowledges its commits and is killed in the middle: every one it acknowledged is there."""
    path = tmp_path / "node.db"
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=root) as writer:
        assert writer.stdout is not None
        for _ in range(40):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        for line in writer.stdout:
            if line.endswith(b"\n"):
                acknowledged = int(line)
    store = open_store_nowait(path)
    try:
        for number in range(acknowledged + 1):
            assert store.transact_nowait(lambda tx, n=number: tx.get_meta(f"n{n}")) == "x"  # type: ignore[misc]
    finally:
        store.close()


async def test_forgotten_keys_are_gone_from_the_disk(tmp_path: Path) -> None:
    """Once forgotten and checkpointed, a secret's bytes are in none of the store's files."""
    async with open_store(tmp_path / "node.db") as store:
        await store.transact(lambda tx: tx.put_box(b"p" * 32, SECRET, b"r" * 32, "requester", 0))
        for number in range(100):  # a store in use
            await store.transact(lambda tx, n=number: tx.put_meta(f"n{n}", "x" * 500))  # type: ignore[misc]
        assert holds(tmp_path, SECRET)
        await store.transact(lambda tx: tx.forget_keys(b"p" * 32, None))
        await store.checkpoint()
        assert not holds(tmp_path, SECRET)
        assert await store.transact(lambda tx: tx.boxes()) == []


def holds(folder: Path, secret: bytes) -> bool:
    return any(secret in file.read_bytes() for file in folder.iterdir())
