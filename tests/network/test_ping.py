"""Our answers to ping, in virtual time. That others understand them is shown by `test_libp2p_dangers.py`."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from node.network.libp2p_ping import IDLE_SECONDS, PING, PING_BYTES, PINGS_PER_SECOND, Pings
from node.network.memory import MemoryWorld
from node.network.seam import Network, Stream, StreamError

PAYLOAD = bytes(range(PING_BYTES))


@asynccontextmanager
async def open_bob(world: MemoryWorld) -> AsyncIterator[tuple[Network, Pings, Counter[str]]]:
    async with world.open_network("bob") as bob:
        counts: Counter[str] = Counter()
        bob.serve(PING, (pings := Pings(counts)).answer)
        yield bob, pings, counts


async def ping(stream: Stream) -> float:
    """Seconds until the answer."""
    asked = trio.current_time()
    await stream.send_all(PAYLOAD)
    assert await receive(stream, PING_BYTES) == PAYLOAD
    return trio.current_time() - asked


async def receive(stream: Stream, count: int) -> bytes:
    received = b""
    while len(received) < count and (more := await stream.receive_some()):
        received += more
    return received


async def test_who_asks_too_often_is_answered_later_and_nobody_else_is(clock: MockClock) -> None:
    """Mallory says three hundred pings at once, and gets them all in the end; Carol, who asks meanwhile, waits for
    nothing."""
    world = MemoryWorld()
    async with (
        open_bob(world) as (bob, _, counts),
        world.open_network("mallory") as mallory,
        world.open_network("carol") as carol,
    ):
        flood = await mallory.open_stream(await mallory.dial(bob.addresses[0]), PING)
        begin = trio.current_time()
        await flood.send_all(PAYLOAD * 15 * PINGS_PER_SECOND)
        calm = await carol.open_stream(await carol.dial(bob.addresses[0]), PING)
        for _ in range(10):
            assert await ping(calm) < 0.5
            await trio.sleep(1)
        assert await receive(flood, 15 * PINGS_PER_SECOND * PING_BYTES) == PAYLOAD * 15 * PINGS_PER_SECOND
        assert 14 <= trio.current_time() - begin < 16
        assert counts["pings_held_back"] >= 14


async def test_a_peer_has_two_ping_streams_and_nothing_is_kept_when_they_are_over(clock: MockClock) -> None:
    world = MemoryWorld()
    async with open_bob(world) as (bob, pings, counts), world.open_network("mallory") as mallory:
        peer = await mallory.dial(bob.addresses[0])
        first, second = [await mallory.open_stream(peer, PING) for _ in range(2)]
        for stream in (first, second):
            await ping(stream)
        with pytest.raises(StreamError):
            await ping(await mallory.open_stream(peer, PING))
        assert counts == {"ping_streams_refused": 1}
        await first.finish()
        assert await first.receive_some() == b""
        await ping(await mallory.open_stream(peer, PING))
        await mallory.hang_up(peer)
        await trio.testing.wait_all_tasks_blocked()
        assert len(pings._streams) == 0


async def test_a_stream_on_which_nothing_is_asked_is_closed(clock: MockClock) -> None:
    world = MemoryWorld()
    async with open_bob(world) as (bob, _, _), world.open_network("alice") as alice:
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), PING)
        await ping(stream)
        begin = trio.current_time()
        assert await stream.receive_some() == b""
        assert trio.current_time() - begin == pytest.approx(IDLE_SECONDS, abs=1)


async def test_half_a_ping_is_answered_by_nothing(clock: MockClock) -> None:
    world = MemoryWorld()
    async with open_bob(world) as (bob, _, _), world.open_network("alice") as alice:
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), PING)
        await stream.send_all(PAYLOAD[:-1])
        await stream.finish()
        with pytest.raises(StreamError):
            await stream.receive_some()
