"""kill -9 at random moments: real processes, libp2p over loopback, a home in a file, many wishes at once.

What anybody was told is done must be there afterwards, and nothing may have happened twice: what a call of the API
returned, every event that was read, and every acknowledgement a peer holds. What the page cache does at a power cut is
another question (see the tests of the store).
"""

import json
import random
import shutil
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from node.config import free_port
from node.mesh.figures import quantile
from node.store.foreign import HEARD_EVENTS
from node.trouble import Trouble
from protocol.envelope import Item, read_item
from tests.adversary.figures import Figure, at_least, at_most, told, within
from tests.driver import SKIING

from .processes import NodeProcess, make_node, running, wait_for
from .witness import ONCE

START_GOAL = 5.0
"""Seconds from the start of the process to the first answer of its API."""

LIFE_BETWEEN = (0.05, 1.5)
"""Seconds, at least and at most, that everybody is up and busy before the next kill."""

SETTLE_SECONDS = 120.0

MAIL_SECONDS = 3.0
"""For which a mailbox that is to be killed may first be given something for somebody who is away."""


@dataclass
class Ledger:
    """What was told to whoever uses a node. Filled by several threads."""

    wishes: set[str] = field(default_factory=set)
    contracts: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    events: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    """Node -> number -> event."""


class Load:
    """Somebody who asks, accepts and withdraws, and somebody who reads along at both ends, as fast as they can."""

    def __init__(self, person: NodeProcess, vendor: NodeProcess, ledger: Ledger, seed: int) -> None:
        self._person = person
        self._ledger = ledger
        self._chance = random.Random(seed)
        self._over = threading.Event()
        ledger.events = {person.name: {}, vendor.name: {}}
        works = [self._ask, self._decide]
        self._threads = [threading.Thread(target=self._insist, args=(work,)) for work in works]
        self._threads += [threading.Thread(target=self._read, args=(node,)) for node in (person, vendor)]
        self._wrong: list[BaseException] = []
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Raises what went wrong in a thread."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self._wrong:
            raise self._wrong[0]

    def _insist(self, work: Any) -> None:
        while not self._over.is_set():
            try:
                work()
            except Trouble:  # it was killed: whatever the answer would have been, nobody was told
                self._over.wait(0.05)
            except BaseException as wrong:
                self._wrong.append(wrong)
                return

    def _ask(self) -> None:
        found = self._person.client.post("ask", body={"wish": {**SKIING, "expires": 7200}, "reach_wait": 0})
        self._ledger.wishes.add(found["intent"]["id"])
        self._over.wait(self._chance.uniform(0.02, 0.3))

    def _decide(self) -> None:
        wishes = [one for one in self._person.client.get("wishes")["intents"] if one["state"] == "open"]
        for wish in wishes:
            if wish["offers"]:
                found = self._person.client.get("wishes", wish["id"], "offers")["offers"]
                offer = next((one for one in found if one["state"] == "offered"), None)
                if offer is not None:
                    body = {"contact": "Ana", "wait": self._chance.choice([0, 2])}
                    accepted = self._person.client.post("offers", offer["id"], "accept", body=body, wait=2)
                    self._ledger.contracts.add(accepted["contract"]["id"])
            elif self._chance.random() < 0.05:
                self._person.client.post("withdraw", wish["id"])
                self._ledger.withdrawn.add(wish["id"])
        self._over.wait(0.02)

    def _read(self, node: NodeProcess) -> None:
        read = self._ledger.events[node.name]
        while not self._over.is_set():
            try:
                for event in node.client.events(max(read, default=0), time.monotonic() + 1):
                    read[event["id"]] = event
            except Trouble:
                self._over.wait(0.05)


@dataclass
class Findings:
    kills: int = 0
    acknowledged: set[tuple[str, str]] = field(default_factory=set)
    """(who has it, message)."""
    left: set[bytes] = field(default_factory=set)
    """Messages a mailbox said it holds, and that were looked for there."""
    lost: set[str] = field(default_factory=set)
    doubled: set[str] = field(default_factory=set)
    unsound: set[str] = field(default_factory=set)


