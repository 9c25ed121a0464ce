"""The doctor finds what is wrong, says how to mend it, and tells a stranger nothing about anybody."""

import ast
import base64
import json
import logging
import os
import shlex
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

import node
from node import doctor
from node.bundle import OWN_LOGGERS, bundle
from node.cli.app import main
from node.config import Config
from node.doctor import Finding, examine, kind_of_address, verdict_of
from node.home import Home
from node.logs import configure_logging
from node.store import tables
from node.trouble import Exit, Trouble
from protocol.envelope import read_frame
from protocol.keys import SigningKey, did, peer_id
from protocol.transcript import write_line
from tests.driver import SKIING, open_town, seed_of, wait_heard
from tests.node.test_backup import make_home
from tests.protocol.people import one_of_each
from tests.store.test_migrations import rows


def not_running() -> Mapping[str, Any]:
    raise Trouble("not_running", "it does not answer", "", Exit.NOT_RUNNING)


def found(home: Path, check: str, status: Mapping[str, Any] | None = None) -> Finding:
    """The worst finding of one check."""
    findings = examine(home, not_running if status is None else lambda: status)
    return max(
        (finding for finding in findings if finding.check == check),
        key=lambda finding: ("ok", "warn", "fail").index(finding.verdict),
    )


def change(home: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(home / "node.db")) as database:
        database.execute(statement, values)
        database.commit()


# -------------------------------------------------------------------------------------------------------- findings


def test_a_sound_home(tmp_path: Path) -> None:
    """Nothing fails, and nothing is changed by looking."""
    home = make_home(tmp_path)
    change(home, "DELETE FROM events")  # their hour is that of a test's clock
    before = {file.name: file.read_bytes() for file in home.iterdir()}
    findings = examine(home, not_running)
    assert verdict_of(findings) == "warn"
    assert [finding.check for finding in findings if finding.verdict == "warn"] == ["settings"], "no peer is named"
    checks = {finding.check for finding in findings}
    assert checks >= {"home", "permissions", "keys", "settings", "running", "store", "schema", "outbox", "room"}
    assert {name: data for name, data in before.items() if name != "node.db-shm"} == {
        file.name: file.read_bytes() for file in home.iterdir() if not file.name.startswith("node.db-")
    }


def test_what_can_be_wrong_with_a_home(tmp_path: Path) -> None:
    """Each with a verdict and a way to mend it."""
    home = make_home(tmp_path)
    assert found(tmp_path / "nowhere", "home").verdict == "fail"
    (home / "node.key").chmod(0o644)
    assert found(home, "permissions").mend == f"chmod 600 {home / 'node.key'}"
    assert found(home, "keys").verdict == "fail"
    (home / "node.key").chmod(0o600)
    (home / "vendor.key").unlink()
    assert "vendor.key is missing" in found(home, "keys").what
    (home / "catalogue.toml").write_text("name = 5")
    assert found(home, "catalogue").verdict == "fail"
    (home / "config.toml").write_text('nett = "main"')
    assert "did you mean net" in found(home, "settings").what
    home.chmod(0o755)
    assert found(home, "permissions").verdict == "fail"


