"""What every network promises (node/network/seam.py), asked of both: memory in virtual time, libp2p on 127.0.0.1."""

import functools
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.network.address import parse_address
from node.network.libp2p import NetLimits, open_libp2p_network
from node.network.memory import MemoryWorld
from node.network.seam import (
    DialError,
    LinkChosen,
    LinkDown,
    LinkEvent,
    LinkUp,
    ListenError,
    Network,
    NotSpokenError,
    Stream,
    StreamError,
    Worth,
)

ECHO, HOLD, KEEP = "/test/echo/1", "/test/hold/1", "/test/keep/1"
MEGABYTE = 1_000_000


class Memory:
    def __init__(self) -> None:
        self.world = MemoryWorld(seed=7)

    def open(self, name: str, address: str | None = None) -> AbstractAsyncContextManager[Network]:
        return self.world.open_network(name, address=address)

    open_at = open

    def open_small(self, name: str, inbound: int, grace: float) -> AbstractAsyncContextManager[Network]:
        return self.world.open_network(name, inbound=inbound, grace=grace)


class Libp2p:
    def open(self, name: str, address: str | None = None) -> AbstractAsyncContextManager[Network]:
        """`address` is only a hint that another one is wanted: port 0 never gives a port that is in use."""
        return self.open_at(name, "/ip4/127.0.0.1/tcp/0")

    def open_at(self, name: str, address: str) -> AbstractAsyncContextManager[Network]:
        return open_libp2p_network(seed=hashlib.sha256(name.encode()).digest(), listen=[address])

    def open_small(self, name: str, inbound: int, grace: float) -> AbstractAsyncContextManager[Network]:
        limits = NetLimits(connections=inbound + 1, kept_for_dials=1, grace_seconds=grace)
        seed = hashlib.sha256(name.encode()).digest()
        return open_libp2p_network(seed=seed, listen=["/ip4/127.0.0.1/tcp/0"], limits=limits)


World = Memory | Libp2p


@pytest.fixture(params=["memory", pytest.param("libp2p", marks=pytest.mark.live)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock(kind: str) -> MockClock | None:
    """libp2p's sockets need the real one."""
    return MockClock(autojump_threshold=0) if kind == "memory" else None


@pytest.fixture
def world(kind: str, clock: MockClock | None) -> World:
    return Memory() if kind == "memory" else Libp2p()


def within(seconds: float) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., Awaitable[None]]]:
    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @functools.wraps(test)
        async def limited(*args: Any, **kwargs: Any) -> None:
            with trio.fail_after(seconds):
                await test(*args, **kwargs)

        return limited

    return decorate


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def receive_all(stream: Stream) -> bytes:
    received = bytearray()
    while data := await stream.receive_some():
        received += data
    return bytes(received)


