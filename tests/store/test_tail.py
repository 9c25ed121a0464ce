"""Power cuts and bad disks: a log that ends early, or in garbage, costs what came last, and it is told."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.store import Tx, open_store_nowait
from node.store.tail import frames_claimed
from node.trouble import Trouble

ROOT = Path(__file__).parents[2]
WRITES = 60
CASES = 60


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A directory in memory, where there is one: what a sync costs is not what is tested here."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def crashed(memory: Path) -> tuple[Path, list[int]]:
    """A store as a power cut leaves it, and how long its log was after each transaction was acknowledged."""
    folder = memory / "crashed"
    folder.mkdir()
    path, left = folder / "node.db", folder / "left.db"
    store = open_store_nowait(path)
    store.transact_nowait(lambda tx: tx.put_meta("before", "yes"))
    store._cut_log()
    ends = []
    for number in range(WRITES):
        store.transact_nowait(lambda tx, n=number: tx.put_meta(f"n{n}", "x" * random.Random(n).randrange(6000)))  # type: ignore[misc]
        ends.append((folder / "node.db-wal").stat().st_size)
    shutil.copy(path, left)
    shutil.copy(folder / "node.db-wal", folder / "left.db-wal")
    store.close()
    return left, ends


def damaged(data: bytes, how: str, at: int, chance: random.Random) -> bytes:
    if how == "truncated":
        return data[:at]
    if how == "garbled from there on":
        return data[:at] + chance.randbytes(len(data) - at)
    if how == "zeroed from there on":
        return data[:at] + bytes(len(data) - at)
    assert how == "one byte"
    return data[:at] + bytes([data[at] ^ chance.randrange(1, 256)]) + data[at + 1 :]


@pytest.mark.parametrize("how", ["truncated", "garbled from there on", "zeroed from there on", "one byte"])
def test_a_damaged_log_costs_what_came_last(
    how: str, crashed: tuple[Path, list[int]], memory: Path, record_property: Callable[[str, object], None]
) -> None:
    """At many random places: the store opens, sound and ready for more; all that was acknowledged before the
    place is there, nothing behind it is half there, and if more was there to be read, the store says so."""
    left, ends = crashed
    log = left.with_name("left.db-wal").read_bytes()
    path = memory / "node.db"
    assert len(log) == ends[-1]
    told = 0
    for case in range(CASES):
        chance = random.Random(f"{how} {case}")
        at = chance.randrange(len(log)) if case >= 10 else chance.randrange(40)  # the header has its share
        shutil.copy(left, path)
        (memory / "node.db-wal").write_bytes(damaged(log, how, at, chance))
        whole = sum(end <= at for end in ends)
        store = open_store_nowait(path)
        try:
            found = store.transact_nowait(what_is_there)
            kept = sum(found)
            assert found == [True] * kept + [False] * (WRITES - kept), (how, at)
            assert kept >= (whole if at >= 32 else 0), (how, at)
            if how != "one byte" or at >= 32:
                assert kept <= whole + 1, (how, at)
            if kept < WRITES and how in ("garbled from there on", "one byte"):
                lost_in_frames = how == "one byte" and at >= 32 and not in_salt(at)
                told += store.frames_dropped != 0
                assert store.frames_dropped or not lost_in_frames, (how, at)
            assert store.transact_nowait(lambda tx: tx.get_meta("before")) == "yes"
            assert store.transact_nowait(is_sound)
            store.transact_nowait(lambda tx: tx.put_meta("after", "yes"))
        finally:
            store.close()
        if case % 10 == 0:
            store = open_store_nowait(path)
            assert store.transact_nowait(lambda tx: tx.get_meta("after")) == "yes"
            assert store.frames_dropped == 0, "told once"
            store.close()
    if how in ("garbled from there on", "one byte"):
        assert told > CASES // 4
    record_property("figure", f"{CASES} logs {how}: all opened and sound, nothing lost from before the damage")


def what_is_there(tx: Tx) -> list[bool]:
    return [tx.get_meta(f"n{number}") is not None for number in range(WRITES)]


def is_sound(tx: Tx) -> bool:
    return bool(tx._db.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok")


def in_salt(at: int) -> bool:
    """Is this place in the salts of a frame? Then the frame claims to belong to an older log, as many do."""
    return 8 <= (at - 32) % (24 + 4096) < 16


def test_a_log_without_damage_claims_what_it_has(crashed: tuple[Path, list[int]], tmp_path: Path) -> None:
    """Nothing is told where nothing is lost: after a crash, after a good end, and in a log in its second round."""
    left, ends = crashed
    for name in ("left.db", "left.db-wal"):
        shutil.copy(left.with_name(name), tmp_path / name)
    assert frames_claimed(tmp_path / "left.db-wal") == (ends[-1] - 32) // (24 + 4096)
    store = open_store_nowait(tmp_path / "left.db")
    assert store.frames_dropped == 0
    store._fold()
    store.transact_nowait(lambda tx: tx.put_meta("second", "round"))  # over the beginning of the first round
    for name in ("left.db", "left.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / f"again-{name}")
    store.close()
    assert (tmp_path / "again-left.db-wal").stat().st_size == ends[-1]
    store = open_store_nowait(tmp_path / "again-left.db")
    assert store.frames_dropped == 0
    assert store.transact_nowait(lambda tx: tx.get_meta("second")) == "round"
    store.close()
    assert frames_claimed(tmp_path / "none") == 0


def test_a_damaged_file_is_told(crashed: tuple[Path, list[int]], tmp_path: Path) -> None:
    """Pages that rot in the file itself: an error for a person, never a traceback and never garbage."""
    left, _ = crashed
    data = left.read_bytes()
    path = tmp_path / "node.db"
    refused = 0
    for case in range(40):
        chance = random.Random(case)
        at = chance.randrange(len(data))
        path.write_bytes(data[:at] + chance.randbytes(min(512, len(data) - at)) + data[at + 512 :])
        for companion in ("-wal", "-shm"):
            path.with_name(f"{path.name}{companion}").unlink(missing_ok=True)
        try:
            store = open_store_nowait(path)
        except Trouble:
            refused += 1
        else:
            store.close()
    assert refused > 0


# --------------------------------------------------------------------------------------------------------- fsync

SYNCED = """
import sys, json
from pathlib import Path
from node.store import open_store_nowait
store = open_store_nowait(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    store.transact_nowait(lambda tx: tx.put_meta(f"n{number}", "x"))
store.transact_nowait(lambda tx: tx.get_meta("n0"))
print(json.dumps("done"))
"""


def test_every_commit_is_synced(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Counted by strace: one call of fsync or fdatasync for each transaction, besides a few to make the store."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace here")
    found = syncs(tmp_path, 60)
    record_property("figure", f"{found} calls of fsync for 60 transactions")
    assert 60 <= found < 60 + 15


def syncs(tmp_path: Path, transactions: int) -> int:
    report = tmp_path / f"{transactions}.strace"
    command = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", str(report), sys.executable, "-c", SYNCED]
    done = subprocess.run(
        [*command, str(tmp_path / f"{transactions}.db"), str(transactions)], cwd=ROOT, capture_output=True
    )
    if b"PTRACE" in done.stderr or b"Operation not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    assert json.loads(done.stdout) == "done", done.stderr.decode()
    return len(re.findall(r"\bf(?:data)?sync\(\d+.*?= 0", report.read_text()))
