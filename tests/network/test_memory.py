"""The memory network's own weather: what it promises beyond the contract (tests/contract/test_network.py)."""

import functools
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.network.memory import Conditions, MemoryWorld
from node.network.seam import DialError, LinkDown, LinkUp, ListenError, Network, Stream, StreamError

ECHO, HOLD = "/test/echo/1", "/test/hold/1"


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def hold(stream: Stream) -> None:
    await trio.sleep_forever()


async def receive_exactly(stream: Stream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        more = await stream.receive_some(count - len(received))
        assert more
        received += more
    return received


Story = Callable[[Network, Network, MemoryWorld], Awaitable[Any]]


async def alice_and_bob(story: Story, conditions: Conditions | None = None, seed: int = 1) -> Any:
    world = MemoryWorld(seed, conditions)
    async with world.open_network("alice") as alice, world.open_network("bob") as bob:
        bob.serve(ECHO, echo)
        bob.serve(HOLD, hold)
        return await story(alice, bob, world)


async def test_time_is_virtual_and_delays_are_exact(clock: MockClock) -> None:
    """With 50 ms each way, a dial costs five round trips, a new stream one, and so does a question on it."""
    laps: list[float] = []

    async def story(alice: Network, bob: Network, _world: MemoryWorld) -> None:
        start = trio.current_time()
        await alice.dial(bob.addresses[0])
        laps.append(trio.current_time())
        stream = await alice.open_stream(bob.peer_id, ECHO)
        laps.append(trio.current_time())
        await stream.send_all(b"?")
        await stream.receive_some()
        laps.append(trio.current_time())
        laps[:] = [lap - start for lap in laps]

    await alice_and_bob(story, Conditions(delay=0.05))
    assert laps == pytest.approx([0.5, 0.6, 0.7])


async def test_bandwidth_bounds_the_rate(clock: MockClock) -> None:
    """A megabyte at 100 kB/s takes ten seconds and a little for the frames around it."""

    async def story(alice: Network, bob: Network, _world: MemoryWorld) -> float:
        received = trio.Event()

        async def take(stream: Stream) -> None:
            await receive_exactly(stream, 1_000_000)
            received.set()

        bob.serve("/test/take/1", take)
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), "/test/take/1")
        start = trio.current_time()
        await stream.send_all(bytes(1_000_000))
        await received.wait()
        return trio.current_time() - start

    assert await alice_and_bob(story, Conditions(bandwidth=100_000)) == pytest.approx(10.0, rel=0.02)


async def _arrival_times(alice: Network, bob: Network, _world: MemoryWorld) -> list[tuple[float, bytes]]:
    stream = await alice.open_stream(await alice.dial(bob.addresses[0]), ECHO)
    arrivals = []
    for number in range(50):
        await stream.send_all(b"%03d" % number)
        arrivals.append((trio.current_time(), await receive_exactly(stream, 3)))
    return arrivals


async def test_loss_and_jitter_are_lateness_in_order(clock: MockClock) -> None:
    """Every byte arrives once and in order; a lossy line is a slow one."""
    good = await alice_and_bob(_arrival_times, Conditions(delay=0.01))
    bad = await alice_and_bob(_arrival_times, Conditions(delay=0.01, jitter=0.02, loss=0.2))
    assert [data for _, data in good] == [data for _, data in bad] == [b"%03d" % number for number in range(50)]
    assert bad[-1][0] - bad[0][0] > 2 * (good[-1][0] - good[0][0])


async def test_many_chunks_keep_their_order_under_jitter(clock: MockClock) -> None:
    async def story(alice: Network, bob: Network, _world: MemoryWorld) -> None:
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), ECHO)
        sent = b"".join(b"%04d" % number for number in range(300))
        for start in range(0, len(sent), 4):
            await stream.send_all(sent[start : start + 4])
        assert await receive_exactly(stream, len(sent)) == sent

    await alice_and_bob(story, Conditions(delay=0.01, jitter=0.5, loss=0.1))


