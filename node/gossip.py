"""Drives the gossip router over streams, and hangs what it brings on the board.

The router (protocol/gossip) decides; this file only carries: link events and bytes in, RPCs out, one outgoing stream
per peer. Verdicts are the board's.
"""

import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
import trio

from protocol import categories
from protocol.board import OURS, Board, Heard
from protocol.errors import Refused
from protocol.framing import Deframer, frame_with_length
from protocol.gossip import (
    MESHSUB_1_0,
    PROTOCOLS,
    Alarm,
    AlarmKind,
    Effect,
    Event,
    Forward,
    Heartbeat,
    Join,
    Judgement,
    Leave,
    Misbehaved,
    Params,
    PeerDown,
    PeerSubscribed,
    PeerUp,
    Publish,
    Published,
    Router,
    RpcReceived,
    Verdict,
    Wake,
)
from protocol.limits import MAX_RPC

from .clock import Clock
from .network.seam import (
    Link,
    LinkChosen,
    LinkDown,
    LinkUp,
    Network,
    NetworkError,
    NotSpokenError,
    PeerId,
    Stream,
    Worth,
)
from .policy import Shares, ip_of
from .trail import Trail

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("gossip")

HEARD_QUEUE = 10_000
"""Accepted frames waiting to be stored and looked at. When it is full they stay on the board, and catch-up of others
is not harmed; the roles of this node miss them, which is counted."""

READ_AT_ONCE = 16 * 1024
"""Bytes cut into RPCs before anything else is done: empty ones are one byte each, and 64 KiB of them took 35 ms."""

WORK_AT_ONCE = 64
"""Read of one stream before others of this node have their turn: RPCs and their entries (Router.work). Tiny ones are
thousands in 64 KiB."""

WORK_A_SECOND = 5_000
WORK_SAVED = 10_000
"""Read of one peer, over all its streams and links. Who says more waits, unread, and nobody else does. An honest peer
at its busiest brings all that we judge, 1,000 messages a second (Params.max_judged_per_second), each in an RPC of its
own: 2,000. It has twice that, 1,000 for whatever else it says, and five seconds of it at once after its link stood
still. An RPC that says nothing costs 5 us to read: so a peer can have a fortieth of a core, and no more."""

ALARM_SLACK = 60.0
"""Seconds an alarm is shown beyond the time at which it would have been said again."""


@dataclass(frozen=True, slots=True)
class AlarmSeen:
    kind: str
    detail: str
    at: int
    """Wall clock."""


OnHeard = Callable[[list[Heard]], Awaitable[None]]


def judgement_on(heard: Heard) -> Judgement:
    """The board's verdict, as the router wants it."""
    if heard.accepted:
        return Judgement(Verdict.ACCEPT)
    reason = heard.reason.value if heard.reason is not None else ""
    if heard.rejected:
        return Judgement(Verdict.REJECT, reason=reason)
    return Judgement(Verdict.IGNORE, remember=heard.remember, reason=reason)


