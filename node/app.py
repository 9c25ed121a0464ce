"""The one page on which a node is put together. Read downwards it is start-up; upwards, shutdown."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
import trio

from protocol import categories
from protocol.board import OURS, Board, Heard, Posting
from protocol.gossip import Params
from protocol.intent import Intent, IntentClose
from protocol.keys import SigningKey
from protocol.limits import MAX_LIFE, MAX_REPLY_ROUTES, MAX_SKEW
from protocol.message import Message
from protocol.terms import Route

from .archive import FOLDER, Archive, Archivist
from .catchup import CatchUp, division_of_message
from .clock import CarefulClock, Chance, Clock, SystemChance, SystemClock
from .config import CATALOGUE, Config
from .delivery import Delivery
from .desk import Desk
from .events import EventLog
from .forgetting import forget
from .garbage import settle
from .gossip import Gossip
from .home import Home
from .mailbox import Inboxes, Leaving, MailboxHost
from .network.seam import ListenError, Network, PeerId, Worth
from .peering import Peering
from .policy import lives_in_public, machine_of, may_be_dialled
from .requester import Requester
from .restore import restore
from .skew import Skew, resume, watch_clock
from .store import PostingRow, Room, Store, Tx, open_store
from .threads import Threads
from .trail import Trail
from .trouble import Trouble
from .vendor.catalogue import Catalogue, load_catalogue
from .vendor.hooks import Hooks
from .vendor.role import VendorRole
from .vendor.tallies import tally_end
from .vendor.watch import watch_catalogue

log = structlog.get_logger("app")

SWEEP_EVERY = 30.0
TALLIES_KEPT = 400 * 86_400
"""Seconds for which it is known what was done on a day: as far back as `vendor stats` looks."""

STEADY_FOR = 600.0
"""Seconds after start in which nothing is swept: time to set a clock right that is wrong by little."""


@dataclass(frozen=True)
class Node:
    """A running node."""

    desk: Desk
    network: Network
    board: Board
    gossip: Gossip
    delivery: Delivery
    threads: Threads
    requester: Requester
    vendor: VendorRole
    events: EventLog
    store: Store
    clock: CarefulClock

    @property
    def peer_id(self) -> str:
        return self.network.peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        return self.network.addresses


@asynccontextmanager
async def open_node(config: Config) -> AsyncIterator[Node]:
    """A node of this home, over libp2p. The caller holds the home's lock. Raises Trouble."""
    from .network.libp2p import open_libp2p_network  # the only door to libp2p, and a second to import

    home = Home(config.home)
    transport, vendor = home.seed("node.key"), home.seed("vendor.key")
    catalogue = load_catalogue(config.catalogue) if config.catalogue is not None else None
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(config.home / "node.db"))
        if store.frames_dropped:
            log.warning(
                "the end of the store's log could not be read: the power went while it was written, or the disk lost "
                "what it had said was safe",
                frames=store.frames_dropped,
            )
        if store.disk is not None:
            store.disk.look()  # on a full disk the reserve makes the little room that a start takes
        try:
            network = await stack.enter_async_context(
                open_libp2p_network(seed=transport, listen=config.listen, announce=config.announce)
            )
        except ListenError as error:
            raise Trouble("listen", str(error), "Choose another address with --listen.") from None
        node = await stack.enter_async_context(
            run_node(
                network,
                store,
                transport_key=SigningKey(transport),
                vendor_key=SigningKey(vendor),
                net=config.net,
                join=config.join,
                static=config.static,
                meeting=config.meeting,
                divisions=config.divisions,
                mailbox=config.mailbox,
                mailboxes=config.mailboxes,
                catalogue=catalogue,
                archive=Archive(config.home / FOLDER) if config.archive else None,
                catalogue_file=config.catalogue or config.home / CATALOGUE,
                # Flooding is fast, and tells every neighbour who the author is: fine among one's own test nodes.
                params=Params(heartbeat_interval=config.heartbeat, flood_publish=config.net != "main"),
            )
        )
        settle()
        if store.upgraded_from is None:
            store.drop_copies()
        else:
            log.info("the store was upgraded; the copy from before stays until the next start", was=store.upgraded_from)
        yield node


