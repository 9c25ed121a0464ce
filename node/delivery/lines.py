"""Lines: one kept-open stream of items per peer, whoever opened it."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from protocol.errors import Refused
from protocol.framing import Deframer, frame_with_length
from protocol.limits import MAX_ITEM

from ..clock import Clock
from ..network.links import OpenStreams
from ..network.seam import Network, NetworkError, PeerId, Stream, StreamError

PROTOCOL = "/intentcast/direct/1"

SEND_WITHIN = 30.0
"""Seconds a peer may leave unread what we send. Then its stream is reset: it must not make anybody else wait."""

MAX_BAD_ITEMS = 16
"""Refused items on one stream before it is reset."""

ANSWERED_AT_ONCE = 4
"""Streams of one peer. It needs one, and others only while those before have broken and we have not noticed yet."""


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

    @property
    def is_open(self) -> bool:
        return not self.closed.is_set()

    async def send(self, data: bytes) -> None:
        """Raises NetworkError, also when the peer does not read."""
        with trio.move_on_after(SEND_WITHIN) as scope:
            async with self.lock:
                await self.stream.send_all(frame_with_length(data))
        if scope.cancelled_caught:
            await self.stream.reset()
            raise StreamError("the peer does not read what we send")

    async def give_up(self) -> None:
        """It looks well at our end and is dead at the other."""
        self.closed.set()
        await self.stream.reset()


class Lines:
    """All open lines, by peer. `take` gets every item or hint that comes on one; it raises Refused for a bad one."""

    def __init__(
        self,
        network: Network,
        clock: Clock,
        take: Callable[[bytes, Line], Awaitable[None]],
        counters: Counter[str],
    ) -> None:
        self._network = network
        self._clock = clock
        self._take = take
        self._lines: dict[PeerId, Line] = {}
        self._opening: dict[PeerId, trio.Lock] = {}
        self._nursery: trio.Nursery | None = None
        self._counters = counters
        self._answered = OpenStreams(ANSWERED_AT_ONCE)

    def serve(self, nursery: trio.Nursery) -> None:
        """From now on streams are answered, and those we open are read."""
        self._nursery = nursery
        self._network.serve(PROTOCOL, self._answer)

    def get(self, peer: PeerId) -> Line | None:
        line = self._lines.get(peer)
        return line if line is not None and line.is_open else None

    async def open(self, peer: PeerId) -> Line:
        """The line to a linked peer. Raises NetworkError."""
        lock = self._opening.setdefault(peer, trio.Lock())
        try:
            async with lock:  # many threads can lead to one peer: one stream is enough for all
                existing = self.get(peer)
                if existing is not None:
                    return existing
                stream = await self._network.open_stream(peer, PROTOCOL)
                existing = self.get(peer)
                if existing is not None:
                    await stream.reset()  # the other side was faster
                    return existing
                line = self._lines[peer] = Line(stream)
                assert self._nursery is not None
                self._nursery.start_soon(self._read, line)
                return line
        finally:
            if not lock.locked() and self._opening.get(peer) is lock:
                del self._opening[peer]

    async def _answer(self, stream: Stream) -> None:
        with self._answered.one_more(stream.peer) as has_room:
            if not has_room:
                self._counters["too_many_streams"] += 1
                await stream.reset()
                return
            line = Line(stream)
            if self.get(stream.peer) is None:
                self._lines[stream.peer] = line
            await self._read(line)

    async def _read(self, line: Line) -> None:
        deframer = Deframer(MAX_ITEM)
        bad = 0
        try:
            while data := await line.stream.receive_some():
                line.heard_at = self._clock.steady()
                for encoded in deframer.feed(data):
                    try:
                        await self._take(encoded, line)
                    except Refused as refused:
                        self._counters[refused.reason.value] += 1
                        bad += 1
                        if bad >= MAX_BAD_ITEMS:
                            raise
        except Refused as refused:
            self._counters[f"stream_{refused.reason.value}"] += 1
        except NetworkError:
            pass  # couriers see `closed` and try again
        finally:
            line.closed.set()
            if self._lines.get(line.stream.peer) is line:
                del self._lines[line.stream.peer]
            with trio.CancelScope(shield=True):
                await line.stream.reset()