@pytest.mark.parametrize("seed", [1, 2])
async def test_one_seed_is_one_history(clock: MockClock, seed: int) -> None:
    """The same seed gives the same arrival times to the last digit; another seed gives others."""
    weather = Conditions(delay=0.01, jitter=0.02, loss=0.2)

    async def history(of: int) -> list[float]:
        times = [when for when, _ in await alice_and_bob(_arrival_times, weather, of)]
        return [round(when - times[0], 9) for when in times]

    assert await history(seed) == await history(seed)
    assert await history(seed) != await history(seed + 10)


async def test_other_links_do_not_change_a_links_history(clock: MockClock) -> None:
    """Each direction of each pair draws from a generator of its own, however busy Carol is meanwhile."""
    weather = Conditions(delay=0.01, jitter=0.02, loss=0.2)

    async def with_carol(alice: Network, bob: Network, world: MemoryWorld) -> list[tuple[float, bytes]]:
        async with world.open_network("carol") as carol, trio.open_nursery() as nursery:
            nursery.start_soon(functools.partial(_arrival_times, carol, bob, world))
            arrivals = await _arrival_times(alice, bob, world)
            nursery.cancel_scope.cancel()
        return arrivals

    alone = await alice_and_bob(_arrival_times, weather)
    busy = await alice_and_bob(with_carol, weather)
    assert [when - alone[0][0] for when, _ in alone] == pytest.approx([when - busy[0][0] for when, _ in busy])


async def test_a_brittle_line_breaks(clock: MockClock) -> None:
    async def story(alice: Network, bob: Network, _world: MemoryWorld) -> None:
        async with bob.watch_links() as watcher:
            stream = await alice.open_stream(await alice.dial(bob.addresses[0]), ECHO)
            sent = 0
            with pytest.raises(StreamError):
                sent = await _send_for_ever(stream)
            assert sent == 0
            assert isinstance(await watcher.receive(), LinkUp)
            assert await watcher.receive() == LinkDown(alice.peer_id)

    await alice_and_bob(story, Conditions(delay=0.01, breaks=0.02))


async def _send_for_ever(stream: Stream) -> int:
    while True:
        await stream.send_all(b"x")


async def test_a_partition_parts_and_heals(clock: MockClock) -> None:
    """Links across break, dials across time out, links within stay; after healing, a dial works again."""
    world = MemoryWorld()
    async with AsyncExitStack() as stack:
        alice, bob, carol = [
            await stack.enter_async_context(world.open_network(name)) for name in ("alice", "bob", "carol")
        ]
        await alice.dial(bob.addresses[0])
        await alice.dial(carol.addresses[0])
        world.partition({alice.peer_id, bob.peer_id})
        assert [link.peer for link in alice.links()] == [bob.peer_id]
        assert carol.links() == ()
        start = trio.current_time()
        with pytest.raises(DialError, match="no answer"):
            await carol.dial(alice.addresses[0])
        assert trio.current_time() - start == pytest.approx(10.0)
        world.heal()
        assert await carol.dial(alice.addresses[0]) == alice.peer_id


async def test_a_short_partition_only_makes_things_late(clock: MockClock) -> None:
    """Healed before anybody notices, the link lives, and what was under way arrives."""

    async def story(alice: Network, bob: Network, world: MemoryWorld) -> None:
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), ECHO)
        world.partition({alice.peer_id}, notice=25.0)
        await stream.send_all(b"patience")
        with trio.move_on_after(20) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught
        world.heal()
        assert await receive_exactly(stream, 8) == b"patience"
        await trio.sleep(60)
        assert len(alice.links()) == 1

    await alice_and_bob(story)


async def test_a_long_partition_is_noticed(clock: MockClock) -> None:
    async def story(alice: Network, bob: Network, world: MemoryWorld) -> None:
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), ECHO)
        world.partition({alice.peer_id}, notice=25.0)
        start = trio.current_time()
        with pytest.raises(StreamError):
            await stream.receive_some()
        assert trio.current_time() - start == pytest.approx(25.0)
        assert alice.links() == bob.links() == ()

    await alice_and_bob(story)


