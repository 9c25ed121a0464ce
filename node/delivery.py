"""Direct messages: sealed items over one kept-open stream per peer, signed acks, an outbox that survives a restart.

Save, then speak: a message of ours is in the store before its first byte leaves, a message of theirs before its ack
does; the ack itself is stored with it, so a duplicate gets the very same bytes. Who is linked to whom does not matter:
an item goes out on whatever stream leads to the other party's transport peer, whoever opened it.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

from protocol.deal import Ack, Problem
from protocol.envelope import Hint, HintCode, Item, digest, item_stamp_bits, read_item, zero_bits
from protocol.errors import Refused
from protocol.exchange import Move, Outcome, Side
from protocol.framing import Deframer, frame_with_length
from protocol.kinds import Body
from protocol.letter import open_letter, write_letter
from protocol.limits import MAX_ITEM, MAX_LIFE, MAX_SKEW
from protocol.message import Draft, Message

from .clock import Chance, Clock
from .network.seam import LinkUp, Network, NetworkError, PeerId, Stream, StreamError
from .policy import DialBook, Shares, lives_in_public, source_of
from .store import OutboxRow, Room, Store, Tx
from .threads import End, LiveThread, Threads, key_to_answer, new_thread, save, thread_id

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("delivery")

PROTOCOL = "/intentcast/direct/1"

ACK_WAIT = 10.0
"""Seconds after which an unacknowledged item is sent again on a stream that still lives, doubling to LAST_RETRY."""

SEND_WITHIN = 30.0
"""Seconds a peer may leave unread what we send. Then its stream is reset: it must not make anybody else wait."""

FIRST_RETRY, LAST_RETRY = 0.25, 300.0
"""Seconds between attempts to reach a party, doubling, with jitter."""

MAX_MINED_BITS = 22
"""Stamps on items dearer than this are not paid: some four million hashes."""

HASHES_PER_SECOND, HASH_BURST = 2**MAX_MINED_BITS / 600, float(2**MAX_MINED_BITS)
"""Hashes one transport peer may have us do for its stamps: the dearest once in ten minutes."""

HASHES_AT_ONCE = 20_000
"""In one go in a worker thread, some 40 ms; then it rests as long. Neither shutting down nor the others wait for it."""

MAX_TO_MINE = 64
"""Items that wait for their stamp."""

ITEMS_PER_SECOND, ITEM_BURST = 50.0, 200.0
"""Items one transport peer may hand over before it is told `busy`; opening one costs about 0.2 ms."""

MAX_BAD_ITEMS = 16
"""Refused items on one stream before it is reset."""

MAX_HEARD, MAX_HEARD_BYTES = 512, 2 * 1024 * 1024
"""What one party may make us keep in one thread: 64 offers, withdrawn and acknowledged, are under 200 messages."""


class Role(Protocol):
    """The requester or the vendor, as delivery sees it."""

    def welcome(self, end: End, message: Message, source: str) -> tuple[Message, ...] | None:
        """May this first message of a stranger open a thread? Asked before anything is stored; `source` is where it
        came from (policy.source_of). None: no. Otherwise what the new thread must know first: the wish's revision."""

    def turn_away(self, end: End, message: Message, item_digest: bytes) -> bytes | None:
        """What goes back to somebody who is not welcome; None: that he may come again later."""

    async def received(self, live: LiveThread, message: Message, outcome: Outcome) -> None:
        """A message of the other party was stored and answered. Called again after a crash in between is not
        promised: roles look through their threads at start."""

    def record(self, tx: Tx, live: LiveThread, message: Message, outcome: Outcome) -> None:
        """Write what belongs into the same transaction as the message."""


