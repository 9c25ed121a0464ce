"""What an accept of one of our offers sets in motion: stock is held for it, at most ten minutes; a person, a program or
nobody but the stock decides; and the answer is stored before it is said."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
import trio

from protocol.board import Board
from protocol.deal import Accept, Confirm, Reject
from protocol.exchange import State, Talk
from protocol.limits import THREAD_GRACE
from protocol.message import Message
from protocol.offer import Offer

from ..clock import Clock
from ..delivery import Delivery
from ..events import EventLog
from ..store import AnsweredRow, HoldRow, Store, Tx
from ..threads import LiveThread, keep_posted
from ..trouble import refused
from .programs import BY_PROGRAM, Program, Programs
from .stock import Stock, slots_chosen, time_of

log = structlog.get_logger("vendor.accepts")


class Accepts:
    def __init__(
        self,
        board: Board,
        delivery: Delivery,
        store: Store,
        events: EventLog,
        clock: Clock,
        stock: Stock,
        programs: Programs,
        one_at_a_time: trio.Lock,
        counters: Counter[str],
    ) -> None:
        """`one_at_a_time`: held by whoever offers or promises stock."""
        self._board = board
        self._delivery = delivery
        self._store = store
        self._events = events
        self._clock = clock
        self._stock = stock
        self._programs = programs
        self._one_at_a_time = one_at_a_time
        self._counters = counters
        self.machine_of: Callable[[str], str] = lambda _peer: ""
        """Where in the own house a transport peer is (policy.machine_of); set by whoever has the links."""
        self.view_of: Callable[[LiveThread, Talk], dict[str, Any]] = lambda _live, _talk: {}
        """How an accept looks to a program; set by the desk."""
        self.nursery: trio.Nursery | None = None
        """Set while the vendor runs."""
        self._undecided: dict[bytes, tuple[LiveThread, Talk]] = {}
        """Offer -> its accept, which somebody must decide: a person, or a program."""
        self._rows: dict[bytes, AnsweredRow] = {}
        """Offer -> how it came about, and what it takes from stock."""
        self._contacts: dict[bytes, str] = {}

    def know(self, row: AnsweredRow, contact: str | None = None) -> None:
        """An offer that may be accepted. `contact`: the one promised with it, if it is at hand."""
        if row.offer is not None:
            self._rows[row.offer] = row
            if contact is not None:
                self._contacts[row.offer] = contact

    def forget(self, offer: bytes) -> None:
        """It is over for good."""
        self._rows.pop(offer, None)
        self._contacts.pop(offer, None)

    def ask_again(self) -> None:
        """Have what is undecided decided by its program, if that is here by now."""
        for live, talk in list(self._undecided.values()):
            self._ask_about(live, talk)

    async def reject_superseded(self, live: LiveThread, accept: Message) -> None:
        if self._clock.now() < accept.head.exp and live.end.keys is not None:
            body = Reject("superseded")
            await self._delivery.post(live, "reject", body, answers=accept, exp=accept.head.exp)

    async def begin(self, live: LiveThread, talk: Talk) -> None:
        """Hold stock for an accept, or say why not; then confirm at once, unless a person or a program decides."""
        accept = talk.accept
        assert accept is not None
        row = self._rows.get(talk.offer.id)
        by_program = row is not None and row.why.startswith(BY_PROGRAM)
        program = self._program_of(talk)
        waits = by_program and (program is None or program.decides)
        if row is not None and row.why == "offered" and self._stock.catalogue is not None:
            waits = self._stock.catalogue.confirm == "by hand"
        await self._settle(live, talk, confirm=not waits)
        if waits and talk.answer is None and talk.state is State.ACCEPTED and self._clock.now() < accept.head.exp:
            self._undecided[talk.offer.id] = (live, talk)
            told = {"intent": live.root.hex(), "offer": talk.offer.id.hex(), "contract": accept.id.hex()}
            await self._events.add("accept.waits", told)
            self._ask_about(live, talk)

    async def decide(
        self, live: LiveThread, talk: Talk, refusal: str | None, note: str | None = None, reference: str | None = None
    ) -> None:
        """What a person or a program decided about an accept. Raises Trouble if there is nothing to decide any more."""
        if talk.accept is None or talk.state is not State.ACCEPTED or talk.answer is not None:
            raise refused("state", f"this offer is {talk.state.value.lower()}", "Only an open accept can be decided.")
        if refusal is not None:
            async with self._one_at_a_time:
                if talk.answer is None:  # or somebody else decided while we waited for our turn
                    await self._refuse(live, talk, refusal, note)
        else:
            await self._settle(live, talk, confirm=True, note=note, reference=reference)
        self._undecided.pop(talk.offer.id, None)
        keep_posted(self._board, live)
        self._events.announce()

    async def _settle(
        self, live: LiveThread, talk: Talk, *, confirm: bool, note: str | None = None, reference: str | None = None
    ) -> None:
        """Hold what an accept takes, at most ten minutes; refuse it if that cannot be; confirm it if it is time to."""
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
            row = self._rows.get(talk.offer.id)
            hold: HoldRow | None = None
            if row is not None and row.item is not None:
                hold, refusal = await self._try_hold(live, talk, row, now)
                if refusal is not None:
                    await self._refuse(live, talk, refusal)
            if confirm and talk.answer is None:
                await self._confirm(live, talk, hold, note, reference)
        keep_posted(self._board, live)
        self._events.announce()

    async def _try_hold(
        self, live: LiveThread, talk: Talk, row: AnsweredRow, now: int
    ) -> tuple[HoldRow | None, str | None]:
        accept, offer, item = talk.accept, talk.offer.body, row.item
        assert accept is not None
        assert isinstance(accept.body, Accept)
        assert isinstance(offer, Offer)
        assert item is not None
        if slots_chosen(accept.body.options) > 1:
            return None, "terms"
        when = time_of(offer, accept.body.options)
        takers = {live.peer or "", live.source, self.machine_of(live.peer or "")} - {""}
        hold, refusal = await self._store.transact(
            lambda tx: self._stock.try_hold(tx, accept.id, item, row.count, when, takers, now)
        )
        if hold is not None:
            self._stock.ledger.put(hold)
        return hold, refusal

    async def _refuse(self, live: LiveThread, talk: Talk, why: str, note: str | None = None) -> None:
        accept = talk.accept
        assert accept is not None

        def also(tx: Tx, message: Message) -> None:
            tx.release(accept.id)
            self._tell_answer(live, talk)(tx, message)

        body = Reject(why, note)
        await self._delivery.post(live, "reject", body, answers=accept, exp=accept.head.exp, also=also)
        self._stock.ledger.release(accept.id)
        self._counters[f"rejected_{why}"] += 1

    async def _confirm(
        self, live: LiveThread, talk: Talk, hold: HoldRow | None, note: str | None, reference: str | None
    ) -> None:
        accept = talk.accept
        assert accept is not None
        body = Confirm(await self._contact_for(talk.offer.id), reference or accept.id.hex()[:8].upper(), note)
        kept: list[HoldRow] = []

        def also(tx: Tx, message: Message) -> None:
            if hold is not None:
                kept.append(self._stock.keep(tx, hold, accept.head.exp))
            self._tell_answer(live, talk)(tx, message)

        # It lives longer than the accept: a confirm that comes too late is answered, so that we learn of it.
        exp = accept.head.exp + THREAD_GRACE
        await self._delivery.post(live, "confirm", body, answers=accept, exp=exp, also=also)
        for row in kept:
            self._stock.ledger.put(row)
        self._counters["confirmed"] += 1

    async def _contact_for(self, offer: bytes) -> str:
        """The contact promised with the offer: what the catalogue says may have changed since."""
        if offer not in self._contacts:
            found = await self._store.transact(lambda tx: tx.get_meta(f"contact:{offer.hex()}"))
            catalogue = self._stock.catalogue
            self._contacts[offer] = found or (catalogue.contact if catalogue is not None else "see offer")
        return self._contacts[offer]

    def _tell_answer(self, live: LiveThread, talk: Talk) -> Callable[[Tx, Message], None]:
        def also(tx: Tx, message: Message) -> None:
            state = "confirmed" if message.kind == "confirm" else "rejected"
            why = [f"rejected:{message.body.reason}"] if isinstance(message.body, Reject) else []
            tx.tally(self._clock.now(), state, *why)
            told = {"intent": live.root.hex(), "offer": talk.offer.id.hex(), "state": state}
            if isinstance(message.body, Reject):
                told["reason"] = message.body.reason
            self._events.write(tx, "offer.state", told)
            if state == "confirmed" and talk.accept is not None:
                self._events.write(tx, "contract.confirmed", {**told, "contract": talk.accept.id.hex()})

        return also

    def _ask_about(self, live: LiveThread, talk: Talk) -> None:
        """Have an accept decided by the program that made the offer, if it is here."""
        accept = talk.accept
        if accept is None or talk.state is not State.ACCEPTED or talk.answer is not None:
            self._undecided.pop(talk.offer.id, None)
            return
        program = self._program_of(talk)
        if program is None or program.rests_until > trio.current_time() or self._programs.is_asked(accept.id):
            return
        if not program.decides:
            self._undecided.pop(talk.offer.id, None)
            if self.nursery is not None:
                self.nursery.start_soon(partial(self._settle, live, talk, confirm=True))
        elif self._programs.may_ask_about(accept.id):
            self._programs.ask(program, "accept", accept, self.view_of(live, talk))

    def _program_of(self, talk: Talk) -> Program | None:
        row = self._rows.get(talk.offer.id)
        if row is None or not row.why.startswith(BY_PROGRAM):
            return None
        return self._programs.get(row.why.removeprefix(BY_PROGRAM))
