"""A withdrawn wish never comes back: whatever is heard first, from gossip or by catch-up, and whoever restarts."""

from itertools import permutations
from random import Random

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from trio.testing import MockClock

from node.catchup import PROTOCOL
from protocol.board import Board
from protocol.message import Message
from protocol.reconcile import Walk
from tests.driver import Neighbour, Town, open_town, seed_of, wait_until
from tests.node.test_catchup import Server, gossip_with
from tests.protocol.people import ALICE, BOB, CAROL, DAY, NET, NOW, close, derived, update, wish

DIVISION = "mobility"
FIRST = wish()
SAID = {"wish": FIRST, "update": update(FIRST), "close": close(FIRST, seq=0)}
"""The end has the lowest seq: it is final all the same."""


# --------------------------------------------------------------------------------------------------- one real node


@pytest.mark.parametrize("gossip_turn", [0, 1], ids=["gossip first", "catch-up first"])
@pytest.mark.parametrize("order", list(permutations(SAID)), ids="-".join)
async def test_in_any_order_by_any_way_with_a_crash_after_each(
    order: tuple[str, ...], gossip_turn: int, clock: MockClock
) -> None:
    """Bob hears Alice's wish, its update and its end in some order, and his power goes after each. From the end on, her
    wish is over at Bob's."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=(DIVISION,))
        for number, name in enumerate(order):
            await (tell_by_gossip if number % 2 == gossip_turn else tell_by_catch_up)(town, bob, SAID[name], number)
            is_over = "close" in order[: number + 1]
            await check(bob, is_over)
            await bob.crash()
            await bob.start()
            await check(bob, is_over)


@pytest.mark.parametrize("jump", [400 * DAY, -400 * DAY])
async def test_an_end_is_known_whatever_the_hour_is_thought_to_be(jump: int, clock: MockClock) -> None:
    """Bob's node starts with a clock that is a year wrong, and it is put right a minute later. Somebody who never heard
    that Alice's wish is over holds it still: it stays out."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=(DIVISION,))
        assert bob.clock is not None
        await tell_by_catch_up(town, bob, SAID["close"], 0)
        await bob.crash()
        bob.clock.skew = jump
        await bob.start()
        await trio.sleep(60)
        bob.clock.skew = 0
        await trio.sleep(900)  # long enough to be believed
        await tell_by_catch_up(town, bob, SAID["wish"], 1)
        await check(bob, True)


async def check(bob: Neighbour, is_over: bool) -> None:
    posting = bob.node.board.of_author(ALICE.key.public, DIVISION)
    assert posting is not None
    assert posting.is_open != is_over
    assert ("open" in [view["state"] for view in await bob.desk.heard()]) != is_over


async def tell_by_gossip(town: Town, bob: Neighbour, said: Message, number: int) -> None:
    """A node that comes, says it and goes."""
    speaker = await town.open(f"Speaker {number}", divisions=(DIVISION,), join=(bob,))
    await wait_until(speaker, lambda node: bob.peer_id in node.gossip.subscribers(DIVISION))
    before = judged(bob)
    speaker.node.gossip.publish(DIVISION, said.frame)
    await wait_until(bob, lambda _node: judged(bob) > before)
    await stored(bob)
    await speaker.stop()


async def tell_by_catch_up(town: Town, bob: Neighbour, said: Message, number: int) -> None:
    """A node that comes, holds it and goes."""
    assert town.world is not None
    server, before = Server([said.frame]), judged(bob)
    async with town.world.open_network(seed_of(f"Holder {number}")) as holder:
        holder.serve(PROTOCOL, server.answer)
        await gossip_with(holder, bob)
        await wait_until(bob, lambda _node: judged(bob) > before)
        await stored(bob)


def judged(bob: Neighbour) -> int:
    return bob.node.board.counters.total() - bob.node.board.counters["evicted"]


async def stored(bob: Neighbour) -> None:
    """Until what hangs on his board lies in his store, and nothing else."""

    async def is_so(_node: object) -> bool:
        rows = await bob.store.peek(lambda tx: tx.postings())
        return {row.id for row in rows} == {posting.message.id for posting in bob.node.board}

    await wait_until(bob, is_so)


# ------------------------------------------------------------------------------------------------- many, in the small


class Nodes(RuleBasedStateMachine):
    """Three boards and what each would have stored. Wishes, revisions and ends reach them in any order, they catch up
    with each other, and start again from their stores."""

    def __init__(self) -> None:
        super().__init__()
        self.boards = [Board(NET) for _ in range(3)]
        self.stored: list[dict[bytes, bytes]] = [{} for _ in range(3)]
        self.ended: list[set[bytes]] = [set() for _ in range(3)]
        self.said: list[Message] = []

    @initialize()
    def speak(self) -> None:
        for by in (ALICE, BOB, CAROL):
            first = wish(by)
            revised = update(first, by)
            self.said += [first, revised, update(revised, by, seq=2, ref=revised.id)]
            if by is not CAROL:
                self.said += [close(first, by, seq=0), close(first, by, seq=5, reason="awarded")]

    def hear(self, number: int, frame: bytes) -> None:
        heard = self.boards[number].hear(frame, DIVISION, "peer", NOW)
        if heard.message is None:
            return
        if heard.replaced is not None:
            del self.stored[number][heard.replaced.id]
        self.stored[number][heard.message.id] = frame
        if heard.message.kind == "intent.close":
            self.ended[number].add(heard.message.author)

    @rule(number=st.integers(0, 2), which=st.integers(0, 12))
    def gossip(self, number: int, which: int) -> None:
        self.hear(number, self.said[which].frame)

    @rule(number=st.integers(0, 2), other=st.integers(0, 2), seed=st.integers(0, 3))
    def catch_up(self, number: int, other: int, seed: int) -> None:
        mine, others = self.boards[number], self.boards[other]
        walk = Walk(mine.tree_of, derived(f"salt {seed}", 16), Random(seed))
        question = walk.begin([DIVISION])
        walk.compared(question, question.read(["marks", list(question.answers(others.tree_of))]))
        listed = []
        while (opened := walk.ask()) is not None:
            parts = opened.read(["parts", list(opened.answers(others.tree_of))])
            listed += [id for some in walk.opened(opened, parts) for _, id in some]
        for id in listed:
            posting = others.get(id)
            assert posting is not None
            self.hear(number, posting.message.frame)

    @rule(number=st.integers(0, 2), backwards=st.booleans())
    def restart(self, number: int, backwards: bool) -> None:
        rows = list(self.stored[number].values())
        self.boards[number] = board = Board(NET)
        for frame in reversed(rows) if backwards else rows:
            assert board.restore(frame, DIVISION, "peer", held=True, now=NOW)

    @invariant()
    def what_ended_is_over(self) -> None:
        for board, ended in zip(self.boards, self.ended, strict=True):
            shown = {posting.message.author for posting in board if posting.is_open}
            assert not shown & ended

    def teardown(self) -> None:
        """Two rounds with everybody, and all have the same."""
        if not self.said:
            return
        for _ in range(2):
            for number in range(3):
                for other in range(3):
                    self.catch_up(number, other, 0)
        assert len({board.tree_of(DIVISION).fingerprint() for board in self.boards}) == 1
        everybody = set().union(*self.ended)
        for board in self.boards:
            assert {posting.message.author for posting in board if not posting.is_open} == everybody


TestNodes = Nodes.TestCase
TestNodes.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