def crash(kills: int, seed: int = 1) -> list[Figure]:
    chance = random.Random(seed)
    ledger, found = Ledger(), Findings()
    with TemporaryDirectory(prefix="intentcast-crash-") as text:
        folder = Path(text)
        market = make_node(folder / "market", ["--listen", _listen(), "--meeting", "--mailbox"])
        with running([market]):
            market.start()
            join = ["--join", market.address]
            vendor = make_node(folder / "vendor", ["--listen", _listen(), *join], sells=True)
            person = make_node(folder / "person", ["--listen", _listen(), *join])
            both = [vendor, person]
            with running(both):
                for node in both:
                    node.start()
                load = Load(person, vendor, ledger, seed)
                try:
                    while found.kills < kills:
                        time.sleep(chance.uniform(*LIFE_BETWEEN))
                        alone = [[vendor], [person], [market]]
                        victims = chance.choice([*alone, both, [vendor, market], [person, market]])
                        _kill(victims[: kills - found.kills], both, ledger, found, folder)
                finally:
                    load.stop()
                settled = _settle(both)
                for node in both:
                    node.stop()
                    node.wait_gone(10)
                for node in both:
                    _look(node, both, ledger, found, folder)
                _compare(person, vendor, found)
    starts = [second for node in (market, *both) for second in node.starts]
    events = sum(len(read) for read in ledger.events.values())
    what = (
        f"{len(ledger.wishes)} wishes, {len(ledger.contracts)} accepts, {len(found.acknowledged)} acks, {events} events"
    )
    return [
        at_least("T26", "kill -9 of requester, vendor and mailbox under load", found.kills, kills),
        told("T26", "what was told to be done", what),
        at_least("T26", "left at the mailbox, and looked for when it was dead", len(found.left), kills // 20),
        at_most("T26", "of that lost", len(found.lost), 0),
        at_most("T26", "effects doubled", len(found.doubled), 0),
        at_most("T26", "databases not sound", len(found.unsound), 0),
        within("T26", "start until the API answers, the slowest", max(starts), START_GOAL),
        told("T26", "start, median", f"{quantile(starts, 0.5):.2f} s"),
        within("T26", "until nothing waits any more", settled, SETTLE_SECONDS),
        *[told("T26", "for example", one) for one in sorted(found.lost | found.doubled | found.unsound)[:5]],
    ]


def _listen() -> str:
    return f"/ip4/127.0.0.1/tcp/{free_port()}"


def _kill(victims: list[NodeProcess], both: list[NodeProcess], ledger: Ledger, found: Findings, folder: Path) -> None:
    told_before = {node.name: dict(ledger.events.get(node.name, {})) for node in victims}
    for node in victims:
        if node not in both:
            _await_mail(node, [one for one in both if one not in victims] if len(victims) > 1 else [])
        node.kill()
        found.kills += 1
    for node in victims:
        _look(node, both, ledger, found, folder, told_before[node.name])
    for node in victims:
        node.start()


def _await_mail(market: NodeProcess, senders: list[NodeProcess]) -> None:
    """Until something more lies at the mailbox for whoever is away, or long enough: there may be nothing to say."""
    before = [_mail(market, sender) for sender in senders]
    deadline = time.monotonic() + MAIL_SECONDS
    while senders and time.monotonic() < deadline:
        if any(_mail(market, sender).keys() - old.keys() for sender, old in zip(senders, before, strict=True)):
            return
        time.sleep(0.05)


def _look(
    node: NodeProcess,
    both: list[NodeProcess],
    ledger: Ledger,
    found: Findings,
    folder: Path,
    events: dict[int, dict[str, Any]] | None = None,
) -> None:
    """At a dead node's home: a copy of it, for opening it would already mend it."""
    others = [one for one in both if one is not node] if node in both else []
    with TemporaryDirectory(dir=folder) as text:
        copy = Path(text) / "node.db"
        for path in node.home.glob("node.db*"):
            shutil.copy(path, copy.with_name(path.name))
        with closing(sqlite3.connect(copy)) as database:
            (sound,) = database.execute("PRAGMA integrity_check").fetchone()
            if sound != "ok" or database.execute("PRAGMA foreign_key_check").fetchone() is not None:
                found.unsound.add(f"{node.name}: {sound}")
                return
            held = {row[0].hex() for row in database.execute("SELECT id FROM messages")}
            # The other side's word is read after the death: what it holds by now was said before.
            found.acknowledged |= {(node.name, message) for other in others for message in _acked(other)}
            told_to = {message for name, message in found.acknowledged if name == node.name}
            if node.name == "person":
                told_to |= ledger.wishes | ledger.contracts
            found.lost |= {f"{node.name}: message {message[:8]}" for message in told_to - held}
            _look_at_events(node, database, ledger.events.get(node.name, {}) if events is None else events, found)
            doubled = (
                "SELECT root, thread FROM messages WHERE mine AND kind IN (?, ?) GROUP BY thread HAVING count(*) > 1"
            )
            for root, _ in database.execute(doubled, ("offer", "offer")):
                found.doubled.add(f"{node.name}: two offers for {root.hex()[:8]}")
            for root, _ in database.execute(doubled, ("confirm", "reject")):
                found.doubled.add(f"{node.name}: two answers for {root.hex()[:8]}")
            if node not in both:
                _look_at_mail(node, both, database, found)


def _look_at_mail(market: NodeProcess, both: list[NodeProcess], database: sqlite3.Connection, found: Findings) -> None:
    """What the mailbox told others it holds, and what is not settled otherwise."""
    held = {row[0] for row in database.execute("SELECT digest FROM held")}
    for node in both:
        for message, encoded in _mail(market, node).items():
            item = read_item(encoded)
            assert isinstance(item, Item)
            found.left.add(message)
            if item.digest not in held:
                found.lost.add(f"{market.name}: item of {message.hex()[:8]}")


def _mail(market: NodeProcess, sender: NodeProcess) -> dict[bytes, bytes]:
    """Message -> item of what a sender was told this mailbox holds, and what is not settled otherwise."""
    query = (
        "SELECT outbox.id, outbox.item FROM deposits JOIN outbox ON outbox.id = deposits.message "
        "WHERE deposits.mailbox LIKE ? AND outbox.state != 'ACKED' AND outbox.exp > ?"
    )
    with closing(_open_beside(sender)) as database:
        return dict(database.execute(query, (f"%{market.ready['peer_id']}", time.time())).fetchall())


def _open_beside(node: NodeProcess) -> sqlite3.Connection:
    """The store of a node that runs."""
    return sqlite3.connect(f"file:{node.home / 'node.db'}?mode=ro", uri=True, timeout=20)


def _acked(node: NodeProcess) -> list[str]:
    with closing(_open_beside(node)) as database:
        rows = database.execute("SELECT id FROM outbox WHERE state = 'ACKED' AND reason IS NULL").fetchall()
    return [row[0].hex() for row in rows]


def _look_at_events(
    node: NodeProcess, database: sqlite3.Connection, read: dict[int, dict[str, Any]], found: Findings
) -> None:
    stored = {
        number: {"id": number, "type": kind, "at": at, **json.loads(data)}
        for number, kind, at, data in database.execute("SELECT id, type, at, data FROM events")
    }
    for heard in (True, False):  # of what others said, and of all else, the newest ten thousand are kept
        oldest = min((n for n, event in stored.items() if (event["type"] in HEARD_EVENTS) is heard), default=0)
        due = {n for n, event in read.items() if (event["type"] in HEARD_EVENTS) is heard and n >= oldest}
        found.lost |= {f"{node.name}: event {n}" for n in due if stored.get(n) != read[n]}
    times = Counter((e["type"], e[ONCE[e["type"]]]) for e in stored.values() if e["type"] in ONCE)
    found.doubled |= {f"{node.name}: {kind} {about[:8]}" for (kind, about), count in times.items() if count > 1}
    contracts = Counter(e["intent"] for e in stored.values() if e["type"] == "contract.confirmed")
    found.doubled |= {f"{node.name}: two contracts for {one[:8]}" for one, count in contracts.items() if count > 1}


def _settle(both: list[NodeProcess]) -> float:
    def is_quiet() -> bool:
        return all(node.client.get("status")["outbox"] == 0 for node in both)

    try:
        return wait_for("the outboxes are empty", is_quiet, SETTLE_SECONDS)
    except Trouble:
        return float("inf")


def _compare(person: NodeProcess, vendor: NodeProcess, found: Findings) -> None:
    """Both hold the same contracts: the same accept and the same answer to it."""
    frames = []
    for node in (person, vendor):
        with closing(sqlite3.connect(node.home / "node.db")) as database:
            rows = database.execute("SELECT id, frame FROM messages WHERE kind IN ('accept', 'confirm', 'reject')")
            frames.append({row[0].hex(): row[1] for row in rows})
    for one in frames[0].keys() ^ frames[1].keys():
        found.lost.add(f"{one[:8]} is in one home alone")
    for one in frames[0].keys() & frames[1].keys():
        if frames[0][one] != frames[1][one]:
            found.doubled.add(f"{one[:8]} differs")
