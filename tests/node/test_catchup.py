"""Catch-up: thousands of wishes in pages, and liars cost themselves only."""

import contextlib
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.catchup import MAX_REJECTED, PROTOCOL
from node.conversation import Conversation
from node.network.seam import Network, Stream, StreamError
from protocol.envelope import read_frame
from protocol.gossip import PROTOCOLS, Params
from protocol.intent import Intent
from protocol.keys import BoxKey, SigningKey
from protocol.message import Draft, speak
from tests.driver import NET, Neighbour, open_town, seed_of, wait_until


def wish(number: int, at: int, note: str = "") -> bytes:
    key = SigningKey(seed_of(f"author {number}"))
    body = Intent("rent", "mobility.car", f"Wish {number}", BoxKey(seed_of("box")).public, note=note or None)
    return speak(Draft("intent", body, NET, at, at + 9000, 0, bytes(16)), key).frame


def hang(neighbour: Neighbour, frames: list[bytes]) -> None:
    for frame in frames:
        assert neighbour.node.gossip.hear("mobility", frame).accepted


@pytest.mark.parametrize(("count", "note"), [(700, ""), (200, "x" * 1000)])
async def test_pages(count: int, note: str, clock: MockClock) -> None:
    """More wishes than fit in a page of ids, and more bytes than fit in an answer: all of them come."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        hang(market, [wish(number, market.clock.now(), note) for number in range(count)])
        bob = await town.open("Bob", divisions=("mobility",))
        await wait_until(bob, lambda node: len(node.board) == count, 60)
        await trio.sleep(5)
        assert len(await bob.store.peek(lambda tx: tx.posting_lives())) == count


class Liar:
    """Answers catch-up as told, and counts what it was asked."""

    def __init__(self, ids: list[Any], frames: list[Any], after: bytes) -> None:
        self.ids, self.frames, self.after = ids, frames, after
        self.asked: list[str] = []

    async def answer(self, stream: Stream) -> None:
        conversation = Conversation(stream)
        while (question := await conversation.listen()) is not None:
            self.asked.append(str(question[0]))
            if question[0] == "list":
                await conversation.say("ids", self.ids, self.after)
            else:
                await conversation.say("frames", self.frames)


@pytest.mark.parametrize(
    ("ids", "frames", "after"),
    [
        ([], [], b"c" * 32),  # pages without end
        ([bytes([n]) * 32 for n in range(256)], [], b""),  # ids it never serves
        ([b"i" * 32], [b"garbage"], b""),
        (["no id"], [], b""),
        ([b"short"], [], b""),
        ([b"i" * 32], [b"x" * 9000], b""),
        ([], [], b"odd cursor"),
    ],
    ids=["endless", "unserved", "garbage", "text", "short", "long", "cursor"],
)
async def test_liars(ids: list[Any], frames: list[Any], after: bytes, clock: MockClock) -> None:
    """Whatever Mallory answers: it is bounded and counted, and what honest peers have still comes."""
    liar = Liar(ids, frames, after)
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        assert town.world is not None
        hang(market, [wish(1, market.clock.now())])
        async with town.world.open_network(seed_of("Mallory")) as mallory:
            mallory.serve(PROTOCOL, liar.answer)
            bob = await town.open("Bob", divisions=("mobility",))
            await mallory.dial(bob.address)
            await wait_until(bob, lambda node: len(node.board) == 1, 60)
            await trio.sleep(300)
            assert 0 < len(liar.asked) <= 205
            assert len(bob.node.board) == 1
            assert bob.is_up


async def test_a_crowd_of_streams_does_not_keep_others_out(clock: MockClock) -> None:
    """Mallory opens a hundred streams and says nothing: the others are served."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        assert town.world is not None
        hang(market, [wish(1, market.clock.now())])
        async with town.world.open_network(seed_of("Mallory")) as mallory:
            await mallory.dial(market.address)
            for _ in range(100):
                with contextlib.suppress(StreamError):
                    await mallory.open_stream(market.peer_id, PROTOCOL)
            bob = await town.open("Bob", divisions=("mobility",))
            await wait_until(bob, lambda node: len(node.board) == 1, 5)


