"""Our yamux and Noise, frame by frame: what the specification asks, and what a hostile peer may try. That others
understand it is shown by `test_libp2p_dangers.py` (py-libp2p) and `tests/interop` (js)."""

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.io.exceptions import ConnectionClosedError
from trio.testing import MockClock

from node.network.libp2p_noise import PLAIN_BYTES, SealedPipe
from node.network.libp2p_stream import Libp2pStream
from node.network.libp2p_yamux import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    OPENED_SAVED,
    PING,
    PINGS_SAVED,
    RST,
    SYN,
    WINDOW,
    WINDOW_BYTES,
    Yamux,
)
from node.network.seam import StreamError

Frame = tuple[int, int, int, int, bytes]


def frame(kind: int, flags: int, stream: int, body: bytes | int = b"") -> bytes:
    """As the peer writes it; a number for `body` is what stands where otherwise the length does."""
    length, rest = (body, b"") if isinstance(body, int) else (len(body), body)
    return struct.pack(">BBHII", 0, kind, flags, stream, length) + rest


class Wire:
    """Stands where the encrypted connection does. The test is the peer: Mallory, who dialled."""

    peer = "mallory"

    def __init__(self) -> None:
        self.pipe = self
        self.is_full = False
        self.is_closed = False
        self._said = bytearray()
        self.messages = 0
        """That our side has sealed."""
        self._incoming = trio.open_memory_channel[bytes](1_000_000)

    def send(self, data: bytes) -> None:
        if self.is_closed:
            raise ConnectionClosedError("closed", transport="tcp")
        self._said += data
        self.messages += 1

    async def receive(self) -> bytes:
        try:
            return await self._incoming[1].receive()
        except trio.EndOfChannel:
            return b""

    def abort(self) -> None:
        self.is_closed = True
        self._incoming[0].close()

    async def bring(self, *pieces: bytes) -> None:
        """These bytes arrive, each piece by itself, and are looked at."""
        for piece in pieces:
            self._incoming[0].send_nowait(piece)
        await trio.testing.wait_all_tasks_blocked()

    def said(self) -> list[Frame]:
        """The frames our side has sent since the last call."""
        frames, at = [], 0
        while at < len(self._said):
            _, kind, flags, stream, length = struct.unpack_from(">BBHII", self._said, at)
            end = at + 12 + (length if kind == DATA else 0)
            frames.append((kind, flags, stream, length, bytes(self._said[at + 12 : end])))
            at = end
        self._said.clear()
        return frames


@asynccontextmanager
async def open_yamux(*, dialled: bool = False) -> AsyncIterator[tuple[Wire, Yamux, list[Libp2pStream]]]:
    wire: Any = Wire()
    heard: list[Libp2pStream] = []
    async with trio.open_nursery() as nursery:

        def make(yamux: Yamux, number: int, ours: bool) -> Libp2pStream:
            return Libp2pStream(yamux, number, nursery.start_soon, ours=ours)

        yamux = Yamux(wire, dialled, make)
        yamux.on_stream = heard.append
        nursery.start_soon(yamux.run)
        yield wire, yamux, heard
        nursery.cancel_scope.cancel()


async def test_frames_may_be_cut_anywhere() -> None:
    """Byte by byte or all at once, the same is heard."""
    speech = frame(WINDOW, SYN, 1) + frame(DATA, 0, 1, b"hello ") + frame(DATA, FIN, 1, b"Bob")
    for pieces in ([speech], [bytes([byte]) for byte in speech]):
        async with open_yamux() as (wire, _, heard):
            await wire.bring(*pieces)
            (stream,) = heard
            received = b""
            while data := await stream.receive_some():
                received += data
            assert received == b"hello Bob"


async def test_the_first_frame_carries_the_greeting() -> None:
    """No frame is spent on SYN or ACK alone: they ride on the first one that has something to say."""
    async with open_yamux(dialled=True) as (wire, yamux, heard):
        ours = yamux.open()
        assert wire.said() == []
        await ours.send_all(b"a")
        await ours.send_all(b"b")
        assert wire.said() == [(DATA, SYN, 1, 1, b"a"), (DATA, 0, 1, 1, b"b")]
        await wire.bring(frame(DATA, SYN, 2, b"hi"))
        await heard[0].send_all(b"c")
        assert wire.said() == [(DATA, ACK, 2, 1, b"c")]


