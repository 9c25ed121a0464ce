"""The vendor: listens, answers from its catalogue, by its programs or by hand, keeps its word.

Every revision of a wish is dealt with once, and what was decided is stored with the offer itself: a vendor that is
killed between deciding and sending sends the same offer when it is back, and no second one.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import structlog
import trio

from protocol.board import Board, Heard
from protocol.categories import divisions_of_pattern
from protocol.deal import Confirm, Decline
from protocol.errors import Refused
from protocol.exchange import Move, Outcome, Side, State, Talk
from protocol.intent import Intent
from protocol.keys import BoxKey, SigningKey
from protocol.limits import MAX_LIFE, THREAD_GRACE
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
from ..store import KEEP_ENDED, AnsweredRow, Room, Store, Tx
from ..threads import End, LiveThread, Threads, keep_expired, keep_posted, make_end, new_thread, thread_id
from ..trouble import Trouble, refused
from .accepts import Accepts
from .catalogue import Catalogue
from .programs import BY_PROGRAM, Program, Programs
from .quote import Quote, opened_at, quote, taken_span
from .stock import ProgramStock, Stock
from .tallies import matched, slowness

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

TALLIES_KEPT = 400 * 86_400
"""Seconds: a year to compare with the one before."""

GAVE_UP = f"{BY_PROGRAM}gave_up"
"""A wish that brought programs down, and that none is asked about any more."""


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
        self.stock = Stock()
        self.stock.catalogue = catalogue
        self.programs = Programs()
        self.programs.on_change = self._programs_changed
        self.programs.on_unanswered = self._program_failed
        self.divisions_changed: Callable[[], None] = lambda: None
        """Told when there is more or less to listen to; set by whoever joins topics."""
        self.view_of: Callable[[Message], dict[str, Any]] = lambda _wish: {}
        """How a wish looks to a program; set by the desk."""
        self.catalogue_trouble: str | None = None
        """Why the file as it stands now is not used, and the one before it still is."""
        self._heard_at: dict[bytes, float] = {}
        """Revision -> steady time it came: how long we take is counted."""
        self._give_up: list[Message] = []
        """Wishes that no program is asked about any more, and that wait to be passed over."""
        self._routes = routes
        self._is_ours = is_ours
        self._answered: dict[bytes, AnsweredRow] = {}
        self._catalogue_passed: dict[bytes, str] = {}
        """Revision -> why the catalogue has nothing for a wish that is not decided: a program may have something."""
        self._queue_in, self._queue_out = trio.open_memory_channel[Message](1_000)
        self._queue_was_full = False
        self._one_at_a_time = trio.Lock()
        self._later: list[tuple[float, bytes, Message]] = []
        """A heap: (steady time at which it is to be answered, id, wish)."""
        self._waiting: set[bytes] = set()
        """Ids of what is in it."""
        self._sooner = trio.Event()
        self._agreeing = trio.Lock()
        self._agree_at = 0.0
        """Steady time at which our mailboxes are asked again."""
        self.counters: Counter[str] = Counter()
        self.accepts = Accepts(
            board, delivery, store, events, clock, self.stock, self.programs, self._one_at_a_time, self.counters
        )
        delivery.set_role(Side.VENDOR, self)

    @property
    def public(self) -> bytes:
        return self._key.public

    @property
    def catalogue(self) -> Catalogue | None:
        return self.stock.catalogue

    @property
    def divisions(self) -> tuple[str, ...]:
        """What the catalogue and the programs make this node listen to."""
        patterns = self.catalogue.categories if self.catalogue is not None else ()
        return tuple(sorted({d for p in patterns for d in divisions_of_pattern(p)} | self.programs.divisions))

    @property
    def answers_by_itself(self) -> bool:
        return self.catalogue is not None or self.programs.any_here

    async def use(self, catalogue: Catalogue) -> None:
        """From now on this one. Open wishes that were passed over are looked at again: there may be more to offer."""
        async with self._one_at_a_time:
            self.stock.catalogue = catalogue
            again = [
                revision
                for revision, row in self._answered.items()
                if row.offer is None and not row.why.startswith(BY_PROGRAM) and self._board.get(revision) is not None
            ]
            await self._store.transact(lambda tx: tx.forget_answers(again))
            for revision in again:
                del self._answered[revision]
        self.divisions_changed()
        self._queue_was_full = True

    def answer_to(self, revision: bytes) -> AnsweredRow | None:
        """What we made of a revision of a wish."""
        return self._answered.get(revision)

    def catalogue_passed(self, revision: bytes) -> str | None:
        """Why the catalogue has nothing for a wish that nobody decided, if it was asked."""
        return self._catalogue_passed.get(revision)

    # ------------------------------------------------------------------------------------------------------- life

    async def restore(self) -> None:
        """At start, before anything runs: an accept that comes first of all takes its stock like any other."""

        def load(tx: Tx) -> list[AnsweredRow]:
            self.stock.load(tx)
            for name, patterns in tx.metas("program:").items():
                self.programs.remember(name.removeprefix("program:"), tuple(patterns.split()))
            return tx.answered()

        for row in await self._store.transact(load):
            self._note(row)

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled: answer wishes, those on the board first, and accepts that a crash left open."""
        self.divisions_changed()
        task_status.started()
        async with trio.open_nursery() as nursery:
            self.accepts.nursery = nursery
            for _ in range(ANSWERED_AT_ONCE):
                nursery.start_soon(self._answer_wishes)
            nursery.start_soon(self._answer_later)
            nursery.start_soon(self._stay_agreed)
            for live in self._threads.awake(Side.VENDOR):
                for talk in list(live.thread.talks.values()):
                    if talk.state is State.ACCEPTED and talk.answer is None:
                        nursery.start_soon(self.accepts.begin, live, talk)
                    elif talk.superseded is not None:
                        nursery.start_soon(self.accepts.reject_superseded, live, talk.superseded)
            self._queue_was_full = True  # what is on the board was heard in a former life
            while True:
                self._look_at_board()
                await self._events.rest(self._next_due)
                await self._tick()

    async def _tick(self) -> None:
        now = self._clock.certain()  # what ends here ends for good
        self.programs.tick()
        while self._give_up:
            await self._answer(self._give_up.pop(), GAVE_UP)
        self.accepts.ask_again()
        if lapsed := self.stock.lapse(now):
            await self._store.transact(lambda tx: tx.release_all([hold.accept for hold in lapsed]))
            self.counters["holds_over"] += len(lapsed)
        for live in self._threads.awake(Side.VENDOR):
            if live.lock.locked():
                continue
            if moves := live.thread.tick(now):
                keep_posted(self._board, live)
                await self._tell_moves(live, moves)
            if live.end.keys is not None and live.thread.talks and self._is_long_over(live, now):
                # By box and never by root: a root is what a wish's author claims, and anybody can claim another's.
                await self._store.transact(lambda tx, box=live.end.box: tx.forget_keys(box, None))  # type: ignore[misc]
                await self._store.checkpoint()
                self._threads.forget_end(live.end)
            self._threads.lay_to_rest(live)

    def _next_due(self) -> float:
        """The hour at which the next tick has something to do; one that is past: at once."""
        if (self._queue_was_full and self.answers_by_itself) or self.programs.is_busy or self._give_up:
            return 0
        times: list[float] = [self.stock.ledger.next_lapse]
        for live in self._threads.awake(Side.VENDOR):
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
            self.accepts.forget(offered)

    def forget_passed(self) -> None:
        """What was passed over and has left the board leaves the memory too, but for the last ones, which are listed
        with their reasons; the store knows it for a while longer."""
        self.programs.forget(lambda revision: self._board.get(revision) is not None)
        for revision in [revision for revision in self._heard_at if self._board.get(revision) is None]:
            del self._heard_at[revision]
        passed = [revision for revision, row in self._answered.items() if row.offer is None]
        known: tuple[tuple[dict[bytes, Any], list[bytes]], ...] = (
            (self._answered, passed),
            (self._catalogue_passed, list(self._catalogue_passed)),
        )
        for memory, revisions in known:
            gone = [revision for revision in revisions if self._board.get(revision) is None]
            for revision in gone[:-KEEP_ENDED]:
                del memory[revision]

    # --------------------------------------------------------------------------------------------------- listening

    async def heard(self, heard: Heard) -> None:
        """A wish of somebody else, new on the board."""
        message = heard.message
        assert message is not None
        if message.kind == "intent.close":
            live = self._threads.get(thread_id(message.root, message.author, self._key.public))
            if live is not None:
                live.thread.add(message, self._clock.now())
        else:
            self._heard_at[message.id] = self._clock.steady()
            if self.answers_by_itself and not self._queue_was_full:
                self._enqueue(message)

    def _enqueue(self, message: Message) -> None:
        try:
            self._queue_in.send_nowait(message)
        except trio.WouldBlock:
            self.counters["queue_full"] += 1
            self._queue_was_full = True  # it stays on the board, and we come back to it

    def _look_at_board(self) -> None:
        """Once there is room again: what did not fit into the queue."""
        if not self._queue_was_full or not self.answers_by_itself or self._queue_in.statistics().current_buffer_used:
            return
        if self._store.room is Room.FULL:
            return
        self._queue_was_full = False
        for posting in self._board:
            id = posting.message.id
            waits = id in self._answered or id in self._waiting or self.programs.is_asked(id)
            if posting.is_open and not waits and not self._queue_was_full:
                self._enqueue(posting.message)

    async def _answer_wishes(self) -> None:
        async for message in self._queue_out:
            if self._is_ours(message.author) or message.id in self._answered or message.id in self._waiting:
                continue
            assert isinstance(message.body, Intent)
            if not message.body.spread:
                await self._consider(message)
            elif len(self._later) >= MOST_LATER:
                self.counters["spread_full"] += 1
                await self._consider(message)
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
            await self._consider(message)

    async def _consider(self, message: Message) -> None:
        """Programs first, one after the other; then the catalogue."""
        program = self.programs.program_for(message)
        if program is not None:
            if not self.programs.ask(program, "wish", message, self.view_of(message)):
                self.counters["program_full"] += 1
                self._queue_was_full = True
        elif self.catalogue is not None:
            await self._answer(message)
        # Otherwise it stays on the board: whoever is to answer it is away, or rests.

    async def _answer(self, message: Message, passed: str | None = None) -> None:
        """Quote from the catalogue, or pass over, counted. `passed`: why a program did."""
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
            catalogue, reason = self.catalogue, passed or "category"
            if catalogue is not None:
                found = quote(catalogue, message.body, wish_at=message.head.at, now=now, left=self.stock.left(now))
                if isinstance(found, Quote):
                    await self._offer_quote(message, found, catalogue)
                    return
                self._catalogue_passed[message.id] = found.reason
                reason = passed or found.reason
            awaited = self.programs.is_resting_for(message) or self.programs.expected(message.body.category)
            if awaited and passed != GAVE_UP:
                return  # a program that is away may have something yet
            await self._pass(message, reason, now)

    async def _offer_quote(self, message: Message, found: Quote, catalogue: Catalogue) -> None:
        try:
            await self._offer(
                message, found.offer, found.valid_for, found.item, found.count, catalogue.contact, "offered"
            )
            self.counters["offered"] += 1
        except Trouble as trouble:  # a catalogue entry that fits no message: its owner must see it
            self.counters["passed_unspeakable"] += 1
            log.warning("an offer could not be made", item=found.item, why=trouble.code)

    async def _pass(self, message: Message, reason: str, now: int) -> None:
        self.counters[f"passed_{reason}"] += 1
        row = AnsweredRow(message.id, self._key.public, None, reason, None, 0)

        def work(tx: Tx) -> None:
            if tx.add_answered(row, now):
                tx.tally(now, "heard", *(["matched"] if matched(reason) else []), f"passed:{reason}")

        await self._store.transact_foreign(work)
        self._heard_at.pop(message.id, None)
        self._note(row)

    # ---------------------------------------------------------------------------------------------------- programs

    def _programs_changed(self) -> None:
        self.divisions_changed()
        self._events.announce()  # or the tick sleeps on
        self._queue_was_full = True  # it may want what is on the board

    def _program_failed(self, wish: Message, for_good: bool) -> None:
        if for_good:
            self._give_up.append(wish)
        self._queue_was_full = True

    async def program_passes(self, program: Program, wish: Message, why: str) -> None:
        """It has nothing for this wish: the next one is asked, then the catalogue."""
        reason = f"{BY_PROGRAM}{program.name}:{why}"
        if self.programs.program_for(wish) is not None:
            await self._consider(wish)
        else:
            await self._answer(wish, reason)

    async def program_offers(
        self, program: Program, wish: Message, offer: Offer, valid_for: int, stock: ProgramStock | None, count: int
    ) -> Message:
        """Raises Trouble if it cannot be offered."""
        async with self._one_at_a_time:
            now = self._clock.now()
            posting = self._board.get(wish.id)
            if posting is None or not posting.is_open or now >= wish.head.exp:
                raise refused("closed", "this wish is not open any more")
            _check_in_time(wish, now)
            item = None
            if stock is not None:
                left = self.stock.left(now)(stock, taken_span(stock, offer.when))
                if left is not None and left < count:
                    raise refused("sold_out", f"of {stock.key} there are {left} left, and {count} are wanted")
                if count > stock.share:
                    raise refused("share", f"one stranger gets at most {stock.share} of {stock.key}", "per_stranger")
                item = stock.key
                said = {
                    "many": stock.many,
                    "comes_back": stock.comes_back,
                    "turnaround": stock.turnaround,
                    "per_stranger": stock.per_stranger,
                }
                key, text = f"stock:{stock.key}", json.dumps(said)
                await self._store.transact(lambda tx: tx.put_meta(key, text))
            why = f"{BY_PROGRAM}{program.name}"
            made = await self._offer(wish, offer, valid_for, item, count, program.contact, why)
        self.counters["offered"] += 1
        return made

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
            now = self._clock.now()
            if posting is None or not posting.is_open or now >= message.head.exp:
                raise refused("closed", "this wish is not open any more")
            _check_in_time(message, now)
            return await self._offer(message, offer, valid_for, None, 1, contact, "by hand")

    async def _offer(
        self, wish: Message, offer: Offer, valid_for: int, item: str | None, count: int, contact: str, why: str
    ) -> Message:
        offer = replace(offer, reply=self._routes(await self._agree()))
        now = self._clock.now()
        live, new_box = self._thread_for(wish, now)
        rows: list[AnsweredRow] = []
        took = self._clock.steady() - self._heard_at.get(wish.id, self._clock.steady())

        def also(tx: Tx, message: Message) -> None:
            if new_box is not None:
                tx.put_box(new_box.public, new_box.reveal(), wish.root, Side.VENDOR.value, now)
            # The wish itself is part of what we will have to show: an offer means nothing without it.
            tx.add_message(
                id=wish.id, root=wish.root, thread=None, mine=False, kind=wish.kind, now=now, frame=wish.frame
            )
            row = AnsweredRow(wish.id, self._key.public, message.id, why, item, count)
            if tx.add_answered(row, now):
                tx.tally(now, "heard", "matched", "offered", slowness(took))
            tx.put_meta(f"contact:{message.id.hex()}", contact)
            told = {"intent": wish.root.hex(), "offer": message.id.hex()}
            self._events.write(tx, "offer.made", told)
            rows.append(row)

        assert isinstance(wish.body, Intent)
        exp = min(opened_at(wish.body, now) + valid_for, wish.head.exp)
        try:
            message, _ = await self._delivery.post(live, "offer", offer, answers=wish, exp=exp, also=also)
        except Refused as wrong:
            raise refused("offer", f"this cannot be offered: {wrong.detail}") from None
        if new_box is not None:
            self._threads.add_end(live.end)
            self._threads.add(live)
        keep_posted(self._board, live)
        self._inboxes.known_changed(self._key.public)
        self._heard_at.pop(wish.id, None)
        self._note(rows[0], contact)
        self._events.announce()
        return message

    async def _agree(self) -> tuple[Route, ...]:
        """The mailboxes that hold for our key: asked again once a day, and while none agrees every few minutes. One
        who asks for them while they are being asked waits for that."""
        async with self._agreeing:
            now = self._clock.steady()
            if now >= self._agree_at:
                self._mailboxes = await self._inboxes.agree(self._key, self._clock.now() + MAX_LIFE)
                self._agree_at = now + (AGREE_EVERY if self._mailboxes else AGREE_AGAIN)
                self._keep_mail(route.addr for route in self._mailboxes)
        return self._mailboxes

    async def _stay_agreed(self) -> None:
        """Fetch where our offers said that we do, and whoever listens stays known to its mailboxes."""
        said = [talk.offer.body for live in self._threads.awake(Side.VENDOR) for talk in live.thread.talks.values()]
        self._keep_mail(
            {addr for body in said if isinstance(body, Offer) for addr in routes_via("mailbox", body.reply)}
        )
        while True:
            if self.answers_by_itself:
                await self._agree()
            await trio.sleep(AGREE_AGAIN)

    def _keep_mail(self, addresses: Iterable[str]) -> None:
        def known() -> list[bytes]:
            """First those who accepted, then those who may; and who has not acknowledged yet what we said last."""
            awaited = [
                live
                for live in self._threads.awake(Side.VENDOR)
                if live.thread.live is not None or not self._delivery.is_idle(live.id)
            ]
            awaited.sort(key=lambda live: all(talk.accept is None for talk in live.thread.talks.values()))
            return [channel(live.end.box, live.other_box) for live in awaited if live.other_box is not None]

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
        await self._tell_moves(live, (Move(talk.offer.id, State.OFFERED, State.WITHDRAWN),))

    def _note(self, row: AnsweredRow, contact: str | None = None) -> None:
        self._answered[row.revision] = row
        self._catalogue_passed.pop(row.revision, None)
        self.accepts.know(row, contact)

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
                self.stock.ledger.release(accept.id)
            self._tally_move(tx, move, message)

    def _tally_move(self, tx: Tx, move: Move, message: Message) -> None:
        names = [move.after.value.lower()]
        if move.before is State.CONFIRMED:
            names.append("confirmed:late")
        if isinstance(message.body, Decline):
            names.append(f"declined:{message.body.reason or 'no reason'}")
        tx.tally(self._clock.now(), *names)

    async def received(self, live: LiveThread, message: Message, outcome: Outcome) -> None:
        self._events.announce()
        keep_posted(self._board, live)
        if outcome.owes == "superseded":
            await self.accepts.reject_superseded(live, message)
        for move in outcome.moves:
            if move.after is State.ACCEPTED:
                await self.accepts.begin(live, live.thread.talks[move.offer])

    async def _tell_moves(self, live: LiveThread, moves: tuple[Move, ...]) -> None:
        """All in one transaction: nothing that comes meanwhile is stored between them."""
        talks = [live.thread.talks[move.offer] for move in moves]
        lapsed = [
            talk.accept.id
            for move, talk in zip(moves, talks, strict=True)
            if move.after is State.LAPSED and talk.accept is not None
        ]
        told = [
            {
                "intent": live.root.hex(),
                "offer": move.offer.hex(),
                "state": move.after.value.lower(),
                **live.why_ended(talk),
            }
            for move, talk in zip(moves, talks, strict=True)
        ]

        def work(tx: Tx) -> None:
            tx.release_all(lapsed)  # nobody answered them in time: the stock is free
            for one in told:
                tx.tally(self._clock.now(), one["state"])
                self._events.write(tx, "offer.state", one)
            keep_expired(tx, live, moves)

        await self._store.transact(work)
        for accept in lapsed:
            self.stock.ledger.release(accept)
        self._events.announce()


def _over_at(live: LiveThread) -> int:
    """When a thread in which nothing is open is long over."""
    return max(talk.offer.head.exp for talk in live.thread.talks.values()) + THREAD_GRACE + 1


def _check_in_time(wish: Message, now: int) -> None:
    """Raises Trouble once a wish no longer collects offers."""
    if isinstance(wish.body, Intent) and wish.body.offers_by is not None and now >= wish.body.offers_by:
        raise refused("late", "this wish no longer collects offers")
