"""The requester: a person's wishes, from asking to contract.

Fresh keys for every wish, the private limit never in anything that leaves, one accept at a time.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
import trio

from protocol import schema
from protocol.board import OURS, Board
from protocol.deal import DECLINE_REASONS, Accept, Decline, Problem
from protocol.errors import Refused
from protocol.exchange import Move, Outcome, Side, State, Talk
from protocol.intent import Intent, IntentClose, division_of
from protocol.keys import BoxKey, SigningKey
from protocol.limits import MAX_GOSSIP_FRAME, MIN_LIFE, THREAD_GRACE
from protocol.mailbox import channel
from protocol.match import match, rank_key
from protocol.message import Draft, Message, mine_stamp, speak
from protocol.offer import Offer
from protocol.terms import Money, Route

from .clock import Chance, Clock
from .delivery import Delivery
from .door import Door
from .events import EventLog
from .gossip import Gossip
from .mailbox import Inboxes
from .policy import routes_via
from .pool import Pool
from .store import PostingRow, Store, Tx
from .threads import End, LiveThread, Threads, keep_expired, make_end, save
from .trouble import Exit, Trouble, refused
from .wish import ENDS, REASONS, Judged, Wish, opened_name, write_opened

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("requester")

ANSWER_WITHIN = 3600
"""Seconds a vendor has to confirm an accept, unless the person gives it more: after that she is free to choose another.
Never longer than the offer binds."""

MAIL_GRACE = 3 * 24 * 3600
"""Seconds after a wish's last hour for which its mailboxes still hold what is said about it: a confirm, say, to an
accept of the last minute."""

MakeIntent = Callable[[bytes, tuple[Route, ...]], Intent]
"""The public part of a wish, from its fresh box key and the mailboxes that hold for it."""

PUBLISH_AGAIN = 15.0
"""Seconds between two looks for somebody to tell what nobody has heard yet, besides every new subscription."""

COMING_IN = 60
"""Seconds after its start for which a node opens no offers: what lies at its mailboxes is to be among them."""


class Requester:
    def __init__(
        self,
        gossip: Gossip,
        board: Board,
        delivery: Delivery,
        inboxes: Inboxes,
        threads: Threads,
        store: Store,
        events: EventLog,
        clock: Clock,
        chance: Chance,
        net: str,
    ) -> None:
        self._gossip = gossip
        self._board = board
        self._delivery = delivery
        self._inboxes = inboxes
        self._threads = threads
        self._store = store
        self._events = events
        self._clock = clock
        self._chance = chance
        self._net = net
        self._wishes: dict[bytes, Wish] = {}
        self._began = 0.0
        """Steady time at which this life began."""
        self._moved = trio.Event()
        self._door = Door(net, clock, chance)
        self.counters: Counter[str] = Counter()
        self._pool = Pool(threads, delivery, store, self.counters)
        delivery.set_role(Side.REQUESTER, self)

    # ------------------------------------------------------------------------------------------------------- life

    def restore(self, wishes: Iterable[Wish]) -> None:
        """At start, before anything runs."""
        for wish in wishes:
            self._add(wish)
        for live in self._threads:
            if any(talk.state is State.CONFIRMED for talk in live.thread.talks.values()):
                self._pool.known.add(live.other)

    def forget(self, wish: Wish) -> None:
        """It is long over, and so are its threads."""
        self._wishes.pop(wish.root, None)
        self._board.pinned.discard(wish.end.me)

    def _add(self, wish: Wish) -> None:
        self._wishes[wish.root] = wish
        self._board.pinned.add(wish.end.me)

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled: publish what reached nobody yet, and let time pass for wishes and offers."""
        self._began = self._clock.steady()
        for wish in self._wishes.values():
            self._keep_mail(wish)
            if wish.is_open:
                self._gossip.join(wish.division)
            # Ours hang on our own board whatever became of the stored one: who comes late hears them from us.
            self._gossip.hear(wish.division, wish.current.frame)
        task_status.started()
        for wish in list(self._wishes.values()):
            async with wish.lock:
                await self._tell_losers(wish)  # whom a crash has left untold
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._publish_when_heard)
            while True:
                await self._events.rest(self._next_due)
                await self._tick()

    async def _publish_when_heard(self) -> None:
        while True:
            for wish in [wish for wish in self._wishes.values() if not wish.published]:
                if self._clock.now() < wish.current.head.exp and self._gossip.subscribers(wish.division):
                    await self._publish(wish)
            with trio.move_on_after(PUBLISH_AGAIN):  # what came while we published was told to nobody
                await self._gossip.wait_subscription()

    async def _tick(self) -> None:
        now = self._clock.certain()  # what ends here ends for good
        await self._pool.drop_passed_over()
        for live in self._threads.awake(Side.REQUESTER):
            if not live.lock.locked():
                await self._after_moves(live, live.thread.tick(now))
                self._threads.lay_to_rest(live)
        for wish in list(self._wishes.values()):
            if wish.lock.locked():
                continue  # being decided about this very moment
            if wish.is_open:
                self._hang_up(wish)
                decided = self._decided(wish)
                if decided is not None and decided.state is State.CONFIRMED:
                    await self._close(wish, "awarded")  # confirmed just before a crash
                elif decided is None and now >= wish.revision.head.exp:
                    await self._close(wish, "expired")
                elif decided is None and wish.state == "DECIDING":
                    await self._set_state(wish, "OPEN")  # refused or lapsed just before a crash
                elif now >= self._opens_at(wish):
                    await self._open_offers(wish)
            elif wish.closed_at is None:
                await self._close(wish, REASONS.get(wish.state, "expired"))  # ended just before a crash
            elif wish.end.keys is not None and now >= wish.closed_at + THREAD_GRACE:
                await self._forget(wish)

    def _hang_up(self, wish: Wish) -> None:
        """Ours hangs on our own board while it is open: after a start at an hour before its own it does not, and who
        asks us what there is would not hear of it."""
        if self._board.of_author(wish.end.me, wish.division) is None:
            wish.published = wish.published and not self._gossip.hear(wish.division, wish.current.frame).accepted

    def _opens_at(self, wish: Wish) -> float:
        """When the offers are opened that a wish collects until an hour; never: they are open."""
        hour = wish.sealed_until
        if hour is None:
            return math.inf
        return max(hour, self._clock.certain() + self._began + COMING_IN - self._clock.steady())

    async def _open_offers(self, wish: Wish) -> None:
        """From now on the person sees them; and nobody who could have heard of one gets in another."""
        now = self._clock.now()

        def work(tx: Tx) -> None:
            tx.put_meta(opened_name(wish.root), write_opened(now, tx.last_message()))
            self._events.write(tx, "offers.opened", {"intent": wish.root.hex()})

        async with wish.lock:
            self._set_opened(wish, now)  # what comes from now on is stored after it
            await self._store.transact(work)
        self._announce()

    def _set_opened(self, wish: Wish, opened: int | None) -> None:
        wish.opened = opened
        for live in self.threads_of(wish):
            live.thread.opened = opened

    def _next_due(self) -> float:
        """The hour at which the next tick has something to do; one that is past: at once."""
        threads = self._threads.awake(Side.REQUESTER)
        times = [float(due) for live in threads if (due := live.thread.due())]
        for wish in self._wishes.values():
            if wish.is_open:
                times.append(0 if self._was_interrupted(wish) else wish.revision.head.exp)
                times.append(self._opens_at(wish))
            elif wish.closed_at is None:
                times.append(0)
            elif wish.end.keys is not None:
                times.append(wish.closed_at + THREAD_GRACE)
        return 0 if self._pool.passed_over else min(times, default=math.inf)

    def _was_interrupted(self, wish: Wish) -> bool:
        """Did a crash come between a move in a thread and what follows from it for this open wish?"""
        decided = self._decided(wish)
        if decided is None:
            return wish.state == "DECIDING"
        return decided.state is State.CONFIRMED

    async def _forget(self, wish: Wish) -> None:
        """The forward secrecy we promise: what was sealed to this wish can be read by nobody any more."""
        end = wish.end
        await self._store.transact(lambda tx: tx.forget_keys(end.box, end.me))
        await self._store.checkpoint()
        self._threads.forget_end(end)
        self._inboxes.leave(end.me)
        wish.end = replace(end, keys=None)
        wish.ranks.clear()

    async def _set_state(self, wish: Wish, state: str, also: Callable[[Tx], None] = lambda _tx: None) -> None:
        def work(tx: Tx) -> None:
            tx.put_wish(replace(wish.row(), state=state))
            also(tx)

        await self._store.transact(work)
        wish.state = state

    # ------------------------------------------------------------------------------------------------------- asking

    async def ask(self, body: MakeIntent, *, life: int, limit: Money | None) -> tuple[Wish, tuple[str, ...]]:
        """Open a wish and tell the market. `body` makes the public part from the fresh box key.

        Returns it and the peers it was written to, perhaps none yet. Raises Trouble.
        """
        now = self._clock.now()
        key, box = SigningKey(self._chance.bytes(32)), BoxKey(self._chance.bytes(32))
        intent = body(box.public, await self._inboxes.agree(key, now + life + MAIL_GRACE))
        message = await self._say(key, "intent", intent, now, now + life, seq=0)
        end = make_end(key, box, message.id, Side.REQUESTER)
        division = division_of(intent.category)
        wish = Wish(end, division, message, message, "OPEN", limit, False, now, message.head.exp)

        def work(tx: Tx) -> None:
            tx.put_wish(wish.row())
            tx.put_box(box.public, box.reveal(), message.id, Side.REQUESTER.value, now)
            self._store_revision(tx, wish, message, now, None)
            self._events.write(tx, "wish.asked", {"intent": message.id.hex()})

        await self._store.transact(work)
        self._add(wish)
        self._threads.add_end(end)
        self._keep_mail(wish)
        self._gossip.join(division)
        self._gossip.hear(division, message.frame)
        self._events.announce()
        return wish, await self._publish(wish)

    async def update(
        self, wish: Wish, body: MakeIntent, *, life: int | None, limit: Money | None
    ) -> tuple[Wish, tuple[str, ...]]:
        """Replace a wish whole: offers for the old revision are void from now on, and their vendors are told."""
        async with wish.lock:
            self._check_free(wish)
            now = max(self._clock.now(), wish.current.head.at)
            until = max(now + (life or 0), wish.last_exp) + MAIL_GRACE
            intent = body(wish.end.box, await self._inboxes.agree(wish.end.secrets()[0], until))
            if division_of(intent.category) != wish.division:
                raise refused(
                    "division",
                    f"a wish in {wish.division} cannot move to another division",
                    "Withdraw it and ask anew.",
                )
            message = await self._say(
                wish.end.secrets()[0],
                "intent.update",
                intent,
                now,
                # Never before what it replaces: where the newer one is forgotten first, the older would come back.
                max(now + (life or 0), wish.last_exp),
                seq=wish.current.head.seq + 1,
                ref=wish.current.id,
                root=wish.root,
            )
            replaced = wish.current
            last_exp = max(wish.last_exp, message.head.exp)
            row = replace(
                wish.row(),
                limit_minor=limit.minor if limit else None,
                limit_currency=limit.currency if limit else None,
                published=False,
            )

            def work(tx: Tx) -> None:
                tx.put_wish(row)
                tx.drop_meta(opened_name(wish.root))
                self._store_revision(tx, wish, message, now, replaced.id)
                self._events.write(tx, "wish.updated", {"intent": wish.root.hex(), "revision": message.id.hex()})

            await self._store.transact(work)
            wish.current = wish.revision = message
            self._set_opened(wish, None)
            wish.limit, wish.published, wish.last_exp = limit, False, last_exp
            self._keep_mail(wish)
            self._gossip.hear(wish.division, message.frame)
            await self._tell_threads(wish, message)
            await self._tell_losers(wish)
            return wish, await self._publish(wish)

    def _keep_mail(self, wish: Wish) -> None:
        """Fetch what lies for this wish at the mailboxes it names, as long as anything can be said in it."""
        if wish.end.keys is None:
            return

        def known() -> list[bytes]:
            return [
                channel(wish.end.box, live.other_box)
                for live in self._threads.of_root(wish.root)
                if live.other_box is not None and any(talk.accept for talk in live.thread.talks.values())
            ]

        for address in routes_via("mailbox", wish.intent.reply):
            self._inboxes.keep(wish.end.secrets()[0], address, lambda: wish.last_exp + MAIL_GRACE, known)

    async def reach(self, wish: Wish, seconds: float) -> tuple[str, ...]:
        """Wait for somebody who carries the wish's division, and publish. The peers written to, perhaps none."""
        with trio.move_on_after(seconds):
            await self._gossip.wait_subscriber(wish.division)
        return await self._publish(wish)

    async def _publish(self, wish: Wish) -> tuple[str, ...]:
        published = self._gossip.publish(wish.division, wish.current.frame)
        if published.peers and not wish.published:
            wish.published = True
            await self._store.transact(lambda tx: tx.put_wish(wish.row()))
        return tuple(published.peers)

    async def _say(
        self,
        key: SigningKey,
        kind: str,
        body: Intent | IntentClose,
        at: int,
        exp: int,
        *,
        seq: int,
        ref: bytes | None = None,
        root: bytes | None = None,
    ) -> Message:
        draft = Draft(kind, body, self._net, at, exp, seq, self._chance.bytes(16), ref=ref, root=root)
        if self._board.bits:
            draft = await trio.to_thread.run_sync(mine_stamp, draft, key.public, self._board.bits)
        try:
            return speak(draft, key)
        except Refused as wrong:
            raise refused("wish", f"this cannot be asked: {wrong.detail}", _mend(wrong)) from None

    def _store_revision(self, tx: Tx, wish: Wish, message: Message, now: int, replaces: bytes | None) -> None:
        tx.add_message(
            id=message.id, root=wish.root, thread=None, mine=True, kind=message.kind, now=now, frame=message.frame
        )
        tx.put_posting(PostingRow(message.id, wish.division, message.head.exp, OURS, True, message.frame), replaces)

    # --------------------------------------------------------------------------------------------------- deciding

    def wishes(self) -> list[Wish]:
        return list(self._wishes.values())

    def wish(self, root: bytes) -> Wish | None:
        return self._wishes.get(root)

    def wish_of_message(self, message_id: bytes) -> Wish | None:
        """The wish a revision belongs to, by the id of its first, newest or closing frame."""
        for wish in self._wishes.values():
            if message_id in (wish.root, wish.current.id, wish.revision.id):
                return wish
        return None

    def threads_of(self, wish: Wish) -> list[LiveThread]:
        """One for each vendor that offered."""
        return [live for live in self._threads.of_root(wish.root) if live.side is Side.REQUESTER]

    def judged(self, wish: Wish) -> list[Judged]:
        """All offers for a wish, best first: by the person's own wishes, never by anything an offer says of itself."""
        found = [self.judge(wish, live, talk) for live in self.threads_of(wish) for talk in live.thread.talks.values()]
        return sorted(
            found,
            key=lambda one: (
                one.talk.state in (State.DECLINED, State.WITHDRAWN, State.VOID, State.REJECTED, State.LAPSED),
                rank_key(wish.intent, one.match, one.offer.total),
                one.talk.offer.id,
            ),
        )

    def judge(self, wish: Wish, live: LiveThread, talk: Talk) -> Judged:
        offer = talk.offer.body
        assert isinstance(offer, Offer)
        return Judged(live, talk, match(wish.intent, offer), wish.limit)

    async def accept(
        self,
        live: LiveThread,
        talk: Talk,
        *,
        contact: str,
        note: str | None,
        options: tuple[str, ...],
        tell_others: str | None = None,
        answer_within: int = ANSWER_WITHIN,
    ) -> Message:
        """Say yes to exactly this offer. Returns the accept: its id is the contract's, once confirmed. `tell_others`:
        the reason the other vendors are told when it is."""
        wish = self._wish_of(live)
        _check_reason(wish, tell_others)
        async with wish.lock:
            self._check_free(wish)
            _check_opened(wish)
            now = self._clock.now()
            if not live.lock.locked():
                await self._after_moves(live, live.thread.tick(self._clock.certain()))
            _check_offered(talk, "accepted")
            offer = talk.offer.body
            assert isinstance(offer, Offer)
            unknown = sorted(set(options) - {option.name for option in offer.options})
            if unknown:
                names = ", ".join(option.name for option in offer.options) or "none"
                raise refused("option", f"the offer has no option {unknown[0]}", f"It has: {names}.")
            body = Accept(contact, options, note)
            exp = min(talk.offer.head.exp, now + answer_within)

            def also(tx: Tx, message: Message) -> None:
                tx.add_disclosure(live.root, live.other, "contact", now)
                tx.put_wish(replace(wish.row(), state="DECIDING"))
                _keep_reason(tx, wish, tell_others)
                self._write_state(tx, live, talk, State.ACCEPTED)

            def check() -> None:
                _check_offered(talk, "accepted")
                if self._clock.now() >= exp:
                    raise refused("state", "this offer has expired", "Only an open offer can be accepted.")

            try:
                message, _ = await self._delivery.post(
                    live, "accept", body, answers=talk.offer, exp=exp, also=also, check=check
                )
            except Refused as wrong:
                raise refused("accept", f"this cannot be said: {wrong.detail}") from None
            wish.state = "DECIDING"
            self._inboxes.known_changed(wish.end.me)
        self._announce()
        return message

    async def decline(self, live: LiveThread, talk: Talk, reason: str | None) -> None:
        """Say no. The reason leaves only if the person gives one, and never for a wish with a private limit: a few
        such answers would reveal it."""
        wish = self._wish_of(live)
        _check_reason(wish, reason)
        _check_opened(wish)
        _check_offered(talk, "declined")
        await self._decline(live, talk, Decline(reason))
        self._announce()

    async def withdraw(self, wish: Wish, reason: str | None = None) -> None:
        """End a wish for ever. Everybody who offered is told, with the reason if one is given."""
        _check_reason(wish, reason)
        async with wish.lock:
            if not wish.is_open:
                raise refused("state", f"this wish is {wish.state.lower()} already")
            if self._decided(wish):
                raise refused(
                    "accepted",
                    "an accept is under way for this wish",
                    "Wait for the vendor's answer, or for its deadline.",
                )
            await self._close_locked(wish, "withdrawn", lambda tx: _keep_reason(tx, wish, reason))

    async def wait_moved(self) -> None:
        """Until some offer changes its state."""
        await self._moved.wait()

    def _wish_of(self, live: LiveThread) -> Wish:
        wish = self._wishes.get(live.root)
        if wish is None or live.end.keys is None:
            raise refused("keys", "the keys of this wish were deleted", "It is long over: ask again.")
        return wish

    def _check_free(self, wish: Wish) -> None:
        """award: one. The person's own node sees to it that one wish makes one contract."""
        if not wish.is_open:
            raise refused("state", f"this wish is {wish.state.lower()}", "Ask again to start a new one.")
        decided = self._decided(wish)
        if decided is not None:
            raise refused(
                "accepted",
                f"an offer for this wish is {decided.state.value.lower()} already",
                "One wish makes one contract. Wait for the vendor's answer, or for its deadline.",
            )

    def _decided(self, wish: Wish) -> Talk | None:
        for live in self.threads_of(wish):
            for talk in live.thread.talks.values():
                if talk.state in (State.ACCEPTED, State.CONFIRMED):
                    return talk
        return None

    async def _decline(self, live: LiveThread, talk: Talk, body: Decline) -> None:
        """Say no to an offer that is open, or tell why it is void."""
        was_open = talk.state is State.OFFERED

        def also(tx: Tx, message: Message) -> None:
            if was_open:
                self._write_state(
                    tx, live, talk, State.DECLINED, {name: str(word) for name, word in schema.write(body).items()}
                )

        def check() -> None:
            if was_open or not _is_untold(talk):
                _check_offered(talk, "declined")

        await self._delivery.post(
            live, "decline", body, answers=talk.offer, exp=talk.offer.head.exp, also=also, check=check
        )

    async def _close(self, wish: Wish, reason: str) -> None:
        async with wish.lock:
            await self._close_locked(wish, reason)

    async def _close_locked(self, wish: Wish, reason: str, also: Callable[[Tx], None] = lambda _tx: None) -> None:
        """The end is stored first, so that a crash cannot undo it; then losers are told, each by a letter; then the
        market, by a tombstone. What a crash leaves undone of it is done at the next start."""
        if wish.closed_at is not None:
            return
        with trio.CancelScope(shield=True):  # whoever asked for it may go away meanwhile
            if wish.is_open:
                await self._set_state(wish, ENDS[reason], also)
            else:
                reason = REASONS.get(wish.state, "expired")
            if wish.end.keys is None:  # a damaged store: nothing can be said any more
                now = self._clock.now()
                await self._store.transact(lambda tx: tx.put_wish(replace(wish.row(), closed_at=now)))
                wish.closed_at = now
                return
            await self._tell_losers(wish)
            await self._bury(wish, reason)

    async def _tell_losers(self, wish: Wish) -> None:
        """Everybody whose offer the end of a wish, or a newer text of it, makes void gets a letter that says so: what
        is heard on gossip may be missed, and says nothing about an offer."""
        if wish.end.keys is None:
            return
        reason = await self._reason(wish)
        for live in self.threads_of(wish):
            if live.thread.newest is not None:
                await self._tell_loser(wish, live, live.thread.newest, reason)
        self._announce()

    async def _tell_loser(self, wish: Wish, live: LiveThread, talk: Talk, reason: str | None) -> None:
        is_lost = talk.state is State.OFFERED and not wish.is_open
        if (is_lost or _is_untold(talk)) and self._clock.certain() < talk.offer.head.exp:
            with contextlib.suppress(Trouble):  # it ended while we waited for our turn
                await self._decline(live, talk, Decline(reason, wish.turn))

    async def _reason(self, wish: Wish) -> str | None:
        """What the person agreed to tell those who lose."""
        if wish.state not in ("AWARDED", "WITHDRAWN"):
            return None
        return await self._store.transact(lambda tx: tx.get_meta(_reason_name(wish)))

    async def _bury(self, wish: Wish, reason: str) -> None:
        # Its exp is the greatest ever signed under the key, and `at` never decreases: also on a clock that jumped.
        now = max(self._clock.now(), wish.current.head.at)
        exp = max(wish.last_exp, now + MIN_LIFE)
        offers = sum(len(live.thread.talks) for live in self.threads_of(wish))
        body = IntentClose(wish.division, reason, offers)
        message = await self._say(
            wish.end.secrets()[0], "intent.close", body, now, exp, seq=wish.current.head.seq + 1, root=wish.root
        )
        replaced = wish.current
        row = replace(wish.row(), published=False, closed_at=now)

        def work(tx: Tx) -> None:
            tx.put_wish(row)
            self._store_revision(tx, wish, message, now, replaced.id)
            self._events.write(tx, "wish.closed", {"intent": wish.root.hex(), "reason": reason})
            tx.drop_meta(_reason_name(wish))

        await self._store.transact(work)
        wish.current, wish.closed_at, wish.published, wish.last_exp = message, now, False, exp
        self._gossip.hear(wish.division, message.frame)
        await self._tell_threads(wish, message)
        await self._publish(wish)

    async def _tell_threads(self, wish: Wish, message: Message) -> None:
        for live in self.threads_of(wish):
            outcome = live.thread.add(message, self._clock.now())
            await self._after_moves(live, outcome.moves)
        self._announce()

    # --------------------------------------------------------------------------------------------- as delivery's role

    def welcome(self, end: End, message: Message, source: str) -> tuple[Message, ...] | None:
        wish = self._wishes.get(end.root)
        if wish is None or message.kind not in ("offer", "offer.withdraw"):
            return None
        if wish.is_open and wish.is_late(message):
            return None
        if message.kind == "offer" and not wish.is_current(message):
            return None  # it may come with an offer that is not too late
        if not self._pool.lets_in(wish, message, source):
            return None
        return (wish.revision,) if wish.is_open else (wish.revision, wish.current)

    def turn_away(self, end: End, message: Message, item_digest: bytes) -> bytes | None:
        wish = self._wishes.get(end.root)
        if wish is None or message.kind != "offer":
            return None
        if not wish.is_current(message):
            self.counters["too_late"] += 1
            return self._door.turn_away(end, message, item_digest, Problem("state", wish=wish.turn))
        if wish.is_late(message):
            self.counters["late_offers"] += 1
            return self._door.turn_away(end, message, item_digest, Problem("lapsed"))
        return None

    def record(self, tx: Tx, live: LiveThread, message: Message, outcome: Outcome) -> None:
        if message.kind == "offer" and outcome.owes == "lapsed":
            self.counters["late_offers"] += 1
        elif message.kind == "offer":
            told = {"intent": live.root.hex(), "offer": message.id.hex()}
            self._events.write(tx, "offer.received", told)
        for move in outcome.moves:
            if move.before is not State.NONE:
                talk = live.thread.talks[move.offer]
                self._write_state(tx, live, talk, move.after)

    async def received(self, live: LiveThread, message: Message, outcome: Outcome) -> None:
        await self._after_moves(live, outcome.moves, told=True)
        wish = self._wishes.get(live.root)
        if message.kind == "offer" and wish is not None and live.end.keys is not None:
            newest = live.thread.newest
            if newest is not None and newest.offer.id == message.id:  # it crossed the wish's end, or a newer text
                await self._tell_loser(wish, live, newest, None)
        self._announce()

    async def _after_moves(self, live: LiveThread, moves: tuple[Move, ...], *, told: bool = False) -> None:
        """What follows from moves: a confirmed contract ends the wish, a refused one opens it again."""
        if not moves or self._threads.get(live.id) is not live:
            return  # or it was passed over meanwhile
        if not told:
            await self._store.transact(lambda tx: self._write_moves(tx, live, moves))
        wish = self._wishes.get(live.root)
        for move in moves:
            if move.after is State.CONFIRMED:
                self._pool.known.add(live.other)
            if wish is None:
                break  # its own frames were damaged in the store; what was said in the thread still counts
            if move.after is State.CONFIRMED and wish.is_open:
                await self._close(wish, "awarded")
            elif move.after in (State.REJECTED, State.LAPSED) and wish.state == "DECIDING":
                await self._set_state(wish, "OPEN")
        self._announce()

    def _write_moves(self, tx: Tx, live: LiveThread, moves: tuple[Move, ...]) -> None:
        for move in moves:
            self._write_state(tx, live, live.thread.talks[move.offer], move.after)
        keep_expired(tx, live, moves)
        save(tx, live)

    def _write_state(
        self, tx: Tx, live: LiveThread, talk: Talk, after: State, why: Mapping[str, str] | None = None
    ) -> None:
        told = {"intent": live.root.hex(), "offer": talk.offer.id.hex(), "state": after.value.lower()}
        self._events.write(tx, "offer.state", {**told, **(live.why_ended(talk) if why is None else why)})
        if after is State.CONFIRMED and talk.accept is not None:
            self._events.write(tx, "contract.confirmed", {**told, "contract": talk.accept.id.hex()})

    def _announce(self) -> None:
        self._events.announce()
        self._moved.set()
        self._moved = trio.Event()