async def receive_exactly(stream: Stream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        more = await stream.receive_some(count - len(received))
        assert more, f"the stream ended after {len(received)} of {count} bytes"
        received += more
    return received


def elsewhere(address: str, name: str) -> str:
    """The same place, another peer expected there."""
    return f"{parse_address(address).transport}/p2p/{MemoryWorld.peer_id(name)}"


class Held:
    """A handler that hands its stream to the test and holds it until told to go on."""

    def __init__(self) -> None:
        self._inbox = trio.open_memory_channel[Stream](100)
        self.go_on = trio.Event()

    async def __call__(self, stream: Stream) -> None:
        self._inbox[0].send_nowait(stream)
        await self.go_on.wait()

    async def next(self) -> Stream:
        return await self._inbox[1].receive()


async def wait_down(watcher: trio.MemoryReceiveChannel[LinkEvent], peer: str) -> None:
    async for event in watcher:
        if event == LinkDown(peer):
            return
    pytest.fail("the watcher ended without a LinkDown")


@within(20)
async def test_alice_dials_bob_and_both_are_linked(world: World, clock: object) -> None:
    """Both know the other's authenticated peer id; the one who dialled has the outbound link."""
    async with world.open("alice") as alice, world.open("bob") as bob, bob.watch_links() as watcher:
        assert await alice.dial(bob.addresses[0]) == bob.peer_id
        event = await watcher.receive()
        assert isinstance(event, LinkUp)
        assert (event.link.peer, event.link.outbound) == (alice.peer_id, False)
        assert parse_address(event.link.remote).peer is None
        (link,) = alice.links()
        assert (link.peer, link.outbound) == (bob.peer_id, True)
        assert link.remote == parse_address(bob.addresses[0]).transport
        assert await alice.dial(bob.addresses[0]) == bob.peer_id, "dialling a linked peer finds the link"
        assert alice.statistics()["dials"] == 1


@within(20)
async def test_the_same_name_is_the_same_peer(world: World, clock: object) -> None:
    """The peer id is a function of the seed alone, and the same in both implementations."""
    async with world.open("alice") as alice:
        assert alice.peer_id == MemoryWorld.peer_id("alice")
        assert all(parse_address(each).peer == alice.peer_id for each in alice.addresses)


@within(20)
async def test_mallory_at_bobs_address_is_not_bob(world: World, clock: object) -> None:
    """A dial that meets another peer than expected fails and leaves no link."""
    async with world.open("alice") as alice, world.open("mallory") as mallory:
        with pytest.raises(DialError):
            await alice.dial(elsewhere(mallory.addresses[0], "bob"))
        assert alice.links() == ()
        assert await alice.dial(mallory.addresses[0]) == mallory.peer_id, "and the address itself is not spoilt"


@within(20)
async def test_alice_does_not_dial_herself(world: World, clock: object) -> None:
    async with world.open("alice") as alice:
        with pytest.raises(DialError, match="own address"):
            await alice.dial(alice.addresses[0])


@within(20)
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("rubbish", "is not like"),
        ("", "is not like"),
        ("/ip4/127.0.0.1/tcp/4001", "who is expected"),
        ("/ip4/127.0.0.1/udp/4001/p2p/{bob}", "is not like"),
        ("/ip4/127.0.0.300/tcp/4001/p2p/{bob}", "not an IP address"),
        ("/ip4/::1/tcp/4001/p2p/{bob}", "not an ip4"),
        ("/ip4/127.0.0.1/tcp/70000/p2p/{bob}", "not a port"),
        ("/ip4/127.0.0.1/tcp/0/p2p/{bob}", "to listen on"),
        ("/ip4/0.0.0.0/tcp/4001/p2p/{bob}", "to listen on"),
        ("/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWrong", "not"),
        ("/memory/7/tcp/4001/p2p/{bob}", "known are"),
        ("/dns4/" + "a" * 300 + "/tcp/4001/p2p/{bob}", "longer"),
    ],
)
async def test_a_malformed_address_is_explained(world: World, clock: object, address: str, says: str) -> None:
    async with world.open("alice") as alice:
        with pytest.raises(DialError, match=says):
            await alice.dial(address.format(bob=MemoryWorld.peer_id("bob")))


@within(20)
async def test_nobody_at_the_address(world: World, clock: object) -> None:
    async with world.open("alice") as alice:
        async with world.open("bob") as bob:
            address = bob.addresses[0]
        with pytest.raises(DialError, match="cannot reach"):
            await alice.dial(address)
        assert alice.statistics()["dials_failed"] == 1


@within(20)
async def test_an_address_in_use_cannot_be_listened_on(world: World, clock: object, kind: str) -> None:
    """The sentence names the address."""
    async with world.open("alice") as alice:
        taken = parse_address(alice.addresses[0]).transport
        bob = world.open_at("bob", taken)
        with pytest.raises(ListenError, match=f"cannot listen on {taken}"):
            await bob.__aenter__()