async def test_credit_is_given_by_the_half_window_and_waited_for() -> None:
    """Reading little costs no frame. A sender without credit waits, and goes on when some arrives."""
    async with open_yamux() as (wire, _, heard):
        await wire.bring(frame(DATA, SYN, 1, bytes(WINDOW_BYTES // 2 - 1)))
        (stream,) = heard
        await stream.receive_some(WINDOW_BYTES)
        assert wire.said() == []
        await wire.bring(frame(DATA, 0, 1, b"x"))
        await stream.receive_some()
        assert wire.said() == [(WINDOW, ACK, 1, WINDOW_BYTES // 2, b"")]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(WINDOW_BYTES + 10))
            await trio.testing.wait_all_tasks_blocked()
            assert sum(length for _, _, _, length, _ in wire.said()) == WINDOW_BYTES
            await wire.bring(frame(WINDOW, 0, 1, 7))
            assert [length for _, _, _, length, _ in wire.said()] == [7]
            await wire.bring(frame(WINDOW, 0, 1, 1000))
        assert [length for _, _, _, length, _ in wire.said()] == [3]


async def test_half_a_stream_may_end() -> None:
    """Mallory has finished, and still hears what Bob says; then the stream is forgotten on both sides."""
    async with open_yamux() as (wire, yamux, heard):
        await wire.bring(frame(DATA, SYN | FIN, 1, b"tell me"))
        (stream,) = heard
        assert await stream.receive_some() == b"tell me"
        assert await stream.receive_some() == b""
        await stream.send_all(b"this")
        await stream.finish()
        assert wire.said() == [(DATA, ACK, 1, 4, b"this"), (WINDOW, FIN, 1, 0, b"")]
        assert not yamux.streams


async def test_a_reset_is_no_end() -> None:
    async with open_yamux() as (wire, yamux, heard):
        await wire.bring(frame(DATA, SYN, 1, b"half a sent"))
        await wire.bring(frame(WINDOW, RST, 1))
        with pytest.raises(StreamError):
            await heard[0].receive_some()
        with pytest.raises(StreamError):
            await heard[0].send_all(b"hello?")
        assert not yamux.streams


async def test_pings_are_answered_and_asked() -> None:
    async with open_yamux() as (wire, yamux, _):
        await wire.bring(frame(PING, SYN, 0, 77))
        assert wire.said() == [(PING, ACK, 0, 77, b"")]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(yamux.ping)
            await trio.testing.wait_all_tasks_blocked()
            ((kind, flags, _, value, _),) = wire.said()
            assert (kind, flags) == (PING, SYN)
            await wire.bring(frame(PING, ACK, 0, value))


async def test_who_goes_away_hears_of_no_new_stream() -> None:
    """What is open goes on."""
    async with open_yamux() as (wire, yamux, heard):
        await wire.bring(frame(DATA, SYN, 1, b"bye") + frame(GO_AWAY, 0, 0, 0))
        with pytest.raises(StreamError):
            yamux.open()
        assert await heard[0].receive_some() == b"bye"


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x01" + bytes(11),
        frame(7, 0, 1),
        struct.pack(">BBHII", 0, DATA, 64, 1, 0),
        frame(WINDOW, SYN, 2),
        frame(WINDOW, SYN, 0),
        frame(WINDOW, SYN, 1) * 2,
        frame(DATA, SYN | FIN, 1) + frame(DATA, 0, 1, b"more"),
    ],
    ids=["version", "kind", "flags", "our number", "zero", "number in use", "after its end"],
)
async def test_a_broken_rule_ends_the_connection(rubbish: bytes) -> None:
    async with open_yamux() as (wire, yamux, _):
        await wire.bring(rubbish)
        assert yamux.broken_rule
        assert yamux.closed.is_set()
        assert wire.is_closed
        assert wire.said()[-1][:2] == (GO_AWAY, 0)


async def test_a_frame_beyond_the_window_is_refused_at_its_announcement() -> None:
    """Not one of its sixteen million bytes has to arrive."""
    async with open_yamux() as (wire, yamux, _):
        await wire.bring(struct.pack(">BBHII", 0, DATA, SYN, 1, 16 * 1024 * 1024))
        assert yamux.broken_rule is not None
        assert yamux.broken_rule.counted == "windows_overrun"
        assert wire.is_closed


async def test_a_window_of_single_bytes_takes_no_more_than_its_size() -> None:
    async with open_yamux() as (wire, _, heard):
        await wire.bring(frame(DATA, SYN, 1, b"a"), frame(DATA, 0, 1, b"b") * 100_000)
        (stream,) = heard
        assert len(stream._inbox) <= 4
        received = 0
        while received < 100_001:
            received += len(await stream.receive_some())


async def test_streams_are_counted_until_both_sides_are_done() -> None:
    """The 257th is refused; when one ends there is room again. Frames for what is over are dropped."""
    async with open_yamux() as (wire, yamux, heard):
        await wire.bring(*[frame(WINDOW, SYN, number) for number in range(1, 2 * 257, 2)])
        assert len(heard) == 256
        assert wire.said() == [(WINDOW, RST, 513, 0, b"")]
        await heard[0].reset()
        await wire.bring(frame(DATA, 0, 1, b"late"), frame(WINDOW, SYN, 515))
        assert len(heard) == 257
        assert not yamux.broken_rule


async def test_what_one_read_makes_us_say_leaves_as_one_message() -> None:
    """Mallory pings, and opens more streams than there may be, all in one read: she is answered at the price of one."""
    async with open_yamux() as (wire, yamux, _):
        pings = b"".join(frame(PING, SYN, 0, number) for number in range(90))
        opened = b"".join(frame(WINDOW, SYN, number) for number in range(1, 2 * 900, 2))
        await wire.bring(pings + opened)
        assert wire.messages == 1
        refused = [(WINDOW, RST, number, 0, b"") for number in range(2 * 256 + 1, 2 * 900, 2)]
        assert wire.said() == [(PING, ACK, 0, number, b"") for number in range(90)] + refused
        assert not yamux.broken_rule


@pytest.mark.parametrize(
    ("flood", "at_most"),
    [
        (lambda number: frame(PING, SYN, 0, number), PINGS_SAVED),
        (lambda number: frame(PING, ACK, 0, number), PINGS_SAVED),
        (lambda number: frame(WINDOW, SYN, 2 * number + 1) + frame(WINDOW, RST, 2 * number + 1), OPENED_SAVED),
    ],
    ids=["pings", "pongs", "streams opened and reset"],
)
async def test_a_flood_of_frames_that_cost_us_work_ends_the_connection(
    clock: MockClock, flood: Callable[[int], bytes], at_most: int
) -> None:
    """So many may come at once, and a second later some more. Who goes on is hung up on, by name."""
    async with open_yamux() as (wire, yamux, _):
        await wire.bring(b"".join(flood(number) for number in range(at_most)))
        await trio.sleep(1)
        await wire.bring(b"".join(flood(number) for number in range(at_most, at_most + 10)))
        assert not yamux.broken_rule
        await wire.bring(b"".join(flood(number) for number in range(at_most + 10, at_most + 5_000)))
        assert yamux.broken_rule is not None
        assert yamux.broken_rule.counted == "links_flooded"
        assert wire.is_closed


async def test_the_end_of_the_connection_is_told_to_everybody() -> None:
    async with open_yamux() as (wire, yamux, heard):
        await wire.bring(frame(WINDOW, SYN, 1))
        async with trio.open_nursery() as nursery:

            async def hear(wait: Any) -> None:
                with pytest.raises(StreamError):
                    await wait

            nursery.start_soon(hear, heard[0].receive_some())
            nursery.start_soon(hear, heard[0].send_all(bytes(2 * WINDOW_BYTES)))
            nursery.start_soon(hear, yamux.ping())
            await trio.testing.wait_all_tasks_blocked()
            wire.abort()


# ------------------------------------------------------------------------------------------------------- Noise


def sealed_over(wire: Any, own: bytes, other: bytes) -> SealedPipe:
    keys = SimpleNamespace(
        cipher_state_encrypt=SimpleNamespace(k=own, n=0), cipher_state_decrypt=SimpleNamespace(k=other, n=0)
    )
    conn = SimpleNamespace(noise_state=SimpleNamespace(noise_protocol=keys))
    return SealedPipe(wire, SimpleNamespace(get_remote_peer=lambda: "peer", conn=conn))


async def test_messages_are_sealed_and_opened_in_order() -> None:
    """Also several in one read, one in several reads, and one that is longer than Noise allows."""
    a, b = bytes(32), b"\1" * 32
    near: Any = Wire()
    far: Any = Wire()
    alice, bob = sealed_over(near, a, b), sealed_over(far, b, a)
    for message in (b"one", b"two", bytes(2 * PLAIN_BYTES + 5)):
        alice.send(message)
    wire = bytes(near._said)
    for at in range(0, len(wire), 1_000):
        far._incoming[0].send_nowait(wire[at : at + 1_000])
    expected = b"onetwo" + bytes(2 * PLAIN_BYTES + 5)
    received = b""
    while len(received) < len(expected):
        received += await bob.receive()
    assert received == expected


async def test_a_message_that_was_changed_ends_the_connection() -> None:
    near: Any = Wire()
    far: Any = Wire()
    alice, bob = sealed_over(near, bytes(32), bytes(32)), sealed_over(far, bytes(32), bytes(32))
    alice.send(b"hello")
    near._said[-1] ^= 1
    far._incoming[0].send_nowait(bytes(near._said))
    with pytest.raises(ConnectionClosedError):
        await bob.receive()
