"""A node in a file: the same node again on another computer, and nothing in the file for whoever finds it."""

import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from node import backup as backup_module
from node.backup import check_passphrase, restore_backup, write_backup
from node.cli.app import main
from node.home import Home
from node.store import tables
from node.trouble import Exit, Trouble
from tests.driver import by_hand, car_hire, open_town, seed_of, wait_heard, wait_state
from tests.store.test_migrations import VERSIONS, rows, unpack

PASSPHRASE = "four words are good"
SECRET = check_passphrase(PASSPHRASE)
FACTS = json.loads((VERSIONS / "1.json").read_text())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cheapest Argon2id: what a file asks for stands in it."""
    monkeypatch.setattr(backup_module, "OPERATIONS", 1)
    monkeypatch.setattr(backup_module, "MEMORY_KIB", 8)


def make_home(folder: Path, who: str = "Alice") -> Path:
    """The home of a node that has lived: a contract, and an open wish with an offer (tests/store/versions)."""
    home = folder / who
    Home(home).make("test")
    (home / "node.key").write_bytes(seed_of(who))
    (home / "vendor.key").write_bytes(seed_of(f"{who} sells"))
    unpack(1, who.lower(), home).chmod(0o600)
    return home


async def test_the_same_node_again_with_keys(tmp_path: Path) -> None:
    """Restored elsewhere it has its keys, its contract, and its open wish; and the offer for it can be accepted."""
    homes = {}
    for who in ("Alice", "Bob"):
        write_backup(make_home(tmp_path, who), tmp_path / "backup", SECRET, with_keys=True)
        homes[who] = tmp_path / "restored" / who
        manifest = restore_backup(tmp_path / "backup", homes[who], SECRET)
        assert Home(homes[who]).seed("node.key") == seed_of(who)
        assert Home(homes[who]).seed("vendor.key") == seed_of(f"{who} sells")
        assert (manifest["wishes_without_keys"], manifest["threads_without_keys"]) == (0, 0)
        assert rows(homes[who] / "node.db") == rows(tmp_path / who / "node.db")
    async with open_town() as town:
        alice = await town.open("Alice", path=homes["Alice"] / "node.db")
        bob = await town.open("Bob", path=homes["Bob"] / "node.db", catalogue=car_hire())
        assert (await bob.desk.show(FACTS["contract"]))["contract"]["state"] == "confirmed"
        await wait_heard(bob, FACTS["open wish"])
        await alice.desk.accept(FACTS["offer by hand"], "alice@example.org", None, [], 0.0)
        await wait_state(alice, FACTS["offer by hand"], "confirmed")


async def test_without_the_keys_of_single_wishes(tmp_path: Path) -> None:
    """The contract and the node's own keys are there; the open wish is lost, and said to be; no such key is in it."""
    home = make_home(tmp_path)
    manifest = write_backup(home, tmp_path / "backup", SECRET, with_keys=False)
    assert manifest["wishes_without_keys"] == 1
    restored = tmp_path / "restored"
    restore_backup(tmp_path / "backup", restored, SECRET)
    before = rows(home / "node.db")
    keys = [row["secret"] for table in ("boxes", "wishes") for row in before[table] if row["secret"] is not None]
    assert len(keys) == 4
    for file in restored.iterdir():
        assert not any(key in file.read_bytes() for key in keys)
    assert rows(home / "node.db") == before, "the node itself goes on with its keys"
    async with open_town() as town:
        alice = await town.open("Alice", path=restored / "node.db")
        wishes = {wish["id"]: wish["state"] for wish in await alice.desk.wishes()}
        assert wishes == {FACTS["awarded wish"]: "awarded", FACTS["open wish"]: "lost"}
        assert (await alice.desk.show(FACTS["contract"]))["contract"]["state"] == "confirmed"
        with pytest.raises(Trouble, match="keys"):
            await alice.desk.accept(FACTS["offer by hand"], "alice@example.org", None, [], 0.0)