@within(20)
async def test_echo(world: World, clock: object) -> None:
    """Bytes come back as sent, half-closing ends the conversation, and the end is told again and again."""
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(ECHO, echo)
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), ECHO)
        assert (stream.peer, stream.protocol) == (bob.peer_id, ECHO)
        await stream.send_all(b"")
        await stream.send_all(b"hello ")
        await stream.send_all(b"bob")
        await stream.finish()
        await stream.finish()
        assert await receive_all(stream) == b"hello bob"
        assert await stream.receive_some() == b""
        with pytest.raises(StreamError):
            await stream.send_all(b"too late")
        await stream.close()
        await stream.close()
        with pytest.raises(StreamError):
            await stream.receive_some()


@within(20)
async def test_receiving_takes_at_most_what_was_asked(world: World, clock: object) -> None:
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(ECHO, echo)
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), ECHO)
        await stream.send_all(b"abcdef")
        assert await stream.receive_some(1) == b"a"
        assert await receive_exactly(stream, 5) == b"bcdef"


@within(20)
async def test_the_handler_sees_who_calls(world: World, clock: object) -> None:
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(HOLD, held := Held())
        await alice.open_stream(await alice.dial(bob.addresses[0]), HOLD)
        stream = await held.next()
        assert (stream.peer, stream.protocol) == (alice.peer_id, HOLD)


@within(20)
async def test_an_unknown_protocol(world: World, clock: object) -> None:
    """Bob does not speak it: Alice learns so when she opens, and the link lives on."""
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(ECHO, echo)
        await alice.dial(bob.addresses[0])
        with pytest.raises(NotSpokenError, match="does not speak"):
            await alice.open_stream(bob.peer_id, "/test/nobody-speaks-this/1")
        stream = await alice.open_stream(bob.peer_id, ECHO)
        await stream.send_all(b"x")
        assert await stream.receive_some() == b"x"


@within(20)
async def test_no_stream_without_a_link(world: World, clock: object) -> None:
    async with world.open("alice") as alice, world.open("bob") as bob:
        with pytest.raises(StreamError, match="no link"):
            await alice.open_stream(bob.peer_id, ECHO)


@within(30)
async def test_a_megabyte_to_a_slow_reader(world: World, clock: object, kind: str) -> None:
    """The sender waits for the reader: it is never more than a window (and what the sockets hold) ahead of it, also
    when the reader first takes longer than yamux's own patience of five seconds."""
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(HOLD, held := Held())
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), HOLD)
        theirs = await held.next()
        payload = bytes(range(256)) * (MEGABYTE // 256)
        sent = trio.Event()

        async def send() -> None:
            await stream.send_all(payload)
            sent.set()
            await stream.finish()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            with trio.move_on_after(5.5):
                await sent.wait()
            assert not sent.is_set(), "a megabyte went into a window of 256 KiB"
            received = bytearray()
            while data := await theirs.receive_some(10_000):
                received += data
                if len(received) < MEGABYTE // 2:
                    assert not sent.is_set()
            assert received == payload
        assert sent.is_set()


@within(30)
async def test_a_megabyte_there_and_back(world: World, clock: object) -> None:
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(ECHO, echo)
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), ECHO)
        payload = hashlib.sha256(b"seed").digest() * (MEGABYTE // 32)

        async def send() -> None:
            await stream.send_all(payload)
            await stream.finish()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await receive_all(stream) == payload


@within(30)
async def test_many_streams_at_once(world: World, clock: object) -> None:
    """A hundred conversations on one link do not mix."""
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(ECHO, echo)
        await alice.dial(bob.addresses[0])
        replies: dict[int, bytes] = {}

        async def talk(number: int) -> None:
            stream = await alice.open_stream(bob.peer_id, ECHO)
            await stream.send_all(b"%d," % number * 100)
            await stream.finish()
            replies[number] = await receive_all(stream)
            await stream.close()

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(talk, number)
        assert replies == {number: b"%d," % number * 100 for number in range(100)}
        assert bob.statistics()["streams_accepted"] == 100


@within(60)
async def test_streams_do_not_run_out(world: World, clock: object) -> None:
    """yamux lets 256 be open at once; six hundred one after the other are no problem, whoever closes first."""
    async with world.open("alice") as alice, world.open("bob") as bob:

        async def answer(stream: Stream) -> None:
            await stream.send_all(await stream.receive_some())

        bob.serve(ECHO, answer)
        await alice.dial(bob.addresses[0])
        for number in range(600):
            stream = await alice.open_stream(bob.peer_id, ECHO)
            await stream.send_all(b"x")
            if number % 3 == 0:
                await stream.reset()
            else:
                assert await receive_exactly(stream, 1) == b"x"
                await stream.close()
        assert bob.statistics()["streams_accepted"] == 600


@within(20)
async def test_a_reset_is_not_an_end(world: World, clock: object) -> None:
    """Who resets tells the other so: as an error, never as the end of what was sent."""
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(HOLD, held := Held())
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), HOLD)
        theirs = await held.next()
        await stream.send_all(b"half a mess")
        assert await receive_exactly(theirs, 11) == b"half a mess"
        await stream.reset()
        await stream.reset()
        with pytest.raises(StreamError):
            await theirs.receive_some()
        with pytest.raises(StreamError):
            await theirs.send_all(b"still there?")
        with pytest.raises(StreamError):
            await stream.receive_some()