@asynccontextmanager
async def run_node(
    network: Network,
    store: Store,
    *,
    transport_key: SigningKey,
    vendor_key: SigningKey,
    net: str,
    join: tuple[str, ...] = (),
    static: tuple[str, ...] = (),
    meeting: bool = False,
    divisions: tuple[str, ...] = (),
    mailbox: bool = False,
    mailboxes: tuple[str, ...] = (),
    catalogue: Catalogue | None = None,
    archive: Archive | None = None,
    catalogue_file: Path | None = None,
    params: Params | None = None,
    clock: Clock | None = None,
    chance: Chance | None = None,
) -> AsyncIterator[Node]:
    """The same node over any network and store: tests and meshes bring their own."""
    machine, chance = clock or SystemClock(), chance or SystemChance()
    skew = Skew(machine)
    clock = CarefulClock(machine, skew.witness)
    trail = Trail(clock)
    events = EventLog(store, clock, trail)
    board = Board(net)
    threads = Threads()
    heard_counter: Counter[str] = Counter()

    def routes(mailboxes: tuple[Route, ...] = ()) -> tuple[Route, ...]:
        found = [
            address for address in network.addresses if may_be_dialled(address, lives_in_public(net, network.addresses))
        ]
        # Nobody can dial us? Those we are linked with can still answer.
        direct = tuple(Route("direct", address) for address in found or [f"/p2p/{network.peer_id}"])
        return (*direct[: MAX_REPLY_ROUTES - len(mailboxes)], *mailboxes)

    delivery = Delivery(network, store, threads, events, clock, chance, net)
    ours = {address.rpartition("/p2p/")[2] for address in (*join, *static, *mailboxes)}
    leaving = Leaving(network, delivery.stamps, net, lambda peer: peer in ours or bool(threads.of_peer(peer)))
    delivery.use_mailboxes(leaving.leave)
    # Whoever names no mailboxes asks the nodes it starts from: those that are none say so.
    inboxes = Inboxes(network, delivery, clock, chance, net, mailboxes or join)
    host = MailboxHost(network, store, clock, chance, net) if mailbox else None

    async def on_heard(batch: list[Heard]) -> None:
        if not await store.transact_foreign(lambda tx: _keep(tx, events, batch, clock.now())):
            # What replaces takes no more room than it frees; and a tombstone keeps a wish from coming back.
            replacing = [one for one in batch if one.replaced is not None]
            await store.transact_at_best(lambda tx: _keep(tx, events, replacing, clock.now()))
        events.announce()
        for one in batch:
            assert one.message is not None
            if one.message.kind != "intent.close" and one.replaced is None:
                heard_counter["wishes"] += 1
            await vendor.heard(one)

    agreed = [address.rpartition("/p2p/")[2] for address in static]
    gossip = Gossip(network, board, clock, chance.choices, on_heard, params, agreed, trail)
    catchup = CatchUp(network, gossip, board, chance, on_heard)
    peering = Peering(network, store, clock, chance, transport_key, net, (*join, *static), meeting=meeting)
    peering.on_hour = skew.heard
    appraise = partial(_appraise, gossip, threads, ours)
    network.appraise_links(appraise)
    peering.appraise = appraise
    peering.useless = gossip.useless
    gossip.on_useless = peering.look_again
    gossip.on_alarm = peering.look_elsewhere
    delivery.use_addresses(peering.addresses_of)
    requester = Requester(gossip, board, delivery, inboxes, threads, store, events, clock, chance, net)
    vendor = VendorRole(
        board,
        delivery,
        inboxes,
        threads,
        store,
        events,
        clock,
        chance,
        vendor_key,
        catalogue,
        routes,
        lambda author: any(wish.end.me == author for wish in requester.wishes()),
    )
    hooks = Hooks(store, events, clock, chance)
    desk = Desk(
        network=network,
        gossip=gossip,
        board=board,
        delivery=delivery,
        threads=threads,
        store=store,
        events=events,
        requester=requester,
        vendor=vendor,
        clock=clock,
        skew=skew,
        trail=trail,
        net=net,
        meeting=meeting,
        routes=routes,
        counters={
            "requester": requester.counters,
            "wishes": heard_counter,
            "catchup": catchup.counters,
            "peering": peering.counters,
            "leaving": leaving.counters,
            "inboxes": inboxes.counters,
            "hooks": hooks.counters,
        },
        host=host,
        hooks=hooks,
        inboxes=inboxes,
    )

    async def forget_old() -> None:
        if host is not None:
            await host.sweep()
        await forget(threads, requester, vendor, delivery, store, clock.certain())

    await resume(clock, store)
    now, certain = clock.now(), clock.certain()
    restored = await store.transact(lambda tx: restore(tx, net, now, certain, board, threads, vendor_key))
    requester.restore(restored.wishes)
    await vendor.restore()

    def is_sealed(root: bytes) -> bool:
        wish = requester.wish(root)
        return wish is not None and wish.sealed_until is not None

    def machine_of_peer(peer: str) -> str:
        return next((machine_of(link.remote) for link in network.links() if link.peer == peer), "")

    vendor.accepts.machine_of = machine_of_peer
    always, served = set(categories.DIVISIONS if meeting else divisions), set(vendor.divisions)
    for division in sorted(always | served):
        gossip.join(division)

    def carry() -> None:
        """Listen where there is something to sell, and no longer where there was, unless something else needs it."""
        nonlocal served
        before, served = served, set(vendor.divisions)
        asked = {wish.division for wish in requester.wishes() if wish.is_open or not wish.published}
        for division in sorted(before - served - always - asked):
            gossip.leave(division)
        for division in sorted(served - set(gossip.divisions)):
            gossip.join(division)

    vendor.divisions_changed = carry

    async with trio.open_nursery() as nursery:
        # Who answers is there before who asks: the first link finds every protocol served.
        await nursery.start(delivery.run)
        if host is not None:
            await nursery.start(host.run)
        await nursery.start(gossip.run)
        await nursery.start(catchup.run)
        await nursery.start(inboxes.run)
        await nursery.start(requester.run)
        await nursery.start(vendor.run)
        await nursery.start(hooks.run)
        nursery.start_soon(store.wait_broken)
        if archive is not None:
            nursery.start_soon(Archivist(archive, store, threads, events, is_sealed).run)
        nursery.start_soon(watch_clock, clock, skew, events, store)
        nursery.start_soon(_watch_room, store, events, board)
        if catalogue_file is not None:
            nursery.start_soon(watch_catalogue, catalogue_file, vendor, events)
        nursery.start_soon(_sweep, board, store, clock, requester, restored.kept_back, forget_old)
        await nursery.start(peering.run)
        yield Node(desk, network, board, gossip, delivery, threads, requester, vendor, events, store, clock)
        nursery.cancel_scope.cancel()