def test_what_can_be_wrong_with_a_store(tmp_path: Path) -> None:
    """Another network, a newer schema, an hour to come, messages nobody takes; and bytes that rotted."""
    home = make_home(tmp_path)
    change(home, "UPDATE meta SET value = 'elsewhere' WHERE name = 'net'")
    assert "network elsewhere" in found(home, "store").what
    change(home, "UPDATE meta SET value = '99' WHERE name = 'schema'")
    assert found(home, "schema").mend == "Update intentcast."
    now = int(time.time())
    change(home, "UPDATE events SET at = ?", now + 7200)
    assert "120 minutes from now" in found(home, "clock").what
    row = "INSERT INTO outbox VALUES (?, x'00', 'offer', x'00', ?, ?, NULL, ?, ?)"
    change(home, row, b"1", now + 9000, "QUEUED", now - 60, None)
    assert found(home, "outbox").verdict == "ok"
    change(home, row, b"2", now + 9000, "QUEUED", now - 7200, None)
    assert "2 messages wait to be delivered, the oldest for 120 minutes" in found(home, "outbox").what
    change(home, "DELETE FROM outbox")
    change(home, row, b"3", now - 60, "FAILED", now - 7200, now - 60)
    assert "given up" in found(home, "outbox").what
    path = home / "node.db"
    with closing(sqlite3.connect(path)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages_root'").fetchone()
    data = bytearray(path.read_bytes())
    data[(page - 1) * 4096 + 8 : page * 4096] = bytes(4088)
    path.write_bytes(data)
    assert found(home, "store").verdict == "fail"
    path.write_bytes(b"not a database" * 1000)
    assert found(home, "store").verdict == "fail"
    assert "restore" in found(home, "store").mend


def test_what_can_be_wrong_with_a_running_node(tmp_path: Path) -> None:
    """It does not answer; its clock is off; it is linked with nobody, or where nobody can reach it."""
    home = make_home(tmp_path)
    with Home(home).lock():
        assert found(home, "running").verdict == "fail"
        view = {"peer_id": "x", "net": "main", "peers": 0, "addresses": ["/ip4/192.168.1.4/tcp/20123/p2p/x"]}
        view |= {"clock": {"ahead": 500, "sources": 4, "advice": "the clock is 500 s ahead"}, "alarms": []}
        assert found(home, "running", view).verdict == "ok"
        assert found(home, "clock", view).verdict == "fail"
        change(home, "DELETE FROM events")  # their hour is that of a test's clock
        just_started = view | {"clock": {"sources": 1, "certain": False}}
        assert "no peer has confirmed the hour" in found(home, "clock", just_started).what
        assert found(home, "peers", view).verdict == "warn"
        assert found(home, "reach", view).what == "no address that others could dial: unreadable"


def make_archive(home: Path, *folders: str) -> list[Path]:
    """Wishes with what was said about them, as a node writes them. Gives their files."""
    said = one_of_each()
    asked = [said[kind] for kind in ("intent", "intent.update", "intent.close")]
    files = []
    for name in folders:
        folder = home / "archive" / name
        folder.mkdir(parents=True, mode=0o700)
        files.append(folder / "wish.jsonl")
        files[-1].write_bytes(b"".join(write_line(message.frame) for message in asked))
        files[-1].chmod(0o600)
    (home / "archive").chmod(0o700)
    return files


def test_what_can_be_wrong_with_an_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every wish is checked as `verify` does it; one word that was changed is found, whichever wish it is in, and the
    command ends with 1."""
    home = make_home(tmp_path)
    assert found(home, "archive").what == "nothing is in it"
    files = make_archive(home, "A car 1", "A boat 2", "A house 3")
    assert found(home, "archive").what == "as it was said (wishes: 3, messages: 9)"
    whole = files[1].read_bytes()
    files[1].write_bytes(whole.replace(b"mobility", b"mobilitx"))
    damaged = found(home, "archive")
    assert (damaged.verdict, "rely" in damaged.mend) == ("fail", True)
    assert "A boat 2/wish.jsonl, line 1 is not as it was said" in damaged.what
    assert main(["doctor", "--home", str(home)]) == Exit.FAILURE
    capsys.readouterr()
    files[0].write_bytes(whole[:-5])
    assert "true: 2" in found(home, "archive").what
    for file in files[:2]:
        file.write_bytes(whole)
    assert found(home, "archive").verdict == "ok"


def test_a_large_archive_is_looked_at_in_part_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed last comes first; how much was left out is told, and which command looks at all of it."""
    home = make_home(tmp_path)
    old, new = make_archive(home, "A car 1", "A boat 2")
    os.utime(old, (1, 1))
    monkeypatch.setattr(doctor, "ARCHIVE_BYTES", new.stat().st_size)
    told = [finding for finding in examine(home, not_running) if finding.check == "archive"]
    assert [finding.what for finding in told] == [
        "as it was said (wishes: 1, messages: 3)",
        "1 of 2 wishes were not looked at: there is much in it",
    ]
    assert told[1].mend.startswith("Check all: intentcast verify ")
    new.write_bytes(b"{}\n")
    assert found(home, "archive").verdict == "fail"
    monkeypatch.setattr(doctor, "ARCHIVE_SECONDS", -1.0)
    assert (
        "2 of 2 wishes were not looked at" in [f.what for f in examine(home, not_running) if f.check == "archive"][-1]
    )


def test_what_lies_deeper_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the archive that others may read is named, with a command that mends it also if its name has blanks;
    several are one finding. Links lead nowhere. What is left out of a very large home is said."""
    home = make_home(tmp_path)
    first, second = make_archive(home, "A car 1", "A boat 2")
    (home / "archive" / "link").symlink_to("/etc")
    assert found(home, "permissions").verdict == "ok"
    first.chmod(0o644)
    one = found(home, "permissions")
    assert (one.verdict, one.mend) == ("warn", f"chmod 600 '{first}'")
    second.chmod(0o644)
    first.parent.chmod(0o755)
    several = found(home, "permissions")
    assert f"3 files and folders of {home / 'archive'}, the first is {first.parent} (mode 0755)" in several.what
    assert several.mend == f"chmod -R go= {home / 'archive'}"
    subprocess.run(shlex.split(several.mend), check=True)
    assert found(home, "permissions").verdict == "ok"
    first.chmod(0o644)
    home.chmod(0o755)
    assert {f.verdict for f in examine(home, not_running) if f.check == "permissions"} == {"fail"}
    home.chmod(0o700)
    monkeypatch.setattr(doctor, "MOST_PATHS", 3)
    assert found(home, "permissions").what == "only the first 3 files and folders were looked at"


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("/ip4/0.0.0.0/tcp/1", "ip4 any"),
        ("/ip4/127.0.0.1/tcp/1", "ip4 loopback"),
        ("/ip4/192.168.1.4/tcp/1", "ip4 private"),
        ("/ip6/2a00:1450:4001::1/tcp/1", "ip6 public"),
        ("/dns4/ana.example.org/tcp/1", "name"),
    ],
)
def test_kinds_of_addresses(address: str, kind: str) -> None:
    """All that a stranger learns of them."""
    assert kind_of_address(address) == kind


# ----------------------------------------------------------------------------------------------------------- bundle


@pytest.fixture
def _logging() -> Iterator[None]:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    for handler in [handler for handler in root.handlers if handler not in before[0]]:
        handler.close()
    root.handlers[:], root.level = before
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging")
async def test_a_bundle_tells_nothing_about_anybody(tmp_path: Path) -> None:
    """Every key, id, text, name, contact and address of a used home is looked for in it, and not found."""
    home = make_home(tmp_path, "Bob")
    friend = "/ip4/8.8.4.4/tcp/20123/p2p/" + peer_id(SigningKey(seed_of("Friend")).public)
    settings = home / "config.toml"
    settings.write_text(settings.read_text() + f'join = ["{friend}"]\nannounce = ["/dns4/bob.example.org/tcp/20123"]\n')
    configure_logging("debug", file=home / "node.log")
    async with open_town() as town:
        bob = await town.open("Bob", path=home / "node.db", divisions=("mobility",))
        carol = await town.open("Carol")  # whose chance is not that of the Alice whom this store knows
        wish = {**SKIING, "title": "Something nobody else should read of", "note": "Call Ana: +33 6 12 34 56 78"}
        await wait_heard(bob, (await carol.desk.ask(wish, 5.0))["intent"]["id"])
        status = await bob.desk.status()
        for logger in (structlog.get_logger("delivery"), logging.getLogger("library.of.others")):
            try:
                raise ValueError(f"cannot read {wish['note']} from {carol.address}")
            except ValueError:
                logger.exception("an error")
        logging.getLogger("library.of.others").warning("Ana lives at %s", carol.address)
        with Home(home).lock():
            document = bundle(home, await trio.to_thread.run_sync(examine, home, lambda: status), status)
        addresses = [carol.address, bob.address]
    logging.shutdown()
    text = json.dumps(document)
    assert document["store"]["rows"]["messages"] > 3
    assert document["settings"]["join"] == ["ip4 public"]
    assert document["status"]["counters"]["board"]["accepted"] == 1
    assert any(line.get("raised") == ["ValueError"] for line in document["log"])
    assert "delivery" in {line["logger"] for line in document["log"]}
    secrets = {*secrets_of(home), *addresses, *addresses[0].split("/p2p/"), friend, "bob.example.org", "Ana"}
    assert secrets > {wish["title"], wish["note"], SKIING["title"], "alice@example.org", "+33 4 00 00 00 00"}
    assert [secret for secret in secrets if secret in text] == []


def secrets_of(home: Path) -> Iterator[str]:
    """All that stands in a home and could tell something, in every way it could be written."""
    for name in ("node.key", "vendor.key"):
        seed = (home / name).read_bytes()
        yield from spelled(seed)
        yield peer_id(SigningKey(seed).public)
        yield did(SigningKey(seed).public)
    yield str(home)
    for table, found in rows(home / "node.db").items():
        for row in found:
            for column, value in row.items():
                if isinstance(value, bytes):
                    yield from spelled(value)
                    if column == "frame":
                        yield from texts_in(read_frame(value).peek_unverified())
                elif table in ("peers", "threads", "disclosures") and isinstance(value, str) and "/" in value:
                    yield value
                elif table == "meta" and str(row["name"]).startswith("contact:"):
                    yield str(value)


def spelled(value: bytes) -> Iterator[str]:
    if len(value) >= 8:
        yield value[:8].hex()
        yield base64.b64encode(value[:9]).decode()
        yield base64.urlsafe_b64encode(value[:9]).decode()
        yield repr(value[:8])[2:-1]


def texts_in(value: object) -> Iterator[str]:
    """Texts of people in a frame's fields: whatever has a blank or an @, or is longer than our own words."""
    if isinstance(value, str) and (" " in value or "@" in value or len(value) > 24):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)


