"""The gossip driver: links that come up in an unlucky order, slow answers, and a flood of tiny RPCs."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.clock import VirtualClock
from node.gossip import READ_AT_ONCE, WORK_A_SECOND, WORK_AT_ONCE, WORK_SAVED, Gossip
from node.network.memory import Conditions, MemoryWorld
from node.network.seam import LinkDown, Network, StreamError
from protocol import categories
from protocol.board import Board, Heard
from protocol.framing import frame_with_length
from protocol.gossip import MESHSUB_1_1
from protocol.gossip.rpc import encode_publish, encode_subscription
from tests.adversary.frames import TOPIC
from tests.adversary.mallory import Mallory, drop_all
from tests.driver import NET

DIVISION = "mobility"


async def deaf(_batch: list[Heard]) -> None:
    """What was heard is nobody's business here."""


@asynccontextmanager
async def open_gossip(world: MemoryWorld, name: str) -> AsyncIterator[tuple[Network, Gossip]]:
    async with world.open_network(name) as network, trio.open_nursery() as nursery:
        gossip = Gossip(network, Board(NET), VirtualClock(), random.Random(name), deaf)
        await nursery.start(gossip.run)
        gossip.join(DIVISION)
        yield network, gossip
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_befriended() -> AsyncIterator[tuple[Network, Gossip, Mallory]]:
    """Alice, and Mallory, who has dialled her and opened her gossip stream."""
    world = MemoryWorld()
    async with (
        open_gossip(world, "alice") as (alice, hers),
        world.open_network("mallory") as network,
        trio.open_nursery() as nursery,
    ):
        mallory = Mallory(network, nursery, drop_all)
        await mallory.befriend(alice.addresses[0])
        yield alice, hers, mallory
        nursery.cancel_scope.cancel()


def known(gossip: Gossip, peer: str) -> Any:
    return gossip._router._peers[peer]


async def test_a_late_answer_costs_a_link_and_not_the_peer(clock: MockClock) -> None:
    """The answer to Alice's wish for a gossip stream takes longer than she waits, while Bob already speaks to her. She
    neither goes deaf to him nor takes him for one who speaks only the older gossip: she hangs up, and on the next link
    both find each other."""
    world = MemoryWorld()
    spoken = set()
    world.tap = lambda _from, _to, protocol, _chunk: spoken.add(protocol)
    async with open_gossip(world, "alice") as (alice, hers), open_gossip(world, "bob") as (bob, his):
        world.set_conditions(alice.peer_id, bob.peer_id, Conditions(delay=0.1))
        async with trio.open_nursery() as nursery, alice.watch_links() as links:
            nursery.start_soon(bob.dial, alice.addresses[0])
            await trio.sleep(0.5)  # the dial is under way
            world.set_conditions(alice.peer_id, bob.peer_id, Conditions(delay=6))
            with trio.fail_after(60):
                async for event in links:
                    if event == LinkDown(bob.peer_id):
                        break
        assert hers.counters["half_open"] + his.counters["half_open"] > 0
        assert hers.counters["no_gossip"] == his.counters["no_gossip"] == 0
        world.set_conditions(alice.peer_id, bob.peer_id, Conditions(delay=0.1))
        await bob.dial(alice.addresses[0])
        with trio.fail_after(10):
            await hers.wait_subscriber(DIVISION)
            await his.wait_subscriber(DIVISION)
        assert known(hers, bob.peer_id).says_backoff
        assert spoken == {MESHSUB_1_1}


async def test_a_peer_without_gossip_keeps_its_link(clock: MockClock) -> None:
    """Carol refuses both protocols: she may have letters for us."""
    world = MemoryWorld()
    async with open_gossip(world, "alice") as (alice, hers), world.open_network("carol") as carol:
        await carol.dial(alice.addresses[0])
        with trio.fail_after(10):
            while not hers.counters["no_gossip"]:  # noqa: ASYNC110 - a counter tells nobody
                await trio.sleep(0.1)
        await trio.sleep(30)
        assert [link.peer for link in alice.links()] == [carol.peer_id]
        assert hers.counters["half_open"] == 0