LIST = "SKU,Title,Price\nA1,The Name of the Rose,7.50\n"
SHOP = 'name = "Bob"\ncontact = "Bob"\ncategories = ["media.**"]\ncurrency = "EUR"\n'
COLUMNS = 'category = "media.book"\naction = "buy"\nper = "piece"\nplaces = "anywhere"\n'
KEPT = ("wish.jsonl", "Bob 6967082c.damaged")


def test_what_people_would_miss_comes_along(tmp_path: Path) -> None:
    """The archive, which remembers what the store has forgotten, and a shop's price lists, in folders or not. What lies
    outside the home, or is no part of a node, stays where it is."""
    home = make_home(tmp_path, "Bob")
    (tmp_path / "elsewhere.csv").write_text(LIST)
    (home / "lists").mkdir()
    for name in ("prices.csv", "lists/more.csv", "diary.txt"):
        (home / name).write_text(LIST)
    named = ("prices.csv", "lists/more.csv", "../elsewhere.csv")
    lists = "".join(f'[[lists]]\nfile = "{name}"\nname = "list{n}"\n{COLUMNS}' for n, name in enumerate(named))
    (home / "catalogue.toml").write_text(f"{SHOP}{lists}")
    wish = home / "archive" / "2027-03-01 A wish 51e01122-9a71fd87"
    wish.mkdir(parents=True)
    (wish / "wish.jsonl").write_bytes(b'{"id": "51e0"}\n')
    (wish / "Bob 6967082c.damaged").write_bytes(b"half a li")
    (wish / "away").symlink_to(home / "diary.txt")
    write_backup(home, tmp_path / "backup", SECRET, with_keys=False)
    restored = tmp_path / "restored"
    restore_backup(tmp_path / "backup", restored, SECRET)
    expected = [
        "catalogue.toml",
        "prices.csv",
        "lists/more.csv",
        *(f"{wish.relative_to(home)}/{name}" for name in KEPT),
    ]
    for name in expected:
        assert (restored / name).read_bytes() == (home / name).read_bytes()
        assert (restored / name).stat().st_mode & 0o077 == (restored / name).parent.stat().st_mode & 0o077 == 0
    found = {str(path.relative_to(restored)) for path in restored.rglob("*") if path.is_file()}
    assert found == {*expected, "config.toml", "node.key", "vendor.key", "node.db"}
    (home / "catalogue.toml").write_text("broken =")
    write_backup(home, tmp_path / "backup", SECRET, with_keys=False)
    restore_backup(tmp_path / "backup", tmp_path / "again", SECRET)
    assert (tmp_path / "again" / "catalogue.toml").read_text() == "broken ="


