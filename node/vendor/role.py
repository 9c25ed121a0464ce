"""The vendor: listens, answers from its catalogue or by hand, keeps its word.

Every revision of a wish is dealt with once, and what was decided is stored with the offer itself: a vendor that is
killed between deciding and sending sends the same offer when it is back, and no second one.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import structlog
import trio

from protocol.board import Board, Heard
from protocol.categories import divisions_of_pattern
from protocol.deal import Accept, Confirm, Reject
from protocol.errors import Refused
from protocol.exchange import Outcome, Side, State, Talk
from protocol.intent import Intent
from protocol.keys import BoxKey, SigningKey
from protocol.limits import MAX_LIFE, STOCK_HOLD, THREAD_GRACE
from protocol.mailbox import channel
from protocol.message import Message
from protocol.offer import Offer, OfferWithdraw
from protocol.schema import write
from protocol.terms import Route

from ..clock import Chance, Clock
from ..delivery import Delivery
from ..events import EventLog
from ..mailbox import Inboxes
from ..policy import routes_via
from ..store import AnsweredRow, Room, Store, Tx
from ..threads import End, LiveThread, Threads, keep_posted, make_end, new_thread, thread_id
from ..trouble import Trouble, refused
from .catalogue import Catalogue
from .quote import Quote, quote

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("vendor")

ANSWERED_AT_ONCE = 8
"""Wishes looked at in parallel; what waits is in the board and not forgotten."""

AGREE_EVERY = 24 * 3600
"""Seconds after which our mailboxes are asked again to hold for us, for another month."""

AGREE_AGAIN = 300
"""Seconds after which they are, while none does."""

MOST_LATER = 10_000
"""Wishes that wait for their turn because they ask us to spread our answers. Beyond it they are answered at once."""

TAKER_WINDOW = 3600
"""Seconds for which a deal counts against whoever made it: see `_share`."""


class VendorRole:
    def __init__(
        self,
        board: Board,
        delivery: Delivery,
        inboxes: Inboxes,
        threads: Threads,
        store: Store,
        events: EventLog,
        clock: Clock,
        chance: Chance,
        key: SigningKey,
        catalogue: Catalogue | None,
        routes: Callable[[tuple[Route, ...]], tuple[Route, ...]],
        is_ours: Callable[[bytes], bool],
    ) -> None:
        self._board = board
        self._delivery = delivery
        self._inboxes = inboxes
        self._mailboxes: tuple[Route, ...] = ()
        """Mailboxes that hold for our key."""
        self._threads = threads
        self._store = store
        self._events = events
        self._clock = clock
        self._chance = chance
        self._key = key
        self.catalogue = catalogue
        self._routes = routes
        self._is_ours = is_ours
        self._answered: dict[bytes, AnsweredRow] = {}
        self._by_offer: dict[bytes, AnsweredRow] = {}
        self._contacts: dict[bytes, str] = {}
        self._queue_in, self._queue_out = trio.open_memory_channel[Message](1_000)
        self._queue_was_full = False
        self._one_at_a_time = trio.Lock()
        self._later: list[tuple[float, bytes, Message]] = []
        """A heap: (steady time at which it is to be answered, id, wish)."""
        self._waiting: set[bytes] = set()
        """Ids of what is in it."""
        self._sooner = trio.Event()
        self._agreed_at = 0
        self.counters: Counter[str] = Counter()
        delivery.set_role(Side.VENDOR, self)

    @property
    def public(self) -> bytes:
        return self._key.public

    @property
    def divisions(self) -> tuple[str, ...]:
        """What the catalogue makes this node listen to."""
        if self.catalogue is None:
            return ()
        return tuple(sorted({d for pattern in self.catalogue.categories for d in divisions_of_pattern(pattern)}))

    def answer_to(self, revision: bytes) -> AnsweredRow | None:
        """What we made of a revision of a wish."""
        return self._answered.get(revision)

    # ------------------------------------------------------------------------------------------------------- life

    async def restore(self) -> None:
        """At start, before anything runs: an accept that comes first of all takes its stock like any other."""
        for row in await self._store.transact(lambda tx: tx.answered()):
            self._note(row)

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled: answer wishes, those on the board first, and accepts that a crash left open."""
        task_status.started()
        async with trio.open_nursery() as nursery:
            for _ in range(ANSWERED_AT_ONCE if self.catalogue is not None else 0):
                nursery.start_soon(self._answer_wishes)
            nursery.start_soon(self._answer_later)
            nursery.start_soon(self._stay_agreed)
            for live in self._threads:
                if live.side is Side.VENDOR:
                    for talk in list(live.thread.talks.values()):
                        if talk.state is State.ACCEPTED and talk.answer is None:
                            nursery.start_soon(self._decide, live, talk)
                        elif talk.superseded is not None:
                            nursery.start_soon(self._reject_superseded, live, talk.superseded)
            self._queue_was_full = self.catalogue is not None  # what is on the board was heard in a former life
            while True:
                self._look_at_board()
                await self._events.rest(self._next_due)
                await self._tick()

    async def _tick(self) -> None:
        now = self._clock.now()
        for live in self._threads:
            if live.side is not Side.VENDOR or live.lock.locked():
                continue
            for move in live.thread.tick(now):
                keep_posted(self._board, live)
                await self._tell_state(live, move.offer, move.after)
            if live.end.keys is not None and live.thread.talks and self._is_long_over(live, now):
                # By box and never by root: a root is what a wish's author claims, and anybody can claim another's.
                await self._store.transact(lambda tx, box=live.end.box: tx.forget_keys(box, None))  # type: ignore[misc]
                await self._store.checkpoint()
                self._threads.forget_end(live.end)

    def _next_due(self) -> float:
        """The hour at which the next tick has something to do; one that is past: at once."""
        if self._queue_was_full:
            return 0
        times: list[float] = []
        for live in self._threads:
            if live.side is Side.VENDOR:
                due = live.thread.due()
                if due is not None:
                    times.append(due)
                elif live.end.keys is not None and live.thread.talks:
                    times.append(_over_at(live))
        return min(times, default=math.inf)

    def _is_long_over(self, live: LiveThread, now: int) -> bool:
        return live.thread.due() is None and now >= _over_at(live)

    def forget(self, live: LiveThread) -> None:
        """A thread that is over leaves the memory. That its wish was answered is not forgotten with it."""
        for offered in live.thread.talks:
            self._by_offer.pop(offered, None)
            self._contacts.pop(offered, None)

    def forget_passed(self) -> None:
        """What was passed over and has left the board leaves the memory too; the store knows it for a while longer."""
        for revision, row in list(self._answered.items()):
            if row.offer is None and self._board.get(revision) is None:
                del self._answered[revision]

    # --------------------------------------------------------------------------------------------------- listening

    async def heard(self, heard: Heard) -> None:
        """A wish of somebody else, new on the board."""
        message = heard.message
        assert message is not None
        if message.kind == "intent.close":
            live = self._threads.get(thread_id(message.root, message.author, self._key.public))
            if live is not None:
                live.thread.add(message, self._clock.now())
        elif self.catalogue is not None and not self._queue_was_full:
            self._enqueue(message)

    def _enqueue(self, message: Message) -> None:
        try:
            self._queue_in.send_nowait(message)
        except trio.WouldBlock:
            self.counters["queue_full"] += 1
            self._queue_was_full = True  # it stays on the board, and we come back to it

    def _look_at_board(self) -> None:
        """Once there is room again: what did not fit into the queue."""
        if not self._queue_was_full or self._queue_in.statistics().current_buffer_used:
            return
        if self._store.room is Room.FULL:
            return
        self._queue_was_full = False
        for posting in self._board:
            waits = posting.message.id in self._answered or posting.message.id in self._waiting
            if posting.is_open and not waits and not self._queue_was_full:
                self._enqueue(posting.message)

    async def _answer_wishes(self) -> None:
        async for message in self._queue_out:
            if self._is_ours(message.author) or message.id in self._answered or message.id in self._waiting:
                continue
            assert isinstance(message.body, Intent)
            if not message.body.spread:
                await self._answer(message)
            elif len(self._later) >= MOST_LATER:
                self.counters["spread_full"] += 1
                await self._answer(message)
            else:
                due = self._clock.steady() + self._chance.choices.uniform(0, message.body.spread)
                heappush(self._later, (due, message.id, message))
                self._waiting.add(message.id)
                self._sooner.set()

    async def _answer_later(self) -> None:
        """One task for all wishes that ask for patience, however many they are."""
        while True:
            self._sooner = trio.Event()
            pause = self._later[0][0] - self._clock.steady() if self._later else math.inf
            if pause > 0:
                with trio.move_on_after(pause):
                    await self._sooner.wait()
                continue
            _, id, message = heappop(self._later)
            self._waiting.discard(id)
            await self._answer(message)

    async def _answer(self, message: Message) -> None:
        """Quote from the catalogue, or pass over in silence, counted."""
        assert self.catalogue is not None
        assert isinstance(message.body, Intent)
        async with self._one_at_a_time:  # or two tasks could promise the same last car
            now = self._clock.now()
            posting = self._board.get(message.id)
            if posting is None or not posting.is_open or now >= message.head.exp or message.id in self._answered:
                return  # withdrawn, replaced or over since it was heard
            if self._store.room is Room.FULL:
                self.counters["disk_full"] += 1
                self._queue_was_full = True  # it stays on the board, and we come back to it
                return
            left = await self._store.transact(lambda tx: self._stock_left(tx, now))
            found = quote(self.catalogue, message.body, wish_at=message.head.at, now=now, stock_left=left.get)
            if not isinstance(found, Quote):
                self.counters[f"passed_{found.reason}"] += 1
                row = AnsweredRow(message.id, self._key.public, None, found.reason, None, 0)
                await self._store.transact_foreign(lambda tx: tx.add_answered(row, now))
                self._note(row)
                return
            try:
                await self._offer(
                    message, found.offer, found.valid_for, found.item, found.count, self.catalogue.contact
                )
                self.counters["offered"] += 1
            except Trouble as trouble:  # a catalogue entry that fits no message: its owner must see it
                self.counters["passed_unspeakable"] += 1
                log.warning("an offer could not be made", item=found.item, why=trouble.code)

    def _stock_left(self, tx: Tx, now: int) -> dict[str, int | None]:
        """How many of each item we could promise to one stranger."""
        assert self.catalogue is not None
        return {
            item.key: None if item.stock is None else min(_share(item.stock), item.stock - tx.held(item.key, now))
            for item in self.catalogue.items
        }

    # ---------------------------------------------------------------------------------------------------- offering

    async def offer_by_hand(self, message: Message, offer: Offer, valid_for: int, contact: str) -> Message:
        """Answer a wish with an offer somebody composed; a newer one replaces the older. Raises Trouble."""
        if self._is_ours(message.author):
            raise refused("own", "this is a wish of this very node", "Nobody needs an offer of their own.")
        try:
            write(Confirm(contact))  # it is said when somebody accepts: then it must be sayable
        except Refused as wrong:
            raise refused("contact", f"this contact cannot be told: {wrong.detail}") from None
        async with self._one_at_a_time:
            posting = self._board.get(message.id)
            if posting is None or not posting.is_open or self._clock.now() >= message.head.exp:
                raise refused("closed", "this wish is not open any more")
            return await self._offer(message, offer, valid_for, None, 1, contact)

    async def _offer(
        self, wish: Message, offer: Offer, valid_for: int, item: str | None, count: int, contact: str
    ) -> Message:
        now = self._clock.now()
        live, new_box = self._thread_for(wish, now)
        offer = replace(offer, reply=self._routes(await self._agree()))
        rows: list[AnsweredRow] = []

        def also(tx: Tx, message: Message) -> None:
            if new_box is not None:
                tx.put_box(new_box.public, new_box.reveal(), wish.root, Side.VENDOR.value, now)
            # The wish itself is part of what we will have to show: an offer means nothing without it.
            tx.add_message(
                id=wish.id, root=wish.root, thread=None, mine=False, kind=wish.kind, now=now, frame=wish.frame
            )
            row = AnsweredRow(wish.id, self._key.public, message.id, "offered", item, count)
            tx.add_answered(row, now)
            tx.put_meta(f"contact:{message.id.hex()}", contact)
            told = {"intent": wish.root.hex(), "offer": message.id.hex()}
            self._events.write(tx, "offer.made", told)
            rows.append(row)

        exp = min(now + valid_for, wish.head.exp)
        try:
            message, _ = await self._delivery.post(live, "offer", offer, answers=wish, exp=exp, also=also)
        except Refused as wrong:
            raise refused("offer", f"this cannot be offered: {wrong.detail}") from None
        if new_box is not None:
            self._threads.add_end(live.end)
            self._threads.add(live)
        keep_posted(self._board, live)
        self._note(rows[0])
        self._contacts[message.id] = contact
        self._events.announce()
        return message

    async def _agree(self) -> tuple[Route, ...]:
        """The mailboxes that hold for our key: asked again once a day, and while none agrees."""
        now = self._clock.now()
        if now >= self._agreed_at + (AGREE_EVERY if self._mailboxes else 0):
            self._mailboxes = await self._inboxes.agree(self._key, now + MAX_LIFE)
            self._agreed_at = now
            self._keep_mail(route.addr for route in self._mailboxes)
        return self._mailboxes

    async def _stay_agreed(self) -> None:
        """Fetch where our offers said that we do, and whoever listens stays known to its mailboxes."""
        said = [
            talk.offer.body for live in self._threads for talk in live.thread.talks.values() if live.side is Side.VENDOR
        ]
        self._keep_mail(
            {addr for body in said if isinstance(body, Offer) for addr in routes_via("mailbox", body.reply)}
        )
        while self.catalogue is not None:
            await self._agree()
            await trio.sleep(AGREE_EVERY if self._mailboxes else AGREE_AGAIN)

    def _keep_mail(self, addresses: Iterable[str]) -> None:
        def known() -> list[bytes]:
            """First those who accepted, then those who may."""
            open_talks = [live for live in self._threads if live.side is Side.VENDOR and live.thread.live is not None]
            open_talks.sort(key=lambda live: live.thread.live.state is not State.ACCEPTED)  # type: ignore[union-attr]
            return [channel(live.end.box, live.other_box) for live in open_talks if live.other_box is not None]

        for address in addresses:
            self._inboxes.keep(self._key, address, lambda: self._clock.now() + MAX_LIFE, known)

    def _thread_for(self, wish: Message, now: int) -> tuple[LiveThread, BoxKey | None]:
        """Our thread with a wish's author: one, with an X25519 key of its own, however many revisions there are. A new
        one, with its new key, is nothing yet: it is kept together with the first thing said in it."""
        assert isinstance(wish.body, Intent)
        live = self._threads.get(thread_id(wish.root, wish.author, self._key.public))
        box = None
        if live is None:
            box = BoxKey(self._chance.bytes(32))
            live = new_thread(
                wish.root, wish.author, self._key.public, make_end(self._key, box, wish.root, Side.VENDOR)
            )
        if live.end.keys is None:
            raise refused("keys", "the keys of this thread were deleted", "It is long over.")
        try:
            live.end.secrets()[1].vendor_side_keys(wish.body.box)
        except ValueError:
            raise refused("box", "this wish names a key that nothing can be sealed to") from None
        live.count(wish)
        live.learn_route(wish, None)
        live.thread.add(wish, now)
        return live, box

    async def withdraw(self, live: LiveThread, talk: Talk) -> None:
        """Take an offer back. It still stands for a person who accepts before acknowledging this."""
        if talk.state is not State.OFFERED:
            raise refused("state", f"this offer is {talk.state.value.lower()}", "Only an open offer can be withdrawn.")
        if live.end.keys is None:
            raise refused("keys", "the keys of this thread were deleted", "It is long over.")
        exp = talk.offer.head.exp

        def check() -> None:
            if talk.state is not State.OFFERED:  # accepted while we waited for our turn
                raise refused(
                    "state", f"this offer is {talk.state.value.lower()}", "Only an open offer can be withdrawn."
                )

        await self._delivery.post(live, "offer.withdraw", OfferWithdraw(), answers=talk.offer, exp=exp, check=check)
        keep_posted(self._board, live)
        await self._tell_state(live, talk.offer.id, State.WITHDRAWN)

    def _note(self, row: AnsweredRow) -> None:
        self._answered[row.revision] = row
        if row.offer is not None:
            self._by_offer[row.offer] = row

    # --------------------------------------------------------------------------------------------- as delivery's role

    def welcome(self, end: End, message: Message, source: str) -> tuple[Message, ...] | None:
        return None  # threads of a vendor begin with its own offer

    def turn_away(self, end: End, message: Message, item_digest: bytes) -> bytes | None:
        return None

    def record(self, tx: Tx, live: LiveThread, message: Message, outcome: Outcome) -> None:
        for move in outcome.moves:
            talk = live.thread.talks[move.offer]
            told = {"intent": live.root.hex(), "offer": move.offer.hex(), "state": move.after.value.lower()}
            self._events.write(tx, "offer.state", {**told, **live.why_ended(talk)})
            accept = talk.accept
            if move.after is State.LAPSED and accept is not None:
                tx.release(accept.id)  # our confirm came too late: there is no contract, so the stock is free

    async def received(self, live: LiveThread, message: Message, outcome: Outcome) -> None:
        self._events.announce()
        keep_posted(self._board, live)
        if outcome.owes == "superseded":
            await self._reject_superseded(live, message)
        for move in outcome.moves:
            if move.after is State.ACCEPTED:
                await self._decide(live, live.thread.talks[move.offer])

    async def _reject_superseded(self, live: LiveThread, accept: Message) -> None:
        if self._clock.now() < accept.head.exp and live.end.keys is not None:
            body = Reject("superseded")
            await self._delivery.post(live, "reject", body, answers=accept, exp=accept.head.exp)

    async def _decide(self, live: LiveThread, talk: Talk) -> None:
        """Confirm an accept, or say why not. Stock is held while this is decided and for good once confirmed."""
        accept = talk.accept
        assert accept is not None
        assert isinstance(accept.body, Accept)
        async with self._one_at_a_time:
            now = self._clock.now()
            if talk.answer is not None or talk.state is not State.ACCEPTED or now >= accept.head.exp:
                return
            if live.end.keys is None:
                log.error("an accept cannot be answered: the keys of its thread are not in this home")
                return
            row = self._by_offer.get(talk.offer.id)
            item, count = (row.item, row.count) if row is not None else (None, 1)
            takers = {live.peer or "", live.source or ""} - {""}
            refusal = await self._store.transact(lambda tx: self._try_hold(tx, accept.id, item, count, takers, now))
            contact = await self._contact_for(talk.offer.id)
            if refusal is not None:
                await self._delivery.post(
                    live,
                    "reject",
                    Reject(refusal),
                    answers=accept,
                    exp=accept.head.exp,
                    also=self._tell_answer(live, talk),
                )
                self.counters[f"rejected_{refusal}"] += 1
            else:
                body = Confirm(contact, accept.id.hex()[:8].upper())

                def also(tx: Tx, message: Message) -> None:
                    if item is not None:
                        tx.hold(accept.id, item, count, accept.head.exp, True)
                    self._tell_answer(live, talk)(tx, message)

                # It lives longer than the accept: a confirm that comes too late is answered, so that we learn of it.
                exp = accept.head.exp + THREAD_GRACE
                await self._delivery.post(live, "confirm", body, answers=accept, exp=exp, also=also)
                self.counters["confirmed"] += 1
        keep_posted(self._board, live)
        self._events.announce()

    def _try_hold(self, tx: Tx, accept: bytes, item: str | None, count: int, takers: set[str], now: int) -> str | None:
        """Hold stock for an accept, or the reason why not. `takers`: who accepts, as far as that costs something: the
        transport peer, and the subnet it was seen in."""
        if item is None or self.catalogue is None:
            return None
        stock = next((entry.stock for entry in self.catalogue.items if entry.key == item), None)
        if stock is not None:
            if stock - tx.held(item, now, besides=accept) < count:
                return "sold_out"
            since = now - TAKER_WINDOW
            if any(tx.taken(item, taker, since, besides=accept) + count > _share(stock) for taker in takers):
                return "policy"
        tx.hold(accept, item, count, now + STOCK_HOLD, False)
        tx.put_takers(accept, item, count, sorted(takers), now, now - TAKER_WINDOW)
        return None

    async def _contact_for(self, offer: bytes) -> str:
        """The contact promised with the offer: what the catalogue says may have changed since."""
        if offer not in self._contacts:
            found = await self._store.transact(lambda tx: tx.get_meta(f"contact:{offer.hex()}"))
            self._contacts[offer] = found or (self.catalogue.contact if self.catalogue is not None else "see offer")
        return self._contacts[offer]

    def _tell_answer(self, live: LiveThread, talk: Talk) -> Callable[[Tx, Message], None]:
        def also(tx: Tx, message: Message) -> None:
            state = "confirmed" if message.kind == "confirm" else "rejected"
            told = {"intent": live.root.hex(), "offer": talk.offer.id.hex(), "state": state}
            if isinstance(message.body, Reject):
                told["reason"] = message.body.reason
            self._events.write(tx, "offer.state", told)
            if state == "confirmed" and talk.accept is not None:
                self._events.write(tx, "contract.confirmed", {**told, "contract": talk.accept.id.hex()})

        return also

    async def _tell_state(self, live: LiveThread, offer: bytes, after: State) -> None:
        told = {"intent": live.root.hex(), "offer": offer.hex(), "state": after.value.lower()}
        await self._events.add("offer.state", {**told, **live.why_ended(live.thread.talks[offer])})


def _over_at(live: LiveThread) -> int:
    """When a thread in which nothing is open is long over."""
    return max(talk.offer.head.exp for talk in live.thread.talks.values()) + THREAD_GRACE + 1


def _share(stock: int) -> int:
    """How many of an item one stranger may take within an hour: a wish costs nothing, and must not empty the shop."""
    return max(1, (stock + 1) // 2) if stock else 0