@within(20)
async def test_a_reset_ends_a_waiting_receive(world: World, clock: object) -> None:
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(HOLD, held := Held())
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), HOLD)
        theirs = await held.next()
        async with trio.open_nursery() as nursery:

            async def wait_for_bytes(task_status: trio.TaskStatus[None]) -> None:
                task_status.started()
                with pytest.raises(StreamError):
                    await stream.receive_some()

            await nursery.start(wait_for_bytes)
            await theirs.reset()


@within(20)
async def test_a_raising_handler_costs_one_stream(
    world: World, clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Bob's handler has a bug: Alice's stream breaks, the bug is counted and shown, and everything else goes on."""

    async def buggy(stream: Stream) -> None:
        await stream.receive_some()
        raise ValueError("a bug of ours")

    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(KEEP, buggy)
        bob.serve(ECHO, echo)
        await alice.dial(bob.addresses[0])
        neighbour = await alice.open_stream(bob.peer_id, ECHO)
        for _ in range(3):
            stream = await alice.open_stream(bob.peer_id, KEEP)
            await stream.send_all(b"x")
            with pytest.raises(StreamError):
                await stream.receive_some()
        assert bob.statistics()["handler_errors"] == 3
        assert caplog.text.count("a bug of ours") >= 3
        await neighbour.send_all(b"alive")
        assert await receive_exactly(neighbour, 5) == b"alive"


@within(20)
async def test_a_peer_that_breaks_its_stream_is_no_bug(
    world: World, clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """The StreamError that a reset raises in a handler is counted as the peer's doing, and not shown."""
    async with world.open("alice") as alice, world.open("bob") as bob:
        ended = trio.Event()

        async def read(stream: Stream) -> None:
            try:
                await echo(stream)
            finally:
                ended.set()

        bob.serve(ECHO, read)
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), ECHO)
        await stream.reset()
        await ended.wait()
        assert bob.statistics().get("handler_streams_broken") == 1
        assert "handler_errors" not in bob.statistics()
        assert "Traceback" not in caplog.text


@within(20)
async def test_bob_answers_over_alices_link(world: World, clock: object) -> None:
    """The accepted side opens streams to the dialler: an answer needs no listening requester."""
    async with world.open("alice") as alice, world.open("bob") as bob, bob.watch_links() as watcher:
        alice.serve(ECHO, echo)
        await alice.dial(bob.addresses[0])
        event = await watcher.receive()
        assert isinstance(event, LinkUp)
        stream = await bob.open_stream(event.link.peer, ECHO)
        await stream.send_all(b"your offer")
        assert await receive_exactly(stream, 10) == b"your offer"
        assert len(bob.links()) == len(alice.links()) == 1