class Gossip:
    def __init__(
        self,
        network: Network,
        board: Board,
        clock: Clock,
        rng: random.Random,
        on_heard: OnHeard,
        params: Params | None = None,
        static: Collection[PeerId] = (),
        trail: Trail | None = None,
    ) -> None:
        self._network = network
        self._board = board
        self._clock = clock
        self._params = params or Params()
        self._topic_prefix = categories.topic(board.net, "")
        self._router = Router(self._params, self._judge, rng, self._is_our_topic, static=static)
        self._on_heard = on_heard
        self._trail = trail
        self._accepted: list[Heard] = []
        self._hearings, self._heard_queue = trio.open_memory_channel[Heard](HEARD_QUEUE)
        self._wakes: dict[PeerId, trio.Event] = {}
        self._writers: dict[PeerId, trio.CancelScope] = {}
        self._speaking: dict[PeerId, Stream] = {}
        """The gossip stream on which each peer speaks to us: one, whatever it opens."""
        self._reading = Shares(WORK_A_SECOND, WORK_SAVED)
        """What of each peer we have time to read."""
        self._without_gossip: set[PeerId] = set()
        """Linked peers that gave no answer to the wish for gossip, or refused it, and said nothing of their own."""
        self._subscribed = trio.Event()
        self._stirred = trio.Event()
        """Set by whatever may give the next heartbeat something to do."""
        self._nursery: trio.Nursery | None = None
        self._alarms: dict[AlarmKind, tuple[float, AlarmSeen]] = {}
        self.on_alarm: Callable[[Alarm], None] = lambda _alarm: None
        """Told when all our peers may be one; set by whoever can find others."""
        self.on_useless: Callable[[], None] = lambda: None
        """Told when a peer turns out not to speak gossip; set by whoever chose it for that."""
        self.on_joined: Callable[[], None] = lambda: None
        """Told when we carry one division more; set by whoever fetches what hangs there already."""
        self.counters: Counter[str] = Counter()

    # ------------------------------------------------------------------------------------------------ what it does

    def join(self, division: str) -> None:
        """Carry a division: hear it, and pass on what others say in it."""
        is_new = division not in self.divisions
        self._handle(Join(self._topic(division)))
        if is_new:
            self.on_joined()

    def leave(self, division: str) -> None:
        self._handle(Leave(self._topic(division)))

    @property
    def divisions(self) -> tuple[str, ...]:
        """Those we carry."""
        found = (categories.division_of_topic(self._board.net, topic) for topic in self._router.topics)
        return tuple(sorted(division for division in found if division is not None))

    def publish(self, division: str, frame: bytes) -> Published:
        """Tell the division something of our own, and say to whom it went."""
        return self._spread(Publish(self._topic(division), frame))

    def forward(self, division: str, frame: bytes) -> Published:
        """Pass on what catch-up brought and the board accepted."""
        return self._spread(Forward(self._topic(division), frame))

    def may_judge(self, peer: PeerId) -> bool:
        """Is one more frame of this peer within its share? Asked for what comes by other ways than gossip."""
        return self._router.admit(peer, self._clock.steady())

    def subscribers(self, division: str) -> tuple[PeerId, ...]:
        return self._router.subscribers(self._topic(division))

    def topics_of(self, peer: PeerId) -> tuple[str, ...]:
        """The divisions a peer carries, of those we know."""
        return tuple(d for d in categories.DIVISIONS if peer in self._router.subscribers(self._topic(d)))

    def worth(self) -> dict[PeerId, Worth]:
        """Of the peers gossip would miss: those in a mesh of ours, and those that lately were the first to bring
        something."""
        scores = self._router.scores(self._clock.steady())
        found = {peer: Worth.USEFUL for peer, score in scores.items() if score.first > 0 <= score.total}
        return found | {peer: Worth.MESH for topic in self._router.topics for peer in self._router.mesh(topic)}

    def useless(self) -> set[PeerId]:
        """Linked peers from which we will hear no gossip: they do not speak it, or are worth less than a stranger. Who
        was linked just now is none of them, unless it left with debts."""
        scores = self._router.scores(self._clock.steady())
        return self._without_gossip | {peer for peer, score in scores.items() if score.total < 0}

    async def wait_subscriber(self, division: str) -> None:
        """Until a peer that carries the division is known."""
        while not self.subscribers(division):
            await self._subscribed.wait()

    async def wait_subscription(self) -> None:
        """Until some peer says that it carries something."""
        await self._subscribed.wait()

    @property
    def alarms(self) -> list[AlarmSeen]:
        """What the router said lately about all our peers being one. It says so again while it is so, not more often
        than its interval, and never that it is over."""
        since = self._clock.steady() - self._params.alarm_interval - ALARM_SLACK
        return [seen for at, seen in self._alarms.values() if at >= since]

    def statistics(self) -> dict[str, object]:
        mine = self._router.statistics()
        return {"router": mine, "board": dict(self._board.counters), "driver": dict(self.counters)}

    # -------------------------------------------------------------------------------------------------- its tasks

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Started once every peer's link has been seen."""
        async with trio.open_nursery() as nursery, self._network.watch_links() as links:
            self._nursery = nursery
            for protocol in PROTOCOLS:
                self._network.serve(protocol, self._hear_stream)
            nursery.start_soon(self._beat)
            nursery.start_soon(self._process_heard)
            task_status.started()
            async for event in links:
                match event:
                    case LinkUp(link) | LinkChosen(link):
                        self._peer_up(link)
                    case LinkDown(peer):
                        self._peer_down(peer)

    async def _beat(self) -> None:
        """Every interval; but those that would do nothing are slept through, for a laptop's sake: nearly all, in the
        hours in which nobody says anything."""
        interval, first, beat = self._params.heartbeat_interval, self._clock.steady(), 0
        while True:
            beat = max(beat, math.floor((self._clock.steady() - first) / interval)) + 1
            await trio.sleep(max(0.0, first + beat * interval - self._clock.steady()))
            self._handle(Heartbeat())
            self._stirred = trio.Event()
            now = self._clock.steady()
            idle = self._router.next_beat(now) - now - interval
            if idle > 0:
                with trio.move_on_after(idle):
                    await self._stirred.wait()

    async def _process_heard(self) -> None:
        async for first in self._heard_queue:
            batch = [first]
            while len(batch) < 200:  # one transaction for what piled up
                try:
                    batch.append(self._heard_queue.receive_nowait())
                except trio.WouldBlock:
                    break
            await self._on_heard(batch)

    def _peer_up(self, link: Link) -> None:
        peer = link.peer
        self._without_gossip.discard(peer)
        self._handle(PeerUp(peer, link.outbound, ip=ip_of(link.remote)))
        if peer not in self._writers and self._nursery is not None:
            scope = trio.CancelScope()
            self._writers[peer] = scope
            self._wakes.setdefault(peer, trio.Event())
            self._nursery.start_soon(self._write_to, link, scope)

    def _peer_down(self, peer: PeerId) -> None:
        scope = self._writers.pop(peer, None)
        if scope is not None:
            scope.cancel()
        self._wakes.pop(peer, None)
        self._without_gossip.discard(peer)
        self._handle(PeerDown(peer))

    async def _write_to(self, link: Link, scope: trio.CancelScope) -> None:
        peer = link.peer
        with scope:
            stream = await self._open(peer)
            if self._writers.get(peer) is not scope:  # its link has gone meanwhile, and may be back
                if stream is not None:
                    await stream.reset()
                return
            if stream is None:
                if peer in self._speaking:
                    # It speaks, and would go on to somebody who has forgotten it: a fresh link mends that.
                    self.counters["half_open"] += 1
                    await self._network.hang_up(peer)
                    return
                # It does not speak gossip, but it may have letters for us: the link stays.
                self.counters["no_gossip"] += 1
                del self._writers[peer]  # should it speak to us all the same, it is brought up again
                self._handle(PeerDown(peer))
                self._without_gossip.add(peer)
                self.on_useless()
                return
            if stream.protocol == MESHSUB_1_0:
                self._handle(PeerUp(peer, self._is_outbound(link), MESHSUB_1_0, ip_of(link.remote)))
            try:
                while True:
                    self._wakes[peer] = wake = trio.Event()
                    while (rpc := self._router.next_rpc(peer)) is not None:
                        await stream.send_all(frame_with_length(rpc))
                    await wake.wait()
            except NetworkError:
                # A gossip stream ends only with its link or by a fault. A fresh link starts from a clean slate on
                # both sides; a fresh stream alone would leave each with half of the other's subscriptions.
                self.counters["stream_broke"] += 1
                await self._network.hang_up(peer)
            finally:
                with trio.CancelScope(shield=True):
                    await stream.reset()

    def _is_outbound(self, link: Link) -> bool:
        """As it is now: both sides may have dialled since the link was first seen."""
        return next((known.outbound for known in self._network.links() if known.peer == link.peer), link.outbound)

    async def _open(self, peer: PeerId) -> Stream | None:
        """The best it speaks. An answer that does not come says nothing of that."""
        for protocol in PROTOCOLS:
            try:
                return await self._network.open_stream(peer, protocol)
            except NotSpokenError:
                continue
            except NetworkError:
                return None
        return None

    async def _hear_stream(self, stream: Stream) -> None:
        peer = stream.peer
        if peer not in self._writers:
            # Its first stream can be faster than the news of its link; what it says must not be lost.
            link = next((link for link in self._network.links() if link.peer == peer), None)
            if link is not None:
                self._peer_up(link)
        earlier = self._speaking.get(peer)
        self._speaking[peer] = stream
        if earlier is not None:
            # It has begun anew, or would have us hold an unfinished RPC for each of hundreds of streams.
            self.counters["stream_replaced"] += 1
            await earlier.reset()
        try:
            await self._hear_rpcs(stream)
        finally:
            if self._speaking.get(peer) is stream:
                del self._speaking[peer]

    async def _hear_rpcs(self, stream: Stream) -> None:
        peer = stream.peer
        deframer, work = Deframer(MAX_RPC), 0
        await self._rest(peer, work)  # a new stream is no way around what the last one cost
        try:
            while data := await stream.receive_some(READ_AT_ONCE):
                for rpc in deframer.feed(data):
                    if self._speaking.get(peer) is not stream:
                        return  # while we rested it began anew: this is what it said before
                    before = self._router.work
                    self._handle(RpcReceived(peer, rpc))
                    work += self._router.work - before
                    if work >= WORK_AT_ONCE:
                        charged, work = work, 0
                        await self._rest(peer, charged)
        except Refused as refused:
            self.counters[refused.reason.value] += 1
            await stream.reset()
        finally:
            self._reading.charge(peer, self._clock.steady(), work)

    async def _rest(self, peer: PeerId, work: int) -> None:
        """So much was read of a peer: it is the turn of others, and what else it says waits until that is within its
        share."""
        seconds = self._reading.charge(peer, self._clock.steady(), work)
        self.counters["rests"] += seconds > 0
        await trio.sleep(seconds)

    # ------------------------------------------------------------------------------------------------- the router

    def _handle(self, event: Event) -> list[Effect]:
        effects = self._router.handle(event, self._clock.steady())
        self._stirred.set()
        for effect in effects:
            match effect:
                case Wake(peer):
                    if peer in self._wakes:
                        self._wakes[peer].set()
                case PeerSubscribed():
                    self._subscribed.set()
                    self._subscribed = trio.Event()
                case Alarm(kind, detail):
                    self.counters[f"alarm_{kind.value}"] += 1
                    self._alarms[kind] = (self._clock.steady(), AlarmSeen(kind.value, detail, self._clock.now()))
                    log.warning("all our peers may be one, looking for others", kind=kind.value, detail=detail)
                    self.on_alarm(effect)
                case Misbehaved(peer, reason, detail):
                    self.counters[f"misbehaved_{reason.value}"] += 1
                    log.debug("misbehaved", peer=peer, reason=reason.value, detail=detail)
        for heard in self._accepted:
            try:
                self._hearings.send_nowait(heard)
            except trio.WouldBlock:
                self.counters["heard_dropped"] += 1
        self._accepted.clear()
        return effects

    def _spread(self, event: Publish | Forward) -> Published:
        published = next(effect for effect in self._handle(event) if isinstance(effect, Published))
        if self._trail is not None:
            self._trail.spread(event.data, published.peers, "passed on" if isinstance(event, Forward) else "published")
        return published

    def _judge(self, topic: str, data: bytes, via: PeerId, _now: float) -> Judgement:
        division = topic.removeprefix(self._topic_prefix)  # the router was told which topics are ours
        heard = self.hear(division, data, via, "gossip")
        if heard.accepted:
            self._accepted.append(heard)
        return judgement_on(heard)

    def hear(self, division: str, frame: bytes, via: PeerId = OURS, way: str = "catch-up") -> Heard:
        """The board's verdict on a frame, whoever it came from and whatever way."""
        heard = self._board.hear(frame, division, via, self._clock.now())
        if self._trail is not None:
            if (message := heard.message) is not None:
                self._trail.heard(message.root, message.id, message.kind, via, way)
            elif heard.reason is not None and via != OURS:
                self._trail.refused(frame, via, heard.reason.value, way)
        return heard

    def _topic(self, division: str) -> str:
        return categories.topic(self._board.net, division)

    def _is_our_topic(self, topic: str) -> bool:
        division = categories.division_of_topic(self._board.net, topic)
        return division is not None and division in categories.DIVISIONS