class Server(Liar):
    """Serves these frames as it should, whatever they are worth."""

    def __init__(self, frames: list[bytes]) -> None:
        super().__init__([read_frame(frame).id for frame in frames], frames, b"")

    async def answer(self, stream: Stream) -> None:
        conversation = Conversation(stream)
        held = dict(zip(self.ids, self.frames, strict=True))
        while (question := await conversation.listen()) is not None:
            self.asked.append(str(question[0]))
            if question[0] == "list":
                await conversation.say("ids", self.ids, b"")
            else:
                wanted: Any = question[1]
                await conversation.say("frames", [held[one] for one in wanted])


async def test_only_what_was_asked_for_is_taken(clock: MockClock) -> None:
    """Mallory lists one id and serves other frames, good ones even: nothing of it hangs at Bob's."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        assert bob.clock is not None
        assert town.world is not None
        frame = wish(1, bob.clock.now())
        for frames in ([frame], [wish(2, bob.clock.now()), frame], [frame, frame]):
            liar = Liar([b"i" * 32] if len(frames) == 1 else [read_frame(frame).id], frames, b"")
            async with town.world.open_network(seed_of(f"Mallory {len(liar.ids)} {frames[0][:80]!r}")) as mallory:
                mallory.serve(PROTOCOL, liar.answer)
                await mallory.dial(bob.address)
                await wait_until(bob, lambda _node, liar=liar: "get" in liar.asked, 60)
                await trio.sleep(1)
        assert len(bob.node.board) == 0
        assert (await bob.desk.status())["counters"]["catchup"]["not_asked_for"] == 3


async def test_who_serves_forgeries_is_hung_up_on(clock: MockClock) -> None:
    """A spoilt signature is nothing an honest node has: after a few Bob ends the link, and what is good came."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        assert bob.clock is not None
        assert town.world is not None
        now = bob.clock.now()
        spoilt = [frame[:40] + bytes([frame[40] ^ 1]) + frame[41:] for frame in (wish(n, now) for n in range(20))]
        server = Server([wish(99, now), *spoilt])
        async with town.world.open_network(seed_of("Mallory")) as mallory:
            mallory.serve(PROTOCOL, server.answer)
            await gossip_with(mallory, bob)
            await wait_until(bob, lambda node: not node.network.links(), 60)
        counters = (await bob.desk.status())["counters"]["catchup"]
        assert counters["hung_up"] == 1
        assert counters["rejected"] >= MAX_REJECTED
        assert len(bob.node.board) == 1


async def gossip_with(network: Network, neighbour: Neighbour) -> None:
    """Mallory answers gossip streams, so that she is a peer like others, and says nothing."""

    async def listen(stream: Stream) -> None:
        while await stream.receive_some():
            pass

    for protocol in PROTOCOLS:
        network.serve(protocol, listen)
    await network.dial(neighbour.address)


async def test_catch_up_counts_against_the_share_of_the_link(clock: MockClock) -> None:
    """Bob's node judges ten frames a second: so many come by catch-up, no more, and none is lost."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        hang(market, [wish(number, market.clock.now()) for number in range(200)])
        began = trio.current_time()
        slow = Params(max_judged_per_second=10, judged_burst=1)
        bob = await town.open("Bob", divisions=("mobility",), params=slow)
        await wait_until(bob, lambda node: len(node.board) == 200, 120)
        assert 15 < trio.current_time() - began < 60


async def test_a_division_joined_later_is_caught_up_at_once(clock: MockClock) -> None:
    """Carol's node was linked for long when she first asks for a car: what others ask there comes in seconds."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        carol = await town.open("Carol")
        await trio.sleep(30)
        hang(market, [wish(1, market.clock.now())])
        carol.node.gossip.join("mobility")
        await wait_until(carol, lambda node: len(node.board) == 1, 5)


async def test_new_orders_are_rationed(clock: MockClock) -> None:
    """Mallory asks for list after list in ever new orders: a few are made, then her stream is reset."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        assert market.clock is not None
        assert town.world is not None
        hang(market, [wish(1, market.clock.now())])
        async with town.world.open_network(seed_of("Mallory")) as mallory:
            await mallory.dial(market.address)
            conversation = Conversation(await mallory.open_stream(market.peer_id, PROTOCOL))
            for number in range(6):
                answer = await conversation.ask("list", bytes([number]) * 16, ["mobility"], b"", 10)
                assert len(answer[1]) == 1  # type: ignore[arg-type]
            with pytest.raises(StreamError):
                await conversation.ask("list", b"one too many...!", ["mobility"], b"", 10)