@within(20)
async def test_a_late_watcher_misses_nothing(world: World, clock: object) -> None:
    """It first hears of the links that are there, then of every change, once."""
    async with world.open("alice") as alice, world.open("bob") as bob, world.open("carol") as carol:
        await alice.dial(bob.addresses[0])
        async with alice.watch_links() as late:
            first = late.receive_nowait()
            assert isinstance(first, LinkUp)
            assert first.link.peer == bob.peer_id
            await alice.dial(carol.addresses[0])
            second = await late.receive()
            assert isinstance(second, LinkUp)
            assert second.link.peer == carol.peer_id
            await alice.hang_up(bob.peer_id)
            assert await late.receive() == LinkDown(bob.peer_id)
            with pytest.raises(trio.WouldBlock):
                late.receive_nowait()


@within(20)
async def test_watching_ends_with_the_network(world: World, clock: object) -> None:
    async with world.open("bob") as bob:
        async with world.open("alice") as alice:
            await alice.dial(bob.addresses[0])
            watching = alice.watch_links()
            watcher = await watching.__aenter__()
        events = [event async for event in watcher]
        assert [type(event) for event in events] == [LinkUp, LinkDown]
        await watching.__aexit__(None, None, None)


@within(20)
async def test_hanging_up_is_noticed_by_both(world: World, clock: object) -> None:
    async with (
        world.open("alice") as alice,
        world.open("bob") as bob,
        alice.watch_links() as alices,
        bob.watch_links() as bobs,
    ):
        bob.serve(HOLD, held := Held())
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), HOLD)
        theirs = await held.next()
        await alice.hang_up(bob.peer_id)
        await alice.hang_up(bob.peer_id)
        assert alice.links() == ()
        await wait_down(alices, bob.peer_id)
        await wait_down(bobs, alice.peer_id)
        assert bob.links() == ()
        for broken in (stream, theirs):
            with pytest.raises(StreamError):
                await broken.receive_some()
        await alice.dial(bob.addresses[0])
        assert len(alice.links()) == 1, "and they may meet again"


@within(20)
async def test_bob_leaves_and_alice_notices(world: World, clock: object) -> None:
    async with world.open("alice") as alice, alice.watch_links() as watcher:
        async with world.open("bob") as bob:
            bob.serve(HOLD, Held())
            stream = await alice.open_stream(await alice.dial(bob.addresses[0]), HOLD)
        await wait_down(watcher, bob.peer_id)
        with pytest.raises(StreamError):
            await stream.receive_some()
        with pytest.raises(StreamError):
            await alice.open_stream(bob.peer_id, HOLD)


@within(30)
async def test_both_dial_at_once(world: World, clock: object) -> None:
    """However many connections that makes: one LinkUp each, both links outbound in the end, which is said if they were
    not so at first, and streams work both ways."""
    async with world.open("alice") as alice, world.open("bob") as bob:
        alice.serve(ECHO, echo)
        bob.serve(ECHO, echo)
        for _ in range(5):
            async with alice.watch_links() as alices, bob.watch_links() as bobs:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(alice.dial, bob.addresses[0])
                    nursery.start_soon(bob.dial, alice.addresses[0])
                for one, other in ((alice, bob), (bob, alice)):
                    stream = await one.open_stream(other.peer_id, ECHO)
                    await stream.send_all(b"hello")
                    assert await receive_exactly(stream, 5) == b"hello"
                    await stream.close()
                await alice.hang_up(bob.peer_id)
                for watcher, other in ((alices, bob), (bobs, alice)):
                    up = await watcher.receive()
                    assert isinstance(up, LinkUp)
                    then = await watcher.receive()
                    if not up.link.outbound:
                        assert then == LinkChosen(replace(up.link, outbound=True))
                        then = await watcher.receive()
                    assert then == LinkDown(other.peer_id)