async def test_a_cut_link_can_be_made_again(clock: MockClock) -> None:
    async def story(alice: Network, bob: Network, world: MemoryWorld) -> None:
        await alice.dial(bob.addresses[0])
        world.cut(bob.peer_id, alice.peer_id)
        assert alice.links() == bob.links() == ()
        await alice.dial(bob.addresses[0])
        assert len(alice.links()) == 1

    await alice_and_bob(story)


async def test_a_crash_and_a_second_life(clock: MockClock) -> None:
    """Bob is killed while a handler runs: it stops, Alice's stream breaks, nothing of his works, and his next life,
    at the same address, is found by the same dial."""
    world = MemoryWorld()
    running, cancelled = trio.Event(), trio.Event()

    async def until_killed(stream: Stream) -> None:
        running.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with world.open_network("alice") as alice, world.open_network("bob") as bob:
        bob.serve(HOLD, until_killed)
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), HOLD)
        await running.wait()
        world.crash(bob.peer_id)
        with pytest.raises(StreamError):
            await stream.receive_some()
        await cancelled.wait()
        assert alice.links() == bob.links() == ()
        with pytest.raises(DialError, match="closed"):
            await bob.dial(alice.addresses[0])
        with pytest.raises(DialError, match="nobody listens"):
            await alice.dial(bob.addresses[0])
        async with world.open_network("bob") as second:
            second.serve(ECHO, echo)
            assert second.addresses == bob.addresses
            stream = await alice.open_stream(await alice.dial(bob.addresses[0]), ECHO)
            await stream.send_all(b"again")
            assert await receive_exactly(stream, 5) == b"again"


async def test_an_identity_lives_once(clock: MockClock) -> None:
    world = MemoryWorld()
    async with world.open_network("alice"):
        with pytest.raises(ListenError):
            await world.open_network("alice", address="/ip4/10.1.2.3/tcp/4001").__aenter__()


async def test_who_does_not_listen_can_only_dial(clock: MockClock) -> None:
    world = MemoryWorld()
    async with world.open_network("alice", listening=False) as alice, world.open_network("bob") as bob:
        assert alice.addresses == ()
        alice.serve(ECHO, echo)
        await alice.dial(bob.addresses[0])
        stream = await bob.open_stream(alice.peer_id, ECHO)
        await stream.send_all(b"behind a router")
        assert await receive_exactly(stream, 15) == b"behind a router"


async def test_a_stream_left_half_open_is_reset_in_the_end(clock: MockClock) -> None:
    """Bob's handler is done but Mallory never finishes: after the linger of ten seconds the stream is gone."""

    async def curt(stream: Stream) -> None:
        await stream.send_all(b"bye")

    async def story(mallory: Network, bob: Network, _world: MemoryWorld) -> None:
        bob.serve("/test/curt/1", curt)
        stream = await mallory.open_stream(await mallory.dial(bob.addresses[0]), "/test/curt/1")
        assert await receive_exactly(stream, 3) == b"bye"
        assert await stream.receive_some() == b""
        start = trio.current_time()
        with pytest.raises(StreamError):
            await stream.send_all(bytes(1_000_000))  # more than the window that nobody empties
        assert trio.current_time() - start == pytest.approx(10.0)

    await alice_and_bob(story)


async def test_a_thousand_nodes_in_one_process(clock: MockClock) -> None:
    """A star of a thousand leaves that each ask once; the seam itself costs little."""
    world = MemoryWorld(conditions=Conditions(delay=0.05))
    answers = 0
    async with world.open_network("hub") as hub, AsyncExitStack() as stack:
        hub.serve(ECHO, echo)

        async def ask(leaf: Network) -> None:
            nonlocal answers
            stream = await leaf.open_stream(await leaf.dial(hub.addresses[0]), ECHO)
            await stream.send_all(b"?")
            if await stream.receive_some() == b"?":
                answers += 1
            await stream.close()

        leaves = [await stack.enter_async_context(world.open_network(f"leaf {number}")) for number in range(1000)]
        async with trio.open_nursery() as nursery:
            for leaf in leaves:
                nursery.start_soon(ask, leaf)
        assert answers == 1000
        assert len(hub.links()) == 1000
