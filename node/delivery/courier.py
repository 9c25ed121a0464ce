"""Couriers: one for each thread that has something to say, or an open offer whose other party is to be found again.

A courier looks for a way to the other party, over a link that exists, a line that is open, or an address that was
named; says what is due; and comes back until every message is settled. Where nobody is at home it leaves what it has at
the mailboxes the other party named.
"""

from collections import Counter
from collections.abc import Awaitable, Callable

import structlog
import trio

from protocol.envelope import Item, read_item

from ..clock import Chance, Clock
from ..network.seam import Address, Network, NetworkError, PeerId, StreamError
from ..policy import DialBook, lives_in_public
from ..store import DepositRow, Store
from ..threads import MAX_MAILBOXES, LiveThread
from .lines import Line, Lines
from .outbox import ACK_WAIT, Outbox, Pending, Stage

log = structlog.get_logger("courier")

FIRST_RETRY = 0.25
"""Seconds before the first attempt to come back to somebody who was just there."""

SLOW_RETRY, LAST_RETRY = 5.0, 24 * 3600.0
"""Seconds between attempts to reach somebody who is away: a quarter of the time he is away already, and within these
bounds. A new link to him wakes his courier at once."""

DAY, PATIENCE = 24 * 3600.0, 1800.0
"""But for the first day no longer than this: whoever opens the lid in the morning reads at breakfast what was said."""

CHECK_MAILBOX_EVERY = 900.0
"""Seconds between two looks whether a mailbox still has what we left there, or whether it was fetched."""

Leave = Callable[[Address, bytes, list[Item]], Awaitable[dict[bytes, Stage | None]]]
"""Leave items for a receiver (signing key) at a mailbox (address). Returns digest -> STORED or FETCHED, or None for
what it does not take; those it was not asked about are missing. Raises NetworkError."""