@within(20)
async def test_bob_moves_and_is_still_bob(world: World, clock: object) -> None:
    """The same identity comes back at another address: a redial there makes a link to the same peer."""
    async with world.open("alice") as alice, alice.watch_links() as watcher:
        async with world.open("bob") as bob:
            await alice.dial(first := bob.addresses[0])
        await wait_down(watcher, bob.peer_id)
        async with world.open("bob", "/ip4/10.9.9.9/tcp/4002") as again:
            again.serve(ECHO, echo)
            assert again.peer_id == bob.peer_id
            assert again.addresses[0] != first
            with pytest.raises(DialError):
                await alice.dial(first)
            stream = await alice.open_stream(await alice.dial(again.addresses[0]), ECHO)
            await stream.send_all(b"welcome back")
            assert await receive_exactly(stream, 12) == b"welcome back"


@within(20)
async def test_twenty_tasks_dial_one_peer(world: World, clock: object) -> None:
    async with world.open("alice") as alice, world.open("bob") as bob:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(alice.dial, bob.addresses[0])
        assert len(alice.links()) == 1
        assert alice.statistics()["dials"] == 1
        assert alice.statistics()["connections"] == 1


@within(20)
async def test_a_good_address_after_a_bad_one(world: World, clock: object) -> None:
    """Two tasks dial the same peer at different addresses at once: the one with the good address succeeds."""
    async with world.open("alice") as alice, world.open("bob") as bob:
        async with world.open("carol") as carol:
            dead = elsewhere(carol.addresses[0], "bob")
        outcomes: dict[str, str] = {}

        async def dial(address: str) -> None:
            try:
                outcomes[address] = await alice.dial(address)
            except DialError:
                outcomes[address] = "failed"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial, dead)
            nursery.start_soon(dial, bob.addresses[0])
        assert outcomes[bob.addresses[0]] == bob.peer_id
        assert len(alice.links()) == 1


@within(20)
async def test_cancelling_a_receive_loses_no_bytes(world: World, clock: object) -> None:
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(ECHO, echo)
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), ECHO)
        with trio.move_on_after(0.05) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught
        await stream.send_all(b"after")
        assert await receive_exactly(stream, 5) == b"after"


@within(20)
async def test_cancelling_a_send_harms_only_its_stream(world: World, clock: object) -> None:
    """The window is full and the task is cancelled; other streams of the link, before and after, do not notice."""
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(HOLD, Held())
        bob.serve(ECHO, echo)
        await alice.dial(bob.addresses[0])
        other = await alice.open_stream(bob.peer_id, ECHO)
        for _ in range(3):
            stream = await alice.open_stream(bob.peer_id, HOLD)
            with trio.move_on_after(0.05) as scope:
                await stream.send_all(bytes(MEGABYTE))
            assert scope.cancelled_caught
            await stream.reset()
            await other.send_all(b"hello")
            assert await receive_exactly(other, 5) == b"hello"


@within(20)
async def test_closing_works_in_a_cancelled_task(world: World, clock: object) -> None:
    """A `finally: await stream.close()` in a cancelled task still tells the peer."""
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(HOLD, held := Held())
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), HOLD)
        theirs = await held.next()
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.close()
        assert await theirs.receive_some() == b""


@within(20)
async def test_two_senders_on_one_stream_are_a_bug(world: World, clock: object) -> None:
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(HOLD, Held())
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), HOLD)
        async with trio.open_nursery() as nursery:
            await nursery.start(_send_until_cancelled, stream)
            with pytest.raises(trio.BusyResourceError):
                await stream.send_all(b"me too")
            nursery.cancel_scope.cancel()


async def _send_until_cancelled(stream: Stream, task_status: trio.TaskStatus[None]) -> None:
    task_status.started()
    await stream.send_all(bytes(MEGABYTE))