def _appraise(gossip: Gossip, threads: Threads, named: Collection[PeerId]) -> dict[PeerId, Worth]:
    """What our links are worth to us, each by the best that can be said of it."""
    worth = dict.fromkeys(named, Worth.NAMED)
    for said in (gossip.worth(), threads.worth()):
        for peer, its in said.items():
            worth[peer] = max(its, worth.get(peer, its))
    return worth


def _keep(tx: Tx, events: EventLog, batch: list[Heard], now: int) -> bool:
    for heard in batch:
        message = heard.message
        assert message is not None
        division = division_of_message(message)
        held = message.kind != "intent.close" or heard.replaced is not None
        is_new = tx.put_posting(
            PostingRow(message.id, division, message.head.exp, heard.via, held, message.frame),
            heard.replaced.id if heard.replaced is not None else None,
        )
        if isinstance(message.body, IntentClose) and heard.replaced is not None:
            tx.add_ended(message.author, message.root, message.body.reason, heard.replaced.frame)
            tally_end(tx, heard.replaced, now)
        if heard.replaced is None and tx.take_back_end(message.author, message.root, message.frame):
            continue  # its person knows it already
        if not is_new and message.kind != "intent.close":
            continue  # so she does this one: at the last start it was too early for it, by another clock
        told = {"intent": message.root.hex(), "revision": message.id.hex()}
        if isinstance(message.body, IntentClose):
            told["reason"] = message.body.reason
        events.write(tx, "wish.ended" if message.kind == "intent.close" else "wish.heard", told)
    return True


