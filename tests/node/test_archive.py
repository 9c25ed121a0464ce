"""The personal archive: readable, provable, never wrong for good, and its owner's to delete."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.archive import Archive, check_archive, delete_archived
from node.cli.app import main
from node.trouble import Trouble
from protocol.envelope import Realm
from protocol.errors import Refused
from protocol.kinds import KINDS
from protocol.message import Message
from protocol.transcript import check_wish, read_line, write_line
from tests.driver import (
    SKIING,
    Neighbour,
    Town,
    car_hire,
    let_pass,
    open_town,
    wait_offers,
    wait_over,
    wait_settled,
    wait_state,
    wait_until,
)
from tests.protocol.people import BOB, one_of_each, wish

CONTACT = "alice@example.org"
SECRET = 1_234_567
DAY = 24 * 3600


def files_of(archive: Path) -> dict[str, bytes]:
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in sorted(archive.rglob("*.jsonl"))}


def entries(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.split(b"\n") if line]


async def open_shop(town: Town, tmp_path: Path) -> tuple[Neighbour, Neighbour]:
    """A market, Alice and Bob's shop; both keep an archive."""
    await town.open("Market", meeting=True)
    alice = await town.open("Alice", archive=Archive(tmp_path / "Alice"))
    return alice, await town.open("Bob", catalogue=car_hire(), archive=Archive(tmp_path / "Bob"))


async def make_deal(alice: Neighbour, bob: Neighbour) -> str:
    limit = {"limit_private": {"minor": SECRET, "currency": "EUR"}}
    intent = (await alice.desk.ask({**SKIING, **limit}, 10))["intent"]["id"]
    (found,) = (await wait_offers(alice, intent, 1))["offers"]
    contract = (await alice.desk.accept(found["id"], CONTACT, None, [], 20))["contract"]["id"]
    await wait_state(bob, contract, "confirmed")
    await wait_over(bob, intent)
    for side in (alice, bob):
        await wait_settled(side)
    return str(intent)


async def wait_archived(side: Neighbour, archive: Path, kinds: int) -> dict[str, bytes]:
    """Until so many messages are there."""
    await wait_until(side, lambda _node: sum(data.count(b"\n") for data in files_of(archive).values()) >= kinds, 60)
    return files_of(archive)


async def test_sealed_bids_are_sealed_in_the_archive_too(tmp_path: Path, clock: MockClock) -> None:
    """Until the hour the files tell that Alice asked, and nothing of what is bid, also after a start anew; then all."""
    async with open_town() as town:
        alice, bob = await open_shop(town, tmp_path)
        await bob.node.gossip.wait_subscriber("mobility")
        hour = alice.node.clock.now() + 3600
        intent = (await alice.desk.ask({**SKIING, "offers_by": hour}, 10))["intent"]["id"]

        async def has_bid(_node: object) -> bool:
            return bool((await alice.desk.offers_for(intent))["sealed"] == 1)

        await wait_until(alice, has_bid)
        for _ in range(2):
            await trio.sleep(120)
            assert [name.rpartition("/")[2] for name in files_of(tmp_path / "Alice")] == ["wish.jsonl"]
            await alice.crash()
            await alice.start()
        await trio.sleep(3600)
        said = b"".join((await wait_archived(alice, tmp_path / "Alice", 3)).values())
        assert {entry["kind"] for entry in entries(said)} == {"intent", "offer", "ack"}