def test_own_log_lines_have_constant_texts() -> None:
    """A bundle holds the texts of our own lines: so none may be put together from what somebody said."""
    names = set()
    for path in Path(node.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            of = call.func.value.id if isinstance(call.func.value, ast.Name) else ""
            if call.func.attr == "get_logger":
                names.add(ast.literal_eval(call.args[0]))
            elif of in ("log", "logger") and call.func.attr in ("debug", "info", "warning", "error", "exception"):
                assert isinstance(call.args[0], ast.Constant | ast.Subscript), f"{path}:{call.lineno}"
    assert names == OWN_LOGGERS


def test_every_setting_is_told_of(tmp_path: Path) -> None:
    """Who adds a setting says what a stranger may learn of it: of mailboxes that there are two, and not which."""
    home = make_home(tmp_path)
    friends = [f"/ip4/8.8.4.4/tcp/20123/p2p/{peer_id(SigningKey(seed_of(name)).public)}" for name in ("Carol", "Dora")]
    settings = home / "config.toml"
    settings.write_text(f"{settings.read_text()}mailbox = true\nmailboxes = {json.dumps(friends)}\narchive = false\n")
    told = bundle(home, [], None)["settings"]
    assert set(told) == {field.name for field in fields(Config)} - {"home"}
    assert (told["mailbox"], told["mailboxes"], told["archive"]) == (True, 2, False)


def test_rows_are_counted_for_every_table(tmp_path: Path) -> None:
    """Also for those of a schema to come."""
    home = make_home(tmp_path)
    assert set(bundle(home, [], None)["store"]["rows"]) <= set(tables.metadata.tables)
    (home / "node.db").write_bytes(b"not a database" * 1000)
    assert bundle(home, [], None)["store"] == {"error": "SQLITE_NOTADB"}


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 only if something is broken; the bundle is private and not overwritten."""
    home, report = make_home(tmp_path), tmp_path / "report.json"
    assert main(["doctor", "--home", str(home), "--bundle", str(report)]) == Exit.OK
    assert "ok    keys" in capsys.readouterr().out
    assert report.stat().st_mode & 0o777 == 0o600
    assert json.loads(report.read_text())["settings"]["net"] == "another"
    assert main(["doctor", "--home", str(home), "--bundle", str(report)]) == Exit.REFUSED
    (home / "node.key").unlink()
    capsys.readouterr()
    assert main(["doctor", "--home", str(home), "--json"]) == Exit.FAILURE
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "fail"
    assert {"check", "verdict", "what", "mend"} == set(told["findings"][0])
