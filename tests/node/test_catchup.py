"""Catch-up: thousands of wishes in pages, and liars cost themselves only."""

import contextlib
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.catchup import PROTOCOL
from node.conversation import Conversation
from node.network.seam import Stream, StreamError
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
