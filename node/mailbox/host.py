"""Being a mailbox: holding other people's sealed items until they fetch them.

    receiver    ["grant", frame]                      ["granted"]
    anybody     ["put", receiver, item, stamp]        ["stored"] | ["fetched"]
    receiver    ["challenge"]                         ["challenge", bytes]
                ["claim", frame]                      ["claimed", items held]
                ["know", [channel...]]                ["known"]
                ["next", seconds]                     ["items", [item...]]
                ["release", [digest...]]              ["released"]
    any of them                                       ["no", why, arg]

A mailbox reads nothing and forges nothing: items are sealed, and their receiver judges them like any other. What it
says it has stored is on its disk. When a share is full, what shows the lowest stamp for its size goes first; what
came on a channel the receiver named is never pushed out. What ends here ends at an hour that is certain, and no sooner:
a clock that runs ahead for a while refuses, hides and forgets nothing.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
import trio

from protocol.codec import Value
from protocol.envelope import Item, Realm, open_frame, read_item, zero_bits
from protocol.errors import Reason, Refused
from protocol.limits import MAX_GOSSIP_FRAME, MAX_LIFE, STAMP_BITS
from protocol.mailbox import MAX_KNOWN, MailboxClaim, MailboxGrant, channel, stamp_base, stamp_bits
from protocol.message import Message, believe

from ..clock import Chance, Clock
from ..conversation import Conversation, Visitors, expect_binaries, expect_bytes, expect_int
from ..network.seam import Network, Stream
from ..policy import Shares, source_of
from ..store import HeldRow, InboxRow, Store, Tx

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("mailbox")

PROTOCOL = "/intentcast/mailbox/1"

ROOM = 256 * 1024 * 1024
"""Bytes held for others in all."""

SOURCE_PART = 8
"""One part in so many of the room, and of the receivers, is what one source (policy.source_of) may have."""

MAX_RECEIVERS = 10_000
MAX_ITEMS = 2_000
"""Items held, or remembered as fetched, for one receiver."""

CHANNEL_ITEMS, CHANNEL_BYTES = 32, 256 * 1024
"""What is never pushed out of one known channel: beyond it a friend is a stranger like any other."""

KNOWN_BITS = 256
"""The rank of what came on a known channel: above every stamp."""

OVERHEAD = 200
"""Bytes a held item costs beside its own; and what remembering a fetched one costs."""

CHEAP_BYTES = 4096
"""What a stamp pays for; of what is twice as large it must show a bit more to be worth as much."""

STREAMS_PER_PEER, STREAMS = 256, 4_000
"""A receiver keeps one for each of its keys."""

QUESTIONS_PER_SECOND, QUESTION_BURST = 20.0, 200.0
"""Questions one transport peer may ask before it has to wait."""

MAX_WAIT = 240
"""Seconds a receiver may wait for the next item."""

TURN_SECONDS = 20.0
ANSWER_BYTES = 50_000


class No(Exception):
    """What is answered instead: receiver (unknown here), claim, seq (a newer grant is held), bits (so many are needed),
    full, size, expired."""

    def __init__(self, why: str, arg: int = 0) -> None:
        super().__init__(why)
        self.why, self.arg = why, arg


@dataclass(slots=True)
class Visit:
    """One stream: who claimed to be here, and how far they have read."""

    source: str
    challenge: bytes | None = None
    receiver: bytes | None = None
    read: int = 0


class MailboxHost:
    def __init__(
        self, network: Network, store: Store, clock: Clock, chance: Chance, net: str, *, room: int = ROOM
    ) -> None:
        self._network = network
        self._store = store
        self._clock = clock
        self._chance = chance
        self._net = net
        self._room = room
        self._bits = STAMP_BITS.get(net, 0)
        self._shares = Shares(QUESTIONS_PER_SECOND, QUESTION_BURST)
        self._waiting: dict[bytes, set[trio.Event]] = {}
        """Receiver -> visits that wait for the next item."""
        self.counters: Counter[str] = Counter()
        self._visitors = Visitors(self.counters, STREAMS_PER_PEER, STREAMS)

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        self._network.serve(PROTOCOL, self._answer)
        task_status.started()
        await trio.sleep_forever()

    async def sweep(self) -> None:
        """Let go of what expired, at an hour that is certain: a wrong one would empty every mailbox."""
        now = self._clock.certain()
        await self._store.transact_at_best(lambda tx: tx.mail.drop_expired(now))

    async def statistics(self) -> dict[str, int]:
        receivers, items, size = await self._store.transact(lambda tx: tx.mail.in_all())
        return {"receivers": receivers, "items": items, "bytes": size, "room": self._room, **self.counters}

    # -------------------------------------------------------------------------------------------------- visits

    async def _answer(self, stream: Stream) -> None:
        await self._visitors.receive(stream, self._converse)

    async def _converse(self, conversation: Conversation) -> None:
        peer = conversation.stream.peer
        remote = next((link.remote for link in self._network.links() if link.peer == peer), "")
        visit = Visit(source_of(remote, peer))
        while True:
            with trio.fail_after(MAX_WAIT):
                question = await conversation.listen()
            if question is None:
                return
            if not self._shares.take(peer, self._clock.steady()):
                await trio.sleep(STREAMS_PER_PEER / QUESTIONS_PER_SECOND)
            try:
                answer = await self._answer_one(question, visit)
            except No as no:
                self.counters[f"no_{no.why}"] += 1
                answer = ["no", no.why, no.arg]
            with trio.fail_after(TURN_SECONDS):
                await conversation.say(*answer)

    async def _answer_one(self, question: list[Value], visit: Visit) -> list[Value]:
        match question:
            case ["put", receiver, item, stamp]:
                return [await self._put(expect_bytes(receiver, 32), expect_bytes(item), expect_bytes(stamp, 8))]
            case ["grant", frame]:
                await self._grant(expect_bytes(frame), visit)
                return ["granted"]
            case ["challenge"]:
                visit.challenge = self._chance.bytes(32)
                return ["challenge", visit.challenge]
            case ["claim", frame]:
                return ["claimed", await self._claim(expect_bytes(frame), visit)]
        if visit.receiver is None:
            raise No("claim")
        receiver = visit.receiver
        match question:
            case ["know", channels]:
                known = expect_binaries(channels, 32)[:MAX_KNOWN]

                def work(tx: Tx) -> None:
                    tx.mail.put_known(receiver, known)
                    tx.mail.raise_known(receiver, known, KNOWN_BITS, CHANNEL_ITEMS, CHANNEL_BYTES)

                await self._store.transact_at_best(work)
                return ["known"]
            case ["next", seconds]:
                return ["items", await self._next(receiver, visit, expect_int(seconds, 0, MAX_WAIT))]
            case ["release", digests]:
                some = expect_binaries(digests, 32)
                await self._store.transact_at_best(lambda tx: tx.mail.release(receiver, some))
                self.counters["released"] += len(some)
                return ["released"]
        raise Refused(Reason.REQUEST, "nothing a mailbox is asked")

    # ---------------------------------------------------------------------------------------------- for receivers

    async def _grant(self, frame: bytes, visit: Visit) -> None:
        message = self._open(frame)
        if zero_bits(message.id) < self._bits:
            raise No("bits", self._bits)
        grant = message.body
        if not isinstance(grant, MailboxGrant) or grant.mailbox != self._network.peer_id:
            raise Refused(Reason.TO, "not a grant for this mailbox")
        now = self._clock.certain()
        if message.head.exp <= now:
            raise No("expired")
        exp = min(message.head.exp, self._clock.now() + MAX_LIFE)
        row = InboxRow(message.author, message.head.seq, grant.room, exp, visit.source)

        def work(tx: Tx) -> bool:
            held = tx.mail.inbox(message.author)
            if held is not None and held.exp <= now:
                held = None  # not swept yet
            if held is None:
                receivers, _, _ = tx.mail.in_all()
                of_source = tx.mail.inboxes_of(visit.source)
                if receivers >= MAX_RECEIVERS or of_source >= MAX_RECEIVERS // SOURCE_PART:
                    raise No("full")
            if held is not None and held.seq > row.seq:
                raise No("seq", held.seq)
            tx.mail.put_inbox(row)
            return True

        if not await self._store.transact_foreign(work):
            raise No("full")
        self.counters["granted"] += 1

    async def _claim(self, frame: bytes, visit: Visit) -> int:
        message = self._open(frame)
        claim = message.body
        challenge, visit.challenge = visit.challenge, None  # one claim for each
        if (
            not isinstance(claim, MailboxClaim)
            or claim.mailbox != self._network.peer_id
            or challenge is None
            or claim.challenge != challenge
        ):
            raise No("claim")
        inbox = await self._store.transact(lambda tx: tx.mail.inbox(message.author))
        if inbox is None or inbox.exp <= self._clock.certain():
            raise No("receiver")
        visit.receiver, visit.read = message.author, 0
        return await self._store.transact(lambda tx: tx.mail.waiting(message.author))

    def _open(self, frame: bytes) -> Message:
        """No clock of theirs counts: a grant is not for longer than it may live, a claim is for this challenge."""
        return believe(open_frame(frame, Realm.MAILBOX, self._net, MAX_GOSSIP_FRAME))

    async def _next(self, receiver: bytes, visit: Visit, seconds: int) -> list[Value]:
        """What came since the last time, oldest first; waits so long for something."""
        until = self._clock.steady() + seconds
        while True:
            arrived = trio.Event()
            others = self._waiting.setdefault(receiver, set())
            others.add(arrived)
            try:
                found = await self._after(receiver, visit)
                if found:
                    return found
                with trio.move_on_after(until - self._clock.steady()) as patience:
                    await arrived.wait()
                if patience.cancelled_caught:
                    return []
            finally:
                others.discard(arrived)
                if not others and self._waiting.get(receiver) is others:
                    del self._waiting[receiver]

    async def _after(self, receiver: bytes, visit: Visit) -> list[Value]:
        now = self._clock.certain()
        rows = await self._store.transact(lambda tx: tx.mail.after(receiver, visit.read, now, ANSWER_BYTES))
        if rows:
            visit.read = rows[-1][0]
            self.counters["handed_out"] += len(rows)
        return [item for _, item in rows]

    # ---------------------------------------------------------------------------------------------- for everybody

    async def _put(self, receiver: bytes, encoded: bytes, stamp: bytes) -> str:
        item = read_item(encoded)
        if not isinstance(item, Item):
            raise Refused(Reason.ITEM, "only items are held")
        now = self._clock.certain()
        if item.exp <= now:
            raise No("expired")
        digest = item.digest
        bits = stamp_bits(stamp_base(self._network.peer_id, receiver, digest), stamp)
        row = HeldRow(
            receiver, digest, channel(item.to_box, item.tkey), encoded, len(encoded) + OVERHEAD, bits, item.exp
        )
        answer = await self._store.transact_foreign(lambda tx: self._make_room(tx, row, now))
        if answer is None:
            raise No("full")
        self.counters[f"put_{answer}"] += 1
        for waiting in self._waiting.get(receiver, ()) if answer == "stored" else ():
            waiting.set()
        return answer

    def _make_room(self, tx: Tx, row: HeldRow, now: int) -> str:
        """Store it, if need be in the place of what showed a lower stamp. Raises No."""
        inbox = tx.mail.inbox(row.receiver)
        if inbox is None or inbox.exp <= now or not inbox.room:
            raise No("receiver")
        held = tx.mail.state_of(row.receiver, row.digest)
        if held is not None:
            return held
        if row.size > inbox.room:
            raise No("size")
        count, size = tx.mail.on_channel(row.receiver, row.channel)
        is_known = inbox.knows(row.channel) and count < CHANNEL_ITEMS and size + row.size <= CHANNEL_BYTES
        if not is_known and row.bits < self._bits:
            raise No("bits", self._bits)
        larger = (row.size // CHEAP_BYTES).bit_length()
        rank = KNOWN_BITS if is_known else max(0, row.bits - larger)
        count, size = tx.mail.of_receiver(row.receiver)
        _, _, in_all = tx.mail.in_all()
        excess = max(
            size + row.size - inbox.room,
            in_all + row.size - self._room,
            tx.mail.from_source(inbox.source) + row.size - self._room // SOURCE_PART,
            row.size if count >= MAX_ITEMS else 0,
        )
        for victim, bits, freed in tx.mail.cheapest(row.receiver) if excess > 0 else ():
            if bits >= rank:
                raise No("full" if is_known else "bits", 0 if is_known else bits + 1 + larger)
            tx.mail.drop(victim)
            self.counters["pushed_out"] += 1
            excess -= freed
            if excess <= 0:
                break
        if excess > 0:
            raise No("full")
        tx.mail.put(row, rank)
        return "stored"
