"""yamux: many streams over one encrypted connection. Frames are read and written in place, without a task per frame.

libp2p's own answers nearly every read with a frame of credit, takes a lock three times per frame, collects up to
16 MiB of a frame before anybody may object, wakes nobody when credit arrives, and grows its windows to 16 MiB.
Spec: https://github.com/hashicorp/yamux/blob/master/spec.md, with libp2p's limits.

What a peer may do to us is bounded: each stream holds at most its window, the streams it opens are counted, also by the
second, pings too, and who breaks a rule loses the connection. What one read of ours makes us say leaves as one message.
Nothing here waits, except `run` for bytes.
"""

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio
from libp2p.io.exceptions import ConnectionClosedError

from node.network.libp2p_noise import SealedPipe
from node.network.seam import StreamError

if TYPE_CHECKING:
    from node.network.libp2p_stream import Libp2pStream

PROTOCOL = "/yamux/1.0.0"
WINDOW_BYTES = 262_144  # a stream's first window, and ours for good: what one peer may make us hold per stream
DATA_BYTES = 65_507  # fills one Noise message: 65,519 less the header
MOST_STREAMS = 256  # that either side may have open at once
# At once, and a second after that: frames of kind PING, and streams that the peer opens. Implementations ping twice a
# minute: 100 are an hour of them, arriving together after a machine slept. A vendor with thousands of threads that
# goes to one mailbox for all of them opens some hundreds a second; a thousand take us a hundredth of a core.
PINGS_SAVED, PINGS_PER_SECOND = 100, 10
OPENED_SAVED, OPENED_PER_SECOND = 16 * MOST_STREAMS, 1_000

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
_HEADER = struct.Struct(">BBHII")
_NORMAL, _PROTOCOL_ERROR = 0, 1  # reasons to go away


class BrokenRule(Exception):
    """The peer does not speak yamux as we do. The text says what it did."""

    def __init__(self, text: str, counted: str = "") -> None:
        """`counted`: the counter of its kind, if it has one of its own."""
        super().__init__(text)
        self.counted = counted


class _Budget:
    """So many at once, and so many a second after that."""

    def __init__(self, saved: int, per_second: int) -> None:
        self._most = self._left = float(saved)
        self._per_second = per_second
        self._at = trio.current_time()

    def spend(self) -> bool:
        """One of them; False if there was none left."""
        now = trio.current_time()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second) - 1
        self._at = now
        return self._left >= 0