async def test_a_link_of_our_own_choosing_counts_as_one_however_late(clock: MockClock) -> None:
    """Both dial; Bob's connection is there long after Alice's and their gossip on it. From then on Alice is a peer that
    he chose, with the share and the place in the mesh of one."""
    world = MemoryWorld(conditions=Conditions(delay=0.1))  # a dial takes a second
    async with open_gossip(world, "alice") as (alice, hers), open_gossip(world, "bob") as (bob, his):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.dial, bob.addresses[0])
            await trio.sleep(0.9)
            nursery.start_soon(bob.dial, alice.addresses[0])
            await trio.sleep(0.6)
            assert not known(his, alice.peer_id).outbound
            share = known(his, alice.peer_id).share.weight
        await trio.testing.wait_all_tasks_blocked()
        assert known(his, alice.peer_id).outbound
        assert known(hers, bob.peer_id).outbound
        assert known(his, alice.peer_id).share.weight > share


async def test_tiny_rpcs_do_not_keep_others_waiting(clock: MockClock) -> None:
    """Mallory sends hundreds of RPCs in one read. Whatever else runs in this process has its turn after a few."""
    tiny, count = frame_with_length(b""), 3_000
    async with open_befriended() as (alice, hers, mallory):
        counts: Any = hers._router._counts
        before = seen = counts["rpc.received"]
        most = 0
        await mallory.streams[alice.peer_id].send_all(tiny * count)
        for _ in range(10 * count):
            await trio.lowlevel.checkpoint()
            seen, most = counts["rpc.received"], max(most, counts["rpc.received"] - seen)
            if seen >= before + count:
                break
        assert seen >= before + count
        assert most <= 2 * WORK_AT_ONCE, "tasks take turns in any order: between two of ours lie at most two of theirs"


@pytest.mark.parametrize("is_new_link", [False, True], ids=["one link", "always a new one"])
@pytest.mark.parametrize(
    "rpc", [b"", encode_subscription("x", True), b"\x12\x00" * 500], ids=["empty", "foreign", "messages of nothing"]
)
async def test_who_says_nothing_without_end_waits_and_nobody_else_does(
    clock: MockClock, rpc: bytes, is_new_link: bool
) -> None:
    """Mallory says nothing, as fast as she can. Alice reads so much of it a second, whatever link it comes by. Bob is
    heard at once meanwhile, and nobody is blamed: who says nothing does nothing wrong."""
    world = MemoryWorld()
    item = frame_with_length(rpc)
    count = 50_000 // len(item)
    async with (
        open_gossip(world, "alice") as (alice, hers),
        world.open_network("bob") as honest,
        world.open_network("mallory") as network,
        trio.open_nursery() as nursery,
    ):
        mallory, bob = Mallory(network, nursery, drop_all), Mallory(honest, nursery, drop_all)
        peer = await mallory.befriend(alice.addresses[0])
        await trio.sleep(1)
        counts: Any = hers._router._counts
        began = trio.current_time()
        for _ in range(6):
            before = counts["rpc.received"]
            await mallory.streams[peer].send_all(item * count)
            while counts["rpc.received"] < before + count:  # noqa: ASYNC110 - a counter tells nobody
                await trio.sleep(0.1)
            if is_new_link:
                await network.hang_up(peer)
                await network.dial(alice.addresses[0])
                mallory.streams[peer] = await network.open_stream(peer, MESHSUB_1_1)
        entries = max(1, rpc.count(b"\x12\x00")) if rpc else 0
        work = count * (1 + entries)
        assert trio.current_time() - began >= (6 * work - WORK_SAVED) / WORK_A_SECOND - 1
        await mallory.streams[peer].send_all(item * count)
        with trio.fail_after(0.5):
            await bob.befriend(alice.addresses[0])
            while honest.peer_id not in hers.subscribers(DIVISION):  # noqa: ASYNC110 - of anybody, not of him
                await trio.sleep(0.1)
        assert hers.counters["rests"] > 0
        assert all(score.total >= 0 for score in hers._router.scores(trio.current_time()).values())
        nursery.cancel_scope.cancel()