async def _watch_room(store: Store, events: EventLog, board: Board) -> None:
    """Tell when the disk fills, and when there is room again: then what hangs on the board is stored after all."""
    was: Room | None = None

    async def changed(room: Room) -> None:
        nonlocal was
        if room is Room.ENOUGH and was is None:
            return
        was = room
        free = store.disk.space_seen.free if store.disk is not None else 0
        tell = log.info if room is Room.ENOUGH else log.warning
        tell(_ROOM_TOLD[room], free_bytes=free)
        await store.transact_at_best(lambda tx: events.write(tx, f"disk.{room.value}", {"free": free}))
        events.announce()
        if room is Room.ENOUGH:
            await _store_board(store, board)

    await store.watch_room(changed)


_ROOM_TOLD = {
    Room.ENOUGH: "there is room on the disk again",
    Room.LOW: "the disk fills: other people's data is left out",
    Room.FULL: "the disk is full: other people's data makes way for our own",
}


async def _store_board(store: Store, board: Board) -> None:
    """What was left out of the store and hangs on the board."""
    stored = {id for id, _ in await store.transact(lambda tx: tx.posting_lives())}
    missing = [posting for posting in board if posting.message.id not in stored and posting.via != OURS]
    for start in range(0, len(missing), 200):
        some = missing[start : start + 200]

        def work(tx: Tx, some: list[Posting] = some) -> None:
            for posting in some:
                message = posting.message
                division = division_of_message(message)
                row = PostingRow(message.id, division, message.head.exp, posting.via, posting.held, message.frame)
                tx.put_posting(row, None)

        await store.transact_foreign(work)


async def _sweep(
    board: Board,
    store: Store,
    clock: CarefulClock,
    requester: Requester,
    kept_back: set[bytes],
    forget_old: Callable[[], Awaitable[None]],
) -> None:
    """Take down what is over, and only by an hour that is certain: a wrong one would wipe the board, tombstones and
    all."""
    known_evicted = -1
    await trio.sleep(STEADY_FOR)
    while True:
        await trio.sleep(SWEEP_EVERY)
        swept, evicted = board.sweep(clock.certain()), board.counters["evicted"]
        if swept or kept_back or evicted != known_evicted:
            known_evicted = evicted
            expired = [one for one in swept if isinstance(one.body, Intent) and requester.wish(one.root) is None]
            await store.transact(
                lambda tx, ended=expired: _drop_what_left(tx, board, ended, kept_back, clock.certain())  # type: ignore[misc]
            )
        await forget_old()


def _drop_what_left(tx: Tx, board: Board, expired: list[Message], kept_back: set[bytes], now: int) -> None:
    for message in expired:
        tx.add_ended(message.author, message.root, "expired", message.frame)
        tally_end(tx, message, now)
    # What was evicted too: the store holds no more than the board, and what an hour ago may have been too early for it.
    gone = [id for id, exp in tx.posting_lives() if board.get(id) is None and (id not in kept_back or exp < now)]
    tx.drop_postings(gone)
    tx.drop_answered(now - MAX_LIFE - MAX_SKEW)  # no revision lives longer, so none of them can be heard again
    tx.drop_tallies(now - TALLIES_KEPT)
