"""Who watches a town and believes nobody: after every transaction of every node, what must never happen has not.

What a node wrote is read from its transactions as they become durable, what it sent from the wire. The rules are those
of research/security.md, 9.2.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import trio
from sqlalchemy import Connection

from node.store import Tx
from node.trouble import Trouble
from protocol.exchange import Side, State
from tests.driver import NET, FragileStore, Neighbour, Town

T = TypeVar("T")

ONCE = {
    "wish.asked": "intent",
    "wish.heard": "revision",
    "wish.closed": "intent",
    "offer.made": "offer",
    "offer.received": "offer",
    "contract.confirmed": "contract",
}
"""Events that a node tells once in all its lives -> what they are about."""

MOST_DATABASE = 16 * 2**20
"""Bytes: a day of a small market is far below."""


class NotedTx(Tx):
    """A transaction that remembers what it will have done."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.acked: list[bytes] = []

    def add_event(self, type: str, at: int, data: dict[str, Any]) -> int:
        number = super().add_event(type, at, data)
        self.events.append((number, type, data))
        return number

    def settle(self, id: bytes, thread: bytes, state: str, now: int, reason: str | None = None) -> None:
        super().settle(id, thread, state, now, reason)
        if state == "ACKED" and reason is None:
            self.acked.append(id)


class WatchedStore(FragileStore):
    """Tells its witness of every transaction, once it is durable."""

    witness: "Witness"
    owner: Neighbour

    def _run(self, work: Callable[[Tx], T]) -> T:
        with self._engine.begin() as connection:
            noted = NotedTx(connection)
            found = work(noted)
        self.witness.committed(self.owner, noted)
        return found