@dataclass(slots=True, eq=False)
class Line:
    """One open direct stream with a peer."""

    stream: Stream
    lock: trio.Lock = field(default_factory=trio.Lock)
    closed: trio.Event = field(default_factory=trio.Event)
    useful: bool = False
    """Something believed came on it: when it breaks, coming back at once is worth while."""
    heard_at: float = -1.0
    """Steady time at which anything at all came on it last."""

    async def send(self, data: bytes) -> None:
        """Raises NetworkError, also when the peer does not read."""
        with trio.move_on_after(SEND_WITHIN) as scope:
            async with self.lock:
                await self.stream.send_all(frame_with_length(data))
        if scope.cancelled_caught:
            await self.stream.reset()
            raise StreamError("the peer does not read what we send")


@dataclass(slots=True)
class Pending:
    """A message of ours that is not settled yet."""

    row: OutboxRow
    item: Item
    digest: bytes
    not_before: float = 0.0
    """Steady time before which it is not sent at all: the other side asked for patience."""
    line: Line | None = None
    """The line it went out on last."""
    sent_at: float = 0.0
    tries: int = 0
    again_at: float = 0.0
    """Steady time at which it is said once more on that line."""

    def due_at(self, line: Line) -> float:
        return max(self.not_before, self.again_at if self.line is line else 0.0)

    def sent_on(self, line: Line, now: float) -> None:
        self.line, self.sent_at = line, now
        self.again_at = now + min(LAST_RETRY, ACK_WAIT * 2 ** min(self.tries, 10))
        self.tries += 1