class Couriers:
    def __init__(
        self,
        network: Network,
        lines: Lines,
        outbox: Outbox,
        store: Store,
        clock: Clock,
        chance: Chance,
        net: str,
        told: Callable[[LiveThread, Pending, Stage], None],
        counters: Counter[str],
    ) -> None:
        self._network = network
        self._lines = lines
        self._outbox = outbox
        self._store = store
        self._clock = clock
        self._chance = chance
        self._told = told
        self.counters = counters
        self.dials = DialBook(lives_in_public(net, network.addresses))
        self._on_the_way: dict[bytes, trio.Event] = {}
        """Thread -> what wakes its courier."""
        self._leaving: set[tuple[bytes, Address]] = set()
        self._nursery: trio.Nursery | None = None
        self.find_addresses: Callable[[PeerId], tuple[Address, ...]] = lambda _peer: ()
        """Where else a peer was seen lately; set by whoever keeps the address book."""
        self.leave: Leave | None = None
        """How to leave something at a mailbox; set by whoever speaks with mailboxes."""

    def start(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def __contains__(self, thread: bytes) -> bool:
        """Is somebody on the way for this thread?"""
        return thread in self._on_the_way

    def send(self, live: LiveThread) -> None:
        """Somebody goes, or goes on now, if anybody does: before `start` nobody, then all that waits."""
        if self._nursery is None:
            return
        if live.id in self._on_the_way:
            self._on_the_way[live.id].set()
        else:
            self._on_the_way[live.id] = trio.Event()
            self._nursery.start_soon(self._carry, live)

    def nudge(self, thread: bytes) -> None:
        """Something changed for this thread: whoever is on the way looks again."""
        if thread in self._on_the_way:
            self._on_the_way[thread].set()

    # --------------------------------------------------------------------------------------------------- carrying

    async def _carry(self, live: LiveThread) -> None:
        """Until all is settled; after a restart, also just until the other party was reached."""
        retry = FIRST_RETRY if live.peer is not None else SLOW_RETRY
        away_since: float | None = None
        reached = False
        try:
            while True:
                self._on_the_way[live.id] = wake = trio.Event()
                await self._drop_expired(live)
                if live.id not in self._outbox and (reached or live.thread.live is None):
                    return
                line: Line | None = None
                try:
                    line = await self._connect(live)
                    reached = True
                    await self._say_due(live, line)
                    await _wait_any(self._until_next(live, line), wake, line.closed)
                    if not line.is_open:
                        raise StreamError("the stream ended")
                except NetworkError as error:
                    log.debug("not reached", error=str(error))
                    self.counters["not_reached"] += 1
                    reached = False
                    now = self._clock.steady()
                    if line is not None and line.useful:
                        retry, away_since = FIRST_RETRY, None
                    away_since = now if away_since is None else away_since
                    self._leave_at_mailboxes(live)
                    # The first moment cannot be cut short: a peer that lets us in and hangs up makes nobody spin.
                    pause = retry * self._chance.choices.uniform(0.8, 1.2)
                    await trio.sleep(min(pause, FIRST_RETRY))
                    await _wait_any(pause - FIRST_RETRY, wake)
                    patience = _patience(self._clock.steady() - away_since)
                    retry = min(LAST_RETRY, patience, retry * 2) if retry < SLOW_RETRY else min(LAST_RETRY, patience)
        finally:
            del self._on_the_way[live.id]

    async def _say_due(self, live: LiveThread, line: Line) -> None:
        for pending in self._outbox.of(live.id):
            now = self._clock.steady()
            if now < pending.due_at(line) or not self._outbox.holds(pending):
                continue
            if pending.line is line and line.heard_at < pending.sent_at:
                # Who lives answers something. A stream can be dead at the other end and look well at ours.
                self.counters["mute_streams"] += 1
                await line.give_up()
                raise StreamError("nothing came back on this stream")
            pending.sent_on(line, now)
            await line.send(pending.item.encoded())
            if pending.wants_ack:
                self._told(live, pending, Stage.SENT)
            else:
                await self._settle(live, pending, Stage.SENT)

    def _until_next(self, live: LiveThread, line: Line) -> float:
        """Seconds until something of this thread is due on this line, or over."""
        now, wall = self._clock.steady(), self._clock.certain()
        times = [
            max(0.0, min(pending.due_at(line) - now, pending.row.exp - wall)) for pending in self._outbox.of(live.id)
        ]
        return max(0.05, min(times, default=ACK_WAIT))

    async def _drop_expired(self, live: LiveThread) -> None:
        now = self._clock.certain()
        for pending in self._outbox.of(live.id):
            if now >= pending.row.exp:
                self.counters["expired_unacknowledged"] += 1
                await self._settle(live, pending, Stage.FAILED, pending.row.reason or "expired")

    async def _settle(self, live: LiveThread, pending: Pending, stage: Stage, reason: str | None = None) -> None:
        now = self._clock.now()
        self._outbox.settle(live.id, pending.row.id)
        settled = await self._store.transact(lambda tx: tx.settle(pending.row.id, live.id, stage.value, now, reason))
        if pending.wants_ack and settled:
            self._told(live, pending, stage)

    def _tell(self, live: LiveThread, stage: Stage) -> None:
        for pending in self._outbox.of(live.id):
            if pending.line is None and not pending.left:
                self._told(live, pending, stage)

    # ------------------------------------------------------------------------------------------------- connecting

    async def _connect(self, live: LiveThread) -> Line:
        """A line to the thread's other party. Raises NetworkError."""
        failure: NetworkError = NetworkError("no way to the other party is known")
        peers = live.peers()
        linked = {link.peer for link in self._network.links()}
        for peer in peers:
            line = self._lines.get(peer)
            if line is not None:
                return line
            if peer in linked:
                try:
                    return await self._lines.open(peer)
                except NetworkError as error:
                    failure = error
        self._tell(live, Stage.CONNECTING)
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

    async def _dial(self, live: LiveThread, address: Address, root: bytes | None) -> "Line | NetworkError | None":
        """A line, or why there is none; None if we may not even try."""
        if not self.dials.may_dial(root, address, self._clock.steady()):
            return None
        try:
            peer = await self._network.dial(address)
        except NetworkError as error:
            if live.peer is None:  # one we have reached before may be away for a while
                self.dials.failed(root, address)
            return error
        self.dials.reached(root, address)
        try:
            line = await self._lines.open(peer)
        except NetworkError as error:
            return error
        live.peer = live.peer or peer
        return line

    # -------------------------------------------------------------------------------------------------- mailboxes

    def _leave_at_mailboxes(self, live: LiveThread) -> None:
        """Leave what is pending at every mailbox the other party named, side by side: one that hangs or lies costs
        nothing while another has it."""
        assert self._nursery is not None
        for address in live.mailboxes if self.leave is not None else ():
            if (live.id, address) not in self._leaving:
                self._nursery.start_soon(self._leave_at, live, address)

    async def _leave_at(self, live: LiveThread, address: Address) -> None:
        assert self.leave is not None
        now = self._clock.steady()
        due = [
            pending
            for pending in self._outbox.of(live.id)
            if now >= pending.left_at.get(address, -CHECK_MAILBOX_EVERY) + CHECK_MAILBOX_EVERY
        ]
        named_by = live.root + b" mailbox"  # its own count: that nobody is at home is why we come here
        if not due or not self.dials.may_dial(named_by, address, now):
            return
        self._leaving.add((live.id, address))
        try:
            found = await self.leave(address, live.other, [pending.item for pending in due])
        except NetworkError as error:
            log.debug("mailbox not reached", error=str(error))
            self.counters["mailbox_not_reached"] += 1
            self.dials.failed(named_by, address)
            return
        finally:
            self._leaving.discard((live.id, address))
        self.dials.reached(named_by, address)
        now, wall = self._clock.steady(), self._clock.now()
        for pending in due:
            if pending.digest not in found or not self._outbox.holds(pending):
                continue
            stage = found[pending.digest]
            pending.left_at[address] = now
            if pending.left.get(address) is stage:
                continue
            if stage is None:
                del pending.left[address]
                await self._store.transact(lambda tx, id=pending.row.id: tx.drop_deposit(id, address))  # type: ignore[misc]
                continue
            pending.left[address] = stage
            self.counters[f"mailbox_{stage.value.lower()}"] += 1
            if not pending.wants_ack and len(pending.left) >= min(2, len(live.mailboxes)):
                await self._settle(live, pending, stage)
                continue
            row = DepositRow(pending.row.id, live.id, address, stage.value, wall)
            await self._store.transact(lambda tx, row=row: tx.put_deposit(row))  # type: ignore[misc]
            self._told(live, pending, stage)

    def leave_once(self, mailboxes: tuple[Address, ...], receiver: bytes, encoded: bytes) -> None:
        """Leave something at each of these, and do not come back for it."""
        item = read_item(encoded)
        if self.leave is None or self._nursery is None or not isinstance(item, Item):
            return
        leave = self.leave

        async def leave_at(address: Address) -> None:
            named_by = receiver + b" mailbox"
            if self.dials.may_dial(named_by, address, self._clock.steady()):
                try:
                    await leave(address, receiver, [item])
                except NetworkError:
                    self.dials.failed(named_by, address)

        for address in mailboxes[:MAX_MAILBOXES]:
            self._nursery.start_soon(leave_at, address)


def _patience(away: float) -> float:
    """Seconds until the next attempt to reach somebody who is away for so long."""
    return max(SLOW_RETRY, min(away / 4, PATIENCE + max(0.0, away - DAY) / 4, LAST_RETRY))


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
