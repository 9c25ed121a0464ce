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
from protocol.envelope import Hint, HintCode, Item, digest, read_item, zero_bits
from protocol.errors import Refused
from protocol.exchange import Move, Outcome, Side
from protocol.framing import Deframer, frame_with_length
from protocol.kinds import Body
from protocol.letter import open_letter, write_letter
from protocol.limits import MAX_ITEM
from protocol.message import Draft, Message

from .clock import Chance, Clock
from .network.seam import LinkDown, LinkUp, Network, NetworkError, PeerId, Stream
from .policy import DialBook, Shares
from .store import OutboxRow, Store, Tx
from .threads import End, LiveThread, Threads, new_thread, save, thread_id

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("delivery")

PROTOCOL = "/intentcast/direct/1"

ACK_WAIT = 10.0
"""Seconds after which an unacknowledged item is sent again on a stream that still lives."""

FIRST_RETRY, LAST_RETRY = 0.25, 300.0
"""Seconds between attempts to reach a party, doubling, with jitter."""

MAX_MINED_BITS = 22
"""Stamps on items dearer than this are not paid: some four million hashes."""

ITEMS_PER_SECOND, ITEM_BURST = 50.0, 200.0
"""Items one transport peer may hand over before it is told `busy`; opening one costs about 0.2 ms."""

MAX_BAD_ITEMS = 16
"""Refused items on one stream before it is reset."""


class Role(Protocol):
    """The requester or the vendor, as delivery sees it."""

    def welcome(self, end: End, message: Message) -> tuple[Message, ...] | None:
        """May this first message of a stranger open a thread? Asked before anything is stored. None: no. Otherwise
        what the new thread must know first: the wish's revision."""

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
    sent: set[bytes] = field(default_factory=set)
    """Ids of messages already sent on it: once a line, until the wait for the ack is over."""

    async def send(self, data: bytes) -> None:
        async with self.lock:
            await self.stream.send_all(frame_with_length(data))