class Delivery:
    def __init__(
        self, network: Network, store: Store, threads: Threads, clock: Clock, chance: Chance, net: str
    ) -> None:
        self._network = network
        self._store = store
        self._threads = threads
        self._clock = clock
        self._chance = chance
        self._net = net
        self._roles: dict[Side, Role] = {}
        self._lines: dict[PeerId, Line] = {}
        self._opening: dict[PeerId, trio.Lock] = {}
        self._pending: dict[bytes, OrderedDict[bytes, Pending]] = {}
        self._by_digest: dict[bytes, tuple[bytes, bytes]] = {}
        """Item's digest -> (thread, message) of what is pending: what hints are about."""
        self._couriers: dict[bytes, trio.Event] = {}
        self._shares = Shares(ITEMS_PER_SECOND, ITEM_BURST)
        self._hash_shares = Shares(HASHES_PER_SECOND, HASH_BURST)
        self._to_mine: OrderedDict[bytes, int] = OrderedDict()
        """Item's digest -> bits asked for, in the order asked; the first is being mined."""
        self._more_to_mine = trio.Event()
        self._dials = DialBook(lives_in_public(net, network.addresses))
        self._settled = trio.Event()
        self._nursery: trio.Nursery | None = None
        self.find_addresses: Callable[[PeerId], tuple[str, ...]] = lambda _peer: ()
        """Where else a peer was seen lately; set by whoever keeps the address book."""
        self.counters: Counter[str] = Counter()

    def set_role(self, side: Side, role: Role) -> None:
        self._roles[side] = role

    # ------------------------------------------------------------------------------------------------- speaking

    async def post(
        self,
        live: LiveThread,
        kind: str,
        body: Body,
        *,
        answers: Message,
        exp: int,
        also: Callable[[Tx, Message], None] | None = None,
        check: Callable[[], None] | None = None,
    ) -> tuple[Message, tuple[Move, ...]]:
        """Say something to the other party: stored now, delivered when it can be. `answers` is what `ref` names.

        `also` writes into the same transaction. `check` raises if it must not be said after all: between a decision
        and the thread's turn, the other party may have spoken. Raises Refused for what no receiver would believe.
        """
        async with live.lock:
            if check is not None:
                check()
            return await self._post(live, kind, body, answers=answers, exp=exp, also=also)

    async def _post(
        self,
        live: LiveThread,
        kind: str,
        body: Body,
        *,
        answers: Message,
        exp: int,
        also: Callable[[Tx, Message], None] | None,
    ) -> tuple[Message, tuple[Move, ...]]:
        now = self._clock.now()
        message, item = self._write(live, kind, body, answers, exp, now)
        encoded = item.encoded()

        def work(tx: Tx) -> None:
            tx.add_message(
                id=message.id, root=live.root, thread=live.id, mine=True, kind=kind, now=now, frame=message.frame
            )
            tx.queue(id=message.id, thread=live.id, kind=kind, item=encoded, exp=exp, now=now)
            save(tx, live)
            if also is not None:
                also(tx, message)

        await self._store.transact(work)
        outcome = live.thread.add(message, now)
        self._wait_for_ack(OutboxRow(message.id, live.id, kind, encoded, exp, "QUEUED", None, now, None), item)
        self._wake_courier(live)
        return message, outcome.moves

    def _write(
        self, live: LiveThread, kind: str, body: Body, answers: Message, exp: int, now: int
    ) -> tuple[Message, Item]:
        draft = Draft(
            kind=kind,
            body=body,
            net=self._net,
            # Never too early for its end, nor too late: what is due must be sayable on a clock that jumped.
            at=max(min(now, exp - 1), exp - MAX_LIFE),
            exp=exp,
            seq=live.next_seq,
            salt=self._chance.bytes(16),
            ref=answers.id,
            root=live.root,
            to=live.other,
        )
        # Each answer is sealed to the key its question came with; what follows up words of our own, to the key the
        # other party was last heard with.
        other = live.other_box if answers.author == live.end.me else key_to_answer(answers)
        assert other is not None
        key, box = live.end.secrets()
        message, item = write_letter(
            draft,
            key,
            box,
            other,
            own_is_box=live.end.is_box,
            n=live.next_n,
            nonce=self._chance.bytes(24),
        )
        live.next_seq += 1
        live.next_n += 1
        return message, item

    async def wait_settled(self) -> None:
        """Until some message of ours was acknowledged or given up."""
        await self._settled.wait()

    def delivery_state(self, message_id: bytes) -> str | None:
        """QUEUED, CONNECTING or SENT for a message of ours under way; None when it is settled or unknown."""
        for thread, pending in self._pending.items():
            if message_id in pending:
                line = pending[message_id].line
                if line is not None and not line.closed.is_set():
                    return "SENT"
                return "CONNECTING" if thread in self._couriers else "QUEUED"
        return None

    def is_idle(self, thread: bytes) -> bool:
        """Nothing of this thread waits to be said, and nobody is on the way to its other party."""
        return thread not in self._pending and thread not in self._couriers

    @property
    def unsettled(self) -> int:
        return sum(len(pending) for pending in self._pending.values())

    # ------------------------------------------------------------------------------------------------ its tasks

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled: carry what waits, re-dial open threads, answer streams."""
        for row in await self._store.transact(lambda tx: tx.unsettled()):
            try:
                item = read_item(row.item)
            except Refused as refused:
                log.error("a stored item cannot be read any more", kind=row.kind, reason=refused.reason.value)
                continue
            if isinstance(item, Item) and self._threads.get(row.thread) is not None:
                self._wait_for_ack(row, item)
        async with trio.open_nursery() as nursery, self._network.watch_links() as links:
            self._nursery = nursery
            self._network.serve(PROTOCOL, self._answer_stream)
            nursery.start_soon(self._mine)
            task_status.started()
            for live in self._threads:
                if live.id in self._pending or live.thread.live is not None:
                    self._wake_courier(live)
            async for event in links:
                peer = event.link.peer if isinstance(event, LinkUp) else event.peer
                for live in self._threads.of_peer(peer):
                    # A new link carries what waits; a lost one is mended while an offer or an accept is open. A
                    # courier that is on its way sees for itself that its line is closed, and keeps its patience.
                    if isinstance(event, LinkUp):
                        if self._pending.get(live.id):
                            self._wake_courier(live)
                    elif live.id not in self._couriers and live.thread.live is not None:
                        self._wake_courier(live)

    def _wait_for_ack(self, row: OutboxRow, item: Item) -> None:
        pending = Pending(row, item, item.digest)
        self._pending.setdefault(row.thread, OrderedDict())[row.id] = pending
        self._by_digest[pending.digest] = (row.thread, row.id)

    def _done_with(self, thread: bytes, message_id: bytes) -> None:
        """Nothing more is sent of it."""
        queue = self._pending.get(thread)
        pending = queue.pop(message_id, None) if queue is not None else None
        if pending is not None:
            self._by_digest.pop(pending.digest, None)
        if not queue:
            self._pending.pop(thread, None)

    def _wake_courier(self, live: LiveThread) -> None:
        if self._nursery is None:
            return  # not running yet: run() starts couriers for all that waits
        if live.id in self._couriers:
            self._couriers[live.id].set()
        else:
            self._couriers[live.id] = trio.Event()
            self._nursery.start_soon(self._courier, live)

    async def _courier(self, live: LiveThread) -> None:
        """Carries one thread's messages until all are settled; after a restart, also just reaches its other party."""
        retry = FIRST_RETRY
        reached = False
        try:
            while True:
                self._couriers[live.id] = wake = trio.Event()
                await self._drop_expired(live)
                if not self._pending.get(live.id) and (reached or live.thread.live is None):
                    return
                line: Line | None = None
                try:
                    line = await self._connect(live)
                    reached = True
                    await self._send_pending(live, line)
                    await _wait_any(self._until_next(live, line), wake, line.closed)
                    if line.closed.is_set():
                        raise StreamError("the stream ended")
                except NetworkError as error:
                    log.debug("not reached", error=str(error))
                    self.counters["not_reached"] += 1
                    reached = False
                    if line is not None and line.useful:
                        retry = FIRST_RETRY
                    # The first moment cannot be cut short: a peer that lets us in and hangs up makes nobody spin.
                    pause = retry * self._chance.choices.uniform(0.8, 1.2)
                    await trio.sleep(min(pause, FIRST_RETRY))
                    await _wait_any(pause - FIRST_RETRY, wake)
                    retry = min(LAST_RETRY, retry * 2)
        finally:
            del self._couriers[live.id]

    async def _send_pending(self, live: LiveThread, line: Line) -> None:
        for pending in list(self._pending.get(live.id, {}).values()):
            now = self._clock.steady()
            if now < pending.due_at(line) or pending.row.id not in self._pending.get(live.id, {}):
                continue
            if pending.line is line and line.heard_at < pending.sent_at:
                # Who lives answers something. A stream can be dead at the other end and look well at ours.
                self.counters["mute_streams"] += 1
                line.closed.set()
                await line.stream.reset()
                raise StreamError("nothing came back on this stream")
            pending.sent_on(line, now)
            await line.send(pending.item.encoded())

    def _until_next(self, live: LiveThread, line: Line) -> float:
        """Seconds until something of this thread is due on this line, or over."""
        now, wall = self._clock.steady(), self._clock.now()
        times = [
            max(0.0, min(pending.due_at(line) - now, pending.row.exp - wall))
            for pending in self._pending.get(live.id, {}).values()
        ]
        return max(0.05, min(times, default=ACK_WAIT))

    async def _drop_expired(self, live: LiveThread) -> None:
        now = self._clock.now()
        for message_id, pending in list(self._pending.get(live.id, {}).items()):
            if now >= pending.row.exp:
                self._done_with(live.id, message_id)
                reason = pending.row.reason or "expired"
                await self._store.transact(
                    lambda tx, id=message_id, why=reason: tx.settle(id, live.id, "FAILED", now, why)  # type: ignore[misc]
                )
                self.counters["expired_unacknowledged"] += 1

    # ----------------------------------------------------------------------------------------------- connecting

    async def _connect(self, live: LiveThread) -> Line:
        """A line to the thread's other party. Raises NetworkError."""
        failure: NetworkError = NetworkError("no way to the other party is known")
        peers = live.peers()
        linked = {link.peer for link in self._network.links()}
        for peer in peers:
            line = self._lines.get(peer)
            if line is not None and not line.closed.is_set():
                return line
            if peer in linked:
                try:
                    return await self._open_line(peer)
                except NetworkError as error:
                    failure = error
        for address in live.routes:
            found = await self._dial(live, address, live.root)
            if isinstance(found, Line):
                return found
            failure = found or failure
        for address in [address for peer in peers for address in self.find_addresses(peer)]:
            # Signed by that very peer, so no wish can aim us there; the cap per target stays.
            found = await self._dial(live, address, None)
            if isinstance(found, Line):
                return found
            failure = found or failure
        raise failure

    async def _dial(self, live: LiveThread, address: str, root: bytes | None) -> "Line | NetworkError | None":
        """A line, or why there is none; None if we may not even try."""
        if not self._dials.may_dial(root, address, self._clock.steady()):
            return None
        try:
            peer = await self._network.dial(address)
        except NetworkError as error:
            if live.peer is None:  # one we have reached before may be away for a while
                self._dials.failed(root, address)
            return error
        self._dials.reached(root, address)
        try:
            line = await self._open_line(peer)
        except NetworkError as error:
            return error
        live.peer = live.peer or peer
        return line

    async def _open_line(self, peer: PeerId) -> Line:
        lock = self._opening.setdefault(peer, trio.Lock())
        try:
            async with lock:  # many threads can lead to one peer: one stream is enough for all
                existing = self._lines.get(peer)
                if existing is not None and not existing.closed.is_set():
                    return existing
                stream = await self._network.open_stream(peer, PROTOCOL)
                existing = self._lines.get(peer)
                if existing is not None and not existing.closed.is_set():
                    await stream.reset()  # the other side was faster
                    return existing
                line = Line(stream)
                self._lines[peer] = line
                assert self._nursery is not None
                self._nursery.start_soon(self._read_line, line)
                return line
        finally:
            if not lock.locked() and self._opening.get(peer) is lock:
                del self._opening[peer]

    async def _answer_stream(self, stream: Stream) -> None:
        line = Line(stream)
        current = self._lines.get(stream.peer)
        if current is None or current.closed.is_set():
            self._lines[stream.peer] = line
        await self._read_line(line)

    async def _read_line(self, line: Line) -> None:
        deframer = Deframer(MAX_ITEM)
        bad = 0
        try:
            while data := await line.stream.receive_some():
                line.heard_at = self._clock.steady()
                for encoded in deframer.feed(data):
                    try:
                        await self._receive(encoded, line)
                    except Refused as refused:
                        self.counters[refused.reason.value] += 1
                        bad += 1
                        if bad >= MAX_BAD_ITEMS:
                            raise
        except Refused as refused:
            self.counters[f"stream_{refused.reason.value}"] += 1
        except NetworkError:
            pass  # couriers see `closed` and try again
        finally:
            line.closed.set()
            if self._lines.get(line.stream.peer) is line:
                del self._lines[line.stream.peer]
            with trio.CancelScope(shield=True):
                await line.stream.reset()

    # ------------------------------------------------------------------------------------------------ receiving

    async def _receive(self, encoded: bytes, line: Line) -> None:
        """One item or hint off a stream, cheapest checks first. Raises Refused."""
        item = read_item(encoded)
        peer = line.stream.peer
        if isinstance(item, Hint):
            if self._shares.take(peer, self._clock.steady()):
                self._take_hint(item, peer)
            else:
                self.counters["over_share"] += 1
            return
        now = self._clock.now()
        if now >= item.exp:
            self.counters["expired"] += 1
            return
        item_digest = item.digest
        if not self._shares.take(peer, self._clock.steady()):
            self.counters["over_share"] += 1
            await line.send(Hint(item_digest, HintCode.BUSY, 5).encoded())
            return
        answer = await self._store.transact(lambda tx: tx.answer_to_item(item_digest))
        if answer is not None:
            self.counters["duplicates"] += 1
            await line.send(answer)
            return
        end = self._threads.end(item.to_box)
        if end is None:
            self.counters["unknown_key"] += 1
            await line.send(Hint(item_digest, HintCode.UNKNOWN_KEY).encoded())
            return
        message = open_letter(
            item,
            end.secrets()[1],
            own_is_box=end.is_box,
            net=self._net,
            me=end.me,
            root=end.root,
            expected_author=self._expected_author(end),
        )
        line.useful = True
        wait = message.head.at - MAX_SKEW - now
        if wait > 0:  # from the future: believed when its time has come, not remembered until then
            self.counters["early"] += 1
            await line.send(Hint(item_digest, HintCode.BUSY, wait).encoded())
            return
        source = self._source(peer)
        live = self._thread_for(end, message, source)
        if live is None:
            self.counters["not_welcome"] += 1
            told = self._roles[end.side].turn_away(end, message, item_digest)
            await line.send(told or Hint(item_digest, HintCode.BUSY, 300).encoded())
            return
        async with live.lock:
            live.source = source
            reply = await self._take(live, message, item_digest, peer)
        # Sent without the lock: a peer that does not read holds up its own stream, not what we want to say or decide.
        if reply is not None:
            await line.send(reply)

    def _expected_author(self, end: End) -> bytes | None:
        if end.is_box:
            return None  # any vendor may write to a wish's box; the thread is found by who it is
        lives = self._threads.of_root(end.root)
        return next((live.thread.requester for live in lives if live.end.box == end.box), None)

    def _source(self, peer: PeerId) -> str:
        remote = next((link.remote for link in self._network.links() if link.peer == peer), "")
        return source_of(remote, peer)

    def _thread_for(self, end: End, message: Message, source: str) -> LiveThread | None:
        pair = (end.me, message.author) if end.is_box else (message.author, end.me)
        live = self._threads.get(thread_id(end.root, *pair))
        if live is not None:
            return live
        if self._store.room is Room.FULL:
            return None  # what room there is, is for what was begun
        first = self._roles[end.side].welcome(end, message, source)
        if first is None:
            return None
        live = self._threads.add(new_thread(end.root, *pair, end))
        for known in first:
            live.thread.add(known, self._clock.now())
        return live

    async def _take(self, live: LiveThread, message: Message, item_digest: bytes, peer: PeerId) -> bytes | None:
        """Decide, store and answer one message. What goes back on the stream, if anything."""
        now = self._clock.now()
        stored = await self._store.transact(lambda tx: tx.message(message.id))
        if stored is not None:
            # The same message in another item: sealed again, or copied. Once is enough.
            self.counters["duplicates"] += 1
            return stored.answer
        if live.heard >= MAX_HEARD or live.heard_bytes + len(message.frame) > MAX_HEARD_BYTES:
            self.counters["thread_full"] += 1
            return Hint(item_digest, HintCode.BUSY, int(LAST_RETRY)).encoded()
        outcome = live.thread.add(message, now)
        if outcome.dropped:
            self.counters["too_early"] += 1
            return None  # neither kept nor acknowledged: it comes again
        live.count(message)
        live.learn_route(message, peer)
        role = self._roles[live.side]
        answer = self._answer(live, message, item_digest, outcome, now) if message.expects_ack() else None

        def work(tx: Tx) -> None:
            tx.add_message(
                id=message.id,
                root=live.root,
                thread=live.id,
                mine=False,
                kind=message.kind,
                now=now,
                frame=message.frame,
                digest=item_digest,
                answer=answer,
            )
            if message.kind in ("ack", "problem"):
                why = None if message.kind == "ack" else _problem_code(message)
                tx.settle(message.ref, live.id, "ACKED", now, why)
            save(tx, live)
            role.record(tx, live, message, outcome)

        with trio.CancelScope(shield=True):  # decided already: memory and store must not part when the stream goes
            await self._store.transact(work)
        self.counters[f"received_{message.kind}"] += 1
        if message.kind in ("ack", "problem"):
            self._settle(live, message.ref)
        if self._nursery is not None:
            self._nursery.start_soon(role.received, live, message, outcome)
        return answer

    def _answer(self, live: LiveThread, message: Message, item_digest: bytes, outcome: Outcome, now: int) -> bytes:
        body: Ack | Problem = Ack(item_digest)
        kind = "ack"
        if outcome.owes in ("lapsed", "state"):
            kind, body = "problem", Problem(outcome.owes)
        _, item = self._write(live, kind, body, message, message.head.exp, now)
        return item.encoded()

    def _settle(self, live: LiveThread, message_id: bytes) -> None:
        self._done_with(live.id, message_id)
        self._settled.set()
        self._settled = trio.Event()
        if live.id in self._couriers:
            self._couriers[live.id].set()

    def _take_hint(self, hint: Hint, peer: PeerId) -> None:
        """Advice about an item of ours. It may change when we resend, never what is true."""
        self.counters[f"hint_{hint.code.value}"] += 1
        pending = self._pending_item(hint.digest)
        if pending is None:
            return
        now = self._clock.steady()
        if hint.code is HintCode.NEED_BITS:
            self._ask_for_stamp(pending, hint, peer)
            return
        if hint.code is HintCode.BUSY:
            pending.not_before = now + max(1, min(hint.arg, LAST_RETRY))
        else:
            pending.not_before = now + LAST_RETRY
            pending.row = replace(pending.row, reason=hint.code.value)
        if pending.row.thread in self._couriers:
            self._couriers[pending.row.thread].set()

    def _ask_for_stamp(self, pending: Pending, hint: Hint, peer: PeerId) -> None:
        """What is not taken on is asked for again: the item is sent until it is acknowledged."""
        if hint.digest in self._to_mine or not item_stamp_bits(pending.item) < hint.arg <= MAX_MINED_BITS:
            return
        if len(self._to_mine) >= MAX_TO_MINE:
            self.counters["too_many_stamps"] += 1
        elif not self._hash_shares.take(peer, self._clock.steady(), 2**hint.arg):
            self.counters["stamps_over_share"] += 1
        else:
            self._to_mine[hint.digest] = hint.arg
            self._more_to_mine.set()

    async def _mine(self) -> None:
        """Find the stamps that others ask for: one at a time, in small pieces, for half of a core at most."""
        while True:
            while not self._to_mine:
                self._more_to_mine = trio.Event()
                await self._more_to_mine.wait()
            about, bits = next(iter(self._to_mine.items()))
            pending = self._pending_item(about)
            tried = 0
            while pending is not None and self._pending_item(about) is pending:
                began = self._clock.steady()
                stamp = await trio.to_thread.run_sync(_find_stamp, about, bits, tried)
                if stamp is not None:
                    pending.item, pending.line = replace(pending.item, stamp=stamp), None
                    if pending.row.thread in self._couriers:
                        self._couriers[pending.row.thread].set()
                    break
                tried += HASHES_AT_ONCE
                await trio.sleep(self._clock.steady() - began)
            del self._to_mine[about]

    def _pending_item(self, item_digest: bytes) -> Pending | None:
        thread, message_id = self._by_digest.get(item_digest, (b"", b""))
        return self._pending.get(thread, OrderedDict()).get(message_id)


async def _wait_any(seconds: float, *events: trio.Event) -> None:
    """Until one of them happens, or so many seconds."""
    with trio.move_on_after(max(0.0, seconds)):
        async with trio.open_nursery() as nursery:

            async def until(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            for event in events:
                nursery.start_soon(until, event)
            await trio.sleep_forever()


def _find_stamp(about: bytes, bits: int, start: int) -> bytes | None:
    """A stamp of so many bits for the item with this digest, among the next few from `start`."""
    for number in range(start, start + HASHES_AT_ONCE):
        stamp = number.to_bytes(8, "big")
        if zero_bits(digest(about + stamp)) >= bits:
            return stamp
    return None


def _problem_code(message: Message) -> str:
    return str(getattr(message.body, "code", "problem"))