async def test_everything_said_is_there_to_read(tmp_path: Path, clock: MockClock) -> None:
    """A deal is made. On both sides two files tell all of it, both ways, acks too, in plain JSON. Everything verifies,
    only the owner can read it, and the private limit is nowhere."""
    async with open_town() as town:
        alice, bob = await open_shop(town, tmp_path)
        intent = await make_deal(alice, bob)
        hers = await wait_archived(alice, tmp_path / "Alice", 8)
        his = await wait_archived(bob, tmp_path / "Bob", 7)
    spoken = ["accept", "ack", "ack", "ack", "confirm", "offer"]
    for found, wishes in ((hers, ["intent", "intent.close"]), (his, ["intent"])):
        (shop, said), (wish_file, asked) = sorted(found.items())
        assert wish_file.startswith("2027-01-15 A 4-wheel-drive SUV from Lyon Airport ")
        author = read_line(asked.split(b"\n")[0]).author.hex()
        assert wish_file.endswith(f" {intent[:8]}-{author[:8]}/wish.jsonl")
        assert shop.rpartition("/")[2].startswith("Alpine Cars ")
        assert [entry["kind"] for entry in entries(asked)] == wishes
        assert sorted(entry["kind"] for entry in entries(said)) == spoken
        told = {entry["kind"]: entry for entry in entries(said)}
        assert told["accept"]["says"] == {"contact": CONTACT}
        assert told["offer"]["says"]["total"] == {"currency": "EUR", "minor": 28_800}
        assert told["offer"]["at"].startswith("2027-01-15T")
        assert str(SECRET).encode() not in asked + said
    for name, messages in (("Alice", 8), ("Bob", 7)):
        checked = check_archive(tmp_path / name)
        assert (checked.wishes, checked.messages, checked.contracts, checked.missing) == (1, messages, 1, 0)
        for path in (tmp_path / name).rglob("*"):
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_any_flipped_bit_is_refused() -> None:
    """One line of every kind reads back as what was said; with any one bit changed it does not."""
    chance = random.Random(7)
    for message in one_of_each().values():
        line = write_line(message.frame)[:-1]
        assert read_line(line) == message
        for place in chance.sample(range(8 * len(line)), 60):
            changed = bytearray(line)
            changed[place // 8] ^= 1 << place % 8
            with pytest.raises(Refused):
                read_line(bytes(changed))
        for other in (line + b" ", b" " + line, line[:-1], line.replace(b'": ', b'":', 1), b"", b"[]", b'{"frame": 1}'):
            with pytest.raises(Refused):
                read_line(other)


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    """Frames of two wishes in one folder, a third party in a thread, a word said twice, a line cut off: each is named
    with its place. A line that was taken out is counted, for nobody can prove that it was ever there."""
    realms = (Realm.GOSSIP, Realm.DIRECT)
    said = {kind: message for kind, message in one_of_each().items() if KINDS[kind].realm in realms}
    asked = [said.pop(kind) for kind in ("intent", "intent.update", "intent.close")]
    thread = list(said.values())
    assert check_wish([asked, thread]) == 0
    assert check_wish([asked, [m for m in thread if m.kind != "offer"]]) == 3
    for wrong in ([asked, [*thread, thread[0]]], [[*asked, wish(BOB)], thread], [asked, [*thread, wish(BOB)]]):
        with pytest.raises(Refused):
            check_wish(wrong)
    folder = tmp_path / "archive" / "a wish"
    folder.mkdir(parents=True)
    write(folder / "wish.jsonl", asked)
    write(folder / "Bob.jsonl", thread)
    assert check_archive(tmp_path).messages == len(asked) + len(thread)
    whole = (folder / "Bob.jsonl").read_bytes()
    (folder / "Bob.jsonl").write_bytes(whole[:-9])
    with pytest.raises(Trouble, match=rf"Bob.jsonl, line {len(thread)} .*cut off"):
        check_archive(tmp_path)
    (folder / "Bob.jsonl").write_bytes(whole.replace(b"comparison", b"capacity"))
    with pytest.raises(Trouble, match=r"Bob.jsonl, line \d+ .*does not show"):
        check_archive(folder / "Bob.jsonl")


def write(file: Path, messages: list[Message]) -> None:
    file.write_bytes(b"".join(write_line(message.frame) for message in messages))


async def test_damage_is_mended_at_the_next_start(tmp_path: Path, clock: MockClock) -> None:
    """A torn last line, a changed letter, a broken line, a lost file, a lost folder: after a restart all is as it was.
    A folder that cannot be written stops nothing, and is filled when it can."""
    async with open_town() as town:
        alice, bob = await open_shop(town, tmp_path)
        archive = tmp_path / "Alice"
        await make_deal(alice, bob)
        whole = await wait_archived(alice, archive, 8)
        shop, asked = (archive / name for name in whole)

        def tear() -> None:
            shop.write_bytes(shop.read_bytes()[:-40])

        def change() -> None:
            shop.write_bytes(shop.read_bytes().replace(b"alice@", b"aljce@"))

        def smash() -> None:
            shop.write_bytes(shop.read_bytes().replace(b'{"transcript"', b'{"transcript', 1))

        for damage in (tear, change, smash, asked.unlink, lambda: [path.unlink() for path in (shop, asked)]):
            await alice.crash()
            damage()
            assert files_of(archive) != whole
            await alice.start()
            await wait_until(alice, lambda _node: _sorted(files_of(archive)) == _sorted(whole), 60)
            check_archive(archive)
        await alice.crash()
        elsewhere = archive.rename(tmp_path / "elsewhere")
        archive.write_text("in the way")
        await alice.start()
        await trio.sleep(20)
        assert alice.is_up
        archive.unlink()
        await wait_until(alice, lambda _node: _sorted(files_of(archive)) == _sorted(whole), 90)
        assert _sorted(files_of(elsewhere)) == _sorted(whole)


def _sorted(files: dict[str, bytes]) -> dict[str, list[bytes]]:
    return {name: sorted(data.split(b"\n")) for name, data in files.items()}


async def test_a_folder_that_its_owner_renamed_is_found_again(tmp_path: Path, clock: MockClock) -> None:
    """Alice gives a wish's folder a name she likes while her node runs: what is said later is written into it."""
    async with open_town() as town:
        alice, _bob = await open_shop(town, tmp_path)
        archive = tmp_path / "Alice"
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        await wait_offers(alice, intent, 1)
        await wait_settled(alice)
        await wait_archived(alice, archive, 3)
        (folder,) = archive.iterdir()
        folder.rename(archive / f"Our holidays {folder.name.rpartition(' ')[2]}")
        await alice.desk.withdraw(intent)
        await wait_settled(alice)
        found = await wait_archived(alice, archive, 6)
        assert [name.partition("/")[0].rpartition(" ")[0] for name in found] == ["Our holidays"] * 2


async def test_it_outlives_forgetting_and_is_its_owners_to_delete(tmp_path: Path, clock: MockClock) -> None:
    """Alice withdraws. A month later her store has forgotten the wish; the archive has not, also after a restart. Of
    another wish she deletes the files while it is open: nothing about it is written again."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        home = tmp_path / "Alice"
        home.mkdir()
        alice = await town.open("Alice", archive=Archive(home / "archive"))
        bob = await town.open("Bob", catalogue=car_hire())
        lost = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        await wait_offers(alice, lost, 1)
        await alice.desk.withdraw(lost)
        await wait_settled(alice)
        before = await wait_archived(alice, home / "archive", 6)
        let_pass(town, 32 * DAY)
        await wait_until(alice, lambda node: not node.requester.wishes(), 2000)
        await alice.crash()
        await alice.start()
        await trio.sleep(10)
        assert files_of(home / "archive") == before
        assert check_archive(home / "archive").missing == 0
        kept = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        await wait_archived(alice, home / "archive", 7)
        assert len(delete_archived(home, lost)) == 1
        # Its store is in memory here: what `archive delete` notes in a file is noted by hand.
        await alice.store.peek(lambda tx: tx.put_meta(f"unarchived:{kept}", "1"))
        assert len(delete_archived(home, kept[:12])) == 1
        await wait_offers(alice, kept, 1)
        await alice.desk.withdraw(kept)
        await wait_over(bob, kept)
        await alice.crash()
        await alice.start()
        await trio.sleep(20)
        assert files_of(home / "archive") == {}
        with pytest.raises(Trouble):
            delete_archived(home, kept)


async def test_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`verify` takes an archive; `archive list` and `archive delete` work on a home whose node does not run, and what
    was deleted is not written again by the next one."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    async with open_town() as town:
        alice = await town.open("Alice", path=home / "node.db", archive=Archive(home / "archive"))
        intent = (await alice.desk.ask(SKIING, 0))["intent"]["id"]
        await wait_archived(alice, home / "archive", 1)
        await alice.stop()
        (folder,) = (home / "archive").iterdir()
        assert run("verify", str(home / "archive"), "--json", out=capsys) == (
            0,
            {"valid": True, "kind": "archive", "files": 1, "wishes": 1, "messages": 1, "contracts": 0, "missing": 0},
        )
        assert run("archive", "list", "--home", str(home), "--json", out=capsys)[1]["wishes"] == [folder.name]
        (folder / "wish.jsonl").write_bytes((folder / "wish.jsonl").read_bytes().replace(b"SUV", b"SUW"))
        code, said = run("verify", str(folder), "--json", out=capsys)
        assert (code, said["valid"], said["error"]["code"]) == (5, False, "not_valid")
        assert run("verify", str(home / "nothing.jsonl"), "--json", out=capsys)[0] == 3
        assert run("archive", "delete", intent[:8], "--home", str(home), "--json", out=capsys)[0] == 2
        deleted = run("archive", "delete", intent[:8], "--home", str(home), "--yes", "--json", out=capsys)
        assert deleted == (0, {"deleted": [folder.name]})
        await alice.start()
        await alice.desk.withdraw(intent)
        await wait_until(alice, lambda node: not node.requester.wishes()[0].is_open)
        await alice.stop()
    assert files_of(home / "archive") == {}
    assert run("archive", "delete", intent, "--home", str(home), "--yes", "--json", out=capsys)[0] == 3


def run(*words: str, out: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    out.readouterr()
    code = main(words)
    return code, json.loads(out.readouterr().out)
