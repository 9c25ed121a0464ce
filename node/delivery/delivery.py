"""Direct messages, said and heard.

Save, then speak: a message of ours is in the store before its first byte leaves, a message of theirs before its ack
does; the ack itself is stored with it, so a duplicate gets the very same bytes. Who is linked to whom does not matter:
an item goes out on whatever stream leads to the other party's transport peer, whoever opened it, or by a mailbox.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import structlog
import trio

from protocol.deal import Ack, Problem
from protocol.envelope import Hint, HintCode, Item, item_stamp_bits, read_item
from protocol.errors import Reason, Refused
from protocol.exchange import Move, Outcome, Side
from protocol.kinds import Body
from protocol.letter import open_letter, write_letter
from protocol.limits import MAX_LIFE, MAX_SKEW
from protocol.message import Draft, Message

from ..clock import Chance, Clock
from ..events import EventLog
from ..network.seam import Address, LinkChosen, LinkUp, Network, PeerId
from ..policy import Shares, routes_via, source_of
from ..store import Answered, OutboxRow, Room, Store, Tx
from ..threads import End, LiveThread, Threads, key_to_answer, new_thread, save, thread_id, ways_back
from .courier import Couriers, Leave
from .lines import Line, Lines
from .outbox import LAST_RETRY, Outbox, Pending, Stage
from .stamps import Order, StampMine

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("delivery")

ITEMS_PER_SECOND, ITEM_BURST = 50.0, 200.0
"""Items one transport peer may hand over before it is told `busy`; opening one costs about 0.2 ms."""

MAX_HEARD, MAX_HEARD_BYTES = 512, 2 * 1024 * 1024
"""What one party may make us keep in one thread: 64 offers, withdrawn and acknowledged, are under 200 messages."""


COMES_AGAIN = 300
"""Seconds after which what we do not take now is to come again."""


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


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an item came from."""

    peer: PeerId | None
    """The transport peer of the other party, if it came straight from there."""
    source: str
    """policy.source_of, or the mailbox it lay in."""