class Yamux:
    """One side of a muxed connection. `run` must be running for anything to arrive."""

    def __init__(
        self, sealed: SealedPipe, dialled: bool, make_stream: Callable[["Yamux", int, bool], "Libp2pStream"]
    ) -> None:
        self.sealed = sealed
        self.peer = sealed.peer
        self.streams: dict[int, Libp2pStream] = {}
        self.on_stream: Callable[[Libp2pStream], None] | None = None
        """Called with each stream the peer opens."""
        self.broken_rule: BrokenRule | None = None
        self.closed = trio.Event()
        self._make_stream = make_stream
        self._next = 1 if dialled else 2
        self._theirs = 0 if dialled else 1  # the last bit of the ids the peer gives
        self._opened_by_us = 0
        self._opened_by_peer = 0
        self._peer_goes_away = False
        self._pings = 0
        self._pong = trio.Event()
        self._pings_of_peer = _Budget(PINGS_SAVED, PINGS_PER_SECOND)
        self._openings = _Budget(OPENED_SAVED, OPENED_PER_SECOND)
        self._is_hearing = False
        self._answers = bytearray()  # frames to leave when all that was read has been looked at
        self._rest = b""  # the beginning of a header
        self._missing = 0  # bytes of a DATA frame that have not arrived
        self._into: Libp2pStream | None = None  # the stream of that frame; None: nobody wants them
        self._then = 0  # the flags that follow its last byte

    # -------------------------------------------------------------------------------------------------- what we do

    def open(self) -> "Libp2pStream":
        """A new stream; the peer hears of it with the first frame sent on it. Raises StreamError."""
        if self.closed.is_set() or self._peer_goes_away:
            raise StreamError("the link is closing")
        if self._opened_by_us >= MOST_STREAMS:
            raise StreamError("too many streams to this peer are open")
        stream = self.streams[self._next] = self._make_stream(self, self._next, True)
        self._next += 2
        self._opened_by_us += 1
        return stream

    def send(self, kind: int, flags: int, stream: int, length: int, body: bytes = b"") -> None:
        """One frame. Raises StreamError when the connection has ended."""
        frame = _HEADER.pack(0, kind, flags, stream, length) + body
        if self._is_hearing:
            self._answers += frame
            return
        try:
            self.sealed.send(frame)
        except ConnectionClosedError:
            raise StreamError("the link broke") from None

    def forget(self, stream: "Libp2pStream") -> None:
        """The stream is over on both sides, or reset."""
        if self.streams.pop(stream.id, None) is not None:
            if stream.id & 1 == self._theirs:
                self._opened_by_peer -= 1
            else:
                self._opened_by_us -= 1

    async def ping(self) -> None:
        """Until the peer answers. Raises StreamError when the connection ends first, or has ended."""
        pong = self._pong
        self._pings += 1
        self.send(PING, SYN, 0, self._pings & 0xFFFFFFFF)
        await pong.wait()
        if self.closed.is_set():
            raise StreamError("the link broke")

    def go_away(self) -> None:
        try:
            self.send(GO_AWAY, 0, 0, _PROTOCOL_ERROR if self.broken_rule else _NORMAL)
        except StreamError:
            pass  # it has gone away first

    # ---------------------------------------------------------------------------------------------- what arrives

    async def run(self) -> None:
        """Until the connection ends, by either side."""
        try:
            while data := await self.sealed.receive():
                self._hear(data)
        except ConnectionClosedError:
            pass
        except BrokenRule as rule:
            self.broken_rule = rule
            self.go_away()
        finally:
            self.end()

    def end(self) -> None:
        """All streams are told, and nothing is sent any more. Idempotent."""
        self.sealed.pipe.abort()
        if not self.closed.is_set():
            self.closed.set()
            self._pong.set()
            for stream in list(self.streams.values()):
                stream.broke("the link broke")
            self.streams.clear()

    def _hear(self, data: bytes) -> None:
        """Thousands of small frames in one read may each want an answer: they leave together, sealed once."""
        self._is_hearing = True
        try:
            self._feed(data)
        finally:
            self._is_hearing = False
        if self._answers:
            answers, self._answers = bytes(self._answers), bytearray()
            self.sealed.send(answers)

    def _feed(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at, size = 0, len(data)
        while at < size:
            if self._missing:
                body = data[at : at + self._missing]
                at += len(body)
                self._missing -= len(body)
                if self._into is not None:
                    self._into.arrived(body)
            elif size - at < 12:
                self._rest = data[at:]
                return
            else:
                version, kind, flags, stream, length = _HEADER.unpack_from(data, at)
                at += 12
                if version or flags > 15:
                    raise BrokenRule("not a yamux frame")
                if kind == DATA:
                    self._on_data(stream, flags, length)
                elif kind == WINDOW:
                    self._on_window(stream, flags, length)
                elif kind == PING:
                    self._on_ping(flags, length)
                elif kind == GO_AWAY:
                    self._peer_goes_away = True
                    continue
                else:
                    raise BrokenRule("an unknown kind of frame")
            if not self._missing and self._then:
                flags, self._then = self._then, 0
                if self._into is not None:
                    self._end_stream(self._into, flags)

    def _on_data(self, number: int, flags: int, length: int) -> None:
        stream = self._stream_of(number, flags)
        if length:
            if stream is not None:
                stream.reserve(length)
            self._missing = length
        self._into = stream
        self._then = flags & (FIN | RST)

    def _on_window(self, number: int, flags: int, delta: int) -> None:
        stream = self._stream_of(number, flags)
        if stream is not None:
            if delta:
                stream.credited(delta)
            if flags & (FIN | RST):
                self._end_stream(stream, flags)

    def _on_ping(self, flags: int, value: int) -> None:
        if not self._pings_of_peer.spend():
            raise BrokenRule("pings without end", "links_flooded")
        if flags & SYN:
            self.send(PING, ACK, 0, value)
        elif flags & ACK:
            self._pong.set()
            self._pong = trio.Event()

    def _stream_of(self, number: int, flags: int) -> "Libp2pStream | None":
        """None: it is over on our side, and frames may still have been under way."""
        if not flags & SYN:
            return self.streams.get(number)
        if not number or number & 1 != self._theirs or number in self.streams:
            raise BrokenRule("a stream opened under a number that is not free")
        if not self._openings.spend():
            raise BrokenRule("opened streams without end", "links_flooded")
        if self._opened_by_peer >= MOST_STREAMS or self.on_stream is None:
            self.send(WINDOW, RST, number, 0)
            return None
        self._opened_by_peer += 1
        stream = self.streams[number] = self._make_stream(self, number, False)
        self.on_stream(stream)
        return stream

    def _end_stream(self, stream: "Libp2pStream", flags: int) -> None:
        if flags & RST:
            stream.broke("the peer reset the stream")
        else:
            stream.peer_finished()