def _is_untold(talk: Talk) -> bool:
    """Void by the person's own doing, and its vendor does not know."""
    return talk.state is State.VOID and talk.accept is None and talk.refusal is None


def _check_reason(wish: Wish, reason: str | None) -> None:
    if reason is None:
        return
    if reason not in DECLINE_REASONS:
        raise Trouble("reason", f"{reason!r} is no reason", f"One of {', '.join(DECLINE_REASONS)}.", Exit.USAGE)
    if wish.limit is not None:
        raise refused(
            "reason", "this wish has a private limit, and reasons could reveal it", "Say it without a reason."
        )


def _reason_name(wish: Wish) -> str:
    return f"reason:{wish.root.hex()}"


def _keep_reason(tx: Tx, wish: Wish, reason: str | None) -> None:
    """Until the wish is over and everybody told."""
    if reason is None:
        tx.drop_meta(_reason_name(wish))
    else:
        tx.put_meta(_reason_name(wish), reason)


def _check_opened(wish: Wish) -> None:
    if wish.sealed_until is not None:
        hour = datetime.fromtimestamp(wish.sealed_until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        raise refused("sealed", f"offers to this wish are sealed until {hour}", "All are opened together then.")


def _check_offered(talk: Talk, done: str) -> None:
    if talk.state is not State.OFFERED:
        raise refused("state", f"this offer is {talk.state.value.lower()}", f"Only an open offer can be {done}.")


def check_life(life: int) -> None:
    if life < MIN_LIFE:
        raise Trouble(
            "expires", f"a wish lives at least {MIN_LIFE // 60} minutes", "Use --expires 5m or more.", Exit.USAGE
        )


def _mend(wrong: Refused) -> str:
    return f"A wish has at most {MAX_GOSSIP_FRAME} bytes." if wrong.reason.value == "size" else ""