class Delivery:
    def __init__(
        self,
        network: Network,
        store: Store,
        threads: Threads,
        events: EventLog,
        clock: Clock,
        chance: Chance,
        net: str,
    ) -> None:
        self._network = network
        self._store = store
        self._threads = threads
        self._events = events
        self._clock = clock
        self._chance = chance
        self._net = net
        self._roles: dict[Side, Role] = {}
        self.counters: Counter[str] = Counter()
        self.stamps = StampMine(clock, self.counters)
        self._outbox = Outbox()
        self._lines = Lines(network, clock, self._receive, self.counters)
        self._couriers = Couriers(
            network, self._lines, self._outbox, store, clock, chance, net, self._tell, self.counters
        )
        self._shares = Shares(ITEMS_PER_SECOND, ITEM_BURST)
        self._notes: list[dict[str, Any]] = []
        """How far messages have come, to be written into the events."""
        self._noted = trio.Event()
        self._nursery: trio.Nursery | None = None
        self.welcomed = 0
        """Messages that were believed, new ones and copies, ever."""

    def set_role(self, side: Side, role: Role) -> None:
        self._roles[side] = role

    def use_addresses(self, find: Callable[[PeerId], tuple[Address, ...]]) -> None:
        """Where else a peer was seen lately: whoever keeps the address book tells."""
        self._couriers.find_addresses = find

    def use_mailboxes(self, leave: Leave) -> None:
        """How to leave something at a mailbox."""
        self._couriers.leave = leave

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
            now = self._clock.now()
            message, item = self._write(live, kind, body, answers, exp, now)
            row = OutboxRow(message.id, live.id, kind, item.encoded(), exp, Stage.QUEUED.value, None, now, None)

            def work(tx: Tx) -> None:
                tx.add_message(
                    id=message.id, root=live.root, thread=live.id, mine=True, kind=kind, now=now, frame=message.frame
                )
                tx.queue(row)
                self._events.write(tx, "delivery", _note(live, row, Stage.QUEUED))
                save(tx, live)
                if also is not None:
                    also(tx, message)

            await self._store.transact(work)
            outcome = live.thread.add(message, now)
            self._outbox.add(row, item)
            self._couriers.send(live)
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

    # ------------------------------------------------------------------------------------------- how far it came

    def stage(self, message_id: bytes) -> Stage | None:
        """How far a message of ours has come; None when it is settled or unknown."""
        pending = self._outbox.find(message_id)
        return pending.stage(on_the_way=pending.row.thread in self._couriers) if pending is not None else None

    async def history(self, live: LiveThread) -> list[dict[str, Any]]:
        """Every message of ours in a thread and how far it came, in the order they were said."""
        rows, deposits = await self._store.transact(lambda tx: (tx.outbox_of(live.id), tx.deposits(live.id)))
        found = []
        for row in rows:
            stage = self.stage(row.id) or Stage(row.state)
            mailboxes = sum(deposit.message == row.id for deposit in deposits)
            found.append(
                {
                    "message": row.id.hex(),
                    "kind": row.kind,
                    "state": stage.value,
                    "mailboxes": mailboxes,
                    "reason": row.reason,
                    "queued_at": row.queued_at,
                    "settled_at": row.settled_at,
                }
            )
        return found

    def is_idle(self, thread: bytes) -> bool:
        """Nothing of this thread waits to be said, and nobody is on the way to its other party."""
        return thread not in self._outbox and thread not in self._couriers

    @property
    def unsettled(self) -> int:
        return len(self._outbox)

    @property
    def oldest_unsettled(self) -> int | None:
        """Wall clock at which the message that waits longest was said; None: none waits."""
        return self._outbox.oldest

    def _tell(self, live: LiveThread, pending: Pending, stage: Stage) -> None:
        """It has come so far: for people, written when there is time."""
        told = (stage, pending.stored_at)
        if pending.told != told and pending.wants_ack:
            pending.told = told
            self._notes.append(_note(live, pending.row, stage, pending.stored_at))
            self._noted.set()

    async def _write_notes(self) -> None:
        while True:
            await self._noted.wait()
            self._noted = trio.Event()
            notes, self._notes = self._notes, []

            def work(tx: Tx, notes: list[dict[str, Any]] = notes) -> None:
                for note in notes:
                    self._events.write(tx, "delivery", note)

            await self._store.transact(work)
            self._events.announce()

    # ------------------------------------------------------------------------------------------------ its tasks

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled: carry what waits, re-dial open threads, answer streams."""
        await self._restore()
        async with trio.open_nursery() as nursery, self._network.watch_links() as links:
            self._nursery = nursery
            self._lines.serve(nursery)
            self._couriers.start(nursery)
            nursery.start_soon(self.stamps.run)
            nursery.start_soon(self._write_notes)
            task_status.started()
            for live in self._threads:
                if live.id in self._outbox or live.thread.live is not None:
                    self._couriers.send(live)
            async for event in links:
                if isinstance(event, LinkChosen):
                    continue  # who dialled is nothing to us
                peer = event.link.peer if isinstance(event, LinkUp) else event.peer
                for live in self._threads.of_peer(peer):
                    # A new link carries what waits; a lost one is mended while an offer or an accept is open. A
                    # courier that is on its way sees for itself that its line is closed, and keeps its patience.
                    if isinstance(event, LinkUp):
                        if live.id in self._outbox:
                            self._couriers.send(live)
                    elif live.id not in self._couriers and live.thread.live is not None:
                        self._couriers.send(live)

    async def _restore(self) -> None:
        rows, deposits = await self._store.transact(lambda tx: (tx.unsettled(), tx.deposits()))
        for row in rows:
            try:
                item = read_item(row.item)
            except Refused as refused:
                log.error("a stored item cannot be read any more", kind=row.kind, reason=refused.reason.value)
                continue
            if isinstance(item, Item) and self._threads.get(row.thread) is not None:
                pending = self._outbox.add(row, item)
                pending.left = {one.mailbox: Stage(one.state) for one in deposits if one.message == row.id}

    # ------------------------------------------------------------------------------------------------ receiving

    async def _receive(self, encoded: bytes, line: Line) -> None:
        """One item or hint off a stream, cheapest checks first. Raises Refused."""
        item = read_item(encoded)
        peer = line.stream.peer
        if not self._shares.take(peer, self._clock.steady()):
            self.counters["over_share"] += 1
            if isinstance(item, Item) and self._clock.now() < item.exp:
                await line.send(Hint(item.digest, HintCode.BUSY, 5).encoded())
            return
        if isinstance(item, Hint):
            self._take_hint(item, peer)
            return
        answer = await self._judge(item, Origin(peer, self._source(peer)), line)
        # Sent without any lock: a peer that does not read holds up its own stream, not what we want to say or decide.
        if answer is not None:
            await line.send(answer if isinstance(answer, bytes) else answer.encoded())

    async def receive_from_mailbox(self, encoded: bytes, mailbox: PeerId) -> bool:
        """An item that lay in a mailbox for us. True: the mailbox may let it go. Raises Refused for what is none."""
        item = read_item(encoded)
        if isinstance(item, Hint):
            raise Refused(Reason.ITEM, "a mailbox holds no hints")
        answer = await self._judge(item, Origin(None, mailbox), None)
        return not isinstance(answer, Hint) or answer.code is not HintCode.BUSY

    async def _judge(self, item: Item, origin: Origin, line: Line | None) -> bytes | Hint | None:
        """Believe and take in one item. Returns what goes back to whoever brought it. Raises Refused.

        line: the one it came on. Without one, what answers it goes into the outbox."""
        now, digest = self._clock.now(), item.digest
        if now >= item.exp:
            self.counters["expired"] += 1
            # By an hour that may be wrong it is not lost: it stays where it is, and comes again.
            return None if self._clock.certain() >= item.exp else Hint(digest, HintCode.BUSY, COMES_AGAIN)
        known = await self._store.transact(lambda tx: tx.answer_to_item(digest))
        if known is not None:
            return await self._answer_again(known, line)
        end = self._threads.end(item.to_box)
        if end is None:
            self.counters["unknown_key"] += 1
            return Hint(digest, HintCode.UNKNOWN_KEY)
        message = open_letter(
            item,
            end.secrets()[1],
            own_is_box=end.is_box,
            net=self._net,
            me=end.me,
            root=end.root,
            expected_author=self._expected_author(end),
        )
        if line is not None:
            line.useful = True
        wait = message.head.at - MAX_SKEW - now
        if wait > 0:  # from the future: believed when its time has come, not remembered until then
            self.counters["early"] += 1
            return Hint(digest, HintCode.BUSY, wait)
        live = self._thread_for(end, message, origin.source)
        if live is None:
            self.counters["not_welcome"] += 1
            answer = self._roles[end.side].turn_away(end, message, digest)
            if answer is not None and line is None:
                self._couriers.leave_once(routes_via("mailbox", ways_back(message)), message.author, answer)
            return answer or Hint(digest, HintCode.BUSY, COMES_AGAIN)
        async with live.lock:
            live.source = origin.source
            return await self._take(live, message, digest, origin)

    async def _answer_again(self, known: Answered, line: Line | None) -> bytes:
        self.counters["duplicates"] += 1
        self.welcomed += 1
        live = self._threads.get(known.thread)
        if line is None and live is not None:
            await self._queue_answer(live, known.answer)
        return known.answer

    async def _queue_answer(self, live: LiveThread, answer: bytes) -> None:
        """Their message came by a mailbox, so does our answer, unless a way to them is found before."""
        row = _answer_row(live, answer, self._clock.now())
        if row is not None and self._outbox.get(live.id, row.id) is None:
            await self._store.transact(lambda tx: tx.queue(row))
            self._carry_answer(live, row)

    def _carry_answer(self, live: LiveThread, row: OutboxRow) -> None:
        item = read_item(row.item)
        assert isinstance(item, Item)
        self._outbox.add(row, item)
        self._couriers.send(live)

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

    async def _take(self, live: LiveThread, message: Message, digest: bytes, origin: Origin) -> bytes | Hint | None:
        """Decide, store and answer one message. What goes back to whoever brought it, if anything."""
        now = self._clock.now()
        stored = await self._store.transact(lambda tx: tx.message(message.id))
        if stored is not None:
            # The same message in another item: sealed again, or copied. Once is enough.
            self.counters["duplicates"] += 1
            self.welcomed += 1
            if origin.peer is None and stored.answer is not None:
                await self._queue_answer(live, stored.answer)
            return stored.answer
        if live.heard >= MAX_HEARD or live.heard_bytes + len(message.frame) > MAX_HEARD_BYTES:
            self.counters["thread_full"] += 1
            return Hint(digest, HintCode.BUSY, int(LAST_RETRY))
        judged_at = self._clock.certain()  # whether an answer came in time: by an hour that may be wrong, it did
        outcome = live.thread.add(message, judged_at)
        if outcome.dropped:
            self.counters["too_early"] += 1
            return Hint(digest, HintCode.BUSY, 0) if origin.peer is None else None  # it comes again
        live.count(message)
        live.learn_route(message, origin.peer)
        role = self._roles[live.side]
        answer = self._answer(live, message, digest, outcome, now) if message.expects_ack() else None
        to_carry = _answer_row(live, answer, now) if answer is not None and origin.peer is None else None
        settled = self._outbox.get(live.id, message.ref) if message.kind in ("ack", "problem") else None

        def work(tx: Tx) -> None:
            tx.add_message(
                id=message.id,
                root=live.root,
                thread=live.id,
                mine=False,
                kind=message.kind,
                now=judged_at,
                frame=message.frame,
                digest=digest,
                answer=answer,
            )
            if message.kind in ("ack", "problem"):
                why = None if message.kind == "ack" else _problem_code(message)
                tx.settle(message.ref, live.id, Stage.ACKED.value, now, why)
                if settled is not None:
                    self._events.write(tx, "delivery", _note(live, settled.row, Stage.ACKED, reason=why))
            if to_carry is not None:
                tx.queue(to_carry)
            save(tx, live)
            role.record(tx, live, message, outcome)

        with trio.CancelScope(shield=True):  # decided already: memory and store must not part when the stream goes
            await self._store.transact(work)
        self.counters[f"received_{message.kind}"] += 1
        self.welcomed += 1
        if message.kind in ("ack", "problem"):
            self._outbox.settle(live.id, message.ref)
            self._couriers.nudge(live.id)
            self._events.announce()
        if to_carry is not None:
            self._carry_answer(live, to_carry)
        if self._nursery is not None:
            self._nursery.start_soon(role.received, live, message, outcome)
        return answer

    def _answer(self, live: LiveThread, message: Message, digest: bytes, outcome: Outcome, now: int) -> bytes:
        body: Ack | Problem = Ack(digest)
        kind = "ack"
        if outcome.owes in ("lapsed", "state"):
            kind, body = "problem", Problem(outcome.owes)
        _, item = self._write(live, kind, body, message, message.head.exp, now)
        return item.encoded()

    # ---------------------------------------------------------------------------------------------------- hints

    def _take_hint(self, hint: Hint, peer: PeerId) -> None:
        """Advice about an item of ours. It may change when we resend, never what is true."""
        self.counters[f"hint_{hint.code.value}"] += 1
        pending = self._outbox.by_digest(hint.digest)
        if pending is None or pending.line is None or pending.line.stream.peer != peer:
            return  # a mailbox knows what it holds, and has no say in it
        now = self._clock.steady()
        if hint.code is HintCode.NEED_BITS:
            self._ask_for_stamp(pending, hint, peer)
            return
        if hint.code is HintCode.BUSY:
            pending.not_before = now + max(1, min(hint.arg, LAST_RETRY))
        else:
            pending.not_before = now + LAST_RETRY
            pending.row = replace(pending.row, reason=hint.code.value)
        self._couriers.nudge(pending.row.thread)

    def _ask_for_stamp(self, pending: Pending, hint: Hint, peer: PeerId) -> None:
        """What is not taken on is asked for again: the item is sent until it is acknowledged."""
        if item_stamp_bits(pending.item) >= hint.arg:
            return

        def found(stamp: bytes) -> None:
            pending.item, pending.line = replace(pending.item, stamp=stamp), None
            self._couriers.nudge(pending.row.thread)

        self.stamps.ask(Order(pending.digest, hint.arg, lambda: self._outbox.holds(pending), found), peer)


def _note(
    live: LiveThread, row: OutboxRow, stage: Stage, mailboxes: int = 0, reason: str | None = None
) -> dict[str, Any]:
    note: dict[str, Any] = {"intent": live.root.hex(), "message": row.id.hex(), "of": row.kind, "state": stage.value}
    if mailboxes:
        note["mailboxes"] = mailboxes
    if reason or (stage is Stage.FAILED and row.reason):
        note["reason"] = reason or row.reason
    return note


def _answer_row(live: LiveThread, answer: bytes, now: int) -> OutboxRow | None:
    """An ack or problem as something to be carried, under its item's digest: what is inside is sealed."""
    item = read_item(answer)
    assert isinstance(item, Item)
    if now >= item.exp:
        return None
    return OutboxRow(item.digest, live.id, "ack", answer, item.exp, Stage.QUEUED.value, None, now, None)


def _problem_code(message: Message) -> str:
    return str(getattr(message.body, "code", "problem"))