def test_what_a_killed_backup_leaves_is_deleted(tmp_path: Path) -> None:
    """A copy of the store lies in the home for a moment, perhaps with keys: killed then, it goes with the next backup
    or start of the node. That of a backup under way stays."""
    home = make_home(tmp_path)
    directory = Home(home)
    for deletes in (directory.workshop, directory.lock):
        killed = home / ".backup-killed"
        killed.mkdir()
        (killed / "node.db").write_bytes(b"keys")
        with directory.workshop() as under_way:
            assert not killed.exists()
            killed.mkdir()
            with deletes():
                assert not killed.exists()
                assert under_way.is_dir()
        assert not under_way.exists()


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "node.db", "node.db-wal", "archive/../../outside"])
def test_files_forged_to_lie_elsewhere_are_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither outside of the home nor in the place of what makes the node."""
    home = make_home(tmp_path)

    def forge(_home: Path, target: Path) -> Path:
        with zipfile.ZipFile(target, "w") as packed:
            packed.writestr(name, b"mine")
        return target

    monkeypatch.setattr(backup_module, "_pack", forge)
    write_backup(home, tmp_path / "backup", SECRET, with_keys=False)
    with pytest.raises(Trouble) as told:
        restore_backup(tmp_path / "backup", tmp_path / "restored", SECRET)
    assert told.value.code == "backup_damaged"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["Alice", "backup"]
    assert not Path("/tmp/outside").exists()


async def test_of_a_running_node(tmp_path: Path) -> None:
    """What was acknowledged before the backup began is in it, though it stands in the log and not in the file."""
    home = tmp_path / "Alice"
    Home(home).make("test")
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        alice = await town.open("Alice", path=home / "node.db")
        wish = (await alice.desk.ask({"category": "mobility.car", "action": "rent", "title": "A car"}, 5.0))["intent"]
        await wait_heard(bob, wish["id"])
        await bob.desk.make_offer(wish["id"], by_hand())
        write_backup(home, tmp_path / "backup", SECRET, with_keys=True)
        restore_backup(tmp_path / "backup", tmp_path / "restored", SECRET)
        assert [row["root"].hex() for row in rows(tmp_path / "restored" / "node.db")["wishes"]] == [wish["id"]]
        await alice.desk.withdraw(wish["id"])


def test_every_secret_in_the_store_is_known() -> None:
    """Who adds a column for secrets says here whether it stays behind: those of single wishes do."""
    found = {
        f"{table.name}.{column.name}"
        for table in tables.metadata.sorted_tables
        for column in table.columns
        if "secret" in column.name or "seed" in column.name
    }
    stay_behind, lasting = {"wishes.secret", "boxes.secret"}, {"hooks.secrets"}
    assert found == stay_behind | lasting


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Neither a home, nor a directory with other things in it; an empty one is taken."""
    write_backup(make_home(tmp_path), tmp_path / "backup", SECRET, with_keys=False)
    with pytest.raises(Trouble, match="is a home already") as told:
        restore_backup(tmp_path / "backup", tmp_path / "Alice", SECRET)
    assert told.value.exit_code is Exit.REFUSED
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "diary").write_text("mine")
    with pytest.raises(Trouble, match="holds other things"):
        restore_backup(tmp_path / "backup", tmp_path / "other", SECRET)
    (tmp_path / "empty").mkdir()
    restore_backup(tmp_path / "backup", tmp_path / "empty", SECRET)
    assert Home(tmp_path / "empty").exists


def test_a_wrong_passphrase_and_damage_are_told_apart(tmp_path: Path) -> None:
    """Whatever byte is changed, wherever it ends, whatever is added: nothing is restored, and it says why."""
    backup = tmp_path / "backup"
    write_backup(make_home(tmp_path), backup, SECRET, with_keys=False)
    sound = backup.read_bytes()

    def told(data: bytes, passphrase: bytes = SECRET) -> str:
        backup.write_bytes(data)
        with pytest.raises(Trouble) as trouble:
            restore_backup(backup, tmp_path / "restored", passphrase)
        assert trouble.value.hint
        assert not (tmp_path / "restored").exists()
        assert sorted(file.name for file in tmp_path.iterdir()) == ["Alice", "backup"]
        return trouble.value.code

    assert told(sound, check_passphrase("another passphrase")) == "wrong_passphrase"
    assert told(b"") == told(b"PK\x03\x04 a zip") == told(sound.replace(b"backup 1", b"backup 2", 1)) == "not_a_backup"
    head = len(backup_module.MAGIC)
    first = head + backup_module._HEADER.size + 4
    assert told(changed(sound, head)) == told(changed(sound, first)) == "wrong_passphrase"
    for place in (head + 16, head + 20, *range(first + 2_000, len(sound), 9_973), len(sound) - 1):
        assert told(changed(sound, place)) == "backup_damaged", place
    for end in (head + 5, first - 2, first + 5, *range(first + 2_000, len(sound), 19_997), len(sound) - 1):
        assert told(sound[:end]) == "backup_damaged", end
    assert told(sound + b"x") == "backup_damaged"