class Witness:
    def __init__(self, town: Town) -> None:
        self.town = town
        self.broken: list[str] = []
        """What must never happen, and did, and when."""
        self.counts: Counter[str] = Counter()
        self.secrets: dict[bytes, set[str]] = {}
        """Words that may be in these nodes' homes and nowhere else, and never on a wire."""
        self.promised: dict[bytes, str] = {}
        """Message that a person or a peer was told is safe -> whose home must hold it."""
        self._last_event: Counter[str] = Counter()
        self._told: dict[str, set[tuple[str, str]]] = {}
        self._contracts: dict[str, str] = {}
        self._trace = hashlib.blake2b(digest_size=16)
        assert town.world is not None
        town.world.tap = self._carried

    @property
    def trace(self) -> str:
        """A hash of every byte that was sent, of all that was stored, and when."""
        return self._trace.hexdigest()

    def accuse(self, what: str) -> None:
        self.broken.append(f"after {trio.current_time() - self.town.origin:.3f} s: {what}")

    # -------------------------------------------------------------------------------------------- at every step

    def committed(self, owner: Neighbour, tx: NotedTx) -> None:
        self.counts["transactions"] += 1
        for number, kind, data in tx.events:
            self._trace.update(f"{trio.current_time():.6f} {owner.name} {number} {kind} {json.dumps(data)}".encode())
            self._check_event(owner, number, kind, data)
        for message in tx.acked:
            self._check_ack(owner, message)

    def _check_event(self, owner: Neighbour, number: int, kind: str, data: dict[str, Any]) -> None:
        self.counts[kind] += 1
        if number != self._last_event[owner.name] + 1:
            self.accuse(f"{owner.name}'s event {number} follows {self._last_event[owner.name]}")
        self._last_event[owner.name] = number
        if kind in ONCE:
            told = self._told.setdefault(owner.name, set())
            once = (kind, data[ONCE[kind]])
            if once in told:
                self.accuse(f"{owner.name} is told twice of {kind} {once[1][:8]}")
            told.add(once)
        if kind == "wish.heard":
            self._check_heard(owner, bytes.fromhex(data["revision"]))
        if kind == "contract.confirmed" and self._is_asker(owner, data["intent"]):
            first = self._contracts.setdefault(data["intent"], data["contract"])
            if first != data["contract"]:
                self.accuse(f"{owner.name}'s wish {data['intent'][:8]} has two contracts")

    def _is_asker(self, owner: Neighbour, intent: str) -> bool:
        return ("wish.asked", intent) in self._told.get(owner.name, set())

    def _check_heard(self, owner: Neighbour, revision: bytes) -> None:
        """Nothing that is over, and nothing of another network, is shown."""
        posting = owner.node.board.get(revision) if hasattr(owner, "node") else None
        if posting is None:
            return  # replaced between the verdict and the transaction
        head = posting.message.head
        now = owner.node.clock.now()
        if head.net != NET:
            self.accuse(f"{owner.name} shows a wish of the network {head.net}")
        if head.exp < now:
            self.accuse(f"{owner.name} shows a wish that ended {now - head.exp} s ago")

    def _check_ack(self, sender: Neighbour, message: bytes) -> None:
        """What a receiver acknowledged is in its home."""
        self.counts["acknowledged"] += 1
        for live in sender.node.threads:
            if message in live.thread._ids:
                holder = self._holder(sender, live.thread.vendor, live.root)
                if holder is not None:
                    self.promised[message] = holder.name
                    if not holds(holder, message):
                        self.accuse(f"{holder.name} acknowledged {message.hex()[:8]} and does not have it")
                return

    def _holder(self, sender: Neighbour, vendor: bytes, root: bytes) -> Neighbour | None:
        for other in self.town.neighbours.values():
            if other is not sender and hasattr(other, "node"):
                if other.node.vendor.public == vendor or self._is_asker(other, root.hex()):
                    return other
        return None

    def _carried(self, sender: str, receiver: str, protocol: str, chunk: bytes) -> None:
        self.counts["bytes"] += len(chunk)
        self._trace.update(f"{trio.current_time():.6f} {sender} {receiver} {protocol}".encode() + chunk)
        for secret in self.secrets:
            if secret in chunk:
                self.accuse(f"{secret!r} went over the wire from {sender} to {receiver}")

    # ------------------------------------------------------------------------------------------- now and then

    def look(self) -> None:
        """What takes longer to see: shares, quotas, grudges."""
        honest = {one.peer_id: one.name for one in self.town.neighbours.values() if hasattr(one, "node")}
        for one in self.town.neighbours.values():
            if not one.is_up:
                continue
            node = one.node
            for peer, score in node.gossip._router.scores(trio.current_time()).items():
                if peer in honest and score.total < 0:
                    self.accuse(f"{one.name} blames {honest[peer]}: {score}")
            for division in node.gossip.divisions:
                if node.board.bytes_of(division) > node.board.division_bytes:
                    self.accuse(f"{one.name}'s board is over its quota")
            if size(one.store) > MOST_DATABASE:
                self.accuse(f"{one.name}'s database has {size(one.store)} bytes")

    def check_promises(self) -> None:
        """What anybody was ever told is safe is still there."""
        for message, name in self.promised.items():
            if not holds(self.town.neighbours[name], message):
                self.accuse(f"{name} had {message.hex()[:8]}, and lost it")

    def check_secrets(self) -> None:
        """What was said to one is in the homes of two."""
        for one in self.town.neighbours.values():
            image = image_of(one.store)
            for secret, homes in self.secrets.items():
                if one.name not in homes and secret in image:
                    self.accuse(f"{secret!r} is in {one.name}'s home")

    # -------------------------------------------------------------------------------------------- when all is calm

    def check_calm(self) -> None:
        """Everybody is up and talks to everybody: both sides of every thread agree, and nothing waits."""
        self.check_promises()
        for one in self.town.neighbours.values():
            for live in one.node.threads:
                if live.side is Side.REQUESTER:
                    other = self._holder(one, live.thread.vendor, live.root)
                    theirs = other.node.threads.get(live.id) if other is not None else None
                    if other is None or theirs is None:
                        continue  # forgotten there: long over
                    for talk in live.thread.talks.values():
                        self._check_talk(one, other, talk.offer.id, talk.state, theirs)

    def _check_talk(self, one: Neighbour, other: Neighbour, offer: bytes, state: State, theirs: Any) -> None:
        talk = theirs.thread.talks.get(offer)
        if talk is None:
            self.accuse(f"{one.name} has an offer that {other.name} never made")
        elif (state is State.CONFIRMED) != (talk.state is State.CONFIRMED):
            self.accuse(f"offer {offer.hex()[:8]} is {state} at {one.name}'s and {talk.state} at {other.name}'s")


def holds(owner: Neighbour, message: bytes) -> bool:
    with owner.store._engine.connect() as connection:
        return Tx(connection).message(message) is not None


def size(store: FragileStore) -> int:
    with store._engine.connect() as connection:
        pages, page = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "page_size")
        )
    return int(pages * page)


def image_of(store: FragileStore) -> bytes:
    with store._engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        return bytes(raw.serialize())


async def is_shown(person: Neighbour, id_text: str) -> bool:
    try:
        await person.desk.show(id_text)
    except Trouble:
        return False
    return True