async def test_an_honest_neighbour_at_its_busiest_never_waits(clock: MockClock) -> None:
    """Bob brings a thousand messages a second, all that Alice judges, each in an RPC of its own; after a stall those of
    three seconds come at once."""
    world = MemoryWorld()
    async with (
        open_gossip(world, "alice") as (alice, hers),
        world.open_network("bob") as network,
        trio.open_nursery() as nursery,
    ):
        bob = Mallory(network, nursery, drop_all)
        peer = await bob.befriend(alice.addresses[0])
        for second in range(20):
            count = {9: 0, 10: 0, 11: 3_000}.get(second, 1_000)
            await bob.say(peer, *[encode_publish("x", b"%d" % number) for number in range(count)])
            await trio.sleep(1)
        assert hers._router.work >= 2 * 20_000
        assert hers.counters["rests"] == 0
        nursery.cancel_scope.cancel()


async def test_a_peer_speaks_on_one_stream_and_a_second_takes_the_place_of_the_first(clock: MockClock) -> None:
    """Mallory opens a hundred streams, and begins on each an RPC that she never ends: Alice holds one of them. On the
    last one she hears Mallory as ever."""
    async with open_befriended() as (alice, hers, mallory):
        begun = [mallory.streams[alice.peer_id]]
        for _ in range(99):
            begun.append(await mallory.network.open_stream(alice.peer_id, MESHSUB_1_1))
            await begun[-1].send_all(frame_with_length(bytes(60_000))[:-1])
        mallory.streams[alice.peer_id] = await mallory.network.open_stream(alice.peer_id, MESHSUB_1_1)
        await mallory.say(alice.peer_id, encode_subscription(categories.topic(NET, "lodging"), True))
        with trio.fail_after(10):
            await hers.wait_subscriber("lodging")
        assert hers.counters["stream_replaced"] == 100
        for stream in begun:
            with pytest.raises(StreamError):
                await stream.receive_some()
        assert [link.peer for link in alice.links()] == [mallory.network.peer_id]


async def test_many_short_streams_are_no_way_around_it(clock: MockClock) -> None:
    """Mallory says a little less on each stream than is counted at once, and opens the next: all of it counts."""
    async with open_befriended() as (alice, hers, mallory):
        await trio.sleep(1)
        counts: Any = hers._router._counts
        streams = 3 * WORK_SAVED // (WORK_AT_ONCE - 1)
        before, began = counts["rpc.received"], trio.current_time()
        for number in range(1, streams + 1):
            stream = await mallory.network.open_stream(alice.peer_id, MESHSUB_1_1)
            await stream.send_all(b"\0" * (WORK_AT_ONCE - 1))
            while counts["rpc.received"] < before + number * (WORK_AT_ONCE - 1):  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.001)
            await stream.close()
        assert trio.current_time() - began >= 2 * WORK_SAVED / WORK_A_SECOND - 1


async def test_what_a_replaced_stream_still_had_to_say_is_not_heard(clock: MockClock) -> None:
    """Mallory has said so much that Alice rests before she reads on; then Mallory begins anew. What she said before is
    not taken for something said after it."""
    async with open_befriended() as (alice, hers, mallory):
        await trio.sleep(1)
        late = frame_with_length(encode_subscription(TOPIC, True))
        said = b"\0" * (WORK_SAVED + WORK_A_SECOND) + late  # a second too much
        assert len(said) < READ_AT_ONCE, "all of it is in Alice's hands when she rests"
        await mallory.streams[alice.peer_id].send_all(said)
        await trio.sleep(0.2)
        again = await mallory.network.open_stream(alice.peer_id, MESHSUB_1_1)
        await again.send_all(frame_with_length(encode_subscription(TOPIC, False)))
        await trio.sleep(60)
        assert mallory.network.peer_id not in hers.subscribers(DIVISION)