def changed(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


@pytest.mark.parametrize(
    "forged",
    [
        {"files": [["../../.bashrc", 4]]},
        {"files": [["node.key", 32], ["node.key", 32]]},
        {"files": [["config.toml", -1], ["node.key", 32], ["vendor.key", 32], ["node.db", 0]]},
        {"files": [["config.toml", 1 << 40], ["node.key", 32], ["vendor.key", 32], ["node.db", 0]]},
        {"files": None},
        {"peer_id": "12D3KooWother"},
        {"vendor": 5},
    ],
)
def test_a_forged_backup_writes_nowhere(
    tmp_path: Path, forged: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who knows a passphrase sends a file made by hand: it is refused before anything lies outside."""
    home = make_home(tmp_path)
    real = json.dumps
    monkeypatch.setattr(backup_module.json, "dumps", lambda manifest: real({**manifest, **forged}))
    write_backup(home, tmp_path / "backup", SECRET, with_keys=False)
    with pytest.raises(Trouble) as told:
        restore_backup(tmp_path / "backup", tmp_path / "restored", SECRET)
    assert told.value.code == "backup_damaged"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["Alice", "backup"]


def test_a_damaged_store_is_not_backed_up(tmp_path: Path) -> None:
    """A backup that cannot be trusted is worse than an error."""
    home = make_home(tmp_path)
    path = home / "node.db"
    data = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'outbox_thread'").fetchone()
    data[(page - 1) * 4096 + 8 : page * 4096] = bytes(4088)
    path.write_bytes(data)
    with pytest.raises(Trouble) as told:
        write_backup(home, tmp_path / "backup", SECRET, with_keys=False)
    assert told.value.code in ("store_damaged", "store")
    assert not (tmp_path / "backup").exists()
    assert sorted(file.name for file in home.iterdir() if file.name.startswith(".backup")) == []


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a person types them; the passphrase comes from a file, and stands in none that is left."""
    home, file = make_home(tmp_path), tmp_path / "ana.backup"
    (tmp_path / "passphrase").write_text(f"{PASSPHRASE}\n")
    options = ["--passphrase-file", str(tmp_path / "passphrase")]
    assert main(["backup", str(file), *options, "--home", str(home), "--json"]) == Exit.OK
    made = json.loads(capsys.readouterr().out)
    assert made["peer_id"].startswith("12D3KooW")
    assert (made["with_keys"], made["wishes_without_keys"]) == (False, 1)
    assert main(["backup", str(file), *options, "--home", str(home)]) == Exit.REFUSED, "there already"
    assert main(["backup", str(file), *options, "--home", str(home), "--force"]) == Exit.OK
    assert "1 open wish and 0 offers" in capsys.readouterr().err
    assert main(["restore", str(file), *options, "--home", str(tmp_path / "new")]) == Exit.OK
    assert made["peer_id"] in capsys.readouterr().out
    assert main(["restore", str(file), *options, "--home", str(tmp_path / "new")]) == Exit.REFUSED
    assert main(["restore", str(tmp_path), *options, "--home", str(tmp_path / "newer")]) == Exit.REFUSED
    assert "Name a file that intentcast backup wrote" in capsys.readouterr().err
    assert main(["restore", str(tmp_path / "none"), *options, "--home", str(tmp_path / "newer")]) == Exit.NOT_FOUND
    (tmp_path / "passphrase").write_text("another passphrase")
    assert main(["restore", str(file), *options, "--home", str(tmp_path / "newer")]) == Exit.LOCKED
    (tmp_path / "passphrase").write_text("short")
    assert main(["restore", str(file), *options, "--home", str(tmp_path / "newer")]) == Exit.USAGE
    assert main(["backup", str(tmp_path / "x"), "--home", str(home)]) == Exit.USAGE, "no terminal to ask at"
    for path in (file, *home.iterdir(), *(tmp_path / "new").iterdir()):
        assert PASSPHRASE.encode() not in path.read_bytes()
