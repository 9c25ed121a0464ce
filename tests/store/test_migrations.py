"""A home outlives versions of the program: what any of them stored, today's finds."""

import gzip
import json
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from node.store import migrations, open_store, open_store_nowait, tables
from node.trouble import Trouble
from tests.driver import car_hire, open_town, wait_state
from tests.store.test_store import holds

HERE = Path(__file__).parent
VERSIONS = HERE / "versions"
MADE = sorted(int(path.stem) for path in VERSIONS.glob("*.json"))
FIRST = (migrations.VERSIONS / "versions" / "v1_first.py").read_text()


def unpack(version: int, who: str, folder: Path) -> Path:
    path = folder / "node.db"
    path.write_bytes(gzip.decompress((VERSIONS / f"{version}-{who}.db.gz").read_bytes()))
    return path


def rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [dict(row) for row in database.execute(f"SELECT * FROM {name}")] for name in names}


def schema(path: Path) -> str:
    (found,) = [row["value"] for row in rows(path)["meta"] if row["name"] == "schema"]
    return str(found)


# ------------------------------------------------------------------------------------------------ what was stored


def test_every_version_left_a_store() -> None:
    """A version without one is a version whose homes nobody checks."""
    assert MADE == list(range(1, tables.SCHEMA_VERSION + 1))


@pytest.mark.parametrize("version", MADE)
async def test_everything_an_earlier_version_stored_is_found(version: int, tmp_path: Path) -> None:
    """Alice and Bob start on the homes they had: the contract, the open wish with its private limit, the offer. And
    the open wish can still be awarded."""
    facts = json.loads((VERSIONS / f"{version}.json").read_text())
    paths = {}
    for who in ("alice", "bob"):
        (tmp_path / who).mkdir()
        paths[who] = unpack(version, who, tmp_path / who)
    async with open_town() as town:
        alice = await town.open("Alice", path=paths["alice"])
        bob = await town.open("Bob", path=paths["bob"], catalogue=car_hire())
        for side in (alice, bob):
            assert (await side.desk.show(facts["contract"]))["contract"]["state"] == "confirmed"
        wishes = {wish["id"]: wish for wish in await alice.desk.wishes()}
        assert wishes[facts["awarded wish"]]["state"] == "awarded"
        assert wishes[facts["open wish"]]["state"] == "open"
        found = await alice.desk.offers_for(facts["open wish"], include_hidden=True)
        assert [offer["id"] for offer in found["offers"]] == [facts["offer by hand"]]
        assert found["hidden"] == 1, "over the private limit"
        assert {made["state"] for made in await bob.desk.offers_made()} == {"confirmed", "offered"}
        await alice.desk.accept(facts["offer by hand"], "alice@example.org", None, [], 0.0)
        await wait_state(alice, facts["offer by hand"], "accepted")
        assert alice.store.upgraded_from == (version if version < tables.SCHEMA_VERSION else None)


@pytest.mark.parametrize("version", MADE)
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_no_row_is_lost(version: int, who: str, tmp_path: Path) -> None:
    """Whatever stood in a table stands in it after the upgrade."""
    path = unpack(version, who, tmp_path)
    before = rows(path)
    open_store_nowait(path).close()
    after = rows(path)
    assert schema(path) == str(tables.SCHEMA_VERSION)
    for table, old in before.items():
        if table not in ("meta", "sqlite_sequence"):  # what versions and numbers count by
            kept = [{name: row[name] for name in old[0]} for row in after[table]] if old else after[table]
            assert kept == old, table


# ----------------------------------------------------------------------------------- the versions and the tables