@dataclass(slots=True)
class Pending:
    """A message of ours that is not settled yet."""

    row: OutboxRow
    item: Item
    not_before: float = 0.0
    """Steady time before which it is not sent again: the other side asked for patience."""


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
        self._pending: dict[bytes, OrderedDict[bytes, Pending]] = {}
        self._couriers: dict[bytes, trio.Event] = {}
        self._shares = Shares(ITEMS_PER_SECOND, ITEM_BURST)
        self._dials = DialBook(net)
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
    ) -> tuple[Message, tuple[Move, ...]]:
        """Say something to the other party: stored now, delivered when it can be. `answers` is what `ref` names.

        `also` writes into the same transaction. Raises Refused for what no receiver would believe.
        """
        async with live.lock:
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
        row = OutboxRow(message.id, live.id, kind, encoded, exp, "QUEUED", None, 0, now, None)
        self._pending.setdefault(live.id, OrderedDict())[message.id] = Pending(row, item)
        self._wake_courier(live)
        return message, outcome.moves

    def _write(
        self, live: LiveThread, kind: str, body: Body, answers: Message, exp: int, now: int
    ) -> tuple[Message, Item]:
        draft = Draft(
            kind=kind,
            body=body,
            net=self._net,
            at=min(now, exp - 1),
            exp=exp,
            seq=live.next_seq,
            salt=self._chance.bytes(16),
            ref=answers.id,
            root=live.root,
            to=live.other,
        )
        # Each answer is sealed to the key its question came with; a first answer to the wish's own box.
        other = answers.head.tkey or getattr(answers.body, "box", None)
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
                live = self._threads.get(thread)
                line = self._lines.get(live.peer) if live is not None and live.peer is not None else None
                if line is not None and message_id in line.sent:
                    return "SENT"
                return "CONNECTING" if thread in self._couriers else "QUEUED"
        return None

    @property
    def unsettled(self) -> int:
        return sum(len(pending) for pending in self._pending.values())

    # ------------------------------------------------------------------------------------------------ its tasks

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled: carry what waits, re-dial open threads, answer streams."""
        for row in await self._store.transact(lambda tx: tx.unsettled()):
            item = read_item(row.item)
            assert isinstance(item, Item)
            self._pending.setdefault(row.thread, OrderedDict())[row.id] = Pending(row, item)
        async with trio.open_nursery() as nursery, self._network.watch_links() as links:
            self._nursery = nursery
            self._network.serve(PROTOCOL, self._answer_stream)
            task_status.started()
            for live in self._threads:
                if live.id in self._pending or live.thread.live is not None:
                    self._wake_courier(live)
            async for event in links:
                peer = event.link.peer if isinstance(event, LinkUp) else event.peer
                for live in self._threads.of_peer(peer):
                    # A new link carries what waits; a lost one is mended while an offer or an accept is open.
                    if self._pending.get(live.id) or (isinstance(event, LinkDown) and live.thread.live is not None):
                        self._wake_courier(live)

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
                try:
                    line = await self._connect(live)
                    reached = True
                    await self._send_pending(live, line)
                    retry = FIRST_RETRY
                    wait = ACK_WAIT
                except NetworkError as error:
                    log.debug("not reached", error=str(error))
                    self.counters["not_reached"] += 1
                    line = None
                    wait = retry * self._chance.choices.uniform(0.8, 1.2)
                    retry = min(LAST_RETRY, retry * 2)
                await self._wait_any(wait, wake, line)
                reached = reached and line is not None and not line.closed.is_set()
        finally:
            del self._couriers[live.id]

    async def _wait_any(self, seconds: float, wake: trio.Event, line: Line | None) -> None:
        with trio.move_on_after(seconds) as scope:
            async with trio.open_nursery() as nursery:

                async def until(event: trio.Event) -> None:
                    await event.wait()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(until, wake)
                if line is not None:
                    nursery.start_soon(until, line.closed)
                await trio.sleep_forever()
        if scope.cancelled_caught and line is not None:
            line.sent.clear()  # the acks did not come: say it again

    async def _send_pending(self, live: LiveThread, line: Line) -> None:
        now = self._clock.steady()
        for pending in list(self._pending.get(live.id, {}).values()):
            if pending.row.id in line.sent or now < pending.not_before:
                continue
            line.sent.add(pending.row.id)
            await line.send(pending.item.encoded())

    async def _drop_expired(self, live: LiveThread) -> None:
        now = self._clock.now()
        queue = self._pending.get(live.id, OrderedDict())
        for message_id, pending in list(queue.items()):
            if now >= pending.row.exp:
                del queue[message_id]
                reason = pending.row.reason or "expired"
                await self._store.transact(lambda tx, id=message_id, why=reason: tx.settle(id, "FAILED", now, why))  # type: ignore[misc]
                self.counters["expired_unacknowledged"] += 1
        if not queue:
            self._pending.pop(live.id, None)

    # ----------------------------------------------------------------------------------------------- connecting

    async def _connect(self, live: LiveThread) -> Line:
        """A line to the thread's other party. Raises NetworkError."""
        if live.peer is not None:
            line = self._lines.get(live.peer)
            if line is not None and not line.closed.is_set():
                return line
            if any(link.peer == live.peer for link in self._network.links()):
                return await self._open_line(live.peer)
        known = self.find_addresses(live.peer) if live.peer is not None else ()
        failure: NetworkError = NetworkError("no way to the other party is known")
        for address in (*live.routes, *known):
            if not self._dials.may_dial(live.root, address, self._clock.steady()):
                continue
            try:
                peer = await self._network.dial(address)
            except NetworkError as error:
                failure = error
                if live.peer is None:  # one we have reached before may be away for a while
                    self._dials.failed(live.root, address)
                continue
            self._dials.reached(live.root, address)
            live.peer = peer
            return await self._open_line(peer)
        raise failure

    async def _open_line(self, peer: PeerId) -> Line:
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
            await self._take_hint(item)
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
        live = self._thread_for(end, message)
        if live is None:
            self.counters["not_welcome"] += 1
            await line.send(Hint(item_digest, HintCode.BUSY, 300).encoded())
            return
        async with live.lock:
            await self._take(live, message, item_digest, line)

    def _expected_author(self, end: End) -> bytes | None:
        if end.is_box:
            return None  # any vendor may write to a wish's box; the thread is found by who it is
        lives = self._threads.of_root(end.root)
        return next((live.thread.requester for live in lives if live.end.box == end.box), None)

    def _thread_for(self, end: End, message: Message) -> LiveThread | None:
        pair = (end.me, message.author) if end.is_box else (message.author, end.me)
        live = self._threads.get(thread_id(end.root, *pair))
        if live is not None:
            return live
        first = self._roles[end.side].welcome(end, message)
        if first is None:
            return None
        live = self._threads.add(new_thread(end.root, *pair, end))
        for known in first:
            live.thread.add(known, self._clock.now())
        return live

    async def _take(self, live: LiveThread, message: Message, item_digest: bytes, line: Line) -> None:
        now = self._clock.now()
        stored = await self._store.transact(lambda tx: tx.message(message.id))
        if stored is not None:
            # The same message in another item: sealed again, or copied. Once is enough.
            self.counters["duplicates"] += 1
            if stored.answer is not None:
                await line.send(stored.answer)
            return
        outcome = live.thread.add(message, now)
        live.learn_route(message, line.stream.peer)
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
                tx.settle(message.ref, "ACKED", now, None if message.kind == "ack" else _problem_code(message))
            save(tx, live)
            role.record(tx, live, message, outcome)

        await self._store.transact(work)
        self.counters[f"received_{message.kind}"] += 1
        if message.kind in ("ack", "problem"):
            self._settle(live, message.ref)
        try:
            if answer is not None:
                await line.send(answer)
        except NetworkError:
            pass  # it will be asked for again, and is stored
        if self._nursery is not None:
            self._nursery.start_soon(role.received, live, message, outcome)

    def _answer(self, live: LiveThread, message: Message, item_digest: bytes, outcome: Outcome, now: int) -> bytes:
        body: Ack | Problem = Ack(item_digest)
        kind = "ack"
        if outcome.owes in ("lapsed", "state"):
            kind, body = "problem", Problem(outcome.owes)
        _, item = self._write(live, kind, body, message, message.head.exp, now)
        return item.encoded()

    def _settle(self, live: LiveThread, message_id: bytes) -> None:
        queue = self._pending.get(live.id)
        if queue is not None:
            queue.pop(message_id, None)
            if not queue:
                del self._pending[live.id]
        self._settled.set()
        self._settled = trio.Event()
        if live.id in self._couriers:
            self._couriers[live.id].set()

    async def _take_hint(self, hint: Hint) -> None:
        """Advice about an item of ours. It may change when we resend, never what is true."""
        self.counters[f"hint_{hint.code.value}"] += 1
        for thread, queue in self._pending.items():
            for message_id, pending in queue.items():
                if pending.item.digest != hint.digest:
                    continue
                now = self._clock.steady()
                if hint.code is HintCode.NEED_BITS:
                    if not 0 < hint.arg <= MAX_MINED_BITS:
                        return
                    item = await trio.to_thread.run_sync(_mine_item, pending.item, hint.arg)
                    queue[message_id] = Pending(pending.row, item)
                elif hint.code is HintCode.BUSY:
                    pending.not_before = now + max(1, min(hint.arg, LAST_RETRY))
                else:
                    pending.not_before = now + LAST_RETRY
                    pending.row = replace(pending.row, reason=hint.code.value)
                live = self._threads.get(thread)
                line = self._lines.get(live.peer) if live is not None and live.peer is not None else None
                if line is not None:
                    line.sent.discard(message_id)
                return


def _mine_item(item: Item, bits: int) -> Item:
    about = item.digest
    nonce = 0
    while zero_bits(digest(about + nonce.to_bytes(8, "big"))) < bits:
        nonce += 1
    return replace(item, stamp=nonce.to_bytes(8, "big"))


def _problem_code(message: Message) -> str:
    return str(getattr(message.body, "code", "problem"))
