"""The inside of the memory network: wires with conditions, links of two wires, and streams over them.

A wire carries chunks in order, as TCP does: late, bounded in rate, never twice. Loss is therefore lateness (a chunk is
sent again), and duplication and reordering happen above, where several links lead to the same place. With no delay a
chunk arrives within the call that sends it, so a perfect link costs no task switch.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import trio

from node.network.seam import NotSpokenError, PeerId, StreamError

WINDOW_BYTES = 262_144  # yamux's: what a sender may have under way before the reader has read
CHUNK_BYTES = 65_507  # as the libp2p implementation cuts
OVERHEAD_BYTES = 30  # yamux header, Noise tag and length
LINGER_SECONDS = 10.0  # how long a stream we closed waits for its peer to finish too
_RESEND_SECONDS = 0.2  # TCP's least retransmission time-out
_MOST_RESENDS = 8


Tap = Callable[[PeerId, PeerId, str, bytes], None]
"""(sender, receiver, protocol, chunk)"""


@dataclass(frozen=True)
class Conditions:
    """How a link behaves, in each direction. Times in seconds."""

    delay: float = 0.0
    jitter: float = 0.0
    """Up to so much is added to the delay, evenly; order is kept."""
    loss: float = 0.0
    """Chance that a chunk has to be sent once more, which makes it and all after it late."""
    breaks: float = 0.0
    """Chance, per chunk, that the link breaks."""
    bandwidth: float | None = None
    """Bytes a second; None for no limit."""


class Wire:
    """One direction of a link. `run` delivers what does not arrive at once."""

    def __init__(self, chance: random.Random, conditions: Callable[[], Conditions], on_break: Callable[[], None]):
        self._chance = chance
        self._conditions = conditions
        self._on_break = on_break
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()  # bounded by the windows of the streams
        self._free_at = 0.0
        self._last_arrival = 0.0
        self._changed = trio.lowlevel.ParkingLot()
        self.held = False
        self.bytes_carried = 0

    def carry(self, size: int, deliver: Callable[[], None]) -> None:
        now, conditions = trio.current_time(), self._conditions()
        if conditions.breaks and self._chance.random() < conditions.breaks:
            self._on_break()
            return
        self.bytes_carried += size
        self._free_at = max(now, self._free_at)
        if conditions.bandwidth is not None:
            self._free_at += size / conditions.bandwidth
        arrival = self._free_at + conditions.delay
        if conditions.jitter:
            arrival += self._chance.random() * conditions.jitter
        for _ in range(_MOST_RESENDS):
            if not conditions.loss or self._chance.random() >= conditions.loss:
                break
            arrival += max(_RESEND_SECONDS, 2 * conditions.delay)
        self._last_arrival = arrival = max(arrival, self._last_arrival)
        if arrival <= now and not self._queue and not self.held:
            deliver()
        else:
            self._queue.append((arrival, deliver))
            self._changed.unpark_all()

    def release(self) -> None:
        self.held = False
        self._changed.unpark_all()

    async def run(self) -> None:
        while True:
            if self.held or not self._queue:
                await self._changed.park()
            elif self._queue[0][0] > trio.current_time():
                await trio.sleep_until(self._queue[0][0])
            else:
                _arrival, deliver = self._queue.popleft()
                deliver()


class MemoryLink:
    """Two wires between two peers, and the streams on them. Whoever makes it must `run` it."""

    def __init__(
        self,
        dialler: PeerId,
        accepter: PeerId,
        wires: tuple[Wire, Wire],
        on_break: Callable[[], None],
        tap: Tap | None = None,
    ) -> None:
        self.ends = (dialler, accepter)
        self.since = trio.current_time()
        self.tap = tap
        self.wires = wires
        self.broken = False
        self.streams: set[MemoryStream] = set()
        self._on_break = on_break
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                for wire in self.wires:
                    nursery.start_soon(wire.run)

    def carry(self, sender: PeerId, size: int, deliver: Callable[[], None]) -> None:
        if not self.broken:
            self.wires[self.ends.index(sender)].carry(size + OVERHEAD_BYTES, deliver)

    def other(self, peer: PeerId) -> PeerId:
        return self.ends[1 - self.ends.index(peer)]

    def hold(self) -> None:
        for wire in self.wires:
            wire.held = True

    def release(self) -> None:
        for wire in self.wires:
            wire.release()

    @property
    def is_held(self) -> bool:
        return self.wires[0].held

    def break_off(self) -> None:
        """At once, at both ends, with everything that is under way."""
        if not self.broken:
            self.broken = True
            self._scope.cancel()
            for stream in list(self.streams):
                stream.fail("the link broke")
            self._on_break()


class MemoryStream:
    """One end of a stream. `twin` is the other end, known once the stream is agreed on."""

    def __init__(self, link: MemoryLink, ours: PeerId, protocol: str, spawn: Callable[..., None]) -> None:
        self._link = link
        self._ours = ours
        self._protocol = protocol
        self._spawn = spawn
        self._inbox = bytearray()
        self._changed = trio.lowlevel.ParkingLot()
        self._credit = WINDOW_BYTES
        self._uncredited = 0
        self._sending = False
        self._finished = False
        self._peer_finished = False
        self._closed = False
        self._failure = ""
        self._is_unspoken = False
        self.twin: MemoryStream | None = None
        if link.broken:  # asked for just before it broke
            self._failure = "the link broke"
        link.streams.add(self)

    @property
    def peer(self) -> PeerId:
        return self._link.other(self._ours)

    @property
    def protocol(self) -> str:
        return self._protocol

    async def wait_agreed(self) -> None:
        """Until the peer has answered our wish for a stream. Raises NotSpokenError when it does not speak the protocol,
        StreamError when it refused for another reason, or the link broke."""
        try:
            await self._wait(lambda: self.twin is not None)
        except StreamError as error:
            if self._is_unspoken:
                raise NotSpokenError(f"{self.peer} does not speak {self._protocol}") from error
            raise

    async def send_all(self, data: bytes) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        if self._finished or self._closed:
            raise StreamError("sending on a stream that we finished")
        self._sending = True
        try:
            sent = 0
            while sent < len(data):
                await self._wait(lambda: self._credit > 0)
                chunk = bytes(data[sent : sent + min(CHUNK_BYTES, self._credit)])
                self._credit -= len(chunk)
                sent += len(chunk)
                if self._link.tap is not None:
                    self._link.tap(self._ours, self.peer, self._protocol, chunk)
                self._tell(len(chunk), MemoryStream.arrived, chunk)
            if not data:
                await trio.lowlevel.checkpoint()
        finally:
            self._sending = False

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        if self._closed:
            raise StreamError("receiving on a stream that we closed")
        await self._wait(lambda: bool(self._inbox) or self._peer_finished)
        data = bytes(self._inbox[:max_bytes])
        del self._inbox[:max_bytes]
        self._uncredited += len(data)
        if self._uncredited >= WINDOW_BYTES // 2:
            credit, self._uncredited = self._uncredited, 0
            self._tell(0, MemoryStream.credited, credit)
        return data

    async def finish(self) -> None:
        if not self._finished and not self._failure:
            self._finished = True
            self._tell(0, MemoryStream.peer_finished)
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            with trio.CancelScope(shield=True):
                await self.finish()
            self._inbox.clear()
            if self._peer_finished:
                self._link.streams.discard(self)
            elif not self._failure:
                self._spawn(self._linger)
        self._changed.unpark_all()

    async def reset(self) -> None:
        if not self._failure:
            self._tell(0, MemoryStream.fail, "the peer reset the stream")
        self._closed = True
        self.fail("we reset the stream")
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _linger(self) -> None:
        with trio.move_on_after(LINGER_SECONDS):
            while not self._peer_finished and not self._failure:
                await self._changed.park()
        if not self._peer_finished:
            await self.reset()
        self._link.streams.discard(self)

    # What arrives from the other end, within the wire's delivery; nothing here waits.

    def agreed(self, twin: "MemoryStream") -> None:
        self.twin = twin
        if self._failure:  # given up while the answer was under way
            self._link.carry(self._ours, 0, partial(twin.fail, "the peer reset the stream"))
        self._changed.unpark_all()

    def refused(self) -> None:
        """The peer does not speak the protocol."""
        self._is_unspoken = True
        self.fail("the peer does not speak it")

    def arrived(self, chunk: bytes) -> None:
        if not self._closed and not self._failure:  # else it is dropped, and earns no credit
            self._inbox += chunk
            self._changed.unpark_all()

    def credited(self, credit: int) -> None:
        self._credit += credit
        self._changed.unpark_all()

    def peer_finished(self) -> None:
        self._peer_finished = True
        if self._closed:
            self._link.streams.discard(self)
        self._changed.unpark_all()

    def fail(self, why: str) -> None:
        self._failure = self._failure or why
        self._inbox.clear()
        self._link.streams.discard(self)
        self._changed.unpark_all()

    def _tell(self, size: int, deliver: Callable[..., None], *args: object) -> None:
        if self.twin is not None and not self._failure:
            self._link.carry(self._ours, size, partial(deliver, self.twin, *args))

    async def _wait(self, ready: Callable[[], bool]) -> None:
        """Until ready or failed; always a checkpoint, and nothing is taken before it, so cancelling loses nothing."""
        await trio.lowlevel.checkpoint()
        while not self._failure and not ready():
            await self._changed.park()
            if self._closed:
                raise StreamError("the stream was closed meanwhile")
        if self._failure:
            raise StreamError(f"{self._protocol} with {self.peer}: {self._failure}")