def test_the_versions_lead_to_the_tables(tmp_path: Path) -> None:
    """One line of versions, without a fork; whoever walks it from nothing, or from the first store there ever was, has
    the tables that a new home gets."""
    versions = ScriptDirectory(str(migrations.VERSIONS))
    assert versions.get_current_head() == str(tables.SCHEMA_VERSION)
    walked = [version.revision for version in versions.walk_revisions()]
    assert walked == [str(number) for number in range(tables.SCHEMA_VERSION, 0, -1)]

    upgraded = unpack(1, "alice", tmp_path)
    open_store_nowait(upgraded).close()
    engine = sqlalchemy.create_engine(f"sqlite:///{upgraded}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    engine.dispose()
    open_store_nowait(tmp_path / "new.db").close()
    assert shape(upgraded) == shape(tmp_path / "new.db")


def shape(path: Path) -> dict[str, Any]:
    """Tables, columns in any order, keys and indexes, as SQLite has them."""
    with closing(sqlite3.connect(path)) as database:
        found: dict[str, Any] = {}
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = {tuple(row[1:]) for row in database.execute(f"PRAGMA table_info({name})")}
            indexes = []
            for row in database.execute(f"PRAGMA index_list({name})").fetchall():
                over = tuple(part[2] for part in database.execute(f"PRAGMA index_info({row[1]})"))
                indexes.append((row[2], row[3], over))
            found[name] = (columns, sorted(indexes))
        return found


# ------------------------------------------------------------------------------------ an upgrade, and how it fails

NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    op.create_table("favours", sa.Column("n", sa.Integer, primary_key=True))
    with op.batch_alter_table("wishes") as wishes:
        wishes.add_column(sa.Column("mood", sa.Text, nullable=False, server_default="merry"))
        wishes.alter_column("division", new_column_name="section")
"""
FAILS = NEXT + '    op.execute("INSERT INTO nowhere VALUES (1)")\n'


@pytest.fixture
def tomorrow(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    """Makes this program the next version, whose schema comes about as given."""
    folder = tmp_path_factory.mktemp("tomorrow")
    (folder / "versions").mkdir()

    def become(text: str) -> None:
        (folder / "versions" / "v1_first.py").write_text(FIRST)
        (folder / "versions" / "v2_next.py").write_text(text)
        monkeypatch.setattr(migrations, "VERSIONS", folder)
        monkeypatch.setattr(tables, "SCHEMA_VERSION", 2)

    return become


async def test_a_copy_is_kept_until_the_next_good_start(tmp_path: Path, tomorrow: Callable[[str], None]) -> None:
    """The store as it was lies beside the upgraded one, for its owner alone; who starts well once more drops it."""
    path = unpack(1, "alice", tmp_path)
    before = rows(path)
    tomorrow(NEXT)
    async with open_store(path) as store:
        assert store.upgraded_from == 1
        assert schema(path) == "2"
        assert {row["mood"] for row in rows(path)["wishes"]} == {"merry"}
        copy = migrations.copy_of(path, 1)
        assert rows(copy) == before
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    async with open_store(path) as store:
        assert store.upgraded_from is None
        assert copy.exists(), "opened is not started"
        store.drop_copies()
        assert not copy.exists()


async def test_forgotten_keys_do_not_live_on_in_the_copy(tmp_path: Path, tomorrow: Callable[[str], None]) -> None:
    """A key that is deleted for good is not left in a copy from before: the promise counts for more than the copy."""
    path = unpack(1, "alice", tmp_path)
    tomorrow(NEXT)
    async with open_store(path) as store:
        boxes = [public for public, _, _, _ in await store.transact(lambda tx: tx.boxes())]
        secrets = [row["secret"] for row in rows(path)["boxes"]]
        for box in boxes:
            await store.transact(lambda tx, box=box: tx.forget_keys(box, None))  # type: ignore[misc]
        await store.checkpoint()
        assert secrets
        assert not any(holds(tmp_path, secret) for secret in secrets)


def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path, tomorrow: Callable[[str], None]) -> None:
    """All of it or none, new tables too; and it says what happened, and can be tried again."""
    path = unpack(1, "bob", tmp_path)
    before = rows(path)
    tomorrow(FAILS)
    for _ in range(2):
        with pytest.raises(Trouble, match="from schema 1 to 2, and is as it was") as told:
            open_store_nowait(path)
        assert told.value.hint
        assert rows(path) == before
    tomorrow(NEXT)
    open_store_nowait(path).close()
    assert schema(path) == "2"


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    """By a program that would not understand it; it stays as it is."""
    path = tmp_path / "node.db"
    store = open_store_nowait(path)
    store.transact_nowait(lambda tx: tx.put_meta("schema", "99"))
    store.close()
    before = path.read_bytes()
    with pytest.raises(Trouble, match="schema 99") as told:
        open_store_nowait(path)
    assert (told.value.code, told.value.hint) == ("store_newer", "Update intentcast.")
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("node.db.schema-*"))


def test_no_room_for_the_copy_is_told(
    tmp_path: Path, tomorrow: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a copy there is no upgrade, and no half a copy is left."""
    path = unpack(1, "alice", tmp_path)
    tomorrow(NEXT)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(migrations.os, "fsync", full)
    with pytest.raises(Trouble, match="no copy"):
        open_store_nowait(path)
    assert schema(path) == "1"
    assert [file.name for file in tmp_path.iterdir()] == ["node.db"]


def test_a_start_does_not_wait_for_alembic(tmp_path: Path) -> None:
    """It is loaded when there is something to upgrade, and only then."""
    script = (
        "import sys; from pathlib import Path; from node.store import open_store_nowait;"
        "open_store_nowait(Path(sys.argv[1])).close(); print('alembic' in sys.modules)"
    )
    for path in (tmp_path / "new.db", shutil.copy(_current(tmp_path), tmp_path / "used.db")):
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], cwd=HERE.parents[1], capture_output=True, check=True
        )
        assert done.stdout == b"False\n"


def _current(tmp_path: Path) -> Path:
    return unpack(tables.SCHEMA_VERSION, "alice", tmp_path)