@within(20)
async def test_one_stream_for_a_whole_thread(world: World, clock: object) -> None:
    """Danger 12: a stream is kept open and both sides ask and answer on it, many times over."""
    async with world.open("alice") as alice, world.open("bob") as bob:

        async def vendor(stream: Stream) -> None:
            for turn in range(200):
                assert await receive_exactly(stream, 4) == b"%04d" % turn
                await stream.send_all(b"%04d" % (turn + 1))

        bob.serve(KEEP, vendor)
        stream = await alice.open_stream(await alice.dial(bob.addresses[0]), KEEP)
        for turn in range(200):
            await stream.send_all(b"%04d" % turn)
            assert await receive_exactly(stream, 4) == b"%04d" % (turn + 1)
        await stream.close()
        assert alice.statistics()["streams_opened"] == 1


@within(20)
async def test_an_error_in_the_body_comes_out_as_itself(world: World, clock: object) -> None:
    """Not in the exception groups of the nurseries underneath."""
    with pytest.raises(KeyError, match="mine"):
        async with world.open("alice"):
            raise KeyError("mine")


@within(20)
async def test_leaving_is_quick_while_handlers_run(world: World, clock: object) -> None:
    started = trio.current_time()
    async with world.open("alice") as alice, world.open("bob") as bob:
        bob.serve(HOLD, held := Held())
        await alice.dial(bob.addresses[0])
        for _ in range(10):
            await alice.open_stream(bob.peer_id, HOLD)
            await held.next()
    assert trio.current_time() - started < 4


@within(20)
async def test_when_all_places_are_taken_the_one_of_no_use_makes_room(world: World, clock: object) -> None:
    """Bob has ten places. He needs Carol, nine others said nothing since they came, and Alice is where he dialled. Dave
    comes, and one of the nine is gone; who was hung up on comes back and is refused: it would push out the next."""
    async with AsyncExitStack() as stack:
        open_here = stack.enter_async_context
        bob = await open_here(world.open_small("bob", inbound=10, grace=0.0))
        alice, carol, dave = [await open_here(world.open(name)) for name in ("alice", "carol", "dave")]
        silent = [await open_here(world.open(f"silent {number}")) for number in range(9)]
        await bob.dial(alice.addresses[0])
        for guest in (carol, *silent):
            await guest.dial(bob.addresses[0])
        bob.appraise_links(lambda: {carol.peer_id: Worth.MESH})
        watchers = {guest.peer_id: await open_here(guest.watch_links()) for guest in silent}
        watcher = await open_here(bob.watch_links())
        for _ in range(11):
            await watcher.receive()
        await dave.dial(bob.addresses[0])
        gone = {
            event.peer for event in [await watcher.receive(), await watcher.receive()] if isinstance(event, LinkDown)
        }
        there = {link.peer for link in bob.links()}
        assert {alice.peer_id, carol.peer_id, dave.peer_id} < there
        (left,) = [guest for guest in silent if guest.peer_id not in there]
        assert gone == {left.peer_id}
        await wait_down(watchers[left.peer_id], bob.peer_id)
        with pytest.raises(DialError):
            await left.dial(bob.addresses[0])
        counted = bob.statistics()
        assert (counted["links_made_room"], counted["newcomers_refused"]) == (1, 1)


@within(20)
async def test_when_all_places_are_taken_by_those_we_need_a_newcomer_goes_away(world: World, clock: object) -> None:
    """Our person named all four; then none of them did any harm by staying."""
    async with AsyncExitStack() as stack:
        open_here = stack.enter_async_context
        bob = await open_here(world.open_small("bob", inbound=4, grace=0.0))
        friends = [await open_here(world.open(f"friend {number}")) for number in range(4)]
        for friend in friends:
            await friend.dial(bob.addresses[0])
        bob.appraise_links(lambda: {friend.peer_id: Worth.NAMED for friend in friends})
        mallory = await open_here(world.open("mallory"))
        with pytest.raises(DialError):
            await mallory.dial(bob.addresses[0])
        assert {link.peer for link in bob.links()} == {friend.peer_id for friend in friends}
        assert bob.statistics()["newcomers_refused"] == 1
